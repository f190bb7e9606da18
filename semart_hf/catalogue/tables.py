"""A catalogue's rows in one form, whatever they were read from: on disk, by split, with what was found wrong."""

import hashlib
import logging
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets.table import InMemoryTable

from semart_hf.files import full_disk_explained

from .picture_files import find_picture
from .schema import SEMART_TASKS, UNKNOWN, Problem, Task, learn_vocabulary, numbers_of_labels, ordered_labels
from .text import is_description_alone, text_of

logger = logging.getLogger(__name__)
SPLITS = ("train", "validation", "test")  #: by their names in `datasets`, in their order
#: Columns that every prepared dataset has between `image` and the columns that only some releases have.
TEXT_COLUMNS = ("image_file", "description", "author", "title", "technique", "date")
ORIGIN_COLUMNS = ("row_number", "images_folder")  #: where a row comes from; a dataset made of it leaves them out
#: Columns that are made on the way: a catalogue's own of one of these names are kept as `catalogue_image` and so on.
RESERVED_COLUMNS = (
    *ORIGIN_COLUMNS, "image", "text", "split", "release", "label_names", "findings", "picture_found", "picture_status",
)  # fmt: skip
PIECE_ROWS = 1024  #: that are read, made and written at a time


@dataclass(frozen=True)
class ReleaseTables:
    """A catalogue's rows by split, before their labels are numbered and their pictures opened.

    Their columns, the same in each split: `row_number` (in its file, from 1), `images_folder` (where `image_file`
    lies), the `TEXT_COLUMNS`, one of labels for each task, and the catalogue's further ones in lower case.
    """

    splits: dict[str, datasets.Dataset]
    tasks: tuple[Task, ...] = SEMART_TASKS
    encodings: dict[str, str] = field(default_factory=dict)  # by the file's name
    problems: list[Problem] = field(default_factory=list)  # those of dropped rows included
    follow_links: bool = False  # whether links in the folder of pictures may lead out of it
    is_painted_miniature: bool = False  # whether all of it was painted by `semart-hf miniature`

    @property
    def labelled_tasks(self) -> dict[str, Task]:
        """By name, the tasks whose column is labels alone, where that of `author` has words for texts too."""
        return {task.name: task for task in self.tasks if task.name not in TEXT_COLUMNS}

    @property
    def extra_columns(self) -> list[str]:
        """Names of the columns that this catalogue has beyond the common ones, in their order."""
        common = {*ORIGIN_COLUMNS, *TEXT_COLUMNS, *(task.name for task in self.tasks)}
        return [column for column in next(iter(self.splits.values())).column_names if column not in common]

    def features(self, vocabularies: Mapping[str, Sequence[str]], has_text: bool = True) -> datasets.Features:
        """The typed columns of a data set that is made of these rows."""
        word = datasets.Value("string")
        features = {"image": datasets.Image(), **dict.fromkeys(TEXT_COLUMNS, word)}
        for name, task in self.labelled_tasks.items():
            label = datasets.ClassLabel(names=list(vocabularies[name]))
            features[name] = datasets.List(label) if task.kind == "multi_label" else label
        words = ("text", *self.extra_columns) if has_text else self.extra_columns
        return datasets.Features({**features, **dict.fromkeys(words, word)})

    def vocabularies(self, min_label_count: int) -> dict[str, list[str]]:
        """Labels by task, learned from train, or from all rows where there is no train split."""
        learned_from = [self.splits["train"]] if "train" in self.splits else list(self.splits.values())
        vocabularies = {}
        for task in self.tasks:
            least = task.min_label_count or min_label_count
            labels = learn_vocabulary(labels_of_task(learned_from, task), min_label_count=least)
            if task.kind == "ordered":
                labels = ordered_labels(labels, task.order, task.name)
            vocabularies[task.name] = labels[:-1] if task.kind == "multi_label" else labels
        return vocabularies


