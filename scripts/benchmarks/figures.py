"""From turns to figures: speeds, ratios with their spread, tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.sides import Side


def speed(side: Side) -> dict[str, float]:
    """Rows a second: the median turn, the slowest and the fastest."""
    return spread([turn.rows_per_second for turn in side.turns])


def speed_ratio(side: Side, over: Side) -> dict[str, float]:
    """How many times as fast a side is as another, turn by turn: median, smallest, largest."""
    pairs = zip(side.turns, over.turns, strict=True)
    return spread([turn.rows_per_second / other.rows_per_second for turn, other in pairs])


def work_ratio(side: Side, over: Side) -> dict[str, float]:
    """How many times as much processor time the other side's rows take, turn by turn."""
    pairs = zip(side.turns, over.turns, strict=True)
    return spread(
        [
            (other.processor_seconds / other.rows) / max(turn.processor_seconds / turn.rows, 1e-9)
            for turn, other in pairs
        ]
    )


def latency(side: Side) -> dict[str, float]:
    """Milliseconds of one step: the median turn's median step, the fastest turn's, the slowest turn's."""
    return spread([1000 * statistics.median(turn.seconds) for turn in side.turns])


def latency_ratio(side: Side, over: Side) -> dict[str, float]:
    """A side's latency over another's, turn by turn: below 1 it answers sooner."""
    pairs = zip(side.turns, over.turns, strict=True)
    return spread([statistics.median(turn.seconds) / statistics.median(other.seconds) for turn, other in pairs])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": significant(statistics.median(values)),
        "min": significant(min(values)),
        "max": significant(max(values)),
    }


def significant(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def whole_run_seconds(*, preparation: float, first_step: float, rows_per_second: float, rows: int) -> float:
    """Seconds of a run from a cold start, reckoned from its parts.

    Args:
        preparation: Seconds before the training command begins.
        first_step: Seconds from its start to the end of the first step.
        rows_per_second: In the steps after that.
        rows: Of all epochs together, but the first step's.
    """
    return preparation + first_step + rows / rows_per_second


def cell(value: Any, digits: int = 2) -> str:
    """A figure as a table shows it: `3.21 (3.10–3.34)`, or a dash where it was not measured."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        return f"{value['median']:.{digits}f} ({value['min']:.{digits}f}–{value['max']:.{digits}f})"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
