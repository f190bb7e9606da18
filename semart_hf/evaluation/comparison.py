"""Models on the same paintings: differences with intervals, tests and sentences, and towers against their cost."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from scipy.special import bdtr

from semart_hf.data.rows import labels_of
from semart_hf.files import read_json
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes
from .predictions import read_predictions, row_names
from .scores import NUM_RESAMPLES, flatten_scores, interval_of, resampled_scores, score_outcomes

SIGNIFICANCE = 0.05
# What is compared, and what it is called; the last two are of tasks with several labels.
COMPARED_SCORES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mean_average_precision": "mean average precision",
}
# What accuracy is set against, by its name in a tower's `cost`.
COST_AXES = {
    "seconds_per_epoch": "seconds an epoch of training",
    "milliseconds_per_painting": "milliseconds for one painting",
    "flops_forward": "operations a painting, forward",
    "parameters": "parameters",
}


class TowerRun(NamedTuple):
    """One tower's finished run."""

    name: str
    recipe: Mapping[str, Any]  # the fields that were to be the same for all towers
    outcomes: Outcomes
    entry: Mapping[str, Any]  # its part of comparison.json
    about: Mapping[str, Any]  # data, split and machine of its evaluation


def compare_outcomes(
    first: Outcomes, second: Outcomes, *, names: tuple[str, str], num_resamples: int = NUM_RESAMPLES
) -> dict[str, Any]:
    """`COMPARED_SCORES` of two models by task and in the mean, differences by draws of the same rows, and words."""
    check_same_rows(first, second, names)
    scores = [flatten_scores(score_outcomes(outcomes)) for outcomes in (first, second)]
    resampled = resampled_scores([first, second], num_resamples=num_resamples)
    comparison: dict[str, Any] = {"first": names[0], "second": names[1], "tasks": {}, "mean": {}, "in_words": []}
    for task in [*first.task_names, "mean"]:
        for score, label in COMPARED_SCORES.items():
            flat = f"{task}_{score}"
            drawn = [one.get(flat, np.array(np.nan)) for one in resampled]
            if any(np.isnan(values).all() for values in drawn):
                continue
            differences = drawn[0] - drawn[1]
            low, high = interval_of(differences)
            entry: dict[str, Any] = {
                "first": scores[0][flat],
                "second": scores[1][flat],
                "difference": scores[0][flat] - scores[1][flat],
                "interval": [low, high],
                "bootstrap_p": bootstrap_p(differences),
                "is_significant": not low <= 0 <= high,
            }
            if score == "accuracy" and task != "mean":
                entry["mcnemar"] = mcnemar(first, second, task)
            entry["in_words"] = in_words(entry, names, task if score == "accuracy" else f"{task} {label}")
            comparison["in_words"].append(entry["in_words"])
            (comparison["mean"] if task == "mean" else comparison["tasks"].setdefault(task, {}))[score] = entry
    return comparison


def check_same_rows(first: Outcomes, second: Outcomes, names: tuple[str, str]) -> None:
    """Raise ValueError where tasks, rows, vocabularies or true labels differ."""
    if problem := next(_differences(first, second), None):
        raise ValueError(
            f"Got the evaluations of {names[0]} and {names[1]}{problem}. Only the same can be compared. Evaluate both "
            "models with the same --data, --split and --map_labels."
        )


def _differences(first: Outcomes, second: Outcomes) -> Iterator[str]:
    if first.task_names != second.task_names:
        yield f" with the tasks {first.task_names} and {second.task_names}"
    if first.num_rows != second.num_rows or first.row_ids != second.row_ids:
        yield f", of other paintings or in another order: {first.num_rows} and {second.num_rows}"
    for task in first.task_names:
        ours, theirs = first.task(task), second.task(task)
        if ours.labels != theirs.labels:
            yield f", whose {task} labels differ: {sorted({*ours.labels} ^ {*theirs.labels}) or 'their order'}"
        if type(ours) is not type(theirs):
            yield f", of which one alone has several labels of {task} for a painting"
        differs = np.atleast_2d((ours.references != theirs.references).T).any(axis=0)
        if num_differing := int(np.sum(differs)):
            yield f", whose true {task} differs in {num_differing} of {first.num_rows} paintings"


