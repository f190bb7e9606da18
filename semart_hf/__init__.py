"""Type, school, timeframe and medium of a painting, from its picture and its description.

Importing the package registers its classes, so that `AutoModel.from_pretrained(folder)`, its sisters and
`pipeline("art-classification", model=folder)` load SemArt models without remote code. A command line calls `register`
after it has parsed its arguments.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .registration import is_command_line, register
from .registration import register_heif as register_heif

if TYPE_CHECKING:
    from .data.loading import load_paintings as load_paintings
    from .model.configuration_semart import SemArtConfig as SemArtConfig
    from .model.image_processing_semart import SemArtImageProcessor as SemArtImageProcessor
    from .model.modeling_semart import SemArtForArtClassification as SemArtForArtClassification
    from .model.pipeline_semart import ArtClassificationPipeline as ArtClassificationPipeline
    from .model.processing_semart import SemArtProcessor as SemArtProcessor
    from .training.arguments import SemArtTrainingArguments as SemArtTrainingArguments
    from .training.trainer import SemArtTrainer as SemArtTrainer

# Where the public names are defined: their modules take seconds to import, and are imported when a name is used.
_HOMES = {
    "ArtClassificationPipeline": ".model.pipeline_semart",
    "SemArtConfig": ".model.configuration_semart",
    "SemArtForArtClassification": ".model.modeling_semart",
    "SemArtImageProcessor": ".model.image_processing_semart",
    "SemArtProcessor": ".model.processing_semart",
    "SemArtTrainer": ".training.trainer",
    "SemArtTrainingArguments": ".training.arguments",
    "load_paintings": ".data.loading",
}
__all__ = [*_HOMES, "register"]

if not is_command_line():
    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
