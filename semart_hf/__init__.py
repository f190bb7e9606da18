"""Type, school, timeframe and medium of a painting, from its picture and its description.

Importing the package lets `AutoModel.from_pretrained(folder)`, its sisters and
`pipeline("art-classification", model=folder)` load SemArt models without remote code.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .registration import register

if TYPE_CHECKING:
    from .model.configuration_semart import SemArtConfig
    from .model.image_processing_semart import SemArtImageProcessor
    from .model.modeling_semart import SemArtForArtClassification
    from .model.pipeline_semart import ArtClassificationPipeline
    from .model.processing_semart import SemArtProcessor

__all__ = [
    "ArtClassificationPipeline",
    "SemArtConfig",
    "SemArtForArtClassification",
    "SemArtImageProcessor",
    "SemArtProcessor",
]

# The classes' modules import timm and torchvision, which take seconds: not before they are asked for.
_HOMES = {
    "ArtClassificationPipeline": ".model.pipeline_semart",
    "SemArtConfig": ".model.configuration_semart",
    "SemArtForArtClassification": ".model.modeling_semart",
    "SemArtImageProcessor": ".model.image_processing_semart",
    "SemArtProcessor": ".model.processing_semart",
}

register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
