import csv
import io
import json
import random
import re
import string
import zipfile
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semart_hf.collection.own_format import Addition, open_catalogue

NAMES = ["type_suggested", "type_confidence"]


def written(path, additions, names=NAMES, **options):
    catalogue = open_catalogue(path, **options)
    output = path.with_name("out" + path.suffix)
    catalogue.write(output, names, additions)
    return output


def answers(number):
    return [Addition([f"label {row}", 0.25]) for row in range(number)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\r\n1,2\r\n\r\n3,4", b"a,b,X\r\n1,2,0\r\n\r\n3,4,1"),
        (b"a;b\n1;2\n", b"a;b;X\n1;2;0\n"),
        (b"sep=;\r\na;b\r\n1;2\r\n", b"sep=;\r\na;b;X\r\n1;2;0\r\n"),
        (b"\xef\xbb\xbfa,b\n1,2\n", b"\xef\xbb\xbfa,b,X\n1,2,0\n"),
        (b"\xef\xbb\xbfsep=,\na,b\n1,2\n", b"\xef\xbb\xbfsep=,\na,b,X\n1,2,0\n"),
        (b'"a","b"\n"1","2, ""x"""\n', b'"a","b","X"\n"1","2, ""x""","0"\n'),
        (b'a,b\n"1\nlines",2\n3,4\n', b'a,b,X\n"1\nlines",2,0\n3,4,1\n'),
        (b"a,b\n1\n3,4\n", b"a,b,X\n1,,0\n3,4,1\n"),  # too few cells: its new ones stand under their columns
        (b"a,b\n1,2,9\n3,4\n", b"a,b,X\n1,2,9\n3,4,1\n"),  # too many: nowhere could they stand
        (b"a,b\n1,2,,\n3,4\n", b"a,b,X\n1,2,0\n3,4,1\n"),  # empty cells beyond the header
        (b'a,b\n1,6" wide\n3,4\n', b'a,b,X\n1,6" wide,0\n3,4,1\n'),
        (b'a,b\n1,"open\n3,4\n', b'a,b,X\n1,"open,0\n3,4,1\n'),
        (b"a,b\n1,caf\xe9\n3,\x81\n", b"a,b,X\n1,caf\xe9,0\n3,\x81,1\n"),  # cp1252, and a byte that it lacks
        ("a,b\n1,é\n3,4\n".encode() + b"5,\xff\n", "a,b,X\n1,é,0\n3,4,1\n".encode() + b"5,\xff,2\n"),
        ("\ufeffa\tb\n1\té\n".encode("utf-16-be"), "\ufeffa\tb\tX\n1\té\t0\n".encode("utf-16-be")),
        ("\ufeffa\tb\n1\té\n".encode("utf-32-le"), "\ufeffa\tb\tX\n1\té\t0\n".encode("utf-32-le")),
        (b"a,b\r1,2\r", b"a,b,X\r1,2,0\r"),
    ],
)
def test_delimited_text_gets_columns_and_keeps_every_byte(tmp_path, content, expected):
    path = tmp_path / "catalogue.csv"
    path.write_bytes(content)
    rows = list(open_catalogue(path).rows())
    output = written(path, [Addition([str(number)]) for number in range(len(rows))], ["X"])
    assert output.read_bytes() == expected


def test_any_table_comes_back_with_its_cells_and_the_new_ones(tmp_path):
    chance = random.Random(0)
    # Lines in a cell that also hold delimiters could be rows, which is another test's subject.
    alphabets = [string.ascii_letters + " ,;\t|'\"éß漢", string.ascii_letters + '\n"é']
    for trial in range(60):
        delimiter = chance.choice(",;\t|")
        style = {"quoting": chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), "delimiter": delimiter}
        table = [["id", "name", "note"]]
        for number in range(chance.randint(1, 20)):
            words = ["".join(chance.choices(alphabet, k=chance.randint(0, 12))) for alphabet in alphabets]
            table.append([str(number), *words])
        path = tmp_path / f"{trial}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator=chance.choice(["\n", "\r\n"]), **style).writerows(table)
        new = [[f'a{delimiter}b "{row}"', row / 7] for row in range(len(table) - 1)]
        output = written(path, map(Addition, new), delimiter=delimiter)
        with output.open(encoding="utf-8", newline="") as file:
            found = list(csv.reader(file, delimiter=delimiter))
        assert [row[:3] for row in found] == table
        assert [row[3:] for row in found] == [NAMES, *([name, f"{number:.4g}"] for name, number in new)]


def test_empty_cells_are_filled_and_no_other_byte_changes(tmp_path):
    path = tmp_path / "catalogue.csv"
    path.write_bytes(b'id ,"type",type,\r\n1,,"a, b",c\r\n2,portrait,,\r\n')
    cells = {"id": "1", "type": None, "type_3": "a, b", "column_4": "c"}  # of one name, and without: by their place
    assert next(open_catalogue(path).rows()).cells == cells
    output = written(path, [Addition(["x"], {"type": 'still, "life"'}), Addition(["y"], {"type_3": "z"})], ["X"])
    assert output.read_bytes() == b'id ,"type",type,,X\r\n1,"still, ""life""","a, b",c,x\r\n2,portrait,z,,y\r\n'


def test_a_label_that_the_encoding_lacks_is_refused_and_a_reason_is_escaped(tmp_path):
    path = tmp_path / "catalogue.csv"
    path.write_bytes(b"a\tb\n1\tcaf\xe9\n")
    catalogue = open_catalogue(path)
    catalogue.check_labels(["Français"])
    with pytest.raises(ValueError, match=r"'Český', which .* cannot hold: it is written in cp1252"):
        catalogue.check_labels(["Český"])
    output = written(path, [Addition(["there is no file Č.jpg"])], ["problem"])
    assert output.read_bytes() == b"a\tb\tproblem\n1\tcaf\xe9\tthere is no file \\u010c.jpg\n"


