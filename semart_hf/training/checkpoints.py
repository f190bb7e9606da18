"""Whole checkpoints: a half-written one is recognised, and a whole one holds all that a run's future depends on."""

import json
import logging
import os
import re
import shutil
from pathlib import Path

from semart_hf.files import write_json

from .averaging import LEARNED_WEIGHTS

logger = logging.getLogger(__name__)

# Lists the checkpoint's files with their sizes. It is written last: a checkpoint without it was cut off.
MANIFEST = "manifest.json"
# What resuming needs beside the library's own files lies in this folder of a checkpoint.
RESUME = "resume"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# All that a run's future depends on: the weights, those that learn beside their average, the optimizer, the schedule,
# the trainer's state with those of callbacks, each process's random numbers, and its progress (the clock, and the sums
# since the last line of the log). Everything else is a function of the recipe, the data and the epoch: the rows' order
# and draws, the workers' seed, what is frozen. Validation draws nothing (`random_state_kept`).


def check_continuable(checkpoint: Path, *, num_processes: int, has_average: bool, keeps_best: bool) -> None:
    """Refuse a checkpoint from which this run would not go on as if it had never ended."""
    has_learned = (checkpoint / RESUME / LEARNED_WEIGHTS).is_file()
    if has_learned != has_average:
        raise ValueError(
            f"Got {checkpoint}, which was written {'with' if has_learned else 'without'} averaged weights, while "
            f"ema_decay is {'set' if has_average else '0'}. Resume with the ema_decay that it was made with."
        )
    written_by = len(list(checkpoint.glob(f"{RESUME}/progress-*.json")))
    if written_by != num_processes:
        raise ValueError(
            f"Got {checkpoint}, which {written_by} process(es) wrote, but there are {num_processes}: it cannot be "
            f"continued exactly. Start {written_by} process(es), or set ignore_data_skip: true to continue inexactly."
        )
    # What else is missing of a whole checkpoint was left out by save_only_model.
    missing = [] if any(checkpoint.glob("optimizer*")) else ["the optimizer"]
    best = recorded_best_checkpoint(checkpoint)
    if keeps_best and best is not None and not best.is_dir():
        missing.append(f"the best checkpoint so far, {best}")
    if missing:
        raise ValueError(
            f"Got {checkpoint}, which lacks {', '.join(missing)} (as with save_only_model): it cannot be continued "
            "exactly. Begin again in another output_dir or with overwrite_output_dir: true, or set ignore_data_skip: "
            "true to continue inexactly."
        )


def recorded_best_checkpoint(checkpoint: Path) -> Path | None:
    """The best checkpoint of a run as one of its checkpoints records it, where the run lies now."""
    state = checkpoint / "trainer_state.json"
    best = json.loads(state.read_text(encoding="utf-8"))["best_model_checkpoint"] if state.is_file() else None
    return None if best is None else checkpoint.parent / Path(best).name


def mark_whole(checkpoint: Path) -> None:
    """Write the manifest of a finished checkpoint, after all of its files have reached the disk."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    write_json(checkpoint / MANIFEST, {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files})


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end and still has every file in full length."""
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def checkpoints_of(output_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, the latest first."""
    found = [(int(match[1]), path) for path in output_dir.glob("*") if (match := _CHECKPOINT.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir()]


def last_whole_checkpoint(output_dir: Path) -> Path | None:
    """The latest checkpoint that was written to its end; those that were not are passed over with a warning."""
    for checkpoint in checkpoints_of(output_dir):
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("Passing over %s: it was not written to its end.", checkpoint)
    return None


def requested_checkpoint(output_dir: Path, resume: str | os.PathLike[str] | bool) -> Path:
    """The checkpoint that `resume_from_checkpoint` names: its folder, or `True` for the last whole one."""
    if resume in (True, "true", "True"):
        checkpoint = last_whole_checkpoint(output_dir)
        if checkpoint is None:
            raise ValueError(
                f"resume_from_checkpoint is true, but {output_dir} holds no checkpoint that was written to its end. "
                "Leave it out to begin from the start."
            )
        return checkpoint
    checkpoint = Path(str(resume))
    if not is_whole(checkpoint):
        whole = [path.name for path in checkpoints_of(checkpoint.parent) if is_whole(path)]
        raise ValueError(
            f"resume_from_checkpoint is {checkpoint}, which is no checkpoint that was written to its end. Whole ones "
            f"beside it: {whole or 'none'}. Give one of these, or true for the last."
        )
    return checkpoint


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove what is left of a checkpoint; its manifest goes first: a half-removed one must not be taken for whole."""
    if checkpoint.is_dir():
        (checkpoint / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)
