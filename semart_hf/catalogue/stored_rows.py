"""Rows on disk: a catalogue is written once, and read where it is looked at, so that memory does not grow with it."""

import hashlib
import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets.table import InMemoryTable

from semart_hf.files import full_disk_explained

#: Rows that are read, made and written at a time.
PIECE_ROWS = 1024


def stored_rows(tables: Iterable[pa.Table]) -> datasets.Dataset:
    """The tables' rows in a temporary file, which is gone when they are, or when the process ends.

    Args:
        tables: Of one schema, one at least.

    Raises:
        OSError: The disk of temporary files is full.
    """
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


def chosen_rows(rows: datasets.Dataset, places: Sequence[int] | npt.NDArray[np.int64]) -> datasets.Dataset:
    """Some of the rows; they are written again only where they do not follow each other."""
    chosen = rows.select(places)
    if not len(places) or places[-1] - places[0] == len(places) - 1:
        return chosen
    # Gathered rows are a piece each, and would be read and held so.
    return stored_rows(piece.combine_chunks() for piece in chosen.with_format("arrow").iter(PIECE_ROWS))


def cells_of(rows: datasets.Dataset, column: str) -> Iterator[Any]:
    """The cells of a column of `stored_rows` one after the other, of which a piece is in memory at a time."""
    for chunk in rows.data.column(column).chunks:
        for start in range(0, len(chunk), PIECE_ROWS):
            yield from chunk[start : start + PIECE_ROWS].to_pylist()


def with_same_columns(tables: Sequence[datasets.Dataset]) -> list[datasets.Dataset]:
    """The tables with the columns that any of them has, in one order; missing in the rows of tables that lack them."""
    columns = list(dict.fromkeys(column for rows in tables for column in rows.column_names))
    same = []
    for rows in tables:
        for column in columns:
            if column not in rows.column_names:
                rows = rows.add_column(column, [None] * len(rows), feature=datasets.Value("string"))
        same.append(rows.select_columns(columns))
    return same
