"""The towers of a comparison: one recipe, with another vision tower in each, or runs that are finished already."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm

from semart_hf.recipes.recipe import RECIPES, read_recipe

# What belongs to the tower and not to the recipe that all towers share.
TOWER_FIELDS = ("vision", "frozen_vision_stages")
_FROM_SCRATCH = (False, "false", "text")


class Tower(NamedTuple):
    """A tower to train by its fields of a recipe and compare, or the folder of a finished run of one."""

    name: str
    fields: Mapping[str, Any]
    finished: Path | None = None


def resolve_towers(words: Sequence[str], recipe: Mapping[str, Any]) -> list[Tower]:
    """A tower for each word: a finished run's folder, a recipe file, `X` for `semart-X.yaml`, or a timm model.

    Of a recipe only the tower's own fields are taken. A recipe that starts from scratch takes the architecture alone
    and freezes what it freezes itself: early stages are only worth freezing if they have learned something.
    """
    towers = [_resolve(word, recipe) for word in words]
    names = [tower.name for tower in towers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Got several towers with the names {twice}. Each needs its own. Rename a finished run's folder, or leave "
            "one out of --towers."
        )
    if len(towers) < 2:
        raise ValueError(f"Got the towers {names}. At least two can be compared. Pass --towers with more of them.")
    return towers


def _resolve(word: str, recipe: Mapping[str, Any]) -> Tower:
    path = Path(word)
    if _is_finished_run(path):
        folder = path.resolve()
        # A comparison of towers itself keeps each model in TOWER/model.
        return Tower(folder.parent.name if folder.name == "model" else folder.name, {}, path)
    is_recipe, named = path.suffix in (".yaml", ".yml"), RECIPES / f"semart-{word}.yaml"
    fields, name = {"vision": word}, word.rpartition("/")[2]
    if is_recipe or named.is_file():
        own = read_recipe(path if is_recipe else named)
        if "vision" not in own:
            raise ValueError(f"Got the recipe {word}, which names no vision tower. Add `vision: NAME` to it.")
        fields = {name: own[name] for name in TOWER_FIELDS if name in own}
        name = path.stem if is_recipe else word
    vision = str(fields["vision"])
    architecture = vision.rpartition("/")[2].partition(".")[0]
    if not (timm.is_model(architecture) or Path(vision).is_dir()):
        known = sorted(file.stem.removeprefix("semart-") for file in RECIPES.glob("semart-*.yaml"))
        raise ValueError(
            f"Got the tower {word!r}. Allowed are the folder of a finished run, a recipe, one of {known}, and the "
            "names of timm's models or their Hub ids. Correct --towers."
        )
    if recipe.get("pretrained") in _FROM_SCRATCH and not Path(vision).is_dir():
        fields = {**fields, "vision": architecture}
        fields.pop("frozen_vision_stages", None)
    return Tower(name, fields)


def _is_finished_run(folder: Path) -> bool:
    """Whether a folder holds a model of this package with its weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "semart" and any(folder.glob("*.safetensors"))
