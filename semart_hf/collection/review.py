"""People's decisions about a catalogue's suggestions, in a SQLite file beside it: what, who, when, of what."""

import json
import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from semart_hf.files import atomic_file, locked

from .own_format import Row, readable
from .sources import Source, split_labels

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE painting (
    row INTEGER PRIMARY KEY, cells TEXT NOT NULL, reviewer TEXT, leased_until REAL NOT NULL DEFAULT 0
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
CREATE INDEX by_row ON suggestion (state, row);
CREATE INDEX by_chance ON suggestion (state, row * 2654435761 % 4294967296);
CREATE INDEX by_reviewer ON painting (reviewer);
CREATE INDEX by_painting ON decision (row, task);
"""
#: In which order the questions come, each along an index, and what state they have; the first is the default.
ORDERS = {
    "most expected gain first": ("open.turn", "open"),
    "least sure first": ("open.confidence", "open"),
    "in the catalogue's order": ("open.row", "open"),
    "at random": ("open.row * 2654435761 % 4294967296", "open"),  # a hash of the row
    "labels that the model doubts": ("open.confidence DESC", "doubted"),
    "what was skipped": ("open.confidence", "skipped"),
}
#: Asks one question of a painting, and another painting next: of each it asks what teaches most.
BY_GAIN = next(iter(ORDERS))


@dataclass(frozen=True)
class Suggestion:
    """What is to be decided about one task of a painting.

    It is `open`, `decided`, `skipped` or `left`, skipped twice; where the catalogue has a label, `known` if that is
    the suggested one, else `doubted`.
    """

    task: str
    label: str
    confidence: float
    alternatives: tuple[tuple[str, float], ...]
    known: str | None  # the catalogue's label
    state: str
    turn: int | None  # among the open questions by expected gain, from 0 on; see `order_by_gain`


@dataclass(frozen=True)
class Painting:
    """A row of the catalogue under review: its number from 0 on, its cells, and its tasks."""

    row: int
    cells: Mapping[str, str]
    suggestions: tuple[Suggestion, ...]


class Review:
    """The decisions about one catalogue, which any number of people and processes may open at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connected() as connection:
            about = dict(connection.execute("SELECT name, value FROM about"))
        self.tasks: list[str] = json.loads(about["tasks"])
        self.digest = about["catalogue"]
        self.reading: dict[str, Any] = json.loads(about.get("reading", "{}"))

    def next_painting(
        self, reviewer: str, order: str = BY_GAIN, *, task: str | None = None, label: str | None = None
    ) -> Painting | None:
        """The painting to decide about next, which nobody else gets meanwhile; `None` when nothing is left.

        One that the reviewer has not finished comes again, but by expected gain, where the next question does.
        """
        if order not in ORDERS:
            raise ValueError(f"Got the order {order!r}. Allowed are {list(ORDERS)}. Choose one.")
        if task is not None and task not in self.tasks:
            raise ValueError(f"Got the task {task!r}. Allowed are {self.tasks}. Choose one.")
        by, state = ORDERS[order]
        wanted = {"state": state, "task": task, "label": label}
        values = [*(value for value in wanted.values() if value is not None), time.time(), reviewer]
        where = " AND ".join(f"open.{column} = ?" for column, value in wanted.items() if value is not None)
        # CROSS keeps the order of the tables: the first is walked along an index, and the first hit ends the search.
        free = f"{where} AND (leased_until < ? OR painting.reviewer = ?)"
        queries = [f"suggestion AS open CROSS JOIN painting USING (row) WHERE {free} ORDER BY {by}"]
        if order != BY_GAIN:  # `+`, or for one painting all that is open would be looked at
            held = f"+{where} AND leased_until >= ? AND painting.reviewer = ?"
            queries.insert(0, f"painting CROSS JOIN suggestion AS open USING (row) WHERE {held}")
        found = None
        with self._connected(writes=True) as connection:
            for query in queries:
                found = found or connection.execute(f"SELECT open.row FROM {query} LIMIT 1", values).fetchone()
            if found is not None:
                self._lease(connection, found[0], reviewer)
        return None if found is None else self.painting(found[0])

    def painting(self, row: int) -> Painting:
        """A painting by its row."""
        with self._connected() as connection:
            cells = connection.execute("SELECT cells FROM painting WHERE row = ?", [row]).fetchone()
            if cells is None:
                raise ValueError(f"Got row {row}, which has no suggestion to review. Ask for the next painting.")
            rows = connection.execute(
                "SELECT task, label, confidence, alternatives, known, state, turn FROM suggestion WHERE row = ?", [row]
            ).fetchall()
        by_task = {
            task: Suggestion(task, label, confidence, alternatives_in(others), *rest)
            for task, label, confidence, others, *rest in rows
        }
        return Painting(row, json.loads(cells[0]), tuple(by_task[task] for task in self.tasks if task in by_task))

    def decide(self, row: int, task: str, label: str | None, reviewer: str, *, is_new: bool = False) -> None:
        """Keep a person's decision, where `None` skips; it is on disk when this returns."""
        with self._connected(writes=True) as connection:
            found = connection.execute(
                "SELECT label, confidence, state, reviewer, leased_until FROM suggestion JOIN painting USING (row) "
                "WHERE row = ? AND task = ?",
                [row, task],
            ).fetchone()
            if found is None or found[2] in ("known", "decided"):
                why = "is decided already" if found and found[2] == "decided" else "has nothing to decide"
                raise ValueError(f"Got a decision about the {task} of a painting that {why}. Go on to the next.")
            suggested, confidence, before, holder, until = found
            if holder is not None and holder != reviewer and until > time.time():
                raise ValueError(f"Got a decision about a painting that {holder} is looking at. Go on to the next.")
            # Whoever skipped it before cannot take this decision back.
            connection.execute("UPDATE decision SET is_undone = 1 WHERE row = ? AND task = ?", [row, task])
            connection.execute(
                "INSERT INTO decision (row, task, label, is_new, suggested, confidence, reviewer, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [row, task, label, is_new, suggested, confidence, reviewer, time.time()],
            )
            again = "left" if before == "skipped" else "skipped"  # what is skipped twice is not asked again
            state = again if label is None else "decided"
            connection.execute("UPDATE suggestion SET state = ? WHERE row = ? AND task = ?", [state, row, task])
            self._lease(connection, row, reviewer)

    def undo(self, reviewer: str) -> tuple[Painting, str] | None:
        """Take back the reviewer's last decision, and give them its painting and task; `None` where there is none."""
        with self._connected(writes=True) as connection:
            last = connection.execute(
                "SELECT id, row, task, painting.reviewer, leased_until FROM decision JOIN painting USING (row) "
                "WHERE decision.reviewer = ? AND NOT is_undone ORDER BY id DESC LIMIT 1",
                [reviewer],
            ).fetchone()
            if last is None:
                return None
            number, row, task, holder, until = last
            if holder != reviewer and until > time.time():
                raise ValueError(f"Your last decision is about row {row + 1}, which {holder} is looking at now.")
            connection.execute("UPDATE decision SET is_undone = 1 WHERE id = ?", [number])
            state = "iif(known IS NULL, 'open', 'doubted')"
            connection.execute(f"UPDATE suggestion SET state = {state} WHERE row = ? AND task = ?", [row, task])
            self._lease(connection, row, reviewer)
        return self.painting(row), task

    def progress(self) -> dict[str, dict[str, Any]]:
        """By task how many are `open`, `decided` and `skipped`, the `agreement`, and the `estimated_accuracy`."""
        found = {}
        with self._connected() as connection:
            for task in self.tasks:
                query = "SELECT state, count(*) FROM suggestion WHERE task = ? GROUP BY state"
                states = Counter(dict(connection.execute(query, [task]).fetchall()))
                query = (
                    "SELECT decision.confidence, decision.label = suggested, known IS NULL FROM decision "
                    "JOIN suggestion USING (row, task) WHERE task = ? AND NOT is_undone AND decision.label IS NOT NULL"
                )
                decided = np.array(connection.execute(query, [task]).fetchall(), dtype=float).reshape(-1, 3)
                query = "SELECT confidence FROM suggestion WHERE task = ? AND state = 'open'"
                remaining = [confidence for (confidence,) in connection.execute(query, [task])]
                # Doubted labels are those where the model differs from the catalogue: they say nothing of the open.
                drawn = decided[decided[:, 2] > 0]
                found[task] = {
                    "open": states["open"],
                    "decided": states["decided"],
                    "skipped": states["skipped"] + states["left"],
                    "agreement": float(decided[:, 1].mean()) if len(decided) else None,
                    "estimated_accuracy": estimated_accuracy(drawn[:, 0], drawn[:, 1], remaining),
                }
        return found

    def decisions(self) -> Iterator[dict[str, Any]]:
        """The decisions that hold, in their order: row, task, label, is_new, suggested, confidence, reviewer, time."""
        with self._connected() as connection:
            connection.row_factory = sqlite3.Row
            names = "row, task, label, is_new, suggested, confidence, reviewer, time"
            query = f"SELECT {names} FROM decision WHERE NOT is_undone AND label IS NOT NULL ORDER BY row, id"
            yield from map(dict, connection.execute(query))

    def _lease(self, connection: sqlite3.Connection, row: int, reviewer: str) -> None:
        until = time.time() + 600  # seconds, after which a painting that somebody left comes to others
        connection.execute("UPDATE painting SET leased_until = 0 WHERE reviewer = ? AND row != ?", [reviewer, row])
        connection.execute("UPDATE painting SET reviewer = ?, leased_until = ? WHERE row = ?", [reviewer, until, row])

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                if writes:
                    connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.commit()  # and what was not committed is taken back
        except sqlite3.Error as error:  # a full disk, a lock that is not given back, a folder that is closed
            raise OSError(f"The decisions in {self.path} cannot be read or written: {error}.") from error


def alternatives_in(text: str) -> tuple[tuple[str, float], ...]:
    """Labels with their probabilities, of a cell `<task>_alternatives`."""
    # A label may hold ` | ` and end in digits itself.
    return tuple((label, float(score)) for label, score in re.findall(r"(?s)(.+?) ([01]\.\d+)(?: \| |$)", text))


def estimated_accuracy(confidences: Any, is_right: Any, remaining: Sequence[float]) -> dict[str, float] | None:
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
        right = np.asarray(is_right, dtype=float)[known == number]
        shape = (2 * belief + right.sum(), 2 * (1 - belief) + len(right) - right.sum())
        draws += generator.beta(*shape, size=len(draws)) * np.mean(rest == number)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(draws.mean()), "low": float(low), "high": float(high)}


