"""Small models, paintings that differ in what they lack, and the comparison of answers to them."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from transformers import DistilBertConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification

TASKS = [{"name": "type", "labels": ["a", "b", "c"]}, {"name": "school", "labels": ["x", "y"]}]
# Scores are at most 1, and 20 layers have at most 1,024 terms.
ROUNDING = rounding(1024, layers=20)


def small_text(**sizes: Any) -> DistilBertConfig:
    return DistilBertConfig(**{"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100, **sizes})


def build(vision="test_resnet", text=None, tasks=TASKS, *, stirs_text=False, **fields) -> SemArtForArtClassification:
    """A model with random weights, equal in every call, without dropout before the heads."""
    torch.manual_seed(0)
    fields = {"fusion_dim": 16, "fusion_dropout": 0.0, "pretrained": False, **fields}
    model = SemArtForArtClassification.from_towers(vision, text or small_text(), tasks, **fields)
    for parameter in model.text_tower.parameters() if stirs_text else ():
        parameter.data.add_(0.2 * torch.randn(parameter.shape))  # a new layer's biases are zero, its norms do nothing
    return model


def picture(seed: int, width: int = 40, height: int = 50) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def rows() -> list[dict]:
    return [
        {"image": picture(0), "text": "a view of delft"},
        {"image": picture(1)},
        {"text": "portrait of an old man"},
        {"image": picture(2), "text": "a river with an old bridge at night and the view of delft"},
        {"image": None, "text": "the river at night", "school": "not read"},
        {"image": picture(3, 90, 30), "text": "  "},
        {"image": picture(4), "description": "portrait of a woman"},
    ]


def scores(answer: dict) -> dict[str, dict[str, float]]:
    return {task: {guess["label"]: guess["score"] for guess in ranked} for task, ranked in answer.items()}


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        for task, expected in scores(one).items():
            assert scores(other)[task] == pytest.approx(expected, abs=ROUNDING)
