"""Which paintings a report shows: the most confident errors, and some of every confusion cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.model.output_semart import UNKNOWN_LABEL

ERRORS_PER_TASK = 12
PAINTINGS_PER_CELL = 6
# At about 6 kB a thumbnail the report stays below the size that a browser opens at once.
MAX_PAINTINGS = 1000

ConfusionCell = tuple[str, int, int]
"""Task, true label and predicted label."""


@dataclass
class Gallery:
    """Rows of the dataset to show.

    Args:
        errors: Task to the rows of its most confident errors, the most confident first.
        cells: Confusion cell to some of its rows, the most confident first.
        counts: Confusion cell to the number of all its rows.
    """

    errors: dict[str, list[int]] = field(default_factory=dict)
    cells: dict[ConfusionCell, list[int]] = field(default_factory=dict)
    counts: dict[ConfusionCell, int] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """Every row that is shown somewhere, in order."""
        shown = [rows for group in (self.errors, self.cells) for rows in group.values()]
        return sorted({row for rows in shown for row in rows})


def choose_paintings(outcomes: Outcomes) -> Gallery:
    """The rows to show until `MAX_PAINTINGS` different ones are chosen.

    First every task's most confident errors, then one painting of every cell, then a second: each number of a
    confusion matrix has something behind it before any has more. Errors come before right answers.
    """
    gallery, chosen = Gallery(), set[int]()

    def choose(rows: Iterable[int]) -> list[int]:
        kept = []
        for row in rows:
            if row in chosen or len(chosen) < MAX_PAINTINGS:
                chosen.add(row)
                kept.append(row)
        return kept

    candidates: dict[ConfusionCell, list[int]] = {}
    for name in outcomes.task_names:
        task = outcomes.task(name)
        order = np.argsort(-np.nan_to_num(task.confidences), kind="stable")
        order = order[task.references[order] != UNKNOWN_LABEL]
        gallery.errors[name] = choose(order[~task.correct[order]][:ERRORS_PER_TASK].tolist())
        places = task.references[order].astype(np.int64) * task.num_labels + task.predictions[order]
        by_place = np.argsort(places, kind="stable")
        found, starts, counts = np.unique(places[by_place], return_index=True, return_counts=True)
        for place, start, count in zip(found.tolist(), starts.tolist(), counts.tolist(), strict=True):
            cell = (name, *divmod(place, task.num_labels))
            gallery.counts[cell] = count
            candidates[cell] = order[by_place[start : start + min(count, PAINTINGS_PER_CELL)]].tolist()
    gallery.cells = {cell: [] for cell in sorted(candidates, key=lambda cell: cell[1] == cell[2])}
    for depth in range(PAINTINGS_PER_CELL):
        for cell, rows in gallery.cells.items():
            rows += choose(candidates[cell][depth : depth + 1])
    return gallery
