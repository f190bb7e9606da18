"""The folder that a run writes, begun, continued, replaced by a whole one or left alone; and the checkpoints in it.

A checkpoint holds all that a run's future depends on: the weights, those that learn beside their average, the
optimizer, the schedule, the trainer's state with those of callbacks, each process's random numbers, and its progress
(the clock, and the sums since the last line of the log). Everything else is a function of the recipe, the data and the
epoch: the rows' order and draws, the workers' seed, what is frozen. Validation draws nothing (`random_state_kept`).
"""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semart_hf.files import read_json, refuse_mounted, write_json
from semart_hf.recipes.recipe import changed_fields, write_recipe

from .callbacks import LEARNED_WEIGHTS

logger = logging.getLogger(__name__)

# Lists a checkpoint's files with their sizes. It is written last: a checkpoint without it was cut off.
MANIFEST = "manifest.json"
# What resuming needs beside the library's own files lies in this folder of a checkpoint.
RESUME = "resume"
RECIPE = "recipe.yaml"
RESULTS = "results.json"
CURVES = "training_curves.png"
#: All that a run writes into its folder, by name; nothing else is ever removed.
OWN_FILES = (
    RECIPE, RESULTS, CURVES, MANIFEST, "config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", "*_semart.py", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "trainer_state.json", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt",
    "rng_state*.pth", "pytorch_model_fsdp.bin", "*.distcp", ".metadata", LEARNED_WEIGHTS,
    "progress-*.json", "log_window-*.json", "events.out.tfevents.*",
)  # fmt: skip
#: The folders in which these lie.
OWN_FOLDERS = ("checkpoint-*", RESUME, "runs", "optimizer_*", "pytorch_model_fsdp_*")
# How a run is begun says nothing of what it trains, and a secret is not written down.
_ABOUT_STARTING = ("overwrite_output_dir", "resume_from_checkpoint", "hub_token")


