"""Pretrained towers on real paintings by a recipe, judged on folds beside anchors that are tuned on the same rows."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from transformers import AutoModel

from proofs import anchors, runner
from proofs.painting_folds import NEAR_BITS, NUM_FOLDS, digest_of, divided, joined_rows, write_release
from proofs.runner import WITHOUT_VALIDATION, Run, mean_and_deviation
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.tables import typed_splits
from semart_hf.cli import train
from semart_hf.cli.command import load_model
from semart_hf.data.collator import MODALITIES
from semart_hf.data.data_arguments import DataArguments
from semart_hf.evaluation.comparison import compare_outcomes
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.results import collect_outcomes, describe_environment
from semart_hf.evaluation.scores import bootstrap_intervals, flatten_scores, score_outcomes
from semart_hf.evaluation.vocabularies import load_split
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.recipes.recipe import read_recipe

RECIPE, SEMART_RECIPE = "paintings", "semart-efficientnet_b0"
ANCHORS, MAJORITY = "anchors", "majority"
METRICS = tuple(anchors.METRICS)
TEXT_COLUMNS = ["TITLE", "DESCRIPTION"]
SIZES = (50, 100, 200, 400, 800)
NUM_FEW_FOLDS = 3
CHOICES = read_recipe(Path(__file__).with_name("choices.yaml"))


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Anchors and recipe on each fold, then on few rows, then the SemArt recipe, then what that could be otherwise."""
    table = joined_rows(options.releases, options.release)
    towers = {"vision": options.vision_tower, "text": options.text_tower}
    common = {
        "towers": {name: Path(source).name for name, source in towers.items()},
        "releases": [release.name for release in options.releases],
        "rows": {"number": len(table), "groups": int(table["group"].nunique()), "digest": digest_of(table)},
        "num_folds": NUM_FOLDS,
        "near_bits": NEAR_BITS,
    }
    runs: list[tuple[str, int, dict[str, Any]]] = []
    folds = [*options.seeds]
    for name in (ANCHORS, RECIPE):
        runs += [(name, fold, {}) for fold in folds]
    for size in SIZES:
        few_folds = folds[:NUM_FEW_FOLDS]
        runs += [(few(name, size), fold, {"num_rows": size}) for fold in few_folds for name in (ANCHORS, RECIPE)]
    runs += [(SEMART_RECIPE, fold, {}) for fold in folds]
    runs += [(f"{SEMART_RECIPE}: {name}", 0, {"inner_of": 0, "fields": fields}) for name, fields in CHOICES.items()]
    place = {"table": table, "folder": options.release, "towers": towers}
    return common, [
        {"setting": name, "seed": fold, "about": about_of(name, **own), **place} | own for name, fold, own in runs
    ]


def part_of(setting: str) -> str:
    """The word of `prove.py paintings --parts` that runs a setting."""
    kinds = {": ": "choices", ", ": "few", SEMART_RECIPE: "semart", RECIPE: "recipe", ANCHORS: "anchors"}
    return next(part for mark, part in kinds.items() if mark in setting)


def few(name: str, num_rows: int) -> str:
    """The setting of a recipe, or of the anchors, on so many rows."""
    return f"{name}, {num_rows} rows"


