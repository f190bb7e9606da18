"""Copies among paintings: the same picture under two names, and pictures or descriptions that lie in two splits."""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .prepared_pictures import SIGNATURE_BYTES

#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32

# Rows compared at a time: blocks of this many by this many keep the comparison at some 10 MB.
_BLOCK = 512


# Bytes that are kept of a row's name, its picture's file, its picture's look, and its description.
_WIDTHS = {"name": 16, "picture": 16, "signature": SIGNATURE_BYTES, "description": 16}


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


class Fingerprints:
    """What is kept of every row to find copies: some 90 bytes, whatever the size of picture and description.

    Rows are added split by split, in the order of the splits.
    """

    def __init__(self) -> None:
        self._splits = array("b")
        self._is_given = {name: bytearray() for name in _WIDTHS}
        self._bytes = {name: bytearray() for name in _WIDTHS}

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
        self._splits.append(split)
        name_digest = None if name is None else text_digest(name)
        values = {"name": name_digest, "picture": picture, "signature": signature, "description": description}
        for kind, value in values.items():
            self._is_given[kind].append(value is not None)
            self._bytes[kind] += (value or b"").ljust(_WIDTHS[kind], b"\0")

    @property
    def splits(self) -> npt.NDArray[np.int64]:
        """Number of each row's split `(rows,)`."""
        return np.array(self._splits, dtype=np.int64)

    def given(self, kind: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """The rows that have a `name`, `picture`, `signature` or `description`, and its bytes `(rows, width)`."""
        rows = np.flatnonzero(np.frombuffer(self._is_given[kind], dtype=np.uint8))
        values = np.frombuffer(self._bytes[kind], dtype=np.uint8).reshape(-1, _WIDTHS[kind])
        return rows, values[rows]


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

    Every pair is compared, as products of matrices: 50,000 rows take some ten seconds and 10 MB. Signatures are
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
    splits = rows.splits
    copies = [
        Copy(row, earlier_row, "repeated_name")
        for row, earlier_row in _earlier_rows(rows, "name")
        if splits[row] == splits[earlier_row]
    ]
    repeated = {copy.row for copy in copies}
    for row, earlier_row in _earlier_rows(rows, "picture"):
        if splits[row] != splits[earlier_row]:
            copies.append(Copy(row, earlier_row, "leaked_picture"))
        elif row not in repeated:
            copies.append(Copy(row, earlier_row, "same_picture"))
    return copies


def _similar_pictures(rows: Fingerprints) -> Iterator[Copy]:
    with_picture, signatures = rows.given("signature")
    splits = rows.splits[with_picture]
    for index, earlier, num_bits in find_similar(signatures, splits):
        kind = "similar_picture" if splits[index] == splits[earlier] else "leaked_picture"
        yield Copy(int(with_picture[index]), int(with_picture[earlier]), kind, num_bits)


def _equal_descriptions(rows: Fingerprints) -> list[Copy]:
    splits = rows.splits
    return [
        Copy(row, earlier_row, "leaked_description")
        for row, earlier_row in _earlier_rows(rows, "description")
        if splits[row] != splits[earlier_row]
    ]


def _earlier_rows(rows: Fingerprints, kind: str) -> Iterator[tuple[int, int]]:
    """Row and first earlier row of equal bytes: one before the row's own split and one in it, where there are."""
    given, values = rows.given(kind)
    if not len(given):
        return
    halves = np.ascontiguousarray(values).view(np.uint64)
    order = np.lexsort(halves.T)  # stable: equal rows stay in their order, and so their splits
    ordered, splits = halves[order], rows.splits[given[order]]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    is_new_in_split = is_new.copy()
    is_new_in_split[1:] |= splits[1:] != splits[:-1]
    first = order[_last_true(is_new)]
    first_in_split = order[_last_true(is_new_in_split)]
    found = [
        (int(given[row]), int(given[earlier]))
        for earlier_rows, is_one in (
            (first, splits != rows.splits[given[first]]),
            (first_in_split, ~is_new_in_split),
        )
        for row, earlier in zip(order[is_one], earlier_rows[is_one], strict=True)
    ]
    yield from sorted(found)


def _last_true(is_true: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each place the last place up to it that is true."""
    return np.maximum.accumulate(np.where(is_true, np.arange(len(is_true)), 0))


def _as_signs(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bits as -1 and 1."""
    return np.unpackbits(signatures, axis=1).astype(np.float32) * 2 - 1
