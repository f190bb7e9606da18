import datasets
import pandas as pd
import pytest
from release_builder import encoded, painting, row, write_release

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_splits
from semart_hf.data.rows import labelled_rows_for, labels_of
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings


def release_of(folder, contents, *, num_rows=8, **cells):
    """A release whose first rows have these contents as pictures, and the others none."""
    splits, pictures = {}, {}
    for split in ("train", "validation"):
        names = [f"{split} {number}.jpg" for number in range(num_rows)]
        splits[split] = [row(name, **cells) for name in names]
        pictures |= dict(zip(names, contents, strict=False))
    return write_release(folder / "release", splits, pictures)


def whole(number):
    return [encoded(painting(seed)) for seed in range(number)]


def load(data, **fields):
    return load_splits(DataArguments(data=str(data), min_label_count=1, **fields))


def test_half_of_the_pictures_are_enough(tmp_path):
    assert len(load(release_of(tmp_path / "half", whole(4)))["train"]) == 8
    release = release_of(tmp_path, whole(3))
    with pytest.raises(ValueError, match=r"3 of 8 train pictures can be read, but modality: image\+text") as raised:
        load(release)
    assert "row 4 (train 3.jpg): there is no file train 3.jpg" in str(raised.value)
    assert "set modality: text if that is meant" in str(raised.value)
    assert len(load(release, modality="text")["train"]) == 8


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n", b""])
@pytest.mark.parametrize("modality", ["image", "image+text"])
def test_files_that_are_no_pictures_are_none(tmp_path, content, modality):
    with pytest.raises(ValueError, match=r"0 of 8 train pictures can be read \(0 of the 8 that were tri") as raised:
        load(release_of(tmp_path, [content] * 8), modality=modality)
    assert "row 3 (train 2.jpg): The" in str(raised.value)


def _link(images):
    store = images.rename(images.parents[1] / "store")
    images.mkdir()
    for path in store.iterdir():
        (images / path.name).symlink_to(path)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda images: images.rename(images.with_name("pictures")), "there is no folder Images, but 'pictures'"),
        (lambda images: [path.rename(path.with_suffix(".png")) for path in images.iterdir()], r"but train 0\.png"),
        (_link, r"(?s)a link that leads outside.*follow_links: true"),
        (lambda images: [path.unlink() for path in images.iterdir()], r"row 1 \(train 0\.jpg\): there is no file"),
    ],
    ids=["folder", "ending", "links", "nothing"],
)
def test_the_cause_is_guessed(tmp_path, rename, message):
    release = release_of(tmp_path, whole(8))
    rename(release / "Images")
    with pytest.raises(ValueError, match=message) as raised:
        load(release)
    assert "0 of 8 train pictures can be read" in str(raised.value)
    assert rename is not _link or load(release, follow_links=True)["train"].num_rows == 8


def test_beside_pictures_a_single_text_is_enough(tmp_path, caplog):
    release = release_of(tmp_path, whole(8), description="")
    with pytest.raises(ValueError, match=r"0 of 8 train texts can be read, but modality: image\+text needs some"):
        load(release)
    for split in ("train", "val"):
        path = release / f"semart_{split}.csv"
        path.write_bytes(path.read_bytes().replace(b'.jpg"\t""', b'.jpg"\t"A mill."', 1))
    assert len(load(release)["train"]) == 8
    assert f"{release}: 1 of 8 train rows have a text." in caplog.messages
    with pytest.raises(ValueError, match="1 of 8 train texts can be read, but modality: text needs at least half"):
        load(release, modality="text")
    release = release_of(tmp_path / "other", [], description="")
    with pytest.raises(ValueError, match=r"0 of 8 train texts can be read, but modality: text needs") as raised:
        load(release, modality="text")
    assert "row 1 (train 0.jpg): it has no text" in str(raised.value)


@pytest.mark.parametrize("streaming", [False, True])
def test_prepared_data_without_pictures_is_refused(tmp_path, streaming):
    release = release_of(tmp_path, [])
    folder = tmp_path / "prepared"
    prepare_paintings(read_rows(release), folder, PreparationOptions(image_size=32, min_label_count=1), min_pictures=0)
    which = "the first 8" if streaming else "8"
    with pytest.raises(ValueError, match=rf"0 of {which} train pictures can be read.*\n.*it has no picture"):
        load(folder, streaming=streaming)
    assert load(folder, streaming=streaming, modality="text")["train"].num_rows == 8


def test_columns_that_are_not_there_are_named(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(encoded(painting(0)))
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "a.png")], "caption": ["A mill."], "type": ["a"]})
    tasks = [{"name": name, "labels": ["a", "b"]} for name in ("type", "school")]
    rows = rows.cast_column("image", datasets.Image()).with_transform(lambda batch: {**batch, "caption": ["A pond."]})
    assert labelled_rows_for(rows, tasks, split="training")[0]["caption"] == "A pond."
    assert "training rows, of ['image', 'caption', 'type'], have no label of school, no column text." in caplog.text


@pytest.mark.parametrize("change", [{}, {"image": float("nan")}, {"text": pd.NA}])
def test_tables_may_name_pictures_by_their_paths_and_lack_cells(tmp_path, change):
    (tmp_path / "a.png").write_bytes(encoded(painting(0)))
    cells = {"image": [str(tmp_path / "a.png"), None], "text": [None, "A mill."], "type": ["b", pd.NA]}
    frame = pd.DataFrame({**cells, "tags": [pd.NA, "x"], **change})
    tasks = [{"name": "type", "labels": ["a", "b"]}, {"name": "tags", "labels": ["x"], "kind": "multi_label"}]
    for rows in (frame, frame.to_dict("records"), datasets.Dataset.from_pandas(frame.astype("string"))):
        checked = labelled_rows_for(rows, tasks, split="training")
        assert labels_of([*checked], tasks).tolist() == [[1, -100], [-100, 1]]
