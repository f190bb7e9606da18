import csv
import html
import io
from collections import Counter
from pathlib import Path

import pytest

from semart_hf.catalogue.catalogue import read_catalogue
from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.catalogue.rules import half_century, half_century_of, medium_of

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


DATES = {
    None: """120 BC|-1479|−1479|320 v. Chr.|44 a.C.|52 av. J.-C.|ca. 332–200 B.C.|late 1st century BCE|1 BC–AD 20
        |Anno Mundi 5408|A.M. 5408|1650 AH|AH 1061|Meiji 5|An VII|165?|16--|165-|MDCL?|161(5 or 6)|16 50|-
        |n.d.|85|0|1650.5|1400-1599|between 1501 and 1599|1650 or 1750|1644 or 1653|late 1640s/early 1650s
        |1495–153505|153505|3088|600–800 CE|1498-02|before 1650|after 1650|ca. 1636 or later
        |c.1625-28 or slightly later|1650-|-1650|1600s|16th century|XVIe siècle|siglo XVI|16. Jh.
        |mid-17th cent.|Mitte 16. Jh.|metà del XVI secolo|XVII|jún.02|May-89|1600-1699|1700-1600
        |second third of the 16th century|14th–15th century|late 10th–early 11th century|1650, reworked 1670""",
    "1451-1500": """dated A.H. 887/A.D. 1482|dated 905 AH/1499–1500 CE|ca. 1485–95|probably ca. 1470|1470s|1480/1490
        |last quarter of the 15th century|A.D. 1482|1482 n. Chr.|1499 d.C.|1499 CE|MCDLXXX""",
    "1501-1550": """c. 1503-06|between 1501 and 1530|early 16th century|early-16th century|Anfang 16. Jh.
        |1. Hälfte 16. Jh.|début du XVIe siècle|principios del siglo XVI|prima metà del XVI secolo
        |first half of the 16th century""",
    "1551-1600": """late 16th century|Ende des 16. Jahrhunderts|fin du XVIe siècle|fine del XVI secolo
        |third quarter of the 16th century|2. Hälfte 16. Jh.|c. 1600""",
    "1601-1650": """1650|1650.0|1,650|1.650|1 650|c. 1650|c.1650|c. 1630-35|(1650)|[1650]|painted 1650|MDCL|163?|163-
        |1629?|1644 or 1648|1635 (or possibly 1646)|1630s-40s|1630s/40s|1635-1640s|late 1640s|mid 1630s
        |12 June 1650|12.06.1650|1650-06-12|1650-06-12T00:00:00+01:00|signed and dated 1650|um 1650|vers 1650
        |2. Viertel 17. Jh.|1601-1650|1er quart du XVIIe siècle|eerste helft 17e eeuw|1645–54|1648/49""",
    "1651-1700": """1651|1700|1653.0|1650s|1651–55|von 1650 bis 1655|entre 1650 et 1655|AH 1061 / AD 1651|June 12, 1651
        |3 mai 1651|deuxième moitié du XVIIe siècle|segunda mitad del siglo XVII|seconda metà del XVII secolo""",
    "1851-1900": """1880er Jahre|années 1880|spring 1888|1888-89|5. Juni 1889""",
    "0801-0850": """850|AD 850|0850|c. 830–45""",
}


@pytest.mark.parametrize(
    ("text", "timeframe"),
    [(text.strip(), timeframe) for timeframe, texts in DATES.items() for text in texts.split("|")],
)
def test_dates_of_museums(text, timeframe):
    assert half_century_of(text) == timeframe


@pytest.mark.parametrize(("begin", "end"), [("-100", "100"), ("1495", "153505"), ("1495", "unknown"), (None, "1650")])
def test_spans_in_two_columns(begin, end):
    assert half_century_of(begin, end) is None
    assert half_century_of("1651", "1660") == half_century_of("1651", None) == "1651-1700"


def read_dates(path, mapping):
    tables = read_catalogue(path, parse_mapping({"columns": mapping, "splits": {"shares": {"train": 1.0}}}))
    return Counter(tables.splits["train"]["timeframe"]), tables.problems


def test_dates_without_a_certain_half_century_are_findings(tmp_path):
    (tmp_path / "p.csv").write_text("year,end,kind\n165?,,a\n165?,,a\n1640,,a\n,,a\n1495,153505,a\n")
    columns = {"type": "kind", "timeframe": {"from": "year", "to": "end", "as": "half_century"}}
    timeframes, problems = read_dates(tmp_path / "p.csv", columns)
    assert timeframes == {None: 4, "1601-1650": 1}
    assert [(problem.problem, problem.detail, problem.action) for problem in problems] == [
        ("uncertain_date", "timeframe: '165?' in 2 rows of p.csv", "taken as missing"),
        ("uncertain_date", "timeframe: '1495 to 153505' in 1 rows of p.csv", "taken as missing"),
    ]


def test_timeframes_in_words_agree_with_the_years_that_catalogues_give(shared_data):
    """Every date of the tabletops has been turned to years by their cataloguer."""
    with (shared_data / "catalogues" / "dutchtabletops_300rows.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["date_string"]]
    found = [(half_century_of(row["date_string"]), row) for row in rows]
    certain = [(timeframe, row) for timeframe, row in found if timeframe]
    assert len(certain) >= 0.85 * len(rows)
    for timeframe, row in certain:
        assert timeframe == half_century(int(row["year_early"]), int(row["year_late"])), row["date_string"]
    columns = {"type": "museum", "timeframe": {"from": "year", "as": "half_century"}}
    met, problems = read_dates(shared_data / "catalogues" / "met_portrait_works_80rows.csv", columns)
    texts = [problem.detail.split("'")[1] for problem in problems]
    assert (met["1651-1700"], met["1701-1750"], met["0801-0850"], met[None]) == (4, 5, 1, 15)
    assert {"ca. 1525–1504 B.C.", "600–800 CE", "14th–15th century", "ca. 1636 or later"} <= set(texts)
