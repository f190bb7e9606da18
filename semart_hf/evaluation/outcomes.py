"""What became of every painting, task by task, in compact columns that every score is derived from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from semart_hf.catalogue.schema import Scale, scale_of
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL


def probabilities_of(logits: Any, task: Mapping[str, Any], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (rows, labels) of logits divided by a positive temperature: of several labels each has its own."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"Got the temperature {temperature}. A positive number is allowed. Fit it again.")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(special.expit(scaled) if is_multi_label(task) else special.softmax(scaled, axis=-1))


@dataclass(frozen=True)
class _Rows:
    """A task's labels, and columns of which each has a row a painting."""

    labels: tuple[str, ...]
    references: npt.NDArray[np.signedinteger[Any]]  # `UNKNOWN_LABEL` where it is unknown

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Whether a label of the painting is known (rows,)."""
        return np.asarray(np.atleast_2d((self.references != UNKNOWN_LABEL).T).any(axis=0))

    def row_columns(self) -> dict[str, npt.NDArray[Any]]:
        """By name all that has a row a painting."""
        return {name: value for name, value in vars(self).items() if name not in ("labels", "scale", "thresholds")}

    def select(self, rows: npt.NDArray[Any]) -> Any:
        """The same columns for some of the rows."""
        return replace(self, **{name: column[rows] for name, column in self.row_columns().items()})

    def known(self) -> Any:
        """The rows of which a label is known: the ones that count."""
        return self.select(self.is_known)


@dataclass(frozen=True)
class TaskOutcomes(_Rows):
    """A task with one label, each column (rows,): 24 bytes a painting, so that a million fit where pictures do not."""

    scale: Scale | None  # of labels with an order
    predictions: npt.NDArray[np.int32]
    confidences: npt.NDArray[np.float32]  # of the answer; NaN where only labels were predicted, as in what follows
    losses: npt.NDArray[np.float32]  # negative logarithm of the true label's probability
    brier: npt.NDArray[np.float32]  # squared distance between the distribution and the truth
    ranks: npt.NDArray[np.float32]  # how many labels were more probable than the true one

    @property
    def has_probabilities(self) -> bool:
        """Whether every painting came with a distribution, not only with a label."""
        return not bool(np.isnan(self.confidences).any())

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the prediction is the reference (rows,)."""
        return self.references == self.predictions


@dataclass(frozen=True)
class SeveralOutcomes(_Rows):
    """A task with several labels, with references of 1 or 0 (rows, labels): 5 bytes a label and painting."""

    thresholds: npt.NDArray[np.float64]  # probability of each label from which it is an answer (labels,)
    probabilities: npt.NDArray[np.float32]  # of each label (rows, labels); 1 or 0 where only labels were predicted

    @property
    def predictions(self) -> npt.NDArray[np.bool_]:
        """Whether each label is an answer (rows, labels)."""
        return self.probabilities >= self.thresholds.astype(np.float32)

    @property
    def has_probabilities(self) -> bool:
        """Whether more than answers is there."""
        return bool(((self.probabilities > 0) & (self.probabilities < 1)).any())

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


