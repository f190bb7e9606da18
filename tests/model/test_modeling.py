import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from rounding import rounding
from small_models import build as build_model
from small_models import small_text
from transformers import TimmWrapperConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification

TOWERS = ["test_resnet", "test_efficientnet", "test_vit"]
# Forward and backward through 20 layers of at most 1,024 terms, in double precision.
ROUNDING = rounding(1024, layers=2 * 20, dtype=torch.float64)
# Losses are computed in single precision: means of 4 rows, over 2 tasks.
LOSS_ROUNDING = rounding(2 * 4, layers=2, size=3)


def build(vision="test_resnet", **fields):
    return build_model(vision, **{"image_size": 64, **fields}).double()


def batch(rows=4):
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(rows, 3, 64, 64, generator=generator, dtype=torch.float64),
        "input_ids": torch.randint(1, 100, (rows, 8), generator=generator),
        "attention_mask": torch.tensor([[1] * 8] * (rows - 1) + [[1] * 5 + [0] * 3]),
        "labels": torch.stack([torch.arange(rows) % 3, torch.arange(rows) % 2], dim=1),
    }


@pytest.mark.parametrize("vision", TOWERS)
def test_the_vision_tower_equals_raw_timm(vision):
    model = build(vision).eval()
    args = {"img_size": 64} if vision == "test_vit" else {}
    raw = timm.create_model(vision, num_classes=0, **args).double().eval()
    raw.load_state_dict(model.vision_tower.timm_model.state_dict())
    pixel_values = batch()["pixel_values"]
    expected = model.vision_projection(raw(pixel_values))
    assert torch.allclose(model.encode_images(pixel_values, None, 4), expected, atol=ROUNDING)


@pytest.mark.parametrize("vision", TOWERS)
def test_stages_add_their_mean_and_deviation_to_what_the_tower_pools(vision, tmp_path):
    model = build(vision, vision_pooling="stages").eval()
    assert model.config.format_version == "1.2"
    pixel_values, tower = batch()["pixel_values"], model.vision_tower.timm_model
    last, stages = tower.forward_intermediates(pixel_values)
    statistics = [f(stage.flatten(2)) for stage in stages for f in (lambda x: x.mean(-1), lambda x: x.std(-1, False))]
    pooled = torch.cat([tower.forward_head(last), *statistics], 1)
    expected = model.vision_projection(pooled)
    # An added 1e-6 keeps the gradient of a deviation of 0 finite.
    assert torch.allclose(model.encode_images(pixel_values, None, 4), expected, atol=1e-3)
    model.save_pretrained(tmp_path)
    loaded = SemArtForArtClassification.from_pretrained(tmp_path).double().eval()
    assert torch.allclose(loaded(pixel_values).logits["type"], model(pixel_values).logits["type"], atol=ROUNDING)


def test_the_loss_equals_a_hand_computation_and_without_any_label_is_zero_and_keeps_the_graph():
    model = build(task_weights={"type": 3.0}).eval()
    inputs = batch()
    inputs["labels"] = torch.tensor([[0, -100], [2, 1], [-100, -100], [1, 0]])
    output = model(**inputs)
    log_type = output.logits["type"].log_softmax(-1)
    log_school = output.logits["school"].log_softmax(-1)
    type_loss = -(log_type[0, 0] + log_type[1, 2] + log_type[3, 1]) / 3
    school_loss = -(log_school[1, 1] + log_school[3, 0]) / 2
    assert torch.allclose(output.task_losses["type"], type_loss.float(), atol=LOSS_ROUNDING)
    assert torch.allclose(output.task_losses["school"], school_loss.float(), atol=LOSS_ROUNDING)
    assert torch.allclose(output.loss, ((3 * type_loss + school_loss) / 4).float(), atol=LOSS_ROUNDING)
    loss, logits, *_ = model(**inputs, return_dict=False)
    assert torch.equal(output.loss, loss)
    assert torch.equal(output.logits["type"], logits["type"])
    model, inputs = build().train(), batch()
    inputs["labels"][:] = -100
    output = model(**inputs)
    assert output.loss.item() == 0.0
    output.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_absent_rows_equal_an_absent_modality():
    model, inputs = build().eval(), batch()
    labels = inputs.pop("labels")
    only_text = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits["type"]
    only_image = model(pixel_values=inputs["pixel_values"]).logits["type"]
    both = model(**inputs).logits["type"]
    has = {"has_image": torch.tensor([True, False, True, True]), "has_text": torch.tensor([True, True, False, True])}
    mixed = model(**inputs, **has, labels=labels).logits["type"]
    expected = torch.stack([both[0], only_text[1], only_image[2], both[3]])
    assert torch.allclose(mixed, expected, atol=ROUNDING)


