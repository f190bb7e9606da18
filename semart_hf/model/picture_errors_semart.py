"""The error of a picture that cannot be read, and what its file seems to be instead."""

import io
import re

from PIL import UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, IMAGELENGTH, IMAGEWIDTH

from .tiff_semart import kind, main_page

#: Formats in which museums publish pictures. Pillow knows more, but some of those start other programs (EPS) or are
#: never a photograph of a painting. HEIF is read where `pillow_heif.register_heif_opener()` was called.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")

#: By kind of fault: what is allowed, and what to do.
_ADVICE = {
    "missing_picture": "Allowed are a path, an http(s) URL, the bytes of a file, an open file or a PIL picture. "
    "Correct the path; if this is the painting's text, give it as {'text': …}.",
    "unreadable_picture": "Allowed are files and http(s) URLs that can be read. Look at it by hand; if this is the "
    "painting's text, give it as {'text': …}.",
    "not_a_picture": f"Allowed are {', '.join(FORMATS)}. Give another file.",
    "unsupported_picture": f"Allowed are {', '.join(FORMATS)}, with 8 or 16 bits a value. Convert it to one of these.",
    "truncated_picture": "Allowed are whole files. Fetch it again, or leave it out.",
    "broken_picture": "Allowed are whole files. Fetch it again, or leave it out.",
    "not_a_file": "Allowed are files. Name one of those in it.",
    "absurd_size": "Allowed are 1 x 1 pixels and more, and MAX_DECODED_BYTES of pictures_semart.py. Reduce the file.",
    "unknown_values": "Allowed are uint8 arrays (height, width[, channels]), uint8 tensors (channels, height, width) "
    "with 1, 3 or 4 channels, and grey values from 0 to 1. Convert them, or give a PIL picture.",
}
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
#: First bytes of the common formats, to tell a damaged picture from what is none.
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|II[*+]\0|MM\0[*+]|....ftyp|\0\0\0\x0cjP|BM", re.DOTALL
)


class PictureError(ValueError):
    """A picture that cannot be read: the kind of `problem`, and the `reason` in a few words."""

    def __init__(self, message: str, problem: str = "broken_picture", reason: str = "") -> None:
        super().__init__(message)
        self.problem = problem
        self.reason = reason or message


def picture_error(problem: str, reason: str, name: str = "") -> PictureError:
    """The error of a picture, with what is allowed and what to do for this kind of fault."""
    picture = f"The picture {name}" if name else "The picture"
    return PictureError(f"{picture} cannot be read: {reason}. {_ADVICE[problem]}", problem, reason)


def decoding_fault(error: Exception) -> tuple[str, str]:
    """Problem and reason of a picture that Pillow cannot decode."""
    cause = shortened(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    problem = "truncated_picture" if "truncated" in cause.lower() else "broken_picture"
    return problem, f"it cannot be decoded, {cause}"


def identification_fault(content: bytes, error: Exception) -> tuple[str, str]:
    """Problem and reason of content that Pillow does not take for a picture."""
    if not content:
        return "not_a_picture", "an empty file"
    if not any(content[:4096]):
        return "not_a_picture", "nothing but zero bytes"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0")):
        try:
            _, page = main_page(io.BytesIO(content))
        except Exception as damage:  # noqa: BLE001 - damaged tags raise anything
            return decoding_fault(damage)
        if not {IMAGEWIDTH, IMAGELENGTH, BITSPERSAMPLE} <= set(page):
            return "truncated_picture", "a TIFF that ends before its tags"
        return "unsupported_picture", f"a TIFF of a kind that is not read here: {kind(page)}"
    start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    for pattern, problem, reason in _SIGNATURES:
        if re.match(pattern, start, re.DOTALL):
            return problem, reason
    if not is_picture(content):
        return "not_a_picture", f"not in a known picture format ({', '.join(FORMATS)})"
    if isinstance(error, UnidentifiedImageError):
        return "broken_picture", "it begins like a picture, but its header is damaged, or of a kind that is not read"
    problem, reason = decoding_fault(error)
    return "unsupported_picture" if "cannot handle" in reason else problem, reason


def is_picture(content: bytes) -> bool:
    """Whether the content begins like a picture in one of the common formats."""
    return _PICTURE.match(content) is not None


def shortened(text: str) -> str:
    """The text with its middle left out where it is long."""
    return text if len(text) <= 100 else f"{text[:80]}…{text[-19:]}"
