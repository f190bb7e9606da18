import pytest

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.text import WAYS_OF_NAMING, mask_label_words, named_labels, text_of, word_table

TEMPLATE = "{TITLE} ({DATE}), by {AUTHOR}. {DESCRIPTION}"
ROW = {"title": "The Ninth Wave", "author": "AIVAZOVSKY, Ivan", "date": "1850", "description": "A ship founders."}


def count_named_labels(texts, rows):
    names = ("type", "school", "medium", "author")
    found = [named_labels(text, {name: row[name] for name in names}) for text, row in zip(texts, rows, strict=True)]
    return {way: sum(way in ways for ways in found) for way in WAYS_OF_NAMING}


@pytest.mark.parametrize(
    ("missing", "columns", "text"),
    [
        ((), ("DESCRIPTION",), "A ship founders."),
        ((), "description", "A ship founders."),
        ((), ["TITLE", "DATE", "DESCRIPTION"], "The Ninth Wave. 1850. A ship founders."),
        (("date",), ["TITLE", "DATE", "DESCRIPTION"], "The Ninth Wave. A ship founders."),
        (("title",), ["TITLE", "DESCRIPTION"], "A ship founders."),
        (("description",), ["TITLE", "DESCRIPTION"], "The Ninth Wave"),
        ((), [TEMPLATE], "The Ninth Wave (1850), by AIVAZOVSKY, Ivan. A ship founders."),
        ((), TEMPLATE, "The Ninth Wave (1850), by AIVAZOVSKY, Ivan. A ship founders."),
        (("date",), TEMPLATE, "The Ninth Wave, by AIVAZOVSKY, Ivan. A ship founders."),
        (("date", "author"), TEMPLATE, "The Ninth Wave. A ship founders."),
        (("title", "date", "description"), TEMPLATE, "by AIVAZOVSKY, Ivan"),
        (("description",), "Title: {TITLE}. Text: {DESCRIPTION}", "Title: The Ninth Wave"),
        (("title",), "Title: {TITLE}. Text: {DESCRIPTION}", "Text: A ship founders."),
        ((), "{DESCRIPTION}. {TITLE}.", "A ship founders. The Ninth Wave."),
        (("description",), ("DESCRIPTION",), None),
        (("title", "description"), "{TITLE}. {DESCRIPTION}", None),
    ],
)
def test_templates_leave_missing_columns_out_cleanly(missing, columns, text):
    assert text_of(ROW | dict.fromkeys(missing), columns) == text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{TITLE", r"Got the text template '\{TITLE'.*braces: '\{TITLE\}"),
        ("{}. {TITLE}", r"Got the text template .* column names in braces"),
        ("{{note}} {TITLE}", r"Got the text template .* column names in braces"),
        ("{TITLE!r}", r"Got the text column 'TITLE!R', but the columns are"),
        ("{PLACE}", r"Got the text column 'PLACE', but the columns are \['TITLE'.*Choose text_columns"),
        ([], r"Got no text columns.*Pass for example"),
    ],
)
def test_bad_templates_say_what_is_allowed(columns, message):
    with pytest.raises(ValueError, match=message):
        text_of(ROW, columns)


@pytest.mark.parametrize(
    ("text", "author", "masked"),
    [
        ("An Italianate landscape, of 1525-30.", None, "An # #, of #."),
        ("Dutch and Flemish still-lifes, still life", None, "# and # #, #"),
        ("To polish wood; the Polish painter", None, "To polish #; the # painter"),
        ("the 15th century, late sixteenth-century, the XVIth century", None, "the #, late #, the #"),
        ("the 1650s", None, "the #"),
        ("the 15th and 16th centuries; quattrocento", None, "the #; #"),
        ("a self-portrait, his portraiture", None, "a #, his #"),
        ("oil on canvas, frescoes on walls, watercolour", None, "oil on #, # on #, #"),
        ("Caravaggio's and the Caravaggesque style", "CARAVAGGIO", "#'s and the # style"),
        ("Gericault, or Géricault, Théodore", "GÉRICAULT, Théodore", "#, or #, #"),
        ("Van Gogh left Vincent's van", "GOGH, Vincent van", "Van # left #'s van"),
        ("a duck by Duck", "DUCK, Jacob", "a duck by #"),
        ("Saint Veronica by the Master of Saint Veronica", "MASTER of Saint Veronica", "Saint Veronica by the #"),
        ("Nothing is said; 12345 and 999 km, other", None, "Nothing is said; 12345 and 999 km, other"),
        (None, "DUCK, Jacob", None),
    ],
)
def test_words_that_name_a_label_are_masked(text, author, masked):
    row = {"author": author}
    assert mask_label_words(text, row, token="#") == masked
    assert mask_label_words(text, row) == (masked and masked.replace("#", "[MASK]"))  # the tokenizers' own


def test_ways_in_which_a_text_names_its_row_by_any_task():
    row = {"type": "still-life", "school": "Dutch", "medium": "canvas", "author": "KALF, Willem"}
    text = "Kalf painted Dutch still lifes on canvas in the 17th century, in 1653."
    assert named_labels(text, row) == {"type", "school", "medium", "year", "century", "author"}
    # Another row's labels, and "other", are not named.
    other = {"type": "other", "school": "Italian", "medium": None, "author": None}
    assert named_labels("Dutch portraits and others", other) == set()
    assert named_labels("An Estonian painter", {"school": "Estonian"}) == {"school"}
    assert [*map(named_labels, ["Dutch", "1653"], [row] * 2)] == [{"school"}, {"year"}]
    row = {"style": "Post_Impressionism", "subjects": ["Boats", "Sea (calm)"], "genre": None, "wing": "other"}
    text = "Post-impressionism: sea, calm, and boats. Baroque it is not; other wings are."
    assert named_labels(text, row) == {"style", "subjects"}
    assert mask_label_words(text, row, token="#") == "#: #, and #. Baroque it is not; other wings are."
    assert mask_label_words(text, {"style": "Baroque"}, token="#").endswith("boats. # it is not; other wings are.")


def test_how_often_official_descriptions_name_labels(shared_data):
    table = read_rows(shared_data / "semart").splits["validation"]
    rows = table.to_list()
    shares = {way: count / len(rows) for way, count in count_named_labels(table["description"], rows).items()}
    assert shares["school"] == pytest.approx(0.11, abs=0.01)
    assert shares["type"] == pytest.approx(0.27, abs=0.015)
    assert shares["year"] == pytest.approx(0.34, abs=0.025)
    assert shares["author"] > 0.5
    names = word_table("labels")["names"]
    assert set(table["type"]) - {"other"} <= set(names["type"])
    assert set(table["school"]) - {"Other"} <= set(names["school"])
    rows = [{name: row[name] for name in ("description", "type", "school", "medium", "author")} for row in rows]
    masked = [mask_label_words(row.pop("description"), row) for row in rows]
    assert count_named_labels(masked, rows) == dict.fromkeys(shares, 0)
