"""Delimited text files of museums and data sets, read so that no row and no odd character vanishes unseen."""

import csv
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from .problems import Problem
from .text_files import open_lines

# Entities end in a semicolon: "R&D" and "&c." stay as they are.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

#: Names of delimiters for a mapping and the command line; any other single character is one too.
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}

# Excel's own line above the header.
_EXCEL_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n?", re.IGNORECASE)

# Lines from which the delimiter is found.
_NUM_LINES = 50


@dataclass(frozen=True)
class DelimitedFile:
    """One file's rows as they stand there, before anything is understood by them.

    Attributes:
        header: Column names as written.
        encoding: As found or as given.
        rows: Row number (1 for the first row under the header) and cells as written, as many as the header has. Each
            row is parsed when it is asked for, and once.
        problems: Rows that were dropped or read in an unusual way; complete when all rows are read.
        reading: The header's line as it stands and how it was read, for errors.
    """

    header: list[str]
    encoding: str
    rows: Iterator[tuple[int, list[str]]]
    problems: list[Problem]
    reading: str


@dataclass(frozen=True)
class _Record:
    line: int
    fields: list[str]
    quotes_are_literal: bool


def read_delimited(
    path: str | Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    split: str | None = None,
    usual: str = "\t",
) -> DelimitedFile:
    """Header and rows of a delimited file: quoted or not, with any line ending, in UTF-8, UTF-16 or cp1252.

    A row with a wrong number of fields is dropped and reported with its line; empty fields at its end do not count. A
    quote that never closes would swallow the rows under it: such a row is read again with its quotes taken literally,
    and the rows under it as rows.

    Args:
        path: The file.
        delimiter: What stands between fields. `None` takes what the file's first line `sep=;` says, or else that of
            tab, comma, semicolon and pipe by which the header and the first rows have equally many fields.
        encoding: `None` finds it; see `find_encoding`.
        split: Split that the file's problems belong to.
        usual: The delimiter of a file with a single column.

    Raises:
        ValueError: The file has no header, or is no text.
    """
    if delimiter is not None and len(DELIMITERS.get(delimiter, delimiter)) != 1:
        raise ValueError(
            f"Got the delimiter {delimiter!r}, but it is one character or one of {list(DELIMITERS)}. Correct it."
        )
    lines, encoding, doubt = open_lines(path, encoding)
    start = list(islice(lines, _NUM_LINES))
    excel_line = _EXCEL_LINE.fullmatch(start[0]) if start else None
    skipped = 0
    if excel_line:
        delimiter, skipped = delimiter or excel_line[1], 1
    tried = "" if delimiter else "; tried were tab, comma, semicolon and pipe"
    delimiter = DELIMITERS.get(delimiter or "", delimiter) or _find_delimiter(start, usual)
    records = _records(_Lines(chain(start[skipped:], lines), skipped), delimiter)
    first = next(records, None)
    if first is None:
        raise ValueError(f"Got the empty file {path}, but its first line must name the columns. Check the download.")
    named = next((line.rstrip("\r\n") for line in start[skipped:] if line.strip()), "")
    reading = f"the header {named[:200]!r}, read with the delimiter {delimiter!r} as {encoding}{tried}"
    problems: list[Problem] = []
    if doubt is not None:
        problems.append(doubtful_encoding(path, split, encoding, doubt))
    rows = _checked_rows(records, len(first.fields), encoding, split, problems)
    return DelimitedFile(first.fields, encoding, rows, problems, reading)


def _find_delimiter(lines: list[str], usual: str) -> str:
    """The delimiter by which the header has several fields, and most of the rows as many."""

    def quality(delimiter: str) -> tuple[float, bool]:
        try:
            counts = [len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields]
        except csv.Error:
            counts = []
        if not counts or counts[0] < 2:
            return 0.0, delimiter == usual
        return counts[0] * sum(count == counts[0] for count in counts) / len(counts), delimiter == usual

    return max(DELIMITERS.values(), key=quality)


def doubtful_encoding(path: str | Path, split: str | None, encoding: str, doubt: str) -> Problem:
    """The finding that a file may be encoded otherwise than it was read."""
    action = f"read as {encoding}; if that is wrong, say encoding: in the mapping or --encoding"
    return Problem(None, split, None, "improbable_text", f"{Path(path).name}: {doubt}", action)


def unescape_entities(text: str) -> str:
    """The text with its HTML entities as characters; `&#150;` is the dash that browsers show, not a control code."""
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)


