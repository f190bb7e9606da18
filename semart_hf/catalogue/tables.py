"""A catalogue's rows in one form, whatever they were read from: on disk, by split, with what was found wrong."""

import hashlib
import json
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets.fingerprint import Hasher
from datasets.table import InMemoryTable

from semart_hf.files import full_disk_explained

from .labels import each_label, label_number, labels_in, learn_vocabulary, ordered_labels
from .schema import SEMART_TASKS, Task

#: The splits' names in `datasets`, in their order.
SPLITS = ("train", "validation", "test")

#: Shares of a catalogue that has no splits of its own.
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

#: Columns that every prepared dataset has between `image` and the columns that only some releases have.
TEXT_COLUMNS = ("image_file", "description", "author", "title", "technique", "date")

#: Columns that say where a row comes from; a dataset made of the rows leaves them out.
ORIGIN_COLUMNS = ("row_number", "images_folder")

#: Columns that are made here: a catalogue's own of one of these names are kept as `catalogue_image` and so on.
RESERVED_COLUMNS = ("image", "text", "split", "release", *ORIGIN_COLUMNS)

#: Rows that are read, made and written at a time.
PIECE_ROWS = 1024

# First tasks whose labels are divided evenly.
_NUM_STRATIFIED = 3


@dataclass(frozen=True)
class Problem:
    """One finding about one row, and what was done with the row because of it."""

    row: int | None  # number in its file from 1; `None` where the finding concerns a whole file
    split: str | None
    image_file: str | None
    problem: str  # kind of finding, such as `missing_picture`
    detail: str
    action: str  # such as `dropped` or `kept as text`
    release: str | None = None  # where several are merged

    def as_json(self) -> str:
        """One line of JSON in the order of the fields; `release` only where several releases are merged."""
        record = {name: value for name, value in asdict(self).items() if name != "release" or value is not None}
        return json.dumps(record, ensure_ascii=False)


