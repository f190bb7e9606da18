"""Paintings from wherever they lie: a prepared folder, a release, one CSV file, or a data set on the Hub."""

import contextlib
import glob
import json
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import fsspec  # type: ignore[import-untyped]
import pyarrow.compute as pc
from datasets.fingerprint import Hasher
from PIL import Image

from semart_hf.catalogue.catalogue import RELEASE_FILES, read_rows
from semart_hf.catalogue.catalogue_files import with_column
from semart_hf.catalogue.schema import learn_vocabulary, read_tasks
from semart_hf.catalogue.tables import SPLITS, TEXT_COLUMNS, ReleaseTables, labels_of_task, typed_splits
from semart_hf.catalogue.text import answers_in_text, columns_or_template, is_description_alone, text_of
from semart_hf.memory import return_freed_memory
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.pictures_semart import FORMATS
from semart_hf.model.processing_semart import SemArtImageProcessor
from semart_hf.preparation.preparation import prepare_paintings
from semart_hf.preparation.shards import Preparation, PreparationOptions

from .data_arguments import DataArguments
from .rows import check_readable, label_counts, tasks_of, with_label_columns
from .streaming import PaintingStream, labelled_columns, shards_at, undecoded, url_of

logger = logging.getLogger(__name__)

Rows: TypeAlias = datasets.Dataset | PaintingStream

# Pictures less than this much larger than the prepared ones are read as fast as those, or nearly.
_LEAST_GAIN = 1.5
_NUM_MEASURED = 32
_SIZE_STEP = 32


def load_paintings(
    data: str | Path,
    *,
    min_label_count: int = 10,
    text_columns: Sequence[str] | str | None = None,
    cache_dir: str | Path | None = None,
    tasks: Sequence[Mapping[str, Any]] | None = None,
    only: Sequence[str] | None = None,
    tables: ReleaseTables | None = None,
) -> datasets.DatasetDict:
    """The splits of a data set with the columns that `typed_splits` describes, whatever form the data has.

    Args:
        data: A folder that `semart-hf prepare` wrote, its name on the Hub, or its URL in any form that fsspec knows; a
            release's folder, or one CSV file of a release.
        min_label_count: How often train must have a label that is not to become `UNK`. Prepared data has its labels.
        text_columns: Columns of the model's text in their order, or a template. For `None`, and for the description
            alone, it is the text that the data was prepared with, which is the description unless stated.
        cache_dir: Where `datasets` keeps what it reads; `None`: its default.
        tasks: The `{"name", "labels"}` of a trained model. Labels are then numbered as in the model, those that it
            does not know as its `UNK`, and columns of tasks that it lacks are left out.
        only: The splits that are wanted, where they are there. Of prepared data no other is downloaded.
        tables: A release's rows, where `read_rows` has read them already.

    Raises:
        ValueError: There are no paintings at `data`, or they have labels that the model neither knows nor has `UNK`
            for.

    Example:
        >>> from semart_hf.miniature.miniature import paint_miniature
        >>> release = paint_miniature("release", num_train=24, num_val=6, num_test=6)
        >>> splits = load_paintings(release, min_label_count=1)
        >>> splits["train"].num_rows, splits["train"].features["type"].names[-1]
        (24, 'UNK')
    """
    if is_release(data):
        tables = read_rows(data) if tables is None else tables
        columns, text_columns = ("DESCRIPTION",) if text_columns is None else text_columns, None
        vocabularies = None
        if tasks is not None:  # every label, to be numbered as in the model below
            labels = {task.name: labels_of_task(tables.splits.values(), task) for task in tables.tasks}
            vocabularies = {name: learn_vocabulary(some, min_label_count=1) for name, some in labels.items()}
        splits: Mapping[str, datasets.Dataset] = typed_splits(
            tables, min_label_count=min_label_count, text_columns=columns, vocabularies=vocabularies
        )
    else:
        splits = _load_prepared(data, cache_dir, only)
    wanted = {name: split for name, split in splits.items() if only is None or name in only}
    return datasets.DatasetDict({name: _as_expected(one, text_columns, tasks, data) for name, one in wanted.items()})


def is_release(data: str | Path) -> bool:
    """Whether a release lies there, or one of its files: data that can be prepared, and is not yet."""
    path = Path(data)
    return path.is_file() or any((path / name).is_file() for name in RELEASE_FILES.values())


