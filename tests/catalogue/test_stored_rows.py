import errno

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from semart_hf.catalogue import stored_rows
from semart_hf.catalogue.stored_rows import ChosenRows, StoredRows, all_columns, stored_table


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(stored_rows, "PIECE_ROWS", 3)


def frames():
    yield pd.DataFrame({"row_number": [1, 2, 5, 6], "title": ["a", None, "ü", ""], "place": ["x", "x", None, "y"]})
    yield pd.DataFrame({"row_number": [], "title": []})
    yield pd.DataFrame({"row_number": [7], "title": ["e"]})


def test_rows_come_back_as_they_went():
    rows = StoredRows(frames(), ["row_number", "title", "place"])
    assert len(rows) == 5
    assert [len(batch) for batch in rows.batches(2)] == [2, 2, 1]
    assert next(rows.batches(9)) == [
        {"row_number": 1, "title": "a", "place": "x"},
        {"row_number": 2, "title": None, "place": "x"},
        {"row_number": 5, "title": "ü", "place": None},
        {"row_number": 6, "title": "", "place": "y"},
        {"row_number": 7, "title": "e", "place": None},
    ]
    assert list(rows["title"]) == ["a", None, "ü", "", "e"]
    assert [len(piece) for piece in rows.pieces()] == [3, 1, 1]
    frame = rows.to_pandas()
    assert frame.columns.tolist() == ["row_number", "title", "place"]
    assert frame["place"].tolist() == ["x", "x", None, "y", None]
    assert "place" in rows
    assert "date" not in rows


def test_columns_may_be_left_out_and_added():
    rows = StoredRows(frames(), ["title", "date"])
    assert next(rows.batches(1)) == [{"title": "a", "date": None}]
    assert all_columns([rows, StoredRows([], ["place", "title"])]) == ["title", "date", "place"]


def test_chosen_rows_of_several_tables_are_read_where_they_lie():
    tables = [StoredRows(frames(), ["row_number", "title"]), StoredRows(frames(), ["place", "row_number"])]
    is_chosen = np.array([True, False, False, False, True] * 2)
    rows = ChosenRows(tables, ["title", "place", "release"], is_chosen, releases=["one", "two"])
    expected = [("a", None, "one"), ("e", None, "one"), (None, "x", "two"), (None, None, "two")]
    assert len(rows) == 4
    assert list(rows.to_pandas().itertuples(index=False, name=None)) == expected
    assert (list(rows["place"]), list(rows["release"])) == ([None, None, "x", None], ["one", "one", "two", "two"])
    assert len(ChosenRows(tables, ["row_number"])) == 10
    assert list(ChosenRows(tables, ["row_number"])["row_number"]) == [1, 2, 5, 6, 7] * 2


def test_no_rows():
    rows = StoredRows([], ["title"])
    assert (len(rows), list(rows["title"]), list(rows.batches(3)), rows.to_pandas().shape) == (0, [], [], (0, 1))
    assert not rows


def test_two_readers_of_one_table_do_not_disturb_each_other():
    rows = StoredRows(frames(), ["row_number", "title"])
    pairs = [
        (number, title, next(rows.batches(5))) for number, title in zip(rows["row_number"], rows["title"], strict=True)
    ]
    assert [pair[:2] for pair in pairs] == [(1, "a"), (2, None), (5, "ü"), (6, ""), (7, "e")]


def test_a_full_disk_says_where_room_is_needed():
    def full():
        yield from frames()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"disk is full .*Rows are kept there while they are read.*set TMPDIR"):
        StoredRows(full(), ["title"])


def test_tables_come_back_as_one_that_memory_does_not_hold():
    tables = [
        pa.table({"title": ["a", None], "type": [1, 2]}),
        pa.table({"title": ["x" * 1000] * 20_000, "type": range(20_000)}),
    ]
    before = pa.total_allocated_bytes()
    table, digest = stored_table(tables)
    assert table.equals(pa.concat_tables(tables))
    assert pa.total_allocated_bytes() - before < 2**20  # of 20 MB
    assert stored_table(tables)[1] == digest
    assert stored_table(tables[:1])[1] != digest


def test_a_table_of_no_rows_and_no_table():
    empty = pa.table({"title": pa.array([], pa.string())})
    assert stored_table([empty])[0].equals(empty)
    with pytest.raises(ValueError, match="Got no table to store"):
        stored_table([])
