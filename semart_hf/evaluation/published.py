"""Figures that others published for SemArt, to stand beside measured ones."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """What a publication states, without intervals: none of them gives one.

    Args:
        name: Model and publication.
        shown: What the model saw, one of the modalities of results.json.
        accuracy: By task, as a fraction; empty where none is stated.
        architecture: timm's name of the vision tower; None for the best of several.
        minutes_per_epoch: On a GPU; None where it is not stated.
    """

    name: str
    shown: str
    accuracy: dict[str, float] = field(default_factory=dict)
    architecture: str | None = None
    minutes_per_epoch: float | None = None


PUBLISHED = (
    Published(
        "EfficientNet-B0, the study",
        "image+text",
        {"type": 0.81, "school": 0.79, "timeframe": 0.60, "medium": 0.80},
        architecture="efficientnet_b0",
        minutes_per_epoch=20,
    ),
    Published("ResNet18, the study", "image+text", architecture="resnet18", minutes_per_epoch=22),
    Published("ViT-Tiny, the study", "image+text", architecture="vit_tiny_patch16_224", minutes_per_epoch=40),
    Published("best of ICMR 2019", "image", {"type": 0.815, "school": 0.691, "timeframe": 0.632}),
)
"""On SemArt's own test split of 1,069 paintings, where a 95 % interval is about ±2.4 to ±2.9 points.

Source: the study of ResNet18, EfficientNet-B0 and ViT-Tiny with DistilBERT that this package takes up, its results and
its times on a GPU; Garcia, Renoust & Nakashima 2019, Context-Aware Embeddings for Automatic Art Analysis (ICMR), the
best of each column of its results.
"""

SOURCES_IN_WORDS = (
    "† As published, on SemArt's test split of 1,069 paintings, without intervals (about ±2.4 to ±2.9 points there): "
    "the study of ResNet18, EfficientNet-B0 and ViT-Tiny with DistilBERT, its times on its own GPU; ICMR 2019 is "
    "Garcia, Renoust & Nakashima, Context-Aware Embeddings for Automatic Art Analysis, the best of each column."
)
