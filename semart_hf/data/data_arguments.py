"""Which paintings a recipe learns from, and how they are varied."""
# ruff: noqa: RUF009 (`described` gives a field)

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

# What is allowed of which fields. No comparison holds for NaN.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "1 or more": (
        lambda number: 1 <= number < math.inf,
        "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps save_total_limit "
        "early_stopping_patience image_size fusion_dim prepared_size epoch_length shuffle_buffer max_train_rows "
        "min_label_count",
    ),
    "3 or more": (lambda number: 3 <= number < math.inf, "max_text_length"),
    "100 or more": (lambda number: 100 <= number < math.inf, "vocab_size"),
    "0 or more": (
        lambda number: 0 <= number < math.inf,
        "learning_rate vision_learning_rate text_learning_rate lexicon_learning_rate lexicon_penalty weight_decay "
        "max_grad_norm warmup_steps eval_delay dataloader_num_workers modality_loss contrastive_weight "
        "logit_adjustment_tau",
    ),
    "above 0": (
        lambda number: 0 < number < math.inf,
        "adam_epsilon logging_steps save_steps eval_steps crop_scale crop_ratio crop_pct",
    ),
    "from 0 to below 1": (
        lambda number: 0 <= number < 1,
        "adam_beta1 adam_beta2 ema_decay label_smoothing_factor color_jitter fusion_dropout",
    ),
    "from 0 to 1": (lambda number: 0 <= number <= 1, "horizontal_flip random_erasing image_dropout text_dropout"),
    "from 0 to 4294967295": (lambda number: 0 <= number < 2**32, "seed data_seed"),
    "from 0 to 180": (lambda number: 0 <= number <= 180, "rotation"),
    "finite": (math.isfinite, "num_train_epochs"),
}


def described(default: Any, text: str, **metadata: Any) -> Any:
    """A field of a recipe, as `HfArgumentParser` reads it."""
    metadata["help"] = text
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Augmentation:
    """How training pictures are varied. Each field's default leaves the picture as a centred crop of itself."""

    crop_scale: list[float] = described([1.0, 1.0], "Smallest and largest share of the area in a crop.")
    crop_ratio: list[float] = described([1.0, 1.0], "Smallest and largest aspect ratio of a crop.")
    horizontal_flip: float = described(0.0, "Probability of mirroring a picture.")
    rotation: float = described(0.0, "Largest rotation to either side, in degrees.")
    color_jitter: float = described(0.0, "Largest relative change of brightness, contrast and saturation.")
    random_erasing: float = described(0.0, "Probability of replacing 2 to 33 % of the area by the mean colour.")

    def __post_init__(self) -> None:
        check_values(self)
        for name, most in (("crop_scale", 1.0), ("crop_ratio", math.inf)):
            values = getattr(self, name)
            if len(values) != 2 or not values[0] <= values[1] <= most:
                raise ValueError(f"{name} is {values}. Give two numbers, smallest <= largest <= {most}.")


@dataclass
class DataArguments(Augmentation):
    """Which paintings are learned from, and how they are varied."""

    data: str = described("", "A release's folder or one CSV file of it, prepared data, a Hub data set, or a URL.")
    follow_links: bool = described(False, "Whether links may lead out of a release's pictures (DVC, git-annex).")
    prepare: bool = described(True, "Whether a release's large training pictures are made small once, in the cache.")
    prepared_size: int | None = described(None, "Their shorter side. null: what image_size and crop_scale need.")
    streaming: bool = described(False, "Read prepared training data (folder, Hub, URL) as it is needed.")
    epoch_length: int | None = described(None, "Rows of an epoch of streamed data. null: every row once.")
    shuffle_buffer: int = described(512, "Rows of streamed data that are mixed at a time.")
    tasks: list[str] | None = described(
        None, "Columns with labels in order, or {name: …, column: …, kind: …}. null: those that the data declares."
    )
    min_label_count: int = described(10, "Labels rarer than this in train become UNK.")
    text_columns: list[str] = described(["DESCRIPTION"], "Columns that make up the model's text.")
    max_text_length: int = described(256, "Longer texts are cut to this many tokens.")
    vocab_size: int = described(4000, "Size of a vocabulary that is learned (text: null).")
    image_dropout: float = described(0.0, "Share of training rows shown without their picture.")
    text_dropout: float = described(0.0, "Share of training rows shown without their text.")
    modality: str = described("image+text", "What of paintings is shown.", choices=["image+text", "image", "text"])
    max_train_rows: int | None = described(None, "Train on the first rows only, for a trial.")
    cache_frozen_text: str = described(
        "auto", "Compute frozen text once, to disk (3.6 GB); auto: if it pays.", choices=["auto", "true", "false"]
    )
    text_cache_dtype: str = described("fp16", "fp32: exact; others: half as large.", choices=["fp32", "fp16", "bf16"])
    text_cache_dir: str | None = described(None, "Where; null: in the cache of datasets.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tasks is not None:
            from semart_hf.catalogue.schema import read_tasks  # loads numpy, which takes its number of threads

            read_tasks(self.tasks)
        if not self.data:
            raise ValueError("The recipe names no data. Add `data: FOLDER` (a release, or prepared data).")
        if self.streaming and self.max_train_rows is not None:
            some = self.max_train_rows
            raise ValueError(f"max_train_rows: {some}, but a stream has no first rows. Write epoch_length: {some}.")
        if self.epoch_length is not None and not self.streaming:
            raise ValueError(f"epoch_length: {self.epoch_length} without streaming: true. Set streaming: true.")


def check_values(arguments: Any) -> None:
    """Refuse numbers of a recipe's dataclass that a library would go wrong with, and words that are no choice."""
    for one in fields(arguments):
        choices, value = one.metadata.get("choices"), getattr(arguments, one.name)
        if choices and value not in choices and value != one.default:
            raise ValueError(f"{one.name} is {value!r}, but it must be one of {choices}. Choose one.")
    for allowed, (is_allowed, names) in _RANGES.items():
        for name in names.split():
            value = getattr(arguments, name, None)
            numbers = value if isinstance(value, list | tuple) else [value]
            if not all(number is None or is_allowed(number) for number in numbers):
                raise ValueError(f"{name} is {value}, but a number must be {allowed}. Give such a number.")