def count_problems(problems: Iterable[Problem]) -> dict[str, int]:
    """Number of findings by kind, most frequent first."""
    return dict(sorted(Counter(problem.problem for problem in problems).items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class ReleaseTables:
    """A catalogue's rows by split, before their labels are numbered and their pictures opened.

    The splits are in the order of `SPLITS`, their columns, the same ones in each: `row_number` (in its file, from 1),
    `images_folder` (where `image_file` lies), the `TEXT_COLUMNS`, one of labels for each task, and the catalogue's
    further ones in lower case. Cells are strings or `None`, but in `row_number`.
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

    def vocabularies(self, min_label_count: int) -> dict[str, list[str]]:
        """Labels by task, learned from train, or from all rows where there is no train split."""
        learned_from = [self.splits["train"]] if "train" in self.splits else list(self.splits.values())
        vocabularies = {}
        for task in self.tasks:
            found = chain.from_iterable(labels_of_task(rows, task) for rows in learned_from)
            labels = learn_vocabulary(found, min_label_count=task.min_label_count or min_label_count)
            if task.kind == "ordered":
                labels = ordered_labels(labels, task.order, task.name)
            vocabularies[task.name] = labels[:-1] if task.kind == "multi_label" else labels
        return vocabularies


def stored_rows(tables: Iterable[pa.Table]) -> datasets.Dataset:
    """The rows of tables of one schema in a temporary file, which is gone when they are, or when the process ends."""
    advice = (
        "Rows are kept there while they are read, in about as much room as the catalogue's own files take. Make room, "
        "or set TMPDIR to another folder."
    )
    with tempfile.TemporaryFile(prefix="semart_hf-") as file:
        with full_disk_explained(tempfile.gettempdir(), advice):
            tables = iter(tables)
            first = next(tables)
            with pa.ipc.new_stream(pa.PythonFile(file, "w"), first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)
            file.flush()
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # In memory as the library sees it: pickled, it takes its rows along. The library's own fingerprint is the digest
    # of a pickle, a second copy of all rows.
    table = InMemoryTable(pa.ipc.open_stream(pa.py_buffer(content)).read_all())
    return datasets.Dataset(table, fingerprint=hashlib.blake2b(content, digest_size=8).hexdigest())


def concatenated_rows(parts: Sequence[datasets.Dataset]) -> datasets.Dataset:
    """The rows of all parts with the columns that any of them has; missing in the rows of parts that lack them."""
    table = pa.concat_tables([part.data.table for part in parts], promote_options="default")
    return datasets.Dataset(InMemoryTable(table), fingerprint=Hasher.hash([part._fingerprint for part in parts]))


def cells_of(rows: datasets.Dataset, column: str) -> Iterator[Any]:
    """The cells of a column of `stored_rows` one after the other, of which a piece is in memory at a time."""
    for chunk in rows.data.column(column).chunks:
        for start in range(0, len(chunk), PIECE_ROWS):
            yield from chunk[start : start + PIECE_ROWS].to_pylist()


def labels_of_task(rows: datasets.Dataset, task: Task) -> Iterator[str | None]:
    """Every label of a task's column, one after the other, of several labels of a cell each."""
    cells = cells_of(rows, task.name)
    return each_label(cells, task.separator) if task.kind == "multi_label" else cells


def label_feature(task: Task, labels: Sequence[str]) -> Any:
    """How `datasets` types the column of a task."""
    feature = datasets.ClassLabel(names=list(labels))
    return datasets.List(feature) if task.kind == "multi_label" else feature


def numbered(cell: str | None, task: Task, numbers: Mapping[str, int]) -> int | list[int] | None:
    """The number of a cell's label, or of each of several, without those that are too rare."""
    if task.kind != "multi_label":
        return label_number(cell, numbers)
    words = labels_in(cell, task.separator)
    return None if words is None else [numbers[word] for word in words if word in numbers]


def divided_rows(rows: datasets.Dataset, split_numbers: npt.NDArray[np.int8]) -> dict[str, datasets.Dataset]:
    """Rows by split, in their order and without the column `split`; splits without a row are left out.

    The position of each row's split in `SPLITS` is given, -1 for a row of none.
    """
    rows = rows.select_columns([column for column in rows.column_names if column != "split"])
    places = {split: np.flatnonzero(split_numbers == number) for number, split in enumerate(SPLITS)}
    return {split: _chosen_rows(rows, chosen) for split, chosen in places.items() if len(chosen)}


def shared_out(
    rows: datasets.Dataset,
    shares: Mapping[str, float],
    seed: int,
    tasks: Sequence[Task] = SEMART_TASKS,
    by: str | None = None,
) -> dict[str, datasets.Dataset]:
    """Rows by split, each with its share of them and, as far as counts allow, of every label; row order is kept.

    The rows are sorted by their labels of the first tasks, at random within equal ones, and dealt out along this
    order, always to the split that is furthest behind its share: every run of equal labels is divided to within one
    row. Rows with one value of the column `by`, case and spaces aside, are dealt out together.
    """
    random_order = np.random.default_rng(seed).permutation(len(rows))
    ranking = {"sort_keys": "ascending", "null_placement": "at_start", "tiebreaker": "dense"}
    labels = [pc.rank(rows.data.column(task.name), **ranking).to_numpy() for task in tasks[:_NUM_STRATIFIED]]
    fractions = np.array([shares.get(split, 0) for split in SPLITS])
    groups = np.arange(len(rows)) if by is None else _group_numbers(cells_of(rows, by))
    sizes = np.bincount(groups)
    dealt = np.zeros(len(SPLITS))
    chosen = np.full(len(sizes), -1, dtype=np.int8)
    for group in groups[np.lexsort([random_order, *reversed(labels)])]:
        if chosen[group] < 0:
            chosen[group] = np.argmax(fractions * (dealt.sum() + sizes[group]) - dealt)
            dealt[chosen[group]] += sizes[group]
    return divided_rows(rows, chosen[groups])


def _group_numbers(cells: Iterable[str | None]) -> npt.NDArray[np.int64]:
    """Each row's group, numbered from 0; a row without a value is a group of its own."""
    numbers: dict[object, int] = {}
    keys = (" ".join(cell.casefold().split()) if cell else row for row, cell in enumerate(cells))
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.int64)


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse, by a `ValueError`, shares of an unknown split, that are not positive, or that do not sum to 1."""
    are_positive = all(isinstance(share, (int, float)) and share > 0 for share in shares.values())
    if not are_positive or abs(sum(shares.values()) - 1) > 1e-6 or not set(shares) <= set(SPLITS):
        raise ValueError(
            f"Got the shares {dict(shares)}, but they are positive fractions of {list(SPLITS)} that sum to 1. "
            "Write for example {'train': 0.8, 'validation': 0.2}."
        )


def _chosen_rows(rows: datasets.Dataset, places: npt.NDArray[np.int64]) -> datasets.Dataset:
    """Some of the rows; they are written again only where they do not follow each other."""
    chosen = rows.select(places)
    if places[-1] - places[0] == len(places) - 1:
        return chosen
    # Gathered rows are a piece each, and would be read and held so.
    return stored_rows(piece.combine_chunks() for piece in chosen.with_format("arrow").iter(PIECE_ROWS))
