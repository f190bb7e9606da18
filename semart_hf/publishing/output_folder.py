"""The folder that a command writes: it appears whole, and takes the place of nothing but its own earlier output."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from semart_hf.files import atomic_folder


@contextmanager
def output_folder(folder: str | Path, own_files: Sequence[str], what: str) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends and goes when it fails.

    Args:
        folder: New, empty, or an earlier output.
        own_files: Patterns of all paths that an earlier output may hold.
        what: The output's kind, for the error.

    Raises:
        ValueError: If the folder is a file, or holds a file that is not of an earlier output.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Got {folder}, which is a file. Allowed is a folder, or a new name. Give another one.")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    foreign = sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in own_files))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ValueError(
            f"Got {folder}, which holds {', '.join(foreign[:3])}{more}. Replaced is nothing but an earlier {what}. "
            "Give another folder, or move these files away."
        )
    with atomic_folder(folder, replace=True) as unfinished:
        yield unfinished
