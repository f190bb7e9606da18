import copy
from functools import partial

import pytest
import torch
from rounding import rounding
from small_models import build as build_model
from small_models import small_text
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModel, BertConfig, ModernBertConfig, RobertaConfig, XLMRobertaConfig

from semart_hf.model.configuration_semart import TEXT_FAMILIES
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.towers_semart import FirstTokenBlock, computed_with, most_text_tokens, text_layers

TASKS = [{"name": "type", "labels": ["a", "b", "c"]}]
SIZES = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES["intermediate_size"] = 64
BERT_LIKE = {**SIZES, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CONFIGS = {
    "distilbert": small_text(n_layers=3, dropout=0.0, attention_dropout=0.0),
    "bert": BertConfig(**BERT_LIKE, max_position_embeddings=20),
    "roberta": RobertaConfig(**BERT_LIKE, max_position_embeddings=22, pad_token_id=1, type_vocab_size=1),
    "xlm-roberta": XLMRobertaConfig(**BERT_LIKE, max_position_embeddings=22, pad_token_id=1, type_vocab_size=1),
    # Its second and third layers look at two tokens to either side.
    "modernbert": ModernBertConfig(**SIZES, local_attention=4, pad_token_id=0, cls_token_id=2, sep_token_id=3),
}
# Forward and backward: each of 3 layers has 8 sums of at most 64 terms; gradients sum over 36 tokens.
ROUNDING = rounding(64, layers=2 * 3 * 8, size=36**0.5)
every_family = pytest.mark.parametrize("family", TEXT_FAMILIES)


def build(family, **fields):
    return build_model(text=copy.deepcopy(CONFIGS[family]), tasks=TASKS, image_size=32, stirs_text=True, **fields)


def texts(family):
    mask = torch.tensor([[1] * 12, [1] * 12, [1] * 7 + [0] * 5, [1] * 2 + [0] * 10])
    ids = torch.randint(4, 100, mask.shape, generator=torch.Generator().manual_seed(1))
    pad = CONFIGS[family].pad_token_id
    return {"input_ids": ids.masked_fill(mask == 0, pad), "attention_mask": mask}


def library_tower(model, **options):
    tower = AutoModel.from_config(model.config.text_config, **options)
    missing, unexpected = tower.load_state_dict(model.text_tower.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("pooler.") for name in missing)
    return tower.train(model.training)


@every_family
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_tower_equals_its_library_forward_and_backward(family, pooling):
    model = build(family, text_pooling=pooling, trainable_text_layers=None).train()
    tower, inputs = library_tower(model), texts(family)
    found = model.project_texts(model.pool_texts(inputs["input_ids"], inputs["attention_mask"]), None, 4)
    hidden = tower(**inputs).last_hidden_state
    lengths = inputs["attention_mask"].sum(1).tolist()
    means = torch.stack([states[:length].mean(0) for states, length in zip(hidden, lengths, strict=True)])
    pooled = hidden[:, 0] if pooling == "first" else means
    expected = model.text_projection(pooled)
    assert torch.allclose(found, expected, atol=ROUNDING)
    weights = torch.linspace(-1, 1, found.shape[1])
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    library = dict(tower.named_parameters())
    for name, parameter in model.text_tower.named_parameters():
        assert torch.allclose(parameter.grad, library[name].grad, atol=ROUNDING), name
    is_fast = isinstance(text_layers(model.text_tower)[-1], FirstTokenBlock)
    assert is_fast == (family == "distilbert" and pooling == "first")


@every_family
@pytest.mark.parametrize("depth", [1, 3])
def test_frozen_layers_and_the_others_make_the_whole(family, depth):
    model, inputs = build(family, trainable_text_layers=3 - depth).eval(), texts(family)
    hidden = model.encode_frozen_text(**inputs, depth=depth)
    mask = inputs["attention_mask"] if depth < 3 else None
    found = model(text_hidden=hidden, attention_mask=mask, text_depth=depth).logits["type"]
    assert torch.allclose(found, model(**inputs).logits["type"], atol=ROUNDING)
    inner = library_tower(model)(**inputs, output_hidden_states=True).hidden_states
    expected = inner[depth] if depth < 3 else inner[depth][:, :1]
    shown = inputs["attention_mask"][:, : expected.shape[1]].bool()
    assert torch.allclose(hidden[shown], expected[shown], atol=ROUNDING)


@every_family
def test_what_is_frozen_does_not_learn_and_checkpointing_changes_no_gradient(family):
    model, inputs = build(family, trainable_text_layers=1).train(), texts(family)
    inputs["labels"] = torch.tensor([[0], [1], [2], [0]])
    model(**inputs).loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.text_tower.named_parameters() if p.grad is not None}
    last = {name for name, p in model.text_tower.named_parameters() if p.requires_grad}
    assert gradients.keys() == last
    assert {name.split(".")[0] for name in last} <= {TEXT_FAMILIES[family].split(".")[0], "final_norm"}
    assert all(".2." in name for name in last - {"final_norm.weight"})
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(**inputs).loss.backward()
    for name, parameter in model.text_tower.named_parameters():
        if name in gradients:
            assert torch.allclose(parameter.grad, gradients[name], atol=ROUNDING), name
    model.config.trainable_text_layers = 0
    model.freeze()
    assert not any(parameter.requires_grad for parameter in model.text_tower.parameters())


