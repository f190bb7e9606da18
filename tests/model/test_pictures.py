import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageFile, PngImagePlugin
from release_builder import encoded
from small_models import picture as noise_of

from semart_hf.model.pictures_semart import PictureError, load_picture, to_rgb


def noise(width=64, height=48):
    return noise_of(0, width, height)


def reopened(picture: Image.Image, kind: str, **options) -> Image.Image:
    return Image.open(io.BytesIO(encoded(picture, kind, **options)))


def one_pixel(mode, value) -> Image.Image:
    return Image.new(mode, (1, 1), value)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param(one_pixel("RGB", (1, 2, 3)), (1, 2, 3), id="RGB"),
        pytest.param(one_pixel("1", 1), (255, 255, 255), id="bilevel"),
        pytest.param(one_pixel("L", 77), (77, 77, 77), id="grey"),
        pytest.param(one_pixel("LA", (0, 0)), (255, 255, 255), id="LA transparent"),
        pytest.param(one_pixel("LA", (0, 255)), (0, 0, 0), id="LA opaque"),
        pytest.param(one_pixel("La", (0, 0)), (255, 255, 255), id="La"),
        pytest.param(one_pixel("RGBA", (100, 0, 200, 0)), (255, 255, 255), id="RGBA transparent"),
        pytest.param(one_pixel("RGBA", (0, 0, 0, 51)), (204, 204, 204), id="RGBA a fifth"),
        pytest.param(one_pixel("RGBA", (0, 0, 0, 51)).convert("RGBa"), (204, 204, 204), id="RGBa"),
        pytest.param(one_pixel("RGBX", (5, 6, 7, 0)), (5, 6, 7), id="RGBX"),
        pytest.param(one_pixel("CMYK", (255, 0, 0, 0)), (0, 255, 255), id="CMYK cyan"),
        pytest.param(one_pixel("CMYK", (0, 0, 0, 255)), (0, 0, 0), id="CMYK black"),
        pytest.param(one_pixel("YCbCr", (149, 43, 21)), (0, 255, 0), id="YCbCr green"),
        pytest.param(one_pixel("HSV", (85, 255, 255)), (0, 255, 0), id="HSV green"),
        pytest.param(one_pixel("LAB", (255, 128, 128)), (255, 255, 255), id="LAB white"),
        pytest.param(one_pixel("I;16", 65535), (255, 255, 255), id="16 bits white"),
        pytest.param(one_pixel("I;16", 257 * 100 + 128), (100, 100, 100), id="16 bits, rounded down"),
        pytest.param(one_pixel("I;16", 257 * 100 + 129), (101, 101, 101), id="16 bits, rounded up"),
        pytest.param(one_pixel("I;16B", 257 * 9), (9, 9, 9), id="16 bits big-endian"),
        pytest.param(one_pixel("I", 257 * 40), (40, 40, 40), id="32 bits holding 16"),
        pytest.param(one_pixel("I", 40), (40, 40, 40), id="32 bits holding 8"),
        pytest.param(one_pixel("F", 0.5), (128, 128, 128), id="float to 1"),
        pytest.param(one_pixel("F", 200.0), (200, 200, 200), id="float to 255"),
        pytest.param(one_pixel("F", float("nan")), (0, 0, 0), id="not a number"),
    ],
)
def test_every_mode_becomes_rgb(picture, expected):
    rgb = to_rgb(picture)
    assert rgb.mode == "RGB"
    assert to_rgb(rgb) is rgb
    assert rgb.getpixel((0, 0)) == pytest.approx(expected, abs=2 if picture.mode in ("YCbCr", "LAB") else 0)


