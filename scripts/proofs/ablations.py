"""What each technique of `miniature-best.yaml` is worth: the recipe whole, without one of them, and without any."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofs.runner import Plan, Run, mean_and_deviation, score_figures
from proofs.trained import RECIPES, train_and_score
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.results import ceilings_of
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.training.recipe import read_recipe

BEST, PLAIN = "miniature-best.yaml", "miniature-plain.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
SCORES = ("accuracy", "macro_f1")
CHANGES = ("mean_accuracy", "mean_macro_f1", "mean_absolute_error_periods")
# Fields of miniature-best.yaml that take one technique away.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "logit adjustment": {"loss": "cross_entropy"},
    "lexicon": {"text_lexicon": False},
    "losses of each modality": {"modality_loss": 0.0},
    "more dropout in the text tower": {"text_args": {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512}},
    "averaged weights": {"ema_decay": 0.0},
    "whole pictures": {"crop_pct": None},
    "longer training": {"num_train_epochs": 12, "image_size": 64},
}
LONGER = "plain, as long"
"""Plain cross-entropy with the best recipe's values of "longer training": its epochs, and its size of pictures."""
NUMBERS_OF_TECHNIQUES = {"lexicon_penalty", "logit_adjustment_tau"}
"""Fields that say nothing where their technique is off."""
GOALS = {"macro_f1": 0.05, "accuracy": -0.01, "share_of_ceiling": 0.96}
"""By how much the mean macro-F1 is to be better than plain cross-entropy's, and the mean accuracy at worst."""


def plan(options: argparse.Namespace) -> Plan:
    """The runs of all settings and seeds, on the long-tailed miniature, which is painted where there is none.

    Raises:
        ValueError: If a setting is unknown, or the folder holds something else.
    """
    settings = options.settings or all_settings()
    unknown = [name for name in settings if name not in all_settings()]
    if unknown:
        raise ValueError(f"Got the settings {unknown}, but there are {all_settings()}. Choose among these.")
    paint_miniature(options.release, long_tail=True, workers=options.processes, **SIZES)
    common: dict[str, Any] = {
        "recipes": {name: read_recipe(RECIPES / name) for name in (BEST, PLAIN)},
        "techniques": TECHNIQUES,
        "fields": options.fields,
        "sizes": SIZES,
        "goals": GOALS,
        "ceilings": ceilings_of(options.release),
    }
    tasks = [
        {
            "setting": name,
            "seed": seed,
            "release": options.release,
            "fields": {**fields_of(name, common), **options.fields},
        }
        for name in settings
        for seed in options.seeds
    ]
    return Plan(common, tasks, run_one, summarise, values_of, all_settings())


def run_one(setting: str, seed: int, release: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of one training, by modality."""
    chosen = {"data": str(release), "seed": seed, **fields}
    return train_and_score(recipe_of(setting), chosen, load_paintings(release))


def all_settings() -> list[str]:
    """`best`, `plain`, `plain, as long`, and `without …` for each technique."""
    return ["best", "plain", LONGER, *(f"without {technique}" for technique in TECHNIQUES)]


def recipe_of(setting: str) -> str:
    """The name of the recipe that a setting changes."""
    return PLAIN if setting in ("plain", LONGER) else BEST


def fields_of(setting: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting changes in its recipe."""
    techniques = results["techniques"]
    if setting == LONGER:
        return {name: results["recipes"][BEST][name] for name in techniques["longer training"]}
    found: dict[str, Any] = techniques.get(setting.removeprefix("without "), {})
    return found


def values_of(run: Run, results: Mapping[str, Any]) -> list[Any]:
    """What a run was trained by, and on how many paintings."""
    recipe, changed = results["recipes"][recipe_of(run["setting"])], fields_of(run["setting"], results)
    return [{**recipe, **changed, **results["fields"]}, results["sizes"]]


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation over the seeds, by setting: scores by task, and the `change` against the best by score.

    A change is taken seed by seed, over the seeds that both settings have.
    """
    summary: dict[str, Any] = {}
    seeds: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds.setdefault(run["setting"], {})[run["seed"]] = run
    for name, found in seeds.items():
        both = [run["image+text"] for run in found.values()]
        summary[name] = {"seeds": sorted(found), **{score: score_figures(both, score) for score in SCORES}}
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
