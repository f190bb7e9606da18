"""predictions.parquet: every painting's truth, answer and whole distribution, written as the batches come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from semart_hf.files import atomic_file
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes
from .predictions import Predictions

_TASKS_KEY = b"semart_tasks"


@contextmanager
def predictions_writer(
    path: str | Path, tasks: Sequence[Mapping[str, Any]]
) -> Iterator[Callable[[Predictions, Mapping[str, Any]], None]]:
    """A function that writes a batch with the probabilities of its logits; the file appears when the block has ended.

    Columns: `row_id`, and for each task `{task}_true` (null where unknown), `{task}_predicted`, and
    `{task}_probabilities`, a struct with one number a label.
    """
    tasks = [{"name": task["name"], "labels": list(task["labels"])} for task in tasks]
    fields = [pa.field("row_id", pa.string())]
    for task in tasks:
        distribution = pa.struct([(label, pa.float32()) for label in task["labels"]])
        kinds = {"true": pa.string(), "predicted": pa.string(), "probabilities": distribution}
        fields += [pa.field(f"{task['name']}_{name}", kind) for name, kind in kinds.items()]
    schema = pa.schema(fields, metadata={_TASKS_KEY: json.dumps(tasks)})
    with atomic_file(path) as unfinished, parquet.ParquetWriter(unfinished, schema) as file:

        def write(batch: Predictions, probabilities: Mapping[str, Any]) -> None:
            columns: list[Any] = [pa.array(batch.row_ids, pa.string())]
            for column, task in enumerate(tasks):
                labels = np.array([*task["labels"], None], dtype=object)
                references = batch.references[:, column]
                table = np.asarray(probabilities[task["name"]], dtype=np.float32)
                columns += [
                    pa.array(labels[np.where(references == UNKNOWN_LABEL, len(labels) - 1, references)], pa.string()),
                    pa.array(labels[table.argmax(axis=1)], pa.string()),
                    pa.StructArray.from_arrays([pa.array(values) for values in table.T], names=task["labels"]),
                ]
            file.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write


def open_predictions(path: str | Path) -> tuple[parquet.ParquetFile, list[dict[str, Any]]]:
    """A predictions.parquet and the tasks that it holds, as a model's `config.tasks`.

    Raises:
        ValueError: The file was not written by `predictions_writer`.
    """
    try:
        file = parquet.ParquetFile(path)
        return file, json.loads((file.schema_arrow.metadata or {})[_TASKS_KEY])
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise ValueError(
            f"Got {path}, which is no predictions.parquet of `semart-hf evaluate`. Evaluate that model first."
        ) from error


def read_predictions(path: str | Path) -> Outcomes:
    """The outcomes of a predictions.parquet, read in pieces.

    Raises:
        ValueError: The file was not written by `predictions_writer`.
    """
    file, tasks = open_predictions(path)
    outcomes = Outcomes(tasks)
    for batch in file.iter_batches(batch_size=4096):
        references, probabilities = [], {}
        for task in tasks:
            numbers = {label: number for number, label in enumerate(task["labels"])} | {None: UNKNOWN_LABEL}
            references.append([numbers[label] for label in batch.column(f"{task['name']}_true").to_pylist()])
            columns = batch.column(f"{task['name']}_probabilities").flatten()
            probabilities[task["name"]] = np.stack([column.to_numpy() for column in columns], axis=1)
        outcomes.add(probabilities, np.array(references, dtype=np.int64).T, batch.column("row_id").to_pylist())
    return outcomes
