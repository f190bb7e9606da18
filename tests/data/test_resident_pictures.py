"""Pictures that lie on the device against pictures that are decoded for every batch."""

import pickle

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding

from semart_hf.data.augmentation import Augmentation, Draw, draw
from semart_hf.data.picture_batch import gather_pictures
from semart_hf.data.resident_pictures import PicturePlace, num_pixels, place_pictures, read_pictures, with_pixels

# A pixel's place in a picture of at most 75 pixels is the sum of 3 terms; a wrong place shows by as much as neighbours
# differ, by up to 5 after normalising.
ROUNDING = rounding(3, layers=3, size=75 * 5)
PLAIN = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
EVERYTHING = Augmentation(
    crop_scale=(0.3, 1.0),
    crop_ratio=(0.75, 1.33),
    horizontal_flip=0.5,
    rotation=20,
    color_jitter=0.3,
    random_erasing=0.5,
)


def picture(height, width, seed):
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pictures():
    return [picture(40 + 5 * row, 60 - 3 * row, row) for row in range(7)]


@pytest.fixture(scope="module")
def paintings(pictures, tmp_path_factory):
    """Seven files, and between them a row without a picture."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, one in enumerate(pictures):
        one.save(folder / f"{number}.png")
        paths.append(str(folder / f"{number}.png"))
    paths.insert(3, None)
    rows = datasets.Dataset.from_dict({"image": paths, "text": [f"text {number}" for number in range(8)]})
    return rows.cast_column("image", datasets.Image(decode=False))


@pytest.fixture(scope="module")
def rows(paintings):
    return read_pictures(paintings, "cpu")


def test_rows_have_places_whose_pixels_are_the_pictures(rows, pictures, paintings):
    assert len(rows) == 8
    assert rows[3] == {"text": "text 3", "image": None}
    assert rows["text"][:2] == ["text 0", "text 1"]
    shown = [rows[number]["image"] for number in range(8) if number != 3]
    for place, one in zip(shown, pictures, strict=True):
        assert (place.width, place.height) == one.size
        found = rows.pixels[place.start : place.start + place.width * place.height]
        assert torch.equal(found.view(place.height, place.width, 3), torch.from_numpy(np.array(one)))
    assert len(rows.pixels) == num_pixels(paintings) == sum(one.width * one.height for one in pictures)


def test_finished_pictures_equal_those_that_are_cut_out(rows, pictures):
    places = [rows[number]["image"] for number in range(8) if number != 3]
    for epoch in range(20):
        draws = [draw(EVERYTHING, np.random.default_rng([epoch, i]), p.size[::-1]) for i, p in enumerate(pictures)]
        options = {**PLAIN, "rows": [0, 2, 3, 5, 6], "num_rows": 8, "mixed_rows": [2, 6], "shares": [0.3, 0.8]}
        expected = gather_pictures(pictures, draws, size=48, **options).finish()
        batch = place_pictures(places, draws, size=48, **options)
        assert set(batch.source.finenesses) == {1}
        assert torch.allclose(with_pixels(batch, rows.pixels).finish(), expected, atol=ROUNDING)


def test_a_whole_batch_at_once_equals_picture_by_picture(rows):
    places = [rows[number]["image"] for number in range(8) if number != 3]
    draws = [draw(EVERYTHING, np.random.default_rng([1, i]), (p.height, p.width)) for i, p in enumerate(places)]
    batch = with_pixels(place_pictures(places, draws, size=24, **PLAIN), rows.pixels)
    assert len(set(batch.source.finenesses)) > 1
    at_once = batch.source.sample(batch.matrices, 24, slice(0, 7))
    for number in range(7):
        part = slice(number, number + 1)
        assert torch.allclose(at_once[part], batch.source.sample(batch.matrices[part], 24, part), atol=255 * ROUNDING)


def test_large_pictures_are_averaged_as_a_filter_would():
    stripes = np.zeros((400, 400, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    smooth = np.array(picture(400, 400, 1))
    numbers, options = Draw(angle=0.1), {"size": 50, "mean": [0.0] * 3, "std": [1.0] * 3}
    batch = place_pictures([PicturePlace(0, 400, 400)], [numbers], **options)
    assert batch.source.finenesses == (8,)
    gray = with_pixels(batch, torch.from_numpy(stripes).view(-1, 3)).finish()
    assert gray.mean().item() == pytest.approx(0.5, abs=0.02)
    assert gray.std().item() < 0.06
    expected = gather_pictures([Image.fromarray(smooth)], [numbers], **options).finish()
    found = with_pixels(batch, torch.from_numpy(smooth).view(-1, 3)).finish()
    assert (found - expected).abs().max() < 0.06
    assert (found - expected).abs().mean() < 0.01


def test_workers_send_places_and_no_pixels(rows):
    travelled = pickle.loads(pickle.dumps(rows))  # noqa: S301
    assert travelled.pixels.numel() == 0
    assert travelled[0] == rows[0]
    batch = place_pictures([rows[0]["image"]], [Draw()], size=8, **PLAIN)
    moved = pickle.loads(pickle.dumps(batch)).to("cpu")  # noqa: S301
    with pytest.raises(ValueError, match="a batch of places without the pixels"):
        moved.finish()
    assert with_pixels(moved, rows.pixels).finish().shape == (1, 3, 8, 8)


def test_a_broken_picture_is_told(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    broken = datasets.Dataset.from_dict({"image": [str(tmp_path / "broken.jpg")]})
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        read_pictures(broken.cast_column("image", datasets.Image(decode=False)), "cpu")
