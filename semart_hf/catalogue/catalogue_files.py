"""The files of any catalogue as rows: CSV, TSV, JSON lines, Parquet, workbook, ImageFolder, Hub data set."""

import ast
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
from huggingface_hub.constants import HF_HUB_CACHE

from semart_hf.extras import optional
from semart_hf.files import atomic_file

from .mapping import CatalogueMapping, normal
from .schema import Problem
from .tables import PIECE_ROWS, cells_of
from .text_files import checked_rows, open_lines, read_records

FORMAT_OF_ENDING = {f".{form}": form for form in ("csv", "tsv", "jsonl", "parquet")}
FORMAT_OF_ENDING |= {".txt": "csv", ".ndjson": "jsonl"}
FORMAT_OF_ENDING |= dict.fromkeys((".xls", ".xlsx", ".xlsm", ".ods"), "workbook")
# A list as Python and JSON write it, of words alone: `[1653]` is a doubtful date.
_WORD = r"""(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")"""
_LIST = re.compile(rf"\[\s*(?:{_WORD}(?:\s*,\s*{_WORD})*\s*,?)?\s*\]")
_BATCH_SIZE = 64


@dataclass
class SourceTable:
    """One file or split as it stands there, before anything is understood by it."""

    name: str  # the file's, or the split's
    header: list[str]
    rows: Iterator[tuple[int, Mapping[str, Any]]]  # number from 1, and cells by column; parsed when read, once
    encoding: str | None = None
    problems: list[Problem] = field(default_factory=list)  # complete when all rows are read
    reading: str = ""  # what its columns were read from, for errors
    num_left_out: int = 0  # rows that a mapping leaves out, likewise
    split: str | None = None
    images_folder: Path = Path()  # where its pictures lie, or are written
    picture_roots: tuple[Path, ...] = ()  # where pictures may lie that a data set names in place of their content

    def __post_init__(self) -> None:
        self.reading = self.reading or f"{self.name}: its columns are {self.header}"

    def check_columns(self, named: Iterable[tuple[str, str]], further: Iterable[str] = ()) -> None:
        """Refuse keys of a mapping that name columns which are neither the table's nor `further` ones."""
        columns = {*self.header, *further}
        if missing := [(key, column) for key, column in named if column not in columns]:
            keys, names = zip(*missing, strict=True)
            raise ValueError(
                f"Got {', '.join(keys)} with the columns {list(names)}, but they are not in {self.reading}. If it was "
                "read wrongly, say encoding: or delimiter: in the mapping, or --encoding or --delimiter; else correct "
                "the mapping, or write one (docs/catalogue.md)."
            )

    def pieces(
        self, columns: Set[str] | None, where: Mapping[str, tuple[str, ...]], image_column: str | None = None
    ) -> Iterator[tuple[list[int], dict[str, list[str | None]]]]:
        """Numbers and texts by column of some rows at a time, once at least, where columns have the `normal` values.

        Pictures that are embedded in the `image_column` are written to the folder, and read as their names.
        """
        names = [column for column in self.header if columns is None or column in columns]
        if twice := sorted({column for column in names if names.count(column) > 1}):
            raise ValueError(
                f"Got a catalogue with the column {twice[0]!r} twice, in {self.reading}. Correct the mapping or file."
            )
        num_read = PIECE_ROWS
        while num_read == PIECE_ROWS:
            numbers, num_read = list[int](), 0
            cells: dict[str, list[str | None]] = {name: [] for name in names}
            for number, row in islice(self.rows, PIECE_ROWS):
                num_read += 1
                if any(normal(as_text(row.get(column))) not in allowed for column, allowed in where.items()):
                    self.num_left_out += 1
                    continue
                numbers.append(number)
                for name, values in cells.items():
                    is_picture = name == image_column
                    value = row.get(name)
                    values.append(self._write_picture(value, number) if is_picture else as_text(value))
            yield numbers, cells

    def _write_picture(self, picture: Any, number: int) -> str | None:
        """Name of the file that holds a row's embedded picture, with a digest of it; `None` where there is none."""
        content = picture
        if isinstance(picture, Mapping):  # as `datasets` has it, which names the files of an image folder
            named = Path(picture.get("path") or "").resolve()
            is_inside = any(named.is_relative_to(root.resolve()) for root in self.picture_roots)
            content = picture.get("bytes") or (named.read_bytes() if is_inside and named.is_file() else None)
        if not content:
            return None
        if not isinstance(content, bytes):
            found = f"{content!r} where the mapping's image names a column of embedded pictures"
            raise ValueError(f"Got {found}. Say image_file in its place, if that is the name of a file.")
        # Else another file of the same name, or what this one held before, would give the row its picture.
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        path = self.images_folder / f"{Path(self.name).stem}-{number:08d}-{digest}"
        if not path.is_file():  # an interrupted reading goes on where it stopped
            with atomic_file(path) as unfinished:
                unfinished.write_bytes(content)
        return path.name


