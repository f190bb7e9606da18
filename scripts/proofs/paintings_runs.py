"""Pretrained towers on real paintings by a recipe, judged on folds beside anchors that are tuned on the same rows."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from proofs import anchors, runner
from proofs.runner import WITHOUT_VALIDATION, Options, Run, by_setting, mean_and_deviation
from semart_hf.catalogue.catalogue import RELEASE_FILES, read_rows
from semart_hf.catalogue.tables import typed_splits
from semart_hf.cli import train
from semart_hf.cli.command import load_model
from semart_hf.data.collator import MODALITIES
from semart_hf.data.data_arguments import DataArguments
from semart_hf.evaluation.comparison import compare_outcomes
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.results import collect_outcomes
from semart_hf.evaluation.scores import bootstrap_intervals, flatten_scores, score_outcomes
from semart_hf.evaluation.vocabularies import load_split
from semart_hf.files import write_text
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.preparation.shards import picture_signature
from semart_hf.recipes.recipe import read_recipe, with_fields, write_recipe

RECIPE, SEMART_RECIPE, ANCHORS = "paintings", "semart-efficientnet_b0", "anchors"
METRICS = tuple(anchors.METRICS)
TEXT_COLUMNS = ["TITLE", "DESCRIPTION"]
SIZES = (50, 100, 200, 400, 800)
NUM_FOLDS, NUM_FEW_FOLDS = 5, 3
_CHOICES = read_recipe(Path(__file__).with_name("choices.yaml"))
CHOICES, BASE, ADOPTED = (_CHOICES[name] for name in ("choices", "base", "adopted"))
AS_IT_WAS = "as it was"
CHOICE_FOLDS = {name: range(NUM_FEW_FOLDS) for name in _CHOICES["on_three_folds"]}
LABELS = ("TYPE", "SCHOOL", "TIMEFRAME", "TECHNIQUE")
COLUMNS = ["IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME"]
# Files beside a release, which correct its labels or name the work that a picture shows.
BESIDE = ("relabelled.csv", "sources.csv")
# Twice what the preparation takes for copies: a painter's versions, and details of one painting, too.
NEAR_BITS = 64


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Anchors and recipe on each fold, then on few rows, then the SemArt recipe, then what that could be otherwise."""
    table = joined_rows(options.releases, options.release)
    towers = {"vision": options.vision_tower, "text": options.text_tower}
    digest = hashlib.blake2b(table.to_csv(index=False).encode(), digest_size=8).hexdigest()
    common = {
        "towers": {name: Path(source).name for name, source in towers.items()},
        "releases": [release.name for release in options.releases],
        "rows": {"number": len(table), "groups": int(table["group"].nunique()), "digest": digest},
        "num_folds": NUM_FOLDS,
        "near_bits": NEAR_BITS,
    }
    # Choices are judged by other folds of the rows that fold 0 learns from.
    inner = table[table["fold"] != 0].assign(fold=lambda rows: rows["fold"] - 1)
    few_folds, sides = options.seeds[:NUM_FEW_FOLDS], (ANCHORS, RECIPE)
    least = about_of(ANCHORS, {})["min_label_count"]  # the SemArt recipe's own labels would be fewer than the anchors'
    settings: dict[str, tuple[Sequence[int], dict[str, Any]]] = {
        **{name: (options.seeds, {}) for name in sides},
        **{f"{name}, {size} rows": (few_folds, {"num_rows": size}) for size in SIZES for name in sides},
        SEMART_RECIPE: (options.seeds, {"fields": {"min_label_count": least}}),
        **{
            f"{SEMART_RECIPE}: {name}": (CHOICE_FOLDS.get(name, [0]), {"fields": BASE | own, "table": inner})
            for name, own in CHOICES.items()
        },
    }
    shared = {"table": table, "folder": options.release, "towers": towers, "num_rows": len(table), "fields": {}}
    return common, [
        {"setting": name, "seed": fold, "about": about_of(name, own.get("fields", {})), **shared, **own}
        for name, (folds, own) in settings.items()
        for fold in folds
    ]


def part_of(setting: str) -> str:
    """The word of `prove.py paintings --parts` that runs a setting."""
    kinds = {": ": "choices", ", ": "few", SEMART_RECIPE: "semart", RECIPE: "recipe", ANCHORS: "anchors"}
    return next(part for mark, part in kinds.items() if mark in setting)


