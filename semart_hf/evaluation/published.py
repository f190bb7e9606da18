"""Figures that others published for SemArt, to stand beside measured ones."""

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """What a publication states, without intervals: none of them gives one."""

    name: str
    shown: str
    """What the model saw, one of the modalities of results.json."""
    accuracy: Mapping[str, float]
    architecture: str | None = None
    """timm's name of the vision tower; None for the best of several."""
    minutes_per_epoch: float | None = None


PUBLISHED = (
    Published(
        "EfficientNet-B0, the study",
        "image+text",
        {"type": 0.81, "school": 0.79, "timeframe": 0.60, "medium": 0.80},
        "efficientnet_b0",
        20,
    ),
    Published("ResNet18, the study", "image+text", {}, "resnet18", 22),
    Published("ViT-Tiny, the study", "image+text", {}, "vit_tiny_patch16_224", 40),
    Published("best of ICMR 2019", "image", {"type": 0.815, "school": 0.691, "timeframe": 0.632}),
)
SOURCES_IN_WORDS = (
    "† As published, on SemArt's test split of 1,069 paintings, without intervals (about ±2.4 to ±2.9 points there): "
    "the study of ResNet18, EfficientNet-B0 and ViT-Tiny with DistilBERT, its times on its own GPU; ICMR 2019 is "
    "Garcia, Renoust & Nakashima, Context-Aware Embeddings for Automatic Art Analysis, the best of each column."
)