def _checked_rows(
    records: Iterator[_Record], num_columns: int, encoding: str, split: str | None, problems: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of the records that are rows; what is odd about records is added to `problems`."""
    for number, record in enumerate(records, start=1):
        for finding in _findings(record, num_columns, encoding):
            problems.append(Problem(number, split, record.fields[0] or None, *finding))
        if len(record.fields) == num_columns and any(field.strip() for field in record.fields):
            yield number, [field.replace("\0", "") for field in record.fields]


def _findings(record: _Record, num_columns: int, encoding: str) -> Iterator[tuple[str, str, str]]:
    """Problem, detail and action of each thing that is odd about a record."""
    line, num_fields = record.line, len(record.fields)
    if num_fields != num_columns:
        yield "malformed_row", f"line {line} has {num_fields} fields, the header has {num_columns}", "dropped"
        return
    if not any(field.strip() for field in record.fields):
        yield "empty_row", "every field is empty", "dropped"
        return
    if record.quotes_are_literal:
        yield "stray_quote", f"line {line} has quotation marks that do not pair; they are read as text", "kept"
    if any("\ufffd" in field for field in record.fields):
        yield "undecodable_text", f"line {line} has bytes that are no {encoding}; they are read as U+FFFD", "kept"
    if any("\0" in field for field in record.fields):
        yield "undecodable_text", f"line {line} has zero bytes; they are left out", "kept"


class _Lines:
    """Lines by their numbers, held from the one that may be needed again to the last that was asked for."""

    def __init__(self, lines: Iterator[str], first: int = 0) -> None:
        self._lines = lines
        self._held: list[str] = []
        self.first = first

    def has(self, number: int) -> bool:
        """Whether the file has so many lines and one more."""
        while number >= self.first + len(self._held):
            line = next(self._lines, None)
            if line is None:
                return False
            self._held.append(line)
        return True

    def since(self, number: int) -> Iterator[str]:
        """The lines from the given one on."""
        while self.has(number):
            yield self._held[number - self.first]
            number += 1

    def between(self, start: int, stop: int) -> list[str]:
        """Lines that were asked for already."""
        return self._held[start - self.first : stop - self.first]

    def forget_before(self, number: int) -> None:
        """Hold no line before the given one any longer."""
        del self._held[: number - self.first]
        self.first = number


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record]:
    """Records of the file, the header first, blank lines left out; the header decides how many fields are right."""
    start, num_columns = lines.first, 0
    while lines.has(start):
        # A new reader after each bad record: the old one may stand anywhere inside an unclosed quote. It stands there
        # no further than 131,072 characters on, `csv.field_size_limit`.
        reader = csv.reader(lines.since(start), delimiter=delimiter, strict=True)
        origin = start
        while lines.has(start):
            fields = _without_empty_end(_next_fields(reader), num_columns)
            end = origin + reader.line_num
            is_right = fields is not None and num_columns in (0, len(fields))
            if fields and is_right and not _is_several_rows(lines.between(start, end), delimiter, num_columns):
                yield _Record(start + 1, fields, quotes_are_literal=False)
                num_columns = num_columns or len(fields)
            elif fields != []:
                break
            start = end
            lines.forget_before(start)
        else:
            return
        literal_fields = lines.between(start, start + 1)[0].rstrip("\r\n").split(delimiter)
        literal_fields = _without_empty_end(literal_fields, num_columns) or literal_fields
        num_columns = num_columns or len(literal_fields)
        # One whole line with too few or too many fields is shown as it was parsed.
        is_malformed = fields is not None and end == start + 1 and len(literal_fields) != num_columns
        yield _Record(start + 1, fields if fields and is_malformed else literal_fields, not is_malformed)
        start += 1
        lines.forget_before(start)


def _next_fields(reader: Iterator[list[str]]) -> list[str] | None:
    """Fields of the next record, none for a blank line; `None` where its quotes do not pair."""
    try:
        return next(reader)
    except csv.Error:
        return None


def _without_empty_end(fields: list[str] | None, num_columns: int) -> list[str] | None:
    """The fields without empty ones beyond the header's number, as delimiters at the end of a line give them."""
    if fields is not None and 0 < num_columns < len(fields) and not any(fields[num_columns:]):
        return fields[:num_columns]
    return fields


def _is_several_rows(lines: list[str], delimiter: str, num_columns: int) -> bool:
    """Whether a record over several lines is rather a row a line, tied together by two quotes that are not a pair."""
    return len(lines) > 1 and all(line.rstrip("\r\n").count(delimiter) + 1 == num_columns for line in lines)
