import csv
import json

import datasets
import pytest

from semart_hf.evaluation.vocabularies import load_split, masked_texts, read_label_map

SCHOOLS = ["Italian"] * 12 + ["Korean"] * 11 + ["Greek"] * 2 + [""]
TASKS = [{"name": "type", "labels": ["portrait", "UNK"]}, {"name": "school", "labels": ["Dutch", "Italian", "UNK"]}]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    with (folder / "semart_test.csv").open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(["IMAGE_FILE", "DESCRIPTION", "TYPE", "SCHOOL", "TIMEFRAME"])
        writer.writerows(["", "A view", "portrait", school, "1501-1550"] for school in SCHOOLS)
    return folder


def schools_of(release, **options):
    return list(load_split("no folder", release, "test", TASKS, **options)["school"])


def test_labels_that_differ_and_a_split_that_is_not_there_are_named(release):
    with pytest.raises(ValueError, match=r"labels \['Korean'\].*\['Dutch', 'Italian', 'UNK'\].*--common_labels"):
        load_split("no folder", release, "test", TASKS)
    with pytest.raises(ValueError, match=r"the split 'train'.*\['test'\]"):
        load_split("no folder", release, "train", TASKS)


def test_a_map_makes_them_the_models_and_common_labels_leave_the_others_out(release):
    # Greek is rare: the model's UNK.
    mapped = schools_of(release, label_map={"school": {"Korean": "Dutch"}})
    assert mapped == [1] * 12 + [0] * 11 + [2] * 2 + [None]
    assert schools_of(release, label_map={"school": {"Korean": None}}) == [1] * 12 + [None] * 11 + [2] * 2 + [None]
    assert schools_of(release, common_labels=True) == [1] * 12 + [None] * 14
    paintings = load_split("no folder", release, "test", TASKS, common_labels=True)
    assert paintings.features["school"].names == ["Dutch", "Italian", "UNK"]
    assert paintings["text"][0] == "A view"
    assert "medium" not in paintings.column_names


def test_texts_are_masked_by_each_task_of_the_model_and_each_of_several_labels(tmp_path):
    rows = [["", "Moser, not Klimt: Jugendstil", author, "Jugendstil"] for author in ("MOSER, Koloman", "")]
    with (tmp_path / "semart_test.csv").open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["IMAGE_FILE", "DESCRIPTION", "AUTHOR", "STYLE", "TYPE", "SCHOOL", "TIMEFRAME"])
        writer.writerows([*row, "", "", ""] for row in rows)
    tasks = [{"name": "author", "labels": ["KLIMT, Gustav", "UNK"]}, {"name": "style", "labels": ["Gothic", "UNK"]}]
    paintings = load_split("no folder", tmp_path, "test", tasks, common_labels=True, with_masked_text=True)
    # The labels are those of the data: what the model has as UNK is named as well.
    assert paintings["text_masked"] == ["[MASK], not Klimt: [MASK]", "Moser, not Klimt: [MASK]"]
    assert paintings["text"][0] == rows[0][1]
    alone = load_split("no folder", tmp_path, "test", tasks[1:], common_labels=True, with_masked_text=True)
    assert alone["text_masked"] == paintings["text_masked"]  # a painter's name gives other labels away
    rows = {"text": ["a windmill among trees", "a windmill"], "tags": ["trees; windmill", None], "author": ["", ""]}
    tasks = [{"name": "tags", "kind": "multi_label", "separator": ";", "labels": ["trees", "windmill"]}]
    masked = list(masked_texts(datasets.Dataset.from_dict(rows), tasks))
    assert masked == ["a [MASK] among [MASK]", "a windmill"]


def test_bad_maps(release, tmp_path):
    with pytest.raises(ValueError, match=r"from the school labels \['Martian'\]"):
        schools_of(release, label_map={"school": {"Martian": "Dutch"}})
    with pytest.raises(ValueError, match=r"to the school labels \['Flemish'\].*Allowed are \['Dutch'"):
        schools_of(release, label_map={"school": {"Korean": "Flemish"}})
    with pytest.raises(ValueError, match=r"map of \['scool'\]. The model's tasks are \['type', 'school'"):
        schools_of(release, label_map={"scool": {"Korean": None}})
    path = tmp_path / "map.json"
    for content in ('{"school": ["Korean"]}', '{"school": {"Korean": 1}}', "[]", "{", '{"school": {"Tschüß": null}}'):
        path.write_text(content, encoding="cp1252")
        with pytest.raises(ValueError, match="no JSON that maps labels by task"):
            read_label_map(path)
    path.write_text(json.dumps({"school": {"Korean": None}}), encoding="utf-8-sig")
    assert read_label_map(path) == {"school": {"Korean": None}}


def test_what_is_rare_in_train_is_no_disagreement(release, tmp_path):
    # Korean is frequent in test alone: train, which the labels are learned from, has too few of it.
    (tmp_path / "semart_test.csv").write_bytes((release / "semart_test.csv").read_bytes())
    header, *rows = (release / "semart_test.csv").read_text(encoding="cp1252").splitlines()
    few = [row for row in rows if "Korean" not in row] * 3 + [row for row in rows if "Korean" in row][:9]
    (tmp_path / "semart_train.csv").write_text("\n".join([header, *few]) + "\n", encoding="cp1252")
    assert list(load_split("no folder", tmp_path, "test", TASKS)["school"]) == [1] * 12 + [2] * 13 + [None]
