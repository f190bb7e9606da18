import pytest

from semart_hf.catalogue.mapping import load_mapping, normal, parse_mapping

SMALL = {"columns": {"image_file": "file", "type": "kind"}, "splits": {"shares": {"train": 1.0}}}


@pytest.mark.parametrize("name", ["met", "nga", "wikiart"])
def test_the_mappings_beside_the_scripts_lead_to_the_official_labels(name):
    mapping = load_mapping(name)
    types = {"religious", "portrait", "landscape", "mythological", "genre", "still-life", "historical", "other"}
    assert set(mapping.columns["type"].values.values()) <= types | {"interior", "study"}
    assert {"Italian", "Dutch", "French", "English"} <= set(mapping.columns["school"].values.values())
    assert mapping.columns["timeframe"].half_century


def test_values_are_compared_without_case_and_an_unreadable_mapping_names_its_file(tmp_path):
    assert normal(" Still_Life ") == normal("still-life") == "still life"
    columns = parse_mapping({"columns": {"type": {"from": "a", "values": {"Still_Life": "x", 1: "y"}}}}).columns
    assert columns["type"].values == {"still life": "x", "1": "y"}
    (tmp_path / "m.yaml").write_text("columns: [")
    with pytest.raises(ValueError, match=r"m\.yaml, which is no YAML"):
        load_mapping(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("columns: {kind: a}")
    with pytest.raises(ValueError, match=r"In the mapping .*m\.yaml: Got columns with the unknown key 'kind'"):
        load_mapping(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colums": {}}, r"unknown key 'colums', but its keys are \['about'"),
        ({"columns": None}, r"Got columns = None, but it is a section"),
        ({"columns": {"title": "a"}}, r"none of \['type'.* is among them, nor technique"),
        ({"tasks": "style"}, r"Got tasks: style\. Allowed is a list"),
        ({"tasks": [{"name": "age", "column": "date", "rule": "century"}]}, r"from 'date', .* Add date to col"),
        ({"columns": {"type": {"values": {}}}}, r"Got columns\.type with no 'from'"),
        ({"columns": {"type": {"from": "a", "values": ["b"]}}}, r"Got columns\.type\.values = \['b'\]"),
        ({"columns": {"type": {"from": "a", "values": {"b": 1}}}}, r"columns\.type\.values\.b = 1, but it is a text"),
        ({"columns": {"type": {"from": "a", "values": {False: "b"}}}}, r"values with the key False, .*in quotes"),
        ({"columns": {"type": {"from": "a", "to": "b"}}}, r"columns\.type with the unknown key 'to', but .*'values'"),
        ({"columns": {"type": {"from": "a", "other": "keep"}}}, r"Got columns\.type with no 'values'"),
        ({"columns": {"type": {"from": "a", "as": "half_century", "separator": "/"}}}, r"unknown key 'separator'"),
        ({"columns": {"type": {"from": "a", "pattern": "("}}}, r"columns\.type\.pattern = '\(', which is no regular"),
        ({"columns": {"type": {"from": "a", "pattern": "a"}}}, r"columns\.type\.pattern = 'a', but it has one group"),
        ({"columns": {"type": "{a"}}, r"columns\.type = '\{a', but it is text with column names in braces"),
        ({"columns": {"type": []}}, r"Got columns\.type without an entry"),
        ({"files": {"dev": "a.csv"}}, r"Got files with the unknown key 'dev'"),
        ({"format": "xlsx"}, r"Got format = 'xlsx', but it is one of \['csv'"),
        ({"joins": {}}, r"Got joins with no 'file'"),
        ({"joins": [{"file": "a.csv"}]}, r"Got joins\.0 with no 'by'"),
        ({"joins": [{"file": "a", "by": {"a": "b", "c": "d"}, "columns": {}}]}, r"Got joins\.0\.by .* by one column"),
        ({"splits": {}}, r"Got splits with \[\]\. Allowed is column"),
        ({"splits": {"shares": {"train": 1.0}, "by": "title"}}, r"Got splits\.by = 'title'.*\['author'\]"),
        ({"splits": {"column": "a", "by": "author"}}, r"Got splits with \['column', 'by'\]"),
        ({"splits": {"shares": {"train": 0.5}}}, r"Got the shares \{'train': 0\.5\}"),
        ({"splits": {"shares": {"train": 1.5, "test": -0.5}}}, r"Got the shares .* positive fractions .* Write for"),
        ({"splits": {"shares": {"train": "a"}}}, r"Got the shares \{'train': 'a'\}"),
    ],
)
def test_malformed_mappings_name_the_key(change, message):
    with pytest.raises(ValueError, match=message):
        parse_mapping(SMALL | change)
