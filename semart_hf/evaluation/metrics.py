"""Scores over all tasks, nested as in results.json, and the Trainer's `compute_metrics`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import EvalPrediction

from .outcomes import Outcomes, softmax
from .scores import score_task


def score_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    """Scores as nested in results.json: `num_rows`, `tasks`, `mean_accuracy`, `mean_macro_f1` and `exact_match`.

    Means are over the tasks that have a known label; `exact_match` is over the rows where every task has one.

    Raises:
        ValueError: No row has a known label.
    """
    tasks = {name: score_task(outcomes.task(name)) for name in outcomes.task_names}
    scored = [scores for scores in tasks.values() if scores["num_rows"]]
    if not scored:
        raise ValueError(
            f"Got {outcomes.num_rows} rows without a single known label for {outcomes.task_names}. At least one "
            "is needed to score. Evaluate a labelled split, or call predict instead."
        )
    is_right, is_known = exact_matches(outcomes)
    return {
        "num_rows": outcomes.num_rows,
        "tasks": tasks,
        "mean_accuracy": float(np.mean([scores["accuracy"] for scores in scored])),
        "mean_macro_f1": float(np.mean([scores["macro_f1"] for scores in scored])),
        "exact_match": float(is_right.sum() / is_known.sum()) if is_known.any() else None,
    }


def exact_matches(outcomes: Outcomes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which paintings (rows,) have every label known and right, and which have every label known."""
    columns = [outcomes.task(name) for name in outcomes.task_names]
    is_known = np.all([column.is_known for column in columns], axis=0)
    return np.all([column.correct for column in columns], axis=0) & is_known, is_known


def flatten_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Nested scores as `{task}_{score}` and `mean_*`; holes and per-label scores are left out."""
    flat = {f"{task}_{name}": value for task, found in scores["tasks"].items() for name, value in found.items()}
    return {name: value for name, value in (flat | dict(scores)).items() if isinstance(value, int | float)}


def compute_metrics_for(tasks: Sequence[Mapping[str, Any]]) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for the Trainer: flat names such as `type_accuracy`, `school_macro_f1` and `mean_accuracy`.

    Args:
        tasks: The model's `config.tasks`.
    """
    names = [task["name"] for task in tasks]

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        if not isinstance(logits, Mapping):
            raise ValueError(
                f"Got predictions of type {type(logits).__name__}. A mapping from task to logits is needed. List the "
                "model's other outputs in config.keys_to_ignore_at_inference."
            )
        broken = [name for name in names if not np.isfinite(logits[name]).all()]
        if broken:
            raise ValueError(
                f"Got NaN or infinite logits for {broken}. Finite numbers are needed to score. The training has "
                "diverged: lower the learning rate, or look for broken pictures in the data."
            )
        outcomes = Outcomes(tasks)
        references = np.asarray(prediction.label_ids).reshape(-1, len(names))
        outcomes.add({name: softmax(logits[name]) for name in names}, references)
        return flatten_scores(score_outcomes(outcomes))

    return compute_metrics


def check_metric_name(
    metric: str,
    tasks: Sequence[Mapping[str, Any]],
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]],
    validation_sets: Iterable[str] = (),
) -> None:
    """Refuse a `metric_for_best_model` that no validation will have.

    Raises:
        ValueError: If the metric is unknown.
    """
    size = max(len(task["labels"]) for task in tasks)
    logits = {task["name"]: np.eye(size, len(task["labels"])) for task in tasks}
    labels = np.stack([np.arange(size) % len(task["labels"]) for task in tasks], axis=1)
    known = {"loss", *compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
    known = {f"{name}_{metric}" for name in validation_sets for metric in known} or known
    name = metric.removeprefix("eval_")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ValueError(
            f"metric_for_best_model is {name!r}, which validation does not compute. "
            f"{'Did you mean ' + ', '.join(close) + '? ' if close else ''}There are, by task, e.g. type_accuracy and "
            "type_macro_f1, and over the tasks mean_accuracy, mean_macro_f1 and loss; with several validation sets "
            "each has its set's name before it. Set one of them."
        )
