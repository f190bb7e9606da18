"""Copies among paintings: the same picture under two names, and pictures or descriptions that lie in two splits."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32
# By column, what a copy within a split and one between splits are called. The first that a row has of each counts.
_KINDS = {
    "picture": ("same_picture", "leaked_picture"),
    "signature": ("similar_picture", "leaked_picture"),
    "description": (None, "leaked_description"),
}


@dataclass(frozen=True)
class Copy:
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