def test_transparency_of_palettes_and_colour_keys_is_white():
    palette_and_alpha = Image.new("P", (1, 1))
    palette_and_alpha.putpalette([200, 0, 0])
    palette_and_alpha.putalpha(0)
    assert palette_and_alpha.mode == "PA"
    assert to_rgb(palette_and_alpha).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    shown = to_rgb(reopened(palette, "PNG", transparency=b"\xff\x00"))
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(200, 0, 0), (255, 255, 255)]
    keyed = reopened(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert to_rgb(keyed).getpixel((0, 0)) == (255, 255, 255)
    grey = reopened(Image.new("L", (1, 1), 9), "PNG", transparency=9)
    assert to_rgb(grey).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (2, 0)), (3, (2, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 2)), (8, (0, 2))],
)
def test_exif_orientation_is_applied_once(orientation, corner):
    picture = Image.new("RGB", (3, 2), "black")
    picture.putpixel((0, 0), (255, 0, 0))
    turned = to_rgb(reopened(picture, "PNG", exif=exif_of(orientation)))
    assert turned.size == ((3, 2) if orientation < 5 else (2, 3))
    assert turned.getpixel(corner) == (255, 0, 0)
    again = to_rgb(turned)
    assert again.size == turned.size
    assert again.tobytes() == turned.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"])
def test_damaged_exif_does_not_spoil_the_picture(exif):
    assert load_picture(encoded(noise(), "JPEG", exif=exif)).size == (64, 48)


@pytest.mark.parametrize(("least_side", "size"), [(None, (400, 320)), (300, (400, 320)), (150, (200, 160))])
def test_a_jpeg_is_decoded_at_the_size_that_is_enough(least_side, size):
    smooth = Image.fromarray(np.full((320, 400, 3), 90, dtype=np.uint8))
    for kind in ({}, {"exif": exif_of(6)}):
        picture = load_picture(encoded(smooth, "JPEG", **kind), least_side=least_side)
        assert picture.size == (size if not kind else size[::-1])
        assert abs(int(np.asarray(picture).mean()) - 90) <= 1
    assert load_picture(smooth, least_side=10).size == (400, 320)


def exif_of(orientation) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_an_eps_file_of_any_name_starts_no_program(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/STARTED\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    path = tmp_path / "painting.jpg"
    path.write_bytes(encoded(noise(), "EPS"))
    for source in (path, path.read_bytes()):
        with pytest.raises(PictureError, match="a PostScript document, not a picture"):
            load_picture(source)
    with pytest.raises(PictureError, match="a picture in the format EPS"):
        to_rgb(Image.open(path))
    assert not (tmp_path / "STARTED").exists()


def test_heic_is_read_where_its_plugin_is_registered():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
    with pytest.raises(PictureError, match=r"a HEIC picture, which needs `pip install pillow-heif` and"):
        load_picture(heic)
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    heic = encoded(Image.new("RGB", (64, 48), (200, 10, 10)), "HEIF", quality=95)
    assert load_picture(heic).getpixel((5, 5)) == pytest.approx((200, 10, 10), abs=6)


def test_numbers_of_png_files_and_of_cmyk_jpegs_are_read_as_they_say():
    linear = PngImagePlugin.PngInfo()
    linear.add(b"gAMA", struct.pack(">I", 100_000))
    half = Image.new("RGB", (1, 1), (128, 128, 128))
    assert load_picture(encoded(half, "PNG", pnginfo=linear)).getpixel((0, 0)) == pytest.approx((186,) * 3, abs=1)
    linear.add(b"sRGB", b"\0")
    assert load_picture(encoded(half, "PNG", pnginfo=linear)).getpixel((0, 0)) == (128,) * 3
    greys = Image.fromarray(np.array([[0, 257 * 90, 65535]], dtype=np.uint16))
    assert np.asarray(load_picture(encoded(greys, "PNG")))[0, :, 0].tolist() == [0, 90, 255]
    keyed = load_picture(encoded(greys, "PNG", transparency=257 * 90))
    assert np.asarray(keyed)[0, :, 0].tolist() == [0, 255, 255]
    picture = Image.new("CMYK", (16, 16), (0, 0, 255, 0))
    marked = encoded(picture, "JPEG", quality=95)
    start = marked.index(b"\xff\xee")
    plain = marked[:start] + marked[start + 2 + int.from_bytes(marked[start + 2 : start + 4], "big") :]
    assert load_picture(marked).getpixel((8, 8)) == pytest.approx((255, 255, 0), abs=3)
    # The same numbers without inversion: all cyan and magenta, no yellow, black.
    assert load_picture(plain).getpixel((8, 8)) == pytest.approx((0, 0, 0), abs=3)


def test_memory_is_counted_before_a_decoder_takes_it(monkeypatch):
    sizes = {"WEBP": 16, "PNG": 4, "JPEG2000": 12, "JPEG": 4}
    for kind, bytes_per_pixel in sizes.items():
        content = encoded(noise(), kind)
        monkeypatch.setattr("semart_hf.model.pictures_semart.MAX_DECODED_BYTES", 64 * 48 * bytes_per_pixel)
        load_picture(content)
        monkeypatch.setattr("semart_hf.model.pictures_semart.MAX_DECODED_BYTES", 64 * 48 * bytes_per_pixel - 1)
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "load", lambda self: pytest.fail("was decoded"))
            with pytest.raises(PictureError, match=r"64 x 48 pixels of .* bytes of memory; at most .*Reduce"):
                load_picture(content)
    monkeypatch.undo()
    bomb = bytearray(encoded(noise(), "WEBP", lossless=True, exif=b"Exif\0\0II"))
    bomb[24:30] = b"\xff\x3f\0\xff\x3f\0"  # 16,384 x 16,384
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("was opened"))
    with pytest.raises(PictureError, match="16,384 x 16,384 pixels"):
        load_picture(bytes(bomb))


