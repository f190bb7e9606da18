"""Picture and text together against each alone, on the same folds of a small catalogue of real paintings."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofs.scores import mean_and_deviation
from proofs.training import train_and_score

RECIPE = Path(__file__).resolve().parents[2] / "semart_hf" / "recipes" / "pictures_proof.yaml"
MODALITIES = ("image+text", "image", "text")
SHORTER_SIDE = 96  # of the pictures in pixels: what the smallest crop of the recipe needs, and less to decode


def prove(release: Path, num_folds: int, seed: int, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Scores of a model for each modality in each fold, and their summary, as far as known after each of the folds.

    Args:
        release: Folder of a release; its splits are joined.
        num_folds: Of the cross-validation.
        seed: Of the folds and the trainings.
        fields: Of the recipe, which win over its own.
    """
    filled = count_filled(release)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        small = shrink(release, Path(folder, "release"))
        for fold, splits in enumerate(divide_into_folds(small, num_folds, seed)):
            run: dict[str, Any] = {"fold": fold, "rows": {name: len(split) for name, split in splits.items()}}
            for modality in MODALITIES:
                chosen = {"data": release.name, "modality": modality, "seed": seed, "text_cache_dir": folder, **fields}
                scores = train_and_score(RECIPE, chosen, splits)
                run[modality] = {**scores[modality], "seconds": scores["seconds"]}
                if modality == "image+text":
                    run["one_checkpoint"] = {name: scores[name]["mean_accuracy"] for name in ("image", "text")}
            runs.append(run)
            print(f"fold {fold}: " + ", ".join(f"{m} {run[m]['mean_accuracy']:.3f}" for m in MODALITIES), flush=True)
            yield {
                "release": release.name,
                "recipe": RECIPE.name,
                "fields": dict(fields),
                "filled": filled,
                "runs": runs,
                "summary": summarise(runs),
            }


def shrink(release: Path, folder: Path) -> Path:
    """The folder, where the release now lies with small pictures; a file that is no picture is left as it is."""
    from PIL import Image, UnidentifiedImageError

    from semart_hf.model.pictures_semart import FORMATS

    (folder / "Images").mkdir(parents=True)
    for csv in release.glob("*.csv"):
        shutil.copy(csv, folder / csv.name)
    for path in sorted((release / "Images").iterdir()):
        try:
            with Image.open(path, formats=FORMATS) as picture:
                scale = SHORTER_SIDE / min(picture.size)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                picture.draft("RGB", size)
                picture.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(
                    folder / "Images" / path.name, "JPEG", quality=92
                )
        except (OSError, UnidentifiedImageError):
            shutil.copy(path, folder / "Images" / path.name)
    return folder


def divide_into_folds(release: Path, num_folds: int, seed: int) -> Iterator[dict[str, Any]]:
    """For each fold, `train` and `test` as `typed_splits` gives them, with the labels that this train teaches."""
    from sklearn.model_selection import StratifiedKFold

    from semart_hf.catalogue.release import read_rows, typed_splits
    from semart_hf.catalogue.splits import divide
    from semart_hf.catalogue.tables import ReleaseTables
    from semart_hf.training.recipe import read_recipe

    tables = read_rows(release)
    parts = list(tables.splits.values())
    types = [value or "" for part in parts for value in part["type"]]
    recipe = read_recipe(RECIPE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # rare types miss some folds
        folds = list(StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(types, types))
    for _, judged in folds:
        chosen = np.zeros(len(types), dtype=np.int8)
        chosen[judged] = 1
        of_fold = ReleaseTables(divide(parts, chosen, ["train", "test"]), tables.encodings, tables.problems)
        yield typed_splits(of_fold, text_columns=recipe["text_columns"])


def count_filled(release: Path) -> dict[str, int]:
    """How many rows there are, and how many have a value in each of the columns that are learned from."""
    from semart_hf.catalogue.release import read_rows
    from semart_hf.catalogue.vocabulary import TASKS

    parts = list(read_rows(release).splits.values())
    names = ("title", "description", *TASKS)
    filled = {name: sum(value is not None for part in parts for value in part[name]) for name in names}
    return {"rows": sum(map(len, parts)), **filled}


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of the accuracies over the folds, by modality and task, and the gains of both over each."""
    summary: dict[str, Any] = {"accuracy": {}, "gains": {}}
    # A fold may have no known label of a task at all.
    tasks = [task for task in runs[0]["image"]["tasks"] if all(task in run["image"]["tasks"] for run in runs)]
    for modality in MODALITIES:
        found = [run[modality] for run in runs]
        summary["accuracy"][modality] = {
            **{task: mean_and_deviation([one["tasks"][task]["accuracy"] for one in found]) for task in tasks},
            "mean": mean_and_deviation([one["mean_accuracy"] for one in found]),
        }
    for alone in MODALITIES[1:]:
        gains = [run["image+text"]["mean_accuracy"] - run[alone]["mean_accuracy"] for run in runs]
        summary["gains"][alone] = {**mean_and_deviation(gains), "positive": sum(gain > 0 for gain in gains)}
    summary["is_better"] = all(gain["mean"] > 0 for gain in summary["gains"].values())
    return summary
