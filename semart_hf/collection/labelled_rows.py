"""A person's decisions over a catalogue's labels: the catalogue with them, and its labelled rows for a training."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pandas as pd

from semart_hf.catalogue.catalogue_files import with_column
from semart_hf.catalogue.schema import UNKNOWN, learn_vocabulary
from semart_hf.catalogue.tables import cells_of
from semart_hf.files import atomic_file

from .own_format import Addition, Row, printable
from .review import Review
from .sources import Source

#: What stands beside each task's suggestion in an export.
DECIDED_COLUMNS = ("decided", "decided_by", "decided_at")
CHANGE_COLUMNS = ("row", "task", "before", "after", "suggested", "confidence", "is_new", "reviewer", "time")
#: From and below which `row_key` a row is of which split; those of `test` are never trained on.
SPLIT_KEYS = {"train": (0.3, 1), "validation": (0.2, 0.3), "test": (0, 0.2)}
NUM_NOTICES = 5


def labelled_rows(
    source: Source, tasks: Sequence[str], review: Review | None = None
) -> tuple[datasets.Dataset, int, list[str]]:
    """The rows with a label of one of the tasks, how many labels are decisions, and sentences about the other rows.

    A label is a decision, else the cell's unless a suggestion was filled in. Beside the labels as texts each row has
    its `row`, a number from 0 on, an undecoded `image`, a `text`, and a `row_key` from 0 to below 1, which depends on
    its picture's name and its text alone.
    """
    path, decisions = source.catalogue.path, {} if review is None else _decisions(review, source)
    found: list[dict[str, Any]] = []
    left_out, without_picture, num_decisions = list[str](), list[str](), 0
    for number, row in enumerate(source.rows()):
        decided = {task: decisions[number, task]["label"] for task in tasks if (number, task) in decisions}
        labels = {task: decided.get(task) or source.label(row, task) for task in tasks}
        if not any(labels.values()):
            continue
        try:
            painting, why_no_picture = source.painting(row)
        except ValueError as error:
            left_out.append(f"Row {number + 1} is left out: {printable(str(error))}")
            continue
        if why_no_picture is not None:
            without_picture.append(f"Row {number + 1} is read by its text alone: {printable(why_no_picture)}")
        num_decisions += len(decided)
        found.append({"row": number, "row_key": _key(row, source), "image": None, "text": None, **painting, **labels})
    if not found:
        lacks = f"no row that can be read has a label in {list(source.label_columns.values())} or a decision"
        raise ValueError(f"Got {path}, of which {lacks}. Give its labels, or decide about some rows first.")
    if without_picture and all(row["image"] is None for row in found):
        raise ValueError(
            f"Got {path}, of whose {len(without_picture):,} pictures none can be read ({without_picture[0]}). They "
            f"are looked for in {source.images}. Give `semart-hf app` (whose options --decisions takes) or `audit` "
            "another folder by --images, or --image_column '' for none."
        )
    features = {"row": datasets.Value("int64"), "row_key": datasets.Value("float64")}
    features |= {"image": datasets.Image(decode=False), **dict.fromkeys(["text", *tasks], datasets.Value("string"))}
    rows = datasets.Dataset.from_list(found, features=datasets.Features(features))
    notices = []
    for lines in (left_out, without_picture):
        notices += lines[:NUM_NOTICES]
        if len(lines) > NUM_NOTICES:
            notices.append(f"… and likewise {len(lines) - NUM_NOTICES:,} more rows.")
    return rows, num_decisions, notices


def _decisions(review: Review, source: Source) -> dict[tuple[int, str], dict[str, Any]]:
    if source.catalogue.digest() != review.digest:
        problem = f"Got {source.catalogue.path}, but the decisions in {review.path} are about another version of it"
        raise ValueError(f"{problem}. Give the file with suggestions that was reviewed.")
    return {(decision["row"], decision["task"]): decision for decision in review.decisions()}


def _key(row: Row, source: Source) -> float:
    names = filter(None, (source.image_column, *source.text_columns))
    cells = "\0".join(row.cells.get(name) or "" for name in names)
    digest = hashlib.blake2b(cells.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def tasks_with_new_labels(
    tasks: Iterable[Mapping[str, Any]], rows: datasets.Dataset, least: int
) -> list[dict[str, Any]]:
    """A model's tasks, the categorical ones with labels that they lack and enough rows have; `UNK` stays last."""
    found = []
    for task in tasks:
        labels = list(task["labels"])
        if task.get("kind", "categorical") == "categorical":
            given = learn_vocabulary(cells_of(rows, task["name"]), min_label_count=least)
            place = len(labels) - (labels[-1:] == [UNKNOWN])
            labels[place:place] = sorted({*given} - {*labels, UNKNOWN})
        found.append({**task, "labels": labels})
    return found


def with_known_labels(rows: datasets.Dataset, tasks: Iterable[Mapping[str, Any]]) -> tuple[datasets.Dataset, int]:
    """The rows without labels that a task without `UNK` lacks, and how many these were."""
    num_left_out = 0
    for task in tasks:
        labels = {*task["labels"]}
        if task.get("kind") == "multi_label" or UNKNOWN in labels:
            continue
        given = rows[task["name"]][:]
        cells = [cell if cell in labels else None for cell in given]
        num_left_out += cells.count(None) - given.count(None)
        rows = with_column(rows, task["name"], cells, datasets.Value("string"))
    return rows, num_left_out


def export_decisions(review: Review, source: Source, output: Path) -> int:
    """Write the catalogue with what was decided, and what that changes as `OUTPUT.changes.csv`; how many decisions."""
    catalogue, decisions = source.catalogue, _decisions(review, source)
    changes: list[list[Any]] = []

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
