"""Whole checkpoints: written so that a half-written one is recognised, and found again by the same command."""

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Lists the checkpoint's files with their sizes. It is written last: a checkpoint without it was cut off.
WHOLE = "whole.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def mark_whole(checkpoint: Path) -> None:
    """Write the list of a finished checkpoint's files, after all of them have reached the disk."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE)
    for path in files:
        _synchronise(path)
    write_atomically(
        checkpoint / WHOLE, {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    )


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end and still has every file in full length."""
    try:
        sizes = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def checkpoints_of(output_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, the latest first."""
    found = [(int(match[1]), path) for path in output_dir.glob("*") if (match := _CHECKPOINT.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def last_whole_checkpoint(output_dir: Path) -> Path | None:
    """The latest checkpoint that was written to its end; those that were not are passed over with a warning."""
    for checkpoint in checkpoints_of(output_dir):
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("Passing over %s: it was not written to its end.", checkpoint)
    return None


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove what is left of a checkpoint; its mark goes first, so that a half-removed one is not taken for whole."""
    if checkpoint.is_dir():
        (checkpoint / WHOLE).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)


def write_atomically(path: Path, content: Any) -> None:
    """Write JSON so that the file is either there in full or not at all, also after a power cut."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
