import csv

import pytest

from semart_hf.catalogue.vocabulary import TASKS, label_number, learn_vocabularies, learn_vocabulary


def test_labels_are_ordered_by_frequency_then_name_with_unknown_last():
    schools = ["Dutch"] * 3 + ["Italian"] * 5 + ["Catalan"] * 3 + ["Polish"] + [None] * 9
    assert learn_vocabulary(schools, task="school", min_label_count=2) == ["Italian", "Catalan", "Dutch", "UNK"]


def test_timeframes_are_ordered_in_time():
    timeframes = ["1851-1900"] * 9 + ["0951-1000"] * 2 + ["1401-1450"] * 4 + ["ancient"] * 5
    assert learn_vocabulary(timeframes, task="timeframe", min_label_count=2) == [
        "0951-1000",
        "1401-1450",
        "1851-1900",
        "ancient",
        "UNK",
    ]


def test_a_frequent_value_that_is_called_unknown_is_not_learned_twice():
    assert learn_vocabulary(["UNK"] * 20 + ["genre"] * 10, task="type") == ["genre", "UNK"]


def test_min_label_count_is_inclusive():
    values = ["study"] * 10 + ["genre"] * 9
    assert learn_vocabulary(values, task="type") == ["study", "UNK"]


def test_numbers_of_labels():
    labels = ["religious", "portrait", "UNK"]
    assert [label_number(value, labels) for value in ("portrait", "never seen", None)] == [1, 2, None]
    with pytest.raises(ValueError, match=r"Got the label 'study'.*Add it or 'UNK'"):
        label_number("study", ["religious"])


def test_bad_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match=r"Got the task 'style', but the tasks are \['type'"):
        learn_vocabulary([], task="style")
    with pytest.raises(ValueError, match=r"Got min_label_count=0.*Use 1 or more"):
        learn_vocabulary([], task="type", min_label_count=0)


def test_vocabularies_of_the_official_train_split(shared_data):
    with (shared_data / "semart" / "train_labels.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    columns = {task: [row.get(task.upper()) or None for row in rows] for task in TASKS}
    vocabularies = learn_vocabularies(columns)
    assert {task: len(labels) - 1 for task, labels in vocabularies.items()} == {
        "type": 10,
        "school": 24,
        "timeframe": 17,
        "medium": 0,
    }
    assert vocabularies["type"] == [
        *["religious", "portrait", "landscape", "mythological", "genre", "still-life", "historical", "other"],
        *["interior", "study", "UNK"],
    ]
    assert vocabularies["school"][:3] == ["Italian", "Dutch", "French"]
    assert vocabularies["timeframe"][0] == "1051-1100"
    assert vocabularies["timeframe"][-2:] == ["1851-1900", "UNK"]
