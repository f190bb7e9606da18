"""What became of every painting, task by task, in compact columns that every score is derived from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from semart_hf.catalogue.schema import Scale, scale_of
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL


def softmax(logits: Any, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (rows, labels) in float64, of logits divided by the temperature; ValueError unless positive."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"Got the temperature {temperature}. A positive number is allowed. Fit it again.")
    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1))


def probabilities_of(logits: Any, task: Mapping[str, Any], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (rows, labels) of a task: of several labels each has its own."""
    if not is_multi_label(task):
        return softmax(logits, temperature)
    return np.asarray(special.expit(np.asarray(logits, dtype=np.float64) / temperature))


@dataclass(frozen=True)
class TaskOutcomes:
    """One task's columns, each (rows,): 24 bytes a painting, so that a million fit where their pictures do not.

    Args:
        labels: The vocabulary; empty where it was not given.
        scale: Of labels with an order.
        references: True label index; `UNKNOWN_LABEL` where it is unknown.
        confidences: The answer's probability; NaN where only labels were predicted, as the three columns that follow.
        losses: Negative logarithm of the true label's probability.
        brier: Squared distance between the distribution and the truth.
        ranks: How many labels were more probable than the true one.
    """

    labels: tuple[str, ...]
    scale: Scale | None
    references: npt.NDArray[np.int32]
    predictions: npt.NDArray[np.int32]
    confidences: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    brier: npt.NDArray[np.float32]
    ranks: npt.NDArray[np.float32]

    @property
    def has_probabilities(self) -> bool:
        """Whether every painting came with a distribution, not only with a label."""
        return len(self.confidences) > 0 and not bool(np.isnan(self.confidences).any())

    @property
    def num_labels(self) -> int:
        """Size of the vocabulary, or of the part of it that was seen where it was not given."""
        seen = np.concatenate([self.references, self.predictions])
        return len(self.labels) or max(int(seen.max(initial=-1)) + 1, 0)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the prediction is the reference (rows,)."""
        return self.references == self.predictions

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Whether the reference is known (rows,)."""
        return self.references != UNKNOWN_LABEL

    def select(self, rows: npt.NDArray[Any]) -> TaskOutcomes:
        """The same columns for some of the rows."""
        labels, scale, *columns = vars(self).values()
        return TaskOutcomes(labels, scale, *(column[rows] for column in columns))

    def known(self) -> TaskOutcomes:
        """The rows whose reference is known: the ones that count."""
        return self.select(self.is_known)


