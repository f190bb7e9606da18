"""A model's logits for every painting of a dataset, batch by batch, and the predictions.parquet that keeps them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from semart_hf.memory import freed_memory_kept
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.output_semart import UNKNOWN_LABEL, whole_rows
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import run_model, weights_prepared_once

from .outcomes import Outcomes, probabilities_of

_TASKS_KEY = b"semart_tasks"
#: Parquet keeps each field of a struct apart: thousands of labels in each batch of rows would be mostly metadata.
MOST_FIELDS = 1000


@dataclass(frozen=True)
class Predictions:
    """What a model says of paintings, and the truth.

    A painting whose picture could not be read was judged by its text; where the model was shown none, its references
    are -100. `vectors` are those of a contrastive model, of unit length, and zeros for rows that lack one of the two.
    """

    row_ids: list[str]
    logits: dict[str, npt.NDArray[np.float32]]  # by task (rows, labels)
    references: npt.NDArray[np.int64]  # as the model takes its labels, -100 where unknown
    tasks: Sequence[Mapping[str, Any]]
    unreadable: Mapping[str, str] = field(default_factory=dict)  # by row id why a picture could not be read
    vectors: npt.NDArray[np.float32] | None = None  # of picture and text (2, rows, dim)
    alone: Mapping[str, "Predictions"] = field(default_factory=dict)  # by `image` and `text`, if asked

    def probabilities(self, temperatures: dict[str, float] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        """Task to probabilities (rows, labels), by the model's `config.temperatures`."""
        divisors = temperatures or {}
        return {
            task["name"]: probabilities_of(self.logits[task["name"]], task, divisors.get(task["name"], 1.0))
            for task in self.tasks
        }

    def outcomes(self, temperatures: dict[str, float] | None = None) -> Outcomes:
        """The outcomes by these temperatures."""
        collected = Outcomes(self.tasks)
        collected.add(self.probabilities(temperatures), self.references, self.row_ids)
        return collected


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
    each_alone: bool = False,
) -> Iterator[Predictions]:
    """The dataset's predictions, in its order, one batch at a time; only the batch's pictures are in memory.

    The dataset has `image`, `text` and a column for each of the model's tasks; the model sees what `modality`, one of
    `MODALITIES`, lets it, and stays on the device that it is moved to, by default the first GPU where there is one.
    `precision` is `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies in it. `each_alone` also gives
    what pictures and texts say alone, for which the towers run no second time.
    """
    if len(dataset) == 0:
        raise ValueError("Got a dataset without rows. One painting is needed. Check the split and its filters.")
    loader = _loader(model, processor, dataset, modality, batch_size=batch_size, num_workers=num_workers)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)
    names, also = iter(row_names(dataset)), [weights_prepared_once(model)]
    with freed_memory_kept(device.type == "cpu"):
        for batch in tqdm(loader, desc=modality, unit="batch", disable=not show_progress):
            references = batch.pop("labels").numpy()
            row_ids = list(islice(names, len(references)))
            places = dict(batch.pop("unreadable", ()))
            unreadable = {row_ids[place]: error for place, error in places.items()}
            with torch.inference_mode():
                inputs = {name: value.to(device) for name, value in batch.items()}
                asked = {**inputs, "each_alone": each_alone}
                output, vectors = run_model(model, asked, precision=precision, also=also), None
                if model.config.contrastive:
                    sides = F.normalize(torch.stack((output.image_features, output.text_features)).float(), dim=-1)
                    vectors = (sides * whole_rows(inputs, len(row_ids)).to(device).unsqueeze(1)).cpu().numpy()
            found = {}
            for name, logits in {modality: output.logits, **(output.alone_logits or {})}.items():
                arrays = {task: values.float().cpu().numpy() for task, values in logits.items()}
                is_finite = np.all([np.isfinite(values).all(axis=1) for values in arrays.values()], axis=0)
                if not is_finite.all():
                    rows = ", ".join(np.array(row_ids)[~is_finite][:5])
                    raise ValueError(
                        f"Got logits that are NaN or infinite for {rows}. Finite numbers are needed. Look for NaN in "
                        "the weights (a diverged training), and try these paintings alone with semart-hf predict."
                    )
                found[name] = Predictions(row_ids, arrays, references, model.config.tasks, unreadable)
            if each_alone:
                shown = references.copy()
                shown[[*places]] = UNKNOWN_LABEL
                found["image"] = replace(found["image"], references=shown)
            yield replace(found.pop(modality), vectors=vectors, alone=found)


