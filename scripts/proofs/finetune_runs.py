"""200 paintings of a catalogue with labels that a published model has never seen: from that model, and from towers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from proofs import runner
from proofs.runner import Options, Run, by_setting, figures, gains, mean_and_deviation, tasks_of, train_and_score
from semart_hf import register
from semart_hf.data.loading import load_paintings
from semart_hf.files import read_json, write_json
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE, START_RECIPE = "finetune.yaml", "miniature.yaml"
# Split into the published model's paintings, the museum's 200, and those that are judged.
SIZES = {"num_train": 16000, "num_val": 1, "num_test": 1}
NUM_PAINTINGS = 200
# The labels of these are halved: the published model knows one half, the museum has the other.
HALVED = ["type", "school"]
START, TOWERS, WHOLE = "from a published model", "from towers alone", "from towers alone, learning whole"
# The published model's towers, which finetune.yaml may start from instead.
TOWER_FIELDS = ("vision", "text", "text_args", "pretrained", "image_size", "text_pooling", "fusion_dim", "vocab_size")
# How the published model itself learned from new towers.
WHOLE_FIELDS, TOWER_RATES = ("trainable_text_layers", "learning_rate"), ("vision_learning_rate", "text_learning_rate")


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings with each seed; the miniature and the published model are made where there are none."""
    release = paint_miniature(options.release, workers=options.processes, **SIZES)
    model = options.release.with_name("finetune_start")
    about = model / "proof.json"
    if not about.is_file():
        write_json(about, runner.run_apart(publish, {"release": release, "folder": model}, options.processes))
    start = read_recipe(RECIPES / START_RECIPE)
    towers = {"init_from": None, **{name: start[name] for name in TOWER_FIELDS}}
    whole = {**towers, **{name: start[name] for name in WHOLE_FIELDS}, **dict.fromkeys(TOWER_RATES)}
    common = {"recipe": read_recipe(RECIPES / RECIPE), "start": read_json(about)}
    common |= {"sizes": SIZES, "num_paintings": NUM_PAINTINGS}
    settings = {START: {"init_from": str(model)}, TOWERS: towers, WHOLE: whole}
    return common, tasks_of(settings, options.seeds, release)


def publish(release: Path, folder: Path) -> dict[str, Any]:
    """Train the model that is started from, on the paintings of the first half of types and schools."""
    learned = half_of(load_paintings(release)["train"], 0)
    trainer, _, seconds = runner.trained(START_RECIPE, {"data": str(release)}, {"train": learned})
    trainer.save_model(str(folder))
    return {"recipe": START_RECIPE, "num_paintings": len(learned), "seconds": seconds}


def run_one(setting: str, seed: int, release: Path, fields: Run) -> dict[str, Any]:
    """Scores after training on `NUM_PAINTINGS` of the museum's, which the seed draws; all others are judged."""
    register()
    rows = renamed(half_of(load_paintings(release)["train"], 1))
    order = np.random.default_rng(seed).permutation(len(rows))
    drawn = {"train": order[:NUM_PAINTINGS], "test": order[NUM_PAINTINGS:]}
    splits = {name: rows.select(sorted(places)) for name, places in drawn.items()}
    found = train_and_score(RECIPE, release, seed, fields, splits)
    return {"rows": {name: len(split) for name, split in splits.items()}, **found}


def half_of(rows: datasets.Dataset, number: int) -> datasets.Dataset:
    """The paintings whose type and school are both in one half of the labels, with every second label."""
    kept = [{*range(number, len(rows.features[task].names) - 1, 2)} for task in HALVED]
    return rows.filter(lambda kind, school: kind in kept[0] and school in kept[1], input_columns=HALVED)


def renamed(rows: datasets.Dataset) -> datasets.Dataset:
    """The paintings with the museum's own names of all labels, and without labels that it does not have."""
    for task in ("type", "school", "timeframe", "medium"):
        names = [f"our {name}" for name in rows.features[task].names]
        cells = [None if number is None else names[number] for number in rows[task]]
        feature = datasets.ClassLabel(names=[*(name for name in names if name in {*cells}), "UNK"])
        numbers = [None if cell is None else feature.str2int(cell) for cell in cells]
        rows = rows.remove_columns(task).add_column(task, numbers, feature=feature)
    return rows


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Scores by setting and task, and how much the published model is better than each other, seed by seed."""
    found, summary = by_setting(runs), dict[str, Any]()
    start = found.get(START, {})
    for metric in ("accuracy", "macro_f1"):
        better = {name: gains(start, own, f"mean_{metric}") for name, own in found.items() if name != START}
        summary[metric] = {
            "scores": {
                setting: figures([runner.by_task(run["image+text"], metric) for run in own.values()])
                for setting, own in found.items()
            },
            "gains": {setting: mean_and_deviation(values) for setting, values in better.items() if values},
        }
    return summary
