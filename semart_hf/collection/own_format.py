"""A catalogue's file, read row by row and written again as it was, with columns beside its own."""

import hashlib
import io
import json
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from semart_hf.catalogue.catalogue_files import as_text, below_first
from semart_hf.catalogue.text_files import BYTE_ORDER_MARKS, Record, read_records
from semart_hf.extras import optional
from semart_hf.files import atomic_file, update_digest

Cell = str | float | None
_PIECE_ROWS = 1024
_TEXTS = (pa.string(), pa.large_string())


class Row(NamedTuple):
    """One row of a catalogue."""

    cells: Mapping[str, str | None]  # by column, `None` where they are empty
    problem: str | None = None  # why it cannot be read
    picture: Callable[[], str | bytes | None] | None = None  # its file, where the catalogue itself has pictures


class Addition(NamedTuple):
    """What is written beside a row: values of the new columns, and texts by column for its own empty cells."""

    added: Sequence[Cell]
    filled: Mapping[str, str] = {}


class Catalogue(ABC):
    """A catalogue's file, and the names of its columns as they stand there."""

    path: Path
    columns: list[str]
    encoding = "utf-8"
    options: Sequence[str] = ()  # of `open_catalogue`, that say how it is read

    def digest(self) -> str:
        """Of the catalogue's bytes."""
        digest = hashlib.sha256()
        update_digest(digest, self.path)
        return digest.hexdigest()

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """The rows in their order, one in memory at a time but for workbooks."""

    @abstractmethod
    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        """Write the catalogue in its own format, with the named columns last and an addition for each of `rows`."""

    def holds_text(self, column: str) -> bool:
        """Whether it is a column into whose cells any text can be written."""
        return column in self.columns

    def check_labels(self, labels: Iterable[str]) -> None:
        """Raise ValueError for a label that the file's encoding cannot hold."""
        for label in labels:
            try:
                label.encode(self.encoding)
            except UnicodeEncodeError:
                problem = f"which {self.path} cannot hold: it is written in {self.encoding}"
                raise ValueError(f"Got the label {label!r}, {problem}. Save that in UTF-8.") from None


