"""From a picture, wherever it comes from and whatever its mode, to an upright picture in RGB."""

import io
import os
import struct
import threading
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torch import Tensor

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
MAX_DOWNLOAD = 1 << 28  # bytes

# What Pillow's decoders raise on broken files: old code that meets bytes which nobody wrote on purpose.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRICT_DECODING = threading.Lock()


def load_picture(source: Any, *, least_side: int | None = None) -> Image.Image:
    """The picture in RGB and upright.

    Args:
        source: Path, http(s) URL, bytes of a file, PIL picture, uint8 array (height, width[, channels]), uint8 tensor
            (channels, height, width), or an undecoded cell of a `datasets.Image` column.
        least_side: A shorter side in pixels that is enough: a JPEG is then decoded at a half, a quarter or an eighth
            of its size, in less time, where that is still as large. `None`: at its full size.

    Raises:
        ValueError: If the picture is missing, corrupt, truncated, or a decompression bomb.
        TypeError: If the source is nothing of the above.
    """
    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, Image.Image):
        return to_rgb(source)
    if isinstance(source, np.ndarray | Tensor):
        return to_rgb(_picture_of_values(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _open(io.BytesIO(source), f"of {len(source)} bytes", least_side)
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _open(io.BytesIO(_download(source)), source, least_side)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"Got a {type(source).__name__} for a picture. Allowed are a path, an http(s) URL, the bytes of a file, a "
            "PIL picture, and a uint8 array or tensor. Open it with PIL.Image.open(…) and give that."
        )
    path = Path(source)
    if not _is_file(path):
        raise ValueError(
            f"Got {os.fspath(source)!r} for a picture, but there is no such file. Allowed are a path, an http(s) URL, "
            "the bytes of a file or a PIL picture. Correct the path; if this is the painting's text, give it as "
            "{'text': …}."
        )
    return _open(path, repr(os.fspath(source)), least_side)


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, upright, transparency over white; the picture itself where it is that already.

    Every mode that museums publish is taken: bilevel, grey, palette, with alpha, CMYK, YCbCr, LAB, HSV, 16 bits a
    value, and float. Colour profiles are left out: towers are trained without them.

    Raises:
        ValueError: If the picture cannot be decoded, has no pixels, or has a mode that Pillow cannot convert.
    """
    name = getattr(image, "filename", None) or f"of mode {image.mode}"
    try:
        _decode(image)
        upright = _upright(image)
        rgb = _converted(upright)
    except _DECODING_ERRORS as error:
        raise _unreadable(name, error) from error
    if 0 in rgb.size:
        raise ValueError(
            f"The picture {name} is {rgb.width} x {rgb.height}. Allowed are at least 1 x 1 pixels. Give another file."
        )
    if rgb is not image:
        rgb.info = {}  # else a second call would find the orientation again, and turn the picture twice
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _DECODING_ERRORS:  # a damaged EXIF block tells no orientation; the pixels beside it are whole
        orientation = None
    return image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image


def _converted(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_eight_bits(np.asarray(image), is_sixteen=image.mode.startswith("I;16"))).convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing but LA
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        over_white = Image.new("RGB", rgba.size, "white")
        over_white.paste(rgba, mask=rgba.getchannel("A"))
        return over_white
    return image.convert("RGB")


def _eight_bits(values: np.ndarray, *, is_sixteen: bool) -> np.ndarray:
    """Grey values as uint8.

    Where the mode does not tell the white point, it is the first of 1 (floats), 255 and 65535 that no value exceeds,
    or else the largest value.
    """
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    white = 65535.0
    if not is_sixteen:
        largest = finite.max(initial=0.0)
        points = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        white = next((point for point in points if largest <= point), largest)
    return (finite * (255.0 / white)).round().astype(np.uint8)


def _picture_of_values(values: np.ndarray | Tensor) -> Image.Image:
    array = values.detach().cpu().movedim(0, -1).numpy() if isinstance(values, Tensor) and values.ndim == 3 else values
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ValueError(
            f"Got picture values of shape {tuple(values.shape)} and type {values.dtype}. Allowed are uint8 arrays "
            "(height, width[, channels]) and uint8 tensors (channels, height, width) with 1, 3 or 4 channels. Convert "
            "them, or give a PIL picture."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _open(file: Path | io.BytesIO, name: str, least_side: int | None) -> Image.Image:
    try:
        with Image.open(file) as image:
            if least_side is not None:
                shorter = min(image.size)
                image.draft(None, (image.width * least_side // shorter, image.height * least_side // shorter))
            _decode(image)
            return to_rgb(image)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"The file {name} is not a picture. Allowed is what Pillow reads: JPEG, PNG, TIFF, WebP and others. Look "
            "whether its download failed, and give another file."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"The picture {name} has too many pixels: {error} Allowed are {2 * (Image.MAX_IMAGE_PIXELS or 0):,}. "
            "Reduce the file; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except _DECODING_ERRORS as error:
        raise _unreadable(name, error) from error


def _decode(image: Image.Image) -> None:
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        image.load()
        return
    # Some libraries switch this on for the whole process; half a picture in grey would then be classified as if whole.
    with _STRICT_DECODING:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _unreadable(name: str, error: Exception) -> ValueError:
    if isinstance(error, ValueError) and "Allowed" in str(error):  # said already, nearer to the cause
        return error
    return ValueError(
        f"The picture {name} cannot be decoded: {error}. Allowed are whole files: this one is corrupt or truncated. "
        "Fetch it again, or leave it out."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is too long for a path, or holds a null character
        return False


def _download(url: str) -> bytes:
    # Several museums refuse Python's own name.
    request = urllib.request.Request(url, headers={"User-Agent": "semart_hf"})
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as answer:
            content: bytes = answer.read(MAX_DOWNLOAD + 1)
    except (OSError, ValueError) as error:  # urllib's own errors are OSErrors
        raise ValueError(
            f"The picture {url} cannot be fetched: {error}. Allowed are http(s) URLs that answer with a picture. Open "
            "it in a browser, or download it and give the path."
        ) from error
    if len(content) > MAX_DOWNLOAD:
        raise ValueError(
            f"The picture {url} has more than {MAX_DOWNLOAD:,} bytes. Allowed is as much as that. Download and reduce "
            "it, and give the path."
        )
    return content