def about_of(setting: str, fields: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
    """What a run depends on beside its rows: the recipe's fields, of which the anchors have the two that they use."""
    recipe = {"min_label_count": DataArguments.min_label_count, **read_recipe(recipe_of(setting)), **(fields or {})}
    recipe = {name: value for name, value in recipe.items() if name not in ("data", "output_dir", "vision", "text")}
    recipe["text_columns"] = TEXT_COLUMNS
    if not setting.startswith(ANCHORS):
        return recipe
    used = {name: recipe[name] for name in ("min_label_count", "text_columns")}
    return used | {"grid": {name: list(values) for name, values in anchors.GRID.items()}}


def recipe_of(setting: str) -> str:
    return SEMART_RECIPE if setting.startswith(SEMART_RECIPE) else RECIPE


def run_one(
    setting: str,
    seed: int,
    about: Mapping[str, Any],
    table: pd.DataFrame,
    folder: Path,
    towers: Mapping[str, str],
    num_rows: int | None = None,
    inner_of: int | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `answers` of a setting for the judged rows of the fold `seed` beside the `truth`, as numbers of `labels`.

    Labels are those of all the fold's training rows, however few of these are learned from (`num_rows`); other answers
    are `UNK`. With `inner_of`, that fold is left out, and the others are judged.
    """
    if inner_of is not None:
        table = table[table["fold"] != inner_of].assign(fold=lambda rows: rows["fold"].rank(method="dense") - 1)
    whole, judged_rows = divided(table, seed)
    learned_rows, _ = divided(table, seed, num_rows)
    begin, begin_processor = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=folder, prefix="run-") as made:
        data = write_release(Path(made, "data"), folder / "Images", train=learned_rows, test=judged_rows)
        if setting.startswith(ANCHORS):
            found = anchor_answers(data, about, tower_columns(table, folder, towers["vision"]), seed)
        else:
            wanted = {**(fields or {}), **towers, "seed": seed, "text_columns": about["text_columns"]}
            found = model_answers(train_by_command(recipe_of(setting), data, wanted, Path(made)), data)
        spent = time.perf_counter() - begin, time.process_time() - begin_processor
        data = write_release(Path(made, "judged"), folder / "Images", train=whole, test=judged_rows)
        judged = typed_splits(read_rows(data), min_label_count=about["min_label_count"])["test"]
        tasks = list(read_rows(data).labelled_tasks)
    labels = {task: judged.features[task].names for task in tasks}
    has_text = (judged_rows["TITLE"] + judged_rows["DESCRIPTION"]).str.strip() != ""
    painters = set(learned_rows["AUTHOR"]) - {""}
    return {
        "about": dict(about),
        "seconds": round(spent[0], 1),
        "processor_seconds": round(spent[1], 1),
        "commit": describe_environment().get("commit"),
        "rows": {
            "train": len(learned_rows),
            "judged": len(judged_rows),
            "judged_with_text": int(has_text.sum()),
            "judged_with_painter": int((judged_rows["AUTHOR"] != "").sum()),
            "judged_with_known_painter": int(judged_rows["AUTHOR"].isin(painters).sum()),
        },
        **{name: value for name, value in found.items() if name != "answers"},
        "labels": labels,
        "has_text": as_line(map(int, has_text)),
        "truth": {
            task: as_line(UNKNOWN_LABEL if label is None else label for label in judged[task]) for task in tasks
        },
        "answers": {
            side: {task: as_line(place_of(name, labels[task]) for name in names) for task, names in by_task.items()}
            for side, by_task in found["answers"].items()
        },
    }


def as_line(values: Iterable[int]) -> str:
    """Numbers in a string, which a file of results has in one line."""
    return " ".join(map(str, values))


def place_of(label: str, labels: Sequence[str]) -> int:
    """The label's number, of another label that of `UNK`, which is the last."""
    return labels.index(label) if label in labels else len(labels) - 1


def train_by_command(recipe: str, data: Path, fields: Mapping[str, Any], folder: Path) -> Path:
    """The folder of a model that `semart-hf train` has trained by a recipe, with these fields in place of its own."""
    wanted = {
        **WITHOUT_VALIDATION,
        **runner.IN_PROCESS,
        **fields,
        "data": str(data),
        "output_dir": str(folder / "model"),
    }
    words = [recipe]
    for name, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *(one if isinstance(one, str) else json.dumps(one) for one in values)]
    with open(folder / "train.log", "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        train.main(words)
    return folder / "model"


def model_answers(folder: Path, data: Path) -> dict[str, Any]:
    """The labels that a trained model answers for the test split by modality and task, and its training's cost."""
    model, processor = load_model(str(folder))
    paintings = load_split(folder, data, "test", model.config.tasks)
    outcomes = collect_outcomes(model, processor, paintings)
    digest = hashlib.blake2b(digest_size=8)
    for name in ("model.safetensors", "config.json"):  # tensors; vocabularies, thresholds, temperatures
        digest.update((folder / name).read_bytes())
    training = json.loads((folder / "results.json").read_text(encoding="utf-8"))["training"]
    return {
        "model": digest.hexdigest(),
        "training": {name: training[name] for name in ("seconds", "epochs", "peak_memory_bytes")},
        "answers": {
            modality: {
                task: [found.task(task).labels[place] for place in found.task(task).predictions]
                for task in found.task_names
            }
            for modality, found in outcomes.items()
            if modality in MODALITIES
        },
    }


def anchor_answers(
    data: Path, about: Mapping[str, Any], features: Mapping[str, npt.NDArray[np.float32]], seed: int
) -> dict[str, Any]:
    """The labels that each anchor answers for the test split, and what was `chosen`, by side and task.

    A side is `majority`, or a modality and the metric that it was tuned for. That of texts learns from rows with one.
    """
    splits = typed_splits(
        read_rows(data), min_label_count=about["min_label_count"], text_columns=about["text_columns"]
    )
    pictures = [np.stack([features[name] for name in splits[split]["image_file"]]) for split in ("train", "test")]
    texts = [[text or "" for text in splits[split]["text"]] for split in ("train", "test")]
    columns = {"image": anchors.feature_columns(*pictures), "text": anchors.word_columns(*texts)}
    both = (np.hstack(parts) for parts in zip(*columns.values(), strict=True))
    columns = {"image+text": anchors.rotated(*both), **columns}
    answers: dict[str, dict[str, Any]] = {MAJORITY: {}}
    chosen: dict[str, dict[str, Any]] = {}
    for task in read_rows(data).labelled_tasks:
        names = splits["train"].features[task].names
        known = np.array([UNKNOWN_LABEL if label is None else label for label in splits["train"][task]])
        answers[MAJORITY][task] = [names[place] for place in anchors.most_frequent(known, len(texts[1]))]
        for modality, (learned, judged) in columns.items():
            shown = np.array([bool(text) for text in texts[0]]) | (modality != "text")
            labels = np.where(shown, known, UNKNOWN_LABEL)
            for metric, (predictions, best) in anchors.tune_and_predict(learned, labels, judged, seed=seed).items():
                answers.setdefault(f"{modality}, {metric}", {})[task] = [names[place] for place in predictions]
                chosen.setdefault(f"{modality}, {metric}", {})[task] = best
    return {"answers": answers, "chosen": chosen}


def tower_columns(table: pd.DataFrame, folder: Path, tower: str) -> dict[str, npt.NDArray[np.float32]]:
    """By picture, the features of a frozen tower, which are computed once and kept beside the pictures."""
    path = folder / f"features-{Path(tower).name}.npz"
    names = table["IMAGE_FILE"].tolist()
    kept = dict(np.load(path)) if path.is_file() else {}
    if missing := [name for name in names if name not in kept]:
        model = AutoModel.from_pretrained(tower, trust_remote_code=False).eval()
        rows = ({"image": Image.open(folder / "Images" / name).convert("RGB")} for name in missing)
        kept |= dict(zip(missing, anchors.tower_features(model, rows), strict=True))
        np.savez(path.with_suffix(".new.npz"), **kept)
        path.with_suffix(".new.npz").replace(path)
    return {name: kept[name] for name in names}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Scores over the judged rows of all folds together, differences to the anchors, few rows, and choices.

    An anchor's accuracy and macro-F1 are those of the setting that was tuned for each. Intervals are of 95 %, by a
    bootstrap over the rows, which are the same for both sides of a difference.
    """
    by_setting: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_setting.setdefault(run["setting"], {})[run["seed"]] = run
    found: dict[str, Any] = {}
    theirs = by_setting.get(ANCHORS, {})
    if folds := list(theirs.values()):
        found["folds"] = [run["seed"] for run in folds]
        found["rows"] = {name: sum(run["rows"][name] for run in folds) for name in folds[0]["rows"] if name != "train"}
        known = pooled(folds, MAJORITY)
        with_text = pooled(folds, f"text, {METRICS[0]}")
        for name, outcomes in {"known": known, "known_with_text": with_text}.items():
            found[name] = {task: int(outcomes.task(task).is_known.sum()) for task in outcomes.task_names}
        found["anchors"] = {side: with_intervals(pooled(folds, side)) for side in folds[0]["answers"]}
    for name in (RECIPE, SEMART_RECIPE):
        if pairs := [(run, theirs[fold]) for fold, run in by_setting.get(name, {}).items() if fold in theirs]:
            found.setdefault("recipes", {})[name] = against_anchors(*map(list, zip(*pairs, strict=True)))
    found["few"] = few_rows(by_setting)
    settings = {name: f"{SEMART_RECIPE}: {name}" for name in CHOICES}
    found["choices"] = {
        name: {"fields": CHOICES[name], **figures_of(list(by_setting[setting].values()))}
        for name, setting in settings.items()
        if setting in by_setting
    }
    found["not_run"] = [name for name in CHOICES if name not in found["choices"]]
    return found


def pooled(runs: Sequence[Run], side: str) -> Outcomes:
    """A side's answers for the judged rows of several folds; those by text alone for the rows that have one."""
    tasks = [
        {"name": task, "labels": list(dict.fromkeys(label for run in runs for label in run["labels"][task]))}
        for task in runs[0]["labels"]
    ]
    outcomes = Outcomes(tasks)
    for run in runs:
        columns: list[list[Any]] = [[], []]
        for task in tasks:
            places = [task["labels"].index(label) for label in run["labels"][task["name"]]]
            for column, source in zip(columns, (run["answers"][side], run["truth"]), strict=True):
                values = map(int, source[task["name"]].split())
                column.append([places[value] if value >= 0 else value for value in values])
            if side.startswith("text"):
                is_shown = run["has_text"].split()
                columns[1][-1] = [
                    value if shown == "1" else UNKNOWN_LABEL
                    for value, shown in zip(columns[1][-1], is_shown, strict=True)
                ]
        predictions, references = (np.array(column, dtype=np.int64).T for column in columns)
        outcomes.add(predictions, references)
    return outcomes


def with_intervals(outcomes: Outcomes) -> dict[str, Any]:
    """Accuracy and macro-F1 by task and in the mean, each with its interval."""
    scores, intervals = flatten_scores(score_outcomes(outcomes)), bootstrap_intervals(outcomes)
    return {
        metric: {
            task: {"value": scores[f"{task}_{metric}"], "interval": intervals[f"{task}_{metric}"]}
            for task in (*outcomes.task_names, "mean")
        }
        for metric in METRICS
    }


def against_anchors(runs: Sequence[Run], anchor_runs: Sequence[Run]) -> dict[str, Any]:
    """A recipe's `scores` by modality, and its `gains` over the anchor of the same modality on the same rows."""
    training = [run["training"] for run in runs]
    found: dict[str, Any] = {"folds": [run["seed"] for run in runs], "scores": {}, "gains": {}}
    found["minutes"] = mean_and_deviation([one["seconds"] / 60 for one in training])
    found["processor_minutes"] = mean_and_deviation([run["processor_seconds"] / 60 for run in runs])
    found["gigabytes"] = max(one["peak_memory_bytes"] for one in training) / 1e9
    for modality in MODALITIES:
        ours = pooled(runs, modality)
        found["scores"][modality] = with_intervals(ours)
        for metric in METRICS:
            anchor = pooled(anchor_runs, f"{modality}, {metric}")
            compared = compare_outcomes(ours, anchor, names=(RECIPE, ANCHORS))
            entries = {task: compared["tasks"][task][metric] for task in ours.task_names}
            entries["mean"] = compared["mean"][metric]
            found["gains"].setdefault(modality, {})[metric] = {
                task: {"value": entry["difference"], "interval": entry["interval"]} for task, entry in entries.items()
            }
    return found


def few_rows(by_setting: Mapping[str, Mapping[int, Run]]) -> dict[str, Any]:
    """By number of rows and metric, mean and deviation over the seeds that both sides have, and each seed's gain."""
    found: dict[str, Any] = {}
    for size in SIZES:
        ours, theirs = (by_setting.get(few(name, size), {}) for name in (RECIPE, ANCHORS))
        for metric in METRICS if (seeds := sorted({*ours} & {*theirs})) else ():
            sides = {
                name: [flatten_scores(score_outcomes(pooled([runs[seed]], side)))[f"mean_{metric}"] for seed in seeds]
                for name, runs, side in (
                    (RECIPE, ours, MODALITIES[0]),
                    (ANCHORS, theirs, f"{MODALITIES[0]}, {metric}"),
                )
            }
            found.setdefault(str(size), {})[metric] = {
                **{name: mean_and_deviation(values) for name, values in sides.items()},
                "gains": [one - other for one, other in zip(*sides.values(), strict=True)],
            }
    return found


def figures_of(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean accuracy and macro-F1 by modality, and what the training cost."""
    scores = {modality: flatten_scores(score_outcomes(pooled(runs, modality))) for modality in MODALITIES}
    return {
        "folds": len(runs),
        "processor_minutes": sum(run["processor_seconds"] for run in runs) / 60 / len(runs),
        **{name: {metric: found[f"mean_{metric}"] for metric in METRICS} for name, found in scores.items()},
    }
