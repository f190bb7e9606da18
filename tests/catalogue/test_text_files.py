import codecs
import csv

import pytest

from semart_hf.catalogue import text_files
from semart_hf.catalogue.catalogue import read_catalogue, read_rows
from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.catalogue.text_files import checked_rows, find_encoding, read_records, text_beside

COLUMNS = {"image_file": "file", "title": "title", "technique": "technique", "type": "genre"}
# Encoding, words in it, and an encoding that the finding names; none where cp1252 is right.
WORDS = [
    ("cp1252", "Étude à l'église", "huile sur toile", None),
    ("cp1252", "“São Paulo” – 5½ cm², Müller d´Arc ¿Qué?", "ÖL AUF LEINWAND, Björk", None),
    ("mac_roman", "Étude à l’église", "Öl auf Leinwand", "mac_roman"),
    ("iso8859_2", "Krajina s řekou", "olej na plátně", "iso8859_2"),
    ("iso8859_2", "Fekvő nő tükörrel", "olaj, vászon", "iso8859_2"),
    ("cp1250", "Pejzaż z łąką", "olej na płótnie", "cp1250"),
    ("cp1251", "Портрет Репина", "холст, масло", "cp1251"),
    ("koi8_r", "Портрет Репина", "холст, масло", "koi8_r"),
    ("cp1253", "Προσωπογραφία", "ελαιογραφία", "cp1253"),
    ("cp1254", "İstanbul manzarası", "tuval, güneş", "cp1254"),
    ("cp850", "Étude à l'église", "huile", "cp850"),
]


def write_catalogue(path, encoding, title, technique):
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file)
        writer.writerow(["file", "title", "technique", "genre"])
        writer.writerows([[f"{number}.jpg", title, technique, "portrait"] for number in range(10)])


def read(path, **mapping):
    tables = read_catalogue(path, parse_mapping({"columns": COLUMNS, "splits": {"shares": {"train": 1}}, **mapping}))
    row = tables.splits["train"][0]
    return row["title"], row["technique"], tables.problems


@pytest.mark.parametrize(("encoding", "title", "technique", "likely"), WORDS)
def test_improbable_text_is_a_finding_and_a_named_encoding_is_obeyed(tmp_path, encoding, title, technique, likely):
    write_catalogue(tmp_path / "p.csv", encoding, title, technique)
    *words, problems = read(tmp_path / "p.csv")
    if likely is None:
        assert (words, problems) == ([title, technique], [])
    else:
        assert {problem.problem for problem in problems[1:]} <= {"undecodable_text"}
        assert problems[0].problem == "improbable_text"
        assert problems[0].detail.startswith("p.csv: ")
        assert likely in problems[0].detail.split("; likely is ")[1]
        assert "say encoding: in the mapping or --encoding" in problems[0].action
    assert read(tmp_path / "p.csv", encoding=encoding) == (title, technique, [])


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"plain", "cp1252"),
        ("é ".encode("cp1252"), "cp1252"),
        (codecs.BOM_UTF8 + b"plain", "utf-8"),
        (b"", "cp1252"),
        ("é à ü".encode(), "utf-8"),  # whichever letter lies across two chunks
        ("é à ü".encode()[:-1], "utf-8"),
        ("é".encode()[:1], "cp1252"),
        ("\ufeffПортрет, 1650\n".encode("utf-16-be"), "utf-16-be"),
        ("Портрет, 1650\n".encode("utf-16-le"), "utf-16-le"),
        ("Krajina s řekou\n".encode("utf-16-be"), "utf-16-be"),
        ("\ufeffa\n".encode("utf-32-le"), "utf-32-le"),
        ("\ufeffa\n".encode("utf-32-be"), "utf-32-be"),
        (b"a,b\0,c\n" * 9, "cp1252"),
    ],
)
def test_encodings_are_found(tmp_path, monkeypatch, content, encoding):
    (tmp_path / "p.csv").write_bytes(content)
    assert find_encoding(tmp_path / "p.csv")[0] == encoding
    monkeypatch.setattr(text_files, "_CHUNK_BYTES", 5 if encoding in ("utf-8", "cp1252") else 1 << 20)
    assert find_encoding(tmp_path / "p.csv")[0] == encoding


def test_json_lines_and_releases_are_read_in_their_encoding(tmp_path):
    line = '{"file": "a.jpg", "title": "Pejzaż z łąką", "technique": "olej", "genre": "x"}\n'
    (tmp_path / "p.jsonl").write_bytes(line.encode("cp1250"))
    assert [problem.problem for problem in read(tmp_path / "p.jsonl")[2]] == ["improbable_text"]
    assert read(tmp_path / "p.jsonl", encoding="cp1250")[0] == "Pejzaż z łąką"
    header, row = "IMAGE_FILE\tTITLE\tTYPE\tSCHOOL\tTIMEFRAME", "a.jpg\tPejzaż z łąką\tgenre\tPolish\t1851-1900"
    (tmp_path / "semart_train.csv").write_bytes(f"{header}\n{row}\n".encode("cp1250"))
    tables = read_rows(tmp_path, encoding="cp1250")
    assert (list(tables.splits["train"]["title"]), tables.problems) == (["Pejzaż z łąką"], [])


