"""Years as catalogues write them, and the half-century that SemArt calls a timeframe."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .vocabulary import UNKNOWN

# "1650", "1650.0", "c. 1650", "1650-55", "painted 1650", but no part of a longer number.
_YEAR = re.compile(r"(?<!\d)(\d{3,4})(?:\.0+)?(?!\d)")

_PERIOD = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")

# Within a vaguer date, such as "17th century", no half-century is likelier than its neighbour.
_LONGEST_SPAN = 50


def year_of(value: str | int | float | None) -> int | None:
    """First year that a catalogue's cell names; `None` where it names none in three or four digits."""
    if value is None:
        return None
    year = _YEAR.search(str(value))
    return int(year.group(1)) if year else None


def half_century(year: int | None, end_year: int | None = None) -> str | None:
    """Timeframe of a year or of a span of years, such as `1651-1700` for 1651 to 1700; `None` for a span too long.

    Args:
        year: Year after Christ, or the first year of a span.
        end_year: Last year of a span: its middle decides. A span of more than fifty years says no half-century.
    """
    if year is None:
        return None
    end_year = year if end_year is None else end_year
    if year < 1 or not 0 <= end_year - year <= _LONGEST_SPAN:
        return None
    start = ((year + end_year) // 2 - 1) // 50 * 50 + 1
    return f"{start:04d}-{start + 49:04d}"


def label_years(labels: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """First and last year of each label (labels, 2), NaN for `UNK`; None where another label is no span of years."""
    years = np.full((len(labels), 2), np.nan)
    for index, label in enumerate(labels):
        span = _PERIOD.fullmatch(label.strip())
        if span is not None:
            years[index] = [float(span[1]), float(span[2])]
        elif label != UNKNOWN:
            return None
    return None if np.isnan(years).all() else years
