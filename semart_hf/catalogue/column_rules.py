"""The rules of a mapping, applied to a catalogue's columns."""

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from .mapping import ColumnRule, normal
from .timeframe import half_century_of
from .vocabulary import UNKNOWN


def apply_rule(rule: ColumnRule, frame: pd.DataFrame, key: str) -> tuple[list[str | None], Counter[str]]:
    """A column's value for each row of a catalogue, and how often a value was met that the rule's table lacks.

    Args:
        rule: Where the column comes from.
        frame: The catalogue's own columns, as strings or `None`.
        key: Name of the rule in the mapping, for errors.

    Raises:
        ValueError: The catalogue lacks the rule's column.
    """
    texts = _texts(rule, frame, key)
    if rule.pattern:
        texts = [text and _part(rule.pattern, text) for text in texts]
    if rule.half_century:
        ends: Sequence[str | None] = [None] * len(texts)
        if rule.end_column:
            check_columns((rule.end_column,), frame, f"{key}.to")
            ends = list(frame[rule.end_column])
        timeframes = [half_century_of(text, end) for text, end in zip(texts, ends, strict=True)]
        dates = [" to ".join(filter(None, dict.fromkeys(cells))) for cells in zip(texts, ends, strict=True)]
        return timeframes, Counter(
            cell for cell, timeframe in zip(dates, timeframes, strict=True) if timeframe is None and cell
        )
    if rule.values is None:
        return [_first_part(text, rule.separator) for text in texts], Counter()
    unforeseen: Counter[str] = Counter()
    values: list[str | None] = []
    for text in texts:
        value = _looked_up(rule, text)
        if value is None and text is not None:
            unforeseen[text] += 1
            value = {"missing": None, "keep": _first_part(text, rule.separator), "unknown": UNKNOWN}[rule.other]
        values.append(value)
    return values, unforeseen


def check_columns(columns: Sequence[str], frame: pd.DataFrame, key: str) -> None:
    """Nothing, if the catalogue has all these columns.

    Raises:
        ValueError: One is missing; the message names the mapping's key.
    """
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(
            f"Got {key} with the column {missing[0]!r}, but it is not in {frame.attrs['reading']}. Correct the "
            "mapping (encoding: and delimiter: may be said there), or take the file that has the column."
        )


def _texts(rule: ColumnRule, frame: pd.DataFrame, key: str) -> list[str | None]:
    """The cell, the first of several cells that is not empty, or the template's text of each row."""
    if rule.template is not None:
        template, names = rule.template, rule.template_columns
        check_columns(names, frame, key)
        rows = zip(*(frame[name] for name in names), strict=True)
        return [None if None in row else template.format(**dict(zip(names, row, strict=True))) for row in rows]
    there = [column for column in rule.columns if column in frame]
    if not there and rule.is_optional:
        return [None] * len(frame)
    if not there:
        check_columns(rule.columns, frame, key)
    rows = zip(*(frame[column] for column in there), strict=True)
    return [next((cell for cell in row if cell is not None), None) for row in rows]


def _looked_up(rule: ColumnRule, text: str | None) -> str | None:
    """The table's value for the cell; of several in one cell, the one that stands first in the table."""
    if text is None or rule.values is None:
        return None
    parts = {normal(part) for part in (text.split(rule.separator) if rule.separator else [text])}
    return next((value for known, value in rule.values.items() if known in parts), None)


def _first_part(text: str | None, separator: str | None) -> str | None:
    if text is None or not separator:
        return text
    return next((part.strip() for part in text.split(separator) if part.strip()), None)


def _part(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group(1) if found else None
