"""Makes the package's classes known to transformers' Auto classes and to `pipeline`."""

import importlib.util
import sys
from pathlib import Path

TASK = "art-classification"


def is_command_line() -> bool:
    """Whether this process is one of the package's commands, which register after they have parsed their arguments.

    They are `semart-hf X`, `python -m semart_hf.cli.X` and a checkout's `scripts/X.py`.
    """
    started = Path(sys.argv[0])
    is_script = started.suffix == ".py" and started.resolve().parent == Path(__file__).resolve().parents[1] / "scripts"
    return started.stem == "semart-hf" or is_script or any(word.startswith("semart_hf.cli") for word in sys.orig_argv)


def register_heif() -> None:
    """Let Pillow read HEIC pictures where pillow-heif is installed (the extra `heif`)."""
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()


def register() -> None:
    """Register the classes; a second call changes nothing."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .model.configuration_semart import SemArtConfig
    from .model.image_processing_semart import SemArtImageProcessor
    from .model.modeling_semart import SemArtForArtClassification
    from .model.pipeline_semart import ArtClassificationPipeline
    from .model.processing_semart import SemArtProcessor

    if TASK in PIPELINE_REGISTRY.supported_tasks:
        return
    register_heif()
    SemArtConfig.loads_saved_pipeline = False
    AutoConfig.register(SemArtConfig.model_type, SemArtConfig)
    AutoModel.register(SemArtConfig, SemArtForArtClassification)
    AutoImageProcessor.register(SemArtConfig, image_processor_classes={"torchvision": SemArtImageProcessor})
    AutoProcessor.register(SemArtConfig, SemArtProcessor)
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=ArtClassificationPipeline, pt_model=AutoModel, type="multimodal"
    )