def typed_splits(
    tables: ReleaseTables,
    *,
    min_label_count: int = 10,
    text_columns: Sequence[str] | str = ("DESCRIPTION",),
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> datasets.DatasetDict:
    """The splits of a catalogue's tables as typed datasets, their pictures decoded when a row is read.

    Each has the columns `image`, the `TEXT_COLUMNS`, the tasks, `text`, then the catalogue's further ones. An empty
    cell is `None`, as is `image` where the file is missing. Labels are learned from train, unless `vocabularies` gives
    them by task.
    """
    if vocabularies is None:
        if "train" not in tables.splits:
            raise ValueError(
                f"Got only the splits {list(tables.splits)}, but labels are learned from train (semart_train.csv of a "
                "release). Add it, or pass vocabularies=, for example a model's."
            )
        vocabularies = tables.vocabularies(min_label_count)
        for task in (task for task, labels in vocabularies.items() if labels == [UNKNOWN]):
            finding = f"No {task} occurs {min_label_count} times in train: its only label is {UNKNOWN}."
            logger.warning("%s Lower min_label_count to learn it.", finding)
    tables = replace(tables, problems=[*tables.problems])
    splits = {split: _typed_split(tables, split, vocabularies, text_columns) for split in tables.splits}
    for kind, count in Counter(problem.problem for problem in tables.problems).most_common():
        first = next(problem for problem in tables.problems if problem.problem == kind)
        logger.warning("%s in %d rows, first: %s (%s).", kind, count, first.sentence, first.action)
    return datasets.DatasetDict(splits)


def _typed_split(
    tables: ReleaseTables, split: str, vocabularies: Mapping[str, Sequence[str]], text_columns: Sequence[str] | str
) -> datasets.Dataset:
    """One split: the words stay where they lie, and only what is new is written; odd pictures are new problems."""
    rows, tasks, features = tables.splits[split], tables.labelled_tasks, tables.features(vocabularies)
    numbers = {name: numbers_of_labels(vocabularies[name]) for name in tasks}
    is_description = is_description_alone(text_columns)

    def pieces() -> Iterator[pa.Table]:
        for cells in rows.iter(PIECE_ROWS):
            places = zip(cells["images_folder"], cells["image_file"], strict=True)
            found = [find_picture(*place, follow_links=tables.follow_links) for place in places]
            new: dict[str, list[Any]] = {"image": [str(one) if isinstance(one, Path) else None for one in found]}
            for row, name, one in zip(cells["row_number"], cells["image_file"], found, strict=True):
                if not isinstance(one, Path):
                    tables.problems.append(Problem(row, split, name, *one, "kept without a picture"))
            for name, task in tasks.items():
                new[name] = [task.number_of(cell, numbers[name]) for cell in cells[name]]
            if not is_description:
                each_row = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
                new["text"] = [text_of(row, text_columns) for row in each_row]
            own = datasets.Features({name: features[name] for name in new})
            yield datasets.Dataset.from_dict(new, features=own).data.table

    parts = [stored_rows(pieces()), rows.select_columns([*TEXT_COLUMNS, *tables.extra_columns])]
    if is_description:
        parts.append(rows.select_columns("description").rename_column("description", "text"))
    whole = datasets.concatenate_datasets(parts, axis=1, split=datasets.NamedSplit(split))
    return whole.select_columns(list(features))


def stored_rows(tables: Iterable[pa.Table]) -> datasets.Dataset:
    """The rows of tables of one schema in a temporary file, which is gone when they are, or when the process ends."""
    advice = "Rows are kept there while they are read. Make room as for the catalogue's files, or set TMPDIR."
    with tempfile.TemporaryFile(prefix="semart_hf-") as file:
        with full_disk_explained(tempfile.gettempdir(), advice):
            tables = iter(tables)
            first = next(tables)
            with pa.ipc.new_stream(pa.PythonFile(file, "w"), first.schema) as writer:
                for table in chain([first], tables):
                    writer.write_table(table)
            file.flush()
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # In memory as the library sees it, so that a pickle has its rows. The library's own fingerprint is of a pickle.
    table = InMemoryTable(pa.ipc.open_stream(pa.py_buffer(content)).read_all())
    return datasets.Dataset(table, fingerprint=hashlib.blake2b(content, digest_size=8).hexdigest())


def cells_of(rows: datasets.Dataset, column: str) -> Iterator[Any]:
    """The cells of a column one after the other: each by itself takes ten times as long; at once, all memory."""
    cells = rows[column]
    for start in range(0, len(cells), PIECE_ROWS):
        yield from cells[start : start + PIECE_ROWS]


def labels_of_task(tables: Iterable[datasets.Dataset], task: Task) -> Iterator[str]:
    """Every label of a task's column in every cell."""
    return chain.from_iterable(task.labels_of(cell) or () for rows in tables for cell in cells_of(rows, task.name))


def divided_rows(rows: datasets.Dataset, split_numbers: npt.NDArray[np.integer]) -> dict[str, datasets.Dataset]:
    """Rows by split, of which each row's number in `SPLITS` is given, without splits that have none."""
    rows, splits = rows.remove_columns({"split"}.intersection(rows.column_names)), {}
    for number, split in enumerate(SPLITS):
        places = np.flatnonzero(split_numbers == number)
        if len(places):
            splits[split] = rows.select(places)
            if places[-1] - places[0] >= len(places):  # gathered rows are a piece each, and would be read and held so
                pieces = splits[split].with_format("arrow").iter(PIECE_ROWS)
                splits[split] = stored_rows(piece.combine_chunks() for piece in pieces)
    return splits
