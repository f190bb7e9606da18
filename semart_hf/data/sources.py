"""The rows that a recipe learns from and is judged by: as they lie, with pictures prepared once, or streamed."""

import contextlib
import math
import statistics
from collections.abc import Mapping
from typing import TypeAlias

import datasets
from PIL import Image

from semart_hf.catalogue.release import read_rows
from semart_hf.catalogue.tables import ReleaseTables
from semart_hf.catalogue.text import is_description_alone
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.pictures_semart import FORMATS

from .data_arguments import DataArguments
from .loading import is_release, load_paintings, prepared_in_cache
from .rows import check_readable
from .streaming import PaintingStream

Rows: TypeAlias = datasets.Dataset | PaintingStream

# Pictures less than this much larger than the prepared ones are read as fast as those, or nearly.
_LEAST_GAIN = 1.5
_NUM_MEASURED = 32
_SIZE_STEP = 32


class Splits(dict[str, Rows]):
    """Rows by split, and the tables of a release that they were made of."""

    tables: ReleaseTables | None = None


def load_splits(arguments: DataArguments, *, seed: int = 0) -> Splits:
    """The data's splits, pictures undecoded.

    Prepared data is streamed for training if the recipe says so; `seed` is that of the stream's order. What `modality`
    does not show is left out of validation and test, so that they are judged as they are learned from.

    Raises:
        ValueError: If there is nothing to learn from, or less than half of what `modality` shows can be read.
    """
    data, columns = arguments.data, arguments.columns_or_template
    splits = Splits()
    if arguments.streaming and not is_release(data):
        splits["train"] = _stream(data, arguments, seed)
        others = load_paintings(data, text_columns=columns, only=["validation", "test"])
        splits.update({name: shown_rows(rows, arguments.modality) for name, rows in others.items()})
        if len(splits) == 1:
            raise ValueError(
                f"The data {data} have a train split alone, but a model that learns from a stream is judged by "
                "validation or test. Add such a split, or set streaming: false."
            )
    else:
        splits.tables = read_rows(data, follow_links=arguments.follow_links) if is_release(data) else None
        found = load_paintings(
            data, min_label_count=arguments.min_label_count, text_columns=columns, tables=splits.tables
        )
        if not len(found.get("train", ())):
            raise ValueError(
                f"The data {data} have no rows to train on, only {dict(found.num_rows)}. Give a release with "
                "semart_train.csv, or prepared data with a train split."
            )
        splits.update({name: shown_rows(rows, arguments.modality) for name, rows in found.items()})
    for name, rows in splits.items():
        check_readable(rows, split=name, modality=arguments.modality, data=data, follow_links=arguments.follow_links)
    train = splits["train"]
    if arguments.max_train_rows is not None and isinstance(train, datasets.Dataset):
        splits["train"] = train.select(range(min(arguments.max_train_rows, len(train))))
    return splits


def shown_rows(rows: datasets.Dataset, modality: str) -> datasets.Dataset:
    """The rows, their pictures undecoded, without the pictures or texts that a recipe's `modality` does not show."""
    for name in ("image", "text"):
        if name not in modality and name in rows.column_names:
            feature = rows.features[name]
            rows = rows.remove_columns(name).add_column(name, [None] * len(rows), feature=feature)
    return _undecoded(rows)


def with_prepared_pictures(
    splits: Mapping[str, Rows], arguments: DataArguments, image_processor: SemArtImageProcessor, *, seed: int = 0
) -> tuple[Rows, str | None]:
    """The training rows with pictures of a size that is fast to read every epoch, and a sentence about them.

    A release with larger pictures is prepared for it once, in the cache of `datasets`; other data stays as it is
    (`None` instead of the sentence). Validation and test are not read from there: every painting is judged by its own
    file, in training as in `scripts/evaluate_model.py`, the pipeline and the app.

    Raises:
        ValueError: If `streaming` asks for prepared pictures and `prepare` forbids them.
    """
    rows = splits["train"]
    if isinstance(rows, PaintingStream) or not is_release(arguments.data) or "image" not in arguments.modality:
        return rows, None
    if arguments.streaming and not arguments.prepare:
        raise ValueError(
            f"The recipe has streaming: true and prepare: false, but {arguments.data} is a release, and only prepared "
            "data can be streamed. Set prepare: true, or give a folder that scripts/prepare_data.py wrote."
        )
    size = arguments.prepared_size or prepared_size(image_processor, arguments.crop_scale[0])
    is_whole = arguments.max_train_rows is None  # a trial on a few rows shall not wait for all of them
    is_wanted = arguments.streaming or arguments.prepared_size is not None or _is_much_larger(rows, size)
    if not (arguments.prepare and is_whole and is_wanted):
        return rows, None
    tables = getattr(splits, "tables", None) or read_rows(arguments.data, follow_links=arguments.follow_links)
    columns = arguments.columns_or_template
    folder = prepared_in_cache(
        arguments.data,
        tables,
        image_size=size,
        min_label_count=arguments.min_label_count,
        text_columns=columns,
    )
    if arguments.streaming:
        rows = _stream(str(folder), arguments, seed)
    else:
        rows = _undecoded(load_paintings(folder, text_columns=columns, only=["train"])["train"])
    return rows, f"Training pictures: prepared with a shorter side of {size} pixels, in {folder}"


def prepared_size(image_processor: SemArtImageProcessor, smallest_crop: float) -> int:
    """Shorter side, in pixels, at which the smallest random crop has about as many pixels as the model sees.

    It is never below what evaluation resizes to, nor more than twice what the model sees.
    """
    seen = max(image_processor.crop_size["height"], image_processor.crop_size["width"])
    needed = min(seen / math.sqrt(smallest_crop), 2 * seen)
    rounded = round(needed / _SIZE_STEP) * _SIZE_STEP
    return max(rounded, image_processor.resized_side)


def _stream(data: str, arguments: DataArguments, seed: int) -> PaintingStream:
    columns = arguments.columns_or_template
    return PaintingStream(
        data,
        epoch_length=arguments.epoch_length,
        seed=seed,
        buffer_size=arguments.shuffle_buffer,
        text_columns=None if is_description_alone(columns) else columns,
    )


def _undecoded(rows: datasets.Dataset) -> datasets.Dataset:
    """The rows with their pictures as files: the collator decodes what a batch needs."""
    return rows.cast_column("image", datasets.Image(decode=False))


def _is_much_larger(rows: datasets.Dataset, size: int) -> bool:
    """Whether most pictures are so much larger than `size` that reading them smaller saves time; by some of them."""
    shorter_sides = []
    for index in range(0, rows.num_rows, max(1, rows.num_rows // _NUM_MEASURED)):
        path = (rows[index]["image"] or {}).get("path")
        # What cannot be read is reported when it is.
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
            if path is not None:
                with Image.open(path, formats=FORMATS) as picture:
                    shorter_sides.append(min(picture.size))
    return bool(shorter_sides) and statistics.median(shorter_sides) >= _LEAST_GAIN * size
