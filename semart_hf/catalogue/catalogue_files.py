"""The files of any catalogue as tables of their own columns: CSV, TSV, JSON lines, Parquet, ImageFolder, Hub data set.

Rows are read a piece at a time. Pictures that are embedded in them are written to a folder as they are: every
catalogue becomes rows beside a folder of pictures, and memory grows with neither.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow
import pyarrow.parquet

from semart_hf.files import atomic_file

from .delimited import doubtful_encoding, read_delimited
from .mapping import normal
from .problems import Problem
from .stored_rows import PIECE_ROWS
from .text_files import open_lines

# First bytes of the picture formats, for the ending of a file; others are told apart when they are opened.
_SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"RIFF", ".webp"),
)

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Selection:
    """What of a table is read, and how.

    Attributes:
        columns: Names of the columns; `None` for all.
        where: Rows: column to the `normal` values it may have.
        image_column: Column of embedded pictures, which are written to `pictures_folder` and read as their names.
        pictures_folder: Needed with `image_column`.
        encoding: Of text files; `None` finds it.
        delimiter: Of delimited files; `None` finds it.
        has_upper_header: Whether the columns of delimited files are called by their names in upper case.
    """

    columns: frozenset[str] | None = None
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image_column: str | None = None
    pictures_folder: Path | None = None
    encoding: str | None = None
    delimiter: str | None = None
    has_upper_header: bool = False


@dataclass
class RawTable:
    """The selected rows of one file or split, in the catalogue's own columns.

    Attributes:
        name: File or split that it was read from.
        columns: Names of the columns that are read.
        reading: What its columns were read from, for errors.
        pieces: Rows, to be read once. Cells are strings or `None`; the index is the row's number in the file, from 1.
        encoding: How the file was encoded, for text files.
        problems: Rows that were dropped or read in an unusual way; complete when the rows were read.
        num_left_out: Rows that the selection leaves out, likewise.
    """

    name: str
    columns: list[str]
    reading: str
    pieces: Iterator[pd.DataFrame]
    encoding: str | None = None
    problems: list[Problem] = field(default_factory=list)
    num_left_out: int = 0


def read_table(path: Path, form: str, selection: Selection, *, split: str | None = None) -> RawTable:
    """Rows of one CSV, TSV, JSON lines or Parquet file.

    Args:
        path: The file.
        form: `csv`, `tsv`, `jsonl` or `parquet`.
        selection: What is read.
        split: Split that the file's problems belong to.

    Raises:
        ValueError: The file is not there, is not of this form, or lacks a column that chooses rows.
    """
    if not path.is_file():
        raise ValueError(f"Got {path}, where no file is, but the mapping names it. Correct the path or the mapping.")
    if form == "parquet":
        try:
            file = pyarrow.parquet.ParquetFile(path)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"Got {path}, which is no Parquet file ({error}). Check the download.") from error
        header = file.schema_arrow.names
        wanted = [name for name in header if selection.columns is None or name in selection.columns]
        batches = file.iter_batches(_BATCH_SIZE, columns=wanted)
        rows = ([row.get(name) for name in header] for batch in batches for row in batch.to_pylist())
        return _selected(path.name, path.stem, header, enumerate(rows, start=1), selection)
    if form == "jsonl":
        return _read_json_lines(path, selection, split)
    lines = read_delimited(
        path,
        delimiter=selection.delimiter,
        encoding=selection.encoding,
        split=split,
        usual="," if form == "csv" else "\t",
    )
    header = [name.strip() or f"column_{number}" for number, name in enumerate(lines.header, start=1)]
    if selection.has_upper_header:
        header = [name.upper() for name in header]
    table = _selected(path.name, path.stem, header, lines.rows, selection, lines.reading)
    table.encoding, table.problems = lines.encoding, lines.problems
    return table


def read_dataset(source: str, selection: Selection) -> dict[str, RawTable]:
    """Rows of each split of a data set on the Hub, or of a folder that `datasets.load_dataset` opens.

    Labels are read by their names.
    """
    return {split: _dataset_table(split, rows, selection) for split, rows in datasets.load_dataset(source).items()}


def imagefolder_files(folder: Path) -> dict[str | None, Path]:
    """Metadata file by split of an ImageFolder; the split is `None` where the metadata lies in the folder itself.

    Raises:
        ValueError: There is no metadata file in the folder or its sub-folders.
    """
    names = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found:
        return {None: found}
    by_split: dict[str | None, Path] = {path.parent.name: path for name in names for path in folder.glob(f"*/{name}")}
    if not by_split:
        raise ValueError(
            f"Got the folder {folder} without {list(names)}, but an ImageFolder says in one of them, in itself or in "
            "a sub-folder by split, what each picture (file_name) is. Write it."
        )
    return by_split


def _dataset_table(split: str, rows: datasets.Dataset, selection: Selection) -> RawTable:
    header = rows.column_names
    chosen = rows.select_columns([name for name in header if selection.columns is None or name in selection.columns])
    features = dict(chosen.features)
    for name, feature in features.items():
        if isinstance(feature, datasets.Image):
            chosen = chosen.cast_column(name, datasets.Image(decode=False))
    cells = ([_label_name(features.get(name), row.get(name)) for name in header] for row in chosen)
    return _selected(split, split, header, enumerate(cells, start=1), selection)


def _read_json_lines(path: Path, selection: Selection, split: str | None) -> RawTable:
    _, encoding, doubt = open_lines(path, selection.encoding)
    problems: list[Problem] = []
    if doubt is not None:
        problems.append(doubtful_encoding(path, split, encoding, doubt))
    header: dict[str, None] = {}
    for _, record in _json_records(path, encoding, split, problems):
        header.update(dict.fromkeys(record))
    names = list(header)
    rows = ((line, [record.get(name) for name in names]) for line, record in _json_records(path, encoding, split, []))
    table = _selected(path.name, path.stem, names, rows, selection)
    table.encoding, table.problems = encoding, problems
    return table


def _json_records(
    path: Path, encoding: str, split: str | None, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each object; lines that hold none are added to `problems`."""
    for line, content in enumerate(open_lines(path, encoding)[0], start=1):
        if not content.strip():
            continue
        try:
            record, fault = json.loads(content), "no object of names and values"
        except json.JSONDecodeError as error:
            record, fault = None, f"no JSON ({error})"
        if isinstance(record, dict):
            yield line, record
        else:
            problems.append(Problem(line, split, None, "malformed_row", f"line {line} is {fault}", "dropped"))


