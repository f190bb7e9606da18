"""Training rows read from Parquet shards as they are needed, divided among processes and their workers."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset, get_worker_info

from semart_hf.catalogue.catalogue_files import named_label
from semart_hf.catalogue.rules import label_text
from semart_hf.catalogue.tables import cells_of
from semart_hf.catalogue.text import text_of
from semart_hf.model.processing_semart import is_missing

from .sampling import DRAW_KEY


class _RowGroup(NamedTuple):
    """The smallest part of a file that can be read; `first_row` counts through all files."""

    path: str
    number: int  # in its file
    first_row: int
    num_rows: int


class PaintingStream(IterableDataset[dict[str, Any]]):
    """One process's rows of an epoch: `image` (undecoded), `text`, each task's label, and the numbers of their draw.

    An epoch orders the shards' row groups, cuts this order into one piece for each process and worker, and mixes
    rows within a piece through a buffer. So no row comes twice in an epoch, every process gets equally many, and only
    its own are read. The order depends on the seed, the epoch and the division alone.

    Args:
        data: A prepared folder, the name of one on the Hub, or its URL in any form that fsspec knows (`hf://`, `s3://`).
        epoch_length: Rows of an epoch in all processes; `None` takes every row once. More than there are begins again.
        buffer_size: Rows that are mixed at a time; 1 leaves them in the order of their group.
        text_columns: Columns of the text, or a template; `None` takes the text that the data was prepared with.
        tasks: Whose labels are wanted, `{"name"}` and, where they come from elsewhere, `{"column", "rule"}`; `None`:
            all label columns.
    """

    def __init__(
        self,
        data: str | Path,
        split: str = "train",
        *,
        epoch_length: int | None = None,
        seed: int = 0,
        buffer_size: int = 512,
        text_columns: Sequence[str] | str | None = None,
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._url = url_of(data)
        self._footers = _footers_of(self._url, split)
        self._groups: list[_RowGroup] = []
        self.num_rows = 0
        for path, footer in self._footers.items():
            for number in range(footer.num_row_groups):
                self._groups.append(_RowGroup(path, number, self.num_rows, footer.row_group(number).num_rows))
                self.num_rows += self._groups[-1].num_rows
        schema = next(iter(self._footers.values())).schema.to_arrow_schema()
        self.features = datasets.Features.from_arrow_schema(schema)
        self.epoch_length = self.num_rows if epoch_length is None else epoch_length
        self.seed, self.buffer_size = seed, buffer_size
        has_text = text_columns is not None or "text" in self.features
        self.text_columns = text_columns if has_text else ("DESCRIPTION",)
        own = labelled_columns(self.features)
        self._never_text = {"image", "text", *own}
        self.tasks = {task["name"]: task for task in tasks or own.values()}
        self._divide(1, 0, 1)

    def divided(self, *, batch_size: int, process_index: int, num_processes: int) -> "PaintingStream":
        """The same stream as one of several processes gives it, with an epoch of its own to set.

        Workers get whole batches of it, so that the epoch has as many as `len` says.
        """
        stream = copy.copy(self)
        stream._divide(batch_size, process_index, num_processes)
        return stream

    def _divide(self, batch_size: int, process_index: int, num_processes: int) -> None:
        self.batch_size, self.process_index, self.num_processes = batch_size, process_index, num_processes
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see it change
        if not len(self):
            raise ValueError(
                f"Got an epoch of {self.epoch_length} rows for {num_processes} processes. Raise epoch_length."
            )

    def __len__(self) -> int:
        return self.epoch_length // self.num_processes  # the rest is left out, other rows in each epoch

    def column(self, name: str) -> Iterator[Any]:
        """One column of all rows, in the order of the files; `text` as `text_columns` makes it."""
        task = self.tasks.get(name)
        source = task.get("column", name) if task else name
        if source not in self.features and name != "text":
            raise ValueError(f"Got the column {name!r}, but the shards have {list(self.features)}. Choose among them.")
        is_made = name == "text" and self.text_columns is not None
        names = [column for column in self.features if column not in self._never_text] if is_made else [source]
        rows = (row for path in self._footers for row in self._table(path, names).to_pylist())
        if is_made:
            return map(self._text_of, rows)
        return (self._label_of(row, task) if task else named_label(row[name], self.features[name]) for row in rows)

    def first_rows(self, number: int) -> list[dict[str, Any]]:
        """The first rows of the files with all their cells, `number` at most, of as few files as hold them."""
        tables = (self._table(group.path, None, group.number).slice(0, number) for group in self._groups)
        cells = (row for table in tables for row in table.to_pylist())
        return [{**row, "text": self._text_of(row)} for row in islice(cells, number)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration orders."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = int(self._epoch)
        worker = get_worker_info()
        number, num_workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # Whole batches, dealt out as the loader asks for them, in turn.
        num_batches = -(-len(self) // self.batch_size)
        counts = [len(range(one, num_batches, num_workers)) * self.batch_size for one in range(num_workers)]
        counts[(num_batches - 1) % num_workers] -= num_batches * self.batch_size - len(self)
        start = self.process_index * len(self) + sum(counts[:number])
        rows = self._rows_between(epoch, start, start + counts[number])
        random = np.random.default_rng((self.seed, epoch, self.process_index, number))
        most_turns = -(-self.epoch_length // self.num_rows)
        for number_in_turns, row in _mixed(rows, self.buffer_size, random):
            turn, index = divmod(number_in_turns, self.num_rows)
            labels = {name: self._label_of(row, task) for name, task in self.tasks.items()}
            draw = (self.seed, epoch * most_turns + turn, index)  # another each time that a row comes
            yield {"image": row.get("image"), "text": self._text_of(row), **labels, DRAW_KEY: draw}

    def _rows_between(self, epoch: int, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number, counted on when rows come again, and cells of those from `start` to `stop` in the epoch's order."""
        sources = [task.get("column", name) for name, task in self.tasks.items()]
        names = [name for name in dict.fromkeys(("image", "text", *sources)) if name in self.features]
        position = 0
        for turn in range(-(-stop // self.num_rows)):
            order = np.random.default_rng((self.seed, epoch, turn)).permutation(len(self._groups))
            for group in (self._groups[place] for place in order):
                first, last = max(start - position, 0), min(stop - position, group.num_rows)
                position += group.num_rows
                if first < last:
                    table = self._table(group.path, names if self.text_columns is None else None, group.number)
                    number = turn * self.num_rows + group.first_row + first
                    yield from enumerate(table.slice(first, last - first).to_pylist(), number)

    def _table(self, path: str, columns: list[str] | None, group: int | None = None) -> pa.Table:
        """A file's columns, or those of one of its groups; `None`: all columns."""
        with fsspec.core.url_to_fs(self._url)[0].open(path) as file:
            content = pq.ParquetFile(file, metadata=self._footers[path])
            return content.read(columns) if group is None else content.read_row_group(group, columns)

    def _text_of(self, row: Mapping[str, Any]) -> str | None:
        if self.text_columns is None:
            return row["text"]
        words = {name: value for name, value in row.items() if name not in self._never_text}
        return text_of(words, self.text_columns)

    def _label_of(self, row: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        """A label's text, or a cell of several labels, which is split where its separator is known."""
        source = task.get("column", task["name"])
        cell = named_label(row.get(source), self.features.get(source))
        return cell if task.get("kind") == "multi_label" else label_text(cell, task.get("rule"))


def labelled_columns(features: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By column whose cells are numbered labels, or lists of them, its task."""
    return {
        name: {"name": name, "kind": "multi_label"} if hasattr(feature, "feature") else {"name": name}
        for name, feature in features.items()
        if isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)
    }


def column_of(rows: Any, name: str) -> Iterator[Any]:
    """The cells of a column, none where the rows have no such column. No picture is decoded."""
    if isinstance(rows, PaintingStream):
        yield from rows.column(name)
    elif not hasattr(rows, "column_names"):
        every = (rows[number] for number in range(len(rows)))  # not every sequence ends an iteration by itself
        yield from (None if is_missing(cell := row.get(name)) else cell for row in every)
    elif name in rows.column_names:
        yield from cells_of(rows, name)


def undecoded(rows: datasets.Dataset) -> datasets.Dataset:
    """The rows in Python's types, pictures as files: one that cannot be read costs no other. A transform stays."""
    if (kind := rows.format["type"]) == "custom":
        return rows
    rows = rows if kind is None else rows.with_format(None)
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image) and feature.decode:
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _footers_of(url: str, split: str) -> dict[str, pq.FileMetaData]:
    """What each of a split's files holds, by its path, in the order of the files."""
    if not (paths := shards_at(url, [split]).get(split)):
        raise ValueError(f"Got {url}, where no data/{split}-*.parquet is. Prepare the data, or choose another split.")
    file_system, _ = fsspec.core.url_to_fs(url)

    def read_footer(path: str) -> pq.FileMetaData:
        with file_system.open(path) as file:
            return pq.read_metadata(file)

    # Over a network each footer takes as long as the way there and back.
    with ThreadPoolExecutor(max_workers=16) as threads:
        return dict(zip(paths, threads.map(read_footer, paths), strict=True))


def _mixed(
    rows: Iterator[tuple[int, dict[str, Any]]], buffer_size: int, random: np.random.Generator
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows in an order that is random within some `buffer_size` of them."""
    buffer = list(islice(rows, buffer_size))
    for row in rows:
        place = int(random.integers(buffer_size))
        yield buffer[place]
        buffer[place] = row
    random.shuffle(buffer)
    yield from buffer


def url_of(data: str | Path) -> str:
    """The place for fsspec: a name on the Hub becomes a URL, a folder and a URL stay what they are."""
    text = str(data)
    is_name = isinstance(data, str) and "://" not in text and not Path(text).exists()
    is_name = is_name and text.strip("/").count("/") == 1 and text[0] not in "./"
    return f"hf://datasets/{text}" if is_name else text


def shards_at(url: str, splits: Sequence[str]) -> dict[str, list[str]]:
    """URLs of the shards of each of the splits that lie there, in the order of their rows."""
    file_system, root = fsspec.core.url_to_fs(url)
    folder = f"{root.rstrip('/')}/data"
    files = sorted(file_system.ls(folder, detail=False)) if file_system.isdir(folder) else []
    found = {split: [path for path in files if fnmatch(Path(path).name, f"{split}-*.parquet")] for split in splits}
    return {split: [file_system.unstrip_protocol(path) for path in paths] for split, paths in found.items() if paths}
