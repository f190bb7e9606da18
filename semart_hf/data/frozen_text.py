"""Whether a run reads the frozen text layers' output from a cache, and the cache if it does."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from accelerate import PartialState
from transformers import TrainingArguments

from semart_hf.catalogue.tables import PIECE_ROWS, stored_rows
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .data_arguments import DataArguments
from .streaming import PaintingStream
from .text_cache import FrozenText, TextsToKeep, cache_folder, compute_frozen_text, texts_to_keep

# Texts that training reads fewer times than this on average are not worth a place on the disk.
LEAST_READS = 2.0
# Space that is left on the disk for checkpoints and everybody else.
RESERVED_BYTES = 2 << 30


def frozen_text(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    splits: Mapping[str, Any],
    data: DataArguments,
    training: TrainingArguments,
    schedule: Mapping[Any, Mapping[str, Any]],
) -> tuple[FrozenText | None, str]:
    """The cache that this run's collator is to read from, or `None`, and a sentence that says why.

    With `cache_frozen_text: auto` there is a cache if training reads each text twice or more, and if the disk has
    room. All processes call this and share the work.

    Args:
        model: The model as the run begins.
        processor: The model's.
        splits: The rows of `train`, and of `validation` if there are some.
        data: The recipe's.
        training: The recipe's.
        schedule: By epoch, what is frozen from then on.

    Raises:
        ValueError: If a cache is demanded where no layer stays frozen.
    """
    if data.cache_frozen_text == "false":
        return None, "Frozen text: computed in every batch (cache_frozen_text: false)"
    depth = depth_that_stays_frozen(model, schedule)
    obstacle = None
    if training.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        # All processes must run the same layers to put the shards together, also one whose batch has no text.
        obstacle = "computed in every batch, because FSDP shards the layers"
    elif depth < 1:
        obstacle = "none, all text layers learn"
    if obstacle is not None:
        if data.cache_frozen_text == "true":
            raise ValueError(
                f"cache_frozen_text is true, but there is no frozen text: {obstacle}. Set cache_frozen_text: auto, "
                "freeze some layers (trainable_text_layers, unfreezing), or launch with DDP."
            )
        return None, f"Frozen text: {obstacle}"
    column = text_column([splits[name] for name in ("train", "validation") if name in splits])
    wanted = texts_to_keep(model, processor, column, depth=depth, storage=data.text_cache_dtype)
    if not len(wanted.places):
        return None, "Frozen text: none, no row has a text"
    root = Path(data.text_cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "frozen_text")
    folder = cache_folder(root, model, processor, wanted, use_bf16=bool(training.bf16))
    choice = f"{len(wanted.places):,d} distinct texts through {depth} frozen layers"
    if wanted.are_in(folder):
        return FrozenText(folder, depth), f"Frozen text: {choice} read from {folder}"
    reads = expected_reads(len(splits["train"]), data, training)
    if data.cache_frozen_text == "auto" and reads < LEAST_READS:
        return None, f"Frozen text: {choice} in every batch; each is read {reads:.1f} times, too few for a cache"
    size, failure = _gigabytes(wanted.num_bytes()), _computed(model, processor, wanted, folder, training)
    PartialState().wait_for_everyone()
    if not wanted.are_in(folder):  # the same answer in all processes
        failure = failure or "another process could not write it"
        return None, f"Frozen text: computed in every batch, because {failure}."
    return FrozenText(folder, depth), f"Frozen text: {choice}, kept in {size} in {folder}"


def text_column(splits: Iterable[datasets.Dataset | PaintingStream]) -> pa.ChunkedArray:
    """The texts of all rows where they lie on the disk; those of a stream are written there."""
    chunks: list[pa.Array] = []
    for rows in splits:
        if isinstance(rows, PaintingStream):
            rows = stored_rows(_pieces(rows.column("text")))
        if "text" in rows.column_names:
            column = rows.select_columns("text").with_format("arrow")[:]["text"]
            chunks += column.cast(pa.string()).chunks
    return pa.chunked_array(chunks, pa.string())


def _pieces(texts: Iterator[str | None]) -> Iterator[pa.Table]:
    while some := list(islice(texts, PIECE_ROWS)):
        yield pa.table({"text": pa.array(some, pa.string())})


def _computed(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    folder: Path,
    training: TrainingArguments,
) -> str | None:
    """What kept this process from writing its share of the cache; `None`: nothing."""
    state, size, disk = PartialState(), _gigabytes(wanted.num_bytes()), folder
    while not disk.exists():
        disk = disk.parent
    free = shutil.disk_usage(disk).free
    if wanted.num_bytes() > free - RESERVED_BYTES:
        return (
            f"a cache needs {size} and {folder.parent} has {_gigabytes(free)} free, of which "
            f"{_gigabytes(RESERVED_BYTES)} are left alone. Make room, or name another text_cache_dir"
        )
    shows_progress = state.is_main_process and not training.disable_tqdm
    if shows_progress:
        print(f"Frozen text: {len(wanted.places):,d} texts are computed once and take {size} in {folder}")
    try:
        compute_frozen_text(
            model,
            processor,
            wanted,
            folder,
            device=training.device,
            use_bf16=bool(training.bf16),
            show_progress=shows_progress,
            process_index=state.process_index,
            num_processes=state.num_processes,
        )
    except OSError as error:
        return f"the cache could not be written: {error}"
    return None


def depth_that_stays_frozen(model: SemArtForArtClassification, schedule: Mapping[Any, Mapping[str, Any]]) -> int:
    """How many of the text tower's first layers never learn in a run, its unfreezing included."""
    trainable = [model.config.trainable_text_layers]
    trainable += [fields["trainable_text_layers"] for fields in schedule.values() if "trainable_text_layers" in fields]
    num_layers: int = model.config.text_config.n_layers
    return min(0 if number is None else num_layers - number for number in trainable)


def expected_reads(num_rows: int, data: DataArguments, training: TrainingArguments) -> float:
    """How many times training will read a text on average, of `num_rows` rows to learn from."""
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * max(training.world_size, 1)
    steps_rows = training.max_steps * batch
    epoch_rows = training.num_train_epochs * (data.epoch_length or num_rows)
    return (steps_rows if training.max_steps > 0 else epoch_rows) / num_rows * (1 - data.text_dropout)


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