def _selected(
    name: str,
    stem: str,
    header: list[str],
    rows: Iterable[tuple[int, Sequence[Any]]],
    selection: Selection,
    reading: str | None = None,
) -> RawTable:
    """Table of the selected rows and columns; `stem` begins the names of pictures that are written."""
    reading = f"{name}: {reading or f'its columns are {header}'}"
    wanted = [place for place, column in enumerate(header) if selection.columns is None or column in selection.columns]
    columns = [header[place] for place in wanted]
    absent = [column for column in selection.where if column not in header]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if absent or twice:
        fault = f"without the column {absent[0]!r}" if absent else f"with the column {twice[0]!r} twice"
        raise ValueError(f"Got a catalogue {fault}, in {reading}. Correct the mapping or the file.")
    table = RawTable(name, columns, reading, iter(()))
    conditions = [(header.index(column), allowed) for column, allowed in selection.where.items()]
    image_place = header.index(selection.image_column) if selection.image_column in header else None

    def cells_of(number: int, row: Sequence[Any]) -> list[str | None]:
        cells = [None if place == image_place else _as_text(row[place]) for place in wanted]
        if image_place is not None and selection.pictures_folder:
            picture = _write_picture(row[image_place], selection.pictures_folder / f"{stem}-{number:08d}")
            cells[wanted.index(image_place)] = picture
        return cells

    def pieces() -> Iterator[pd.DataFrame]:
        chosen: dict[int, list[str | None]] = {}
        for number, row in rows:
            if any(normal(_as_text(row[place])) not in allowed for place, allowed in conditions):
                table.num_left_out += 1
                continue
            chosen[number] = cells_of(number, row)
            if len(chosen) == PIECE_ROWS:
                yield _piece(chosen, table)
                chosen = {}
        yield _piece(chosen, table)

    table.pieces = pieces()
    return table


def _piece(rows: Mapping[int, list[str | None]], table: RawTable) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows.values()), columns=table.columns, index=list(rows), dtype=object)
    frame.attrs["reading"] = table.reading
    return frame


def _write_picture(picture: Any, path: Path) -> str | None:
    """Name of the file that holds an embedded picture, at `path` with its ending; `None` where there is no picture.

    One that is there already is not written again, so that an interrupted reading goes on where it stopped.
    """
    content = picture.get("bytes") if isinstance(picture, Mapping) else picture
    if not content:
        return None
    ending = next((ending for start, ending in _SIGNATURES if content.startswith(start)), ".bin")
    path = path.with_name(path.name + ending)
    if not path.is_file():
        with atomic_file(path) as unfinished:
            unfinished.write_bytes(content)
    return path.name


def _as_text(value: Any) -> str | None:
    """A cell as a string: lists with `|` between their parts, whole numbers without a point, no pictures."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None or isinstance(value, (bytes, Mapping)):
        return None
    if isinstance(value, (list, tuple)):
        return "|".join(text for text in map(_as_text, value) if text) or None
    if isinstance(value, float):
        if value != value:  # how pandas writes a missing number
            return None
        return str(int(value)) if value.is_integer() else str(value)
    return str(value).strip() or None


def _label_name(feature: Any, value: Any) -> Any:
    """A label by its name; values of other features as they are."""
    if not isinstance(feature, datasets.ClassLabel):
        return value
    return None if value is None or value < 0 else feature.int2str(value)
