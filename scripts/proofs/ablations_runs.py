"""What each technique of `miniature-best.yaml` is worth: the recipe whole, without one of them, and without any."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proofs.runner import Run, mean_and_deviation, score_figures, train_on_release
from semart_hf.evaluation.results import ceilings_of
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

run_one = train_on_release
BEST, PLAIN = "miniature-best.yaml", "miniature-plain.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
CHANGES = ("mean_accuracy", "mean_macro_f1", "mean_absolute_error_periods")
TECHNIQUES = read_recipe(Path(__file__).with_name("ablations.yaml"))
# By how much the mean macro-F1 is to be better than plain cross-entropy's, and the mean accuracy at worst.
GOALS = {"macro_f1": 0.05, "accuracy": -0.01, "share_of_ceiling": 0.96}


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings and seeds, on the long-tailed miniature, which is painted where there is none."""
    best, plain = (read_recipe(RECIPES / name) for name in (BEST, PLAIN))
    settings = {
        "best": (BEST, {}),
        "plain": (PLAIN, {}),
        "plain, as long": (PLAIN, {name: best[name] for name in TECHNIQUES["longer training"]}),
        **{f"without {technique}": (BEST, fields) for technique, fields in TECHNIQUES.items()},
    }
    paint_miniature(options.release, long_tail=True, workers=options.processes, **SIZES)
    common: dict[str, Any] = {
        "recipes": {BEST: best, PLAIN: plain},
        "techniques": TECHNIQUES,
        "sizes": SIZES,
        "goals": GOALS,
        "ceilings": ceilings_of(options.release),
    }
    tasks = [
        {"setting": name, "seed": seed, "release": options.release, "recipe": recipe, "fields": fields}
        for name, (recipe, fields) in settings.items()
        for seed in options.seeds
    ]
    return common, tasks


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation by setting and score, and the `change` against the best over the seeds that both have."""
    summary: dict[str, Any] = {}
    seeds: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds.setdefault(run["setting"], {})[run["seed"]] = run
    for name, found in seeds.items():
        both = [run["image+text"] for run in found.values()]
        summary[name] = {"seeds": sorted(found)}
        summary[name] |= {score: score_figures(both, score) for score in ("accuracy", "macro_f1")}
        summary[name]["periods"] = mean_and_deviation([run["mean_absolute_error_periods"] for run in both])
        for modality in ("image", "text"):
            summary[name][modality] = mean_and_deviation([run[modality]["mean_accuracy"] for run in found.values()])
        common = sorted(found.keys() & seeds.get("best", {}).keys())
        if name != "best" and common:
            pairs = [(found[seed]["image+text"], seeds["best"][seed]["image+text"]) for seed in common]
            summary[name]["change"] = {
                key: mean_and_deviation([own[key] - best[key] for own, best in pairs]) for key in CHANGES
            }
    return summary
