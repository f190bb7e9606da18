"""Text files of museums, decoded and divided so that no row and no odd character vanishes unseen."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

from .schema import Problem
from .text import word_table

#: Encodings by the mark that a file begins with; `utf-16` alone would be written in this machine's order. UTF-32's
#: little-endian mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}
BYTE_ORDER_MARKS |= {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_TEXTS = {
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
}
#: Names of delimiters for a mapping and the command line; any other single character is one too.
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_EXCEL_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n?", re.IGNORECASE)  # above the header
_CHUNK_BYTES = 1 << 20
_CANDIDATES = (
    "mac_roman", "cp1250", "iso8859_2", "cp1251", "koi8_r", "mac_cyrillic", "cp1253", "cp1254", "cp1257", "cp850",
    "cp852",
)  # fmt: skip
# Words with a byte beyond ASCII; a no-break space and a soft hyphen divide words.
_FOREIGN_WORDS = re.compile(rb"[A-Za-z]*[\x80-\x9f\xa1-\xac\xae-\xff][A-Za-z\x80-\x9f\xa1-\xac\xae-\xff]*")
_BEFORE_WORDS = "“”‘’„‚«»‹›…–—•·°©®™¿¡§†‡£€¢¥´½¼¾×"
_AFTER_WORDS = re.compile("(?:(?<=m)[²³])?[“”‘’„«»‹›…–—•·°ºª©®™§†‡£€¢´½¼¾×]*$")
_INSIDE_WORDS = re.compile("[’‘´–—·…]")
_DECODED_TWICE = re.compile("[ÃÂ][\u0080-\u00bf]|Ã[ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€")
_MOST_WORDS = 20_000
_SINGLE_WORDS = 0.1  # a smaller share of improbable words does not put the file's encoding in question


def open_lines(path: str | Path, encoding: str | None = None) -> tuple[Iterator[str], str, list[Problem]]:
    """Lines of a text file with their ends, its encoding, and a finding if that is doubtful; odd bytes are U+FFFD."""
    encoding, doubt = find_encoding(path, encoding)
    action = f"read as {encoding}; if that is wrong, say encoding: in the mapping or --encoding"
    problem = Problem(None, None, None, "improbable_text", f"{Path(path).name}: {doubt}", action)
    return _lines(path, encoding), encoding, [problem] if doubt else []


def find_encoding(path: str | Path, encoding: str | None = None) -> tuple[str, str | None]:
    """A text file's encoding, as given, marked or found, and a sentence where the text that it gives is improbable."""
    if encoding is not None:
        try:
            b"a".decode(encoding, "replace")  # rot13 and hex are codecs too, but of no text
            return codecs.lookup(encoding).name, None
        except LookupError:
            raise ValueError(
                f"Got the encoding {encoding!r}, but it is a name that Python knows, such as utf-8, cp1252, "
                "mac_roman, iso8859_2 or cp1251. Correct it."
            ) from None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    num_broken = num_foreign = 0
    words: Counter[bytes] = Counter()
    decoded_twice: re.Match[str] | None = None
    with Path(path).open("rb") as file:
        if known := _known_by_its_start(file.read(_CHUNK_BYTES), path):
            return known, None
        file.seek(0)
        while piece := file.read(_CHUNK_BYTES):
            text = decoder.decode(piece)
            if not text.isascii():  # most pieces are, and need no look at their words
                num_broken += text.count("\ufffd")
                num_foreign += len(text) - len(text.encode("ascii", "ignore"))
                decoded_twice = decoded_twice or _DECODED_TWICE.search(text)
                if len(words) < _MOST_WORDS:
                    words.update(_FOREIGN_WORDS.findall(piece))
    num_at_end = len(decoder.decode(b"", final=True))  # what is left of a character that is cut off
    # One broken byte does not make a UTF-8 file a cp1252 one: there nearly every accented letter is broken UTF-8.
    if num_broken + num_at_end < num_foreign - num_broken:
        return "utf-8", decoded_twice and (
            f"it holds signs such as {decoded_twice.group()!r}: text in UTF-8 that was taken for cp1252 and stored so"
        )
    return "cp1252", _doubt(words)


