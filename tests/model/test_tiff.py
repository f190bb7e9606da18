import contextlib

import numpy as np
import pytest
from tiff_files import page, tiff

from semart_hf.model.pictures_semart import PictureError, load_picture

Y, X = np.mgrid[:48, :64]
GREY = (X * 4).astype(np.uint8)
RGB = np.stack([X * 4, Y * 5, np.full_like(X, 40)], -1).astype(np.uint8)
ALPHA = np.full_like(RGB[..., :1], 255)
CMYK = np.concatenate([255 - RGB, np.zeros_like(ALPHA)], -1)
PALETTE = [[*range(256)], [*range(255, -1, -1)], [40] * 256]


def wide(values: np.ndarray) -> np.ndarray:
    return values.astype("<u2") * 257


def of_12_bits(values: np.ndarray) -> np.ndarray:
    numbers = (values.astype(int) * 4095 // 255).reshape(-1, 2)
    packed = np.stack([numbers[:, 0] >> 4, (numbers[:, 0] & 15) << 4 | numbers[:, 1] >> 8, numbers[:, 1] & 255], -1)
    return packed.astype(np.uint8)


def colours(values: np.ndarray) -> np.ndarray:
    return np.stack([values, 255 - values, np.full_like(values, 40)], -1)


SIZE = {"tag_256": 64, "tag_257": 48, "tag_278": 48}
READ = {
    "8-bit grey": (page(GREY, 1), GREY),
    "8-bit grey, white is zero": (page(255 - GREY, 0), GREY),
    "16-bit grey": (page(wide(GREY), 1), GREY),
    "16-bit grey, white is zero": (page(65535 - wide(GREY), 0), GREY),
    "12-bit grey": (page(of_12_bits(GREY), 1, tag_258=12, tag_277=1, **SIZE), GREY),
    "float grey to 1": (page((GREY / 255).astype("<f4"), 1), GREY),
    "8-bit RGB": (page(RGB, 2), RGB),
    "8-bit RGB in planes": (page(RGB, 2, planes=True), RGB),
    "16-bit RGB": (page(wide(RGB), 2), RGB),
    "RGB with alpha": (page(np.concatenate([RGB, ALPHA], -1), 2, tag_338=2), RGB),
    "transparent": (page(np.concatenate([RGB, 0 * ALPHA], -1), 2, tag_338=2), np.full_like(RGB, 255)),
    "premultiplied": (page(np.concatenate([RGB // 2, ALPHA // 2], -1), 2, tag_338=1), RGB // 2 + 128),
    "a channel that is no alpha": (page(np.concatenate([RGB, 0 * ALPHA], -1), 2, tag_338=0), RGB),
    "8-bit CMYK": (page(CMYK, 5), RGB),
    "16-bit CMYK": (page(wide(CMYK), 5), RGB),
    "palette of 16 bits": (page(GREY, 3, tag_320=[257 * value for row in PALETTE for value in row]), colours(GREY)),
    "palette of 8 bits": (page(GREY, 3, tag_320=[value for row in PALETTE for value in row]), colours(GREY)),
    "bilevel, white is zero": (page(np.packbits(GREY < 128, axis=-1), 0, tag_258=1, **SIZE), (GREY >= 128) * 255),
}


@pytest.mark.parametrize(("tags", "expected"), READ.values(), ids=READ)
def test_the_tags_say_what_the_numbers_are(tags, expected):
    picture = np.asarray(load_picture(tiff(tags))).astype(int)
    expected = np.repeat(expected[..., None], 3, -1) if expected.ndim == 2 else expected
    assert picture.shape == expected.shape
    assert np.abs(picture - expected).max() <= 2  # sixteen bits are cut to eight, alpha divides and multiplies


REFUSED = {
    "32-bit float RGB": page((RGB / 255).astype("<f4"), 2),
    "16-bit RGB in separate planes": page(wide(RGB), 2, planes=True),
    "8-bit grey in separate planes": page(255 - GREY, 0, planes=True),
    "8-bit CMYK with alpha": page(np.concatenate([CMYK, ALPHA], -1), 5, tag_338=2),
    "8-bit signed grey": page((GREY // 2).astype("i1"), 1),
    "16-bit signed grey": page(GREY.astype("<i2"), 1),
    "32-bit grey": page(GREY.astype("<u4"), 1),
    "32-bit float grey": page((GREY / 255).astype("<f4"), 0),
    "8-bit YCbCr": page(RGB, 6),  # two colours for four pixels, if nothing else is named
    "8-bit of no stated colour": page(GREY, None),
    "8-bit CMYK": page(CMYK, 5, tag_332=2),  # other inks
    "8-bit RGB, JPEG 2000": page(RGB, 2, tag_259=34712),
    "16-bit camera raw": page(wide(GREY), 32803),
    "5/6-bit RGB": page(RGB, 2, tag_258=[5, 6, 5]),
}


@pytest.mark.parametrize(("kind", "tags"), REFUSED.items(), ids=REFUSED)
def test_a_kind_that_is_not_read_is_named(kind, tags):
    with pytest.raises(PictureError, match=f"a TIFF of a kind that is not read here: {kind}. Allowed are .*Convert"):
        load_picture(tiff(tags))


def test_the_numbers_of_floats_must_say_what_is_white():
    with pytest.raises(PictureError, match=r"grey values, from 0 to 252\.5, do not say what is white"):
        load_picture(tiff(page(GREY.astype("<f4") + np.float32(0.5) * (GREY > 0), 1)))


def test_the_largest_page_is_the_picture_and_of_equals_the_first():
    small, other = page(RGB[::4, ::4] // 2, 2), page(255 - RGB, 2)
    marked = page(255 - RGB, 2, tag_254=1)
    for pages in ([small, page(RGB, 2)], [page(RGB, 2), other], [page(RGB, 2), small], [marked, page(RGB, 2)],
                  [small, page(RGB[:40], 2), other], [{**marked, 254: 4}, page(RGB[::2, ::2], 2)]):  # fmt: skip
        found = np.asarray(load_picture(tiff(*pages)))
        height = min(RGB.shape[0], len(found)) if found.shape[1] == 64 else None
        expected = RGB[:height] if height else RGB[::2, ::2]
        assert np.array_equal(found, expected)
    assert np.array_equal(np.asarray(load_picture(tiff(marked))), 255 - RGB)  # there is no other
    preview, raw = page(RGB[::4, ::4], 2, tag_254=1), page(wide(GREY), 32803)
    with pytest.raises(PictureError, match="the photograph in a sub-directory, as camera raw files have it"):
        load_picture(tiff(preview, sub=[raw]))
    assert np.array_equal(np.asarray(load_picture(tiff(page(RGB, 2), sub=[preview]))), RGB)


@pytest.mark.filterwarnings("ignore")
def test_damaged_directories_are_errors():
    content = tiff(page(RGB, 2), page(GREY, 1))
    place = int.from_bytes(content[4:8], "little")
    looped = content[:-4] + content[4:8]
    assert np.array_equal(np.asarray(load_picture(looped)), RGB)
    for cut in (7, 8, 2000, place + 1):
        with pytest.raises(PictureError, match=r"a TIFF that ends before its tags|truncated|cannot be decoded"):
            load_picture(content[:cut])
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(place, place + 140, 3):
            damaged[at] = rng.integers(256)
        with contextlib.suppress(PictureError):  # and nothing else
            load_picture(bytes(damaged))
