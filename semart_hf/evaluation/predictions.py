"""A model's logits for every painting of a dataset, batch by batch, through the model's own processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset, Image
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from semart_hf.data.collator import ArtCollator
from semart_hf.model.techniques_semart import run_model

from .outcomes import softmax

if TYPE_CHECKING:
    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor

MODALITIES = ("image+text", "image", "text")


@dataclass(frozen=True)
class Predictions:
    """Logits of some paintings, with their labels and names.

    Args:
        row_ids: Unique in the dataset.
        logits: Task to float32 (rows, labels).
        references: Label indices (rows, tasks), -100 where the label is unknown.
        unreadable: By row id, why a painting's picture could not be read. It was judged by its text; where the model
            was shown none, its references are -100, and it is left out of the scores.
    """

    row_ids: list[str]
    logits: dict[str, npt.NDArray[np.float32]]
    references: npt.NDArray[np.int64]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def probabilities(self, temperatures: dict[str, float] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        """Task to probabilities (rows, labels), by the model's `config.temperatures`."""
        return {task: softmax(logits, (temperatures or {}).get(task, 1.0)) for task, logits in self.logits.items()}


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
        processor: Its own.
        dataset: Has `image`, `text` and a column for each of the model's tasks.
        modality: What the model may see, one of `MODALITIES`; what a painting lacks, or what of it cannot be read,
            stays absent.
        batch_size: Paintings at a time.
        device: `None`: the first GPU where there is one.
        num_workers: Processes that read pictures.
        show_progress: Whether a bar counts the paintings.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies in it.

    Raises:
        ValueError: The dataset is empty, or the model answered with NaN.
    """
    if len(dataset) == 0:
        raise ValueError("Got a dataset without rows. One painting is needed. Check the split and its filters.")
    tasks, names = model.config.tasks, row_names(dataset)
    columns = [name for name in ("image", "text", *model.config.task_names) if name in dataset.column_names]
    shown = dataset.select_columns(columns)
    if "image" in columns:  # decoded by the collator, as in training and in the pipeline, with its errors
        shown = shown.cast_column("image", Image(decode=False))
    collator = ArtCollator(processor, tasks, modality=modality, reports_unreadable=True)
    loader: DataLoader[Any] = DataLoader(shown, batch_size=batch_size, num_workers=num_workers, collate_fn=collator)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)
    remaining = iter(names)
    for batch in tqdm(loader, desc=modality, unit="batch", disable=not show_progress):
        references = batch.pop("labels").numpy()
        row_ids = list(islice(remaining, len(references)))
        unreadable = {row_ids[place]: error for place, error in batch.pop("unreadable", ())}
        with torch.inference_mode():
            inputs = {name: value.to(device) for name, value in batch.items()}
            logits = run_model(model, inputs, precision=precision).logits
        arrays = {task: values.float().cpu().numpy() for task, values in logits.items()}
        is_finite = np.all([np.isfinite(values).all(axis=1) for values in arrays.values()], axis=0)
        if not is_finite.all():
            raise ValueError(
                f"Got logits that are NaN or infinite for {', '.join(np.array(row_ids)[~is_finite][:5])}. Finite "
                "numbers are needed. Look for NaN in the weights (a diverged training), and try these paintings alone "
                "with semart-hf predict."
            )
        yield Predictions(row_ids, arrays, references, unreadable)


def predict_dataset(
    model: SemArtForArtClassification, processor: SemArtProcessor, dataset: Dataset, **options: Any
) -> Predictions:
    """The predictions for the whole dataset, in its order; options and errors are those of `predict_batches`."""
    batches = list(predict_batches(model, processor, dataset, **options))
    return Predictions(
        [name for batch in batches for name in batch.row_ids],
        {task: np.concatenate([batch.logits[task] for batch in batches]) for task in batches[0].logits},
        np.concatenate([batch.references for batch in batches]),
        {name: error for batch in batches for name, error in batch.unreadable.items()},
    )


def row_names(dataset: Dataset) -> list[str]:
    """One name a painting: its picture's file name where every painting has its own, else its row's number."""
    if "image_file" in dataset.column_names:
        files = list(dataset["image_file"])
        if all(files) and len(set(files)) == len(files):
            return files
    return [f"row {index}" for index in range(len(dataset))]