def read_compared(folder: Path, tasks: list[dict[str, Any]], paintings: Dataset) -> tuple[Outcomes, str]:
    """The outcomes of another evaluation, and its model's name, for a model with these tasks and paintings."""
    others, expected = read_predictions(folder / "predictions.parquet"), Outcomes(tasks)
    truth = labels_of(paintings.select_columns(expected.task_names).to_list(), tasks).numpy()
    if others.columns == expected.columns and others.num_rows == len(truth):
        # Of paintings whose picture could not be read, and that have no text, the labels do not count.
        found = [others.task(name).references.reshape(len(truth), -1) for name in expected.task_names]
        truth[np.concatenate(found, axis=1) == UNKNOWN_LABEL] = UNKNOWN_LABEL
    expected.add(np.zeros_like(truth), truth, row_names(paintings))
    check_same_rows(expected, others, ("this model", str(folder)))
    return others, str((read_json(folder / "results.json") or {}).get("model", folder))


def mcnemar(first: Outcomes, second: Outcomes, task: str) -> dict[str, float | int]:
    """McNemar's exact test (1947, two-sided binomial): paintings that one alone got right, and the p value of that."""
    ours, theirs = first.task(task).correct, second.task(task).correct
    only_first, only_second = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    p = min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))
    return {"only_first": only_first, "only_second": only_second, "p": p}


