"""One picture file of a catalogue: checked, decoded no larger than needed, resized once, stored small."""

import hashlib
import io
import stat
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError

import numpy as np
from PIL import Image, UnidentifiedImageError

from semart_hf.model.pictures_semart import to_rgb

#: Formats in which museums publish pictures. Pillow knows more, but some of those start other programs (EPS) or are
#: never a photograph of a painting.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")

#: How a prepared picture can be stored: ending of its name and Pillow's options. 92 is where JPEG's losses stop being
#: visible on paintings at these sizes; full chroma keeps small reds and blues apart.
ENCODINGS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": (".jpg", {"format": "JPEG", "quality": 92, "subsampling": "4:4:4"}),
    "png": (".png", {"format": "PNG"}),
    "webp": (".webp", {"format": "WEBP", "quality": 92}),
}

#: Pictures of more pixels are refused. Source: the limit at which Pillow itself speaks of a decompression bomb.
MAX_PIXELS = 178_956_970

#: Files of more bytes are refused before they are read: no photograph of `MAX_PIXELS` needs them.
MAX_BYTES = 1 << 30

#: A side shorter than this shows no painting.
MIN_SIDE = 16

#: Sides further apart than this (a long handscroll is about 1 to 20) come from broken files.
MAX_ASPECT = 25

# What Pillow's decoders raise on broken files; a decoder is old code that meets bytes nobody wrote on purpose.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, EOFError, RuntimeError,
    MemoryError, StructError, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

# What Pillow notes of a JPEG that has nothing to note.
_PLAIN_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"}

_SIGNATURE_SIDE = 16  # 16 x 16 frequencies: 256 bits, at which pictures of different paintings differ in 60 or more
_COSINE = np.cos(np.pi / 64 * np.outer(np.arange(_SIGNATURE_SIDE), np.arange(64) + 0.5)).astype(np.float32)

#: Bytes of a picture's signature.
SIGNATURE_BYTES = _SIGNATURE_SIDE**2 // 8


