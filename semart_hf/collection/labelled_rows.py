"""The labelled rows of a catalogue as training reads them, with a person's decisions over the file's labels."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets

from .own_format import Catalogue, Row
from .review import Review
from .several_labels import joined, split_labels
from .suggestions import Columns, painting_of, printable

#: Share of a catalogue's rows that is never trained on.
HELD_OUT_SHARE = 0.2
NUM_NOTICES = 5


class LabelledRows(NamedTuple):
    """The rows of a catalogue that have a label.

    Attributes:
        rows: `row` (its number from 0 on), `image` undecoded, `text`, and the label of each task as text.
        keys: A number from 0 to below 1 for each row, which depends on its picture's name and its text alone.
        problems: By number of a row that has a label but cannot be read, why.
        num_decisions: How many labels are decisions.
        without_picture: By number of a row that is read by its text alone, why its picture is not.
    """

    rows: datasets.Dataset
    keys: list[float]
    problems: dict[int, str]
    num_decisions: int
    without_picture: dict[int, str]

    def notices(self) -> list[str]:
        """Sentences about the rows that are left out or lack their picture; of many rows the first ones."""
        found = []
        for rows, what in ((self.problems, "left out"), (self.without_picture, "read by its text alone")):
            found += [f"Row {number + 1} is {what}: {reason}" for number, reason in [*rows.items()][:NUM_NOTICES]]
            if len(rows) > NUM_NOTICES:
                found.append(f"… and likewise {len(rows) - NUM_NOTICES:,} more rows.")
        return found


def labelled_rows(
    catalogue: Catalogue, columns: Columns, tasks: Sequence[str], images: Path, review: Review | None = None
) -> LabelledRows:
    """The rows with a label of one of the tasks: a decision, else the cell's unless a suggestion was filled in."""
    decisions = {} if review is None else decisions_by_row(catalogue, review)
    found: list[dict[str, Any]] = []
    keys, problems, without_picture, num_decisions = [], {}, {}, 0
    for number, row in enumerate(catalogue.rows()):
        decided = {task: label for task, label in decisions.get(number, {}).items() if task in tasks}
        labels = {task: decided.get(task) or own_label(row, columns, task) for task in tasks}
        if not any(labels.values()):
            continue
        try:
            painting, why_no_picture = painting_of(row, columns, images)
        except ValueError as error:
            problems[number] = printable(str(error))
            continue
        if why_no_picture is not None:
            without_picture[number] = printable(why_no_picture)
        num_decisions += len(decided)
        found.append({"row": number, "image": image_cell(painting), "text": painting.get("text"), **labels})
        keys.append(row_key(row, columns))
    if not found:
        raise ValueError(
            f"Got {catalogue.path}, of which no row that can be read has a label in {list(columns.tasks.values())} or "
            "a decision. Give the catalogue's labels, or decide about some rows first."
        )
    if without_picture and all(row["image"] is None for row in found):
        number, reason = next(iter(without_picture.items()))
        raise ValueError(
            f"Got {catalogue.path}, of whose {len(without_picture):,} pictures none can be read; the first, of row "
            f"{number + 1}: {reason}. Pictures are looked for in {images}. Put them there, or give `semart-hf app` "
            "(whose options --decisions takes) or `audit` another folder by --images, or --image_column '' for none."
        )
    features = {"row": datasets.Value("int64"), "image": datasets.Image(decode=False)}
    features |= dict.fromkeys(["text", *tasks], datasets.Value("string"))
    rows = datasets.Dataset.from_list(found, features=datasets.Features(features))
    return LabelledRows(rows, keys, problems, num_decisions, without_picture)


def decisions_by_row(catalogue: Catalogue, review: Review) -> dict[int, dict[str, str]]:
    """The labels that people decided on, by row and task."""
    if catalogue.digest() != review.digest:
        raise ValueError(
            f"Got {catalogue.path}, but the decisions in {review.path} are about another version of it. Give the file "
            "with suggestions that was reviewed."
        )
    found: dict[int, dict[str, str]] = {}
    for decision in review.decisions():
        found.setdefault(decision["row"], {})[decision["task"]] = decision["label"]
    return found


def own_label(row: Row, columns: Columns, task: str) -> str | None:
    """The label in the catalogue's own column, if a person wrote it there or decided on it."""
    column, separator = columns.tasks.get(task), columns.separators.get(task)
    is_filled = f" {column} " in f" {row.cells.get('filled_by_suggestion')} " and not row.cells.get(f"{task}_decided")
    cell = None if column is None or is_filled else row.cells.get(column)
    return joined(split_labels(cell, separator), separator) if cell and separator else cell


def row_key(row: Row, columns: Columns) -> float:
    """A number from 0 to below 1, drawn by the row's picture and text; labels and order of the rows do not matter."""
    names = (*((columns.image,) if columns.image else ()), *columns.text)
    cells = "\0".join(row.cells.get(name) or "" for name in names)
    digest = hashlib.blake2b(cells.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def image_cell(painting: Mapping[str, Any]) -> dict[str, Any] | None:
    """A painting's picture as `datasets` keeps it."""
    image = painting.get("image")
    if image is None:
        return None
    if isinstance(image, str):
        return {"path": image, "bytes": None}
    image.seek(0)
    return {"path": None, "bytes": image.read()}


def tasks_with_new_labels(
    tasks: Iterable[Mapping[str, Any]], rows: datasets.Dataset, least: int
) -> list[dict[str, Any]]:
    """A model's tasks, the categorical ones with labels that they lack and enough rows have; `UNK` stays last."""
    found = []
    for task in tasks:
        labels = list(task["labels"])
        if task.get("kind", "categorical") == "categorical":
            cells = [cell for cell in rows[task["name"]] if cell is not None]
            new = sorted(cell for cell in {*cells} - {*labels} if cells.count(cell) >= least)
            place = len(labels) - (labels[-1:] == ["UNK"])
            labels[place:place] = new
        found.append({**task, "labels": labels})
    return found


def with_known_labels(rows: datasets.Dataset, tasks: Iterable[Mapping[str, Any]]) -> tuple[datasets.Dataset, int]:
    """The rows without labels that a task without `UNK` lacks, and how many these were."""
    num_left_out = 0
    for task in tasks:
        labels = {*task["labels"]}
        if task.get("kind") == "multi_label" or "UNK" in labels:
            continue
        cells = [cell if cell in labels else None for cell in rows[task["name"]]]
        num_left_out += cells.count(None) - rows[task["name"]][:].count(None)
        rows = rows.remove_columns(task["name"]).add_column(task["name"], cells, feature=datasets.Value("string"))
    return rows, num_left_out
