"""Whether what makes training faster costs accuracy: the miniature with all of it, and with none of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import techniques_of

from proofs.runner import Options, Run, by_setting, mean_and_deviation, scores_of, tasks_of, trained
from semart_hf.data.loading import load_paintings
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE = "miniature.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
SETTINGS = ("all", "none on the same pictures", "none")
CURVES = tuple(f"{setting}, step by step" for setting in SETTINGS)
# This changes what is computed: pictures go through another filter on their way. The others change how it is computed.
OF_PICTURES = {"prepare": True, "prepared_size": 96}
FIELDS, EXACT = read_recipe(Path(__file__).with_name("speed.yaml")).values()
ON: dict[str, Any] = {"cache_frozen_text": "true", "precision": "auto", **OF_PICTURES}


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings and seeds, and those step by step, on the miniature, which is painted where there is none."""
    recipe = read_recipe(RECIPES / RECIPE)
    techniques = techniques_of(recipe["vision"], "cpu")
    off = {name: value for fields in techniques.values() for name, value in fields.items()}
    changes = dict(zip(SETTINGS, (ON, {**off, **OF_PICTURES}, off), strict=True))
    scored = {name: {**FIELDS, **fields} for name, fields in changes.items()}
    curves = {name: {**fields, **EXACT} for name, fields in zip(CURVES, scored.values(), strict=True)}
    paint_miniature(options.release, workers=options.processes, **SIZES)
    common = {"recipe": recipe, "settings": scored | curves, "sizes": SIZES, "techniques": list(techniques)}
    tasks = tasks_of(scored, options.seeds, options.release)
    return common, tasks + tasks_of(curves, options.seeds[:1], options.release)


def run_one(setting: str, seed: int, release: Path, fields: Run) -> dict[str, Any]:
    """Scores after a training; of one step by step, in which nothing is validated, the `losses` of its steps."""
    splits = load_paintings(release)
    if setting in CURVES:
        del splits["validation"]
    fields = {"data": str(release), "seed": seed, **fields}
    trainer, rows, seconds = trained(RECIPE, fields, splits, uses_techniques=setting.startswith("all"))
    if setting in CURVES:
        return {"seconds": seconds, "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line]}
    return {"seconds": seconds, **scores_of(trainer, rows["test"], release)}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation by setting and score over common seeds, differences beside the spread, and of the losses."""
    found = by_setting(runs)
    scored = {name: found.get(name, {}) for name in SETTINGS}
    seeds = sorted(set.intersection(*map(set, scored.values())))
    summary: dict[str, Any] = {"seeds": seeds}
    for score in ("mean_accuracy", "mean_macro_f1") if seeds else ():
        values = {name: [own[seed]["image+text"][score] for seed in seeds] for name, own in scored.items()}
        means = {name: mean_and_deviation(own) for name, own in values.items()}
        spreads = {name: max(own) - min(own) for name, own in values.items()}
        summary[score] = {
            **means,
            "differences": {name: means["all"]["mean"] - means[name]["mean"] for name in SETTINGS[1:]},
            "spreads": {name: max(spreads["all"], spreads[name]) for name in SETTINGS[1:]},
        }
    curves = {name: run["losses"] for name in CURVES for run in found.get(name, {}).values()}
    if len(curves) == len(CURVES):
        first = curves.pop(CURVES[0])
        summary["losses"] = {"steps": len(first), "first": first[0], "last": first[-1]}
        for name, losses in curves.items():
            apart = [abs(one - other) for one, other in zip(first, losses, strict=True)]
            largest = {"largest_difference": max(apart), "largest_difference_of_first_10": max(apart[:10])}
            summary["losses"][name] = largest
    return summary
