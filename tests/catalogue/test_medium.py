import csv
import html
import io
from collections import Counter
from pathlib import Path

import pytest

from semart_hf.catalogue.rules import medium_of

#: Technique and medium, labelled by hand from the text alone: all of the official val split and of the known part of
#: train. An empty medium means that the text does not say it.
LABELS = Path(__file__).parent / "medium_labels.tsv"
UNSEEN = LABELS.with_name("medium_unseen.tsv")
WORDINGS = LABELS.with_name("medium_wordings.tsv")


def labelled(file: Path = LABELS) -> dict[str, str | None]:
    _, *lines = file.read_text("utf-8").splitlines()
    return {technique: medium or None for technique, medium in (line.split("\t") for line in lines)}


def test_rules_agree_with_the_labels_by_hand():
    expected = labelled()
    assert len(expected) == 1190
    disagreements = {text: medium_of(text) for text, medium in expected.items() if medium_of(text) != medium}
    # A pen painting on a ground whose support is not said: drawn in ink, so taken for a sheet.
    assert disagreements == {"Pen and ink on white prepared ground": "paper"}


def test_rules_agree_with_labels_by_hand_of_techniques_that_they_were_not_written_on():
    """400 distinct techniques of the official train split that were drawn at random, and every wording that is in none
    of the labelled ones, sizes left out; labelled before the rules were run.

    The rules as they were then agreed with 399 and with 230 of these; what they had wrong is right since.
    """
    rows = list(csv.DictReader(UNSEEN.open(encoding="utf-8", newline=""), delimiter="\t"))
    disagreements = [row for row in rows if medium_of(row["technique"]) != (row["medium"] or None)]
    assert Counter(row["drawn"] for row in rows) == {"rows": 400, "wordings": 250}
    assert disagreements == []


@pytest.mark.parametrize(("technique", "medium"), [*labelled(WORDINGS).items(), ("", None), (None, None)])
def test_rules(technique, medium):
    assert medium_of(technique) == medium


def test_few_official_rows_stay_without_a_medium(shared_data):
    val = (shared_data / "semart" / "semart_val.csv").read_bytes().decode("cp1252")
    train = (shared_data / "semart" / "train_labels.csv").read_text("utf-8")
    val_rows = list(csv.DictReader(io.StringIO(val, newline=""), delimiter="\t"))
    train_rows = list(csv.DictReader(io.StringIO(train, newline="")))
    techniques = [html.unescape(row["TECHNIQUE"]).strip() for row in val_rows + train_rows]
    assert {text for text in techniques if text} == set(labelled())
    mediums = Counter(medium_of(text) for text in techniques if text)
    assert mediums.total() == 8475
    assert mediums[None] <= 15  # at most 2 % are allowed: 169
    assert mediums.most_common(3)[0] == ("canvas", mediums["canvas"])
