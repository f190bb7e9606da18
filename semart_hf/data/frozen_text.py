"""Whether a run reads the frozen text layers' output from a cache, and the cache if it does."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from transformers import TrainingArguments

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .data_arguments import DataArguments
from .streaming import column_of
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
    if is_fsdp_enabled(training):
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
    rows = (splits[name] for name in ("train", "validation") if name in splits)
    texts = (text for split in rows for text in column_of(split, "text"))
    wanted = texts_to_keep(model, processor, texts, depth=depth, storage=data.text_cache_dtype)
    if not len(wanted.texts):
        return None, "Frozen text: none, no row has a text"
    root = Path(data.text_cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "frozen_text")
    folder = cache_folder(root, model, processor, wanted, use_bf16=bool(training.bf16))
    choice = f"{len(wanted.texts):,d} distinct texts through {depth} frozen layers"
    if _is_whole(wanted, folder):
        return FrozenText(folder, depth), f"Frozen text: {choice} read from {folder}"
    reads = expected_reads(len(splits["train"]), data, training)
    if data.cache_frozen_text == "auto" and reads < LEAST_READS:
        return None, f"Frozen text: {choice} in every batch; each is read {reads:.1f} times, too few for a cache"
    return _computed(model, processor, wanted, folder, training, choice)


def _computed(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    folder: Path,
    training: TrainingArguments,
    choice: str,
) -> tuple[FrozenText | None, str]:
    state, size, free = PartialState(), _gigabytes(wanted.num_bytes()), _free_bytes(folder)
    failure = None
    if wanted.num_bytes() > free - RESERVED_BYTES:
        failure = (
            f"a cache needs {size} and {folder.parent} has {_gigabytes(free)} free, of which "
            f"{_gigabytes(RESERVED_BYTES)} are left alone. Make room, or name another text_cache_dir"
        )
    else:
        shows_progress = state.is_main_process and not training.disable_tqdm
        if shows_progress:
            print(f"Frozen text: {choice} are computed once and take {size} in {folder}")
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
            failure = f"the cache could not be written: {error}"
    state.wait_for_everyone()
    if not _is_whole(wanted, folder):  # the same answer in all processes
        return (
            None,
            f"Frozen text: computed in every batch, because {failure or 'another process could not write it'}.",
        )
    return FrozenText(folder, wanted.depth), f"Frozen text: {choice}, kept in {size} in {folder}"


def is_fsdp_enabled(training: TrainingArguments) -> bool:
    """Whether the launcher or the recipe asks for sharded parameters."""
    return bool(training.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def depth_that_stays_frozen(model: SemArtForArtClassification, schedule: Mapping[Any, Mapping[str, Any]]) -> int:
    """How many of the text tower's first layers never learn in a run, its unfreezing included.

    Args:
        model: The model as the run begins.
        schedule: See `frozen_text`.
    """
    trainable = [model.config.trainable_text_layers]
    trainable += [fields["trainable_text_layers"] for fields in schedule.values() if "trainable_text_layers" in fields]
    num_layers: int = model.config.text_config.n_layers
    return min(0 if number is None else num_layers - number for number in trainable)


def expected_reads(num_rows: int, data: DataArguments, training: TrainingArguments) -> float:
    """How many times training will read a text on average.

    Args:
        num_rows: Of the train split.
        data: The recipe's.
        training: The recipe's.
    """
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * max(training.world_size, 1)
    steps_rows = training.max_steps * batch
    epoch_rows = training.num_train_epochs * (data.epoch_length or num_rows)
    return (steps_rows if training.max_steps > 0 else epoch_rows) / num_rows * (1 - data.text_dropout)


def _is_whole(wanted: TextsToKeep, folder: Path) -> bool:
    return all(path.is_file() for path in wanted.chunks(folder))


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
