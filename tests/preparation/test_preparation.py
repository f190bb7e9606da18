import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from release_builder import contents, encoded, painting, problems_of, row, write_plain_release, write_release

from semart_hf.catalogue.catalogue import read_catalogue, read_rows
from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.catalogue.schema import read_tasks
from semart_hf.catalogue.tables import typed_splits
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_paintings, load_splits
from semart_hf.documents.data_report import write_dataset_card
from semart_hf.preparation.preparation import prepare_paintings
from semart_hf.preparation.shards import Preparation, PreparationOptions

COLUMNS = ["image", "image_file", "description", "author", "title", "technique", "date"]
COLUMNS += ["type", "school", "timeframe", "medium"]
SMALL = PreparationOptions(image_size=48, min_label_count=2, rows_per_shard=5)


def prepare(release: Path, output: Path, options: PreparationOptions = SMALL, **arguments) -> dict:
    return prepare_paintings(read_rows(release), output, options, **{"num_proc": 1, **arguments})


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_plain_release(tmp_path_factory.mktemp("preparation") / "release")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, release):
    output = tmp_path_factory.mktemp("preparation") / "prepared"
    prepare(release, output)
    return output


def test_a_folder_of_shards_problems_and_summary_names_no_place_on_this_machine(prepared, release):
    shards = {"test": 1, "train": 3, "validation": 1}
    names = [f"data/{split}-{n:05}-of-{number:05}.parquet" for split, number in shards.items() for n in range(number)]
    assert sorted(contents(prepared)) == [*names, "problems.jsonl", "summary.json"]
    assert problems_of(prepared) == []
    summary = json.loads((prepared / "summary.json").read_text())
    everything = {"dropped": 0, "with_picture": 12, "with_description": 12}
    assert summary["rows"]["train"] == {"read": 12, "kept": 12, **everything}
    assert summary["labels"]["type"]["train"] == {"landscape": 6, "portrait": 6, "UNK": 0, "unknown": 0}
    for path in prepared.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(release).encode() not in content, path
            assert str(release.parent.parent).encode() not in content, path


def test_load_dataset_opens_it_and_pictures_lie_uncompressed(prepared, tmp_path):
    splits = datasets.load_dataset(str(prepared), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "validation": 3, "test": 5}
    assert splits["train"].column_names == COLUMNS
    assert splits["train"].features["type"] == datasets.ClassLabel(names=["landscape", "portrait", "UNK"])
    first = splits["train"][0]
    assert (first["image"].mode, first["image"].size) == ("RGB", (48, 64))
    assert first["description"] == "This is train-0.jpg."
    stream = datasets.load_dataset(str(prepared), split="train", streaming=True)
    assert list(stream.features) == COLUMNS
    for rows in (splits["train"], stream):
        assert [row["image_file"] for row in rows] == [f"train-{index}.jpg" for index in range(12)]
    file = pq.ParquetFile(prepared / "data" / "test-00000-of-00001.parquet")
    assert file.read()["image"][0].as_py()["path"] == "test-0.jpg"
    assert file.metadata.row_group(0).column(0).compression == "UNCOMPRESSED"
    assert file.metadata.row_group(0).column(2).compression == "ZSTD"


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_rows_are_those_of_the_release(prepared, release, tmp_path, address):
    expected = typed_splits(read_rows(release), min_label_count=2)
    found = load_paintings(address.format(prepared), cache_dir=tmp_path)
    assert list(found) == list(expected) == ["train", "validation", "test"]
    for split in expected:
        assert found[split].features == expected[split].features
        names = [name for name in expected[split].column_names if name != "image"]
        assert found[split].select_columns(names).to_list() == expected[split].select_columns(names).to_list()
    small = expected["train"][3]["image"].resize((48, 64))
    difference = np.asarray(found["train"][3]["image"], float) - np.asarray(small, float)
    assert np.abs(difference).mean() < 6


