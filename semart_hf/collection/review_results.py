"""What comes of a review: the catalogue with its decisions, and how good the suggestions are that nobody looked at."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semart_hf.files import atomic_file

from .own_format import Addition, Catalogue
from .suggestions import Columns

if TYPE_CHECKING:
    from .review import Review

#: What stands beside each task's suggestion in an export.
DECIDED_COLUMNS = ("decided", "decided_by", "decided_at")


def export_decisions(review: Review, catalogue: Catalogue, columns: Columns, output: Path) -> int:
    """Write the catalogue with what was decided, and what that changes as `OUTPUT.changes.csv`; how many decisions."""
    if catalogue.digest() != review.digest:
        raise ValueError(f"{catalogue.path} has changed since the review began. Put back what it was.")
    names = [f"{task}_{name}" for task in review.tasks for name in DECIDED_COLUMNS]
    decided: dict[int, dict[str, dict[str, Any]]] = {}
    for decision in review.decisions():
        decided.setdefault(decision["row"], {})[decision["task"]] = decision

    def additions() -> Iterator[Addition]:
        for number, row in enumerate(catalogue.rows()):
            cells: list[str] = []
            filled = {}
            for task in review.tasks:
                decision = decided.get(number, {}).get(task)
                if decision is None:
                    cells += ["", "", ""]
                    continue
                cells += [decision["label"], decision["reviewer"], _utc(decision["time"])]
                column = columns.tasks.get(task)
                is_own = row.cells.get(f"{task}_decision") == "known"
                if column is None or is_own or not catalogue.holds_text(column):
                    continue
                if row.cells.get(column) in (None, decision["suggested"]):  # and none that somebody wrote since
                    filled[column] = decision["label"]
            yield Addition(cells, filled)

    catalogue.write(output, names, additions())
    with (
        atomic_file(output.with_name(f"{output.name}.changes.csv")) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["row", "task", "before", "after", "suggested", "confidence", "is_new", "reviewer", "time"])
        for number, row in enumerate(catalogue.rows()):
            for task, decision in decided.get(number, {}).items():
                before = (row.cells.get(columns.tasks[task]) if task in columns.tasks else None) or ""
                if before != decision["label"]:
                    shown = [decision["suggested"], f"{decision['confidence']:.4f}", bool(decision["is_new"])]
                    who = [decision["reviewer"], _utc(decision["time"])]
                    writer.writerow([number + 1, task, before, decision["label"], *shown, *who])
    return sum(map(len, decided.values()))


def estimated_accuracy(
    confidences: Sequence[float], is_right: Sequence[bool], remaining: Sequence[float]
) -> dict[str, float] | None:
    """Share of the remaining suggestions that is right, as `{"mean", "low", "high"}`; `None` where nothing remains.

    What is looked at first is what the model is least sure of, so that the agreement so far says little of the rest.
    Therefore by tenths of confidence: a beta distribution with the weight of two decisions around the mean confidence,
    and the decisions. The interval has 95 % of 2,000 draws.
    """
    if not len(remaining):
        return None
    edges = np.linspace(0, 1, 11)[1:-1]
    known, rest = np.digitize(confidences, edges), np.digitize(remaining, edges)
    draws = np.zeros(2000)
    generator = np.random.default_rng(0)
    for number in np.unique(rest):
        belief = float(np.clip(np.mean(np.asarray(remaining)[rest == number]), 0.01, 0.99))
        right = np.asarray(is_right, dtype=float)[known == number] if len(confidences) else np.zeros(0)
        shape = (2 * belief + right.sum(), 2 * (1 - belief) + len(right) - right.sum())
        draws += generator.beta(*shape, size=len(draws)) * np.mean(rest == number)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(draws.mean()), "low": float(low), "high": float(high)}


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