def _load_prepared(data: str | Path, cache_dir: str | Path | None, only: Sequence[str] | None) -> datasets.DatasetDict:
    url = url_of(data)
    # `datasets` takes a bracket in the name of a folder for a pattern.
    is_plain = any(Path(data).glob("data/*.parquet")) and not glob.has_magic(str(data))
    if only is None and (url != str(data) or is_plain):
        return datasets.load_dataset(str(data), cache_dir=cache_dir)  # also a name on the Hub, from its cache offline
    if files := shards_at(url, SPLITS if only is None else only):
        escaped = {split: [glob.escape(path) for path in paths] for split, paths in files.items()}
        return datasets.load_dataset("parquet", data_files=escaped, cache_dir=cache_dir)
    if only is not None:
        return datasets.DatasetDict()
    found = sorted(entry.name for entry in Path(data).iterdir())[:10] if Path(data).is_dir() else "nothing"
    raise ValueError(
        f"Got {data} with {found}, but paintings lie in a release ({list(RELEASE_FILES.values())}), in a CSV file of "
        "such a release, or where `semart-hf prepare` wrote them (data/train-*.parquet). Correct the address."
    )


def _as_expected(split: datasets.Dataset, text_columns: Any, tasks: Any, data: Any) -> datasets.Dataset:
    """The split with every column that a release has, its text and its labels as asked for."""
    labelled = labelled_columns(split.features)
    asked = [task["name"] for task in tasks or ()]
    own_tasks = [name for name in labelled if tasks is None or name in asked]
    extra_columns = [name for name in split.column_names if name not in labelled]
    order = dict.fromkeys(("image", *TEXT_COLUMNS, *own_tasks, "text", *extra_columns, *asked))
    if text_columns is None or is_description_alone(text_columns):
        # A text that was prepared otherwise, perhaps with words masked, is what is meant.
        text_columns = None if "text" in split.column_names else ("DESCRIPTION",)
    for column in ("image", *TEXT_COLUMNS):
        if column not in split.column_names:
            feature = datasets.Image() if column == "image" else datasets.Value("string")
            split = split.add_column(column, [None] * len(split), feature=feature)
    if text_columns is not None:
        names = [column for column in split.column_names if column not in ("image", "text")]
        if is_description_alone(text_columns):
            texts = split.data.column("description")
            if pc.any(pc.equal(texts, "")).as_py():
                texts = pc.if_else(pc.equal(texts, ""), None, texts)
        else:
            texts = [text_of(row, text_columns) for row in split.select_columns(names)]
        # Without a fingerprint of ours, all texts would be pickled to make one.
        fingerprint = Hasher.hash((split._fingerprint, text_columns))
        split = split.remove_columns({"text"}.intersection(split.column_names))
        split = split.add_column("text", texts, new_fingerprint=fingerprint, feature=datasets.Value("string"))
    split = with_label_columns(split, tasks or ())
    for task in tasks or ():
        name = task["name"]
        if name not in split.column_names:
            raise ValueError(
                f"Got {data} with the columns {split.column_names}, but the model's task {name} has its labels in "
                f"{task.get('column', name)!r}. Add the column to the data."
            )
        if not is_multi_label(task) and not isinstance(split.features[name], datasets.ClassLabel):
            label_counts(split, [task])  # an unknown label is refused now
    return split.select_columns(list(order))


class Splits(dict[str, Rows]):
    """Rows by split, the tasks with their labels, and the tables of a release that all was made of."""

    tasks: list[dict[str, Any]] | None = None
    tables: ReleaseTables | None = None


def load_splits(arguments: DataArguments, *, seed: int = 0) -> Splits:
    """The data's splits, pictures undecoded; `seed` is that of a stream's order.

    What `modality` does not show is left out of validation and test, so that they are judged as they are learned from.
    """
    data, columns = arguments.data, arguments.text_columns
    entries = _task_entries(arguments)
    origins = _origins(entries)
    splits = Splits()
    if arguments.streaming:
        if is_release(data):
            raise ValueError(f"Got streaming: true for the release {data}. Prepare it, or set streaming: false.")
        splits["train"] = PaintingStream(
            data,
            epoch_length=arguments.epoch_length,
            seed=seed,
            buffer_size=arguments.shuffle_buffer,
            text_columns=None if is_description_alone(columns) else columns,
            tasks=origins,
        )
        found = load_paintings(data, text_columns=columns, only=["validation", "test"])
        if not found:
            raise ValueError(
                f"The data {data} have a train split alone. Add one to be judged by, or set streaming: false."
            )
    else:
        splits.tables = read_rows(data, follow_links=arguments.follow_links) if is_release(data) else None
        least = arguments.min_label_count
        found = load_paintings(data, min_label_count=least, text_columns=columns, tables=splits.tables)
        if not len(found.get("train", ())):
            raise ValueError(
                f"The data {data} have no rows to train on, only {dict(found.num_rows)}. Give data with a train split."
            )
    for name, rows in found.items():
        splits[name] = shown_rows(with_label_columns(rows, origins), arguments.modality)
    for name, rows in splits.items():
        check_readable(rows, split=name, modality=arguments.modality, data=data, follow_links=arguments.follow_links)
    train = splits["train"]
    # Of all rows: a trial on a few shall not know fewer labels.
    splits.tasks = tasks_of(train, entries, min_label_count=arguments.min_label_count)
    if remark := answers_in_text(columns, ((task["name"], task.get("column", task["name"])) for task in splits.tasks)):
        logger.warning(remark)
    if arguments.max_train_rows is not None and isinstance(train, datasets.Dataset):
        splits["train"] = train.select(range(min(arguments.max_train_rows, len(train))))
    return splits


