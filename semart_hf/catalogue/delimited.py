"""Delimited text files of museums and data sets, read so that no row and no odd character vanishes unseen."""

import csv
import re
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

from .tables import Problem
from .text_files import open_lines

#: Names of delimiters for a mapping and the command line; any other single character is one too.
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}

# Excel's own line above the header.
_EXCEL_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n?", re.IGNORECASE)

# Lines from which the delimiter is found.
_NUM_LINES = 50


class Record(NamedTuple):
    """One record of a delimited file: the header, a row, or a line with another number of fields."""

    line: int  # of its first line, from 1
    num_lines: int
    fields: list[str]  # without their quotes
    quotes_are_literal: bool  # whether its quotes do not pair and are text


class DelimitedFile(NamedTuple):
    """A delimited file: its header, its further records, each parsed when it is asked for, and how it is read."""

    header: Record
    records: Iterator[Record]
    delimiter: str
    encoding: str
    problems: list[Problem]
    reading: str  # for errors


def read_records(
    path: str | Path, *, delimiter: str | None = None, encoding: str | None = None, default: str = "\t"
) -> DelimitedFile:
    """The records of a delimited file: quoted or not, with any line ending, in an encoding that is given or found.

    A quote that never closes would swallow the rows under it: such a row is read again with its quotes taken
    literally, and the rows under it as rows. A delimiter that is not given is that of a first line `sep=;`, else that
    of `DELIMITERS` by which the header and the first rows have equally many fields, else the default.
    """
    if delimiter is not None and len(DELIMITERS.get(delimiter, delimiter)) != 1:
        raise ValueError(
            f"Got the delimiter {delimiter!r}, but it is one character or one of {list(DELIMITERS)}. Correct it."
        )
    lines, encoding, problems = open_lines(path, encoding)
    start = list(islice(lines, _NUM_LINES))
    excel_line = _EXCEL_LINE.fullmatch(start[0]) if start else None
    if excel_line:
        delimiter = delimiter or excel_line[1]
        del start[0]
    tried = "" if delimiter else "; tried were tab, comma, semicolon and pipe"
    delimiter = DELIMITERS.get(delimiter or "", delimiter) or _find_delimiter(start, default)
    records = _records(chain(start, lines), delimiter, 2 if excel_line else 1)
    header = next(records, None)
    if header is None:
        raise ValueError(f"Got the empty file {path}, but its first line must name the columns. Check the download.")
    shown = next((line.rstrip("\r\n") for line in start if line.strip()), "")
    reading = (
        f"{Path(path).name}: the header {shown[:200]!r}, read with the delimiter {delimiter!r} as {encoding}{tried}"
    )
    return DelimitedFile(header, records, delimiter, encoding, problems, reading)


def checked_rows(file: DelimitedFile) -> Iterator[tuple[int, list[str]]]:
    """Number from 1 and fields of the records that are rows; what is odd about records is added to the problems.

    A row with a wrong number of fields is dropped and reported with its line; empty fields at its end do not count.
    """
    num_columns = len(file.header.fields)
    for number, (line, _, fields, quotes_are_literal) in enumerate(file.records, start=1):
        findings = []
        is_row = len(fields) == num_columns and any(field.strip() for field in fields)
        if len(fields) != num_columns:
            detail = f"line {line} has {len(fields)} fields, the header has {num_columns}"
            findings.append(("malformed_row", detail, "dropped"))
        elif not is_row:
            findings.append(("empty_row", "every field is empty", "dropped"))
        else:
            if quotes_are_literal:
                detail = f"line {line} has quotation marks that do not pair; they are read as text"
                findings.append(("stray_quote", detail, "kept"))
            if any("\ufffd" in field for field in fields):
                detail = f"line {line} has bytes that are no {file.encoding}; they are read as U+FFFD"
                findings.append(("undecodable_text", detail, "kept"))
            if any("\0" in field for field in fields):
                findings.append(("undecodable_text", f"line {line} has zero bytes; they are left out", "kept"))
        file.problems.extend(Problem(number, None, fields[0] or None, *finding) for finding in findings)
        if is_row:
            yield number, [field.replace("\0", "") for field in fields]


def _find_delimiter(lines: list[str], default: str) -> str:
    """The delimiter by which the header has several fields, and most of the rows as many."""

    def quality(delimiter: str) -> tuple[float, bool]:
        try:
            counts = [len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields]
        except csv.Error:
            counts = []
        if not counts or counts[0] < 2:
            return 0.0, delimiter == default
        return counts[0] * sum(count == counts[0] for count in counts) / len(counts), delimiter == default

    return max(DELIMITERS.values(), key=quality)


def _records(lines: Iterator[str], delimiter: str, line: int) -> Iterator[Record]:
    held: list[str] = []  # from the first line of the record on

    def ahead() -> Iterator[str]:
        for place in count():
            if place == len(held):
                following = next(lines, None)
                if following is None:
                    return
                held.append(following)
            yield held[place]

    num_columns = 0
    fields: list[str] | None
    while (start := next(ahead(), None)) is not None:
        if '"' not in start:  # most lines, and five times as fast
            if text := start.rstrip("\r\n"):
                plain = _without_empty_end(text.split(delimiter), num_columns)
                yield Record(line, 1, plain, quotes_are_literal=False)
                num_columns = num_columns or len(plain)
            line += 1
            del held[:1]
            continue
        # An unclosed quote is read no further than 131,072 characters, `csv.field_size_limit`.
        reader = csv.reader(ahead(), delimiter=delimiter, strict=True)
        try:
            fields = _without_empty_end(next(reader), num_columns)
        except csv.Error:
            fields = None  # its quotes do not pair
        num_lines = reader.line_num
        is_right = fields is not None and len(fields) == (num_columns or len(fields))
        if fields and is_right and not _is_several_rows(held[:num_lines], delimiter, num_columns):
            yield Record(line, num_lines, fields, quotes_are_literal=False)
            num_columns = num_columns or len(fields)
        elif fields != []:
            literal = _without_empty_end(held[0].rstrip("\r\n").split(delimiter), num_columns)
            num_columns = num_columns or len(literal)
            # One whole line with too few or too many fields is shown as it was parsed.
            is_malformed = fields is not None and num_lines == 1 and len(literal) != num_columns
            yield Record(line, 1, fields if fields and is_malformed else literal, not is_malformed)
            num_lines = 1
        line += num_lines
        del held[:num_lines]


def _without_empty_end(fields: list[str], num_columns: int) -> list[str]:
    """The fields without empty ones beyond the header's number, as delimiters at the end of a line give them."""
    return fields[:num_columns] if num_columns and not any(fields[num_columns:]) else fields


def _is_several_rows(lines: list[str], delimiter: str, num_columns: int) -> bool:
    """Whether a record over several lines is rather a row a line, tied together by two quotes that are not a pair."""
    return len(lines) > 1 and all(line.rstrip("\r\n").count(delimiter) + 1 == num_columns for line in lines)
