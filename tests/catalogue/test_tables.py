import errno

import numpy as np
import pyarrow as pa
import pytest

from semart_hf.catalogue import tables as module
from semart_hf.catalogue.tables import cells_of, divided_rows, stored_rows

SCHEMA = pa.schema([("row_number", pa.int64()), ("title", pa.string())])


def tables():
    yield pa.table({"row_number": [1, 2, 5], "title": ["a", None, "ü"]}, SCHEMA)
    yield SCHEMA.empty_table()
    yield pa.table({"row_number": [6, 7], "title": ["", "e"]}, SCHEMA)


def test_rows_come_back_as_they_went_or_a_full_disk_is_named():
    rows = stored_rows(tables())
    assert rows.to_list() == pa.concat_tables(tables()).to_pylist()
    assert stored_rows(tables())._fingerprint == rows._fingerprint
    assert stored_rows([next(tables())])._fingerprint != rows._fingerprint
    assert len(stored_rows([SCHEMA.empty_table()])) == 0

    def full():
        yield from tables()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"disk is full .*Rows are kept there while they are read.*set TMPDIR"):
        stored_rows(full())


def test_memory_does_not_hold_rows_which_are_written_again_where_they_do_not_follow_each_other(monkeypatch):
    before, titles = pa.total_allocated_bytes(), ["x" * 1000] * 1000
    starts = range(0, 20_000, 1000)
    rows = stored_rows(pa.table({"row_number": range(n, n + 1000), "title": titles}) for n in starts)
    assert pa.total_allocated_bytes() - before < 2**20  # of 20 MB
    train = divided_rows(rows, np.arange(20_000, dtype=np.int8) % 2)["train"]
    assert train.data.column(0).num_chunks <= 10
    assert list(cells_of(train, "row_number")) == list(range(0, 20_000, 2))
    rows = stored_rows(tables())
    assert divided_rows(rows, np.array([0, -1, 0, -1, 0], np.int8))["train"]["title"][:] == ["a", "ü", "e"]
    monkeypatch.setattr(module, "stored_rows", lambda tables: pytest.fail("were written again"))
    splits = divided_rows(rows, np.array([-1, 2, 2, 2, 0], np.int8))
    assert {split: rows["title"][:] for split, rows in splits.items()} == {"train": ["e"], "test": [None, "ü", ""]}