def decisions_beside(catalogue: Path) -> Path:
    """Where the decisions about a catalogue with suggestions are."""
    return catalogue.with_name(f"{catalogue.name}.decisions.sqlite3")


def begin_review(source: Source, tasks: Sequence[str], reading: Mapping[str, Any] | None = None) -> Review:
    """The review of a catalogue with suggestions, begun or continued in `CATALOGUE.decisions.sqlite3` beside it."""
    catalogue, path = source.catalogue, decisions_beside(source.catalogue.path)
    given = [task for task in tasks if f"{task}_suggested" in catalogue.columns]
    if not given:
        advice = "Give what `semart-hf predict CATALOGUE --output FILE` writes"
        raise ValueError(f"Got {catalogue.path}, which has no column like {tasks[0]}_suggested. {advice}.")
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
        problem = f"Got {catalogue.path}, but the decisions in {path} are about another version of it"
        raise ValueError(f"{problem}. Give that version, or move the decisions away.")
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
            cells = {name: readable(value) for name, value in row.cells.items() if value is not None}
            values = [number, json.dumps(cells, ensure_ascii=False)]
            connection.execute("INSERT INTO painting (row, cells) VALUES (?, ?)", values)
        for turn, place in enumerate(order_by_gain(questions)):
            asked[place][-1] = turn
        connection.executemany("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, ?)", suggestions)
        connection.execute("INSERT INTO about VALUES ('catalogue', ?), ('tasks', ?)", [digest, json.dumps(tasks)])
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
