"""One table for all documents, which renders to Markdown and, by parts.html, to HTML; one format of percents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

DASH = "–"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Cell:
    """A cell's text, what is written smaller behind it, and whether it stands out."""

    text: str
    small: str = ""
    is_strong: bool = False

    def __str__(self) -> str:
        return f"{self.text} ({self.small})" if self.small else self.text

    def markdown(self) -> str:
        """The cell in Markdown, its small text in brackets."""
        strong = "**" if self.is_strong else ""
        return str(Cell(f"{strong}{escape_markdown(self.text)}{strong}", escape_markdown(self.small)))


@dataclass(frozen=True)
class Table:
    """A table whose first `num_text_columns` columns are text and whose others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str | int]]  # whole numbers are written with thousands separators
    title: str = ""
    notes: Sequence[str] = ()  # paragraphs below it
    total: Sequence[Cell | str | int] = ()  # a last row that is set apart
    num_text_columns: int = 1

    def markdown(self) -> str:
        """The table in Markdown, the small text of a cell in brackets."""
        rules = ["---"] * self.num_text_columns + ["---:"] * (len(self.header) - self.num_text_columns)
        rows = [self.header, *self.rows, *([self.total] if self.total else [])]
        header, *lines = ([as_cell(cell).markdown() for cell in row] for row in rows)
        return "\n".join("| " + " | ".join(line) + " |" for line in (header, rules, *lines))


def as_cell(value: Cell | str | int) -> Cell:
    """The cell of a text or a whole number."""
    if isinstance(value, Cell):
        return value
    return Cell(f"{value:,}" if isinstance(value, int) else value)


def percent(fraction: float | None, interval: Sequence[float] | None = None, missing: str = NOT_MEASURED) -> Cell:
    """A fraction in percent with one decimal, such as `81.2`, and its interval in small, such as `77.2–85.2`."""
    if fraction is None:
        return Cell(missing)
    return Cell(f"{100 * fraction:.1f}", f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else "")


def number(value: float | None, digits: int = 3, missing: str = NOT_MEASURED) -> str:
    """A number with so many decimals."""
    return missing if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus; zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(digit in "123456789" for digit in text) else text[1:]


def enumeration(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def first_of(labels: Sequence[str], most: int = 100) -> str:
    """`a, b and 3 more`; with `;` between labels of which one has a comma."""
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ("; " if "," in "".join(labels[:most]) else ", ").join(labels[:most]) + more


def escape_markdown(text: object) -> str:
    """The text on one line, with everything escaped that Markdown or HTML would read as a sign."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*|\[\]~])", r"\\\1", line)
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)  # within a word it is no sign
    return line.replace("&", "&amp;").replace("<", "&lt;")
