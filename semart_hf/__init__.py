"""Type, school, timeframe and medium of a painting, from its picture and its description.

Importing the package registers its classes, so that `AutoModel.from_pretrained(folder)`, its sisters and
`pipeline("art-classification", model=folder)` load SemArt models without remote code. A command line calls `register`
after it has parsed its arguments.
"""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .memory import collection_paused

if TYPE_CHECKING:
    from .data.loading import load_paintings as load_paintings
    from .model.configuration_semart import SemArtConfig as SemArtConfig
    from .model.modeling_semart import SemArtForArtClassification as SemArtForArtClassification
    from .model.pipeline_semart import ArtClassificationPipeline as ArtClassificationPipeline
    from .model.processing_semart import SemArtImageProcessor as SemArtImageProcessor
    from .model.processing_semart import SemArtProcessor as SemArtProcessor
    from .training.arguments import SemArtTrainingArguments as SemArtTrainingArguments
    from .training.trainer import SemArtTrainer as SemArtTrainer

# Where the public names are defined: their modules take seconds to import, and are imported when a name is used.
_HOMES = {
    "ArtClassificationPipeline": ".model.pipeline_semart",
    "SemArtConfig": ".model.configuration_semart",
    "SemArtForArtClassification": ".model.modeling_semart",
    "SemArtImageProcessor": ".model.processing_semart",
    "SemArtProcessor": ".model.processing_semart",
    "SemArtTrainer": ".training.trainer",
    "SemArtTrainingArguments": ".training.arguments",
    "load_paintings": ".data.loading",
}
__all__ = [*_HOMES, "register"]
_TASK = "art-classification"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def is_command_line() -> bool:
    """Whether this process is `semart-hf X`, `python -m semart_hf.cli.X` or a checkout's `scripts/X.py`."""
    started = Path(sys.argv[0])
    is_script = started.suffix == ".py" and started.resolve().parent == Path(__file__).resolve().parents[1] / "scripts"
    is_own = sys.argv[0] in sys.orig_argv  # and not of a program that runs a script within itself
    is_named = is_own and (is_script or started.stem == "semart-hf")
    return is_named or any(word.startswith("semart_hf.cli") for word in sys.orig_argv)


def register_heif() -> None:
    """Let Pillow read HEIC pictures where pillow-heif is installed (the extra `heif`)."""
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()


def register() -> None:
    """Register the classes; a second call changes nothing."""
    with collection_paused():
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
        from transformers.pipelines import PIPELINE_REGISTRY

        from .model.configuration_semart import SemArtConfig
        from .model.modeling_semart import SemArtForArtClassification
        from .model.pipeline_semart import ArtClassificationPipeline
        from .model.processing_semart import SemArtImageProcessor, SemArtProcessor

    if _TASK in PIPELINE_REGISTRY.supported_tasks:
        return
    register_heif()
    SemArtConfig.loads_saved_pipeline = False
    AutoConfig.register(SemArtConfig.model_type, SemArtConfig)
    AutoModel.register(SemArtConfig, SemArtForArtClassification)
    AutoImageProcessor.register(SemArtConfig, image_processor_classes={"torchvision": SemArtImageProcessor})
    AutoProcessor.register(SemArtConfig, SemArtProcessor)
    PIPELINE_REGISTRY.register_pipeline(
        _TASK, pipeline_class=ArtClassificationPipeline, pt_model=AutoModel, type="multimodal"
    )


if not is_command_line():
    register()
