"""What became of every painting, task by task, in a few compact columns that every score is derived from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semart_hf.model.output_semart import UNKNOWN_LABEL

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

# The smallest probability a logarithm is taken of: scikit-learn's own, so that log losses agree.
_TINY = float(np.finfo(np.float64).eps)


def softmax(logits: FloatArray, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (rows, labels) in float64, of logits divided by the temperature.

    Raises:
        ValueError: The temperature is not a positive number.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(
            f"Got the temperature {temperature}. A positive number is allowed. Fit it again, or leave it 1."
        )
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class TaskOutcomes:
    """One task's columns, each (rows,): 20 bytes a painting, so that a million fit where their pictures do not.

    Args:
        labels: The vocabulary, in the order of the indices; empty where it was not given.
        references: True label index; `UNKNOWN_LABEL` where it is unknown.
        predictions: Index of the most probable label.
        confidences: Its probability; NaN where only labels were predicted, as for the three columns that follow.
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
        seen = max((int(column.max()) + 1 for column in (self.references, self.predictions) if len(column)), default=0)
        return len(self.labels) or max(seen, 0)

    @property
    def correct(self) -> BoolArray:
        """Whether the prediction is the reference (rows,)."""
        return self.references == self.predictions

    def select(self, rows: BoolArray | IntArray) -> TaskOutcomes:
        """The same columns for some of the rows."""
        labels, *columns = vars(self).values()
        return TaskOutcomes(labels, *(column[rows] for column in columns))

    def known(self) -> TaskOutcomes:
        """The rows whose reference is known: the ones that count."""
        return self.select(self.references != UNKNOWN_LABEL)


class Outcomes:
    """Collects predictions batch by batch and keeps of them what the scores need.

    Args:
        tasks: Names, or the model's `config.tasks` (`{"name", "labels"}`), in the order of the references' columns.
    """

    def __init__(self, tasks: Sequence[str | Mapping[str, Any]]):
        """Start with no row."""
        self._labels = dict(map(_name_and_labels, tasks))
        self._batches: dict[str, list[TaskOutcomes]] = {name: [] for name in self._labels}
        self.num_rows = 0

    @property
    def task_names(self) -> list[str]:
        """The tasks, in the order of the references' columns."""
        return list(self._labels)

    def add(self, predictions: Any, references: Any) -> None:
        """Take in one batch.

        Args:
            predictions: Label indices (rows, tasks), or a mapping from task to probabilities (rows, labels).
            references: Label indices (rows, tasks), -100 where the label is unknown.

        Raises:
            ValueError: Shapes do not fit, an index lies outside the vocabulary, or a distribution is not one.
        """
        truth = _index_table(references, "references", self.task_names)
        if isinstance(predictions, Mapping):
            _check_task_names(predictions, self.task_names)
            new = {
                name: _from_probabilities(name, labels, predictions[name], truth[:, column])
                for column, (name, labels) in enumerate(self._labels.items())
            }
        else:
            guesses = _index_table(predictions, "predictions", self.task_names)
            if len(guesses) != len(truth):
                raise ValueError(
                    f"Got {len(guesses)} rows of predictions and {len(truth)} of references. Both have one row a "
                    "painting. Pass the same rows."
                )
            new = {
                name: _from_labels(name, labels, guesses[:, column], truth[:, column])
                for column, (name, labels) in enumerate(self._labels.items())
            }
        for name, outcomes in new.items():
            self._batches[name].append(outcomes)
        self.num_rows += len(truth)

    def task(self, name: str) -> TaskOutcomes:
        """All rows of one task, the ones with an unknown reference included.

        Raises:
            ValueError: No task has this name.
        """
        if name not in self._labels:
            raise ValueError(f"Got the task {name!r}. Known are {self.task_names}. Ask for one of these.")
        nothing = np.zeros(0, dtype=np.int64)
        batches = self._batches[name] or [_from_labels(name, self._labels[name], nothing, nothing)]
        if len(batches) > 1:
            columns = zip(*(vars(batch).values() for batch in batches), strict=True)
            next(columns)
            batches = [TaskOutcomes(self._labels[name], *(np.concatenate(column) for column in columns))]
            self._batches[name] = batches
        return batches[0]


