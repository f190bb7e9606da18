"""The folder that a run writes: begun anew, continued by the same command, or left alone."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .checkpoints import checkpoints_of, is_whole, last_whole_checkpoint, remove_checkpoint

logger = logging.getLogger(__name__)

RECIPE = "recipe.yaml"
RESULTS = "results.json"
# How a run is begun says nothing of what it trains, and a secret is not written down.
_ABOUT_STARTING = ("overwrite_output_dir", "resume_from_checkpoint", "hub_token")


def begin_run(
    folder: Path, recipe: Mapping[str, Any], *, overwrite: bool = False, resume: str | bool | None = None
) -> Path | None:
    """The checkpoint that the run continues from, `None` for a run that begins; the folder then holds its recipe.

    A folder in which the same recipe was cut off is continued from its last whole checkpoint.

    Args:
        folder: The run's `output_dir`.
        recipe: The effective recipe.
        overwrite: Whether a model that the folder holds is replaced.
        resume: A checkpoint's folder, or `True` for the last whole one, also after a change of the recipe.

    Raises:
        ValueError: If the folder holds something else, or there is no whole checkpoint to resume from.
    """
    recipe = {name: value for name, value in recipe.items() if name not in _ABOUT_STARTING}
    checkpoint = None
    if resume not in (None, False, "false", "False"):
        checkpoint = _asked_checkpoint(folder, resume)
    elif folder.is_dir() and any(folder.iterdir()):
        if overwrite:
            _remove_model(folder)
        else:
            checkpoint = _unfinished_run(folder, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    (folder / RECIPE).write_text(text, encoding="utf-8")
    return checkpoint


def _asked_checkpoint(folder: Path, resume: str | bool | None) -> Path:
    if resume in (True, "true", "True"):
        checkpoint = last_whole_checkpoint(folder)
        if checkpoint is None:
            raise ValueError(
                f"resume_from_checkpoint is true, but {folder} holds no checkpoint that was written to its end. Leave "
                "it out to begin anew."
            )
        return checkpoint
    checkpoint = Path(str(resume))
    if not is_whole(checkpoint):
        there = [path.name for path in checkpoints_of(checkpoint.parent) if is_whole(path)]
        raise ValueError(
            f"resume_from_checkpoint is {checkpoint}, which is no checkpoint that was written to its end. Whole ones "
            f"beside it: {there or 'none'}. Give one of these, or true for the last."
        )
    return checkpoint


def _unfinished_run(folder: Path, recipe: Mapping[str, Any]) -> Path | None:
    found = sorted(path.name for path in folder.iterdir())[:5]
    if not (folder / RECIPE).is_file() or (folder / RESULTS).is_file():
        raise ValueError(
            f"output_dir {folder} already holds {found}. Give another --output_dir, replace what is there with "
            "--overwrite_output_dir true, or train it further with --resume_from_checkpoint true."
        )
    begun = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")) or {}
    changed = {
        name: f"{begun.get(name)!r} then, {recipe.get(name)!r} now"
        for name in sorted({*begun, *recipe})
        if begun.get(name) != recipe.get(name)
    }
    if changed:
        raise ValueError(
            f"output_dir {folder} holds an unfinished run of another recipe: {changed}. Give the same recipe to "
            "continue it, another --output_dir, --overwrite_output_dir true to replace it, or "
            "--resume_from_checkpoint true to continue it with the changed recipe."
        )
    checkpoint = last_whole_checkpoint(folder)
    if checkpoint is None:
        logger.warning("%s holds a run that was cut off before its first checkpoint: it begins anew.", folder)
        for unfinished in checkpoints_of(folder):
            remove_checkpoint(unfinished)
    return checkpoint


def _remove_model(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir())[:5]
    is_model = any((folder / name).is_file() for name in ("config.json", RECIPE)) or bool(checkpoints_of(folder))
    if not is_model:
        raise ValueError(
            f"output_dir {folder} holds {found}, which is no model, so it is not deleted. Give another --output_dir."
        )
    shutil.rmtree(folder)
