"""Rows on disk: however many a catalogue has, a piece of them is in memory at a time."""

import errno
import hashlib
import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import pandas as pd
import pyarrow as pa

#: Rows of a piece.
PIECE_ROWS = 1024


class StoredRows:
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
        self._starts = [0]  # of each piece, and the number of rows
        self._file = tempfile.TemporaryFile(prefix="semart_hf-")  # noqa: SIM115  as long as the rows
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with full_disk_explained():
            with pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._schema, options=options) as file:
                for frame in pieces:
                    for start in range(0, len(frame), PIECE_ROWS):
                        piece = self._batch_of(frame.iloc[start : start + PIECE_ROWS])
                        file.write_batch(piece)
                        self._starts.append(self._starts[-1] + piece.num_rows)
            self._file.flush()
        self._all_columns = self._reader(None)
        self._last: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        """Number of rows."""
        return self._starts[-1]

    def __contains__(self, column: object) -> bool:
        """Whether there is a column of this name."""
        return column in self.columns

    def __getitem__(self, column: str) -> Iterator[Any]:
        """The cells of a column one after the other, `None` where they are missing."""
        reader = self._reader([self.columns.index(column)])
        for number in range(reader.num_record_batches):
            yield from reader.get_batch(number).column(0).to_pylist()

    def pieces(self) -> Iterator[pd.DataFrame]:
        """Frames of up to `PIECE_ROWS` rows each, with `None` for missing cells."""
        for number in range(len(self._starts) - 1):
            yield self._frame_of(self._all_columns.get_batch(number))

    def slice(self, start: int, stop: int) -> list[dict[str, Any]]:
        """The rows from `start` up to `stop`, or to the last, as cells by column."""
        rows: list[dict[str, Any]] = []
        for number, (first, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            if first < stop and start < end:
                if self._last[0] != number:
                    self._last = (number, self._all_columns.get_batch(number).to_pylist())
                rows += self._last[1][max(start - first, 0) : stop - first]
        return rows

    def to_pandas(self) -> pd.DataFrame:
        """All rows in memory."""
        return self._frame_of(self._all_columns.read_all())

    def _reader(self, fields: list[int] | None) -> "pa.ipc.RecordBatchFileReader":
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        return pa.ipc.open_file(pa.PythonFile(self._file, "r"), options=options)

    def _batch_of(self, frame: pd.DataFrame) -> pa.RecordBatch:
        arrays = [
            pa.array(frame[field.name], field.type, from_pandas=True)
            if field.name in frame
            else pa.nulls(len(frame), field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _frame_of(self, table: "pa.RecordBatch | pa.Table") -> pd.DataFrame:
        columns = {name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in self.columns}
        return pd.DataFrame(columns, columns=self.columns)


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
        with full_disk_explained():
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


@contextmanager
def full_disk_explained() -> Iterator[None]:
    """Say what temporary files are for, and what to do, where the disk has no room for them."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"Got a full disk while rows were kept in {tempfile.gettempdir()}, where the words of a catalogue "
            "need about as much room as the catalogue's own files. Make room, or set TMPDIR to another folder",
        ) from error


def all_columns(tables: Iterable[StoredRows]) -> list[str]:
    """The columns that any of the tables has, in their order."""
    return list(dict.fromkeys(column for table in tables for column in table.columns))
