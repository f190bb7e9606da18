"""How fast a run trained, from its log."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def steady_speed(log_history: Sequence[Mapping[str, Any]]) -> float | None:
    """Paintings a second of all processes in the median of the log's lines, validation left out; None without a line.

    The median forgets what happens once: the warm-up of the first steps, a checkpoint, the line in which a run was
    resumed. So it is the same whether a run was interrupted or not, which the whole run's average is not.

    Args:
        log_history: The trainer state's.
    """
    speeds = [line["rows_per_second"] for line in log_history if "rows_per_second" in line]
    return statistics.median(speeds) if speeds else None
