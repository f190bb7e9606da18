"""From a picture, wherever it comes from and whatever its kind, to an upright picture in RGB."""

import io
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile, ImagePalette, UnidentifiedImageError
from PIL import TiffImagePlugin as Tiff
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags
from torch import Tensor

from .picture_sources_semart import FORMATS, PICTURE, PictureError, picture_error, read_source, shortened, source_name

__all__ = ["FORMATS", "MAX_DECODED_BYTES", "PictureError", "load_picture", "open_picture", "reduce_jpeg", "to_rgb"]

#: Bytes that decoding a picture may take: 134 million pixels of RGB, 67 of CMYK. A JPEG's are those at its scale.
MAX_DECODED_BYTES = 1 << 29
# Bytes a pixel that decoders hold of the whole picture beside Pillow's own pixels.
_DECODER_BYTES = {"WEBP": 8, "JPEG2000": 8, "AVIF": 4, "HEIF": 4}
_TURN = Image.Transpose
_TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
          6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}  # fmt: skip
_STRICT_DECODING = threading.Lock()
_HEIC = "a HEIC picture, which needs `pip install pillow-heif` and `pillow_heif.register_heif_opener()`"
#: What files that are no known picture are, by their first bytes in lower case.
_SIGNATURES = (
    (rb"<!doctype html|<html|<head|<body", "not_a_picture", "a web page (HTML), not a picture; its download failed"),
    (rb".*<svg", "not_a_picture", "a drawing in SVG, not a photograph"),
    (rb"version https://git-lfs", "not_a_picture", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (rb"%pdf", "not_a_picture", "a PDF document, not a picture"),
    (rb"%!ps|\xc5\xd0\xd3\xc6", "not_a_picture", "a PostScript document, not a picture"),
    (rb"....ftyp(avif|avis)", "unsupported_picture", "an AVIF picture that this Pillow cannot read"),
    (rb"....ftyp(he|mif1|msf1)", "unsupported_picture", _HEIC),
    (rb"\xff\x0a|\x00\x00\x00\x0cjxl ", "unsupported_picture", "a JPEG XL picture"),
    (rb"mm\x00\+", "unsupported_picture", "a BigTIFF in big-endian order"),
    (rb"ii\xbc", "unsupported_picture", "a JPEG XR picture"),
    (rb"8bps", "unsupported_picture", "a Photoshop document"),
)


def load_picture(source: Any, *, least_side: int | None = None) -> Image.Image:
    """The picture in RGB and upright.

    Args:
        source: Path, http(s) URL, content of a file as bytes or base64 text, open file, PIL picture, uint8 array
            (height, width[, channels]), uint8 tensor (channels, height, width), or undecoded `datasets.Image` cell.
        least_side: A shorter side in pixels that is enough for a JPEG; `None`: its full size.

    Raises:
        PictureError: If it cannot be read: missing, damaged, truncated, too large, or of a kind that is not read.
    """
    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, Image.Image):
        return to_rgb(source)
    with _naming(source_name(source)):
        if isinstance(source, np.ndarray | Tensor):
            return to_rgb(_picture_of_values(source))
        picture = open_picture(read_source(source))
        if least_side is not None:
            reduce_jpeg(picture, least_side)
        return to_rgb(picture)