def source_tables(source: str | Path, mapping: CatalogueMapping) -> Iterator[SourceTable]:
    """Each file or split of a catalogue."""
    folder, is_imagefolder = Path(source), mapping.format == "imagefolder"
    if mapping.format == "hub" or not folder.exists():
        is_id = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(source)) and mapping.format in (None, "hub")
        if (not folder.exists() and not is_id) or mapping.joins:
            raise ValueError(
                f"Got {source}, where nothing is, but the mapping reads a catalogue's files. Correct the path."
            )
        for split, rows in datasets.load_dataset(str(source)).items():
            header, columns = rows.column_names, mapping.source_columns
            rows = with_named_labels(rows.select_columns([name for name in header if not columns or name in columns]))
            caches = datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE, HF_HUB_CACHE
            roots = folder, *map(Path, caches)
            yield SourceTable(split, header, enumerate(rows, start=1), split=split, picture_roots=roots)
        return
    if is_imagefolder:
        files = _imagefolder_files(folder)
    elif folder.is_file():
        files = {None: folder}
    elif mapping.files:
        files = {split: folder / name for split, name in mapping.files.items()}
    else:
        raise ValueError(f"Got the folder {source}, but the mapping names no files. Add files, or pass one file.")
    images_folder = (folder if folder.is_dir() else folder.parent) / mapping.images
    for split, path in files.items():
        table = read_table(path, mapping, mapping.source_columns, None if is_imagefolder else mapping.format)
        table.split, table.images_folder = split, path.parent if is_imagefolder else images_folder
        if mapping.is_release:
            table.header = [name.upper() for name in table.header]
            table.rows = ((number, {name.upper(): cell for name, cell in row.items()}) for number, row in table.rows)
        yield table


def read_table(path: Path, mapping: CatalogueMapping, columns: Set[str] | None, form: str | None) -> SourceTable:
    """Rows of a file, by its form or else its ending; columns that are not among the given ones may be empty."""
    form = form or FORMAT_OF_ENDING.get(path.suffix.lower())
    if form is None:
        known = list(FORMAT_OF_ENDING)
        raise ValueError(f"Got {path}, whose ending is none of {known}. Save it as one of these, or set format.")
    if not path.is_file():
        raise ValueError(f"Got {path}, where no file is, but the mapping names it. Correct the path or the mapping.")
    if form == "workbook":
        return _read_workbook(path)
    if form == "jsonl":
        _, encoding, problems = open_lines(path, mapping.encoding)
        header = list(dict.fromkeys(name for _, record in _json_records(path, encoding, problems) for name in record))
        return SourceTable(path.name, header, _json_records(path, encoding, []), encoding, problems)
    if form == "parquet":
        try:
            file = pyarrow.parquet.ParquetFile(path)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"Got {path}, which is no Parquet file ({error}). Check the download.") from error
        header = file.schema_arrow.names
        wanted = [name for name in header if columns is None or name in columns]
        records = (record for batch in file.iter_batches(_BATCH_SIZE, columns=wanted) for record in batch.to_pylist())
        return SourceTable(path.name, header, enumerate(records, start=1))
    default = "\t" if form == "tsv" else ","
    text = read_records(path, delimiter=mapping.delimiter, encoding=mapping.encoding, default=default)
    header = [as_text(name) or f"column_{number}" for number, name in enumerate(text.header.fields, start=1)]
    rows = ((number, dict(zip(header, fields, strict=True))) for number, fields in checked_rows(text))
    return SourceTable(path.name, header, rows, text.encoding, text.problems, text.reading)


def _imagefolder_files(folder: Path) -> dict[str | None, Path]:
    """Metadata file by split of an ImageFolder; the split is `None` where the metadata lies in the folder itself."""
    names = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
    if found := next((folder / name for name in names if (folder / name).is_file()), None):
        return {None: found}
    by_split: dict[str | None, Path] = {path.parent.name: path for name in names for path in folder.glob(f"*/{name}")}
    if not by_split:
        raise ValueError(
            f"Got the folder {folder} without {list(names)}, but an ImageFolder says in one of them, in itself or in "
            "a sub-folder by split, what each picture (file_name) is. Write it."
        )
    return by_split


