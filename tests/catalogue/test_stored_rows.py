import errno

import pyarrow as pa
import pytest

from semart_hf.catalogue import stored_rows as module
from semart_hf.catalogue.stored_rows import cells_of, chosen_rows, stored_rows, with_same_columns

SCHEMA = pa.schema([("row_number", pa.int64()), ("title", pa.string())])


def tables():
    yield pa.table({"row_number": [1, 2, 5], "title": ["a", None, "ü"]}, SCHEMA)
    yield SCHEMA.empty_table()
    yield pa.table({"row_number": [6, 7], "title": ["", "e"]}, SCHEMA)


def test_rows_come_back_as_they_went_and_have_a_digest():
    rows = stored_rows(tables())
    assert rows.to_list() == pa.concat_tables(tables()).to_pylist()
    assert stored_rows(tables())._fingerprint == rows._fingerprint
    assert stored_rows([next(tables())])._fingerprint != rows._fingerprint
    assert len(stored_rows([SCHEMA.empty_table()])) == 0


def test_memory_does_not_hold_them():
    before = pa.total_allocated_bytes()
    rows = stored_rows(pa.table({"title": ["x" * 1000] * 1000}) for _ in range(20))
    assert len(rows) == 20_000
    assert pa.total_allocated_bytes() - before < 2**20  # of 20 MB


def test_shared_out_rows_stay_in_large_pieces():
    rows = stored_rows(pa.table({"row_number": range(start, start + 1000)}) for start in range(0, 20_000, 1000))
    every_second = chosen_rows(rows, range(0, 20_000, 2))
    assert every_second.data.num_rows == 10_000
    assert every_second.data.column(0).num_chunks <= 10
    assert list(cells_of(every_second, "row_number")) == list(range(0, 20_000, 2))
    assert list(cells_of(chosen_rows(rows, range(500, 2500)), "row_number")) == list(range(500, 2500))


def test_chosen_rows_are_written_again_only_where_they_do_not_follow_each_other(monkeypatch):
    rows = stored_rows(tables())
    assert chosen_rows(rows, [0, 2, 4])["title"][:] == ["a", "ü", "e"]
    monkeypatch.setattr(module, "stored_rows", lambda tables: pytest.fail("were written again"))
    assert chosen_rows(rows, [1, 2, 3])["title"][:] == [None, "ü", ""]
    assert chosen_rows(rows, [])["title"][:] == []


def test_columns_that_a_table_lacks_are_missing_in_its_rows():
    some = stored_rows([pa.table({"place": ["x"], "title": ["f"]})])
    one, other = with_same_columns([stored_rows(tables()), some])
    assert one.column_names == other.column_names == ["row_number", "title", "place"]
    assert (one["place"][:], other["row_number"][:]) == ([None] * 5, [None])


def test_a_full_disk_says_where_room_is_needed():
    def full():
        yield from tables()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"disk is full .*Rows are kept there while they are read.*set TMPDIR"):
        stored_rows(full())
