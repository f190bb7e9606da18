"""A model and its processor become a folder that loads with its own code, here and on the Hub."""

import os
import shutil
import tempfile
from pathlib import Path

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import save_repository
from semart_hf.model.processing_semart import SemArtProcessor

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")


def write_repository(
    model: SemArtForArtClassification, processor: SemArtProcessor, folder: str | os.PathLike[str]
) -> Path:
    """The folder, holding weights, configuration, processor and all code that they need.

    Everything is written beside the folder first and then moved into it, the configuration last: a folder that was not
    there appears whole, and one that was there (with checkpoints, logs and results, which stay) never holds half a
    file. Weights of the old model that the new one does not replace are removed.

    Args:
        model: The model; it stays where it is and as it is.
        processor: Its processor.
        folder: Made where it is missing.

    Raises:
        ValueError: If the folder is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ValueError(
            f"Got {target}, which is a file. Allowed is a folder, or a new name. Give another output_dir."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as unfinished:
        written = Path(unfinished, "repository")
        save_repository(model, processor, written)
        if not target.exists():
            written.rename(target)
            return target
        names = sorted((path.name for path in written.iterdir()), key=lambda name: (name == "config.json", name))
        for name in names:
            if (written / name).is_dir():
                shutil.rmtree(target / name, ignore_errors=True)
            os.replace(written / name, target / name)
    for pattern in _WEIGHTS:
        for path in target.glob(pattern):
            if path.name not in names:
                path.unlink()
    return target
