import json

import pytest
import torch
from rounding import rounding
from small_models import build as build_model
from small_models import small_text
from torch import nn
from transformers import AutoConfig, AutoModel

import semart_hf  # noqa: F401  registers the classes
from semart_hf.model.configuration_semart import SemArtConfig
from semart_hf.model.modeling_semart import SemArtForArtClassification

TASKS = [{"name": "type", "labels": ["landscape", "portrait", "UNK"]}, {"name": "medium", "labels": ["oil", "UNK"]}]
OTHERS = [{"name": "medium", "labels": ["UNK", "fresco", "oil"]}, {"name": "type", "labels": ["UNK", "landscape"]}]
INPUTS = {
    "pixel_values": torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    "input_ids": torch.randint(1, 50, (3, 6), generator=torch.Generator().manual_seed(0)),
}
# Sums of 48 terms in single precision.
ROUNDING = rounding(48)


def build(vision="test_resnet", **fields):
    text = small_text(vocab_size=50, dim=16, n_heads=2, hidden_dim=32)
    model = build_model(vision, text, TASKS, **{"fusion_dim": 8, "image_size": 32, "text_lexicon": True, **fields})
    if model.lexicon is not None:
        model.lexicon.learn_idf([range(1, 50), range(1, 20)], [0])
        nn.init.normal_(model.lexicon.weight)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build(task_weights={"type": 2.0}, temperatures={"type": 1.5}).save_pretrained(folder)
    return folder


def logits_by_label(model):
    with torch.no_grad():
        logits = model.eval()(**INPUTS).logits
    tasks = {task["name"]: task["labels"] for task in model.config.tasks}
    return {(task, label): logits[task][:, n] for task, labels in tasks.items() for n, label in enumerate(labels)}


@pytest.mark.parametrize("auto", [AutoModel, SemArtForArtClassification])
def test_rows_follow_the_names_of_tasks_and_labels(folder, auto):
    expected = logits_by_label(auto.from_pretrained(folder))
    permuted = [{**task, "labels": task["labels"][::-1]} for task in TASKS[::-1]]
    model = auto.from_pretrained(folder, tasks=permuted)
    assert model.config.tasks == permuted
    found = logits_by_label(model)
    assert list(found) == list(reversed(expected))
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=0, atol=ROUNDING)


def test_rows_of_new_labels_are_those_of_a_new_model(folder, tmp_path):
    expected = logits_by_label(AutoModel.from_pretrained(folder))
    config = AutoConfig.from_pretrained(folder, tasks=OTHERS)
    model = AutoModel.from_pretrained(folder, config=config)
    found = logits_by_label(model)
    assert list(found) == [(task["name"], label) for task in OTHERS for label in task["labels"]]
    for key in expected.keys() & found.keys():
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=ROUNDING)
    new = model.heads["head_medium"]
    assert 0 < new.weight[1].abs().max() < 6 * model.config.initializer_range
    assert new.bias[1] == 0
    assert not model.lexicon.weight[:, 1].any()
    assert model.config.task_weights == {"type": 2.0}
    assert all(parameter.requires_grad for parameter in new.parameters())
    model.save_pretrained(tmp_path)
    again = logits_by_label(AutoModel.from_pretrained(tmp_path))
    assert list(again) == list(found)
    assert all(torch.equal(again[key], found[key]) for key in found)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"tasks": [{"name": "medium", "labels": ["oil"]}]}, r"task_weights names \['type'\], but the tasks are"),
        ({"tasks": [{"name": "type"}]}, "must have a 'name'"),
        ({"text_pooling": "mean"}, "Got text_pooling='mean' for weights that were trained with 'first'"),
        ({"text_pooling": "last"}, "text_pooling is 'last'"),
        ({"fusion_dim": 16}, "Got fusion_dim=16 for weights that were trained with 8"),
        ({"text_lexicon": False}, "Got text_lexicon=False"),
        ({"vision_config": {"architecture": "test_resnet2"}}, "Got vision_config.architecture='test_resnet2'"),
        ({"vision_config": {"pretrained_cfg": {"input_size": [3, 64, 64]}}}, "Got vision_config.pretrained_cfg"),
        ({"text_config": {"n_heads": 4}}, "Got text_config.n_heads=4 for weights that were trained with 2"),
    ],
)
def test_what_weights_depend_on_is_not_overridden(folder, override, message):
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(folder, **override)


def test_other_fields_are_obeyed_and_labels_have_their_names_in_config_json(folder):
    fields = {"frozen_vision_stages": 5, "trainable_text_layers": 2, "temperatures": {"medium": 3.0}}
    model = AutoModel.from_pretrained(folder, text_config={"dropout": 0.3}, **fields)
    assert {name: getattr(model.config, name) for name in fields} == fields
    assert not any(parameter.requires_grad for parameter in model.vision_tower.parameters())
    assert all(parameter.requires_grad for parameter in model.text_tower.transformer.parameters())
    assert model.text_tower.transformer.layer[0].ffn.dropout.p == 0.3
    saved = json.loads((folder / "config.json").read_text())
    names = ["type: landscape", "type: portrait", "type: UNK", "medium: oil", "medium: UNK"]
    assert saved["id2label"] == {str(index): name for index, name in enumerate(names)}
    assert saved["label2id"] == {name: index for index, name in enumerate(names)}
    config = SemArtConfig(tasks=TASKS[:1])
    assert config.id2label == {0: "landscape", 1: "portrait", 2: "UNK"}
    assert config.num_labels == 3
    assert AutoConfig.from_pretrained(folder, tasks=OTHERS).id2label[1] == "medium: fresco"


class Int8Linear(nn.Module):
    """A Linear with an int8 weight, as bitsandbytes has it."""

    def __init__(self, linear):
        super().__init__()
        self.scale = linear.weight.detach().abs().max() / 127
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


@pytest.mark.parametrize("vision", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_model_of_int8_layers_is_frozen_and_near_the_whole_one(vision, pooling):
    model = build(vision, text_lexicon=False, text_pooling=pooling)
    with torch.no_grad():
        expected = model(**INPUTS).logits
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            model.set_submodule(name, Int8Linear(module))
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters() if not p.is_floating_point())
    model.is_quantized = True
    model.freeze()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        found = model.train().eval()(**INPUTS).logits
    for task in expected:
        assert found[task].dtype == torch.float32
        # A weight is off by at most 1/254 of the largest, in each of less than 20 layers.
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=20 / 127)
