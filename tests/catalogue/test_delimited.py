import pytest

from semart_hf.catalogue.catalogue import read_catalogue
from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.catalogue.text_files import checked_rows, read_records

ROWS = [["id", "image_file", "title"], ["1", "a.jpg", "A Figure"], ["2", "b.jpg", "Storm, at sea; evening"]]


def read(path, content, **options):
    path.write_bytes(content.encode())
    file = read_records(path, **options)
    return file.header.fields, list(checked_rows(file)), [problem.detail for problem in file.problems]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("default", ["\t", ","])
def test_delimiters_are_found(tmp_path, delimiter, default):
    expected = (ROWS[0], [(1, ROWS[1]), (2, ROWS[2])], [])
    lines = (delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in ROWS)
    content = "\n".join(lines) + "\n"
    assert read(tmp_path / "p.csv", content, default=default) == expected
    assert read(tmp_path / "p.csv", f"sep={delimiter}\r\n{content}") == expected
    assert read(tmp_path / "p.csv", f"\ufeff{content}", default=default) == expected
    assert read(tmp_path / "p.csv", content, delimiter=delimiter) == expected


def test_a_named_delimiter_a_single_column_and_columns_of_one_name(tmp_path):
    assert read(tmp_path / "p.csv", "a,b;c\n1,2;3\n", delimiter="semicolon")[0] == ["a,b", "c"]
    assert read(tmp_path / "p.csv", "a#b\n1#2\n", delimiter="#") == (["a", "b"], [(1, ["1", "2"])], [])
    assert read(tmp_path / "p.csv", "id;title\n") == (["id", "title"], [], [])
    assert read(tmp_path / "p.csv", "title\nStorm, at sea\n") == (["title"], [(1, ["Storm, at sea"])], [])
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
    _, found, problems = read(tmp_path / "p.csv", content)
    assert found == rows
    assert [problem[: len(detail)] for problem, detail in zip(problems, details, strict=True)] == details
