"""A model and its processor become a folder that loads with its own code, here and on the Hub."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from semart_hf.files import atomic_folder
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

    Raises:
        ValueError: If the folder is a file.
    """
    target = _no_file(folder)
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


@contextmanager
def output_folder(folder: str | os.PathLike[str], own_files: Sequence[str], kind: str) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends and goes when it fails.

    Raises:
        ValueError: If the folder is a file, or holds one that fits none of the patterns of an earlier output's files.
    """
    folder = _no_file(folder)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    foreign = sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in own_files))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ValueError(
            f"Got {folder}, which holds {', '.join(foreign[:3])}{more}. Replaced is nothing but an earlier {kind}. "
            "Give another folder, or move these files away."
        )
    with atomic_folder(folder, replace=True) as unfinished:
        yield unfinished


def _no_file(folder: str | os.PathLike[str]) -> Path:
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"Got {folder}, which is a file. Allowed is a folder, or a new name. Give another one.")
    return Path(folder)