def with_named_labels(rows: datasets.Dataset) -> datasets.Dataset:
    """The rows with names in place of numbered labels, and with pictures as they are stored."""
    for name, feature in dict(rows.features).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(getattr(feature, "feature", feature), datasets.ClassLabel):
            word, labels = datasets.Value("string"), [named_label(cell, feature) for cell in cells_of(rows, name)]
            rows = with_column(rows, name, labels, datasets.List(word) if hasattr(feature, "feature") else word)
    return rows


def with_column(rows: datasets.Dataset, name: str, cells: Any, feature: Any) -> datasets.Dataset:
    """The rows with a column in place of any of this name, which may be their only one."""
    if rows.column_names == [name]:  # without a column there would be no rows to add one to
        return datasets.Dataset.from_dict({name: cells}, features=datasets.Features({name: feature}))
    return rows.remove_columns({name}.intersection(rows.column_names)).add_column(name, cells, feature=feature)


def named_label(cell: Any, feature: Any) -> Any:
    """The cell of a `ClassLabel`, or of a list of them, by name; `None` for -1, as `datasets` writes no label."""
    item = getattr(feature, "feature", None)
    if isinstance(item, datasets.ClassLabel):
        return None if cell is None else [item.names[number] for number in cell if number is not None and number >= 0]
    if isinstance(feature, datasets.ClassLabel):
        return None if cell is None or cell < 0 else feature.names[cell]
    return cell


def _read_workbook(path: Path) -> SourceTable:
    """The first shown sheet of an Excel or OpenDocument workbook; its first row that is not empty is the header."""
    python_calamine = optional("python_calamine", "excel")
    try:
        with path.open("rb") as file:  # whose format is seen from its content
            book = python_calamine.CalamineWorkbook.from_filelike(file)
            is_shown = [one.visible == python_calamine.SheetVisibleEnum.Visible for one in book.sheets_metadata]
            sheet = book.get_sheet_by_index(is_shown.index(True))
            rows, (top, left) = sheet.to_python(), sheet.start or (0, 0)
    except (python_calamine.CalamineError, OSError) as error:
        raise ValueError(f"Got {path}, which is no workbook ({error}). Save it as .xlsx or CSV.") from error
    if not rows:
        raise ValueError(f"Got {path}, whose first shown sheet is empty. Move the catalogue there, or save it as CSV.")
    areas = sheet.merged_cell_ranges or ()  # which OpenDocument's do not say
    below_first(rows, [(first - top, last + 1 - top, column - left) for (first, column), (last, _) in areas])
    header = [as_text(name) or f"column_{number}" for number, name in enumerate(rows[0], start=1)]
    filled = ((number, row) for number, row in enumerate(rows[1:], start=1) if any(map(as_text, row)))
    return SourceTable(path.name, header, ((number, dict(zip(header, row, strict=True))) for number, row in filled))


def below_first(rows: Sequence[list[Any]], areas: Iterable[tuple[int, int, int]]) -> None:
    """Give cells that are merged over rows the value of the first; areas are first row, end and column, from 0 on."""
    for first, end, column in areas:
        for row in rows[first + 1 : end]:
            row[column] = rows[first][column]


def _json_records(path: Path, encoding: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each object; lines that hold none are added to `problems`."""
    for line, content in enumerate(open_lines(path, encoding)[0], start=1):
        if not content.strip():
            continue
        try:
            record, fault = json.loads(content), "no object of names and values"
            if "\\ud" in content.lower():  # it may have half of a character
                json.dumps(record, ensure_ascii=False).encode()
        except ValueError as error:
            record, fault = None, f"no JSON ({error})"
        if isinstance(record, dict):
            yield line, record
        else:
            problems.append(Problem(line, None, None, "malformed_row", f"line {line} is {fault}", "dropped"))


def as_text(value: Any) -> str | None:
    """A cell as a string in NFC: lists with `|` between their parts, whole numbers without a point, no pictures."""
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.strip())
        is_list = text.startswith("[") and _LIST.fullmatch(text)  # as pandas writes one into a CSV file
        for parse in (json.loads, ast.literal_eval) if is_list else ():
            with suppress(ValueError, SyntaxError):
                return as_text(parse(text))
        return text or None
    if value is None or isinstance(value, (bytes, Mapping)):
        return None
    if isinstance(value, (list, tuple)):
        return "|".join(text for text in map(as_text, value) if text) or None
    if isinstance(value, float) and (value.is_integer() or value != value):
        return str(int(value)) if value == value else None  # NaN is how pandas writes a missing number
    return str(value).strip() or None