def bootstrap_p(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p value of no difference, (1 + k) / (1 + n) of the draws (Davison & Hinkley 1997, section 4.2)."""
    drawn = differences[~np.isnan(differences)]
    other_side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + other_side) / (1 + len(drawn)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values after Holm's correction (1979) for their number, in their order."""
    order = np.argsort(p_values, kind="stable")
    factors, corrected = np.arange(len(order), 0, -1), np.empty(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return corrected.tolist()


def in_words(entry: dict[str, Any], names: tuple[str, str], subject: str) -> str:
    """The comparison as a sentence a reader can quote, in percentage points, the better model first."""
    better, worse, points, span = lead(entry, names)
    span = f"95 % interval {span}"
    span += f", McNemar {p_value_words(entry['mcnemar']['p'])}" if "mcnemar" in entry else ""
    if entry["is_significant"]:
        return f"{better} is better on {subject} by {points} points, {span}."
    if points == "0.0":
        return f"{better} and {worse} are level on {subject}, {span}."
    return f"No significant difference on {subject}: {better} is ahead by {points} points, {span}."


def lead(entry: Mapping[str, Any], names: tuple[str, str]) -> tuple[str, str, str, str]:
    """The better of two by name, the other, by how many percentage points, and the interval of that."""
    (better, worse), (low, high) = names, entry["interval"]
    if entry["difference"] < 0:
        better, worse, low, high = worse, better, -high, -low
    span = f"{signed_points(100 * low)} to {signed_points(100 * high)}"
    return better, worse, f"{100 * abs(entry['difference']):.1f}", span


def signed_points(points: float) -> str:
    """Percentage points with one decimal and a true minus sign."""
    return f"{points:.1f}".replace("-", "−").replace("−0.0", "0.0")


def p_value_words(p: float) -> str:
    """A p value as it is written in a sentence: `p = 0.03` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def compare_runs(runs: Sequence[TowerRun], *, num_resamples: int | None = None) -> dict[str, Any]:
    """What comparison.json holds: each tower's scores and cost, every pair's differences, and the Pareto fronts."""
    first = runs[0].outcomes
    num_resamples = num_resamples or enough_resamples(len(runs), len(first.task_names))
    pairs = [
        compare_outcomes(one.outcomes, other.outcomes, names=(one.name, other.name), num_resamples=num_resamples)
        for one, other in combinations(runs, 2)
    ]
    correct_for_many(pairs)
    towers = {run.name: run.entry for run in runs}
    return {
        **runs[0].about,
        "num_rows": first.num_rows,
        "tasks": first.task_names,
        "towers": towers,
        "pairs": pairs,
        "pareto": {axis: pareto_front(towers, axis) for axis in COST_AXES},
        "recipe_differences": recipe_differences(runs),
    }


def enough_resamples(num_towers: int, num_tasks: int) -> int:
    """How many draws let a difference stay significant when corrected: a bootstrap p is never below 2 / draws."""
    return max(NUM_RESAMPLES, 100 * (num_towers * (num_towers - 1) // 2) * num_tasks)


def correct_for_many(pairs: Sequence[dict[str, Any]]) -> None:
    """Give differences `p_corrected` and `is_significant_among_all`, among those of a score by task or in the mean."""
    families: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for pair in pairs:
        for scored in (pair["mean"], *pair["tasks"].values()):
            for score, entry in scored.items():
                families.setdefault((scored is pair["mean"], score), []).append(entry)
    for entries in families.values():
        p_values = [entry["mcnemar"]["p"] if "mcnemar" in entry else entry["bootstrap_p"] for entry in entries]
        for entry, p in zip(entries, holm(p_values), strict=True):
            entry["p_corrected"] = p
            entry["is_significant_among_all"] = bool(entry["is_significant"] and p < SIGNIFICANCE)


def read_run(folder: Path, model: Path, recipe: Mapping[str, Any]) -> TowerRun:
    """A tower's run, of the files in its folder and in its model's; a cost that was not measured is None."""
    results, cost = (read_json(folder / name) or {} for name in ("evaluation/results.json", "cost/cost.json"))
    config, trained = (read_json(model / name) or {} for name in ("config.json", "results.json"))
    vision, training = config.get("vision_config") or {}, trained.get("training") or {}
    about = {"data": results["data"], "split": results["split"], "environment": cost.pop("environment")}
    entry = {
        "model": str(model),
        "vision": vision.get("architecture"),
        "image_size": ((vision.get("pretrained_cfg") or {}).get("input_size") or [None])[-1],
        "frozen_vision_stages": config.get("frozen_vision_stages"),
        "scores": results["modalities"],
        "cost": {
            "epochs": training.get("epochs"),
            "training_paintings": training.get("paintings"),
            "seconds_per_epoch": training.get("seconds_per_epoch"),
            "training_peak_memory_bytes": training.get("peak_memory_bytes"),
            **cost,
        },
        "trained_on": trained.get("environment"),
    }
    return TowerRun(folder.name, recipe, read_predictions(folder / "evaluation" / "predictions.parquet"), entry, about)


def pareto_front(towers: Mapping[str, Mapping[str, Any]], axis: str) -> list[str]:
    """The towers that no other equals in accuracy at less cost, or surpasses at no more; cheapest first."""
    points = {
        name: (tower["cost"][axis], -tower["scores"]["image+text"]["mean_accuracy"])
        for name, tower in towers.items()
        if tower["cost"][axis] is not None
    }
    front = [
        name
        for name, (cost, error) in points.items()
        if not any(c <= cost and e <= error and (c, e) != (cost, error) for c, e in points.values())
    ]
    return sorted(front, key=lambda name: points[name])


def recipe_differences(runs: Sequence[TowerRun]) -> dict[str, dict[str, Any]]:
    """Field to each tower's value, for the fields that were to be the same and are not."""
    known = [run for run in runs if run.recipe]
    fields = dict.fromkeys(name for run in known for name in run.recipe)
    values = {name: {run.name: run.recipe.get(name) for run in known} for name in fields}
    return {name: found for name, found in values.items() if any(v != found[known[0].name] for v in found.values())}