def open_catalogue(
    path: str | Path, *, encoding: str | None = None, delimiter: str | None = None, sheet: str | None = None
) -> Catalogue:
    """The catalogue of a file, which its ending says how to read; what is `None` is found in it."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".xls":
        raise ValueError(f"Got {path}, an old Excel workbook. Allowed is .xlsx. Save it as that, or as CSV in UTF-8.")
    if kind in (".xlsx", ".xlsm"):
        return _Workbook(path, sheet)
    if kind in (".jsonl", ".ndjson"):
        return _JsonLines(path)
    return _ParquetFile(path) if kind == ".parquet" else _DelimitedText(path, encoding, delimiter)


class _DelimitedText(Catalogue):
    """Delimiter, encoding, quotes, line ends and odd lines stay byte by byte."""

    options = ("encoding", "delimiter")

    def __init__(self, path: Path, encoding: str | None, delimiter: str | None) -> None:
        self.path = path
        self._read = partial(read_records, path, encoding=encoding, delimiter=delimiter, default=",")
        header, _, self.delimiter, found, _, _ = self._read()
        self.columns = distinct(header.fields)
        with path.open("rb") as file:
            start = file.read(4)
        self._mark = next((mark for mark in BYTE_ORDER_MARKS if start.startswith(mark)), b"")
        self.encoding = BYTE_ORDER_MARKS.get(self._mark, found)
        self._quotes_all = False

    def rows(self) -> Iterator[Row]:
        for record in self._read()[1]:
            wanted, found = len(self.columns), len(record.fields)
            cells = (as_text(value.replace("\0", "")) for value in record.fields)
            problem = f"Line {record.line} has {found} cells, the header has {wanted}."
            yield Row(dict(zip(self.columns, cells, strict=True))) if found == wanted else Row({}, problem)

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        header, records, *_ = self._read()
        number, how = 0, _every_byte(self.encoding)
        with atomic_file(output) as unfinished, unfinished.open("w", **how) as new, self.path.open(**how) as old:
            new.write(old.read(1 if self._mark else 0))
            for record, addition in zip(chain([header], records), chain([Addition(names)], additions), strict=True):
                new.writelines(islice(old, record.line - 1 - number))  # what is no record
                text = "".join(islice(old, record.num_lines))
                number = record.line - 1 + record.num_lines
                if record is header:
                    self._quotes_all = all(name[:1] == '"' for name in self._raw_cells(text, is_literal=False))
                new.write(self._with_cells(text, record, addition))
            new.writelines(old)

    def _with_cells(self, text: str, record: Record, addition: Addition) -> str:
        num_missing = len(self.columns) - len(record.fields)
        if num_missing < 0:
            return text  # nowhere could a new cell stand under its column
        body = text.rstrip("\r\n")
        cells = self._raw_cells(body, is_literal=record.quotes_are_literal) + [""] * num_missing
        cells = cells[: len(self.columns)]  # empty ones beyond the header would shift the new ones
        for column, value in addition.filled.items():
            cells[self.columns.index(column)] = self._quoted(value)
        return self.delimiter.join([*cells, *map(self._quoted, addition.added)]) + text[len(body) :]

    def _raw_cells(self, text: str, *, is_literal: bool) -> list[str]:
        """The cells of a record as they stand there, quotes included."""
        cells: list[str] = []
        is_open = False
        for piece in text.split(self.delimiter):
            if is_open:
                cells[-1] += self.delimiter + piece
            else:
                cells.append(piece)
            is_open = not is_literal and cells[-1].startswith('"') and cells[-1].count('"') % 2 == 1
        return cells

    def _quoted(self, value: Cell) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else value or ""
        if not text.isascii():
            text = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        if self._quotes_all or any(sign in text for sign in (self.delimiter, '"', "\n", "\r")):
            return '"' + text.replace('"', '""') + '"'
        return text


class _JsonLines(Catalogue):
    """An object a line, whose text stays as it stands; new keys come last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = list(dict.fromkeys(name for row in self.rows() for name in row.cells))
        if not self.columns:
            raise ValueError(f"Got {path} without an object. Allowed are JSON objects, one a line.")

    def rows(self) -> Iterator[Row]:
        return (row for _, row in self._read() if row is not None)

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        remaining = iter(additions)
        with atomic_file(output) as unfinished, unfinished.open("w", **_every_byte()) as file:
            for line, row in self._read():
                if row is not None:
                    addition = next(remaining)
                    line = line if row.problem else self._with_keys(line, names, addition)
                file.write(line)

    def _read(self) -> Iterator[tuple[str, Row | None]]:
        """Each line as it stands, and its row; a blank line is none."""
        with self.path.open(**_every_byte()) as file:
            for number, line in enumerate(file, start=1):
                yield line, self._row(number, line) if line.strip() else None

    @staticmethod
    def _row(number: int, line: str) -> Row:
        try:
            content = json.loads(line.lstrip("\ufeff"))
        except ValueError as error:
            return Row({}, f"Line {number} is no JSON: {error}.")
        if not isinstance(content, dict):
            return Row({}, f"Line {number} is no JSON object.")
        return Row({name: as_text(value) for name, value in content.items()})

    @staticmethod
    def _with_keys(line: str, names: Sequence[str], addition: Addition) -> str:
        body = line.rstrip()
        end = line[len(body) :]
        if addition.filled:
            body = json.dumps({**json.loads(body.lstrip("\ufeff")), **addition.filled}, ensure_ascii=False)
        new = json.dumps(dict(zip(names, addition.added, strict=True)), ensure_ascii=False)[1:]
        start = body.removesuffix("}").rstrip()
        return start + ("" if start.endswith("{") else ", ") + new + end


