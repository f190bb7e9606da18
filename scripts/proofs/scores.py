"""Scores of several runs as one figure, and figures as cells of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """`mean` and `deviation`: the standard deviation of one run's score, 0 where there is one run alone."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation}


def cell(figure: Mapping[str, float], *, sign: bool = False) -> str:
    """A mean and its deviation in per cent: `61.3 ± 1.2`."""
    mean = 100 * figure["mean"]
    return (
        f"{mean:+.1f} ± {100 * figure['deviation']:.1f}" if sign else f"{mean:.1f} ± {100 * figure['deviation']:.1f}"
    )
