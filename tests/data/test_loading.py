from pathlib import Path

import datasets
import pytest
from release_builder import encoded, painting, row, write_release

from semart_hf.data.loading import load_paintings


def write_small_release(folder: Path) -> Path:
    """Twelve paintings to train and three to test, which are of a school that train never has."""
    splits, pictures = {}, {}
    for split, number, school in (("train", 12, "Dutch"), ("test", 3, "Atlantean")):
        splits[split] = [
            row(
                f"{split}-{index}.png",
                description=f"Picture {index}.",
                author="A. Painter",
                title=f"No. {index}",
                type="portrait" if index % 2 else "landscape",
                school=school,
            )
            for index in range(number)
        ]
        pictures |= {cells["IMAGE_FILE"]: encoded(painting(1, (40, 50)), "PNG") for cells in splits[split]}
    return write_release(folder, splits, pictures)


def write_prepared(folder: Path, release: Path) -> Path:
    """A folder with the splits as Parquet files, without the column `text`."""
    (folder / "data").mkdir(parents=True)
    for name, split in load_paintings(release, min_label_count=2).items():
        split.remove_columns("text").to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_small_release(tmp_path_factory.mktemp("loading") / "release")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, release):
    return write_prepared(tmp_path_factory.mktemp("loading") / "prepared", release)


@pytest.fixture(params=["release", "prepared"])
def source(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_release_and_prepared_folder_have_the_same_columns_and_rows(release, prepared, tmp_path, address):
    from_release = load_paintings(release, min_label_count=2)
    from_prepared = load_paintings(address.format(prepared), cache_dir=tmp_path)
    assert list(from_prepared) == list(from_release) == ["train", "test"]
    for split in from_release:
        assert from_prepared[split].features == from_release[split].features
        names = [name for name in from_release[split].column_names if name != "image"]
        assert (
            from_prepared[split].select_columns(names).to_list() == from_release[split].select_columns(names).to_list()
        )
        assert from_prepared[split][0]["image"].size == (40, 50)


def test_labels_are_numbered_as_in_the_model(source, tmp_path):
    tasks = [
        {"name": "school", "labels": ["French", "Dutch", "UNK"]},
        {"name": "type", "labels": ["portrait", "still-life", "landscape"]},
    ]
    splits = load_paintings(source, tasks=tasks, min_label_count=2, cache_dir=tmp_path)
    assert splits["train"].features["school"] == datasets.ClassLabel(names=["French", "Dutch", "UNK"])
    assert set(splits["train"]["school"]) == {1}
    assert splits["test"]["school"] == [2, 2, 2]
    assert splits["test"]["type"] == [2, 0, 2]
    assert splits["train"].column_names[-3:] == ["type", "school", "text"]


def test_labels_that_a_model_without_unk_does_not_know_are_listed(source, tmp_path):
    with pytest.raises(ValueError, match=r"type labels \['landscape', 'portrait'\].*knows \['study'\].*no 'UNK'"):
        load_paintings(source, tasks=[{"name": "type", "labels": ["study"]}], cache_dir=tmp_path)


def test_text_follows_the_template_or_is_the_description(source, tmp_path):
    splits = load_paintings(source, text_columns="{TITLE} by {AUTHOR}. {DESCRIPTION}", cache_dir=tmp_path)
    assert splits["train"]["text"][3] == "No. 3 by A. Painter. Picture 3."
    assert load_paintings(source, cache_dir=tmp_path)["test"]["text"] == [f"Picture {index}." for index in range(3)]


def test_descriptions_are_not_held_twice_as_text(prepared, tmp_path):
    split = load_paintings(prepared, cache_dir=tmp_path)["train"]
    texts, descriptions = (split.data.column(name).chunk(0).buffers()[-1] for name in ("text", "description"))
    assert texts.address == descriptions.address
    again = load_paintings(prepared, cache_dir=tmp_path)["train"]
    assert again._fingerprint == split._fingerprint  # what `map` makes of the rows is found again
    assert split[3]["text"] == split[3]["description"] == "Picture 3."


def test_an_empty_description_is_no_text(prepared, tmp_path):
    split = datasets.load_dataset("parquet", data_files=str(prepared / "data" / "train-*"), split="train")
    blank = split.map(lambda row, index: {"description": "" if index == 2 else row["description"]}, with_indices=True)
    (tmp_path / "blank" / "data").mkdir(parents=True)
    blank.to_parquet(tmp_path / "blank" / "data" / "train-00000-of-00001.parquet")
    texts = load_paintings(tmp_path / "blank", cache_dir=tmp_path)["train"]["text"]
    assert list(texts) == [None if index == 2 else f"Picture {index}." for index in range(12)]


def test_text_of_the_preparation_stays(prepared, tmp_path):
    folder = tmp_path / "masked"
    (folder / "data").mkdir(parents=True)
    split = datasets.load_dataset(str(prepared), split="test", cache_dir=str(tmp_path))
    split = split.add_column("text", ["[MASK]", None, "[MASK]."])
    split.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    assert load_paintings(folder, cache_dir=tmp_path)["test"]["text"] == ["[MASK]", None, "[MASK]."]


def test_a_single_csv_file_is_shared_out(release):
    splits = load_paintings(release / "semart_train.csv", min_label_count=2)
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 1, "test": 1}


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "a/b/c", "file:///nowhere"])
def test_nothing_at_the_address(name):
    with pytest.raises(ValueError, match=r"with nothing, but paintings lie in a release .*Correct the address"):
        load_paintings(name)


def test_a_folder_without_paintings(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"with \['notes.txt'\], but paintings lie in a release"):
        load_paintings(tmp_path)


def test_a_data_set_without_the_models_label_column(tmp_path):
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"picture": ["a"]}).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"but the model's task style has its labels in 'wing'. Add the column"):
        load_paintings(
            tmp_path, cache_dir=tmp_path / "cache", tasks=[{"name": "style", "labels": [], "column": "wing"}]
        )


def test_only_the_wanted_splits_are_read(release, prepared, tmp_path):
    for source in (release, prepared):
        splits = load_paintings(source, min_label_count=2, only=["validation", "test"], cache_dir=tmp_path)
        assert list(splits) == ["test"]
        assert splits["test"]["title"] == ["No. 0", "No. 1", "No. 2"]
    assert load_paintings(prepared, only=["validation"], cache_dir=tmp_path) == {}


def test_a_folder_of_shards_by_other_names_is_read_as_the_library_reads_it(small_release, tmp_path):
    labels = load_paintings(small_release, min_label_count=1)["train"].features
    names = {task: labels[task] for task in ("type", "school", "timeframe", "medium")}
    features = datasets.Features({**names, "description": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({**{name: [0, 1] for name in names}, "description": ["a", "b"]}, features)
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train.parquet")
    loaded = load_paintings(tmp_path, cache_dir=tmp_path / "cache")
    assert loaded["train"]["text"][:] == ["a", "b"]
