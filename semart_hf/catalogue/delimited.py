"""Delimited text files of museums and data sets, read so that no row and no odd character vanishes unseen."""

import codecs
import csv
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .problems import Problem

# Entities end in a semicolon: "R&D" and "&c." stay as they are.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

# Python's names of encodings where they differ: this one leaves the mark out.
_CODECS = {"utf-8": "utf-8-sig"}

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class DelimitedFile:
    """One file's rows as they stand there, before anything is understood by them.

    Attributes:
        header: Column names as written.
        encoding: `cp1252`, `utf-8` or `utf-16`, as found.
        rows: Row number (1 for the first row under the header) and cells as written, as many as the header has. Each
            row is parsed when it is asked for, and once.
        problems: Rows that were dropped or read in an unusual way; complete when all rows are read.
    """

    header: list[str]
    encoding: str
    rows: Iterator[tuple[int, list[str]]]
    problems: list[Problem]


@dataclass(frozen=True)
class _Record:
    line: int
    fields: list[str]
    quotes_are_literal: bool


def read_delimited(path: str | Path, *, delimiter: str = "\t", split: str | None = None) -> DelimitedFile:
    """Header and rows of a delimited file: quoted or not, with any line ending, in UTF-8, UTF-16 or cp1252.

    A row with a wrong number of fields is dropped and reported with its line. A quote that never closes would swallow
    the rows under it: such a row is read again with its quotes taken literally, and the rows under it as rows.

    Raises:
        ValueError: The file has no header.
    """
    lines, encoding = open_lines(path)
    records = _records(_Lines(lines), delimiter)
    first = next(records, None)
    if first is None:
        raise ValueError(f"Got the empty file {path}, but its first line must name the columns. Check the download.")
    problems: list[Problem] = []
    rows = _checked_rows(records, len(first.fields), encoding, split, problems)
    return DelimitedFile(first.fields, encoding, rows, problems)


def open_lines(path: str | Path) -> tuple[Iterator[str], str]:
    """The lines of a text file with their ends, read as they are asked for, and the file's encoding.

    Bytes that are no character become U+FFFD. See `encoding_of`.
    """
    encoding = encoding_of(_chunks(path))
    return _lines(path, _CODECS.get(encoding, encoding)), encoding


def encoding_of(chunks: Iterable[bytes]) -> str:
    """The encoding of a file's content: by its byte order mark, else UTF-8 where it is that, else cp1252.

    Plain ASCII counts as cp1252, the official release's encoding.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    num_broken = num_foreign = 0
    for number, chunk in enumerate(chunks):
        marked = [encoding for mark, encoding in _BYTE_ORDER_MARKS if chunk.startswith(mark)]
        if number == 0 and marked:
            return marked[0]
        text = decoder.decode(chunk)
        if not text.isascii():
            num_broken += text.count("\ufffd")
            num_foreign += sum(not character.isascii() for character in text)
    num_at_end = len(decoder.decode(b"", final=True))  # what is left of a character that is cut off
    num_broken, num_foreign = num_broken + num_at_end, num_foreign + num_at_end
    # One broken byte does not make a UTF-8 file a cp1252 one: there nearly every accented letter is broken UTF-8.
    return "utf-8" if num_broken < num_foreign - num_broken else "cp1252"


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
        if len(record.fields) == num_columns:
            yield number, record.fields


def _findings(record: _Record, num_columns: int, encoding: str) -> Iterator[tuple[str, str, str]]:
    """Problem, detail and action of each thing that is odd about a record."""
    line, num_fields = record.line, len(record.fields)
    if num_fields != num_columns:
        yield "malformed_row", f"line {line} has {num_fields} fields, the header has {num_columns}", "dropped"
        return
    if record.quotes_are_literal:
        yield "stray_quote", f"line {line} has quotation marks that do not pair; they are read as text", "kept"
    if any("\ufffd" in field for field in record.fields):
        yield "undecodable_text", f"line {line} has bytes that are no {encoding}; they are read as U+FFFD", "kept"


def _chunks(path: str | Path) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _lines(path: str | Path, encoding: str) -> Iterator[str]:
    with Path(path).open(encoding=encoding, errors="replace", newline="") as file:
        yield from file


class _Lines:
    """Lines by their numbers, held from the one that may be needed again to the last that was asked for."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._held: list[str] = []
        self._first = 0

    def has(self, number: int) -> bool:
        """Whether the file has so many lines and one more."""
        while number >= self._first + len(self._held):
            line = next(self._lines, None)
            if line is None:
                return False
            self._held.append(line)
        return True

    def since(self, number: int) -> Iterator[str]:
        """The lines from the given one on."""
        while self.has(number):
            yield self._held[number - self._first]
            number += 1

    def between(self, start: int, stop: int) -> list[str]:
        """Lines that were asked for already."""
        return self._held[start - self._first : stop - self._first]

    def forget_before(self, number: int) -> None:
        """Hold no line before the given one any longer."""
        del self._held[: number - self._first]
        self._first = number


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record]:
    """Records of the file, the header first, blank lines left out; the header decides how many fields are right."""
    start, num_columns = 0, 0
    while lines.has(start):
        # A new reader after each bad record: the old one may stand anywhere inside an unclosed quote. It stands there
        # no further than 131,072 characters on, `csv.field_size_limit`.
        reader = csv.reader(lines.since(start), delimiter=delimiter, strict=True)
        origin = start
        while lines.has(start):
            fields = _next_fields(reader)
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


def _is_several_rows(lines: list[str], delimiter: str, num_columns: int) -> bool:
    """Whether a record over several lines is rather a row a line, tied together by two quotes that are not a pair."""
    return len(lines) > 1 and all(line.rstrip("\r\n").count(delimiter) + 1 == num_columns for line in lines)