@dataclass(frozen=True)
class SeveralOutcomes:
    """A task with several labels: 5 bytes a label and painting.

    Args:
        thresholds: Probability of each label from which it is an answer (labels,).
        references: 1 or 0 (rows, labels), `UNKNOWN_LABEL` where it is unknown.
        probabilities: Of each label (rows, labels); 1 or 0 where only labels were predicted.
    """

    labels: tuple[str, ...]
    thresholds: npt.NDArray[np.float64]
    references: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float32]

    @property
    def num_labels(self) -> int:
        """Size of the vocabulary."""
        return len(self.labels)

    @property
    def predictions(self) -> npt.NDArray[np.bool_]:
        """Whether each label is an answer (rows, labels)."""
        return self.probabilities >= self.thresholds.astype(np.float32)

    @property
    def has_probabilities(self) -> bool:
        """Whether more than answers is there."""
        return bool(((self.probabilities > 0) & (self.probabilities < 1)).any())

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Whether a label of the painting is known (rows,)."""
        return (self.references != UNKNOWN_LABEL).any(axis=1)

    @property
    def confidences(self) -> npt.NDArray[np.float32]:
        """How probable it is that the answers are exactly a painting's labels (rows,): see `answer_of`."""
        p = self.probabilities
        return np.where(self.predictions, p, 1 - p).prod(axis=1)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether all known labels are right (rows,): the accuracy of scikit-learn for several labels."""
        is_right = (self.references == self.predictions) | (self.references == UNKNOWN_LABEL)
        return is_right.all(axis=1) & self.is_known

    def select(self, rows: npt.NDArray[Any]) -> SeveralOutcomes:
        """The same for some of the rows."""
        return SeveralOutcomes(self.labels, self.thresholds, self.references[rows], self.probabilities[rows])

    def known(self) -> SeveralOutcomes:
        """The rows of which a label is known."""
        return self.select(self.is_known)


class Outcomes:
    """Collects predictions batch by batch and keeps what scores need; `unreadable` says by row id what is wrong."""

    def __init__(self, tasks: Sequence[str | Mapping[str, Any]]):
        """Start without rows; tasks are names or a `config.tasks`, in the order of the references' columns."""
        self.tasks = tasks
        self._batches: dict[str, list[Any]] = {}
        described: list[Mapping[str, Any]] = [
            {"name": task, "labels": []} if isinstance(task, str) else task for task in tasks
        ]
        self._by_name: dict[str, Mapping[str, Any]] = {task["name"]: task for task in described}
        self.columns = label_columns(self._by_name.values())
        for name, task in self._by_name.items():
            part = self.columns[name]
            empty = np.zeros((0, part.stop - part.start), dtype=np.int64)
            self._batches[name] = [_outcomes_of(task, empty if is_multi_label(task) else empty[:, 0], empty)]
        self.task_names = list(self._batches)
        self.num_rows = 0
        self.row_ids: list[str] = []
        self.unreadable: dict[str, str] = {}

    def add(self, predictions: Any, references: Any, row_ids: Sequence[str] = ()) -> None:
        """Add one batch: label indices, or task to probabilities (rows, labels), and references as a model takes them.

        Label indices are of shape (rows, tasks), with 1 or 0 for each label of a task with several in its place.
        """
        truth = self._index_table(references, "references")
        if not isinstance(predictions, Mapping):
            table = self._index_table(predictions, "predictions")
            parts = {name: table[:, part] for name, part in self.columns.items()}
            predictions = {
                name: part if is_multi_label(self._by_name[name]) else part[:, 0] for name, part in parts.items()
            }
        new = [
            _outcomes_of(self._by_name[name], np.asarray(predictions[name]), truth[:, part])
            for name, part in self.columns.items()
        ]
        for batches, outcomes in zip(self._batches.values(), new, strict=True):
            batches.append(outcomes)
        self.num_rows += len(truth)
        self.row_ids += row_ids

    def _index_table(self, values: Any, what: str) -> npt.NDArray[np.int64]:
        """Label indices (rows, tasks), checked for shape and type."""
        num_tasks = max((part.stop for part in self.columns.values()), default=0)
        table = np.asarray(values) if len(values) else np.zeros((0, num_tasks), dtype=np.int64)
        if table.ndim != 2 or table.shape[1] != num_tasks or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"Got {what} of shape {table.shape} and type {table.dtype}. Label indices of shape (rows, "
                f"{num_tasks}) are scored, one column for each of {self.task_names}. Pass whole numbers, -100 for an "
                "unknown reference, or name the tasks that the columns stand for."
            )
        return table

    def task(self, name: str) -> Any:
        """All rows of one task as `TaskOutcomes` or `SeveralOutcomes`, those with an unknown reference included."""
        batches = self._batches[name]
        if len(batches) > 1:
            first = batches[0]
            fixed, *columns = zip(*(list(vars(batch).values())[1:] for batch in batches), strict=True)
            batches[:] = [type(first)(first.labels, fixed[0], *map(np.concatenate, columns))]
        return batches[0]

    def single(self) -> list[str]:
        """Names of the tasks with one label a painting."""
        return [name for name, task in self._by_name.items() if not is_multi_label(task)]

    def select(self, rows: npt.NDArray[np.int64]) -> Outcomes:
        """The outcomes of the rows with these numbers."""
        chosen = Outcomes(self.tasks)
        chosen._batches = {name: [self.task(name).select(rows)] for name in self.task_names}
        chosen.num_rows = len(rows)
        chosen.row_ids = [self.row_ids[row] for row in rows] if self.row_ids else []
        return chosen