def shown_rows(rows: datasets.Dataset, modality: str) -> datasets.Dataset:
    """The rows, their pictures undecoded, without the pictures or texts that a recipe's `modality` does not show."""
    for name in ("image", "text"):
        if name not in modality and name in rows.column_names:
            rows = with_column(rows, name, [None] * len(rows), rows.features[name])
    return undecoded(rows)


def with_prepared_pictures(
    splits: Mapping[str, Rows], arguments: DataArguments, image_processor: SemArtImageProcessor
) -> tuple[Rows, str | None]:
    """The training rows with pictures of a size that is fast to read every epoch, and a sentence if they were made.

    A release with larger pictures is prepared once, in the cache of `datasets`; other data and splits stay.
    """
    rows = splits["train"]
    if isinstance(rows, PaintingStream) or not is_release(arguments.data) or "image" not in arguments.modality:
        return rows, None
    size = arguments.prepared_size or prepared_size(image_processor, arguments.crop_scale[0])
    is_whole = arguments.max_train_rows is None  # a trial on a few rows shall not wait for all of them
    is_wanted = arguments.prepared_size is not None or _is_much_larger(rows, size)
    if not (arguments.prepare and is_whole and is_wanted):
        return rows, None
    tables = getattr(splits, "tables", None) or read_rows(arguments.data, follow_links=arguments.follow_links)
    columns = columns_or_template(arguments.text_columns)
    options = PreparationOptions(image_size=size, min_label_count=arguments.min_label_count, text_columns=columns)
    key = Preparation(tables, options).key(with_times=True)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "prepared" / key
    if not folder.is_dir():
        logger.warning("%s: pictures are prepared at %d pixels, this once, in %s.", arguments.data, size, folder)
        # Of the processes of one training the first prepares, the others wait. How many pictures are enough of the
        # split that is needed is checked where it is used: here it is refused that there is none.
        prepare_paintings(tables, folder, options, min_pictures=1e-6, wait=math.inf)
        return_freed_memory()
    problems = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["problems"]
    if counts := ", ".join(f"{kind} in {sum(by_split.values())} rows" for kind, by_split in problems.items()):
        logger.warning("%s: the preparation found %s. Each is in %s/problems.jsonl.", arguments.data, counts, folder)
    prepared = load_paintings(folder, text_columns=columns, only=["train"])["train"]
    rows = undecoded(with_label_columns(prepared, _origins(arguments.tasks)))
    return rows, f"Training pictures: prepared with a shorter side of {size} pixels, in {folder}"


def prepared_size(image_processor: SemArtImageProcessor, smallest_crop: float) -> int:
    """Shorter side in pixels at which the smallest random crop has about as many pixels as the model sees."""
    seen = max(image_processor.crop_size["height"], image_processor.crop_size["width"])
    needed = min(seen / math.sqrt(smallest_crop), 2 * seen)
    return max(round(needed / _SIZE_STEP) * _SIZE_STEP, image_processor.resized_side)


def _task_entries(arguments: DataArguments) -> list[Any] | None:
    """The recipe's tasks, those that it names as prepared data's summary declares them; all of these for `None`."""
    if is_release(arguments.data):
        return arguments.tasks
    file_system, folder = fsspec.core.url_to_fs(url_of(arguments.data))
    declared = None
    try:
        declared = json.loads(file_system.cat_file(f"{folder.rstrip('/')}/summary.json")).get("tasks") or None
    except OSError as error:  # data that was not prepared here, or a Hub that is out of reach
        logger.info("%s declares no tasks (%s).", arguments.data, error)
    if arguments.tasks is None:
        return declared
    by_name = {entry["name"]: entry for entry in declared or ()}
    return [by_name.get(entry, entry) if isinstance(entry, str) else entry for entry in arguments.tasks]


def _origins(entries: Sequence[Any] | None) -> list[dict[str, str]]:
    return [task.origin for task in read_tasks(entries)] if entries else []


def _is_much_larger(rows: datasets.Dataset, size: int) -> bool:
    """Whether most pictures are so much larger than `size` that reading them smaller saves time; by some of them."""
    shorter_sides = []
    some = rows.select(range(0, rows.num_rows, max(1, rows.num_rows // _NUM_MEASURED)))["image"]
    for path in [image["path"] for image in some if image and image["path"]]:
        # What cannot be read is reported when it is.
        unreadable = contextlib.suppress(OSError, ValueError, Image.DecompressionBombError)
        with unreadable, Image.open(path, formats=FORMATS) as picture:
            shorter_sides.append(min(picture.size))
    return bool(shorter_sides) and statistics.median(shorter_sides) >= _LEAST_GAIN * size
