import json
from functools import partial
from types import SimpleNamespace

import datasets
import pandas as pd
import pytest
from PIL import Image
from release_builder import encoded

from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.collection import suggestions
from semart_hf.collection.own_format import Addition, open_catalogue
from semart_hf.collection.sources import DatasetRows, find_source, open_rows
from semart_hf.collection.suggestions import Answer, Suggester, identity_of


def coloured(colour):
    return encoded(Image.new("RGB", (8, 6), colour), "PNG")


@pytest.fixture
def rows():
    columns = {"text": ['a, "b"', None], "type": [1, -1], "year": [1653.0, None]}
    columns["image"] = [{"bytes": coloured("red"), "path": None}, None]
    features = {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "type": datasets.ClassLabel(names=["landscape", "portrait"]),
        "year": datasets.Value("float64"),
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_a_data_set_gives_its_cells_by_name_and_its_pictures(rows, tmp_path):
    catalogue = DatasetRows(tmp_path, rows)
    first, second = catalogue.rows()
    assert first.cells == {"text": 'a, "b"', "type": "portrait", "year": "1653"}
    assert second.cells == {"text": None, "type": None, "year": None}
    source = find_source(catalogue, ["type"])
    assert source[2:5] == (None, ("text",), {"type": "type"})
    painting, problem = source.painting(first)
    assert (painting["image"], painting["text"], problem) == (coloured("red"), 'a, "b"', None)
    with pytest.raises(ValueError, match="neither a picture nor a text"):
        source.painting(second)
    assert find_source(DatasetRows(tmp_path, rows), [], image_column="").painting(first)[0] == {"text": 'a, "b"'}
    assert catalogue.digest() == DatasetRows(tmp_path, rows).digest()
    assert catalogue.digest() != DatasetRows(tmp_path, rows.select([0])).digest()


@pytest.mark.parametrize(
    ("name", "read"),
    [("out.csv", pd.read_csv), ("out.jsonl", partial(pd.read_json, lines=True)), ("out.parquet", pd.read_parquet)],
)
def test_a_data_set_is_written_as_a_table_without_its_pictures(rows, tmp_path, name, read):
    output = tmp_path / name
    catalogue = DatasetRows(tmp_path, rows)
    additions = [Addition(["portrait"]), Addition(["landscape"], {"type": "landscape"})]
    catalogue.write(output, ["type_suggested"], additions)
    found = read(output)
    assert found["type"].tolist() == found["type_suggested"].tolist() == ["portrait", "landscape"]
    assert found["text"][0] == 'a, "b"'
    assert "image" not in found
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_folder_of_pictures_is_a_catalogue_with_the_texts_beside_them(tmp_path):
    with pytest.raises(ValueError, match=r"which does not exist\. Give a CSV"):
        open_rows(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match="neither a picture nor data"):
        open_rows(str(tmp_path))
    (tmp_path / "room").mkdir()
    for name in ("room/b.png", "a.png", "c.png"):
        (tmp_path / name).write_bytes(coloured("blue"))
    (tmp_path / "a.txt").write_text(" A harbour. ", encoding="utf-8")
    (tmp_path / "c.txt").write_bytes(b"PK\3\4" * 99)
    catalogue = open_rows(str(tmp_path))
    found = list(catalogue.rows())
    cells = [(row.cells["image_file"], row.cells["text"]) for row in found]
    assert cells == [("a.png", "A harbour."), ("c.png", None), ("room/b.png", None)]
    assert "cannot be read" in found[1].problem
    assert find_source(catalogue, ["type"]).painting(found[2])[0] == {"image": str(tmp_path / "room/b.png")}


@pytest.mark.parametrize(("name", "place"), [("a.png", "Images"), ("Images/a.png", "."), ("lost.png", "Images")])
def test_pictures_are_named_in_the_folder_images_or_beside_the_catalogue(tmp_path, name, place):
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images/a.png").write_bytes(coloured("blue"))
    (tmp_path / "museum.csv").write_text(f"image,text\n,A harbour.\n{name},\n", "utf-8")
    assert find_source(open_catalogue(tmp_path / "museum.csv"), []).images == tmp_path / place


MAPPING = {
    "columns": {
        "image_file": {"from": "Scan", "pattern": r"([^/]+)$"},
        "description": "{Title}. {Text}",
        "type": {"from": "Genre", "values": {"Portraits": "portrait"}},
        "school": "School",
    },
    "keep_rows": {"Kind": "Painting"},
}


def test_a_mapping_says_what_a_catalogue_s_cells_mean_and_its_own_cells_stay(tmp_path):
    path = tmp_path / "museum.csv"
    text = "Scan;Title;Text;Genre;School;Kind\nx/a.png;T;D;Portraits;;painting\n;T;D;;;Painting\n;T;D;;;Vase\n"
    path.write_text(text, "utf-8")
    (tmp_path / "a.png").write_bytes(coloured("blue"))
    catalogue, tasks = open_catalogue(path), ["type", "school"]
    source = find_source(catalogue, tasks, mapping=parse_mapping(MAPPING))
    assert source[2:5] == ("image_file", ("description",), {"type": "type", "school": "School"})
    assert [column for column in source.label_columns.values() if catalogue.holds_text(column)] == ["School"]
    first, second, third = source.rows()
    assert source.painting(first)[0] == {"image": str(tmp_path / "a.png"), "text": "T. D"}
    assert third.problem == "The mapping leaves this row out."
    answer = Answer({task: [{"label": "x", "score": 1.0}] for task in tasks}, "")
    suggester = Suggester(source, tasks, {"type": 0.5, "school": 0.5}, ["School"])
    known, new = (suggester.addition(answer, row) for row in (first, second))
    assert [addition.added[3::4] for addition in (known, new)] == [["known", "accepted"], ["accepted", "accepted"]]
    catalogue.write(tmp_path / "out.csv", ["new"], [Addition(["1"], known.filled), Addition(["2"]), Addition([""])])
    found = "Scan;Title;Text;Genre;School;Kind;new\nx/a.png;T;D;Portraits;x;painting;1\n;T;D;;;Painting;2\n"
    assert (tmp_path / "out.csv").read_text("utf-8").startswith(found)
    missing = {"columns": {"title": "Title", "type": {"from": "Genre", "missing": "Portraits"}}}
    source = find_source(catalogue, tasks, mapping=parse_mapping(missing))
    assert [source.cell(row, "type") for row in source.rows()] == [None] * 3  # what says nothing is no label
    assert find_source(catalogue, ["Genre", "kind"]).label_columns == {"Genre": "Genre", "kind": "Kind"}
    path.write_text("Scan;Title;Text;Genre;School;Kind;type_suggested\na.png;T;D;;;painting;portrait\n", "utf-8")
    found = {"catalogue": open_catalogue(path), "tasks": ["type"], "mapping": parse_mapping(MAPPING)}
    with pytest.raises(ValueError, match="has the column 'type_suggested' already"):
        find_source(**found)
    assert find_source(**found, has_suggestions=True).image_column == "image_file"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_mapping_meets_odd_rows_and_columns_folders_and_links_that_are_named_instead(tmp_path, name, monkeypatch):
    (tmp_path / "Photos").mkdir()
    (tmp_path / "b.png").write_bytes(coloured("blue"))
    (tmp_path / "Photos" / "a.png").symlink_to(tmp_path / "b.png")
    line = {"Scan": "a.png", "Title": "T", "Text": "D", "Genre": "Portraits", "School": "", "Kind": "painting"}
    table = "\n".join([",".join(line), ",".join(line.values()), "bad"])
    (tmp_path / name).write_text(table if name == "a.csv" else json.dumps(line) + '\n{"Title": "T"}', "utf-8")
    absent = {"date": {"from": "Year", "optional": True}, "title": {"from": "{Year} {Place}", "optional": True}}
    content = {**MAPPING, "columns": MAPPING["columns"] | absent, "images": "Photos"}
    given = {"catalogue": open_catalogue(tmp_path / name), "tasks": ["type"], "mapping": parse_mapping(content)}
    source = find_source(**given, follow_links=True, text_columns=["Title"])
    first, second = source.rows()
    assert source.painting(first) == ({"image": str(tmp_path / "Photos" / "a.png"), "text": "T"}, None)
    assert second.problem.startswith("Line 3 has 1 cells" if name == "a.csv" else "The mapping leaves")
    assert "--follow_links" in find_source(**given).painting(first)[1]
    monkeypatch.setattr(suggestions, "digest_of_weights", str)
    model = SimpleNamespace(config=SimpleNamespace(to_dict=dict))
    other = source._replace(mapping=parse_mapping({**content, "keep_rows": {}}))
    assert identity_of(source, model) != identity_of(other, model)


def test_data_with_a_column_split_of_their_own_keep_it(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a"], "split": ["own"]})
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert [row.cells["split"] for row in open_rows(str(tmp_path)).rows()] == ["own"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joins": [{"file": "b.csv", "by": "id", "columns": {"x": "y"}}]}, r"Got a mapping that joins b\.csv"),
        ({"columns": {"type": "Kind of work"}}, r"Got a mapping that reads \['Kind of work'\]"),
        ({"columns": {"type": "{Scan} {Place}"}, "keep_rows": {"Wing": "1"}}, r"reads \['Wing', 'Place'\]"),
    ],
)
def test_a_mapping_of_other_files_is_refused(change, message):
    catalogue = SimpleNamespace(path="museum.csv", columns=["Scan", "Title", "Text", "Genre", "School", "Kind"])
    with pytest.raises(ValueError, match=message):
        find_source(catalogue, [], mapping=parse_mapping({**MAPPING, **change}))
