import csv

import datasets
import pytest

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.rules import century_of
from semart_hf.catalogue.schema import read_tasks
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_paintings, load_splits
from semart_hf.data.rows import label_counts, labels_of, rows_for, tasks_of, with_label_columns
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings

CENTURY = {"name": "century", "column": "date", "rule": "century"}
TASKS = ["type", "author", CENTURY, {"name": "support", "column": "technique", "rule": "medium"}]


@pytest.mark.parametrize("form", ["release", "prepared", "streamed"])
def test_author_and_derived_tasks_of_a_release(small_release, tmp_path, form):
    data = small_release if form == "release" else tmp_path / "prepared"
    if form != "release":
        prepare_paintings(read_rows(small_release), data, PreparationOptions(min_label_count=3))
    arguments = DataArguments(data=str(data), tasks=TASKS, min_label_count=3, streaming=form == "streamed")
    splits = load_splits(arguments)
    tasks = tasks_of(splits["train"], arguments.tasks, min_label_count=3)
    by_name = {task["name"]: task for task in tasks}
    assert list(by_name) == ["type", "author", "century", "support"]
    assert by_name["century"] == {**CENTURY, "labels": by_name["century"]["labels"]}
    centuries = by_name["century"]["labels"]
    assert centuries[:-1] == sorted(centuries[:-1])
    raw = read_rows(small_release).splits["train"]
    counts = label_counts(splits["train"], tasks)
    raw = {"author": raw["author"][:], "century": [*map(century_of, raw["date"][:])], "support": raw["medium"][:]}
    for name, cells in raw.items():
        labels = by_name[name]["labels"]
        expected = [sum(cell == label for cell in cells) for label in labels[:-1]]
        assert counts[name].tolist()[:-1] == expected, name
        assert counts[name].sum() == sum(cell is not None for cell in cells), name
    test = load_paintings(data, tasks=tasks)["test"]
    numbers = labels_of([*test.remove_columns("image")], tasks)
    for row, found in zip(test.remove_columns("image"), numbers.tolist(), strict=True):
        century = century_of(row["date"])
        expected = centuries.index(century) if century in centuries else len(centuries) - 1
        assert found[2] == (-100 if century is None else expected)


def test_the_authors_of_the_official_train_split(shared_data):
    path = shared_data / "semart" / "semart_train_without_descriptions.csv"
    with path.open(encoding="cp1252", newline="") as file:
        cells = [*csv.DictReader(file, delimiter="\t")]
        rows = datasets.Dataset.from_list([{"author": row["AUTHOR"], "date": row["DATE"]} for row in cells])
    (author,) = tasks_of(rows, [{"name": "author", "min_label_count": 11}])
    assert len(author["labels"]) == 349 + 1  # the literature has 350 with more than ten, in 18 rows more, and UNK
    assert author["labels"][:2] == ["GOGH, Vincent van", "REMBRANDT Harmenszoon van Rijn"]


def test_columns_of_a_plain_dataset():
    columns = {"style": ["Baroque", "Gothic"] * 4, "wing": [1, 2, 2, 2, 1, 2, 2, 2]}
    rows = datasets.Dataset.from_dict({"image": [None] * 8, "text": ["a"] * 8, **columns})
    style, wing = tasks_of(rows, ["style", "wing"], min_label_count=2)
    assert style == {"name": "style", "labels": ["Baroque", "Gothic", "UNK"]}
    assert wing["labels"] == ["2", "1", "UNK"]


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("nothing", ["a"], "with labels in the column 'task'. Allowed are columns of words"),
        ("task", ["one"] * 20, "with 1 labels in 20 rows"),
        ("task", [0.5, 1.5] * 10, "Allowed are columns of words, whole numbers"),
        ("task", [None] * 20, "Allowed are columns of words|with 0 labels"),
    ],
)
def test_columns_that_are_no_task(column, cells, message):
    rows = datasets.Dataset.from_dict({"image": [None] * len(cells), column: cells})
    with pytest.raises(ValueError, match=message):
        tasks_of(rows, ["task"])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "one or more"),
        (["type", "type"], "each once"),
        ([{"column": "date"}], "a column's name, or a table"),
        ([{"name": "a", "columm": "date"}], "a column's name, or a table"),
        (["Object ID"], "Allowed are letters, digits"),
        ([{"name": "a", "rule": "b"}], "Got the rule 'b'"),
        ([3], "a column's name, or a table"),
        ([{"name": "text", "column": "type"}], "columns that are read"),
        (["type", "image"], r"\['image'\], which are columns that are read"),
        (["type", {"name": "type", "column": "school"}], "Allowed are one or more, each once"),
        ([{"name": "date", "rule": "century"}, {"name": "half", "column": "date"}], "columns that are read"),
        ([{"name": "a", "rule": ["century"]}], "are words"),
        ([{"name": "a", "min_label_count": 0}], "is 1 or more"),
        ("type", "Allowed is a list"),
    ],
)
def test_tasks_that_are_none(tasks, message):
    with pytest.raises(ValueError, match=message):
        read_tasks(tasks)


def test_numbers_are_numbers_of_the_models_labels_and_words_are_stripped():
    task = {"name": "type", "labels": ["portrait", "landscape", "UNK"]}
    for cells in ([0, 1, -100, None], [0.0, 1.0, None, None], [" portrait", "landscape ", "", None]):
        rows = rows_for(datasets.Dataset.from_dict({"type": cells, "text": ["a"] * 4}), [task])
        assert label_counts(rows, [task])["type"].tolist() == [1, 1, 0], cells
    years = {"name": "year", "labels": ["1600", "1700", "UNK"]}
    rows = rows_for(datasets.Dataset.from_dict({"year": [1600.0, 1700.0, None], "text": ["a"] * 3}), [years])
    assert label_counts(rows, [years])["year"].tolist() == [1, 1, 0]
    feature = datasets.ClassLabel(names=["a", "b", "c"])
    features = datasets.Features({"kind": feature, "text": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"kind": [0, 1, -1], "text": ["a"] * 3}, features=features)
    for source in ({}, {"column": "wing"}):  # of which the rows have none: the labels are where they are needed
        known = {"name": "kind", "labels": ["c", "b", "a"], **source}
        assert list(with_label_columns(rows, [known])["kind"]) == [2, 1, None]
    (task,) = tasks_of(rows, [{"name": "wing", "column": "kind"}])
    assert label_counts(rows_for(rows, [task]), [task])["wing"].tolist() == [1, 1, 0]


def test_a_task_of_another_tasks_column_is_judged_by_its_labels(small_release):
    entries = [{"name": "genre", "column": "type"}, {"name": "age", "column": "timeframe", "rule": "century"}]
    splits = load_splits(DataArguments(data=str(small_release), tasks=entries, min_label_count=3))
    test = load_paintings(small_release, tasks=splits.tasks)["test"]
    trained, judged = (label_counts(rows, splits.tasks) for rows in (splits["test"], test))
    assert trained.keys() == judged.keys()
    assert all(trained[name].tolist() == judged[name].tolist() for name in judged)
    assert judged["genre"][:-1].sum() > 0
    assert judged["age"][:-1].sum() > 0
