"""200 paintings of a catalogue with labels that a published model has never seen: from that model, and from towers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from proofs import runner
from proofs.runner import Run, mean_and_deviation, score_figures, train_and_score
from semart_hf import register
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.results import describe_environment
from semart_hf.files import write_json
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE, START_RECIPE = "finetune.yaml", "miniature.yaml"
# Split into the published model's paintings, the museum's 200, and those that are judged.
SIZES = {"num_train": 16000, "num_val": 1, "num_test": 1}
NUM_PAINTINGS = 200
# The labels of these are halved: the published model knows one half, the museum has the other.
HALVED = ("type", "school")
START, TOWERS, WHOLE = "from a published model", "from towers alone", "from towers alone, learning whole"
# The published model's towers, which finetune.yaml may start from instead.
TOWER_FIELDS = ("vision", "text", "text_args", "pretrained", "image_size", "text_pooling", "fusion_dim", "vocab_size")
# How the published model itself learned from new towers.
WHOLE_FIELDS = ("trainable_text_layers", "learning_rate")


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings with each seed; the miniature and the published model are made where there are none."""
    release = paint_miniature(options.release, workers=options.processes, **SIZES)
    model = options.release.with_name("finetune_start")
    about = model / "proof.json"
    if not about.is_file():
        runner.run_apart(publish, {"release": release, "folder": model}, options.processes)
    start = read_recipe(RECIPES / START_RECIPE)
    towers = {"init_from": None, **{name: start[name] for name in TOWER_FIELDS}}
    whole = {**towers, **{name: start[name] for name in WHOLE_FIELDS}}
    whole |= dict.fromkeys(("vision_learning_rate", "text_learning_rate"))
    common = {
        "recipe": read_recipe(RECIPES / RECIPE),
        "start": json.loads(about.read_text(encoding="utf-8")),
        "sizes": SIZES,
        "num_paintings": NUM_PAINTINGS,
    }
    settings = {START: {"init_from": str(model)}, TOWERS: towers, WHOLE: whole}
    return common, [
        {"setting": setting, "seed": seed, "release": release, "fields": settings[setting]}
        for some in ((START, TOWERS), (WHOLE,))
        for seed in options.seeds
        for setting in some
    ]


def publish(release: Path, folder: Path) -> dict[str, Any]:
    """Train the model that is started from, on the paintings of the first half of types and schools."""
    fields = {**runner.WITHOUT_VALIDATION, "data": str(release), "output_dir": str(folder)}
    trainer, rows, seconds = runner.trained(
        START_RECIPE, fields, {"train": half_of(load_paintings(release)["train"], 0)}
    )
    trainer.save_model(str(folder))
    about = {"recipe": START_RECIPE, "num_paintings": len(rows["train"]), "seconds": seconds}
    write_json(folder / "proof.json", about | {"commit": describe_environment()["commit"]})
    return about


def run_one(setting: str, seed: int, release: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores after training on `NUM_PAINTINGS` of the museum's, which the seed draws; all others are judged."""
    register()
    rows = renamed(half_of(load_paintings(release)["train"], 1))
    order = np.random.default_rng(seed).permutation(len(rows))
    splits = {
        name: rows.select(sorted(some))
        for name, some in (("train", order[:NUM_PAINTINGS]), ("test", order[NUM_PAINTINGS:]))
    }
    found = train_and_score(RECIPE, {"data": str(release), "seed": seed, **fields}, splits)
    return {"rows": {name: len(split) for name, split in splits.items()}, **found}


def half_of(rows: datasets.Dataset, number: int) -> datasets.Dataset:
    """The paintings whose type and school are both in one half of the labels, with every second label."""
    kept = [{*range(number, len(rows.features[task].names) - 1, 2)} for task in HALVED]
    cells = zip(*(rows[task] for task in HALVED), strict=True)
    places = [
        place
        for place, labels in enumerate(cells)
        if all(label in some for label, some in zip(labels, kept, strict=True))
    ]
    return rows.select(places)


def renamed(rows: datasets.Dataset) -> datasets.Dataset:
    """The paintings with the museum's own names of all labels, and without labels that it does not have."""
    for task in ("type", "school", "timeframe", "medium"):
        names = rows.features[task].names
        cells = [None if number is None else f"our {names[number]}" for number in rows[task]]
        feature = datasets.ClassLabel(names=[*(f"our {name}" for name in names if f"our {name}" in {*cells}), "UNK"])
        numbers = [None if cell is None else feature.str2int(cell) for cell in cells]
        rows = rows.remove_columns(task).add_column(task, numbers, feature=feature)
    return rows


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Scores by setting and task, and how much the published model is better than each other, seed by seed."""
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        found.setdefault(run["setting"], {})[run["seed"]] = run["image+text"]
    summary: dict[str, Any] = {}
    for metric in ("accuracy", "macro_f1"):
        gains = {
            setting: [found[START][seed][f"mean_{metric}"] - run[f"mean_{metric}"] for seed, run in by_seed.items()]
            for setting, by_seed in found.items()
            if setting != START and by_seed.keys() <= found.get(START, {}).keys()
        }
        summary[metric] = {
            "scores": {setting: score_figures([*by_seed.values()], metric) for setting, by_seed in found.items()},
            "gains": {setting: mean_and_deviation(values) for setting, values in gains.items()},
        }
    return summary
