"""Which page of a TIFF file is the picture, and whether Pillow decodes it as its tags say."""

from typing import Any, BinaryIO

from PIL import TiffImagePlugin as Tiff
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags

MAX_PAGES = 100  # of a file are looked at
_SUBFILE_TYPE, _INK_SET = 254, 332
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "LAB", 9: "LAB",
            10: "LAB", 32803: "camera raw", 34892: "camera raw", 32844: "LogL", 32845: "LogLuv"}  # fmt: skip
_NUMBERS = {1: "", 2: "signed ", 3: "float ", 5: "complex ", 6: "complex "}
_COMPRESSIONS = {6: "old-style JPEG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 50002: "JPEG XL"}


def main_page(file: BinaryIO) -> tuple[int, Any]:
    """Number and tags of the first page that is no marked thumbnail and at least half as large as the largest one."""
    header = _read_header(file)
    pages: list[Tags] = []
    seen = {0}
    offset = Tags(header).next
    while offset not in seen and len(pages) < MAX_PAGES:
        seen.add(offset)
        pages.append(_read_directory(file, header, offset))
        offset = pages[-1].next
    if not pages:
        return 0, {}
    unmarked = [page for page in pages if not _number(page, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK] or pages
    largest = max(map(_num_pixels, unmarked))
    page = next(page for page in unmarked if 2 * _num_pixels(page) >= largest)
    return pages.index(page), page


def has_larger_subpage(file: BinaryIO, page: Tags) -> bool:
    """Whether a directory below the page, where camera raw files keep the photograph, is larger than the page."""
    header = _read_header(file)
    places = _numbers(page, Tiff.SUBIFD, ())[:MAX_PAGES]
    return any(_num_pixels(_read_directory(file, header, place)) > _num_pixels(page) for place in places)


def kind(page: Tags) -> str:
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


def is_decoded_wrong(page: Tags, mode: str) -> bool:
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


def black_and_white(page: Tags) -> tuple[int, int]:
    """The numbers of a grey page that stand for black and for white."""
    largest = 2 ** max(_numbers(page, Tiff.BITSPERSAMPLE, (1,))) - 1
    photometric = _number(page, Tiff.PHOTOMETRIC_INTERPRETATION, None)
    return (largest, 0) if photometric == _WHITE_IS_ZERO else (0, largest)


def byte_palette(page: Tags) -> bytes | None:
    """The palette as bytes, all reds first, where its writer put 8 bits into what holds 16; else `None`."""
    values = _numbers(page, Tiff.COLORMAP, ())
    return bytes(values) if values and max(values) < 256 else None


def _read_header(file: BinaryIO) -> bytes:
    file.seek(0)
    header = file.read(8)
    return header + file.read(8) if header[2:3] == b"+" else header  # BigTIFF


def _read_directory(file: BinaryIO, header: bytes, offset: int) -> Tags:
    directory = Tags(header)
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
