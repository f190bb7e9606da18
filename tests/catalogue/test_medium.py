import csv
import html
import io
from collections import Counter
from pathlib import Path

import pytest

from semart_hf.catalogue.medium import MEDIUMS, medium_of

#: Technique and medium, labelled by hand from the text alone: all of the official val split and of the known part of
#: train. An empty medium means that the text does not say it.
LABELS = Path(__file__).parent / "medium_labels.tsv"
UNSEEN = LABELS.with_name("medium_unseen.tsv")


def labelled() -> dict[str, str | None]:
    _, *lines = LABELS.read_text("utf-8").splitlines()
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


def test_every_medium_is_among_the_labels_by_hand():
    counts = Counter(labelled().values())
    assert set(counts) == {*MEDIUMS, None}
    assert min(counts.values()) >= 10


@pytest.mark.parametrize(
    ("technique", "medium"),
    [
        ("Fresco transferred to canvas", "canvas"),
        ("Oil on canvas transferred from wood", "canvas"),
        ("Tempera on panel, transferred to canvas mounted on pressed hardboard and cradled", "canvas"),
        ("Transferred from wood to canvas", "canvas"),
        ("Oil, transferred from wood", None),
        ("Oil on paper laid down on panel", "paper"),
        ("Oil on canvas mounted on panel", "canvas"),
        ("Pastel, laid down on canvas", "paper"),
        ("Fresco, mounted on canvas", "wall"),
        ("Oil, mounted on panel", "wood"),
        ("Fresco", "wall"),
        ("Detached fresco", "wall"),
        ("Fresco, 120 x 90 cm (each panel)", "wall"),
        ("Walnut oil on plaster", "wall"),
        ("Tempera on poplar", "wood"),
        ("Oak", "wood"),
        ("Lime panel", "wood"),
        ("Lime plaster", "wall"),
        ("Oil on copper beech panel", "wood"),
        ("Oil on hardboard", "wood"),
        ("Oil on board, 36 x 50 cm", "paper"),
        ("Wood engraving", "paper"),
        ("Hand-coloured woodcut", "paper"),
        ("Silverpoint with lead white", "paper"),
        ("Iron gall ink on vellum", "paper"),
        ("Oil on canvas-backed paper", "paper"),
        ("Red chalk on ivory laid paper", "paper"),
        ("Bronze, height 77 cm", "metal"),
        ("Oil on silver", "metal"),
        ("Tempera, silver and gold on wood, diameter 93 cm (with frame)", "wood"),
        ("Tempera and gold leaf on wood", "wood"),
        ("Oil and marble dust on canvas", "canvas"),
        ("Oil on slate", "other"),
        ("Watercolour on ivory", "other"),
        ("Ink and color on silk", "other"),
        ("Olio su tela", "canvas"),
        ("Affresco trasportato su tela", "canvas"),
        ("Tempera su tavola", "wood"),
        ("Huile sur toile marouflée sur bois", "canvas"),
        ("Huile sur bois transposée sur toile", "canvas"),
        ("Huile sur panneau de chêne", "wood"),
        ("Öl auf Eichenholz", "wood"),
        ("Öl auf Leinwand", "canvas"),
        ("Von Holz auf Leinwand übertragen", "canvas"),
        ("Papier auf Leinwand aufgezogen", "paper"),
        ("Óleo sobre lienzo", "canvas"),
        ("Óleo sobre tabla", "wood"),
        ("Olieverf op paneel", "wood"),
        ("Olaj, vászon", "canvas"),
        ("Oil on slates", "other"),
        ("Oil on Swiss stone pine panel", "wood"),
        ("Oil on stone-grey prepared paper", "paper"),
        ("Oil on lapislazuli", "other"),
        ("Oil oncanvas, 45 x 30 cm", "canvas"),
        ("Oil on cnavas", "canvas"),
        ("Oil on pannels", "wood"),
        ("Oil on wood288 x 175 cm", "wood"),
        ("Oil on cannvas mounted on panel", "canvas"),
        ("Oil, backed with wood", "wood"),
        ("Oil on paper lined with canvas", "paper"),
        ("Oil on silver, 33 x 23 cm", "metal"),
        ("Tempera on gold ground", None),
        ("Black and red chalks, brown wash", "paper"),
        ("Sanguine", "paper"),
        ("Olaj", None),
        ("Oil", None),
        ("Photo", None),
        ("-", None),
        ("", None),
        (None, None),
    ],
)
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
