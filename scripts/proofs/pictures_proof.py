"""Picture and text together against each alone, on the same folds of a small catalogue of real paintings."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from proofs.runner import Plan, Run, mean_and_deviation, score_figures
from proofs.trained import RECIPES, train_and_score
from semart_hf.catalogue.release import read_rows, typed_splits
from semart_hf.catalogue.splits import divide
from semart_hf.catalogue.tables import ReleaseTables
from semart_hf.catalogue.vocabulary import TASKS
from semart_hf.model.pictures_semart import PictureError, load_picture
from semart_hf.training.recipe import read_recipe

RECIPE = "pictures_proof.yaml"
MODALITIES = ("image+text", "image", "text")
SHORTER_SIDE = 96  # of the pictures in pixels: what the smallest crop of the recipe needs, and less to decode


def plan(options: argparse.Namespace) -> Plan:
    """The runs of all folds."""
    common = {
        "release": options.release.name,
        "recipe": RECIPE,
        "fields": options.fields,
        "filled": count_filled(options.release),
    }
    shared = {
        "release": options.release,
        "num_folds": options.folds,
        "random_state": options.seed,
        "fields": options.fields,
    }
    tasks = [{"fold": fold, **shared} for fold in range(options.folds)]
    return Plan(common, tasks, run_one, summarise, lambda run, results: [results.get(name) for name in common])


def run_one(fold: int, release: Path, num_folds: int, random_state: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of a model for each modality in one fold."""
    run: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        splits = list(divide_into_folds(shrink(release, Path(folder, "release")), num_folds, random_state))[fold]
        for modality in MODALITIES:
            chosen = {
                "data": release.name,
                "modality": modality,
                "seed": random_state,
                "text_cache_dir": folder,
                **fields,
            }
            scores = train_and_score(RECIPE, chosen, splits)
            run[modality] = {**scores[modality], "seconds": scores["seconds"]}
            if modality == "image+text":
                run["one_checkpoint"] = {name: scores[name]["mean_accuracy"] for name in ("image", "text")}
    rows = {name: len(split) for name, split in splits.items()}
    seconds = sum(run[name]["seconds"] for name in MODALITIES)
    return {"rows": rows, "seconds": seconds, "commit": scores["commit"], **run}


def shrink(release: Path, folder: Path) -> Path:
    """The folder, where the release now lies with small pictures; a file that is no picture is left as it is."""
    (folder / "Images").mkdir(parents=True)
    for csv in release.glob("*.csv"):
        shutil.copy(csv, folder / csv.name)
    for path in sorted((release / "Images").iterdir()):
        try:
            picture = load_picture(path, least_side=SHORTER_SIDE)
        except PictureError:
            shutil.copy(path, folder / "Images" / path.name)
            continue
        scale = SHORTER_SIDE / min(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture.resize(size, Image.Resampling.BICUBIC).save(folder / "Images" / path.name, "JPEG", quality=92)
    return folder


def divide_into_folds(release: Path, num_folds: int, seed: int) -> Iterator[dict[str, Any]]:
    """For each fold, `train` and `test` as `typed_splits` gives them, with the labels that this train teaches."""
    tables = read_rows(release)
    parts = list(tables.splits.values())
    types = [value or "" for part in parts for value in part["type"]]
    text_columns = read_recipe(RECIPES / RECIPE)["text_columns"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # rare types miss some folds
        folds = list(StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(types, types))
    for _, judged in folds:
        chosen = np.zeros(len(types), dtype=np.int8)
        chosen[judged] = 1
        of_fold = ReleaseTables(divide(parts, chosen, ["train", "test"]), tables.encodings, tables.problems)
        yield typed_splits(of_fold, text_columns=text_columns)


def count_filled(release: Path) -> dict[str, int]:
    """How many rows there are, and how many have a value in each of the columns that are learned from."""
    parts = list(read_rows(release).splits.values())
    names = ("title", "description", *TASKS)
    filled = {name: sum(value is not None for part in parts for value in part[name]) for name in names}
    return {"rows": sum(map(len, parts)), **filled}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation of the accuracies over the folds, by modality and task, and the gains of both over each."""
    # A fold may have no known label of a task at all.
    accuracy = {name: score_figures([run[name] for run in runs], "accuracy") for name in MODALITIES}
    gains = {}
    for alone in MODALITIES[1:]:
        found = [run["image+text"]["mean_accuracy"] - run[alone]["mean_accuracy"] for run in runs]
        gains[alone] = {**mean_and_deviation(found), "positive": sum(gain > 0 for gain in found)}
    return {"accuracy": accuracy, "gains": gains, "is_better": all(gain["mean"] > 0 for gain in gains.values())}