def test_a_large_scan_is_read_at_a_reduced_scale():
    content = encoded(Image.new("RGB", (14_000, 14_000), (90, 80, 70)), "JPEG")
    assert load_picture(content, least_side=448).size == (1750, 1750)
    with pytest.raises(PictureError, match="14,000 x 14,000 pixels"):
        load_picture(content)


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_jpeg_is_an_error_whatever_pillow_tolerates(tmp_path, monkeypatch, tolerant, options):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    content = encoded(noise(256, 256), "JPEG", **options)
    path = tmp_path / "half.jpg"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.jpg.*cannot be decoded, .*truncated.*Allowed are whole files.*again"):
        load_picture(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant
    with pytest.raises(ValueError, match="cannot be decoded"):
        to_rgb(Image.open(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>not found</html>", "a web page"),
        (b"", "an empty file"),
        *((encoded(noise(200, 200), kind)[:-3000], "") for kind in ("PNG", "TIFF", "WEBP", "GIF")),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, reason):
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    for source, name in ((path, "page.jpg'"), (content, f"of {len(content):,} bytes")):
        with pytest.raises(PictureError, match=rf"{name} cannot be read: {reason}.*Allowed are"):
            load_picture(source)


class _Path(os.PathLike):
    def __fspath__(self):
        raise RuntimeError("no path")


@pytest.mark.parametrize(
    "source",
    ["A view of Delft", "x" * 5000, Path("missing.jpg"),
     3, None, {"bytes": None, "path": None}, {}, object(), "", " ", float("nan"), b"", "data:,",
     io.StringIO("text"), Path("a\0b"), "\ud800.jpg", "A" * 5000, "/dev/zero", "/tmp", _Path(),
     "data:image/png;base64,@", memoryview(bytes(99))[::2],
     np.array(None), np.array(["a.jpg", "b.jpg"]), np.zeros((0, 4, 3), np.uint8),
     torch.zeros(3, 4, 4, dtype=torch.bfloat16),
     torch.zeros(4, 4, dtype=torch.uint8).to_sparse(), Image.new("I", (1, 1), 1 << 20), Image.new("I", (1, 1), -5),
     Image.new("F", (1, 1), 1.5), Image.new("RGB", (0, 5)), b"GIF89a" + bytes(50), b"BM" + bytes(90),
     np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)],
)  # fmt: skip
def test_whatever_is_no_picture_is_one_kind_of_error_in_few_words(source):
    with pytest.raises(PictureError, match=r"^The picture.* cannot be read: .*\. Allowed are .*\.$") as caught:
        load_picture(source)
    assert len(str(caught.value)) < 400
    assert pickle.loads(pickle.dumps(caught.value)).problem == caught.value.problem  # noqa: S301 - as workers hand it on
