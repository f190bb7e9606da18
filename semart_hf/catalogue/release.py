"""The official SemArt folder (CSV files and Images), read and checked row by row, as a typed `DatasetDict`."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.fingerprint import Hasher
from datasets.table import InMemoryTable

from .catalogue import read_catalogue
from .labels import UNKNOWN, numbers_of_labels
from .mapping import CatalogueMapping, ColumnRule, SplitRule
from .picture_files import find_picture
from .schema import SEMART_TASKS, Task
from .tables import (
    DEFAULT_SHARES,
    PIECE_ROWS,
    TEXT_COLUMNS,
    Problem,
    ReleaseTables,
    check_shares,
    count_problems,
    label_feature,
    numbered,
    stored_rows,
)
from .text import is_description_alone, text_of

logger = logging.getLogger(__name__)

#: The official files by split.
RELEASE_FILES = {"train": "semart_train.csv", "validation": "semart_val.csv", "test": "semart_test.csv"}

#: Lies beside the painted miniature alone: its best reachable accuracies.
MINIATURE_FILE = "ceiling.json"

_REQUIRED = ("image_file", "type", "school", "timeframe")
_NAMES = (*_REQUIRED, "medium", *TEXT_COLUMNS)
_RULES = {name: ColumnRule((name.upper(),), is_optional=name not in _REQUIRED) for name in _NAMES}


def read_rows(
    folder: str | Path,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    encoding: str | None = None,
    delimiter: str | None = None,
    follow_links: bool = False,
    tasks: Sequence[Task] = SEMART_TASKS,
) -> ReleaseTables:
    """The rows of a release's folder, or of one CSV file of its form, which is shared out to splits.

    Any column of the files may be one of `tasks`, by its name in lower case. For `encoding` and `delimiter` see
    `CatalogueMapping`.
    """
    folder = Path(folder)
    files: dict[str | None, Path] = {None: folder}
    if not folder.is_file():
        files = {split: folder / name for split, name in RELEASE_FILES.items() if (folder / name).is_file()}
    if not files:
        found = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else "nothing"
        raise ValueError(
            f"Got the folder {folder} with {found}, but a SemArt release holds {list(RELEASE_FILES.values())} and "
            "Images/. Pass the folder that holds them, or one such CSV file; what another catalogue's columns are, "
            "a mapping says (--mapping, docs/catalogue.md)."
        )
    if shares is not None and None not in files:
        raise ValueError(
            f"Got shares={dict(shares)} for {folder}, but its files {[file.name for file in files.values()]} are "
            "splits already. Leave shares out, or pass one CSV file."
        )
    shares = DEFAULT_SHARES if shares is None else shares
    check_shares(shares)
    mapping = CatalogueMapping(
        _RULES,
        tuple(tasks),
        files={split: file.name for split, file in files.items()},
        format="tsv",
        encoding=encoding,
        delimiter=delimiter,
        keep=None,
        splits=SplitRule(shares=shares, seed=seed) if None in files else None,
        has_upper_header=True,
    )
    tables = read_catalogue(folder, mapping, follow_links=follow_links)
    for split, path in files.items():
        if split is not None and split not in tables.splits:
            raise ValueError(f"Got {path} without a readable row, but a split has at least one. Check the download.")
        if encoding is None and tables.encodings[path.name] != "cp1252":
            logger.warning("%s is read as %s, not cp1252 as the official release.", path, tables.encodings[path.name])
    place = folder.parent if folder.is_file() else folder
    return dataclasses.replace(tables, is_painted_miniature=(place / MINIATURE_FILE).is_file())


def typed_splits(
    tables: ReleaseTables,
    *,
    min_label_count: int = 10,
    text_columns: Sequence[str] | str = ("DESCRIPTION",),
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> datasets.DatasetDict:
    """The splits of a catalogue's tables as typed datasets, their pictures decoded when a row is read.

    Each split has the columns `image`, the `TEXT_COLUMNS`, the tasks, `text`, then the catalogue's further columns.
    An empty cell is `None`, as is `image` where the file is missing; what was missing, odd or dropped is logged.
    Labels are learned from train, unless `vocabularies` gives them by task.
    """
    if vocabularies is None:
        if "train" not in tables.splits:
            raise ValueError(
                f"Got only the splits {list(tables.splits)}, but labels are learned from train "
                f"({RELEASE_FILES['train']}). Add it, or pass vocabularies=, for example a model's."
            )
        vocabularies = tables.vocabularies(min_label_count)
        for task in (task for task, labels in vocabularies.items() if labels == [UNKNOWN]):
            finding = f"No {task} occurs {min_label_count} times in train: its only label is {UNKNOWN}."
            logger.warning("%s Lower min_label_count to learn it.", finding)
    problems = list(tables.problems)
    splits = datasets.DatasetDict()
    for split in tables.splits:
        splits[split] = _typed_split(tables, split, vocabularies, text_columns, problems)
    firsts = {problem.problem: problem for problem in reversed(problems)}
    for kind, count in count_problems(problems).items():
        first = firsts[kind]
        place = f"{first.split} row {first.row}: {first.detail} ({first.action})"
        logger.warning("%s in %d rows, first in %s.", kind, count, place)
    return splits


def _typed_split(
    tables: ReleaseTables,
    split: str,
    vocabularies: Mapping[str, Sequence[str]],
    text_columns: Sequence[str] | str,
    problems: list[Problem],
) -> datasets.Dataset:
    """One split: the words stay where they lie, and only what is new is written."""
    rows, words = tables.splits[split], datasets.Value("string")
    tasks = tables.labelled_tasks
    labels = {name: label_feature(task, vocabularies[name]) for name, task in tasks.items()}
    numbers = {name: numbers_of_labels(vocabularies[name]) for name in tasks}
    new = datasets.Features({"image": datasets.Image(), **labels, "text": words})
    if is_description_alone(text_columns):
        del new["text"]

    def new_columns() -> Iterator[pa.Table]:
        for cells in rows.iter(PIECE_ROWS):
            piece: dict[str, list[Any]] = {"image": []}
            for row, folder, name in zip(
                cells["row_number"], cells["images_folder"], cells["image_file"], strict=True
            ):
                found = find_picture(folder, name, follow_links=tables.follow_links)
                piece["image"].append(str(found) if isinstance(found, Path) else None)
                if not isinstance(found, Path):
                    problems.append(Problem(row, split, name, *found, "kept without a picture"))
            for name, task in tasks.items():
                piece[name] = [numbered(cell, task, numbers[name]) for cell in cells[name]]
            if "text" in new:
                each_row = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
                piece["text"] = [text_of(row, text_columns) for row in each_row]
            yield datasets.Dataset.from_dict(piece, features=new).data.table

    made = stored_rows(new_columns())
    names = ("image", *TEXT_COLUMNS, *tasks, "text", *tables.extra_columns)
    columns = {name: made.data[name] if name in new else rows.data[name] for name in names if name != "text"}
    columns["text"] = made.data["text"] if "text" in new else rows.data["description"]
    return datasets.Dataset(
        InMemoryTable(pa.table({name: columns[name] for name in names})),
        datasets.DatasetInfo(features=datasets.Features({name: new.get(name, words) for name in names})),
        split=datasets.NamedSplit(split),
        fingerprint=Hasher.hash((rows._fingerprint, made._fingerprint)),
    )
