"""What a review begins with and what comes of it: its SQLite file, and the catalogue with its decisions."""

import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from semart_hf.files import atomic_file, locked

from .own_format import Addition, Row, readable
from .review import Review, alternatives_in
from .sources import Source, split_labels

#: What stands beside each task's suggestion in an export.
DECIDED_COLUMNS = ("decided", "decided_by", "decided_at")
CHANGE_COLUMNS = ("row", "task", "before", "after", "suggested", "confidence", "is_new", "reviewer", "time")
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE painting (
    row INTEGER PRIMARY KEY, cells TEXT NOT NULL, shuffled INTEGER NOT NULL,
    reviewer TEXT, leased_until REAL NOT NULL DEFAULT 0
);
CREATE TABLE suggestion (
    row INTEGER NOT NULL, task TEXT NOT NULL, label TEXT NOT NULL, confidence REAL NOT NULL,
    alternatives TEXT NOT NULL, known TEXT, state TEXT NOT NULL, turn INTEGER, PRIMARY KEY (row, task)
) WITHOUT ROWID;
CREATE TABLE decision (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, task TEXT NOT NULL, label TEXT, is_new INTEGER NOT NULL,
    suggested TEXT NOT NULL, confidence REAL NOT NULL, reviewer TEXT NOT NULL, time REAL NOT NULL,
    is_undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_confidence ON suggestion (state, confidence);
CREATE INDEX by_turn ON suggestion (state, turn);
CREATE INDEX by_reviewer ON painting (reviewer);
CREATE INDEX by_shuffle ON painting (shuffled);
CREATE INDEX by_painting ON decision (row, task);
"""


def begin_review(source: Source, tasks: Sequence[str], reading: Mapping[str, Any] | None = None) -> Review:
    """The review of a catalogue with suggestions, begun or continued in `CATALOGUE.decisions.sqlite3` beside it."""
    catalogue = source.catalogue
    path = catalogue.path.with_name(f"{catalogue.path.name}.decisions.sqlite3")
    given = [task for task in tasks if f"{task}_suggested" in catalogue.columns]
    if not given:
        raise ValueError(
            f"Got {catalogue.path}, which has no column like {tasks[0]}_suggested. A review is of what `semart-hf "
            "predict CATALOGUE --output FILE` writes. Give that file."
        )
    if taken := [f"{task}_decided" for task in given if f"{task}_decided" in catalogue.columns]:
        raise ValueError(f"Got {catalogue.path}, which has the column {taken[0]!r}: it is an export. Give its source.")
    digest = catalogue.digest()
    try:
        with locked(path, "beginning the review", wait=600):  # or the later of two would replace the other's
            if not path.exists():
                _create(path, digest, source, given)
    except sqlite3.Error as error:
        raise OSError(f"The decisions cannot be kept in {path}: {error}.") from error
    review = Review(path)
    if review.digest != digest:
        raise ValueError(
            f"Got {catalogue.path}, but the decisions in {path} are about another version of it. Give that version, "
            "or move the decisions away."
        )
    with review._connected() as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # whoever reads does not wait for who writes
        if reading is not None:
            connection.execute("INSERT OR REPLACE INTO about VALUES ('reading', ?)", [json.dumps(reading)])
    return review


def _create(path: Path, digest: str, source: Source, tasks: Sequence[str]) -> None:
    """Make the file, whole or not at all."""
    suggestions, asked, questions = [], [], []
    with atomic_file(path) as unfinished:
        unfinished.unlink(missing_ok=True)  # of a killed process with this one's number
        connection = sqlite3.connect(unfinished)
        connection.executescript(_TABLES)
        for number, row in enumerate(source.rows()):
            for task in tasks:
                if (found := _suggestion(row, task, source)) is None:
                    continue
                label, confidence, alternatives, known, _ = found
                suggestions.append([number, task, *found, None])
                if known is None:
                    # The labels beside several ones are no answers in their place.
                    second = () if task in source.separators else alternatives_in(alternatives)[:1]
                    asked.append(suggestions[-1])
                    questions.append(Question(task, label, confidence, *(second[0] if second else ())))
            shuffled = int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=4).digest(), "big")
            cells = {name: readable(value) for name, value in row.cells.items() if value is not None}
            values = [number, json.dumps(cells, ensure_ascii=False), shuffled]
            connection.execute("INSERT INTO painting (row, cells, shuffled) VALUES (?, ?, ?)", values)
        for turn, place in enumerate(order_by_gain(questions)):
            asked[place][-1] = turn
        connection.executemany("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, ?)", suggestions)
        about = {"catalogue": digest, "tasks": json.dumps(tasks)}
        connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.commit()
        connection.close()


def _suggestion(row: Row, task: str, source: Source) -> tuple[str, float, str, str | None, str] | None:
    """Label, confidence, alternatives, what the catalogue knows, and the state of what is suggested for a task."""
    cells = row.cells.get(f"{task}_suggested"), row.cells.get(f"{task}_alternatives"), source.cell(row, task)
    label, others, known = (cell and readable(cell) for cell in cells)
    separator = source.separators.get(task)
    label = "" if label is None and separator else label  # none of several labels is likely enough
    try:
        confidence = float(row.cells.get(f"{task}_confidence") or "nan")
    except ValueError:
        return None
    if label is None or not math.isfinite(confidence):
        return None
    if separator and known and {*split_labels(known, separator)} == {*split_labels(label, separator)}:
        known = label
    if known == label and row.cells.get(f"{task}_decision") != "known":
        known = None  # a suggestion that was filled in
    state = "open" if known is None else "known" if known == label else "doubted"
    return label, confidence, others or "", known, state


class Question(NamedTuple):
    """One task of one painting: its likeliest label and the next, empty where there is none, with probabilities."""

    task: str
    label: str
    confidence: float
    other: str = ""
    other_confidence: float = 0.0


def order_by_gain(questions: Sequence[Question]) -> list[int]:
    """Places of the questions, the most useful first.

    Of each task those come first whose two likeliest labels are closest, divided by how many such questions about the
    same two labels come before. The tasks take turns in proportion to the wrong answers that are expected of them.

    Example:
        >>> asked = [Question("type", "view", 0.6, "study", 0.4), Question("school", "Dutch", 0.9, "French", 0.1)]
        >>> order_by_gain([*asked, Question("type", "view", 0.6, "study", 0.3)])
        [0, 2, 1]

    Source: margin sampling, Scheffer et al. 2001; what it saves is in `model_cards/review_proof.md`.
    """
    table = pd.DataFrame(questions, columns=Question._fields)
    table["pair"] = [frozenset(pair) for pair in zip(table.label, table.other, strict=True)]
    table["gap"] = table.confidence - table.other_confidence
    table = table.sort_values("gap", kind="stable")
    table["gain"] = (1 - table.gap) / (1 + table.groupby(["task", "pair"], sort=False).cumcount())
    table = table.sort_values("gain", ascending=False, kind="stable")
    errors = (1 - table.confidence).groupby(table.task).transform("sum").clip(lower=1e-9)
    table["turn"] = (table.groupby("task").cumcount() + 0.5) / errors
    return table.sort_index().sort_values("turn", kind="stable").index.tolist()


def export_decisions(review: Review, source: Source, output: Path) -> int:
    """Write the catalogue with what was decided, and what that changes as `OUTPUT.changes.csv`; how many decisions."""
    catalogue = source.catalogue
    if catalogue.digest() != review.digest:
        raise ValueError(f"{catalogue.path} has changed since the review began. Put back what it was.")
    decisions = {(decision["row"], decision["task"]): decision for decision in review.decisions()}
    changes = []

    def additions() -> Iterator[Addition]:
        for number, row in enumerate(source.rows()):
            cells: list[str] = []
            filled = {}
            for task in review.tasks:
                decision = decisions.get((number, task))
                if decision is None:
                    cells += [""] * len(DECIDED_COLUMNS)
                    continue
                label, suggested = decision["label"], decision["suggested"]
                who = [decision["reviewer"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(decision["time"]))]
                cells += [label, *who]
                before, column = source.cell(row, task), source.label_columns.get(task)
                if before != label:
                    shown = [suggested, f"{decision['confidence']:.4f}", bool(decision["is_new"])]
                    changes.append([number + 1, task, before, label, *shown, *who])
                is_open = row.cells.get(f"{task}_decision") != "known" and before in (None, suggested)
                if column is not None and is_open and catalogue.holds_text(column):
                    filled[column] = label
            yield Addition(cells, filled)

    names = [f"{task}_{name}" for task in review.tasks for name in DECIDED_COLUMNS]
    catalogue.write(output, names, additions())
    with atomic_file(output.with_name(f"{output.name}.changes.csv")) as path:
        pd.DataFrame(changes, columns=CHANGE_COLUMNS).to_csv(path, index=False)
    return len(decisions)