def _known_by_its_start(start: bytes, path: str | Path) -> str | None:
    for signature, kind in _NO_TEXTS.items():
        if start.startswith(signature):
            raise ValueError(
                f"Got {path}, which is {kind}, but it is read as text. Save its table as CSV in UTF-8 and give that."
            )
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    if start.count(0) > len(start) / 50:
        for encoding in ("utf-16-le", "utf-16-be"):
            text = start[: len(start) // 2 * 2].decode(encoding, "replace")
            if sum(character < "\u0500" for character in text) > 0.8 * len(text):  # up to Cyrillic
                return encoding
    return None


def _doubt(words: Counter[bytes]) -> str | None:
    """Why cp1252 is improbable for these words, and what is likelier."""
    improbable = [word for word in words if not _is_probable(word, "cp1252")]
    if not improbable:
        return None
    num_improbable = sum(words[word] for word in improbable)
    shown = ", ".join(repr(word.decode("cp1252", "replace")) for word in improbable[:3])
    what = f"{num_improbable:,} of {words.total():,} words beyond ASCII, such as {shown}, are improbable in cp1252"
    if num_improbable < _SINGLE_WORDS * words.total():
        return f"{what}; the others fit it: these are wrong in the file itself"
    chosen = sorted(words, key=lambda word: -words[word])[:2000]
    fits = {name: sum(_is_probable(word, name) for word in chosen) for name in ("cp1252", *_CANDIDATES)}
    likely = sorted((name for name in _CANDIDATES if fits[name] > fits["cp1252"]), key=lambda name: -fits[name])
    likely = [name for name in likely if fits[name] >= 0.98 * fits[likely[0]]][:3]
    return f"{what}; {'likely is ' + ' or '.join(likely) if likely else 'no encoding that is tried fits better'}"


def _is_probable(word: bytes, encoding: str) -> bool:
    """Whether each part of a word has the letters of one language, and no capital after a small letter."""
    try:
        text = word.decode(encoding)
    except UnicodeDecodeError:
        return False
    if encoding == "cp1252" and re.search("õ(?!e)", text):  # Portuguese has it before e alone; it is the Hungarian ő
        return False
    for part in _INSIDE_WORDS.split(_AFTER_WORDS.sub("", text.lstrip(_BEFORE_WORDS))):
        foreign = {letter for letter in part.casefold() if not letter.isascii()}
        has_capital_inside = any(one.islower() and two.isupper() and not two.isascii() for one, two in pairwise(part))
        is_mixed = max(foreign, default="") >= "\u0370" and re.search("[A-Za-z]", part)
        if has_capital_inside or is_mixed or not any(map(foreign.issubset, word_table("alphabets").values())):
            return False
    return True


def _lines(path: str | Path, encoding: str) -> Iterator[str]:
    with Path(path).open(encoding=encoding, errors="replace", newline="") as file:
        for number, line in enumerate(file):
            yield line if number else line.removeprefix("\ufeff")


def text_beside(picture: Path) -> tuple[str | None, str | None]:
    """The text of the file beside a picture (`a.txt`, `a.jpg`), and a sentence where its encoding is in doubt."""
    path = next((path for ending in (".txt", ".TXT") if (path := picture.with_suffix(ending)).is_file()), None)
    if path is None:
        return None, None
    try:
        encoding, doubt = find_encoding(path)
        text = path.read_text(encoding, errors="replace").removeprefix("\ufeff")
    except (ValueError, OSError) as error:
        raise ValueError(f"The text beside the picture cannot be read. {error}") from error
    return text.strip() or None, doubt and f"{path} was read as {encoding}, but {doubt}"


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

    The quotes of a row that never closes one are taken literally. A delimiter that is not given is that of a first
    line `sep=;`, else the one of `DELIMITERS` by which header and rows have equally many fields, else the default.
    """
    if delimiter is not None and len(DELIMITERS.get(delimiter, delimiter)) != 1:
        raise ValueError(
            f"Got the delimiter {delimiter!r}, but it is one character or one of {list(DELIMITERS)}. Correct it."
        )
    lines, encoding, problems = open_lines(path, encoding)
    start = list(islice(lines, 50))  # from which the delimiter is found
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
    shown = next((line.rstrip("\r\n") for line in start if line.strip()), "")[:200]
    reading = f"{Path(path).name}: the header {shown!r}, read with the delimiter {delimiter!r} as {encoding}{tried}"
    return DelimitedFile(header, records, delimiter, encoding, problems, reading)


def checked_rows(file: DelimitedFile) -> Iterator[tuple[int, list[str]]]:
    """Number from 1 and fields of the records that are rows; what is odd about records is added to the problems."""
    num_columns = len(file.header.fields)
    for number, (line, _, fields, quotes_are_literal) in enumerate(file.records, start=1):
        text, findings = "".join(fields), []
        is_row = len(fields) == num_columns and bool(text.strip())
        if len(fields) != num_columns:
            findings.append(("malformed_row", f"line {line} has {len(fields)} fields, the header has {num_columns}"))
        elif not is_row:
            findings.append(("empty_row", "every field is empty"))
        elif quotes_are_literal:
            detail = f"line {line} has quotation marks that do not pair; they are read as text"
            findings.append(("stray_quote", detail))
        if is_row and "\ufffd" in text:
            detail = f"line {line} has bytes that are no {file.encoding}; they are read as U+FFFD"
            findings.append(("undecodable_text", detail))
        if is_row and "\0" in text:
            findings.append(("undecodable_text", f"line {line} has zero bytes; they are left out"))
        action = "kept" if is_row else "dropped"
        file.problems.extend(Problem(number, None, fields[0] or None, *finding, action) for finding in findings)
        if is_row:
            yield number, [field.replace("\0", "") for field in fields]


def _find_delimiter(lines: list[str], default: str) -> str:
    """The delimiter by which the header has several fields, and most of the rows as many."""

    def quality(delimiter: str) -> tuple[float, bool]:
        try:
            counts = [len(fields) for fields in csv.reader(lines, delimiter=delimiter) if fields]
        except csv.Error:
            counts = []
        has_several = bool(counts) and counts[0] > 1
        return has_several and counts[0] * counts.count(counts[0]) / len(counts), delimiter == default

    return max(DELIMITERS.values(), key=quality)


def _records(lines: Iterator[str], delimiter: str, line: int) -> Iterator[Record]:
    held: list[str] = []  # from the first line of the record on

    def ahead() -> Iterator[str]:
        yield from held
        for following in lines:
            held.append(following)
            yield following

    num_columns = 0
    while (start := next(ahead(), None)) is not None:
        text = start.rstrip("\r\n")
        fields, num_lines, is_literal = _without_empty_end(text.split(delimiter), num_columns), 1, False
        if '"' in text:  # most lines have none, and are read five times as fast
            # An unclosed quote is read no further than 131,072 characters, `csv.field_size_limit`.
            reader = csv.reader(ahead(), delimiter=delimiter, strict=True)
            try:
                parsed = _without_empty_end(next(reader), num_columns)
            except csv.Error:
                parsed = []  # its quotes do not pair
            num_read, counts = reader.line_num, {one.count(delimiter) + 1 for one in held[: reader.line_num]}
            # A record over several lines may be a row a line, tied together by two quotes that are not a pair.
            is_whole = num_read == 1 or counts != {num_columns}
            is_right = is_whole and len(parsed) == (num_columns or len(parsed))
            # One whole line with too few or too many fields is shown as it was parsed.
            is_malformed = num_read == 1 and len(fields) != (num_columns or len(fields))
            is_literal = not (parsed and (is_right or is_malformed))
            if not is_literal:
                fields, num_lines = parsed, num_read
        if text:
            yield Record(line, num_lines, fields, is_literal)
            num_columns = num_columns or len(fields)
        line += num_lines
        del held[:num_lines]


def _without_empty_end(fields: list[str], num_columns: int) -> list[str]:
    """The fields without empty ones beyond the header's number, as delimiters at the end of a line give them."""
    return fields[:num_columns] if num_columns and not any(fields[num_columns:]) else fields
