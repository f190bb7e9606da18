import shutil
from pathlib import Path

import datasets
import pytest
from release_builder import write_plain_release

from semart_hf.data.loading import load_paintings


def write_splits(folder: Path, **splits: datasets.Dataset) -> Path:
    (folder / "data").mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_plain_release(tmp_path_factory.mktemp("loading") / "release", num_val=0, num_test=3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, release):
    splits = load_paintings(release, min_label_count=2)
    without_text = {name: split.remove_columns("text") for name, split in splits.items()}
    return write_splits(tmp_path_factory.mktemp("loading") / "prepared", **without_text)


@pytest.fixture(params=["release", "prepared"])
def source(request):
    return request.getfixturevalue(request.param)


def test_labels_are_numbered_as_in_the_model_and_text_follows_the_template(source, tmp_path):
    tasks = [{"name": "school", "labels": ["French", "UNK"]}]
    tasks += [{"name": "type", "labels": ["portrait", "still-life", "landscape"]}]
    splits = load_paintings(source, tasks=tasks, min_label_count=2, cache_dir=tmp_path)
    assert splits["train"].features["school"] == datasets.ClassLabel(names=["French", "UNK"])
    assert set(splits["train"]["school"]) == {1}
    assert splits["test"]["school"] == [1, 1, 1]
    assert splits["test"]["type"] == [2, 0, 2]
    assert splits["train"].column_names[-3:] == ["type", "school", "text"]
    with pytest.raises(ValueError, match=r"type labels \['landscape', 'portrait'\].*knows \['study'\]"):
        load_paintings(source, tasks=[{"name": "type", "labels": ["study"]}], cache_dir=tmp_path)
    splits = load_paintings(source, text_columns="{TITLE} by {AUTHOR}. {DESCRIPTION}", cache_dir=tmp_path)
    assert splits["train"]["text"][3] == "Portrait train-3.jpg by HALS, Frans. This is train-3.jpg."
    assert load_paintings(source, cache_dir=tmp_path)["test"]["text"][2] == "This is test-2.jpg."


def test_descriptions_are_not_held_twice_and_only_the_wanted_splits_are_read(prepared, tmp_path, release):
    split = load_paintings(prepared, cache_dir=tmp_path)["train"]
    texts, descriptions = (split.data.column(name).chunk(0).buffers()[-1] for name in ("text", "description"))
    assert texts.address == descriptions.address
    again = load_paintings(prepared, cache_dir=tmp_path)["train"]
    assert again._fingerprint == split._fingerprint  # what `map` makes of the rows is found again
    assert split[3]["text"] == split[3]["description"] == "This is train-3.jpg."
    moved = shutil.copytree(prepared, tmp_path / "a [b] *")
    assert load_paintings(moved, cache_dir=tmp_path)["train"].num_rows == len(split)
    for source in (release, prepared, moved):
        splits = load_paintings(source, min_label_count=2, only=["validation", "test"], cache_dir=tmp_path)
        assert list(splits) == ["test"]
        assert splits["test"]["title"] == [f"Portrait test-{index}.jpg" for index in range(3)]
    assert load_paintings(prepared, only=["validation"], cache_dir=tmp_path) == {}


def test_an_empty_description_is_no_text_and_text_of_the_preparation_stays(prepared, tmp_path):
    rows = datasets.load_dataset(str(prepared), split="test", cache_dir=str(tmp_path))
    blank = rows.remove_columns("description").add_column("description", ["a", "", "c"])
    masked = rows.add_column("text", ["[MASK]", None, "[MASK]."])
    splits = load_paintings(write_splits(tmp_path / "made", train=blank), cache_dir=tmp_path)
    assert splits["train"]["text"][:] == ["a", None, "c"]
    splits = load_paintings(write_splits(tmp_path / "masked", test=masked), cache_dir=tmp_path)
    assert splits["test"]["text"][:] == ["[MASK]", None, "[MASK]."]


def test_no_paintings_at_the_address_or_no_column_of_the_models_labels(tmp_path):
    for name in ("/nowhere/at/all", "./nowhere", "a/b/c", "file:///nowhere"):
        with pytest.raises(ValueError, match=r"with nothing, but paintings lie in a release .*Correct the address"):
            load_paintings(name)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"with \['notes.txt'\], but paintings lie in a release"):
        load_paintings(tmp_path)
    write_splits(tmp_path, train=datasets.Dataset.from_dict({"picture": ["a"]}))
    tasks = [{"name": "style", "labels": [], "column": "wing"}]
    with pytest.raises(ValueError, match=r"but the model's task style has its labels in 'wing'. Add the column"):
        load_paintings(tmp_path, cache_dir=tmp_path / "cache", tasks=tasks)


def test_a_folder_of_shards_by_other_names_is_read_as_the_library_reads_it(prepared, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copy(prepared / "data" / "test-00000-of-00001.parquet", tmp_path / "data" / "train.parquet")
    loaded = load_paintings(tmp_path, cache_dir=tmp_path / "cache")
    assert loaded["train"]["text"][2] == "This is test-2.jpg."
