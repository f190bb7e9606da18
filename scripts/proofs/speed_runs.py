"""Whether what makes training faster costs accuracy: the miniature with all of it, and with none of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import techniques_of

from proofs.runner import Run, mean_and_deviation, train_on_release
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

run_one = train_on_release
RECIPE = "miniature.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
SETTINGS = ("all", "none on the same pictures", "none")
CURVES = tuple(f"{setting}, step by step" for setting in SETTINGS)
SCORES = ("mean_accuracy", "mean_macro_f1")
# This changes what is computed: pictures go through another filter on their way. The others change how it is computed.
OF_PICTURES = {"prepare": True, "prepared_size": 96}
FIELDS, EXACT = read_recipe(Path(__file__).with_name("speed.yaml")).values()
ON: dict[str, Any] = {"cache_frozen_text": "true", "precision": "auto", **OF_PICTURES}


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings and seeds, and those step by step, on the miniature, which is painted where there is none."""
    recipe = read_recipe(RECIPES / RECIPE)
    techniques = techniques_of(recipe["vision"], "cpu")
    off = {name: value for fields in techniques.values() for name, value in fields.items()}
    settings = {"all": ON, "none on the same pictures": {**off, **OF_PICTURES}, "none": off}
    settings = {name: {**FIELDS, **fields} for name, fields in settings.items()}
    settings |= {f"{name}, step by step": {**fields, **EXACT} for name, fields in settings.items()}
    paint_miniature(options.release, workers=options.processes, **SIZES)
    common: dict[str, Any] = {
        "recipe": recipe,
        "settings": settings,
        "sizes": SIZES,
        "techniques": list(techniques),
    }
    tasks = [
        {
            "setting": name,
            "seed": seed,
            "release": options.release,
            "recipe": RECIPE,
            "fields": settings[name],
            "uses_techniques": name.startswith("all"),
            "step_by_step": name in CURVES,
        }
        for seed in options.seeds
        for name in settings
        if name in SETTINGS or seed == options.seeds[0]
    ]
    return common, tasks


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation by setting and score over common seeds, differences beside the spread, and of the losses."""
    summary: dict[str, Any] = {}
    scored = {name: {run["seed"]: run for run in runs if run["setting"] == name} for name in SETTINGS}
    seeds = sorted(set.intersection(*(set(runs_by_seed) for runs_by_seed in scored.values())))
    for score in SCORES if seeds else ():
        found = {name: [scored[name][seed]["image+text"][score] for seed in seeds] for name in SETTINGS}
        figures = {name: mean_and_deviation(values) for name, values in found.items()}
        spreads = {name: max(values) - min(values) for name, values in found.items()}
        summary[score] = {
            **figures,
            "differences": {name: figures["all"]["mean"] - figures[name]["mean"] for name in SETTINGS[1:]},
            "spreads": {name: max(spreads["all"], spreads[name]) for name in SETTINGS[1:]},
        }
    curves = {run["setting"]: run["losses"] for run in runs if run["setting"] in CURVES}
    if len(curves) == len(CURVES):
        first, *others = (curves[name] for name in CURVES)
        summary["losses"] = {"steps": len(first), "first": first[0], "last": first[-1]}
        for name, losses in zip(CURVES[1:], others, strict=True):
            apart = [abs(one - other) for one, other in zip(first, losses, strict=True)]
            summary["losses"][name] = {
                "largest_difference": max(apart),
                "largest_difference_of_first_10": max(apart[:10]),
            }
    return {"seeds": seeds, **summary}
