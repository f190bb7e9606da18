import pytest

from semart_hf.documents.page import ENVIRONMENT
from semart_hf.documents.table import Cell, Table, enumeration, escape_markdown, number, percent


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (percent(0.8125, (0.77, 0.852)), "81.2 (77.0–85.2)"),
        (percent(None), "not measured"),
        (percent(None, missing="–"), "–"),
        (number(0.12345), "0.123"),
        (number(None), "not measured"),
    ],
)
def test_percents_and_numbers(cell, text):
    assert str(cell) == text


def test_one_table_in_two_forms():
    rows = [["x|y", 1234], [Cell("*z*", "1–2", is_strong=True), "–"]]
    table = Table(["a<b", "n"], rows, "A & B: one", notes=["<i>"], total=["all", 2])
    shown = [r"| x\|y | 1,234 |", r"| **\*z\*** (1–2) | – |", "| all | 2 |"]
    assert table.markdown().splitlines() == ["| a&lt;b | n |", "| --- | ---: |", *shown]
    assert str(ENVIRONMENT.get_template("parts.html").module.table(table)).strip() == (
        '<div class="scroll"><table><thead><tr><th>a&lt;b</th><th class="number">n</th></tr></thead><tbody>'
        '<tr><td>x|y</td><td class="number">1,234</td></tr>'
        '<tr><td><b>*z*</b> <small>1–2</small></td><td class="number">–</td></tr>'
        '<tr class="total"><td>all</td><td class="number">2</td></tr></tbody></table></div>\n'
        '<p class="note">&lt;i&gt;</p>'
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Dutch & <Flemish>", "Dutch &amp; &lt;Flemish>"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("_em_ `code` [a](b)", r"\_em\_ \`code\` \[a\](b)"),
        ("two\nlines  and\ttabs", "two lines and tabs"),
        ("back\\slash | pipe ~~x~~", r"back\\slash \| pipe \~\~x\~\~"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text, escaped):
    assert escape_markdown(text) == escaped


def test_enumerations():
    words = ["a", "b", "c"]
    assert [enumeration(words[:length]) for length in range(4)] == ["", "a", "a and b", "a, b and c"]
