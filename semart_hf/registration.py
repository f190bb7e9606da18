"""Makes the package's classes known to transformers' Auto classes and `pipeline`, without importing either.

Importing the model costs seconds (timm, torchvision), and so does importing transformers' own Auto classes. Therefore
`register` only leaves word where they keep what was registered; the classes are imported when somebody asks for them.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODEL_TYPE = "semart"
TASK = "art-classification"

_registering = threading.RLock()
_progress: set[str] = set()


def register() -> None:
    """Leave word in the Auto classes and among the pipelines: now where they are imported already, else once they are.

    Looking for the model type, one of its classes or the task then finds the package's classes.
    """
    pending = dict(_WORD_LEFT)
    for name, leave_word in _WORD_LEFT.items():
        if name in sys.modules:
            leave_word(sys.modules[name])
            del pending[name]
    if pending:
        sys.meta_path.insert(0, _AfterImport(pending))


def register_classes() -> None:
    """Import the package's classes and register them with the Auto classes; a second call does nothing."""
    with _registering:
        if _progress:  # done, or under way: registering looks for the class itself before it puts it in
            return
        _progress.add("started")
        try:
            _register_classes()
        except BaseException:
            _progress.clear()
            raise


def _register_classes() -> None:
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

    from .model.configuration_semart import SemArtConfig
    from .model.image_processing_semart import SemArtImageProcessor
    from .model.modeling_semart import SemArtForArtClassification
    from .model.processing_semart import SemArtProcessor

    SemArtConfig.loads_saved_pipeline = False
    AutoConfig.register(MODEL_TYPE, SemArtConfig)
    AutoModel.register(SemArtConfig, SemArtForArtClassification)
    AutoImageProcessor.register(SemArtConfig, image_processor_classes={"torchvision": SemArtImageProcessor})
    AutoProcessor.register(SemArtConfig, SemArtProcessor)


class _Registered(dict[Any, Any]):
    """What was registered with one Auto class; the package's own class joins it when somebody looks for it."""

    def __contains__(self, key: object) -> bool:
        if key == MODEL_TYPE or getattr(key, "__module__", "").startswith(f"{__package__}."):
            register_classes()
        return super().__contains__(key)

    def keys(self) -> Any:
        register_classes()
        return super().keys()

    def values(self) -> Any:
        register_classes()
        return super().values()

    def items(self) -> Any:
        register_classes()
        return super().items()


class _Task(dict[str, Any]):
    """A task as `pipeline` looks it up, with its class imported when that is read."""

    def __missing__(self, key: str) -> Any:
        if key != "impl":
            raise KeyError(key)
        from .model.pipeline_semart import ArtClassificationPipeline

        return ArtClassificationPipeline


class _AfterImport(MetaPathFinder):
    """Calls a function with a module once, after it was imported.

    Args:
        pending: The function by the module's full name.
    """

    def __init__(self, pending: dict[str, Callable[[ModuleType], None]]) -> None:
        self.pending = pending

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        leave_word = self.pending.pop(fullname, None)
        if leave_word is None:
            return None
        spec = importlib.util.find_spec(fullname)  # by the other finders, as this one forgot the name
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_leave_word(module: ModuleType) -> None:
            execute(module)
            leave_word(module)

        spec.loader.exec_module = execute_and_leave_word  # type: ignore[method-assign]
        return spec


def _leave_word_in(mapping_name: str) -> Callable[[ModuleType], None]:
    def leave_word(module: ModuleType) -> None:
        mapping = getattr(module, mapping_name)
        mapping._extra_content = _Registered(mapping._extra_content)

    return leave_word


def _leave_word_among_pipelines(module: ModuleType) -> None:
    module.PIPELINE_REGISTRY.supported_tasks[TASK] = _Task(pt=(module.AutoModel,), type="multimodal")


_WORD_LEFT: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _leave_word_in("CONFIG_MAPPING"),
    "transformers.models.auto.modeling_auto": _leave_word_in("MODEL_MAPPING"),
    "transformers.models.auto.image_processing_auto": _leave_word_in("IMAGE_PROCESSOR_MAPPING"),
    "transformers.models.auto.processing_auto": _leave_word_in("PROCESSOR_MAPPING"),
    "transformers.pipelines": _leave_word_among_pipelines,
}
