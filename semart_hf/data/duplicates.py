"""Copies among paintings: the same picture under two names, and pictures or descriptions that lie in two splits."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32

# Rows compared at a time: blocks of this many by this many keep the comparison at some 40 MB.
_BLOCK = 2048


@dataclass(frozen=True)
class Copy:
    """A row whose picture or description an earlier row has too.

    Attributes:
        row: Position of the row among all rows, the splits one after the other.
        earlier_row: Position of the first row with the same picture or description.
        kind: `repeated_name`, `same_picture`, `similar_picture`, or between splits `leaked_picture` and
            `leaked_description`.
        num_bits: Bits in which the pictures' signatures differ; `None` where their files or texts are equal.
    """

    row: int
    earlier_row: int
    kind: str
    num_bits: int | None = None


@dataclass
class Fingerprints:
    """What is kept of every row to find copies: some 70 bytes, whatever the size of picture and description.

    Rows are added split by split, in the order of the splits.
    """

    splits: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    signatures: list[bytes] = field(default_factory=list)
    descriptions: list[bytes] = field(default_factory=list)

    def add(
        self,
        split: int,
        *,
        name: str | None,
        picture: bytes | None,
        signature: bytes | None,
        description: bytes | None,
    ) -> None:
        """Add the next row, whose split is not before that of the last one.

        Its picture counts by the digest of its file and by its signature, both `None` where there is no usable
        picture, its description by `text_digest`.
        """
        self.splits.append(split)
        self.names.append(b"" if name is None else text_digest(name))
        self.pictures.append(picture or b"")
        self.signatures.append(signature or b"")
        self.descriptions.append(description or b"")


def text_digest(text: str) -> bytes:
    """16 bytes that are equal for texts of equal words, whatever their case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


def find_copies(rows: Fingerprints) -> list[Copy]:
    """Every row that repeats an earlier one, by row and kind; a row is a copy of one row of its split at most."""
    copies = _equal_pictures(rows)
    known = {copy.row for copy in copies if copy.kind in ("repeated_name", "same_picture")}
    leaked = {copy.row for copy in copies if copy.kind == "leaked_picture"}
    copies += [
        copy
        for copy in _similar_pictures(rows)
        if copy.row not in (leaked if copy.kind == "leaked_picture" else known)
    ]
    copies += _equal_descriptions(rows)
    return sorted(copies, key=lambda copy: (copy.row, copy.kind))


def find_similar(
    signatures: npt.NDArray[np.uint8], splits: npt.NDArray[np.int64], max_bits: int = MAX_BITS
) -> Iterator[tuple[int, int, int]]:
    """Row, first earlier row of a similar picture, and the bits between them: one within the split, one before it.

    Every pair is compared, as products of matrices: 50,000 rows take some ten seconds and 60 MB. Signatures are
    `(rows, bytes)`; the splits' numbers `(rows,)` do not decrease.
    """
    num_rows, num_bits = len(signatures), 8 * signatures.shape[1]
    first_of_split = np.searchsorted(splits, splits)
    for start in range(0, num_rows, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, num_rows))[:, None]
        block = _as_signs(signatures[rows[:, 0]])
        first = np.full((2, len(rows)), -1)  # before the split, and within it
        bits = np.zeros((2, len(rows)), dtype=np.int64)
        for other_start in range(0, start + len(rows), _BLOCK):
            others = np.arange(other_start, min(other_start + _BLOCK, num_rows))
            agreement = block @ _as_signs(signatures[others]).T  # equal bits less different ones
            is_similar = agreement >= num_bits - 2 * max_bits
            is_similar &= others < rows
            if not is_similar.any():
                continue
            is_before = others < first_of_split[rows]
            for place, candidates in enumerate((is_similar & is_before, is_similar & ~is_before)):
                column = candidates.argmax(axis=1)
                found = np.flatnonzero(candidates.any(axis=1) & (first[place] < 0))
                first[place, found] = others[column[found]]
                bits[place, found] = (num_bits - agreement[found, column[found]]) / 2
        for index, place in np.argwhere(first.T >= 0):
            yield int(rows[index, 0]), int(first[place, index]), int(bits[place, index])


def _equal_pictures(rows: Fingerprints) -> list[Copy]:
    copies = []
    for row, earlier_row in _earlier_rows(rows.splits, rows.names):
        if rows.splits[row] == rows.splits[earlier_row]:
            copies.append(Copy(row, earlier_row, "repeated_name"))
    repeated = {copy.row for copy in copies}
    for row, earlier_row in _earlier_rows(rows.splits, rows.pictures):
        if rows.splits[row] != rows.splits[earlier_row]:
            copies.append(Copy(row, earlier_row, "leaked_picture"))
        elif row not in repeated:
            copies.append(Copy(row, earlier_row, "same_picture"))
    return copies


def _similar_pictures(rows: Fingerprints) -> Iterator[Copy]:
    with_picture = np.array([row for row, signature in enumerate(rows.signatures) if signature], dtype=np.int64)
    if not len(with_picture):
        return
    signatures = np.frombuffer(b"".join(rows.signatures), dtype=np.uint8).reshape(len(with_picture), -1)
    splits = np.array(rows.splits, dtype=np.int64)[with_picture]
    for index, earlier, num_bits in find_similar(signatures, splits):
        row, earlier_row = int(with_picture[index]), int(with_picture[earlier])
        kind = "similar_picture" if rows.splits[row] == rows.splits[earlier_row] else "leaked_picture"
        yield Copy(row, earlier_row, kind, num_bits)


def _equal_descriptions(rows: Fingerprints) -> list[Copy]:
    return [
        Copy(row, earlier_row, "leaked_description")
        for row, earlier_row in _earlier_rows(rows.splits, rows.descriptions)
        if rows.splits[row] != rows.splits[earlier_row]
    ]


def _earlier_rows(splits: Sequence[int], digests: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Row and first earlier row of an equal digest: one in the row's own split and one before it, where there are."""
    first_rows: dict[bytes, int] = {}
    first_in_split: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if row and splits[row] != splits[row - 1]:
            first_in_split = {}
        if not digest:
            continue
        if digest in first_rows and splits[first_rows[digest]] != splits[row]:
            yield row, first_rows[digest]
        if digest in first_in_split:
            yield row, first_in_split[digest]
        first_rows.setdefault(digest, row)
        first_in_split.setdefault(digest, row)


def _as_signs(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bits as -1 and 1."""
    return np.unpackbits(signatures, axis=1).astype(np.float32) * 2 - 1
