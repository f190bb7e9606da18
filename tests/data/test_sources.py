import datasets
import pytest
from PIL import Image
from release_builder import write_plain_release

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_splits, prepared_size, with_prepared_pictures
from semart_hf.data.streaming import PaintingStream
from semart_hf.model.pictures_semart import load_picture
from semart_hf.model.processing_semart import SemArtImageProcessor
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings


def processor_of(crop: int, edge: int) -> SemArtImageProcessor:
    return SemArtImageProcessor(size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop})


PROCESSOR = processor_of(32, 32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Paintings of 60 x 80 pixels."""
    return write_plain_release(tmp_path_factory.mktemp("sources") / "release", num_train=12, num_val=2, num_test=2)


def arguments_of(data, **fields) -> DataArguments:
    return DataArguments(data=str(data), **{"min_label_count": 2, **fields})


def train_rows(arguments, processor=PROCESSOR):
    return with_prepared_pictures(load_splits(arguments), arguments, processor)


@pytest.mark.parametrize(
    ("crop", "edge", "smallest", "expected"),
    [(224, 236, 0.6, 288), (224, 256, 1.0, 256), (224, 248, 0.08, 448), (64, 64, 0.6, 96), (384, 384, 0.6, 480)],
)
def test_the_size_is_what_the_smallest_crop_needs(crop, edge, smallest, expected):
    assert prepared_size(processor_of(crop, edge), smallest) == expected
    size, crop_size = ({"height": side, "width": side} for side in (edge, crop))
    squashing = SemArtImageProcessor(size=size, crop_size=crop_size, default_to_square=True)
    assert prepared_size(squashing, smallest) == expected


def test_large_training_pictures_are_prepared_once(release, cache, caplog):
    arguments = arguments_of(release)
    lying = load_splits(arguments)["train"]
    rows, remark = train_rows(arguments)
    (folder,) = (path for path in (cache / "semart_hf" / "prepared").iterdir() if path.is_dir())
    assert remark == f"Training pictures: prepared with a shorter side of 32 pixels, in {folder}"
    messages = [record.getMessage() for record in caplog.records if "prepared" in record.getMessage()]
    assert messages == [f"{release}: pictures are prepared at 32 pixels, this once, in {folder}."]
    assert {min(load_picture(cell).size) for cell in rows["image"]} == {32}
    assert {cell["bytes"][:2] for cell in rows["image"]} == {b"\xff\xd8"}
    assert rows.features == lying.features
    for column in ("image_file", "text", "type", "school", "timeframe", "medium"):
        assert rows[column] == lying[column]
    caplog.clear()
    assert train_rows(arguments)[1] == remark
    assert not [record for record in caplog.records if "this once" in record.getMessage()]
    rows, _ = train_rows(arguments_of(release, prepared_size=48), processor_of(64, 64))
    assert min(load_picture(rows[0]["image"]).size) == 48
    rows, other = train_rows(arguments_of(release, text_columns=["{TITLE} ({DATE})"]))
    assert rows["text"][3] == "Portrait train-3.jpg (1630)"
    assert other != remark
    picture = release / "Images" / "train-2.jpg"
    content = picture.read_bytes()
    try:
        Image.new("RGB", (60, 80), "white").save(picture)
        rows, changed = train_rows(arguments)
        assert load_picture(rows[2]["image"]).getpixel((5, 5)) == (255, 255, 255)
        assert changed != remark
    finally:
        picture.write_bytes(content)


def test_validation_and_test_are_read_as_they_lie(release):
    splits = load_splits(arguments_of(release))
    for name in ("validation", "test"):
        for cell, image_file in zip(splits[name]["image"], splits[name]["image_file"], strict=True):
            assert cell["path"] == str(release / "Images" / image_file)
            assert load_picture(cell).tobytes() == Image.open(release / "Images" / image_file).tobytes()


@pytest.mark.parametrize(
    ("fields", "crop"),
    [({"prepare": False}, 32), ({"max_train_rows": 5}, 32), ({}, 64)],
    ids=["forbidden", "a trial", "pictures are small already"],
)
def test_what_is_not_prepared_lies_where_it_was(release, cache, fields, crop):
    rows, remark = train_rows(arguments_of(release, **fields), processor_of(crop, crop))
    assert remark is None
    assert rows["image"][0]["path"] == str(release / "Images" / "train-0.jpg")
    assert not cache.exists() or not list(cache.glob("semart_hf/prepared/*"))


def test_prepared_data_is_streamed_for_training_alone(release, tmp_path):
    options = PreparationOptions(image_size=32, min_label_count=2)
    prepare_paintings(read_rows(release), tmp_path / "prepared", options, num_proc=1)
    arguments = arguments_of(f"file://{tmp_path}/prepared", streaming=True, shuffle_buffer=4, epoch_length=8)
    splits = load_splits(arguments, seed=7)
    assert isinstance(splits["train"], PaintingStream)
    assert (len(splits["train"]), splits["train"].buffer_size, splits["train"].seed) == (8, 4, 7)
    assert type(splits["validation"]) is type(splits["test"]) is datasets.Dataset
    assert {name: split.num_rows for name, split in splits.items()} == {"train": 12, "validation": 2, "test": 2}
    assert splits["train"].features["type"] == splits["test"].features["type"]
    assert with_prepared_pictures(splits, arguments, PROCESSOR) == (splits["train"], None)
    for split in ("validation", "test"):
        next((tmp_path / "prepared" / "data").glob(f"{split}-*")).unlink()
    with pytest.raises(ValueError, match=r"have a train split alone.*set streaming: false"):
        load_splits(arguments)


def test_what_cannot_be_done_is_refused(release):
    with pytest.raises(ValueError, match=r"streaming: true for the release .*Prepare it, or set streaming: false"):
        load_splits(arguments_of(release, streaming=True))
    with pytest.raises(ValueError, match=r"max_train_rows: 9, but a stream has no first rows.*epoch_length: 9"):
        arguments_of(release, streaming=True, max_train_rows=9)
    with pytest.raises(ValueError, match=r"epoch_length: 9 without streaming: true.*Set streaming: true"):
        arguments_of(release, epoch_length=9)
    (release / "semart_train.csv").rename(release / "hidden.csv")
    try:
        with pytest.raises(ValueError, match=r"train"):
            load_splits(arguments_of(release))
    finally:
        (release / "hidden.csv").rename(release / "semart_train.csv")


@pytest.mark.parametrize(("modality", "hidden", "kept"), [("text", "image", "text"), ("image", "text", "image")])
def test_what_a_modality_does_not_show_is_left_out(release, modality, hidden, kept):
    arguments = arguments_of(release, modality=modality, text_columns=["TITLE"])
    both = load_splits(arguments_of(release, text_columns=["TITLE"]))
    splits = load_splits(arguments)
    assert list(splits) == list(both)
    for name, rows in splits.items():
        assert rows[hidden] == [None] * len(rows)
        assert rows[kept] == both[name][kept]
        assert any(value is not None for value in rows[kept])
        assert rows.features == both[name].features
    if modality == "text":
        _, remark = with_prepared_pictures(splits, arguments, PROCESSOR)
        assert remark is None
