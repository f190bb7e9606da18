"""The SQLite file of a review: its tables, filled from a catalogue with suggestions."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from semart_hf.files import atomic_file

from .expected_gain import Question, order_by_gain
from .own_format import Catalogue
from .several_labels import split_labels
from .suggestions import Columns, readable

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE painting (
    row INTEGER PRIMARY KEY, cells TEXT NOT NULL, expected_errors REAL NOT NULL, shuffled INTEGER NOT NULL,
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
CREATE INDEX by_errors ON painting (expected_errors);
CREATE INDEX by_shuffle ON painting (shuffled);
CREATE INDEX by_painting ON decision (row, task);
"""


def create_tables(path: Path, digest: str, catalogue: Catalogue, columns: Columns, tasks: Sequence[str]) -> None:
    """Make the file, whole or not at all."""
    with atomic_file(path) as unfinished:
        unfinished.unlink(missing_ok=True)  # of a killed process with this one's number
        connection = sqlite3.connect(unfinished)
        connection.executescript(_TABLES)
        _import(connection, catalogue, columns, tasks)
        put_in_order(connection, columns)
        about = {"catalogue": digest, "tasks": json.dumps(tasks)}
        connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.commit()
        connection.close()


def _import(connection: sqlite3.Connection, catalogue: Catalogue, columns: Columns, tasks: Sequence[str]) -> None:
    """The rows that have suggestions."""
    for number, row in enumerate(catalogue.rows()):
        errors = 0.0
        for task in tasks:
            label, confidence = row.cells.get(f"{task}_suggested"), _number(row.cells.get(f"{task}_confidence"))
            separator = columns.separators.get(task)
            label = "" if label is None and separator else label  # none of several labels is likely enough
            if label is None or confidence is None:
                continue
            known = row.cells.get(columns.tasks[task]) if task in columns.tasks else None
            if separator and known and {*split_labels(known, separator)} == {*split_labels(label, separator)}:
                known = label
            if known == label and row.cells.get(f"{task}_decision") != "known":
                known = None  # a suggestion that was filled in
            state = "open" if known is None else "known" if known == label else "doubted"
            errors += (1 - confidence) * (state == "open")
            others = row.cells.get(f"{task}_alternatives") or ""
            values = [number, task, label, confidence, others, known, state]
            values = [readable(value) if isinstance(value, str) else value for value in values]
            connection.execute("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", values)
        shuffled = int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=4).digest(), "big")
        cells = {name: readable(value) for name, value in row.cells.items() if value is not None}
        values = [number, json.dumps(cells, ensure_ascii=False), errors, shuffled]
        connection.execute("INSERT INTO painting (row, cells, expected_errors, shuffled) VALUES (?, ?, ?, ?)", values)


def put_in_order(connection: sqlite3.Connection, columns: Columns) -> None:
    """Write each question's turn by expected gain, where the catalogue has no label."""
    asked, questions = [], []
    for row, task, label, confidence, others in connection.execute(
        "SELECT row, task, label, confidence, alternatives FROM suggestion WHERE known IS NULL"
    ):
        # The labels beside several ones are no answers in their place.
        second = () if task in columns.separators else alternatives_in(others)[:1]
        asked.append((row, task))
        questions.append(Question(task, label, confidence, *(second[0] if second else ())))
    turns = [(turn, *asked[place]) for turn, place in enumerate(order_by_gain(questions))]
    connection.executemany("UPDATE suggestion SET turn = ? WHERE row = ? AND task = ?", turns)


def alternatives_in(text: str) -> tuple[tuple[str, float], ...]:
    """Labels with their probabilities, of a cell `<task>_alternatives`."""
    # A label may hold ` | ` and end in digits itself.
    return tuple((label, float(score)) for label, score in re.findall(r"(.+?) ([01]\.\d+)(?: \| |$)", text))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
