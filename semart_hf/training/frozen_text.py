"""Whether a run reads the frozen text layers' output from a cache, and the cache if it does."""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets

from semart_hf.data.cache import FrozenText
from semart_hf.data.cache_computing import TextsToKeep, cache_folder, compute_frozen_text, texts_to_keep
from semart_hf.data.streaming import column_of
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .arguments import SemArtTrainingArguments
from .recipe import DataArguments

# Texts that are read fewer times than this on average are not worth a place on the disk.
LEAST_READS = 2.0
# Space that is left on the disk for checkpoints and everybody else.
RESERVED_BYTES = 2 << 30


def frozen_text(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    splits: Mapping[str, Any],
    data: DataArguments,
    training: SemArtTrainingArguments,
) -> tuple[FrozenText | None, str]:
    """The cache that this run's collator is to read from, or `None`, and a sentence that says why.

    With `cache_frozen_text: auto` there is a cache if each text is read twice or more, by the epochs and validations
    together, and if the disk has room. All processes call this and share the work.

    Args:
        model: The model as the run begins.
        processor: The model's.
        splits: The rows of `train`, and of `validation` if there are some.
        data: The recipe's.
        training: The recipe's.

    Raises:
        ValueError: If a cache is demanded where no layer stays frozen.
    """
    if data.cache_frozen_text == "false":
        return None, "Frozen text: computed in every batch (cache_frozen_text: false)"
    if is_fsdp_enabled(training):
        # All processes must run the same layers to put the shards together, also one whose batch has no text.
        if data.cache_frozen_text == "true":
            raise ValueError(
                "cache_frozen_text is true, but with FSDP every process runs all layers. Set cache_frozen_text: auto, "
                "or launch with DDP."
            )
        return None, "Frozen text: computed in every batch, because FSDP shards the layers"
    depth = depth_that_stays_frozen(model, training.unfreezing_schedule())
    if depth < 1:
        if data.cache_frozen_text == "true":
            raise ValueError(
                "cache_frozen_text is true, but no text layer stays frozen: trainable_text_layers or unfreezing lets "
                "all of them learn. Freeze some, or set cache_frozen_text: auto."
            )
        return None, "Frozen text: none, all text layers learn"
    read = {name: splits[name] for name in ("train", "validation") if name in splits}
    wanted = texts_to_keep(
        model,
        processor,
        (text for rows in read.values() for text in column_of(rows, "text")),
        depth=depth,
        storage=data.text_cache_dtype,
    )
    if not wanted.texts:
        return None, "Frozen text: none, no row has a text"
    root = Path(data.text_cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "frozen_text")
    folder = cache_folder(root, model, processor, wanted, use_bf16=bool(training.bf16))
    num_reads = expected_reads({name: _number_of(rows) for name, rows in read.items()}, data, training)
    choice = f"{len(wanted.texts):,d} distinct texts through {depth} frozen layers"
    if folder.is_dir() and FrozenText(folder, depth).knows_digests(wanted.texts.digests):
        return FrozenText(folder, depth), f"Frozen text: {choice} read from {folder}"
    if data.cache_frozen_text == "auto" and num_reads < LEAST_READS * len(wanted.texts):
        reads = num_reads / len(wanted.texts)
        return None, f"Frozen text: {choice} in every batch; each is read {reads:.1f} times, too few for a cache"
    return _computed(model, processor, wanted, folder, training, f"{choice}, each to be read", num_reads)


def _computed(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    folder: Path,
    training: SemArtTrainingArguments,
    choice: str,
    num_reads: float,
) -> tuple[FrozenText | None, str]:
    free, size = _free_bytes(folder), _gigabytes(wanted.num_bytes())
    if wanted.num_bytes() > free - RESERVED_BYTES:
        return None, (
            f"Frozen text: computed in every batch, because a cache needs {size} and {folder.parent} has "
            f"{_gigabytes(free)} free, of which {_gigabytes(RESERVED_BYTES)} are left alone. Make room, or name "
            "another text_cache_dir."
        )
    reads = num_reads / len(wanted.texts)
    if training.process_index == 0 and not training.disable_tqdm:
        print(f"Frozen text: {choice} {reads:.1f} times, are computed once and take {size} in {folder}")
    try:
        kept = compute_frozen_text(
            model,
            processor,
            wanted,
            folder,
            device=training.device,
            use_bf16=bool(training.bf16),
            show_progress=training.process_index == 0 and not training.disable_tqdm,
        )
    except OSError as error:
        return None, f"Frozen text: computed in every batch, because the cache could not be written: {error}"
    return kept, f"Frozen text: {choice} {reads:.1f} times, kept in {size} in {folder}"


def is_fsdp_enabled(training: SemArtTrainingArguments) -> bool:
    """Whether the launcher or the recipe asks for sharded parameters."""
    return bool(training.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def depth_that_stays_frozen(model: SemArtForArtClassification, schedule: Mapping[Any, Mapping[str, Any]]) -> int:
    """How many of the text tower's first layers never learn in a run, its unfreezing included.

    Args:
        model: The model as the run begins.
        schedule: See `Unfreezing`.
    """
    trainable = [model.config.trainable_text_layers]
    trainable += [fields["trainable_text_layers"] for fields in schedule.values() if "trainable_text_layers" in fields]
    num_layers: int = model.config.text_config.n_layers
    return min(0 if number is None else num_layers - number for number in trainable)


def expected_reads(num_rows: Mapping[str, int], data: DataArguments, training: SemArtTrainingArguments) -> float:
    """How many times a text of the train or validation split will be read in a run.

    Args:
        num_rows: Of the splits.
        data: The recipe's.
        training: The recipe's.
    """
    rows = data.epoch_length or num_rows["train"]
    rows_of_step = (
        training.per_device_train_batch_size * training.gradient_accumulation_steps * max(training.world_size, 1)
    )
    steps = training.max_steps if training.max_steps > 0 else training.num_train_epochs * rows / rows_of_step
    reads = steps * rows_of_step * (1 - data.text_dropout)
    num_validations = {"no": 0.0, "epoch": float(math.ceil(steps * rows_of_step / max(rows, 1)))}.get(
        str(getattr(training.eval_strategy, "value", training.eval_strategy)),
        steps / training.eval_steps if training.eval_steps and training.eval_steps >= 1 else 1.0,
    )
    return reads + num_validations * num_rows.get("validation", 0)


def _number_of(rows: Any) -> int:
    """All rows, where the length of a stream is that of an epoch."""
    return int(rows.num_rows if hasattr(rows, "num_rows") else len(rows))


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
