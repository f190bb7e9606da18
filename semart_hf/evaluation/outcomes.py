"""What became of every painting, task by task, in compact columns that every score is derived from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from semart_hf.model.output_semart import UNKNOWN_LABEL


def softmax(logits: Any, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (rows, labels) in float64, of logits divided by the temperature; ValueError unless positive."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"Got the temperature {temperature}. A positive number is allowed. Fit it again.")
    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1))


@dataclass(frozen=True)
class TaskOutcomes:
    """One task's columns, each (rows,): 20 bytes a painting, so that a million fit where their pictures do not.

    Args:
        labels: The vocabulary; empty where it was not given.
        references: True label index; `UNKNOWN_LABEL` where it is unknown.
        confidences: The answer's probability; NaN where only labels were predicted, as the three columns that follow.
        losses: Negative logarithm of the true label's probability.
        brier: Squared distance between the distribution and the truth.
        ranks: How many labels were more probable than the true one.
    """

    labels: tuple[str, ...]
    references: npt.NDArray[np.int16]
    predictions: npt.NDArray[np.int16]
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
        labels, *columns = vars(self).values()
        return TaskOutcomes(labels, *(column[rows] for column in columns))

    def known(self) -> TaskOutcomes:
        """The rows whose reference is known: the ones that count."""
        return self.select(self.is_known)


class Outcomes:
    """Collects predictions batch by batch and keeps of them what the scores need.

    `unreadable` has by row id why a painting's picture could not be read.
    """

    def __init__(self, tasks: Sequence[str | Mapping[str, Any]]):
        """Start without rows; tasks are names or a `config.tasks`, in the order of the references' columns."""
        self.tasks = tasks
        self._batches: dict[str, list[TaskOutcomes]] = {}
        for task in tasks:
            name, labels = (task, ()) if isinstance(task, str) else (task["name"], tuple(task["labels"]))
            self._batches[name] = [_task_outcomes(name, labels, *np.zeros((2, 0), dtype=np.int64))]
        self.task_names = list(self._batches)
        self.num_rows = 0
        self.row_ids: list[str] = []
        self.unreadable: dict[str, str] = {}

    def add(self, predictions: Any, references: Any, row_ids: Sequence[str] = ()) -> None:
        """Add one batch: label indices (rows, tasks), or task to probabilities (rows, labels), and their references.

        Raises:
            ValueError: Shapes do not fit, or an index lies outside the vocabulary.
        """
        truth = self._index_table(references, "references")
        if not isinstance(predictions, Mapping):
            predictions = dict(zip(self.task_names, self._index_table(predictions, "predictions").T, strict=True))
        new = [
            _task_outcomes(name, batches[0].labels, np.asarray(predictions[name]), column)
            for (name, batches), column in zip(self._batches.items(), truth.T, strict=True)
        ]
        for batches, outcomes in zip(self._batches.values(), new, strict=True):
            batches.append(outcomes)
        self.num_rows += len(truth)
        self.row_ids += row_ids

    def _index_table(self, values: Any, what: str) -> npt.NDArray[np.int64]:
        """Label indices (rows, tasks), checked for shape and type."""
        num_tasks = len(self.task_names)
        table = np.asarray(values) if len(values) else np.zeros((0, num_tasks), dtype=np.int64)
        if table.ndim != 2 or table.shape[1] != num_tasks or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"Got {what} of shape {table.shape} and type {table.dtype}. Label indices of shape (rows, "
                f"{num_tasks}) are scored, one column for each of {self.task_names}. Pass whole numbers, -100 for an "
                "unknown reference, or name the tasks that the columns stand for."
            )
        return table

    def task(self, name: str) -> TaskOutcomes:
        """All rows of one task, the ones with an unknown reference included."""
        batches = self._batches[name]
        if len(batches) > 1:
            (labels, *_), *columns = zip(*(vars(batch).values() for batch in batches), strict=True)
            batches[:] = [TaskOutcomes(labels, *map(np.concatenate, columns))]
        return batches[0]


def _task_outcomes(name: str, labels: tuple[str, ...], predictions: Any, references: npt.NDArray[Any]) -> TaskOutcomes:
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
    num_labels = len(labels) or (predictions.shape[1] if has_probabilities else np.iinfo(np.int16).max)
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
    columns: list[Any] = [column.astype(np.int16) for column in (references, predictions)]
    return TaskOutcomes(labels, *columns, *(measure.astype(np.float32) for measure in measures))
