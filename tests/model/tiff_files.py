"""TIFF files as scanners and imaging systems write them, tag by tag."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

_SIZES = {"B": 1, "H": 3, "I": 4}  # of a value's type by struct's name


def page(values: np.ndarray, photometric: int | None, **tags: object) -> dict[int, object]:
    """Tags of a page with pixels `(height, width[, channels])`, little-endian and uncompressed, under tag 0.

    Tags are named `tag_<number>`; `planes=True` stores the channels one after the other.
    """
    planes = tags.pop("planes", False)
    channels = 1 if values.ndim == 2 else values.shape[2]
    data = np.moveaxis(values, 2, 0).tobytes() if planes and channels > 1 else values.tobytes()
    kinds = {"u": 1, "i": 2, "f": 3}
    return {
        0: (data, channels if planes else 1),
        256: values.shape[1],
        257: values.shape[0],
        258: [8 * values.itemsize] * channels,
        259: 1,
        **({} if photometric is None else {262: photometric}),
        277: channels,
        278: values.shape[0],
        284: 2 if planes else 1,
        339: [kinds[values.dtype.kind]] * channels,
        **{int(name.removeprefix("tag_")): value for name, value in tags.items()},
    }


def tiff(*pages: Mapping[int, object], sub: Sequence[Mapping[int, object]] = ()) -> bytes:
    """The file; `sub` are directories below the first page."""
    out = bytearray(b"II*\0\0\0\0\0")
    places = [_append(out, directory) for directory in sub]
    link = 4
    for number, tags in enumerate(pages):
        place = _append(out, {**tags, 330: places} if places and number == 0 else tags)
        out[link : link + 4] = struct.pack("<I", place)
        link = len(out) - 4
    return bytes(out)


def _append(out: bytearray, tags: Mapping[int, object]) -> int:
    data, num_strips = tags[0]
    start, length = len(out), len(data) // num_strips
    out += data + b"\0" * (len(data) % 2)
    entries = {273: [start + strip * length for strip in range(num_strips)], 279: [length] * num_strips, **tags}
    table = b""
    for tag, value in sorted((tag, value) for tag, value in entries.items() if tag):
        values = value if isinstance(value, list) else [value]
        kind = "I" if max(values) > 65535 or tag in (273, 279, 330) else "H"
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = len(out)
            out += packed
            packed = struct.pack("<I", place)
        table += struct.pack("<HHI", tag, _SIZES[kind], len(values)) + packed.ljust(4, b"\0")
    start = len(out)
    out += struct.pack("<H", len(table) // 12) + table + b"\0\0\0\0"
    return start