def about_of(setting: str, fields: Run) -> dict[str, Any]:
    """What a run depends on beside its rows: the recipe's fields, of which the anchors have the two that they use."""
    recipe = {"min_label_count": DataArguments.min_label_count, **read_recipe(recipe_of(setting)), **fields}
    recipe["text_columns"] = TEXT_COLUMNS
    if setting.startswith(ANCHORS):
        grid = {name: list(values) for name, values in anchors.GRID.items()}
        return {**{name: recipe[name] for name in ("min_label_count", "text_columns")}, "grid": grid}
    return {name: value for name, value in recipe.items() if name not in ("data", "output_dir", "vision", "text")}


def recipe_of(setting: str) -> str:
    return SEMART_RECIPE if setting.startswith(SEMART_RECIPE) else RECIPE


def joined_rows(releases: Sequence[Path], folder: Path) -> pd.DataFrame:
    """All releases' rows with the `COLUMNS`, `work`, `group` and `fold`; their pictures come to `folder`/Images."""
    parts = []
    for release in releases:
        rows = pd.concat([split.to_pandas() for split in read_rows(release).splits.values()], ignore_index=True)
        rows = rows.rename(columns=str.upper).assign(release=release.name, work="").fillna("")
        rows = rows.set_index("IMAGE_FILE", drop=False)
        for path in (release / name for name in BESIDE if (release / name).is_file()):
            better = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], index_col="IMAGE_FILE")
            better = better.rename(columns={"semart_file": "work"})
            rows.update(better[better.columns.intersection([*LABELS, "work"])])
        parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    if twice := table["IMAGE_FILE"][table["IMAGE_FILE"].duplicated()].tolist():
        raise ValueError(f"Got {twice[:3]} in two of {list(map(str, releases))}. A picture has a name of its own.")
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    for source, name in zip(table["IMAGES_FOLDER"], table["IMAGE_FILE"], strict=True):
        if not (folder / "Images" / name).exists():
            shutil.copyfile(Path(source, name), folder / "Images" / name)
    table = table[[*COLUMNS, "release", "work"]]
    table["group"] = groups_of(table, folder / "Images")
    table["fold"] = folds_of(table)
    return table


def groups_of(table: pd.DataFrame, images: Path) -> npt.NDArray[np.int32]:
    """A number for each row, the same for rows of one work, of one title or of pictures that are nearly the same."""
    bits = []
    for name in table["IMAGE_FILE"]:
        with Image.open(images / name) as picture:
            signature = np.frombuffer(picture_signature(picture.convert("RGB")), dtype=np.uint8)
        bits.append(2 * np.unpackbits(signature).astype(np.float32) - 1)
    signs = np.stack(bits)
    is_same = signs @ signs.T >= signs.shape[1] - 2 * NEAR_BITS
    for column in ("work", "TITLE"):
        values = np.array([" ".join(value.casefold().split()) for value in table[column]], dtype=object)
        is_same |= (values[:, None] == values[None]) & (values != "")
    return connected_components(is_same, directed=False)[1]


def folds_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The fold of each row: groups stay together, and each fold has its share of every label, as far as they allow."""
    # By the rarest kind of label that is known: school, else timeframe, else technique, else type.
    strata = np.full(len(table), "", dtype=object)
    for column in ("TYPE", "TECHNIQUE", "TIMEFRAME", "SCHOOL"):
        values = table[column].to_numpy(dtype=object)
        strata = np.where(values != "", column + values, strata)
    folds = np.full(len(table), -1)
    divider = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, rows) in enumerate(divider.split(strata, strata, table["group"])):
            folds[rows] = fold
    return folds


def divided(table: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows of a fold, in an order that is random by the fold, and its judged rows."""
    order = np.random.default_rng(fold).permutation(np.flatnonzero(table["fold"] != fold))
    return table.iloc[order], table[table["fold"] == fold]


def write_release(folder: Path, images: Path, **splits: pd.DataFrame) -> Path:
    """A release of the rows of each split, whose pictures are links to the files in `images`."""
    (folder / "Images").mkdir(parents=True)
    for split, rows in splits.items():
        write_text(folder / RELEASE_FILES[split], rows[COLUMNS].to_csv(sep="\t", index=False, quoting=1))
        for name in rows["IMAGE_FILE"]:
            os.link(images / name, folder / "Images" / name)
    return folder