def test_text_that_was_decoded_twice_is_a_finding(tmp_path):
    twice = "Étude à l’église".encode().decode("cp1252", "replace")
    write_catalogue(tmp_path / "p.csv", "utf-8", twice, "huile")
    assert "text in UTF-8 that was taken for cp1252" in read(tmp_path / "p.csv")[2][0].detail


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"PK\x03\x04", "an Excel workbook"), (b"\xd0\xcf\x11\xe0", "an old Excel"), (b"PAR1", "a Parquet")],
)
def test_workbooks_under_another_name_are_refused(tmp_path, content, kind):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"p\.csv, which is {kind}.*Save its table as CSV in UTF-8"):
        read(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("text", "encoding", "doubt"),
    [
        ("Portrait of the Comédienne", "cp1252", ""),
        ("A landscape\r\nwith a river", "utf-16", ""),
        ("A landscape", "utf-8-sig", ""),
        ("Портрет Репина", "cp1251", "likely is cp1251"),
    ],
)
def test_texts_beside_pictures(tmp_path, text, encoding, doubt):
    (tmp_path / "monet.txt").write_bytes(text.encode(encoding))
    found, sentence = text_beside(tmp_path / "monet.jpg")
    assert doubt in (sentence or "")
    assert bool(doubt) == bool(sentence)
    assert doubt or found == text.replace("\r\n", "\n")


@pytest.mark.parametrize("encoding", ["nope", "rot13", "hex"])
def test_an_encoding_of_no_text_is_refused_by_name(encoding):
    with pytest.raises(ValueError, match=f"Got the encoding '{encoding}', but it is a name that Python knows"):
        find_encoding("a.txt", encoding)


ROWS = [["id", "image_file", "title"], ["1", "a.jpg", "A Figure"], ["2", "b.jpg", "Storm, at sea; evening"]]


def records(path, content, **options):
    path.write_bytes(content.encode())
    file = read_records(path, **options)
    return file.header.fields, list(checked_rows(file)), [problem.detail for problem in file.problems]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("default", ["\t", ","])
def test_delimiters_are_found(tmp_path, delimiter, default):
    expected = (ROWS[0], [(1, ROWS[1]), (2, ROWS[2])], [])
    lines = (delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in ROWS)
    content = "\n".join(lines) + "\n"
    assert records(tmp_path / "p.csv", content, default=default) == expected
    assert records(tmp_path / "p.csv", f"sep={delimiter}\r\n{content}") == expected
    assert records(tmp_path / "p.csv", f"\ufeff{content}", default=default) == expected
    assert records(tmp_path / "p.csv", content, delimiter=delimiter) == expected


def test_a_named_delimiter_a_single_column_and_columns_of_one_name(tmp_path):
    assert records(tmp_path / "p.csv", "a,b;c\n1,2;3\n", delimiter="semicolon")[0] == ["a,b", "c"]
    assert records(tmp_path / "p.csv", "a#b\n1#2\n", delimiter="#") == (["a", "b"], [(1, ["1", "2"])], [])
    assert records(tmp_path / "p.csv", "id;title\n") == (["id", "title"], [], [])
    assert records(tmp_path / "p.csv", "title\nStorm, at sea\n") == (["title"], [(1, ["Storm, at sea"])], [])
    (tmp_path / "p.csv").write_text("file,note,note,kind,,\na,x,y,genre,,\n")
    mapping = {"columns": {"image_file": "file", "type": "kind"}, "splits": {"shares": {"train": 1}}}
    assert list(read_catalogue(tmp_path / "p.csv", parse_mapping(mapping)).splits["train"]["type"]) == ["genre"]
    with pytest.raises(ValueError, match=r"with the column 'note' twice, in p\.csv: the header 'file,note,note,kin"):
        read_catalogue(tmp_path / "p.csv", parse_mapping(mapping | {"keep": ["note"]}))


@pytest.mark.parametrize(
    ("content", "rows", "details"),
    [
        ("a;b\n1;2;\n3;4;;\n", [(1, ["1", "2"]), (2, ["3", "4"])], []),
        ("a;b;\n1;2;\n", [(1, ["1", "2", ""])], []),
        ('a;b\n"one\ntwo";2;\n', [(1, ["one\ntwo", "2"])], []),
        ("a;b\n1\n3;4;5\n6;7\n", [(3, ["6", "7"])], ["line 2 has 1 fields", "line 3 has 3 fields"]),
        ("a;b\n\n1;2\n\n3\n5;6\n", [(1, ["1", "2"]), (3, ["5", "6"])], ["line 5 has 1 fields, the header has 2"]),
        ("a;b\n1\0;2\n", [(1, ["1", "2"])], ["line 2 has zero bytes; they are left out"]),
    ],
)
def test_ragged_rows(tmp_path, content, rows, details):
    _, found, problems = records(tmp_path / "p.csv", content)
    assert found == rows
    assert [problem[: len(detail)] for problem, detail in zip(problems, details, strict=True)] == details
