"""The folder that a run writes: begun, continued by the same command, replaced by a whole one, or left alone."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semart_hf.files import refuse_mounted, write_text
from semart_hf.recipes.recipe import changed_fields

from .checkpoints import MANIFEST, checkpoints_of, last_whole_checkpoint, requested_checkpoint

logger = logging.getLogger(__name__)

RECIPE = "recipe.yaml"
RESULTS = "results.json"
CURVES = "training_curves.png"
#: All that a run writes into its folder, by name; nothing else is ever removed.
OWN_FILES = (
    *(RECIPE, RESULTS, CURVES, MANIFEST, "config.json", "model.safetensors", "model-*-of-*.safetensors"),
    *("model.safetensors.index.json", "*_semart.py", "processor_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "trainer_state.json", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt"),
    *("rng_state*.pth", "pytorch_model_fsdp.bin", "*.distcp", ".metadata", "learned_weights.safetensors"),
    *("progress-*.json", "log_window-*.json", "events.out.tfevents.*"),
)
#: The folders in which these lie.
OWN_FOLDERS = ("checkpoint-*", "resume", "runs", "optimizer_*", "pytorch_model_fsdp_*")
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
        write_text(self.folder / RECIPE, yaml.safe_dump(dict(self.recipe), sort_keys=False, allow_unicode=True))

    def finish(self) -> list[str]:
        """Put the finished run in its place; names of what stays in `output_dir` because no run wrote it."""
        if self.folder == self.output_dir:
            return []
        if (old := _beside(self.output_dir, "old")).exists():
            raise ValueError(
                f"Got {old}, which is left of an earlier replacement. The finished run waits in {self.folder} for its "
                "place. Remove the former, and give the same command."
            )
        return _take_place(self.folder, self.output_dir)


def plan_run(
    output_dir: Path, recipe: Mapping[str, Any], *, overwrite: bool = False, resume: str | bool | None = None
) -> RunPlan:
    """Where a run writes, and the checkpoint that it continues from.

    A folder in which the same recipe was cut off is continued from its last whole checkpoint. `resume` is a
    checkpoint's folder, or `True` for the last whole one, also after a change of the recipe.
    """
    output_dir = output_dir.resolve()
    recipe = {name: value for name, value in recipe.items() if name not in _ABOUT_STARTING}
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output_dir {output_dir} is a file, but a run writes a folder. Give another --output_dir.")
    new = _beside(output_dir, "new")
    if _beside(output_dir, "old").is_dir():  # a run was cut off while it took its place
        _take_place(new, output_dir)
        if overwrite and (output_dir / RECIPE).is_file() and not _changes(output_dir, recipe):
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
        changes = _changes(output_dir, recipe)
        if not changes:
            return RunPlan(output_dir, output_dir, recipe, _last_checkpoint(output_dir))
        if not overwrite:
            raise ValueError(
                f"output_dir {output_dir} holds an unfinished run of another recipe: {changes}. Give the same recipe "
                "to continue it, another --output_dir, --overwrite_output_dir true to replace it, or "
                "--resume_from_checkpoint true to continue it with the changed recipe."
            )
    _check_is_replaceable(output_dir, overwrite)
    continues = (new / RECIPE).is_file() and not _changes(new, recipe)
    return RunPlan(output_dir, new, recipe, _last_checkpoint(new) if continues else None)


def _beside(output_dir: Path, which: str) -> Path:
    return output_dir.with_name(f".{output_dir.name}.{which}")


def _changes(folder: Path, recipe: Mapping[str, Any]) -> dict[str, str]:
    """The fields in which a folder's recipe differs."""
    try:
        begun = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError:
        begun = {}
    # What is compared is what would be read again.
    return changed_fields(begun, yaml.safe_load(yaml.safe_dump(dict(recipe))))


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
        raise ValueError(
            f"output_dir {folder} holds {found}, which is no model, so it is not replaced. Give another --output_dir."
        )


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
    if old.is_dir():
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