class UnusablePictureError(ValueError):
    """A file that gives no picture.

    Attributes:
        problem: Short name of the kind of finding, as in `problems.jsonl`.
    """

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as it is stored, and what was learned on the way.

    Attributes:
        content: The encoded file.
        width: Of the stored picture, in pixels; `height` likewise.
        source_width: Of the file, in pixels as stored there, before EXIF rotation; `source_height` likewise.
        source_format: Pillow's name of the file's format.
        source_digest: 16 bytes that are equal for files of equal content.
        signature: `SIGNATURE_BYTES` bytes, of which few bits differ between copies of one picture.
        num_frames: More than 1 for an animation or a file of several pages, of which the first is stored.
    """

    content: bytes
    width: int
    height: int
    source_width: int
    source_height: int
    source_format: str
    source_digest: bytes
    signature: bytes
    num_frames: int


def prepare_picture(path: Path, *, image_size: int, encoding: str = "jpeg") -> PreparedPicture:
    """The picture of a file in RGB, its shorter side `image_size` pixels, or less where the file has less.

    A plain JPEG that is small enough stays as it is, byte by byte: coding it again would only lose.

    Raises:
        UnusablePictureError: The file is missing, no picture, broken, or of an absurd size.
    """
    source = read_picture_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is raised or reported
        picture = open_picture(source)
        source_width, source_height, source_format = picture.width, picture.height, str(picture.format)
        num_frames = _num_frames(picture)
        rgb = _decode(picture, image_size)
    small = resize_shorter_side(rgb, image_size)
    is_ready = _is_plain_jpeg(picture) and small.size == (source_width, source_height) and encoding == "jpeg"
    return PreparedPicture(
        content=source if is_ready else encode_picture(small, encoding),
        width=small.width,
        height=small.height,
        source_width=source_width,
        source_height=source_height,
        source_format=source_format,
        source_digest=hashlib.blake2b(source, digest_size=16).digest(),
        signature=picture_signature(small),
        num_frames=num_frames,
    )


def read_picture_file(path: Path) -> bytes:
    """Content of a picture file.

    Raises:
        UnusablePictureError: There is no such file, it is none that can be read, is empty or far too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnusablePictureError("not_a_file", "a directory, not a file")
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise UnusablePictureError("not_a_file", "a device, pipe or socket, not a file")
        if status.st_size > MAX_BYTES:
            raise UnusablePictureError("absurd_size", f"{status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UnusablePictureError("missing_picture", "no file of this name") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusablePictureError("unreadable_picture", f"the file cannot be read: {reason}") from None
    if not content:
        raise UnusablePictureError("not_a_picture", "an empty file")
    return content


def open_picture(content: bytes) -> Image.Image:
    """A picture whose size is known and sane and whose pixels are not decoded yet.

    Raises:
        UnusablePictureError: The content is no picture of the known formats, or its size is absurd.
    """
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise UnusablePictureError("absurd_size", f"more than {MAX_PIXELS:,} pixels (a decompression bomb)") from None
    except UnidentifiedImageError:
        raise UnusablePictureError("not_a_picture", describe_content(content)) from None
    except _DECODING_ERRORS as error:
        raise UnusablePictureError("broken_picture", _decoder_said(error)) from None
    width, height = picture.size
    shorter, longer = sorted(picture.size)
    if width * height > MAX_PIXELS:
        detail = f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded (a decompression bomb)"
        raise UnusablePictureError("absurd_size", detail)
    if shorter < MIN_SIDE or longer > MAX_ASPECT * shorter:
        limits = f"sides of {MIN_SIDE} pixels or more and at most {MAX_ASPECT} to 1 show a painting"
        raise UnusablePictureError("absurd_size", f"{width:,} x {height:,} pixels; {limits}")
    return picture


def resize_shorter_side(picture: Image.Image, image_size: int) -> Image.Image:
    """The picture with a shorter side of `image_size` pixels, antialiased; a smaller picture stays as it is."""
    shorter = min(picture.size)
    if shorter <= image_size:
        return picture
    width, height = (max(1, round(side * image_size / shorter)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def encode_picture(picture: Image.Image, encoding: str) -> bytes:
    """File content of a picture, without the metadata that it came with.

    Raises:
        ValueError: The encoding is unknown.
    """
    if encoding not in ENCODINGS:
        raise ValueError(
            f"Got the encoding {encoding!r}, but pictures are stored as {list(ENCODINGS)}. Use one of these."
        )
    bare = Image.new(picture.mode, picture.size)  # PNG and WebP files take profile and EXIF from the picture itself
    bare.paste(picture)
    file = io.BytesIO()
    bare.save(file, **ENCODINGS[encoding][1])
    return file.getvalue()


def picture_signature(picture: Image.Image) -> bytes:
    """`SIGNATURE_BYTES` bytes that say how light and dark lie in the picture, at its 256 coarsest frequencies.

    Size, compression, colour and brightness change few of the bits (under 25 of 256 for copies of the same picture),
    another painting about half of them.

    Source: the perceptual hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
        section 3.2.1, with 16 x 16 instead of 8 x 8 coefficients.
    """
    grey = picture.resize((64, 64), Image.Resampling.BOX).convert("L")
    # einsum and not @, whose threads would wait for each other in every worker.
    rows = np.einsum("fy,yx->fx", _COSINE, np.asarray(grey, dtype=np.float32))
    frequencies = np.einsum("fx,gx->fg", rows, _COSINE)
    bits = frequencies > np.median(frequencies.ravel()[1:])  # the first one is the mean brightness
    return np.packbits(bits).tobytes()


def partial_picture(content: bytes, height: int = 240) -> bytes | None:
    """A small JPEG of what a broken JPEG still shows, grey where nothing is left; `None` for other files."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = open_picture(content + b"\xff\xd9")  # the end that a truncated file lacks
            if picture.format != "JPEG":
                return None
            rgb = _decode(picture, height)
    except UnusablePictureError:
        return None
    rgb.thumbnail((3 * height, height))
    return encode_picture(rgb, "jpeg")


def describe_content(content: bytes) -> str:
    """What a file that is no picture seems to be, for a person."""
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not any(content[:4096]):
        return "nothing but zero bytes"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), not a picture; its download failed"
    if b"<svg" in start:
        return "a drawing in SVG, not a photograph"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start.startswith(b"%pdf"):
        return "a PDF document, not a picture"
    return f"not in a known picture format ({', '.join(FORMATS)})"


def _decode(picture: Image.Image, image_size: int) -> Image.Image:
    shorter = min(picture.size)
    if shorter > image_size:  # a JPEG is decoded at a half, a quarter or an eighth, whichever is still large enough
        picture.draft(None, tuple(side * image_size // shorter for side in picture.size))
    try:
        return to_rgb(picture)
    except _DECODING_ERRORS as error:
        said = _decoder_said(error.__cause__ or error)  # the cause is the decoder's own word
        problem = "truncated_picture" if "truncated" in said.lower() else "broken_picture"
        raise UnusablePictureError(problem, said) from None


def _is_plain_jpeg(picture: Image.Image) -> bool:
    """Whether a JPEG is RGB and carries nothing beside its pixels, such as EXIF, a profile or a comment."""
    return picture.format == "JPEG" and picture.mode == "RGB" and set(picture.info) <= _PLAIN_INFO


def _num_frames(picture: Image.Image) -> int:
    if picture.format == "MPO":  # a photograph with previews of itself
        return 1
    try:
        return int(getattr(picture, "n_frames", 1))
    except _DECODING_ERRORS:  # a later frame is broken; whether the first is shows itself in decoding
        return 1


def _decoder_said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
