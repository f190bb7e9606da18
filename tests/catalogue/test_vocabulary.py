import csv

import pytest

from semart_hf.catalogue.schema import label_number, learn_vocabulary, numbers_of_labels


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["D"] * 3 + ["I"] * 5 + ["C"] * 3 + ["P"] + [None] * 9, ["I", "C", "D", "UNK"]),  # by frequency, then by name
        (["1851-1900"] * 9 + ["0951-1000"] * 3 + ["ancient"] * 5, ["0951-1000", "1851-1900", "ancient", "UNK"]),
        (["UNK"] * 20 + ["genre"] * 3, ["genre", "UNK"]),
        (["study"] * 3 + ["genre"] * 2, ["study", "UNK"]),
    ],
)
def test_labels_in_their_order(values, labels):
    assert learn_vocabulary(values, min_label_count=3) == labels


def test_numbers_of_labels():
    with pytest.raises(ValueError, match=r"Got min_label_count=0.*Use 1 or more"):
        learn_vocabulary([], min_label_count=0)
    numbers = numbers_of_labels(["religious", "portrait", "UNK"])
    assert [label_number(value, numbers) for value in ("portrait", "never seen", None)] == [1, 2, None]
    with pytest.raises(ValueError, match=r"Got the label 'study'.*Add it or 'UNK'"):
        label_number("study", {"religious": 0})


def test_vocabularies_of_the_official_train_split(shared_data):
    with (shared_data / "semart" / "train_labels.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    columns = ("type", "school", "timeframe")
    vocabularies = {name: learn_vocabulary(row[name.upper()] or None for row in rows) for name in columns}
    assert [len(labels) - 1 for labels in vocabularies.values()] == [10, 24, 17]
    types = "religious portrait landscape mythological genre still-life historical other interior study UNK"
    assert vocabularies["type"] == types.split()
    assert vocabularies["school"][:3] == ["Italian", "Dutch", "French"]
    assert vocabularies["timeframe"][0] == "1051-1100"
    assert vocabularies["timeframe"][-2:] == ["1851-1900", "UNK"]
