"""One picture file of a catalogue: checked, decoded no larger than needed, resized once, stored small."""

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

import semart_hf
from semart_hf.model.picture_sources_semart import picture_error, read_file
from semart_hf.model.pictures_semart import open_picture, reduce_jpeg, to_rgb

#: How a prepared picture can be stored: ending of its name and Pillow's options; from 92 on no losses are seen.
ENCODINGS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": (".jpg", {"format": "JPEG", "quality": 92, "subsampling": "4:4:4"}),
    "png": (".png", {"format": "PNG"}),
    "webp": (".webp", {"format": "WEBP", "quality": 92}),
}
_MIN_SIDE = 16  # pixels; a shorter one shows no painting
_MAX_ASPECT = 25  # a long handscroll is about 1 to 20; more comes from broken files
# What Pillow notes of a JPEG that carries nothing beside its pixels, such as EXIF, a profile or a comment.
_PLAIN_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"}
_COSINE = np.cos(np.pi / 64 * np.outer(np.arange(16), np.arange(64) + 0.5)).astype(np.float32)


class PreparedPicture(NamedTuple):
    """A picture as it is stored, and what was learned on the way."""

    content: bytes  # the encoded file
    source_size: tuple[int, int]  # width and height in the source's file, before EXIF rotation
    source_format: str  # by Pillow's name
    source_digest: bytes  # 16 bytes
    signature: bytes  # see `picture_signature`
    num_frames: int  # more than 1 for an animation or a file of several pages, of which the first is stored


def prepare_picture(path: Path, *, image_size: int, encoding: str = "jpeg") -> PreparedPicture:
    """The picture of a file in RGB, its shorter side `image_size` pixels, or less where the file has less.

    A plain JPEG that is small enough stays as it is, byte by byte: coding it again would only lose.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is raised or reported
        semart_hf.register_heif()
        source = read_file(path)
        picture = open_picture(source)
        source_size, source_format = picture.size, str(picture.format)
        shorter, longer = sorted(source_size)
        if shorter < _MIN_SIDE or longer > _MAX_ASPECT * shorter:
            limits = f"sides of {_MIN_SIDE} pixels or more and at most {_MAX_ASPECT} to 1 show a painting"
            raise picture_error("absurd_size", f"{picture.width:,} x {picture.height:,} pixels; {limits}")
        num_frames = 1
        with suppress(Exception):  # a later frame is broken; whether this one is shows itself in decoding
            num_frames = int(getattr(picture, "n_frames", 1))
        is_plain = source_format == "JPEG" and picture.mode == "RGB" and set(picture.info) <= _PLAIN_INFO
        reduce_jpeg(picture, image_size)
        rgb = to_rgb(picture)
    shorter = min(rgb.size)
    size = [max(1, round(side * image_size / shorter)) for side in rgb.size]
    small = rgb if shorter <= image_size else rgb.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    is_ready = is_plain and small.size == source_size and encoding == "jpeg"
    return PreparedPicture(
        content=source if is_ready else _encode(small, encoding),
        source_size=source_size,
        source_format=source_format,
        source_digest=hashlib.blake2b(source, digest_size=16).digest(),
        signature=picture_signature(small),
        num_frames=num_frames,
    )


def picture_signature(picture: Image.Image) -> bytes:
    """32 bytes that say how light and dark lie in the picture, at its 256 coarsest frequencies.

    Source: the perceptual hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
        section 3.2.1, with 16 x 16 instead of 8 x 8 coefficients.
    """
    grey = picture.resize((64, 64), Image.Resampling.BOX).convert("L")
    # einsum and not @, whose threads would wait for each other in every worker.
    rows = np.einsum("fy,yx->fx", _COSINE, np.asarray(grey, dtype=np.float32))
    frequencies = np.einsum("fx,gx->fg", rows, _COSINE)
    bits = frequencies > np.median(frequencies.ravel()[1:])  # the first one is the mean brightness
    return np.packbits(bits).tobytes()


def _encode(picture: Image.Image, encoding: str) -> bytes:
    bare = Image.new(picture.mode, picture.size)  # PNG and WebP files take profile and EXIF from the picture itself
    bare.paste(picture)
    file = io.BytesIO()
    bare.save(file, **ENCODINGS[encoding][1])
    return file.getvalue()


#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32
# By column, what a copy within a split and one between splits are called. The first that a row has of each counts.
_KINDS = {
    "picture": ("same_picture", "leaked_picture"),
    "signature": ("similar_picture", "leaked_picture"),
    "description": (None, "leaked_description"),
}


class Copy(NamedTuple):
    """A row whose picture or description an earlier row has too, by their positions among the rows of all splits."""

    row: int
    earlier_row: int
    kind: str  # one of `_KINDS`
    num_bits: int | None = None  # in which the signatures differ; `None` where files or texts are equal


def text_digest(text: str) -> str:
    """16 hexadecimal digits that are equal for texts of the same words, whatever their case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).hexdigest()


def find_copies(rows: Sequence[Mapping[str, Any]]) -> list[Copy]:
    """Every row that repeats an earlier one, by row and kind; a row is a copy of one row of its split at most.

    The rows, split by split, have a `place` that begins with the split's name, and some of the digests of `_KINDS`.
    """
    names = [row["place"][0] for row in rows]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    splits = np.array([numbers[name] for name in names], dtype=np.int64)
    copies: dict[tuple[int, str], Copy] = {}
    for column, kinds in _KINDS.items():
        places = np.array([place for place, row in enumerate(rows) if row.get(column) is not None], dtype=np.int64)
        values, their_splits = [rows[place][column] for place in places.tolist()], splits[places]
        found: Iterator[tuple[int, int, int | None]] = _equal_digests(values, their_splits)
        if column == "signature":
            signatures = np.frombuffer(bytes.fromhex("".join(values)), np.uint8).reshape(-1, 32)
            found = find_similar(signatures, their_splits)
        for *pair, num_bits in found:
            row, earlier = places[pair].tolist()
            is_leak = bool(splits[row] != splits[earlier])
            if (kind := kinds[is_leak]) is not None:
                copies.setdefault((row, kind if is_leak else "copy"), Copy(row, earlier, kind, num_bits))
    return sorted(copies.values(), key=lambda copy: (copy.row, copy.kind))


def find_similar(signatures: npt.NDArray[Any], splits: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Row, first earlier row of a similar picture, and the bits between them: one before the split, one within it.

    Every pair is compared: 50,000 rows `(rows, bytes)` take some ten seconds. The splits' numbers do not decrease.
    """
    words = np.ascontiguousarray(signatures.view(np.uint64).T)
    for row, start in enumerate(np.searchsorted(splits, splits).tolist()):
        num_bits = np.bitwise_count(words[:, :row] ^ words[:, row, None]).sum(axis=0, dtype=np.uint16)
        similar = np.flatnonzero(num_bits <= MAX_BITS)
        for candidates in (similar[similar < start], similar[similar >= start]):
            if len(candidates):
                yield row, int(candidates[0]), int(num_bits[candidates[0]])


def _equal_digests(digests: Sequence[str], splits: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, None]]:
    """Row and first earlier row of an equal digest: one before the row's own split and one within it."""
    first: dict[tuple[str, int | None], int] = {}
    for row, (digest, split) in enumerate(zip(digests, splits.tolist(), strict=True)):
        for earlier in {first.setdefault((digest, None), row), first.setdefault((digest, split), row)} - {row}:
            yield row, earlier, None
