"""A model and its processor become a folder that loads with its own code, here and on the Hub."""

import os
import tempfile
from pathlib import Path

from semart_hf.files import no_file
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import save_repository
from semart_hf.model.processing_semart import SemArtProcessor

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")


def write_repository(
    model: SemArtForArtClassification, processor: SemArtProcessor, folder: str | os.PathLike[str]
) -> Path:
    """The folder, holding weights, configuration, processor and all code that they need.

    Everything is written beside the folder first and then moved into it, the configuration last: a new folder appears
    whole, and one that was there (checkpoints, logs and results in it stay) never holds half a file. Weights of an old
    model are removed.
    """
    target = no_file(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as unfinished:
        written = Path(unfinished, "repository")
        save_repository(model, processor, written)
        if not target.exists():
            return written.rename(target)
        names = sorted((path.name for path in written.iterdir()), key=lambda name: (name == "config.json", name))
        for name in names:
            os.replace(written / name, target / name)
    for pattern in _WEIGHTS:
        for path in target.glob(pattern):
            if path.name not in names:
                path.unlink()
    return target