def run_one(
    setting: str, seed: int, about: Run, table: pd.DataFrame, folder: Path, towers: Run, num_rows: int, fields: Run
) -> dict[str, Any]:
    """The `answers` of a setting for the judged rows of the fold `seed` beside the `truth`, as numbers of `labels`.

    Labels are those of all training rows, however few are learned from (`num_rows`); other answers are `UNK`.
    """
    whole, judged = divided(table, seed)
    learned = whole[:num_rows]
    with tempfile.TemporaryDirectory(dir=folder, prefix="run-") as made:
        data = write_release(Path(made, "data"), folder / "Images", train=learned, test=judged)
        if setting.startswith(ANCHORS):
            found = anchors.anchor_answers(data, about, anchors.tower_columns(table, folder, towers["vision"]), seed)
        else:
            wanted = {**fields, **towers, "seed": seed, "text_columns": about["text_columns"]}
            found = model_answers(recipe_of(setting), data, wanted, Path(made))
        rows = read_rows(write_release(Path(made, "judged"), folder / "Images", train=whole, test=judged))
        tasks, true = list(rows.labelled_tasks), typed_splits(rows, min_label_count=about["min_label_count"])["test"]
    labels = {task: true.features[task].names for task in tasks}
    places = {task: {name: place for place, name in enumerate(names)} for task, names in labels.items()}
    has_text, has_painter = (judged["TITLE"] + judged["DESCRIPTION"]).str.strip() != "", judged["AUTHOR"] != ""
    return {
        "about": dict(about),
        "rows": {
            "train": len(learned),
            "judged": len(judged),
            "judged_with_text": int(has_text.sum()),
            "judged_with_painter": int(has_painter.sum()),
            "judged_with_known_painter": int((judged["AUTHOR"].isin(learned["AUTHOR"]) & has_painter).sum()),
        },
        **found,
        "labels": labels,
        "has_text": as_line(map(int, has_text)),
        "truth": {task: as_line(anchors.numbers_of(true[task])) for task in tasks},
        "answers": {
            side: {
                task: as_line(places[task].get(name, len(places[task]) - 1) for name in names)
                for task, names in by_task.items()
            }
            for side, by_task in found["answers"].items()
        },
    }


def as_line(values: Iterable[int]) -> str:
    """Numbers in a string, which a file of results has in one line."""
    return " ".join(map(str, values))


