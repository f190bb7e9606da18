"""Scores of art classification: an `evaluate.Metric`, nested results, and the Trainer's `compute_metrics`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import evaluate
import numpy as np

from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes, softmax
from .scores import score_task

if TYPE_CHECKING:
    from transformers import EvalPrediction

_DESCRIPTION = """Accuracy, F1, calibration and dating error of paintings classified by several tasks at once.
Rows whose label is unknown (-100) are left out of their task's count."""

_CITATION = """@inproceedings{garcia2018how,
  title={How to Read Paintings: Semantic Art Understanding with Multi-Modal Retrieval},
  author={Garcia, Noa and Vogiatzis, George},
  booktitle={ECCV Workshops},
  year={2018}
}"""

_INPUTS = """
Args:
    predictions: label indices (rows, tasks), or a dict from task to probabilities (rows, labels).
    references: label indices (rows, tasks), -100 where the label is unknown.
Returns:
    a flat dict: `type_accuracy`, `type_macro_f1`, ..., `mean_accuracy`, `mean_macro_f1`, `exact_match`, `num_rows`.
Examples:
    >>> metric = ArtClassificationMetric(tasks=["type", "school"])
    >>> scores = metric.compute(predictions=[[0, 1], [1, 1]], references=[[0, 1], [0, -100]])
    >>> scores["type_accuracy"], scores["school_accuracy"]
    (0.5, 1.0)
"""


def score_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    """Scores as nested in results.json: `num_rows`, `tasks`, `mean_accuracy`, `mean_macro_f1` and `exact_match`.

    Means are over the tasks that have a known label; `exact_match` is over the rows where every task has one.

    Raises:
        ValueError: There is no row, or no row has a known label.
    """
    if outcomes.num_rows == 0:
        raise ValueError("Got no row. Scores need at least one painting. Check the split and the filter before it.")
    tasks = {name: score_task(outcomes.task(name)) for name in outcomes.task_names}
    scored = [scores for scores in tasks.values() if scores["num_rows"]]
    if not scored:
        raise ValueError(
            f"Got {outcomes.num_rows} rows without a single known label for {outcomes.task_names}. At least one "
            "label is needed to score. Evaluate a labelled split, or call predict instead."
        )
    return {
        "num_rows": outcomes.num_rows,
        "tasks": tasks,
        "mean_accuracy": float(np.mean([scores["accuracy"] for scores in scored])),
        "mean_macro_f1": float(np.mean([scores["macro_f1"] for scores in scored])),
        "exact_match": exact_match(outcomes),
    }


def exact_match(outcomes: Outcomes) -> float | None:
    """Fraction of the paintings with every label known that got all of them right; None when there is none."""
    columns = [outcomes.task(name) for name in outcomes.task_names]
    is_known = np.all([column.references != UNKNOWN_LABEL for column in columns], axis=0)
    is_correct = np.all([column.correct for column in columns], axis=0)
    return float(is_correct[is_known].mean()) if is_known.any() else None


def flatten_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Nested scores as `{task}_{score}` and `mean_*`; holes and per-label scores are left out."""
    flat = {
        f"{task}_{name}": value
        for task, task_scores in scores["tasks"].items()
        for name, value in task_scores.items()
        if isinstance(value, int | float)
    }
    return flat | {name: value for name, value in scores.items() if isinstance(value, int | float)}


class ArtClassificationMetric(evaluate.Metric):
    """Scores predictions of several tasks a painting, without the network.

    The base class writes every batch to an Arrow file and hands all rows back as Python lists, about 2 GB for a
    million paintings with their distributions; this one folds each batch into compact columns and writes nothing.

    Args:
        tasks: Names of the columns, or the model's `config.tasks`, which adds per-label and dating scores.
    """

    def __init__(
        self,
        *args: Any,
        tasks: Sequence[str | Mapping[str, Any]] = ("type", "school", "timeframe", "medium"),
        **kwargs: Any,
    ):
        """Raises ValueError for more than one process: the batches are held in memory and cannot be shared."""
        if kwargs.get("num_process", 1) != 1:
            raise ValueError(
                f"Got num_process={kwargs['num_process']}. This metric holds its batches in one process. Gather the "
                "predictions first, with accelerator.gather_for_metrics(...), and compute in the main process."
            )
        super().__init__(*args, **kwargs)
        self.tasks = list(tasks)
        self.outcomes = Outcomes(self.tasks)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("int64")),
                    "references": datasets.List(datasets.Value("int64")),
                }
            ),
        )

    def __len__(self) -> int:
        """Rows taken in since the last `compute`."""
        return self.outcomes.num_rows

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Take in a batch."""
        if kwargs:
            raise ValueError(f"Got {sorted(kwargs)}. Allowed are predictions and references. Leave the others out.")
        self.outcomes.add(predictions, references)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Take in one painting."""
        if isinstance(prediction, Mapping):
            prediction = {task: [distribution] for task, distribution in prediction.items()}
        else:
            prediction = [prediction]
        self.add_batch(predictions=prediction, references=[reference], **kwargs)

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float]:
        """Scores of everything taken in so far, together with the rows given here; then forget them."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references, **kwargs)
        outcomes, self.outcomes = self.outcomes, Outcomes(self.tasks)
        return flatten_scores(score_outcomes(outcomes))


def compute_metrics_for(tasks: Sequence[Mapping[str, Any]]) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for the Trainer: flat names such as `type_accuracy`, `school_macro_f1` and `mean_accuracy`.

    Args:
        tasks: The model's `config.tasks`.
    """
    names = [task["name"] for task in tasks]

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = _logits_by_task(prediction.predictions, names)
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


def _logits_by_task(predictions: Any, names: list[str]) -> Mapping[str, Any]:
    """The model's logits by task name, however the Trainer wrapped them.

    Raises:
        ValueError: The predictions are neither a mapping nor one array a task.
    """
    if isinstance(predictions, tuple | list) and len(predictions) and isinstance(predictions[0], Mapping):
        predictions = predictions[0]
    if isinstance(predictions, tuple | list) and len(predictions) == len(names):
        predictions = dict(zip(names, predictions, strict=True))
    if not isinstance(predictions, Mapping):
        raise ValueError(
            f"Got predictions of type {type(predictions).__name__}. A mapping from task to logits is needed, or one "
            f"array for each of {names}. List the model's other outputs in config.keys_to_ignore_at_inference."
        )
    return predictions


def check_metric_name(
    metric: str,
    tasks: Sequence[Mapping[str, Any]],
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]],
    validation_sets: Iterable[str] = (),
) -> None:
    """Refuse a `metric_for_best_model` that no validation will have.

    Args:
        metric: The name.
        tasks: `[{"name", "labels"}, …]`.
        compute_metrics: Computes the metrics.
        validation_sets: Their names, if there are several.

    Raises:
        ValueError: If the metric is unknown.
    """
    from transformers import EvalPrediction

    size = max(len(task["labels"]) for task in tasks)
    logits = {task["name"]: np.eye(size, len(task["labels"])) for task in tasks}
    labels = np.stack([np.arange(size) % len(task["labels"]) for task in tasks], axis=1)
    known = {"loss", *compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
    known = {f"{name}_{metric}" for name in validation_sets for metric in known} or known
    name = metric.removeprefix("eval_")
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise ValueError(
        f"metric_for_best_model is {name!r}, which validation does not compute. "
        f"{'Did you mean ' + ', '.join(close) + '? ' if close else ''}There are, by task, e.g. type_accuracy and "
        "type_macro_f1, and over the tasks mean_accuracy, mean_macro_f1 and loss; with several validation sets each "
        "has its set's name before it. Set one of them."
    )
