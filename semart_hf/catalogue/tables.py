"""A catalogue's rows in one form, whatever they were read from: strings by split, and where pictures lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import pyarrow as pa

from .medium import medium_of
from .problems import Problem
from .vocabulary import TASKS

#: Columns that every prepared dataset has between `image` and the columns that only some releases have.
TEXT_COLUMNS = ("image_file", "description", "author", "title", "technique", "date")

#: Columns that say where a row comes from; a dataset made of the rows leaves them out.
ORIGIN_COLUMNS = ("row_number", "images_folder")

#: Columns that are made here: a catalogue's own of one of these names are kept as `catalogue_image` and so on.
RESERVED_COLUMNS = ("image", "text", "split", "release", *ORIGIN_COLUMNS)


@dataclass(frozen=True)
class ReleaseTables:
    """A catalogue's rows by split, before their labels are numbered and their pictures opened.

    Attributes:
        splits: By split, in the order of `SPLITS`: rows with the columns `row_number` (in its file, from 1),
            `images_folder` (where `image_file` lies), the `TEXT_COLUMNS`, the tasks and the catalogue's further
            columns in lower case, the same ones in every split. Cells are strings or `None`, but in `row_number`.
        encodings: How each file was encoded, by its name.
        problems: What was odd about rows, dropped ones included.
        follow_links: Whether links in the folder of pictures may lead out of it.
        is_painted_miniature: Whether all of it was painted by `semart-hf miniature`.
    """

    splits: dict[str, datasets.Dataset]
    encodings: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    follow_links: bool = False
    is_painted_miniature: bool = False

    @property
    def extra_columns(self) -> list[str]:
        """Names of the columns that this catalogue has beyond the common ones, in their order."""
        common = {*ORIGIN_COLUMNS, *TEXT_COLUMNS, *TASKS}
        return [column for column in next(iter(self.splits.values())).column_names if column not in common]


def common_table(
    given: Mapping[str, Sequence[str | None]], row_numbers: Sequence[int], images_folder: Path
) -> pa.Table:
    """Rows of the form that `ReleaseTables` describes, from columns of the same names in lower case.

    Columns that are not there are missing in every row; `medium` is then derived from `technique`.
    """
    num_rows = len(row_numbers)
    columns: dict[str, Sequence[object]] = {
        "row_number": row_numbers,
        "images_folder": [str(images_folder)] * num_rows,
    }
    columns |= dict.fromkeys((*TEXT_COLUMNS, *TASKS), [None] * num_rows)
    if "technique" in given:
        columns["medium"] = [medium_of(technique) for technique in given["technique"]]
    columns |= given
    types = {name: pa.int64() if name == "row_number" else pa.string() for name in columns}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