@pytest.mark.parametrize("training", [False, True])
def test_what_each_modality_tells_alone_equals_a_forward_without_the_other(training):
    model = build(vision="test_vit", text_lexicon=True).eval()
    with torch.no_grad():
        model.lexicon.weight.normal_()
        model.lexicon.idf.fill_(1.0)
    model.training = training  # of the model alone: no layer drops anything
    inputs = batch() | {"has_image": torch.tensor([True, True, False, True])}
    alone = model(**inputs, each_alone=True).alone_logits
    by_image = model(pixel_values=inputs["pixel_values"], has_image=inputs["has_image"]).logits
    by_text = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    for task in ("type", "school"):
        shown = inputs["has_image"]
        assert torch.allclose(alone["image"][task][shown], by_image[task][shown], atol=ROUNDING)
        assert torch.allclose(alone["text"][task], by_text[task], atol=ROUNDING)
    assert model(**inputs).alone_logits is None


def test_placeholder_pictures_do_not_enter_batch_norm_statistics():
    model, inputs = build().train(), batch()
    twin = copy.deepcopy(model)
    model(**inputs, has_image=torch.tensor([True, True, False, False]))
    twin.vision_tower(pixel_values=inputs["pixel_values"][:2])
    for (name, buffer), other in zip(model.vision_tower.named_buffers(), twin.vision_tower.buffers(), strict=True):
        assert torch.allclose(buffer.double(), other.double(), atol=ROUNDING), name


@pytest.mark.parametrize("missing", ["pixel_values", "input_ids"])
def test_every_parameter_gets_a_gradient_without_a_modality(missing):
    model, inputs = build(text_lexicon=True).train(), batch()
    del inputs[missing]
    if missing == "input_ids":
        del inputs["attention_mask"]
    model(**inputs).loss.backward()
    used_absence = model.absent_image if missing == "pixel_values" else model.absent_text
    assert used_absence.grad.abs().sum() > 0
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


@pytest.mark.parametrize("vision", TOWERS)
def test_frozen_stages_do_not_move_and_all_others_do(vision):
    model = build(vision, frozen_vision_stages=3, trainable_text_layers=1).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen_vision = {name for name, _ in model.named_parameters() if name.startswith("vision_tower")} - trainable
    assert "text_tower.embeddings.word_embeddings.weight" not in trainable
    assert "text_tower.transformer.layer.1.ffn.lin1.weight" in trainable
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    inputs = batch(8)
    for row_mask in (None, torch.arange(8) % 2 == 0, None):
        optimizer.zero_grad()
        model(**inputs, has_image=row_mask, has_text=None if row_mask is None else ~row_mask).loss.backward()
        optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert trainable <= moved
    assert moved - trainable <= set(dict(model.named_buffers()))
    assert frozen_vision
    # Statistics move where the layer's own parameters do.
    assert not {name.rpartition(".")[0] for name in moved} & {name.rpartition(".")[0] for name in frozen_vision}