class Outcomes:
    """Collects predictions batch by batch and keeps what scores need; `unreadable` says by row id what is wrong."""

    def __init__(self, tasks: Sequence[Mapping[str, Any]]):
        """Start without rows; tasks are a `config.tasks`, in the order of the references' columns."""
        self.tasks = list(tasks)
        self.columns = label_columns(self.tasks)
        self.task_names = list(self.columns)
        self.num_rows = 0
        self.row_ids: list[str] = []
        self.unreadable: dict[str, str] = {}
        self._batches: dict[str, list[Any]] = {name: [] for name in self.task_names}
        self.add([], [])

    def add(self, predictions: Any, references: Any, row_ids: Sequence[str] = ()) -> None:
        """Add one batch: label indices, or task to probabilities (rows, labels), and references as a model takes them.

        Label indices are of shape (rows, tasks), with 1 or 0 for each label of a task with several in its place.
        """
        truth = self._index_table(references, "references")
        if not isinstance(predictions, Mapping):
            table, single = self._index_table(predictions, "predictions"), self.single()
            parts = {name: part.start if name in single else part for name, part in self.columns.items()}
            predictions = {name: table[:, part] for name, part in parts.items()}
        new = [
            _outcomes_of(task, np.asarray(predictions[task["name"]]), truth[:, self.columns[task["name"]]])
            for task in self.tasks
        ]
        for batches, outcomes in zip(self._batches.values(), new, strict=True):
            batches.append(outcomes)
        self.num_rows += len(truth)
        self.row_ids += row_ids

    def _index_table(self, values: Any, what: str) -> npt.NDArray[np.int64]:
        """Label indices (rows, tasks), checked for shape and type."""
        num_columns = max((part.stop for part in self.columns.values()), default=0)
        table = np.asarray(values) if len(values) else np.zeros((0, num_columns), dtype=np.int64)
        if table.ndim != 2 or table.shape[1] != num_columns or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"Got {what} of shape {table.shape} and type {table.dtype}. Label indices of shape (rows, "
                f"{num_columns}) are scored, one column for each of {self.task_names}. Pass whole numbers, -100 for "
                "an unknown reference, or name the tasks that the columns stand for."
            )
        return table

    def task(self, name: str) -> Any:
        """All rows of one task as `TaskOutcomes` or `SeveralOutcomes`, those with an unknown reference included."""
        batches = self._batches[name]
        if len(batches) > 1:
            merged = {name: np.concatenate([vars(one)[name] for one in batches]) for name in batches[0].row_columns()}
            batches[:] = [replace(batches[0], **merged)]
        return batches[0]

    def single(self) -> list[str]:
        """Names of the tasks with one label a painting."""
        return [task["name"] for task in self.tasks if not is_multi_label(task)]

    def select(self, rows: npt.NDArray[np.int64]) -> Outcomes:
        """The outcomes of the rows with these numbers."""
        chosen = Outcomes(self.tasks)
        chosen._batches = {name: [self.task(name).select(rows)] for name in self.task_names}
        chosen.num_rows = len(rows)
        chosen.row_ids = [self.row_ids[row] for row in rows] if self.row_ids else []
        return chosen


def _outcomes_of(task: Mapping[str, Any], predictions: npt.NDArray[Any], references: npt.NDArray[Any]) -> Any:
    """The outcomes of label indices or probabilities, and of references (rows, columns), of one task."""
    name, labels, has_several = task["name"], tuple(task["labels"]), is_multi_label(task)
    references = references if has_several else references[:, 0]
    has_probabilities = has_several or predictions.ndim > 1
    if predictions.shape != ((len(references), len(labels)) if has_probabilities else (len(references),)):
        raise ValueError(
            f"Got predictions of shape {predictions.shape} and {len(references)} references for {name!r}, which has "
            f"{len(labels)} labels. Give one row a painting, with its label or with one number a label."
        )
    checked = {"references": references[references != UNKNOWN_LABEL]}
    for what, indices in (checked if has_probabilities else checked | {"predictions": predictions}).items():
        most = 1 if has_several else len(labels) - 1
        if len(wrong := indices[(indices < 0) | (indices > most)]):
            raise ValueError(
                f"Got {wrong[0]} among the {what} of {name!r}. Allowed are numbers from 0 to {most}"
                f"{f', and {UNKNOWN_LABEL} where it is unknown' * (what == 'references')}. Map the data's labels to "
                "the model's vocabulary first."
            )
    if has_several:
        thresholds = np.array(task.get("thresholds") or [0.5] * len(labels), dtype=np.float64)
        return SeveralOutcomes(labels, references.astype(np.int8), thresholds, predictions.astype(np.float32))
    measures = [np.full(len(references), np.nan)] * 4
    if has_probabilities:
        rows, table, is_known = np.arange(len(references)), predictions.astype(np.float64), references != UNKNOWN_LABEL
        predictions = table.argmax(axis=1)
        true_probability = table[rows, np.where(is_known, references, 0)]
        # The smallest probability a logarithm is taken of is scikit-learn's own, so that log losses agree.
        losses = -np.log(np.clip(true_probability, np.finfo(np.float64).eps, 1))
        brier = (table**2).sum(axis=1) - 2 * true_probability + 1
        ranks = (table > true_probability[:, None]).sum(axis=1)
        measures = [table[rows, predictions], *(np.where(is_known, column, 0) for column in (losses, brier, ranks))]
    columns: list[Any] = [predictions.astype(np.int32), *(measure.astype(np.float32) for measure in measures)]
    return TaskOutcomes(labels, references.astype(np.int32), scale_of(task), *columns)
