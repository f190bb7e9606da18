"""Copies among paintings: the same picture under two names, and pictures or descriptions that lie in two splits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32
# By column, what a copy within a split and one between splits are called. The first that a row has of each counts.
_KINDS = {
    "picture": ("same_picture", "leaked_picture"),
    "signature": ("similar_picture", "leaked_picture"),
    "description": (None, "leaked_description"),
}
_BLOCK = 512  # rows that are compared with as many others at a time, which takes some 10 MB


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


def find_copies(rows: pd.DataFrame) -> list[Copy]:
    """Every row that repeats an earlier one, by row and kind; a row is a copy of one row of its split at most.

    The rows, in the order of the splits, have the number of their `split`, the columns of `_KINDS` (digests of which
    some may be missing), and the picture's `signature` in hexadecimal.
    """
    splits = rows["split"].to_numpy()
    copies: dict[tuple[int, str], Copy] = {}
    for column, kinds in _KINDS.items():
        for row, earlier, num_bits in (
            _similar_pictures(rows) if column == "signature" else _earlier_rows(rows, column)
        ):
            is_leak = bool(splits[row] != splits[earlier])
            kind = kinds[is_leak]
            if kind is not None:
                copies.setdefault((row, kind if is_leak else "copy"), Copy(row, earlier, kind, num_bits))
    return sorted(copies.values(), key=lambda copy: (copy.row, copy.kind))


def find_similar(signatures: npt.NDArray[np.uint8], splits: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
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
            is_similar = (agreement >= num_bits - 2 * MAX_BITS) & (others < rows)
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


def _similar_pictures(rows: pd.DataFrame) -> Iterator[tuple[int, int, int]]:
    with_picture = np.flatnonzero(rows["signature"].notna())
    if len(with_picture):
        content = bytes.fromhex("".join(rows["signature"].iloc[with_picture]))
        signatures = np.frombuffer(content, dtype=np.uint8).reshape(len(with_picture), -1)
        for row, earlier, num_bits in find_similar(signatures, rows["split"].to_numpy()[with_picture]):
            yield int(with_picture[row]), int(with_picture[earlier]), num_bits


def _earlier_rows(rows: pd.DataFrame, column: str) -> list[tuple[int, int, None]]:
    """Row and first earlier row of an equal digest: one before the row's own split and one in it."""
    given = rows.loc[rows[column].notna(), ["split", column]].assign(row=lambda frame: frame.index)
    first = given.groupby(column)["row"].transform("min")
    first_in_split = given.groupby([column, "split"])["row"].transform("min")
    before = given["split"] != rows["split"].reindex(first).to_numpy()
    within = first_in_split != given["row"]
    pairs = [*zip(given["row"][before], first[before], strict=True)]
    pairs += zip(given["row"][within], first_in_split[within], strict=True)
    return sorted((int(row), int(earlier), None) for row, earlier in pairs)


def _as_signs(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.unpackbits(signatures, axis=1).astype(np.float32) * 2 - 1