def test_dropout_of_frozen_parts_is_off_in_training():
    dropout = {"pos_drop_rate": 0.9, "proj_drop_rate": 0.9}
    tower = TimmWrapperConfig(architecture="test_vit", model_args=dropout)
    model = build(tower, frozen_vision_stages=3).train()
    timm_model = model.vision_tower.timm_model
    assert not timm_model.pos_drop.training
    assert not timm_model.blocks[1].attn.proj_drop.training
    assert timm_model.blocks[-1].attn.proj_drop.training
    assert not model.text_tower.embeddings.dropout.training
    assert model.text_tower.transformer.layer[1].ffn.dropout.training
    pixel_values = batch()["pixel_values"]
    assert torch.equal(timm_model.pos_drop(pixel_values), pixel_values)


def test_word_embeddings_can_be_resized():
    model = build()
    model.resize_token_embeddings(150, mean_resizing=False)
    assert model.config.text_config.vocab_size == 150
    assert model(input_ids=torch.tensor([[149]])).logits["type"].shape == (1, 3)


@pytest.mark.parametrize("vision", TOWERS)
def test_gradient_checkpointing_gives_the_same_gradients(vision):
    model = build(vision, text=small_text(dropout=0.0, attention_dropout=0.0), frozen_vision_stages=1).train()
    twin = copy.deepcopy(model)
    # transformers 5.20 knows it by the older name only.
    enable = getattr(twin, "activation_checkpointing_enable", twin.gradient_checkpointing_enable)
    with pytest.raises(ValueError, match=r"Got use_reentrant=True.*Leave it out"):
        enable({"use_reentrant": True})
    enable()
    assert twin.text_tower.transformer.layer[0].gradient_checkpointing
    # BatchNorm would count each batch twice.
    assert twin.vision_tower.timm_model.grad_checkpointing is ("vit" in vision)
    inputs = batch()
    model(**inputs).loss.backward()
    twin(**inputs).loss.backward()
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.requires_grad == (other.grad is not None), name
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, other.grad, atol=LOSS_ROUNDING), name
    for (name, buffer), other in zip(model.named_buffers(), twin.named_buffers(), strict=True):
        assert torch.equal(buffer, other[1]), name


def test_bad_inputs_are_named():
    model, inputs = build(), batch()
    pictures, texts, labels = inputs["pixel_values"], inputs["input_ids"], inputs["labels"]
    for given, message in (
        ({"labels": labels}, "neither pixel_values nor input_ids"),
        ({"pixel_values": pictures[:2], "input_ids": texts}, r"of rows: \{'pixel_values': 2, 'input_ids': 4\}"),
        ({"pixel_values": pictures, "labels": labels[:, :1]}, r"shape \(4, 1\), but it must be \(batch, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**given)
    with pytest.raises(ValueError, match=r"Got text_hidden alone, .* Give input_ids too"):
        build(text_lexicon=True)(text_hidden=torch.zeros(4, 9, 32))
    with pytest.raises(ValueError, match="Got no task"):
        build(tasks=[])


def test_the_loss_of_a_task_with_several_labels_is_binary_cross_entropy():
    tasks = [{"name": "type", "labels": ["a", "b", "c"]}]
    tasks += [{"name": "subjects", "labels": ["sea", "boat", "dog"], "kind": "multi_label"}]
    model = build_model(tasks=tasks, image_size=32).eval()
    assert model.config.label_columns == {"type": slice(0, 1), "subjects": slice(1, 4)}
    assert (model.config.num_label_columns, model.config.format_version) == (4, "1.2")
    inputs = {"input_ids": torch.randint(5, 90, (3, 6)), "attention_mask": torch.ones(3, 6, dtype=torch.long)}
    labels = torch.tensor([[0, 1, 0, 1], [-100, 0, 0, 0], [2, -100, -100, -100]])
    found = model(**inputs, labels=labels)
    several = F.binary_cross_entropy_with_logits(found.logits["subjects"][:2], labels[:2, 1:].float())
    one = F.cross_entropy(found.logits["type"], labels[:, 0])
    assert found.task_losses["subjects"].item() == pytest.approx(several.item(), abs=1e-6)
    assert found.loss.item() == pytest.approx(((one + several) / 2).item(), abs=1e-6)
