import io
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from release_builder import encoded, painting

from semart_hf.model.pictures_semart import PictureError
from semart_hf.preparation.shards import ENCODINGS, picture_signature, prepare_picture

WHOLE = encoded(painting(0, (300, 300)), "PNG")
TORN = WHOLE[:200] + bytes(50) + WHOLE[250:]


def stored(tmp_path: Path, content: bytes, *, image_size: int = 64, encoding: str = "png") -> Image.Image:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return Image.open(io.BytesIO(prepare_picture(path, image_size=image_size, encoding=encoding).content))


def finding(path: Path) -> tuple[str, str]:
    with pytest.raises(PictureError) as caught:
        prepare_picture(path, image_size=64)
    return caught.value.problem, caught.value.reason


def bits_between(first: Image.Image, second: Image.Image) -> int:
    signatures = [int.from_bytes(picture_signature(picture)) for picture in (first, second)]
    return (signatures[0] ^ signatures[1]).bit_count()


@pytest.mark.parametrize(("encoding", "kind"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_a_large_picture_is_stored_small(tmp_path, encoding, kind):
    picture = stored(tmp_path, encoded(painting(0, (400, 300)), quality=95), encoding=encoding)
    assert (picture.format, picture.mode, picture.size) == (kind, "RGB", (85, 64))
    expected = painting(0, (400, 300)).resize((85, 64), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(picture, float) - np.asarray(expected, float)).mean() < 6


def test_jpegs_are_decoded_at_reduced_scale_and_stored_with_quality_92(tmp_path, monkeypatch):
    picture = stored(tmp_path, encoded(painting(0, (400, 300))), encoding="jpeg")
    assert picture.layer[1][1:3] == (1, 1)  # not subsampled
    reference = Image.open(io.BytesIO(encoded(painting(0, (85, 64)), quality=92)))
    assert picture.quantization == reference.quantization
    content = encoded(painting(0, (1000, 800)))
    scales = []
    original = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *a, **k: scales.append(self.size) or original(self, *a, **k)
    )
    stored(tmp_path, content, image_size=64)
    assert scales[0] == (125, 100)  # an eighth; the second time is for the signature
    assert len(scales) == 2


def test_smaller_pictures_are_not_enlarged_and_a_plain_jpeg_stays_as_it_is(tmp_path):
    assert stored(tmp_path, encoded(painting(0, (40, 50)), "PNG")).size == (40, 50)
    content = encoded(painting(0, (40, 50)), quality=70)
    path = tmp_path / "small.jpg"
    path.write_bytes(content)
    assert prepare_picture(path, image_size=64).content == content
    assert prepare_picture(path, image_size=30).content != content


def test_metadata_is_left_out_and_a_rotation_applied(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "made at /home/someone"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(painting(0, (40, 50)), exif=exif, icc_profile=profile, comment=b"/home/someone")
    for encoding in ENCODINGS:
        picture = stored(tmp_path, content, encoding=encoding)
        assert not {"exif", "icc_profile", "comment"} & set(picture.info), encoding
    exif = Image.Exif()
    exif[0x0112] = 6
    assert stored(tmp_path, encoded(painting(0, (400, 200)), exif=exif), image_size=64).size == (64, 128)


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    picture = prepare_picture(path, image_size=64, encoding="png")
    assert picture.num_frames == 3
    assert Image.open(io.BytesIO(picture.content)).getpixel((5, 5)) == (255, 0, 0)


def test_what_is_no_file_or_of_absurd_length_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert finding(tmp_path / "absent.jpg") == ("missing_picture", "no file of this name")
    assert finding(tmp_path) == ("not_a_file", "a directory, not a file")
    assert finding(tmp_path / "pipe") == ("not_a_file", "a device, pipe or socket, not a file")
    assert finding(tmp_path / "loop")[0] == "unreadable_picture"
    assert finding(tmp_path / ("x" * 300)) == ("unreadable_picture", "the file cannot be read: File name too long")
    path = tmp_path / "endless.jpg"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert finding(path) == ("absurd_size", "1,073,741,825 bytes; at most 1,073,741,824 are read")


def read_as_nobody(folder: int, answers) -> None:
    os.fchdir(folder)  # the folders above it are closed to others
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        prepare_picture(Path("closed.jpg"), image_size=64)
    except PictureError as error:
        answers.put((error.problem, error.reason))


def test_a_file_without_permission(tmp_path):
    (tmp_path / "closed.jpg").write_bytes(encoded(painting(0)))
    (tmp_path / "closed.jpg").chmod(0)
    tmp_path.chmod(0o755)
    context = multiprocessing.get_context("fork")  # only a process of its own can give up being root
    answers = context.Queue()
    process = context.Process(target=read_as_nobody, args=(os.open(tmp_path, os.O_RDONLY), answers))
    process.start()
    assert answers.get(timeout=20) == ("unreadable_picture", "the file cannot be read: Permission denied")
    process.join()


@pytest.mark.parametrize(
    ("content", "problem", "reason"),
    [
        (b"", "not_a_picture", "an empty file"),
        (b"\0" * 5000, "not_a_picture", "nothing but zero bytes"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><title>404</title>", "not_a_picture", "a web page (HTML), not a picture"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not_a_picture", "a drawing in SVG"),
        (b"%PDF-1.7", "not_a_picture", "a PDF document, not a picture"),
        (b"version https://git-lfs.github.com/spec/v1", "not_a_picture", "a Git LFS pointer; fetch the file itself"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not_a_picture", "a PostScript document, not a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported_picture", "a HEIC picture, which needs `pip install"),
        (b"words", "not_a_picture", "not in a known picture format (JPEG, PNG, TIFF"),
        (TORN, "broken_picture", ""),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, problem, reason):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    found, detail = finding(path)
    assert found == problem
    assert detail.startswith(reason)


@pytest.mark.parametrize("size", [(1, 20_000), (15, 15), (30, 800)])
def test_absurd_sides(tmp_path, size):
    path = tmp_path / "strip.png"
    Image.new("L", size).save(path)
    sides = f"{size[0]:,} x {size[1]:,} pixels; sides of 16 pixels or more and at most 25 to 1 show a painting"
    assert finding(path) == ("absurd_size", sides)


def test_signatures_of_copies_are_close_and_of_others_far():
    picture = painting(1, (300, 400))
    copies = [
        picture.resize((100, 133)),
        Image.open(io.BytesIO(encoded(picture, quality=30))),
        picture.convert("L").convert("RGB"),
        picture.point(lambda value: min(255, int(value * 1.15))),
    ]
    assert max(bits_between(picture, copy) for copy in copies) <= 32
    assert min(bits_between(picture, painting(seed, (300, 400))) for seed in range(2, 12)) > 60