@every_family
def test_pretrained_towers_arrive_and_saved_models_answer_alike(family, tmp_path):
    tower = AutoModel.from_config(CONFIGS[family])
    tower.save_pretrained(tmp_path / "tower")
    model = build_model(text=str(tmp_path / "tower"), tasks=TASKS, image_size=32, pretrained="text").eval()
    source = tower.state_dict()
    for name, tensor in model.text_tower.state_dict().items():
        assert torch.equal(tensor, source[name]), name
    model.save_pretrained(tmp_path / "model")
    loaded = SemArtForArtClassification.from_pretrained(tmp_path / "model").eval()
    assert computed_with(loaded.config.text_config) == computed_with(model.config.text_config)
    inputs = texts(family)
    assert torch.equal(loaded(**inputs).logits["type"], model(**inputs).logits["type"])
    other = copy.deepcopy(model.config)
    other.text_config.pad_token_id = 7
    with pytest.raises(ValueError, match=r"Got text_config\.pad_token_id=7"):
        SemArtForArtClassification.from_pretrained(tmp_path / "model", config=other)


@every_family
def test_texts_may_be_as_long_as_the_tower_has_positions(family):
    model = build(family).eval()
    longest = min(most_text_tokens(model.config.text_config), 600)
    ids = torch.full((1, longest), 9)
    assert torch.isfinite(model(input_ids=ids).logits["type"]).all()
    if family != "modernbert":  # whose positions are angles
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, longest + 1), 9))


@pytest.mark.parametrize("has_padding", [True, False])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_first_tokens_layer_equals_the_whole_layer_forward_and_backward(implementation, has_padding):
    model = build("distilbert", trainable_text_layers=None).double().train()
    raw = library_tower(model, attn_implementation=implementation).double()
    model.set_attn_implementation({"text_config": implementation})
    inputs = texts("distilbert")
    if not has_padding:
        del inputs["attention_mask"]
    found = model.text_tower(**inputs).last_hidden_state
    expected = raw(**inputs).last_hidden_state[:, :1]
    assert found.shape == (4, 1, 32)
    assert torch.allclose(found, expected, atol=1e-10)
    weights = torch.linspace(-1, 1, 32, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, parameter), other in zip(model.text_tower.named_parameters(), raw.parameters(), strict=True):
        assert torch.allclose(parameter.grad, other.grad, atol=1e-10), name


def test_dropout_in_attention_has_the_whole_layers_expectation_and_spread():
    text = small_text(n_layers=3, dropout=0.0, attention_dropout=0.3)
    model = build_model(text=text, tasks=TASKS, image_size=32, stirs_text=True, trainable_text_layers=None).train()
    raw = library_tower(model, attn_implementation="sdpa")
    block, layer = model.text_tower.transformer.layer[-1], raw.transformer.layer[-1]
    hidden = torch.randn(1, 6, 32).expand(6000, -1, -1)
    with torch.no_grad():
        found, expected = block(hidden)[:, 0], layer(hidden)[:, 0]
    assert torch.allclose(found.mean(0), expected.mean(0), atol=0.03)
    assert torch.allclose(found.std(0), expected.std(0), atol=0.03)
    assert found.std(0).mean() > 0.05


@pytest.mark.parametrize("vision", ["test_resnet", "test_efficientnet", "test_vit"])
def test_frozen_stages_build_no_graph(vision):
    model = build_model(vision, small_text(n_layers=3), TASKS, image_size=64, frozen_vision_stages=3).train()
    saved = []
    inputs = {"pixel_values": torch.randn(2, 3, 64, 64), "input_ids": texts("distilbert")["input_ids"][:2]}
    hooks = partial(saved_tensors_hooks, lambda tensor: saved.append(0) or tensor, lambda tensor: tensor)
    with hooks():
        model(**inputs)
    model.config.frozen_vision_stages, model.config.trainable_text_layers = 0, None
    model.freeze()
    kept = len(saved)
    with hooks():
        model(**inputs)
    assert kept < 0.7 * (len(saved) - kept)