class _ParquetFile(Catalogue):
    """The columns' types and the file's metadata stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = list(pq.read_schema(path).names)

    def holds_text(self, column: str) -> bool:
        return column in self.columns and pq.read_schema(self.path).field(column).type in _TEXTS

    def rows(self) -> Iterator[Row]:
        for batch in pq.ParquetFile(self.path).iter_batches(_PIECE_ROWS):
            for row in batch.to_pylist():
                yield Row({name: as_text(value) for name, value in row.items()})

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        remaining = iter(additions)
        source = pq.ParquetFile(self.path)
        added = [pa.field(name, pa.float64() if name.endswith("_confidence") else pa.string()) for name in names]
        schema = pa.schema([*source.schema_arrow, *added], metadata=source.schema_arrow.metadata)
        with atomic_file(output) as unfinished, pq.ParquetWriter(unfinished, schema) as writer:
            for batch in source.iter_batches(_PIECE_ROWS):
                some = list(islice(remaining, len(batch)))
                columns = batch.columns
                for name in {name for addition in some for name in addition.filled}:
                    place = self.columns.index(name)
                    kind = columns[place].type
                    pairs = zip(some, columns[place].to_pylist(), strict=True)
                    columns[place] = pa.array([addition.filled.get(name, value) for addition, value in pairs], kind)
                new = zip(*(addition.added for addition in some), strict=True)
                for values, item in zip(new, added, strict=True):
                    columns.append(pa.array([value if value != "" else None for value in values], item.type))
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


class _Workbook(Catalogue):
    """One sheet of a workbook; everything else in it stays. Its texts are held in memory."""

    options = ("sheet",)

    def __init__(self, path: Path, sheet: str | None) -> None:
        self.path, openpyxl = path, optional("openpyxl", "excel")
        try:
            self._load = partial(openpyxl.load_workbook, path, keep_vba=path.suffix.lower() == ".xlsm")
            book, computed = self._load(), self._load(data_only=True)
        except Exception as error:  # whatever a damaged archive raises
            problem = f"which cannot be read as an Excel workbook: {error}"
            raise ValueError(f"Got {path}, {problem}. Save it again.") from error
        if sheet is not None and sheet not in book.sheetnames:
            raise ValueError(f"Got the sheet {sheet!r}. Allowed are {book.sheetnames}. Correct --sheet.")
        self._sheet = book.active.title if sheet is None else sheet
        merged = book[self._sheet].merged_cells.ranges
        self._merged = {place for area in merged for place in range(area.min_col, area.max_col + 1)}
        # A formula is its result, or itself where no program has computed it: such a cell is not empty.
        both = zip(*(one[self._sheet].iter_rows(values_only=True) for one in (computed, book)), strict=True)
        texts = [[as_text(result) or as_text(cell) for result, cell in zip(*row, strict=True)] for row in both]
        formulas = (cell.coordinate for row in book[self._sheet].iter_rows() for cell in row if cell.data_type == "f")
        self._results = {place: computed[self._sheet][place].value for place in formulas}
        below_first(texts, [(area.min_row - 1, area.max_row, area.min_col - 1) for area in merged])
        filled = ((number, row) for number, row in enumerate(texts, 1) if any(row))
        self._header_row, header = next(filled, (0, []))
        if not header:
            raise ValueError(f"Got {path}, whose sheet {self._sheet!r} is empty. Its first row names the columns.")
        self.columns = distinct(header[: max(place for place, name in enumerate(header, 1) if name)])
        # By number, without empty ones: sheets often have formatted ones below the last.
        width = len(self.columns)
        self._rows = {number: row[:width] for number, row in filled if any(row[:width])}
        # Not beyond the empty columns that a sheet often has formatted.
        used = (place for row in texts for place, text in enumerate(row, 1) if text)
        self._first_free = 1 + max({*used, *self._merged})

    def holds_text(self, column: str) -> bool:
        # Of merged cells only the first can be written to.
        return column in self.columns and self.columns.index(column) + 1 not in self._merged

    def rows(self) -> Iterator[Row]:
        return (Row(dict(zip(self.columns, cells, strict=True))) for cells in self._rows.values())

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        book = self._load(rich_text=True)
        sheet = book[self._sheet]
        for place, name in enumerate(names, self._first_free):
            sheet.cell(self._header_row, place, name)
        for number, addition in zip(self._rows, additions, strict=True):
            added = enumerate(addition.added, self._first_free)
            cells = {place: value for place, value in added if value not in (None, "")}
            cells |= {self.columns.index(column) + 1: text for column, text in addition.filled.items()}
            for place, value in cells.items():
                cell = sheet.cell(number, place, value)
                cell.data_type = "s" if isinstance(value, str) else "n"  # what begins with `=` is a text, no formula
        saved = io.BytesIO()
        book.save(saved)
        with (
            atomic_file(output) as unfinished,
            zipfile.ZipFile(self.path) as old,
            zipfile.ZipFile(saved) as changed,
            zipfile.ZipFile(unfinished, "w") as new,
        ):
            for name in changed.namelist():  # the properties hold the time of writing
                keeps = name == "docProps/core.xml" and name in old.namelist()
                content = (old if keeps else changed).read(name)
                if name == sheet.path[1:]:
                    content = _with_results(content, self._results)
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of 1980: same bytes at any time


def _with_results(content: bytes, results: Mapping[str, Any]) -> bytes:
    """A sheet's XML with its formulas' results, which openpyxl leaves out: what reads it next may compute none."""

    def with_result(cell: re.Match[bytes]) -> bytes:
        result = results[cell[2].decode()]
        if type(result) not in (str, int, float):  # a date, or what no program has computed
            return cell[0]
        kind = b' t="str"' * isinstance(result, str)
        return b"%s%s>%s<v>%s</v>" % (cell[1], kind, cell[3], escape(str(result)).encode())

    return re.sub(rb'(<c r="([A-Z]+\d+)"[^>]*)>(<f[^>]*>[^<]*</f>)<v ?/>', with_result, content)


def distinct(names: Sequence[str | None]) -> list[str]:
    """The names of columns, each once: one without a name, and one that is there before, are told by their place."""
    found: list[str] = []
    for place, name in enumerate(names, start=1):
        name = as_text(name) or f"column_{place}"
        while name in found:
            name += f"_{place}"
        found.append(name)
    return found


def _every_byte(encoding: str = "utf-8") -> Any:
    """How a file is opened so that a byte which the encoding lacks is read, and written as it was."""
    return {"encoding": encoding, "errors": "surrogateescape", "newline": ""}


def printable(text: str) -> str:
    """The text in signs that every format can hold: a file's name may have bytes that are no UTF-8, and tabs."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", readable(text))


def readable(text: str) -> str:
    """The text with an escape for a byte that is no UTF-8, which neither SQLite nor a browser takes."""
    return text.encode("utf-8", "backslashreplace").decode()