def test_json_lines_keep_their_text_and_get_keys(tmp_path):
    path = tmp_path / "catalogue.jsonl"
    path.write_bytes(b'{"a": 1653.250, "b": "\\u00e9"}\r\n\n{}\n[1]\nnonsense\n{"a" : null }')
    rows = list(open_catalogue(path).rows())
    assert [row.cells for row in rows] == [{"a": "1653.25", "b": "é"}, {}, {}, {}, {"a": None}]
    assert [row.problem for row in rows][2] == "Line 4 is no JSON object."
    assert rows[3].problem.startswith("Line 5 is no JSON")
    output = written(path, answers(5))
    assert output.read_bytes() == (
        b'{"a": 1653.250, "b": "\\u00e9", "type_suggested": "label 0", "type_confidence": 0.25}\r\n\n'
        b'{"type_suggested": "label 1", "type_confidence": 0.25}\n[1]\nnonsense\n'
        b'{"a" : null, "type_suggested": "label 4", "type_confidence": 0.25}'
    )
    output = written(path, [Addition(["x", 1.0], {"a": "filled"}), *answers(4)])
    assert json.loads(output.read_text("utf-8").splitlines()[0])["a"] == "filled"
    path.write_text('{"a": 1}\n' * 5000 + '{"b": 2}\n')
    assert open_catalogue(path).columns == ["a", "b"]


def test_parquet_keeps_types_and_metadata(tmp_path):
    path = tmp_path / "catalogue.parquet"
    schema = pa.schema([("id", pa.int32()), ("tags", pa.list_(pa.string())), ("type", pa.string())], {"who": "me"})
    table = pa.table({"id": [1, 2], "tags": [["a", "b"], None], "type": [None, "portrait"]}, schema=schema)
    pq.write_table(table, path)
    cells = [tuple(row.cells.values()) for row in open_catalogue(path).rows()]
    assert cells == [("1", "a|b", None), ("2", None, "portrait")]
    output = written(path, [Addition(["x", 0.5], {"type": "landscape"}), Addition(["", ""])])
    found = pq.read_table(output)
    assert found.schema.metadata[b"who"] == b"me"
    assert found.select(["id", "tags"]).equals(table.select(["id", "tags"]).replace_schema_metadata({"who": "me"}))
    assert found.column("type").to_pylist() == ["landscape", "portrait"]
    assert found.column("type_suggested").to_pylist() == ["x", None]
    assert found.column("type_confidence").to_pylist() == [0.5, None]


def test_a_workbook_keeps_its_styles_sheets_and_formulas_and_is_the_same_bytes_again(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    path, made = tmp_path / "catalogue.xlsx", tmp_path / "made.xlsx"
    book, italic = openpyxl.Workbook(), openpyxl.cell.text.InlineFont(i=True)
    sheet, bold = book.active, openpyxl.styles.Font(bold=True)
    words = openpyxl.cell.rich_text.CellRichText("a ", openpyxl.cell.rich_text.TextBlock(italic, "view"))
    for row in (
        ["id", "type", "year"],
        [1, None, 1653],
        [None, None, None],
        [2, "portrait", "=C2+1"],
        [3, words, "=1"],
    ):
        sheet.append(row)
    sheet["A6"] = 4
    sheet.merge_cells("B5:B6")
    for place in ("A1", "A9", "K1"):  # beyond the last row and the last column, too
        sheet[place].font = bold
    book.create_sheet("other")["A1"] = "kept"
    book.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():  # as a program saves it that has computed the first formula
            new.writestr(name, re.sub(rb"(<f>C2\+1</f>)<v ?/>", rb"\1<v>1654</v>", old.read(name)))
    catalogue = open_catalogue(path)
    cells = [tuple(row.cells.values()) for row in catalogue.rows()]
    assert cells == [("1", None, "1653"), ("2", "portrait", "1654"), ("3", "a view", "=1"), ("4", "a view", None)]
    assert [name for name in catalogue.columns if catalogue.holds_text(name)] == ["id", "year"]
    additions = [Addition(["=1+1", 0.5], {"type": "=HYPERLINK(1)"}), *(Addition([word, 0.25]) for word in "xyz")]
    first = written(path, additions).read_bytes()
    assert written(path, additions).read_bytes() == first
    assert next(islice(open_catalogue(written(path, additions)).rows(), 1, None)).cells["year"] == "1654"
    found = openpyxl.load_workbook(io.BytesIO(first), rich_text=True)
    assert [[cell.value for cell in row[:5]] for row in found.worksheets[0].rows] == [
        ["id", "type", "year", *NAMES],
        [1, "=HYPERLINK(1)", 1653, "=1+1", 0.5],
        [None] * 5,
        [2, "portrait", "=C2+1", "x", 0.25],
        [3, words, "=1", "y", 0.25],
        [4, None, None, "z", 0.25],
        *[[None] * 5] * 3,
    ]
    assert [cell.data_type for cell in found.worksheets[0][2]][:5] == ["n", "s", "n", "s", "n"]  # no formula
    assert found.worksheets[0]["A1"].font.bold
    assert found["other"]["A1"].value == "kept"
    with pytest.raises(ValueError, match=r"Got the sheet 'no'. Allowed are \['Sheet', 'other'\]"):
        open_catalogue(path, sheet="no")
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="cannot be read as an Excel workbook"):
        open_catalogue(path)
    with pytest.raises(ValueError, match=r"Allowed is \.xlsx\."):
        open_catalogue(path.with_suffix(".xls"))
