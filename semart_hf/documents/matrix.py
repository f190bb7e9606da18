"""Counts of pairs as a grid whose cells are the darker, the larger their share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def matrix_of(
    counts: npt.NDArray[np.integer[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    shares: npt.NDArray[np.floating[Any]],
    *,
    corner: str,
    anchor: Callable[[int, int], str] = lambda row, column: "",
) -> dict[str, Any]:
    """What the template's macro `matrix` draws of counts (rows, columns); `anchor` names what a number links to."""
    lines = [
        {
            "label": label,
            "total": int(counts[row].sum()),
            "cells": [
                {
                    "count": int(count),
                    "share": float(share),
                    # Black or white text, whichever is read better.
                    "kind": "full" if share > 0.84 else "strong" if share > 0.68 else "slight",
                    "anchor": anchor(row, column),
                }
                for column, (count, share) in enumerate(zip(counts[row], shares[row], strict=True))
            ],
        }
        for row, label in enumerate(rows)
    ]
    return {"corner": corner, "columns": columns, "rows": lines}
