"""Which paintings a report shows, and their thumbnails: the surest mistakes, and some of every confusion cell."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from datasets import Image

from semart_hf.evaluation.outcomes import MISSING, Outcomes
from semart_hf.model.pictures_semart import load_picture

if TYPE_CHECKING:
    from datasets import Dataset

MISTAKES_PER_TASK = 12
PAINTINGS_PER_CELL = 6
THUMBNAIL_SIZE = 144
# At about 6 kB a thumbnail the report stays below the size that a browser opens at once.
MAX_PAINTINGS = 1000

Cell = tuple[str, int, int]
"""Task, true label and predicted label."""


@dataclass
class Gallery:
    """Rows of the dataset to show.

    Args:
        mistakes: Task to the rows of its surest mistakes, the surest first.
        cells: Confusion cell to some of its rows, the surest first.
        counts: Confusion cell to the number of all its rows.
    """

    mistakes: dict[str, list[int]] = field(default_factory=dict)
    cells: dict[Cell, list[int]] = field(default_factory=dict)
    counts: dict[Cell, int] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """Every row that is shown somewhere, in order."""
        shown = [rows for group in (self.mistakes, self.cells) for rows in group.values()]
        return sorted({row for rows in shown for row in rows})


def choose_paintings(outcomes: Outcomes) -> Gallery:
    """The rows to show until `MAX_PAINTINGS` different ones are chosen.

    First every task's surest mistakes, then one painting of every cell, then a second: each number of a confusion
    matrix has something behind it before any has more. Mistakes come before right answers.
    """
    gallery, chosen = Gallery(), set[int]()

    def choose(rows: Iterable[int]) -> list[int]:
        kept = []
        for row in rows:
            if row in chosen or len(chosen) < MAX_PAINTINGS:
                chosen.add(row)
                kept.append(row)
        return kept

    surest: dict[Cell, list[int]] = {}
    for name in outcomes.task_names:
        task = outcomes.of(name)
        order = np.argsort(-np.nan_to_num(task.confidences), kind="stable")
        order = order[task.references[order] != MISSING]
        gallery.mistakes[name] = choose(order[~task.correct[order]][:MISTAKES_PER_TASK].tolist())
        places = task.references[order].astype(np.int64) * task.num_labels + task.predictions[order]
        by_place = np.argsort(places, kind="stable")
        found, starts, counts = np.unique(places[by_place], return_index=True, return_counts=True)
        for place, start, count in zip(found.tolist(), starts.tolist(), counts.tolist(), strict=True):
            cell = (name, *divmod(place, task.num_labels))
            gallery.counts[cell] = count
            surest[cell] = order[by_place[start : start + min(count, PAINTINGS_PER_CELL)]].tolist()
    gallery.cells = {cell: [] for cell in sorted(surest, key=lambda cell: cell[1] == cell[2])}
    for depth in range(PAINTINGS_PER_CELL):
        for cell, rows in gallery.cells.items():
            rows += choose(surest[cell][depth : depth + 1])
    return gallery


def thumbnails(
    dataset: Dataset, rows: Iterable[int], size: int = THUMBNAIL_SIZE
) -> Iterator[tuple[int, bytes | None]]:
    """Each row with its picture as a small JPEG, None where it has none; one picture is in memory at a time."""
    if "image" in dataset.column_names:
        dataset = dataset.select_columns(["image"]).cast_column("image", Image(decode=False))
        for row in rows:
            source = dataset[row]["image"]
            yield row, None if source is None else to_jpeg(load_picture(source), size)
    else:
        yield from ((row, None) for row in rows)


def to_jpeg(picture: object, size: int) -> bytes:
    """The picture as a JPEG whose longer side is at most `size` pixels."""
    small = load_picture(picture)
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75, optimize=True)
    return buffer.getvalue()