def test_a_finished_folder_is_left_alone_and_the_same_by_any_process(prepared, release, caplog, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    summary = prepare(release, prepared)
    assert summary == json.loads((prepared / "summary.json").read_text())
    assert before == {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert "nothing to do" in caplog.text
    with pytest.raises(ValueError, match=r"where something else lies.*Remove what is there, or choose another"):
        prepare(release, prepared, PreparationOptions(image_size=32))
    prepare(release, tmp_path / "again", num_proc=3, strict=True)
    assert contents(tmp_path / "again") == contents(prepared)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("encoding", "kind"), [("png", "PNG"), ("webp", "WEBP")])
def test_other_encodings_and_a_template_in_a_folder_that_is_empty(release, tmp_path, encoding, kind):
    (tmp_path / "out").mkdir()
    prepare(release, tmp_path / "out", PreparationOptions(48, encoding=encoding, text_columns="{TITLE}, {DATE}"))
    first = load_paintings(tmp_path / "out", cache_dir=tmp_path)["test"][0]
    assert (first["image"].format, first["text"]) == (kind, "Portrait test-0.jpg, 1630")


def test_words_that_name_labels_are_masked_and_counted_and_further_columns_kept(tmp_path):
    texts = ["A Dutch portrait of 1630 by Hals.", "A man in a hat.", ""]
    rows = [row(f"{n}.jpg", description=text, gallery="Room 1", URL="") for n, text in enumerate(texts)]
    pictures = {f"{index}.jpg": encoded(painting(index)) for index in range(3)}
    release = write_release(tmp_path / "release", {"train": rows}, pictures)
    summary = prepare(release, tmp_path / "out", PreparationOptions(image_size=48, mask_label_words=True))
    split = load_paintings(tmp_path / "out", text_columns=["DESCRIPTION"], cache_dir=tmp_path)["train"]
    assert split["text"] == ["A [MASK] [MASK] of [MASK] by [MASK].", "A man in a hat.", None]
    assert split["description"][0] == "A Dutch portrait of 1630 by Hals."
    assert [name for name in split.column_names if name != "text"] == [*COLUMNS, "gallery", "url"]
    assert (split["gallery"][0], split["url"][0]) == ("Room 1", None)
    counts = {"texts": 2, "type": 1, "school": 1, "medium": 0, "year": 1, "century": 0, "author": 1}
    assert summary["named_labels"]["train"] == counts


def test_findings_of_every_kind(tmp_path):
    pictures = {f"{index}.jpg": encoded(painting(index)) for index in range(8)}
    pictures["copy.jpg"] = pictures["0.jpg"]
    pictures["small.jpg"] = encoded(painting(1).resize((40, 54)), quality=60)
    train = [*[row(f"{index}.jpg") for index in range(8)], row("copy.jpg", description=""), row("absent.jpg")]
    train += [row("gone.jpg", description=""), row("2.jpg"), row("../semart_train.csv"), row("")]
    test = [row("small.jpg", school="Atlantean", description="This is  3.JPG."), row("/etc/passwd")]
    release = write_release(tmp_path / "release", {"train": train, "test": test}, pictures)
    summary = prepare(release, tmp_path / "out")
    columns = ("split", "row", "image_file", "problem", "action")
    assert [tuple(problem[name] for name in columns) for problem in problems_of(tmp_path / "out")] == [
        ("train", 9, "copy.jpg", "empty_description", "kept as picture"),
        ("train", 9, "copy.jpg", "same_picture", "kept"),
        ("train", 10, "absent.jpg", "missing_picture", "kept as text"),
        ("train", 11, "gone.jpg", "empty_description", "dropped"),
        ("train", 11, "gone.jpg", "missing_picture", "dropped"),
        ("train", 12, "2.jpg", "same_picture", "kept"),
        ("train", 13, "../semart_train.csv", "unsafe_name", "kept as text"),
        ("train", 14, None, "unnamed_picture", "kept as text"),
        ("test", 1, "small.jpg", "leaked_description", "kept"),
        ("test", 1, "small.jpg", "leaked_picture", "kept"),
        ("test", 1, "small.jpg", "unseen_label", "kept, as UNK"),
        ("test", 2, "/etc/passwd", "unsafe_name", "kept as text"),
    ]
    numbers = {"read": 14, "kept": 13, "dropped": 1, "with_picture": 10, "with_description": 12}
    assert summary["rows"]["train"] == numbers
    assert summary["problems"]["missing_picture"] == {"train": 2}
    assert summary["problems"]["unsafe_name"] == {"train": 1, "test": 1}
    details = {problem["problem"]: problem["detail"] for problem in problems_of(tmp_path / "out")}
    assert details["same_picture"] == "its file has the same content as that of train row 3 (2.jpg)"
    assert details["unseen_label"] == "train never has the school 'Atlantean'"
    assert details["leaked_picture"].startswith("has the picture of train row 2 (1.jpg); ")
    split = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert split[9]["image_file"] == "absent.jpg"
    assert split[9]["image"] is None
    assert len(split) == 13


def test_strict_refuses_dropped_rows(tmp_path):
    rows = [row("0.jpg"), row("gone.jpg", description=""), row("absent.jpg")]
    release = write_release(tmp_path / "release", {"train": rows}, {"0.jpg": encoded(painting(0))})
    with pytest.raises(ValueError, match=r"1 rows that would be dropped.*\n  train row 2 \(gone.jpg\): there is no f"):
        prepare(release, tmp_path / "out", strict=True, min_pictures=0)
    assert not (tmp_path / "out").exists()
    summary = prepare(release, tmp_path / "out", min_pictures=0)  # continues
    assert summary["rows"]["train"]["dropped"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "release"]


def test_a_split_of_which_nothing_is_left_is_left_out_and_a_catalogue_refused(tmp_path):
    release = write_release(tmp_path / "none", {"train": [row("gone.jpg", description="")]}, {})
    with pytest.raises(ValueError, match=r"catalogue of 1 rows, none of which has a usable picture or a text"):
        prepare(release, tmp_path / "out", min_pictures=0)
    assert not (tmp_path / "out").exists()
    rows = {"train": [row("0.jpg")], "test": [row("gone.jpg", description="")]}
    release = write_release(tmp_path / "release", rows, {"0.jpg": encoded(painting(0))})
    summary = prepare(release, tmp_path / "out")
    assert summary["rows"]["test"]["dropped"] == 1
    assert list(datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))) == ["train"]


