"""A catalogue's rows in one form, whatever they were read from: strings by split, and where pictures lie."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PureWindowsPath

import pandas as pd

from .delimited import unescape_entities
from .medium import medium_of
from .problems import Problem
from .stored_rows import StoredRows
from .vocabulary import TASKS

#: Columns that every prepared dataset has between `image` and the columns that only some releases have.
TEXT_COLUMNS = ("image_file", "description", "author", "title", "technique", "date")

#: Columns that say where a row comes from; a dataset made of the rows leaves them out.
ORIGIN_COLUMNS = ("row_number", "images_folder")

# Columns that are made here: a release that has one of this name would be read as if it were that.
RESERVED_COLUMNS = ("image", "text", *ORIGIN_COLUMNS)


@dataclass(frozen=True)
class ReleaseTables:
    """A catalogue's rows by split, before their labels are numbered and their pictures opened.

    Attributes:
        splits: By split, in the order of `SPLITS`: rows with the columns `row_number` (in its file, from 1),
            `images_folder` (where `image_file` lies, `None` where there are no pictures), the `TEXT_COLUMNS`, the
            tasks and the catalogue's further columns in lower case, the same ones in every split. Every cell is a
            string or `None`, except in `row_number`.
        encodings: How each file was encoded, by its name.
        problems: What was odd about rows, dropped ones included.
    """

    splits: dict[str, StoredRows]
    encodings: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def extra_columns(self) -> list[str]:
        """Names of the columns that this catalogue has beyond the common ones, in their order."""
        common = {*ORIGIN_COLUMNS, *TEXT_COLUMNS, *TASKS}
        return [column for column in next(iter(self.splits.values())).columns if column not in common]


def picture_path(images_folder: str | Path, image_file: str) -> Path:
    """Path of a picture by its name in the release, inside `images_folder`; the file need not be there.

    Raises:
        ValueError: The name is empty, or leads outside the folder: by `..`, as an absolute path, or through a link.
    """
    folder = _real_folder(str(images_folder))
    # A name written on Windows leads out there, if not here.
    names = PureWindowsPath(image_file)
    if not image_file.strip() or "\0" in image_file or names.anchor or ".." in names.parts:
        raise ValueError(_outside(image_file, folder))
    path = os.path.join(folder, image_file)
    if not os.path.realpath(path).startswith(folder.rstrip(os.sep) + os.sep):
        raise ValueError(_outside(image_file, folder))
    return Path(path)


def common_columns(given: Iterable[str]) -> list[str]:
    """Names of the columns that `common_frame` makes of the given ones."""
    return list(dict.fromkeys((*ORIGIN_COLUMNS, *TEXT_COLUMNS, *TASKS, *given)))


def common_frame(given: pd.DataFrame, row_numbers: Sequence[int], images_folder: Path | None) -> pd.DataFrame:
    """Rows of the form that `ReleaseTables` describes, from columns of the same names in lower case.

    Columns that are not there are missing in every row; `medium` is then derived from `technique`.
    """
    columns: dict[str, Sequence[object]] = {
        "row_number": list(row_numbers),
        "images_folder": [None if images_folder is None else str(images_folder)] * len(given),
    }
    for column in (*TEXT_COLUMNS, *TASKS):
        columns[column] = list(given[column]) if column in given else [None] * len(given)
    if "medium" not in given and "technique" in given:
        columns["medium"] = [medium_of(technique) for technique in given["technique"]]
    columns |= {column: list(given[column]) for column in given if column not in columns}
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def clean_cell(cell: str) -> str | None:
    """A cell's text with its entities as characters and no space around it; `None` where nothing is left."""
    return unescape_entities(cell).strip() or None


@lru_cache(maxsize=32)
def _real_folder(folder: str) -> str:
    """The folder without links, looked up once for all its pictures."""
    return os.path.realpath(folder)


def _outside(image_file: str, folder: str) -> str:
    return f"Got the picture name {image_file!r}, but pictures lie inside {folder}. Put the file there and name it so."
