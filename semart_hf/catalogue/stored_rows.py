"""Rows on disk: however many a catalogue has, a piece of them is in memory at a time."""

import hashlib
import mmap
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from semart_hf.files import full_disk_explained

#: Rows of a piece.
PIECE_ROWS = 1024


class Rows(ABC):
    """Rows of a table that are read from the disk a piece at a time.

    Attributes:
        columns: Names of the columns, in their order.
    """

    columns: list[str]

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Frames of up to `PIECE_ROWS` rows each with these columns, or all; `None` for missing cells."""

    def __contains__(self, column: object) -> bool:
        """Whether there is a column of this name."""
        return column in self.columns

    def __getitem__(self, column: str) -> Iterator[Any]:
        """The cells of a column one after the other, `None` where they are missing."""
        for piece in self.pieces([column]):
            yield from piece[column]

    def batches(self, num_rows: int) -> Iterator[list[dict[str, Any]]]:
        """The rows as cells by column, `num_rows` at a time and fewer at the end."""
        held: list[dict[str, Any]] = []
        for piece in self.pieces():
            held += piece.to_dict("records")
            while len(held) >= num_rows:
                yield held[:num_rows]
                held = held[num_rows:]
        if held:
            yield held

    def to_pandas(self) -> pd.DataFrame:
        """All rows in memory."""
        return pd.concat([pd.DataFrame(columns=self.columns, dtype=object), *self.pieces()], ignore_index=True)


class StoredRows(Rows):
    """The rows of a table, in a temporary file that is gone when they are, or when the process ends.

    Args:
        pieces: The rows in their order, as frames whose cells are strings or missing, numbers in `row_number`. Columns
            that a frame lacks are missing in its rows.
        columns: Names of the columns, in their order.

    Raises:
        OSError: The disk of temporary files is full.
    """

    def __init__(self, pieces: Iterable[pd.DataFrame], columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._schema = pa.schema([(name, pa.int64() if name == "row_number" else pa.string()) for name in columns])
        self._num_rows = 0
        self._file = tempfile.TemporaryFile(prefix="semart_hf-")  # noqa: SIM115  as long as the rows
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with temporary_disk_explained():
            with pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._schema, options=options) as file:
                for frame in pieces:
                    for start in range(0, len(frame), PIECE_ROWS):
                        piece = self._batch_of(frame.iloc[start : start + PIECE_ROWS])
                        file.write_batch(piece)
                        self._num_rows += piece.num_rows
            self._file.flush()

    def __len__(self) -> int:
        return self._num_rows

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """See `Rows`."""
        names = self.columns if columns is None else list(columns)
        options = pa.ipc.IpcReadOptions(included_fields=[self.columns.index(name) for name in names])
        reader = pa.ipc.open_file(pa.PythonFile(self._file, "r"), options=options)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            series = {name: pd.Series(batch.column(name).to_pylist(), dtype=object) for name in names}
            yield pd.DataFrame(series, columns=names)

    def _batch_of(self, frame: pd.DataFrame) -> pa.RecordBatch:
        arrays = [
            pa.array(frame[field.name], field.type, from_pandas=True)
            if field.name in frame
            else pa.nulls(len(frame), field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


class ChosenRows(Rows):
    """Some rows of several tables one after the other, read where these have them.

    Args:
        tables: The tables.
        columns: Names of the columns, in their order; missing in the rows of tables that lack them.
        is_chosen: For each row of all tables whether it is one of these; `None` for all.
        releases: For each table what stands in the column `release`; `None` without this column.
    """

    def __init__(
        self,
        tables: Sequence[Rows],
        columns: Sequence[str],
        is_chosen: npt.NDArray[np.bool_] | None = None,
        releases: Sequence[str] | None = None,
    ) -> None:
        self.columns = list(columns)
        self._tables, self._is_chosen, self._releases = tables, is_chosen, releases

    def __len__(self) -> int:
        return sum(map(len, self._tables)) if self._is_chosen is None else int(self._is_chosen.sum())

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """See `Rows`."""
        names = self.columns if columns is None else list(columns)
        start = 0
        for number, table in enumerate(self._tables):
            for piece in table.pieces([name for name in names if name in table] or table.columns[:1]):
                stop = start + len(piece)
                if self._is_chosen is not None:
                    piece = piece[self._is_chosen[start:stop]].reset_index(drop=True)
                if self._releases is not None:
                    piece = piece.assign(release=self._releases[number])
                start = stop
                if len(piece):
                    full = piece.reindex(columns=names)
                    yield full.astype(object).where(full.notna(), None)


def stored_table(tables: Iterable[pa.Table]) -> tuple[pa.Table, str]:
    """The tables as one that is read from a temporary file where it is looked at, and a digest of all its bytes.

    The file is gone when the table is, or when the process ends.

    Args:
        tables: Of one schema, one at least.

    Raises:
        OSError: The disk of temporary files is full.
    """
    with tempfile.TemporaryFile(prefix="semart_hf-") as file:
        writer = None
        with temporary_disk_explained():
            for table in tables:
                if writer is None:
                    writer = pa.ipc.new_stream(pa.PythonFile(file, "w"), table.schema)
                writer.write_table(table)
            if writer is None:
                raise ValueError("Got no table to store. Give one, which may be empty.")
            writer.close()
            file.flush()
        content = mapped(file)
        return pa.ipc.open_stream(pa.py_buffer(content)).read_all(), hashlib.blake2b(
            content, digest_size=8
        ).hexdigest()


def mapped(file: IO[bytes]) -> mmap.mmap:
    """The content of a file that is not empty: read from the disk where it is looked at, also when it is closed."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def temporary_disk_explained() -> AbstractContextManager[None]:
    """Says what temporary files are for, and what to do, where the disk has no room for them."""
    return full_disk_explained(
        tempfile.gettempdir(),
        "Rows are kept there while they are read, in about as much room as the catalogue's own files take. Make room, "
        "or set TMPDIR to another folder.",
    )


def all_columns(tables: Iterable[Rows]) -> list[str]:
    """The columns that any of the tables has, in their order."""
    return list(dict.fromkeys(column for table in tables for column in table.columns))