def _outcomes_of(task: Mapping[str, Any], predictions: Any, references: npt.NDArray[Any]) -> Any:
    """The outcomes of a task's label columns (rows, columns) and label indices (rows,) or probabilities."""
    name, labels = task["name"], tuple(task["labels"])
    if not is_multi_label(task):
        return _task_outcomes(name, labels, scale_of(task), predictions, references[:, 0])
    if predictions.shape != references.shape or references.shape[1] != len(labels):
        raise ValueError(
            f"Got predictions of shape {predictions.shape} and references of shape {references.shape} for {name!r}, "
            f"which has {len(labels)} labels. Both have a row a painting and a column a label. Pass such tables."
        )
    if wrong := {*np.unique(references).tolist()} - {0, 1, UNKNOWN_LABEL}:
        raise ValueError(
            f"Got {sorted(wrong)[0]} among the references of {name!r}, of which a painting has several. Allowed are "
            f"0, 1 and {UNKNOWN_LABEL}. Give one number for each label."
        )
    thresholds = np.array(task.get("thresholds") or [0.5] * len(labels), dtype=np.float64)
    return SeveralOutcomes(labels, thresholds, references.astype(np.int8), predictions.astype(np.float32))


def _task_outcomes(
    name: str, labels: tuple[str, ...], scale: Scale | None, predictions: Any, references: npt.NDArray[Any]
) -> TaskOutcomes:
    """The columns of label indices (rows,) or probabilities (rows, labels)."""
    if len(predictions) != len(references):
        raise ValueError(
            f"Got {len(predictions)} rows of predictions and {len(references)} of references for {name!r}. Both have "
            "one row a painting. Pass the same rows."
        )
    has_probabilities = predictions.ndim == 2
    if has_probabilities and labels and predictions.shape[1] != len(labels):
        raise ValueError(
            f"Got {predictions.shape[1]} probabilities a row for {name!r}, which has {len(labels)} labels. Give one "
            "for each label."
        )
    num_labels = len(labels) or (predictions.shape[1] if has_probabilities else np.iinfo(np.int32).max)
    is_known = references != UNKNOWN_LABEL
    for what, indices in {"references": references[is_known], "predictions": predictions}.items():
        wrong = indices[(indices < 0) | (indices >= num_labels)] if indices.ndim == 1 else indices[:0]
        if len(wrong):
            raise ValueError(
                f"Got {wrong[0]} among the {what} of {name!r}. Allowed are numbers from 0 to {num_labels - 1}"
                f"{f', and {UNKNOWN_LABEL} where it is unknown' * (what == 'references')}. Map the data's labels to "
                "the model's vocabulary first."
            )
    measures = [np.full(len(references), np.nan)] * 4
    if has_probabilities:
        rows, table = np.arange(len(references)), predictions.astype(np.float64)
        predictions = table.argmax(axis=1)
        true_probability = table[rows, np.where(is_known, references, 0)]
        # The smallest probability a logarithm is taken of is scikit-learn's own, so that log losses agree.
        losses = -np.log(np.clip(true_probability, np.finfo(np.float64).eps, 1))
        brier = (table**2).sum(axis=1) - 2 * true_probability + 1
        ranks = (table > true_probability[:, None]).sum(axis=1)
        measures = [table[rows, predictions], *(np.where(is_known, column, 0) for column in (losses, brier, ranks))]
    columns: list[Any] = [column.astype(np.int32) for column in (references, predictions)]
    return TaskOutcomes(labels, scale, *columns, *(measure.astype(np.float32) for measure in measures))
