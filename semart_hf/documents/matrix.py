"""Counts of pairs as a grid whose cells are the darker, the larger their share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class MatrixCell:
    """One number: its share, how dark it is, and what it links to."""

    count: int
    share: float = 0.0
    anchor: str | None = None

    @property
    def kind(self) -> str:
        """`slight`, `strong` or `full`: the text is black or white, whichever is read better."""
        return "full" if self.share > 0.84 else "strong" if self.share > 0.68 else "slight"


@dataclass(frozen=True)
class MatrixRow:
    """A row with its label and what its counts add up to."""

    label: str
    total: int
    cells: Sequence[MatrixCell]


@dataclass(frozen=True)
class Matrix:
    """What the template's macro `matrix` draws."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[MatrixRow]


def matrix_of(
    counts: npt.NDArray[np.integer[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    shares: npt.NDArray[np.floating[Any]],
    *,
    corner: str,
    anchor: Callable[[int, int], str] | None = None,
) -> Matrix:
    """The grid of counts (rows, columns) with their shares; `anchor` names what the number at a place links to."""
    return Matrix(
        corner,
        columns,
        [
            MatrixRow(
                label,
                int(counts[row].sum()),
                [
                    MatrixCell(int(count), float(shares[row, column]), anchor(row, column) if anchor else None)
                    for column, count in enumerate(counts[row])
                ],
            )
            for row, label in enumerate(rows)
        ],
    )
