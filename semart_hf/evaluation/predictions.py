"""A model's logits for every painting of a dataset, batch by batch, and the predictions.parquet that keeps them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from datasets import Dataset
from pyarrow import parquet
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from semart_hf.data.collator import ArtCollator
from semart_hf.data.streaming import undecoded
from semart_hf.files import atomic_file
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.output_semart import UNKNOWN_LABEL, whole_rows
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import run_model

from .outcomes import Outcomes, probabilities_of

_TASKS_KEY = b"semart_tasks"
#: Parquet keeps each field of a struct apart: thousands of labels in each batch of rows would be mostly metadata.
MOST_FIELDS = 1000


@dataclass(frozen=True)
class Predictions:
    """Logits (rows, labels) by task, and references as the model takes its labels, -100 where unknown.

    `unreadable` has by row id why a picture could not be read. Such a painting was judged by its text; where the model
    was shown none, its references are -100. A contrastive model's `vectors` are those of picture and text `(2, rows,
    dim)`, of unit length, and zeros for rows that lack one of the two.
    """

    row_ids: list[str]
    logits: dict[str, npt.NDArray[np.float32]]
    references: npt.NDArray[np.int64]
    tasks: Sequence[Mapping[str, Any]]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    vectors: npt.NDArray[np.float32] | None = None

    @property
    def columns(self) -> dict[str, slice]:
        """The columns of `references` by task."""
        return label_columns(self.tasks)

    def probabilities(self, temperatures: dict[str, float] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        """Task to probabilities (rows, labels), by the model's `config.temperatures`."""
        temperatures = temperatures or {}
        return {
            task["name"]: probabilities_of(self.logits[task["name"]], task, temperatures.get(task["name"], 1.0))
            for task in self.tasks
        }


def predict_batches(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    modality: str = "image+text",
    batch_size: int = 32,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    show_progress: bool = False,
    precision: str = "auto",
) -> Iterator[Predictions]:
    """The dataset's predictions, in its order, one batch at a time; only the batch's pictures are in memory.

    Args:
        model: Stays on the device it is moved to, and in its mode.
        dataset: Has `image`, `text` and a column for each of the model's tasks.
        modality: What the model may see, one of `MODALITIES`.
        device: `None`: the first GPU where there is one.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies in it.
    """
    if len(dataset) == 0:
        raise ValueError("Got a dataset without rows. One painting is needed. Check the split and its filters.")
    columns = [name for name in ("image", "text", *model.config.task_names) if name in dataset.column_names]
    # Decoded by the collator, as in training and in the pipeline, with its errors.
    shown = undecoded(dataset.select_columns(columns))
    collator = ArtCollator(processor, model.config.tasks, modality=modality, reports_unreadable=True)
    loader: DataLoader[Any] = DataLoader(shown, batch_size=batch_size, num_workers=num_workers, collate_fn=collator)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)
    names = iter(row_names(dataset))
    for batch in tqdm(loader, desc=modality, unit="batch", disable=not show_progress):
        references = batch.pop("labels").numpy()
        row_ids = list(islice(names, len(references)))
        unreadable = {row_ids[place]: error for place, error in batch.pop("unreadable", ())}
        with torch.inference_mode():
            inputs = {name: value.to(device) for name, value in batch.items()}
            output = run_model(model, inputs, precision=precision)
        vectors = pair_vectors(output, inputs, len(row_ids)) if model.config.contrastive else None
        arrays = {task: values.float().cpu().numpy() for task, values in output.logits.items()}
        is_finite = np.all([np.isfinite(values).all(axis=1) for values in arrays.values()], axis=0)
        if not is_finite.all():
            raise ValueError(
                f"Got logits that are NaN or infinite for {', '.join(np.array(row_ids)[~is_finite][:5])}. Finite "
                "numbers are needed. Look for NaN in the weights (a diverged training), and try these paintings alone "
                "with semart-hf predict."
            )
        yield Predictions(row_ids, arrays, references, model.config.tasks, unreadable, vectors)


@torch.inference_mode()
def pair_vectors(output: Any, inputs: Mapping[str, Any], num_rows: int) -> npt.NDArray[np.float32]:
    """The `vectors` of `Predictions`, of a batch."""
    sides = F.normalize(torch.stack((output.image_features, output.text_features)).float(), dim=-1)
    is_whole = whole_rows(inputs, num_rows).to(sides.device)
    found: npt.NDArray[np.float32] = (sides * is_whole.unsqueeze(1)).cpu().numpy()
    return found


def predict_dataset(
    model: SemArtForArtClassification, processor: SemArtProcessor, dataset: Dataset, **options: Any
) -> Predictions:
    """The predictions for the whole dataset, in its order; options and errors are those of `predict_batches`."""
    batches = list(predict_batches(model, processor, dataset, **options))
    return Predictions(
        [name for batch in batches for name in batch.row_ids],
        {task: np.concatenate([batch.logits[task] for batch in batches]) for task in batches[0].logits},
        np.concatenate([batch.references for batch in batches]),
        model.config.tasks,
        {name: error for batch in batches for name, error in batch.unreadable.items()},
    )


def row_names(dataset: Dataset) -> list[str]:
    """One name a painting: its picture's file name where every painting has its own, else its row's number."""
    files = list(dataset["image_file"]) if "image_file" in dataset.column_names else []
    if all(files) and len(set(files)) == len(dataset):
        return files
    return [f"row {index}" for index in range(len(dataset))]


@contextmanager
def predictions_writer(
    path: str | Path, tasks: Sequence[Mapping[str, Any]]
) -> Iterator[Callable[[Predictions, Mapping[str, Any]], None]]:
    """A function that writes a batch with its probabilities; the file appears when the block has ended.

    Columns: `row_id`, and by task `{task}_true` (null where unknown), `{task}_predicted` and `{task}_probabilities`, a
    struct with one number a label, or beyond `MOST_FIELDS` labels a list.
    """
    kept = ("name", "labels", "kind", "positions", "unit", "thresholds")
    tasks = [{key: task[key] for key in kept if key in task} for task in tasks]
    columns_of = label_columns(tasks)
    fields = [("row_id", pa.string())]
    for task in tasks:
        distribution = distributions(np.zeros((0, len(task["labels"])), np.float32), task["labels"]).type
        answer = pa.list_(pa.string()) if is_multi_label(task) else pa.string()
        kinds = {"true": answer, "predicted": answer, "probabilities": distribution}
        fields += [(f"{task['name']}_{name}", kind) for name, kind in kinds.items()]
    schema = pa.schema(fields, metadata={_TASKS_KEY: json.dumps(tasks)})
    with atomic_file(path) as unfinished, parquet.ParquetWriter(unfinished, schema) as file:

        def write(batch: Predictions, probabilities: Mapping[str, Any]) -> None:
            columns: list[Any] = [pa.array(batch.row_ids, pa.string())]
            for task in tasks:
                references = batch.references[:, columns_of[task["name"]]]
                labels = np.array([*task["labels"], None], dtype=object)
                table = np.asarray(probabilities[task["name"]], dtype=np.float32)
                if is_multi_label(task):
                    thresholds = np.array(task.get("thresholds") or [0.5] * len(task["labels"]), dtype=np.float32)
                    is_known = (references != UNKNOWN_LABEL).any(axis=1)
                    true: Any = [
                        labels[:-1][row == 1].tolist() if known else None
                        for row, known in zip(references, is_known, strict=True)
                    ]
                    answers: Any = [labels[:-1][row].tolist() for row in table >= thresholds]
                else:
                    numbers = references[:, 0]
                    true = labels[np.where(numbers == UNKNOWN_LABEL, -1, numbers)]
                    answers = labels[table.argmax(axis=1)]
                answer = schema.field(f"{task['name']}_true").type
                columns += [pa.array(true, answer), pa.array(answers, answer), distributions(table, task["labels"])]
            file.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write


def distributions(table: npt.NDArray[np.float32], labels: Sequence[str]) -> pa.Array:
    """Probabilities (rows, labels) as a column of predictions.parquet."""
    if len(labels) <= MOST_FIELDS:
        return pa.StructArray.from_arrays([pa.array(values) for values in table.T], names=labels)
    return pa.FixedSizeListArray.from_arrays(pa.array(table.ravel()), len(labels))


def open_predictions(path: str | Path) -> tuple[parquet.ParquetFile, list[dict[str, Any]]]:
    """A predictions.parquet and its model's `config.tasks`; ValueError for any other file."""
    try:
        file = parquet.ParquetFile(path)
        return file, json.loads((file.schema_arrow.metadata or {})[_TASKS_KEY])
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise ValueError(
            f"Got {path}, which is no predictions.parquet of `semart-hf evaluate`. Evaluate that model first."
        ) from error


def read_predictions(path: str | Path) -> Outcomes:
    """The outcomes of a predictions.parquet, read in pieces; errors are those of `open_predictions`."""
    file, tasks = open_predictions(path)
    outcomes = Outcomes(tasks)
    for batch in file.iter_batches(batch_size=4096):
        references, probabilities = [], {}
        for task in tasks:
            numbers = {label: number for number, label in enumerate(task["labels"])} | {None: UNKNOWN_LABEL}
            true = batch.column(f"{task['name']}_true").to_pylist()
            table = np.zeros((len(true), len(task["labels"]) if is_multi_label(task) else 1), dtype=np.int64)
            for row, cell in enumerate(true):
                if is_multi_label(task) and cell is not None:
                    table[row, [numbers[label] for label in cell]] = 1
                else:
                    table[row] = numbers[cell]
            references.append(table)
            found = batch.column(f"{task['name']}_probabilities").flatten()
            is_struct = isinstance(found, list)
            probabilities[task["name"]] = (
                np.stack([column.to_numpy() for column in found], axis=1)
                if is_struct
                else found.to_numpy().reshape(batch.num_rows, -1)
            )
        outcomes.add(probabilities, np.concatenate(references, axis=1), batch.column("row_id").to_pylist())
    return outcomes