@dataclass(frozen=True)
class RunPlan:
    """Where a run writes and what it begins from; to make one writes nothing."""

    output_dir: Path
    folder: Path  # in which it works: `output_dir`, or a hidden one beside it that takes its place
    recipe: Mapping[str, Any]
    checkpoint: Path | None = None

    def begin(self) -> None:
        """Make the folder, with the recipe."""
        if self.checkpoint is None:  # what is left of a run that was cut off before its first checkpoint
            remove_own(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_recipe(self.folder / RECIPE, self.recipe)

    def finish(self) -> list[str]:
        """Put the finished run in its place; names of what stays in `output_dir` because no run wrote it."""
        if self.folder == self.output_dir:
            return []
        if (old := _beside(self.output_dir, "old")).exists():
            raise ValueError(
                f"Got {old}, which is left of an earlier replacement. The finished run waits in {self.folder}: remove "
                "the former, and give the same command."
            )
        return _take_place(self.folder, self.output_dir)


def plan_run(
    output_dir: Path, recipe: Mapping[str, Any], *, overwrite: bool = False, resume: str | bool | None = None
) -> RunPlan:
    """Where a run writes, and the checkpoint that it continues from: that of a cut off run of its recipe, or `resume`.

    `resume` is a checkpoint's folder, or `True` for the last whole one, also after a change of the recipe.
    """
    output_dir = output_dir.resolve()
    recipe = {name: value for name, value in recipe.items() if name not in _ABOUT_STARTING}
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output_dir {output_dir} is a file, but a run writes a folder. Give another --output_dir.")
    new = _beside(output_dir, "new")
    if _beside(output_dir, "old").is_dir():  # a run was cut off while it took its place
        _take_place(new, output_dir)
        if overwrite and (output_dir / RECIPE).is_file() and not changed_fields(output_dir / RECIPE, recipe):
            return RunPlan(output_dir, output_dir, recipe, _last_checkpoint(output_dir))
    has_content = output_dir.is_dir() and any(output_dir.iterdir())
    if resume not in (None, False, "false", "False"):
        checkpoint = requested_checkpoint(output_dir, resume)
        if not has_content or checkpoint.resolve().parent == output_dir:
            return RunPlan(output_dir, output_dir, recipe, checkpoint)
        _check_is_replaceable(output_dir, overwrite)
        return RunPlan(output_dir, new, recipe, checkpoint)
    if not has_content:
        return RunPlan(output_dir, output_dir, recipe)
    if (output_dir / RECIPE).is_file() and not (output_dir / RESULTS).is_file():
        changes = changed_fields(output_dir / RECIPE, recipe)
        if not changes:
            return RunPlan(output_dir, output_dir, recipe, _last_checkpoint(output_dir))
        if not overwrite:
            raise ValueError(
                f"output_dir {output_dir} holds an unfinished run of another recipe: {changes}. Give the same recipe "
                "to continue it, another --output_dir, --overwrite_output_dir true to replace it, or "
                "--resume_from_checkpoint true to continue it with the changed recipe."
            )
    _check_is_replaceable(output_dir, overwrite)
    continues = (new / RECIPE).is_file() and not changed_fields(new / RECIPE, recipe)
    return RunPlan(output_dir, new, recipe, _last_checkpoint(new) if continues else None)


def _beside(output_dir: Path, which: str) -> Path:
    return output_dir.with_name(f".{output_dir.name}.{which}")


def _last_checkpoint(folder: Path) -> Path | None:
    checkpoint = last_whole_checkpoint(folder)
    if checkpoint is None:
        logger.warning("%s holds a run that was cut off before its first checkpoint: it begins again.", folder)
    return checkpoint


def _check_is_replaceable(folder: Path, overwrite: bool) -> None:
    found = sorted(path.name for path in folder.iterdir())[:5]
    if not overwrite:
        raise ValueError(
            f"output_dir {folder} already holds {found}. Give another --output_dir, replace what is there with "
            "--overwrite_output_dir true, or train it further with --resume_from_checkpoint true."
        )
    refuse_mounted(folder)
    if not any((folder / name).is_file() for name in ("config.json", RECIPE)) and not checkpoints_of(folder):
        raise ValueError(f"output_dir {folder} holds {found}, which is no model, so it is not replaced. Give another.")


def _take_place(new: Path, output_dir: Path) -> list[str]:
    """Replace the old folder but for what no run wrote, whose names it gives; a killed process can go on with it."""
    old = _beside(output_dir, "old")
    if output_dir.exists() and not old.is_dir():
        output_dir.rename(old)
    if not output_dir.exists():
        (new if (new / RESULTS).is_file() else old).rename(output_dir)
    remove_own(old)
    kept = []
    for path in sorted(old.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            target = output_dir / path.relative_to(old)
            while target.exists():
                target = target.with_name(f"{target.name}.old")
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            kept.append(target.relative_to(output_dir).as_posix())
    shutil.rmtree(old, ignore_errors=True)  # empty folders
    return kept


def remove_own(folder: Path) -> None:
    """Remove what a run wrote into a folder, and the folder if nothing else was in it."""
    if not folder.is_dir():
        return
    for path in [path for pattern in OWN_FOLDERS for path in folder.glob(pattern) if path.is_dir()]:
        for inner in [*(inner for inner in path.iterdir() if inner.is_dir()), path]:
            remove_own(inner)
    for path in [path for pattern in OWN_FILES for path in folder.glob(pattern) if path.is_file()]:
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def check_continuable(checkpoint: Path, args: Any) -> None:
    """Refuse a checkpoint from which a run would not go on as if it had never ended, unless its arguments allow it."""
    if args.ignore_data_skip:
        return
    has_average = args.ema_decay > 0
    has_learned = (checkpoint / RESUME / LEARNED_WEIGHTS).is_file()
    written_by = len(list(checkpoint.glob(f"{RESUME}/progress-*.json")))
    best = recorded_best_checkpoint(checkpoint)
    causes = []
    if has_learned != has_average:
        how, now = "with" if has_learned else "without", "set" if has_average else "0"
        causes.append(f"was written {how} averaged weights, while ema_decay is {now}")
    if written_by != args.world_size:
        causes.append(f"{written_by} process(es) wrote, but there are {args.world_size}")
    if not any(checkpoint.glob("optimizer*")):  # left out by save_only_model
        causes.append("lacks the optimizer")
    if args.load_best_model_at_end and best is not None and not best.is_dir():
        causes.append(f"lacks the best checkpoint so far, {best}")
    if causes:
        raise ValueError(
            f"Got {checkpoint}, which {', and which '.join(causes)}: it cannot be continued exactly. Resume with the "
            "recipe and the processes that it was made with, begin again in another output_dir or with "
            "overwrite_output_dir: true, or set ignore_data_skip: true to continue inexactly."
        )


def recorded_best_checkpoint(checkpoint: Path) -> Path | None:
    """The best checkpoint of a run as one of its checkpoints records it, where the run lies now."""
    best = (read_json(checkpoint / "trainer_state.json") or {}).get("best_model_checkpoint")
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
        sizes = read_json(checkpoint / MANIFEST)
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def checkpoints_of(output_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, the latest first."""
    found = [path for path in output_dir.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]), reverse=True)


def last_whole_checkpoint(output_dir: Path) -> Path | None:
    """The latest checkpoint that was written to its end; those that were not are passed over with a warning."""
    for checkpoint in checkpoints_of(output_dir):
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("Passing over %s: it was not written to its end.", checkpoint)
    return None


def requested_checkpoint(output_dir: Path, resume: str | bool) -> Path:
    """The checkpoint that `resume_from_checkpoint` names: its folder, or `True` for the last whole one."""
    if resume in (True, "true", "True"):
        checkpoint = last_whole_checkpoint(output_dir)
        if checkpoint is not None:
            return checkpoint
        raise ValueError(
            f"Leave out resume_from_checkpoint: {output_dir} holds no checkpoint that was written to its end."
        )
    checkpoint = Path(str(resume))
    if not is_whole(checkpoint):
        whole = [path.name for path in checkpoints_of(checkpoint.parent) if is_whole(path)]
        raise ValueError(
            f"resume_from_checkpoint is {checkpoint}, which is no checkpoint that was written to its end. Whole ones "
            f"beside it: {whole or 'none'}. Give one of these, or true for the last."
        )
    return checkpoint