def test_a_catalogue_without_its_pictures_stops_before_anything_is_written(tmp_path):
    rows = [row(f"{index}.jpg") for index in range(5)]
    pictures = {f"{index}.png": encoded(painting(index)) for index in range(5)}
    release = write_release(tmp_path / "release", {"train": rows}, pictures)
    message = r"0 readable pictures for 5 rows.*\n  train row 1: there is no file 0.jpg, but 0.png\n  train row 2"
    with pytest.raises(ValueError, match=message):
        prepare(release, tmp_path / "out")
    (release / "Images").rename(release / "images")
    with pytest.raises(ValueError, match="there is no folder Images, but 'images' beside it has pictures"):
        prepare(release, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]
    assert prepare(release, tmp_path / "out", min_pictures=0)["rows"]["train"]["with_picture"] == 0
    pictures = {f"{index}.jpg": encoded(painting(index)) if index < 2 else b"<html>" for index in range(5)}
    release = write_release(tmp_path / "broken", {"train": rows}, pictures)
    with pytest.raises(ValueError, match=r"2 readable pictures for 5 rows.*\n  train row 3 \(2.jpg\): a web page"):
        prepare(release, tmp_path / "some")
    assert prepare(release, tmp_path / "some", min_pictures=0.4)["rows"]["train"]["with_picture"] == 2


@pytest.mark.parametrize(("name", "value"), [("image_size", 8), ("encoding", "bmp"), ("rows_per_shard", 0)])
def test_options_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf"{name}={value!r}, but (16 is the least|1 is the least|it is one of)"):
        PreparationOptions(**{name: value})


def test_real_paintings(shared_data, tmp_path):
    summary = prepare(shared_data / "open_paintings", tmp_path / "out", PreparationOptions(image_size=64))
    numbers = {"read": 257, "kept": 257, "dropped": 0, "with_picture": 257, "with_description": 23}
    assert summary["rows"]["train"] == numbers
    leaks = [one for one in problems_of(tmp_path / "out") if one["problem"] == "leaked_picture"]
    rows = {one["image_file"]: one["detail"].split(" (")[0].removeprefix("has the picture of ") for one in leaks}
    assert rows == {"dads7202-0506.jpg": "train row 147", "jules-0098.jpg": "train row 245"}


def test_the_official_validation_file_alone(shared_data, tmp_path, caplog):
    summary = prepare(shared_data / "semart", tmp_path / "out", PreparationOptions(image_size=64), min_pictures=0)
    assert "There is no train split: labels are learned from ['validation']" in caplog.text
    assert list(summary["rows"]) == ["validation"]
    assert summary["rows"]["validation"]["kept"] == 1069
    assert summary["rows"]["validation"]["with_picture"] == 1
    assert summary["problems"]["missing_picture"] == {"validation": 1068}