def _loader(
    model: SemArtForArtClassification, processor: SemArtProcessor, dataset: Dataset, modality: str, **options: Any
) -> "DataLoader[Any]":
    """Batches of the dataset, whose pictures the collator decodes as in training and in the pipeline."""
    columns = [name for name in ("image", "text", *model.config.task_names) if name in dataset.column_names]
    collator = ArtCollator(processor, model.config.tasks, modality=modality, reports_unreadable=True)
    return DataLoader(undecoded(dataset.select_columns(columns)), collate_fn=collator, **options)


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


def agreement(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    run: Callable[[Mapping[str, Any]], Sequence[Any]],
    modalities: Sequence[str],
) -> dict[str, Any]:
    """How the logits of `run`, in the order of the tasks, agree with the model's on rows that have the modalities.

    The share of `same_answers` is of all tasks together, the `confidence_difference` of the means the largest of a
    task; empty where no row has the modalities.
    """
    tasks, ours, theirs = model.config.tasks or [], Outcomes(model.config.tasks), Outcomes(model.config.tasks)
    for batch in _loader(model, processor, dataset, "+".join(modalities), batch_size=8):
        references, _ = batch.pop("labels"), batch.pop("unreadable", None)
        has_all = torch.ones(len(references), dtype=torch.bool)
        for name in modalities:
            is_there = torch.tensor({"image": "pixel_values", "text": "input_ids"}[name] in batch)
            has_all &= batch.pop(f"has_{name}", is_there)
        if has_all.any():
            inputs = {name: values[has_all] for name, values in batch.items()}
            with torch.inference_mode():
                expected = model(**inputs).logits.values()
            for side, logits in ((ours, expected), (theirs, run(inputs))):
                pairs = zip(tasks, logits, strict=False)  # features may follow the logits
                found = {task["name"]: probabilities_of(one, task) for task, one in pairs}
                side.add(found, references[has_all].numpy())
    if not ours.num_rows:
        return {}
    same, apart = [], []
    for one, other in ((ours.task(name), theirs.task(name)) for name in ours.task_names):
        is_same = one.predictions == other.predictions
        same.append(float(is_same.reshape(len(is_same), -1).all(1).mean()))
        apart.append(abs(float(one.confidences.mean() - other.confidences.mean())))
    return {"rows": ours.num_rows, "same_answers": sum(same) / len(same), "confidence_difference": max(apart)}


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

    def table(row_ids: list[str], probabilities: Mapping[str, Any], references: Any) -> pa.Table:
        outcomes, columns = Outcomes(tasks), {"row_id": pa.array(row_ids, pa.string())}
        outcomes.add(probabilities, references)
        for task in tasks:
            name, labels, kind = task["name"], np.array([*task["labels"], None], dtype=object), pa.string()
            rows = outcomes.task(name)
            if is_multi_label(task):
                kind, known = pa.list_(kind), zip(rows.references == 1, rows.is_known, strict=True)
                true: Any = [labels[:-1][one] if is_known else None for one, is_known in known]
                answers: Any = [labels[:-1][one] for one in rows.predictions]
            else:  # an unknown label is the last of the list
                true, answers = labels[np.maximum(rows.references, -1)], labels[rows.predictions]
            shares = distributions(np.asarray(probabilities[name], dtype=np.float32), task["labels"])
            found = {"true": pa.array(true, kind), "predicted": pa.array(answers, kind), "probabilities": shares}
            columns |= {f"{name}_{what}": values for what, values in found.items()}
        return pa.table(columns, metadata={_TASKS_KEY: json.dumps(tasks)})

    empty = table([], {task["name"]: np.zeros((0, len(task["labels"]))) for task in tasks}, [])
    with atomic_file(path) as unfinished, parquet.ParquetWriter(unfinished, empty.schema) as file:
        yield lambda batch, probabilities: file.write_table(table(batch.row_ids, probabilities, batch.references))


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
            found = batch.column(f"{task['name']}_probabilities").flatten()  # of a struct a list of columns
            columns = [column.to_numpy() for column in (found if isinstance(found, list) else [found])]
            probabilities[task["name"]] = np.stack(columns, axis=-1).reshape(len(true), -1)
        outcomes.add(probabilities, np.concatenate(references, axis=1), batch.column("row_id").to_pylist())
    return outcomes