def _name_and_labels(task: str | Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if isinstance(task, str):
        return task, ()
    return task["name"], tuple(task["labels"])


def _check_task_names(predictions: Mapping[str, Any], task_names: list[str]) -> None:
    absent = [name for name in task_names if name not in predictions]
    if absent:
        raise ValueError(
            f"Got predictions for {sorted(predictions)}. {task_names} are scored. Pass predictions for {absent} too, "
            "or leave these tasks out."
        )


def _index_table(values: Any, what: str, task_names: list[str]) -> npt.NDArray[np.int64]:
    """Label indices (rows, tasks), checked for shape and type."""
    if len(values) == 0:
        return np.zeros((0, len(task_names)), dtype=np.int64)
    table = np.asarray(values)
    if table.ndim != 2 or table.shape[1] != len(task_names) or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"Got {what} of shape {table.shape} and type {table.dtype}. Label indices of shape (rows, "
            f"{len(task_names)}) are scored, one column for each of {task_names}. Pass whole numbers, -100 for an "
            "unknown reference, or name the tasks that the columns stand for."
        )
    return table


def _check_indices(
    name: str, labels: tuple[str, ...], indices: IntArray, what: str, lowest_special: int | None
) -> None:
    is_wrong = indices < 0
    if lowest_special is not None:
        is_wrong &= indices != lowest_special
    if labels:
        is_wrong |= indices >= len(labels)
    if is_wrong.any():
        row = int(np.flatnonzero(is_wrong)[0])
        allowed = f"0 to {len(labels) - 1}" if labels else "0 and above"
        unknown = "" if lowest_special is None else f", and {lowest_special} where the label is unknown"
        raise ValueError(
            f"Got {indices[row]} among the {what} of {name!r} (row {row}). Allowed are {allowed}{unknown}. Map the "
            "data's labels to the model's vocabulary first."
        )


def _from_labels(name: str, labels: tuple[str, ...], predictions: IntArray, references: IntArray) -> TaskOutcomes:
    _check_indices(name, labels, references, "references", UNKNOWN_LABEL)
    _check_indices(name, labels, predictions, "predictions", None)
    unknown = np.full(len(references), np.nan, dtype=np.float32)
    return TaskOutcomes(
        labels, references.astype(np.int16), predictions.astype(np.int16), unknown, unknown, unknown, unknown
    )


def _from_probabilities(name: str, labels: tuple[str, ...], probabilities: Any, references: IntArray) -> TaskOutcomes:
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(references) or (labels and table.shape[1] != len(labels)):
        raise ValueError(
            f"Got probabilities of shape {table.shape} for {name!r}. ({len(references)}, {len(labels) or 'labels'}) "
            "is needed: a distribution for each reference. Pass the same rows and the model's whole vocabulary."
        )
    is_wrong = ~np.isfinite(table).all(axis=1) | (table < 0).any(axis=1) | (np.abs(table.sum(axis=1) - 1) > 1e-3)
    if is_wrong.any():
        row = int(np.flatnonzero(is_wrong)[0])
        raise ValueError(
            f"Got {table[row].tolist()} as the distribution of {name!r} in row {row}. Non-negative numbers that add "
            "up to 1 are allowed. Pass softmax(logits), not logits."
        )
    _check_indices(name, labels or tuple(map(str, range(table.shape[1]))), references, "references", UNKNOWN_LABEL)
    rows = np.arange(len(table))
    is_known = references != UNKNOWN_LABEL
    # Unknown references are scored as label 0 and set to 0 below, so that indexing stays simple.
    truth = np.where(is_known, references, 0)
    true_probability = table[rows, truth]
    brier = (table**2).sum(axis=1) - 2 * true_probability + 1
    predictions = table.argmax(axis=1)

    def column(values: FloatArray) -> npt.NDArray[np.float32]:
        return np.where(is_known, values, 0).astype(np.float32)

    return TaskOutcomes(
        labels,
        references.astype(np.int16),
        predictions.astype(np.int16),
        table[rows, predictions].astype(np.float32),
        column(-np.log(np.clip(true_probability, _TINY, 1))),
        column(brier),
        column((table > true_probability[:, None]).sum(axis=1).astype(np.float64)),
    )
