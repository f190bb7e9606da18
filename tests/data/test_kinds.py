import re
import time

import datasets
import pandas as pd
import pytest

from semart_hf.catalogue.schema import read_tasks
from semart_hf.data.rows import label_counts, labels_of, rows_for, tasks_of
from semart_hf.data.streaming import PaintingStream

CELLS = [["boat", "river"], ["river"], [], None, ["boat", "cat"]]
IN_NUMBERS = [[1, 2], [2], [], None, [1, 0]]
NUMBERED = datasets.Features({"tags": datasets.List(datasets.ClassLabel(names=["cat", "boat", "river"]))})
SEVERAL = {"name": "tags", "kind": "multi_label"}


def as_text(separator):
    return [None if cell is None else f" {separator} ".join(cell) for cell in CELLS]


@pytest.mark.parametrize(
    ("rows", "separator"),
    [
        (datasets.Dataset.from_dict({"tags": CELLS}), None),
        (datasets.Dataset.from_dict({"tags": IN_NUMBERS}, features=NUMBERED), None),
        (datasets.Dataset.from_dict({"tags": as_text("|")}), "|"),
        (datasets.Dataset.from_dict({"tags": as_text(" / ")}), "/"),
    ],
    ids=["lists", "numbered lists", "text", "text with its separator"],
)
def test_several_labels_of_a_cell(rows, separator):
    given = {"separator": "/"} if separator == "/" else {}
    (task,) = tasks_of(rows, [SEVERAL | given], min_label_count=1)
    if rows.features == NUMBERED:  # a task by itself
        assert tasks_of(rows, None) == [task]
    assert set(task["labels"]) == {"boat", "cat", "river"}
    assert task["separator"] == (separator or ";")
    task = task | {"labels": ["boat", "river"]}  # a label that the model lacks is left out
    known = rows_for(rows, [task])
    empty = [0, 0] if separator is None else [-100, -100]  # an empty list has none, an empty text is unknown
    assert labels_of([known[n] for n in range(5)], [task]).tolist() == [[1, 1], [0, 1], empty, [-100, -100], [1, 0]]
    without = [2, 2] if separator is None else [1, 1]
    assert label_counts(known, [task])["tags"].tolist() == [without, [2, 2]]
    assert label_counts([{"tags": [1, 1]}, {"tags": ["boat"] * 2}], [task])["tags"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("origin", [{"name": "tags"}, {"name": "subjects", "column": "tags"}])
def test_numbered_lists_are_streamed(origin, tmp_path):
    (tmp_path / "data").mkdir()
    rows = datasets.Dataset.from_dict({"tags": IN_NUMBERS}, features=NUMBERED).add_column("text", ["a"] * 5)
    rows.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    stream = PaintingStream(tmp_path, tasks=[origin | {"kind": "multi_label"}], buffer_size=1)
    (task,) = tasks_of(stream, stream.tasks.values(), min_label_count=1)
    assert task["labels"] == ["cat", "boat", "river"]
    assert labels_of(list(stream), [task]).tolist() == [[0, 1, 1], [0, 0, 1], [0] * 3, [-100] * 3, [1, 1, 0]]
    assert label_counts(stream, [task])[task["name"]].tolist() == [[3, 2, 2], [1, 2, 2]]


@pytest.mark.parametrize(
    ("entry", "cells", "expected"),
    [
        ({"order": ["small", "large"]}, ["large", "small", "small"], [["small", "large"]]),
        ({"unit": "cm"}, [10.5, 2.0, 2.0, 30.0], [["2", "10.5", "30"], [2.0, 10.5, 30.0], "cm"]),
        ({}, ["1601-1650", "1501-1550"], [["1501-1550", "1601-1650"], [1525.5, 1625.5], "years"]),
    ],
    ids=["words", "numbers", "periods"],
)
def test_labels_with_an_order(entry, cells, expected):
    labels, *scale = expected
    expected = {"labels": [*labels, "UNK"]}
    expected |= {"positions": [*scale[0], None], "unit": scale[1]} if scale else {}
    rows = datasets.Dataset.from_dict({"size": cells})
    (task,) = tasks_of(rows, [{"name": "size", "kind": "ordered", **entry}], min_label_count=1)
    assert task == {"name": "size", "kind": "ordered", **expected}


@pytest.mark.parametrize(
    ("entry", "cells", "message"),
    [
        (SEVERAL, ["a, b", "b, c"] * 5, "neither | nor ; occur. Write what separates"),
        (SEVERAL, ["a|b", "b;c"] * 5, "| and ; occur"),
        (SEVERAL | {"separator": "/"}, ["a|b"] * 5, "no cell has the separator '/'"),
        (SEVERAL, [1, 2] * 5, "Choose another kind or column"),
        ({"name": "tags"}, [["a"], ["b"]] * 5, "are read by the kind multi_label"),
        (SEVERAL, [["a", "UNK"], ["UNK"]] * 2, "none occurs at least 3 times"),
        (SEVERAL | {"min_label_count": 1}, [["a", "b"], ["c"], ["d"]], "none occurs twice"),
        (SEVERAL, [["a", "b"], ["b", "a"]] * 3, "all are in every row"),
        ({"name": "tags", "kind": "ordered"}, ["low", "high"] * 5, "Write their order"),
        ({"name": "tags", "kind": "ordered", "order": ["low", "mid"]}, ["low", "high"] * 5, "which its order"),
        ({"name": "tags", "min_label_count": 1}, [f"id {n}" for n in range(9)], "an identifier"),
    ],
)
def test_columns_of_the_wrong_kind_are_refused(entry, cells, message):
    rows = datasets.Dataset.from_dict({"tags": cells})
    with pytest.raises(ValueError, match=re.escape(message)):
        tasks_of(rows, [entry], min_label_count=3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a", "kind": "many"}, "Got the kind 'many'"),
        ({"name": "a", "separator": ";"}, "Got separator for the task a of the kind categorical"),
        ({"name": "a", "kind": "multi_label", "rule": "century"}, "Got rule for the task a"),
        ({"name": "a", "kind": "multi_label", "order": ["x", "y"]}, "Got order for the task a"),
        ({"name": "a", "kind": "ordered", "order": ["x", "x"]}, "each once"),
        ({"name": "a", "kind": "ordered", "order": ["x", "UNK"]}, "without UNK"),
        ({"name": "a", "kind": "ordered", "unit": "square metres"}, "Allowed is one word"),
    ],
)
def test_entries_of_the_wrong_kind_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        read_tasks([entry])


def test_twenty_thousand_labels_are_counted_and_numbered_within_seconds():
    rows = datasets.Dataset.from_dict({"author": [f"painter {number}" for number in range(20_000)] * 2})
    (task,) = tasks_of(rows, ["author"], min_label_count=2)
    start = time.process_time()
    assert label_counts(rows_for(rows, [task]), [task])["author"].tolist() == [2] * 20_000 + [0]
    assert labels_of([{"author": task["labels"][number]} for number in range(20_000)], [task])[-1, 0] == 19_999
    assert time.process_time() - start < 10  # a minute where each label was searched for


def test_a_column_of_mixed_types_is_refused():
    with pytest.raises(TypeError, match="a column of mixed types"):
        rows_for(pd.DataFrame({"type": ["a", 1, 2.5]}), [{"name": "type", "labels": ["a"]}])
    with pytest.raises(TypeError, match="Got the label 3 in"):
        labels_of([{"tags": ["a", 3]}], [SEVERAL | {"labels": ["a"]}])