def open_picture(content: bytes) -> Image.Image:
    """The picture of a file, not decoded yet: its main page; a `PictureError` if it is none, or of an unread kind."""
    file = io.BytesIO(content)
    try:
        if content.startswith(b"\xff\xd8\xff"):
            # `Image.open` would count its pixels at full size, and take a camera's previews for further pages.
            return JpegImageFile(file)
        if content[8:12] == b"WEBP":  # Pillow makes room for it as soon as it is opened
            _check_memory(*_webp_size(content), "WEBP", "RGBA")
        picture = Image.open(file, formats=FORMATS + ("HEIF",) * ("HEIF" in Image.OPEN))
        if picture.format == "TIFF":
            number, page = _main_page(file)
            below = (_read_directory(file, place) for place in _numbers(page, Tiff.SUBIFD, ())[:MAX_PAGES])
            if any(_num_pixels(one) > _num_pixels(page) for one in below):
                reason = "a TIFF with the photograph in a sub-directory, as camera raw files have it"
                raise picture_error("unsupported_picture", reason)
            picture.seek(number)
        return picture
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise picture_error("absurd_size", f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except Exception as error:  # decoders are old code that meets bytes which nobody wrote on purpose
        raise picture_error(*_identification_fault(content, error)) from error


def reduce_jpeg(picture: Image.Image, least_side: int) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth of its size, if its shorter side stays as long."""
    if isinstance(picture, ImageFile.ImageFile) and (shorter := min(picture.size)) > least_side:
        picture.draft(None, (picture.width * least_side // shorter, picture.height * least_side // shorter))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, upright, transparency over white, without colour profile; a `PictureError` if damaged."""
    filename = getattr(image, "filename", None)
    with _naming(repr(shortened(filename)) if filename else f"of mode {image.mode}"):
        _check(image)
        _decode(image)
        rgb = _without_gamma(_converted(image), image)
        turn = None
        with suppress(Exception):  # a damaged EXIF block has no orientation; the pixels beside it are whole
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        rgb = rgb if turn is None else rgb.transpose(turn)
    if rgb is not image:
        rgb.info = {}  # else a second call would find the orientation again, and turn the picture twice
    return rgb


def _decoding_fault(error: Exception) -> tuple[str, str]:
    """Problem and reason of a picture that Pillow cannot decode."""
    cause = shortened(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    problem = "truncated_picture" if "truncated" in cause.lower() else "broken_picture"
    return problem, f"it cannot be decoded, {cause}"


def _identification_fault(content: bytes, error: Exception) -> tuple[str, str]:
    """Problem and reason of content that Pillow does not take for a picture."""
    if not any(content[:4096]):
        return "not_a_picture", "nothing but zero bytes" if content else "an empty file"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0")):
        try:
            _, page = _main_page(io.BytesIO(content))
        except Exception as damage:  # noqa: BLE001 - damaged tags raise anything
            return _decoding_fault(damage)
        if not {Tiff.IMAGEWIDTH, Tiff.IMAGELENGTH, Tiff.BITSPERSAMPLE} <= set(page):
            return "truncated_picture", "a TIFF that ends before its tags"
        return "unsupported_picture", f"a TIFF of a kind that is not read here: {tiff_kind(page)}"
    start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for pattern, problem, reason in _SIGNATURES:
        if re.match(pattern, start, re.DOTALL):
            return problem, reason
    if not PICTURE.match(content):
        return "not_a_picture", f"not in a known picture format ({', '.join(FORMATS)})"
    if isinstance(error, UnidentifiedImageError):
        return "broken_picture", "it begins like a picture, but its header is damaged, or of a kind that is not read"
    problem, reason = _decoding_fault(error)
    return "unsupported_picture" if "cannot handle" in reason else problem, reason


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Every error of the block becomes a `PictureError` about the picture of that name."""
    try:
        yield
    except PictureError as error:
        raise picture_error(error.problem, error.reason, name) from error
    except Exception as error:  # decoders are old code that meets bytes which nobody wrote on purpose
        raise picture_error(*_decoding_fault(error), name) from error


def _picture_of_values(values: np.ndarray | Tensor) -> Image.Image:
    planes = values.detach().cpu().movedim(0, -1) if isinstance(values, Tensor) and values.ndim == 3 else values
    array = np.asarray(planes)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise picture_error("unknown_values", f"its values have shape {tuple(values.shape)} and type {values.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def _check(image: Image.Image) -> None:
    """Refuse before its pixels are decoded what is too large, or would be decoded into another picture."""
    if 0 in image.size:
        raise picture_error("absurd_size", f"it is {image.width} x {image.height}")
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:  # decoded already
        return
    if image.format not in (*FORMATS, "MPO", "HEIF"):
        raise picture_error("unsupported_picture", f"a picture in the format {image.format}")
    if image.format == "TIFF" and _is_decoded_wrong(image.tag_v2, image.mode):
        kind = tiff_kind(image.tag_v2)
        raise picture_error("unsupported_picture", f"a TIFF of a kind that is not read here: {kind}")
    held = 0
    if isinstance(image, JpegImageFile) and "progressive" in image.info:
        # Its coefficients, two bytes each, are held at full size, whatever the scale that it is read at.
        scale = (image.decoderconfig or (1,))[0]
        sampling = [vertical * horizontal for _, vertical, horizontal, _ in image.layer]
        held = image.width * image.height * scale**2 * 2 * sum(sampling) // max(1, *sampling)
    _check_memory(image.width, image.height, image.format, image.mode, held)


def _check_memory(width: int, height: int, file_format: str | None, mode: str, held: int = 0) -> None:
    own = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "RGB": 0}.get(mode, 4)
    num_bytes = held + width * height * (4 + own + _DECODER_BYTES.get(file_format or "", 0))
    if num_bytes > MAX_DECODED_BYTES:
        reason = f"{width:,} x {height:,} pixels of mode {mode} take {num_bytes:,} bytes of memory; at most"
        raise picture_error("absurd_size", f"{reason} {MAX_DECODED_BYTES:,} are decoded (a decompression bomb)")


def _webp_size(content: bytes) -> tuple[int, int]:
    """Width and height that the header of a WebP file names."""
    kind, bits = content[12:16], int.from_bytes(content[21:30], "little")
    if kind == b"VP8X":
        return (bits >> 24 & 0xFFFFFF) + 1, (bits >> 48 & 0xFFFFFF) + 1
    if kind == b"VP8L":
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return bits >> 40 & 0x3FFF, bits >> 56 & 0x3FFF


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


def _converted(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    palette = _numbers(image.tag_v2, Tiff.COLORMAP, ()) if image.format == "TIFF" and image.mode == "P" else ()
    if palette and max(palette) < 256:  # its writer put 8 bits into what holds 16
        image = image.copy()
        image.palette = ImagePalette.raw("RGB;L", bytes(palette))  # all reds first
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every one for inverted, as those with Adobe's marker are
    key = image.info.get("transparency")
    if image.mode == "RGB" and key is None:
        return image
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing but LA
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or key is not None:
        if isinstance(key, tuple) and max(key) > 255:  # of 16 bits, as the file's values were
            image = image.copy()
            image.info["transparency"] = tuple(value >> 8 for value in key)
        rgba = image.convert("RGBA")
        over_white = Image.new("RGB", rgba.size, "white")
        over_white.paste(rgba, mask=rgba.getchannel("A"))
        return over_white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey values as uint8, where 0 is black, by what the mode and the file's tags say of the white point."""
    values = np.asarray(image)
    if image.mode.startswith("I;"):
        zero, full = 0, 65535
        if image.format == "TIFF":
            full = 2 ** max(_numbers(image.tag_v2, Tiff.BITSPERSAMPLE, (1,))) - 1
            if _number(image.tag_v2, Tiff.PHOTOMETRIC_INTERPRETATION, None) == _WHITE_IS_ZERO:
                zero, full = full, 0
        greys = np.rint((np.arange(65536) - zero) * (255 / (full - zero))).clip(0, 255).astype(np.uint8)
        key = image.info.get("transparency")
        return greys[values] if key is None else np.where(values == key, np.uint8(255), greys[values])
    values = np.nan_to_num(values.astype(np.float32), nan=0.0)
    least, most = values.min(), values.max()
    whites = (1.0, 255.0) if image.mode == "F" else (65535.0,) if image.format == "PPM" else (255.0, 65535.0)
    white = next((white for white in whites if most <= white), None)
    is_unclear = image.mode == "F" and white == 255 and bool((values % 1).any())
    if least < 0 or white is None or is_unclear:
        raise picture_error("unknown_values", f"its grey values, from {least:g} to {most:g}, do not say what is white")
    return np.rint(values * (255 / white)).astype(np.uint8)


def _without_gamma(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """The picture in the usual gamma of 2.2, where its PNG file names another one (PNG specification, 13.13)."""
    gamma = image.info.get("gamma") if image.format == "PNG" else None
    if not gamma or {"srgb", "icc_profile"} & set(image.info) or abs(gamma * 2.2 - 1) < 0.05:
        return rgb
    return rgb.point([round(255 * (value / 255) ** (1 / (gamma * 2.2))) for value in range(256)] * 3)


MAX_PAGES = 100  # of a file are looked at
_SUBFILE_TYPE, _INK_SET = 254, 332
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "LAB", 9: "LAB",
            10: "LAB", 32803: "camera raw", 34892: "camera raw", 32844: "LogL", 32845: "LogLuv"}  # fmt: skip
_NUMBERS = {1: "", 2: "signed ", 3: "float ", 5: "complex ", 6: "complex "}
_COMPRESSIONS = {6: "old-style JPEG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 50002: "JPEG XL"}


def _main_page(file: BinaryIO) -> tuple[int, Any]:
    """Number and tags of the first page that is no marked thumbnail and at least half as large as the largest one."""
    found: dict[int, Tags] = {}
    offset = _read_directory(file).next
    while offset and offset not in found and len(found) < MAX_PAGES:
        found[offset] = _read_directory(file, offset)
        offset = found[offset].next
    if not found:
        return 0, {}
    pages = list(found.values())
    unmarked = [page for page in pages if not _number(page, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK] or pages
    largest = max(map(_num_pixels, unmarked))
    page = next(page for page in unmarked if 2 * _num_pixels(page) >= largest)
    return pages.index(page), page


def tiff_kind(page: Tags) -> str:
    """The page's kind in words, such as `32-bit float RGB`."""
    bits = "/".join(map(str, sorted(set(_numbers(page, Tiff.BITSPERSAMPLE, (1,))))))
    numbers = "".join(sorted({_NUMBERS.get(value, "") for value in _numbers(page, Tiff.SAMPLEFORMAT, (1,))}))
    photometric = _number(page, Tiff.PHOTOMETRIC_INTERPRETATION, None)
    colour = "of no stated colour" if photometric is None else _COLOURS.get(photometric, f"colours ({photometric})")
    alpha = " with alpha" if {1, 2} & set(_numbers(page, Tiff.EXTRASAMPLES, ())) else ""
    planes = " in separate planes" if _number(page, Tiff.PLANAR_CONFIGURATION, 1) == 2 else ""
    compression = _number(page, Tiff.COMPRESSION, 1)
    names = Tiff.COMPRESSION_INFO | _COMPRESSIONS
    name = names.get(compression, f"compression {compression}").removeprefix("tiff_")
    return f"{bits}-bit {numbers}{colour}{alpha}{planes}" + ("" if name == "raw" else f", {name}")


def _is_decoded_wrong(page: Tags, mode: str) -> bool:
    """Whether Pillow decodes a page of this kind into another picture, or what its numbers stand for is unknown."""
    photometric = _number(page, Tiff.PHOTOMETRIC_INTERPRETATION, None)
    formats, bits = set(_numbers(page, Tiff.SAMPLEFORMAT, (1,))), set(_numbers(page, Tiff.BITSPERSAMPLE, (1,)))
    is_float_grey = mode == "F" and photometric == _GREY
    if photometric is None or mode == "I" or (formats - {1, 4} and not is_float_grey):
        return True
    if _number(page, _INK_SET, 1) != 1:  # inks, but not those of CMYK
        return True
    if _number(page, Tiff.COMPRESSION, 1) != 1:  # libtiff decodes it, and gives floats in the machine's byte order
        return mode == "F" and page.prefix == Tiff.MM
    if photometric == _YCBCR and len(_numbers(page, Tiff.BITSPERSAMPLE, (1,))) > 1:
        full = (0, 255, 128, 255, 128, 255)
        is_full = tuple(map(float, _numbers(page, Tiff.REFERENCEBLACKWHITE, full))) == full
        if not is_full or _numbers(page, Tiff.YCBCRSUBSAMPLING, (2, 2)) != (1, 1):
            return True
    in_planes = _number(page, Tiff.PLANAR_CONFIGURATION, 1) == 2
    is_bytewise = bits == {8} and photometric in (_GREY, _RGB, _PALETTE, _CMYK)
    is_reversed = _number(page, Tiff.FILLORDER, 1) == 2
    return in_planes and (not is_bytewise or is_reversed or 1 in _numbers(page, Tiff.EXTRASAMPLES, ()))


def _read_directory(file: BinaryIO, offset: int | None = None) -> Tags:
    """The tags at an offset; without one, of nothing yet, with the offset of the first."""
    file.seek(0)
    header = file.read(8)
    directory = Tags(header + file.read(8) if header[2:3] == b"+" else header)  # BigTIFF
    if offset is None:
        return directory
    file.seek(offset)
    directory.next = 0  # where reading it fails
    directory.load(file)
    return directory


def _num_pixels(page: Tags) -> int:
    return _number(page, Tiff.IMAGEWIDTH, 0) * _number(page, Tiff.IMAGELENGTH, 0)


def _numbers(page: Tags, tag: int, default: tuple[int, ...]) -> tuple[Any, ...]:
    value = page.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _number(page: Tags, tag: int, default: Any) -> Any:
    return next(iter(_numbers(page, tag, (default,))), default)
