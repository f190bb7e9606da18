"""predictions.parquet: every painting's truth, answer and whole distribution, written as the batches come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from .outcomes import MISSING, Outcomes
from .predictions import Predictions

_TASKS_KEY = b"semart_tasks"


class PredictionsWriter:
    """Writes predictions to a parquet file that appears when all are written, and not at all after an error.

    Columns: `row_id`, and for each task `{task}_true` (null where unknown), `{task}_predicted`, and
    `{task}_probabilities`, a struct with one number a label.
    """

    def __init__(self, path: str | Path, tasks: Sequence[Mapping[str, Any]]):
        """Open the file beside its final place."""
        self.path = Path(path)
        self._unfinished = self.path.with_name(f".{self.path.name}.unfinished")
        self._tasks = [{"name": task["name"], "labels": list(task["labels"])} for task in tasks]
        fields = [pa.field("row_id", pa.string())]
        for task in self._tasks:
            fields += [
                pa.field(f"{task['name']}_true", pa.string()),
                pa.field(f"{task['name']}_predicted", pa.string()),
                pa.field(
                    f"{task['name']}_probabilities", pa.struct([(label, pa.float32()) for label in task["labels"]])
                ),
            ]
        self._schema = pa.schema(fields, metadata={_TASKS_KEY: json.dumps(self._tasks)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = parquet.ParquetWriter(self._unfinished, self._schema)

    def add(self, batch: Predictions, probabilities: Mapping[str, Any]) -> None:
        """Write one batch with the probabilities that were made of its logits."""
        columns: list[Any] = [pa.array(batch.row_ids, pa.string())]
        for column, task in enumerate(self._tasks):
            labels = np.array([*task["labels"], None], dtype=object)
            references = batch.references[:, column]
            table = np.asarray(probabilities[task["name"]], dtype=np.float32)
            columns += [
                pa.array(labels[np.where(references == MISSING, len(labels) - 1, references)], pa.string()),
                pa.array(labels[table.argmax(axis=1)], pa.string()),
                pa.StructArray.from_arrays([pa.array(values) for values in table.T], names=task["labels"]),
            ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> PredictionsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._unfinished.replace(self.path)
        else:
            self._unfinished.unlink()


def read_row_ids(path: str | Path) -> list[str]:
    """The row ids of a predictions.parquet, in its order.

    Raises:
        ValueError: The file was not written by `PredictionsWriter`.
    """
    return list(_open(path).read(["row_id"]).column("row_id").to_pylist())


def read_predictions(path: str | Path) -> tuple[list[str], Outcomes]:
    """The row ids and the outcomes of a predictions.parquet, read in pieces.

    Raises:
        ValueError: The file was not written by `PredictionsWriter`.
    """
    file = _open(path)
    tasks = json.loads(file.schema_arrow.metadata[_TASKS_KEY])
    outcomes, row_ids = Outcomes(tasks), []
    for batch in file.iter_batches(batch_size=4096):
        row_ids += batch.column("row_id").to_pylist()
        references, probabilities = [], {}
        for task in tasks:
            numbers = {label: number for number, label in enumerate(task["labels"])} | {None: MISSING}
            references.append([numbers[label] for label in batch.column(f"{task['name']}_true").to_pylist()])
            columns = batch.column(f"{task['name']}_probabilities").flatten()
            probabilities[task["name"]] = np.stack([column.to_numpy() for column in columns], axis=1)
        outcomes.add(probabilities, np.array(references, dtype=np.int64).T)
    return row_ids, outcomes


def _open(path: str | Path) -> parquet.ParquetFile:
    """The file, which says what tasks it holds."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"Got {path}, which does not exist. A predictions.parquet of `semart-hf evaluate` is needed. Evaluate "
            "that model first."
        )
    file = parquet.ParquetFile(path)
    metadata = file.schema_arrow.metadata or {}
    if _TASKS_KEY not in metadata:
        raise ValueError(
            f"Got {path} without the tasks that it holds. A predictions.parquet of `semart-hf evaluate` is needed. "
            "Evaluate that model again."
        )
    return file
