"""Small models that the tests of this room share."""

from typing import Any

import torch
from transformers import DistilBertConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification

TASKS = [{"name": "type", "labels": ["a", "b", "c"]}, {"name": "school", "labels": ["x", "y"]}]


def small_text(**sizes: Any) -> DistilBertConfig:
    return DistilBertConfig(**{"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100, **sizes})


def build(
    vision: str = "test_resnet", text: Any = None, tasks: Any = None, **fields: Any
) -> SemArtForArtClassification:
    """A model with random weights, equal in every call, without dropout before the heads."""
    torch.manual_seed(0)
    fields = {"fusion_dim": 16, "fusion_dropout": 0.0, "pretrained": False, **fields}
    return SemArtForArtClassification.from_towers(
        vision, text or small_text(), TASKS if tasks is None else tasks, **fields
    )
