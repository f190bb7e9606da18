"""Whether what makes training faster costs accuracy: the miniature with all of it, and with none of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.techniques import techniques_of

from proofs.runner import Plan, Run, mean_and_deviation
from proofs.trained import RECIPES, WITHOUT_VALIDATION, train_and_score, trained
from semart_hf.data.loading import load_paintings
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.training.recipe import read_recipe

RECIPE = "miniature.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
SETTINGS = ("all", "none on the same pictures", "none")
CURVES = tuple(f"{setting}, step by step" for setting in SETTINGS)
SCORES = ("mean_accuracy", "mean_macro_f1")
# This changes what is computed: pictures go through another filter on their way. The others change how it is computed.
OF_PICTURES = {"prepare": True, "prepared_size": 96}
# What gives every technique something to do: a frozen text layer before one that learns and is read at its first
# token, and all of the study's augmentations.
FIELDS: dict[str, Any] = {
    "trainable_text_layers": 1,
    "text_pooling": "first",
    "rotation": 10,
    "color_jitter": 0.1,
    "random_erasing": 0.1,
    "num_train_epochs": 6,
}
ON: dict[str, Any] = {"cache_frozen_text": "true", "precision": "auto", **OF_PICTURES}
# Step by step, nothing is left to chance, and all see the same numbers.
EXACT: dict[str, Any] = {
    "text_args": {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512, "dropout": 0, "attention_dropout": 0},
    "fusion_dropout": 0,
    "crop_scale": [1, 1],
    "crop_ratio": [1, 1],
    "horizontal_flip": 0,
    "rotation": 0,
    "color_jitter": 0,
    "random_erasing": 0,
    "image_dropout": 0,
    "text_dropout": 0,
    "ema_decay": 0,
    "max_steps": 100,
    "logging_steps": 1,
    "text_cache_dtype": "fp32",
    "precision": "fp32",
    **WITHOUT_VALIDATION,
}


def plan(options: argparse.Namespace) -> Plan:
    """The runs of all settings and seeds, and those step by step, on the miniature, painted where there is none."""
    recipe = read_recipe(RECIPES / RECIPE)
    techniques = techniques_of(recipe["vision"], "cpu")
    off = {name: value for fields in techniques.values() for name, value in fields.items()}
    paint_miniature(options.release, workers=options.processes, **SIZES)
    common: dict[str, Any] = {
        "recipe": recipe,
        "settings": {name: {**fields_of(name, off), **options.fields} for name in (*SETTINGS, *CURVES)},
        "fields": options.fields,
        "sizes": SIZES,
        "techniques": list(techniques),
    }
    wanted = [(name, seed) for seed in options.seeds for name in SETTINGS]
    wanted += [(name, options.seeds[0]) for name in CURVES]
    tasks = [
        {"setting": name, "seed": seed, "release": options.release, "fields": common["settings"][name]}
        for name, seed in wanted
    ]
    return Plan(common, tasks, run_one, summarise, values_of, (*SETTINGS, *CURVES))


def fields_of(setting: str, off: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting changes in the recipe; the second argument switches off the techniques that have a field."""
    changed = dict(ON) if setting.startswith("all") else dict(off)
    if "same pictures" in setting:
        changed |= OF_PICTURES
    return {**FIELDS, **changed, **(EXACT if setting in CURVES else {})}


def values_of(run: Run, results: Mapping[str, Any]) -> list[Any]:
    """What a run was trained by, and on how many paintings."""
    return [results["recipe"], results["settings"].get(run["setting"]), results["sizes"]]


def run_one(setting: str, seed: int, release: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of one training by modality, or the losses of its steps."""
    chosen = {"data": str(release), "seed": seed, **fields}
    splits, uses_techniques = load_paintings(release), setting.startswith("all")
    if setting not in CURVES:
        return train_and_score(RECIPE, chosen, splits, uses_techniques=uses_techniques)
    del splits["validation"]
    with trained(RECIPE, chosen, splits, uses_techniques=uses_techniques) as (trainer, _, about):
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {**about, "losses": losses}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation by setting and score, differences beside the spread between seeds, and of the losses.

    Seeds count that all settings have. The spread of two settings is that of the one whose seeds are further apart.
    """
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