def model_answers(recipe: str, data: Path, fields: Run, made: Path) -> dict[str, Any]:
    """What a model that `semart-hf train` makes in a folder answers for the test split, and its training's cost."""
    folder, own_recipe = made / "model", made / "recipe.yaml"
    wanted = {**WITHOUT_VALIDATION, **runner.IN_PROCESS, **fields, "data": str(data), "output_dir": str(folder)}
    write_recipe(own_recipe, with_fields(read_recipe(recipe), wanted))
    with open(made / "train.log", "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        train.main([str(own_recipe)])
    model, processor = load_model(str(folder))
    outcomes = collect_outcomes(model, processor, load_split(folder, data, "test", model.config.tasks))
    answers: dict[str, dict[str, list[str]]] = {}
    for modality in MODALITIES:
        found = {task: outcomes[modality].task(task) for task in outcomes[modality].task_names}
        answers[modality] = {task: [own.labels[place] for place in own.predictions] for task, own in found.items()}
    # Tensors; vocabularies, thresholds, temperatures.
    content = b"".join((folder / name).read_bytes() for name in ("model.safetensors", "config.json"))
    training = json.loads((folder / "results.json").read_text(encoding="utf-8"))["training"]
    return {
        "model": hashlib.blake2b(content, digest_size=8).hexdigest(),
        "training": {name: training[name] for name in ("seconds", "epochs", "peak_memory_bytes")},
        "answers": answers,
    }


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Scores over the judged rows of all folds together, differences to the anchors, few rows, and choices."""
    settings = by_setting(runs)
    found: dict[str, Any] = {}
    theirs = settings.get(ANCHORS, {})
    if folds := list(theirs.values()):
        found["folds"] = [*theirs]
        found["rows"] = {name: sum(run["rows"][name] for run in folds) for name in folds[0]["rows"] if name != "train"}
        for name, side in {"known": anchors.MAJORITY, "known_with_text": f"text, {METRICS[0]}"}.items():
            outcomes = pooled(folds, side)
            found[name] = {task: int(outcomes.task(task).is_known.sum()) for task in outcomes.task_names}
        found["anchors"] = {side: with_intervals(pooled(folds, side)) for side in folds[0]["answers"]}
    for name in (RECIPE, SEMART_RECIPE):
        if pairs := [(run, theirs[fold]) for fold, run in settings.get(name, {}).items() if fold in theirs]:
            found.setdefault("recipes", {})[name] = against_anchors(*map(list, zip(*pairs, strict=True)))
    found["few"] = few_rows(settings)
    choices = {name: settings.get(f"{SEMART_RECIPE}: {name}", {}) for name in CHOICES}
    found["choices"] = {name: choice_scores(name, choices) for name in CHOICES if choices[name]}
    found["base"], found["adopted"] = BASE, ADOPTED
    found["choices_min_label_count"] = about_of(SEMART_RECIPE, {})["min_label_count"]
    found["not_run"] = [name for name in CHOICES if not choices[name]]
    return found


def choice_scores(name: str, choices: Mapping[str, Mapping[int, Run]]) -> dict[str, Any]:
    """Of a choice by modality scores, and `gains` over the recipe as it was on the folds that both have.

    `won` says of each such fold whether both scores of picture and text are higher.
    """
    runs, others = choices[name], choices.get(AS_IT_WAS, {})
    seconds = [run["processor_seconds"] for run in runs.values()]
    found: dict[str, Any] = {"fields": CHOICES[name], "folds": [*runs], "minutes": sum(seconds) / 60 / len(seconds)}
    shared = [fold for fold in runs if fold in others and name != AS_IT_WAS]
    for modality in MODALITIES:
        found[modality] = mean_scores([*runs.values()], modality)
        if shared:
            sides = [pooled([side[fold] for fold in shared], modality) for side in (runs, others)]
            gains = differences(*sides, names=(name, AS_IT_WAS))
            found[modality]["gains"] = {metric: by_task["mean"] for metric, by_task in gains.items()}
    found["won"] = []
    for fold in shared:
        ours, theirs = (mean_scores([side[fold]], MODALITIES[0]) for side in (runs, others))
        found["won"].append(all(ours[metric] > theirs[metric] for metric in METRICS))
    return found


def pooled(runs: Sequence[Run], side: str) -> Outcomes:
    """A side's answers for the judged rows of several folds; those by text alone for the rows that have one."""
    tasks = [*runs[0]["labels"]]
    names = {task: list(dict.fromkeys(label for run in runs for label in run["labels"][task])) for task in tasks}
    outcomes = Outcomes([{"name": task, "labels": labels} for task, labels in names.items()])
    for run in runs:
        columns: list[list[Any]] = [[], []]
        for task, labels in names.items():
            places = {str(number): labels.index(label) for number, label in enumerate(run["labels"][task])}
            places[str(UNKNOWN_LABEL)] = UNKNOWN_LABEL
            for column, source in zip(columns, (run["answers"][side], run["truth"]), strict=True):
                column.append([places[number] for number in source[task].split()])
        predictions, references = (np.array(column, dtype=np.int64).T for column in columns)
        if side.startswith("text"):
            references[np.array(run["has_text"].split()) == "0"] = UNKNOWN_LABEL
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
        found["scores"][modality], found["gains"][modality] = with_intervals(ours), {}
        for metric in METRICS:
            anchor = pooled(anchor_runs, f"{modality}, {metric}")
            found["gains"][modality][metric] = differences(ours, anchor, names=(RECIPE, ANCHORS))[metric]
    return found


def differences(ours: Outcomes, theirs: Outcomes, *, names: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """By metric, of each task and of the mean how much better the first is, with its interval."""
    compared = compare_outcomes(ours, theirs, names=names)
    return {
        metric: {
            task: {"value": scores[metric]["difference"], "interval": scores[metric]["interval"]}
            for task, scores in {**compared["tasks"], "mean": compared["mean"]}.items()
        }
        for metric in METRICS
    }


def few_rows(settings: Mapping[str, Mapping[int, Run]]) -> dict[str, Any]:
    """By number of rows and metric, mean and deviation over the seeds that both sides have, and each seed's gain."""
    found: dict[str, Any] = {}
    for size in SIZES:
        ours, theirs = (settings.get(f"{name}, {size} rows", {}) for name in (RECIPE, ANCHORS))
        for metric in METRICS if (seeds := sorted({*ours} & {*theirs})) else ():
            sides = ((ours, MODALITIES[0]), (theirs, f"{MODALITIES[0]}, {metric}"))
            values = [[mean_scores([own[seed]], side)[metric] for seed in seeds] for own, side in sides]
            gains = [one - other for one, other in zip(*values, strict=True)]
            means = dict(zip((RECIPE, ANCHORS), map(mean_and_deviation, values), strict=True))
            found.setdefault(str(size), {})[metric] = {**means, "gains": gains}
    return found


def mean_scores(runs: Sequence[Run], side: str) -> dict[str, float]:
    scores = score_outcomes(pooled(runs, side))
    return {metric: scores[f"mean_{metric}"] for metric in METRICS}
