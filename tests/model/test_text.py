from functools import partial

import pytest
import torch
from rounding import rounding
from small_models import build as build_model
from small_models import small_text
from torch.autograd.graph import saved_tensors_hooks
from transformers import DistilBertModel

TASKS = [{"name": "type", "labels": ["a", "b", "c"]}]
# Forward and backward: each of 3 layers has 8 sums of at most 64 terms; gradients sum over 36 tokens.
ROUNDING = rounding(64, layers=2 * 3 * 8, size=36**0.5)


def build(dropout=0.0, attention_dropout=0.0, **fields):
    text = small_text(n_layers=3, dropout=dropout, attention_dropout=attention_dropout)
    return build_model(text=text, tasks=TASKS, image_size=32, stirs_text=True, **fields)


def texts():
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(1, 100, (4, 9), generator=generator),
        "attention_mask": torch.tensor([[1] * 9, [1] * 9, [1] * 6 + [0] * 3, [1] * 2 + [0] * 7]),
    }


def whole_tower(model, implementation="sdpa"):
    raw = DistilBertModel._from_config(model.config.text_config, attn_implementation=implementation)
    raw.load_state_dict(model.text_tower.state_dict())
    return raw.train(model.training)


@pytest.mark.parametrize("has_padding", [True, False])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_first_tokens_layer_equals_the_whole_layer_forward_and_backward(implementation, has_padding):
    model = build(trainable_text_layers=None).double().train()
    raw = whole_tower(model, implementation).double()
    model.set_attn_implementation({"text_config": implementation})
    inputs = texts() if has_padding else {"input_ids": texts()["input_ids"]}
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
    model = build(attention_dropout=0.3, trainable_text_layers=None).train()
    raw = whole_tower(model)
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
    saved, inputs = [], {"pixel_values": torch.randn(2, 3, 64, 64), "input_ids": texts()["input_ids"][:2]}
    hooks = partial(saved_tensors_hooks, lambda tensor: saved.append(0) or tensor, lambda tensor: tensor)
    with hooks():
        model(**inputs)
    model.config.frozen_vision_stages, model.config.trainable_text_layers = 0, None
    model.freeze()
    kept = len(saved)
    with hooks():
        model(**inputs)
    assert kept < 0.7 * (len(saved) - kept)