def test_a_finding_of_a_split_by_another_name_is_reported(tmp_path):
    for split in ("train", "val"):
        folder = tmp_path / "source" / split
        folder.mkdir(parents=True)
        lines = "".join(f"{n}.jpg,genre\n" for n in range(3))
        (folder / "metadata.csv").write_text(f"file_name,kind\n{lines}{'x,y,z' if split == 'val' else ''}\n")
        for n in range(3):
            (folder / f"{n}.jpg").write_bytes(encoded(painting(n)))
    mapping = parse_mapping({"format": "imagefolder", "columns": {"image_file": "file_name", "type": "kind"}})
    tables = read_catalogue(tmp_path / "source", mapping)
    counts = prepare_paintings(tables, tmp_path / "out", SMALL, num_proc=1)["rows"]["validation"]
    assert (counts["read"], counts["dropped"]) == (4, 1)
    both = datasets.concatenate_datasets([*tables.splits.values()])  # the same rows, of which one has another split
    parts = ({"train": both.take(place), "test": both.skip(place)} for place in (3, 4))
    assert len({Preparation(replace(tables, splits=part), SMALL).key() for part in parts}) == 2


def test_other_tasks_are_declared_counted_and_learned_from_the_folder(small_release, tmp_path):
    entries = ["type", "author", {"name": "century", "column": "date", "rule": "century"}]
    tables = read_rows(small_release, tasks=read_tasks(entries))
    summary = prepare_paintings(tables, tmp_path / "out", PreparationOptions(image_size=32, min_label_count=3))
    declared = [{"name": "type"}, {"name": "author"}, entries[2]]
    assert summary["tasks"] == [declared[0], *(one | {"min_label_count": 3} for one in declared[1:])]
    train = tables.splits["train"]
    authors = Counter(train["author"])
    counts = summary["labels"]["author"]["train"]
    frequent = {author: count for author, count in authors.items() if count >= 3}
    assert {label: count for label, count in counts.items() if label not in ("UNK", "unknown")} == frequent
    assert counts["UNK"] == authors.total() - sum(frequent.values()) > 0
    splits = load_splits(DataArguments(data=str(tmp_path / "out")))  # no tasks: those of the folder
    assert [task["name"] for task in splits.tasks] == ["type", "author", "century"]
    assert [task["labels"] for task in splits.tasks] == [[*one["train"]][:-1] for one in summary["labels"].values()]
    (author,) = load_splits(DataArguments(data=str(tmp_path / "out"), tasks=["author"], min_label_count=70)).tasks
    assert author["labels"] == splits.tasks[1]["labels"]  # named, it is read as the folder declares it
    features = datasets.Features(splits["train"].features)
    assert features["author"] == features["school"] == datasets.Value("string")
    with pytest.raises(ValueError, match=r"Got the task style with labels in the column 'style', but the columns"):
        read_rows(small_release, tasks=read_tasks(["type", "style"]))
    card = write_dataset_card(tmp_path / "out").read_text()
    assert "# Paintings with type, author and century" in card
    assert "numbered as below (`author`: in words)" in card


def test_texts_with_the_answer_are_noticed(tmp_path, caplog):
    rows = [row("", author=author, description=f"By {author[:4].title()}.") for author in ("HALS, F", "STEE")]
    release = write_release(tmp_path / "release", {"train": rows}, {})
    tables = read_rows(release, tasks=read_tasks(["author", "school"]))
    options = PreparationOptions(min_label_count=1, text_columns="{DESCRIPTION} {AUTHOR}", mask_label_words=True)
    summary = prepare_paintings(tables, tmp_path / "out", options, num_proc=1)
    assert "which has the answer of author: a model reads it there" in caplog.text
    assert summary["named_labels"]["train"]["author"] == 2
    split = load_paintings(tmp_path / "out", cache_dir=tmp_path)["train"]
    assert split["text"] == ["By [MASK]. [MASK], F", "By [MASK]. [MASK]"]
    caplog.clear()
    load_splits(DataArguments(data=str(release), modality="text", text_columns=["TECHNIQUE"], min_label_count=1))
    assert "has the answer of medium:" in caplog.text
