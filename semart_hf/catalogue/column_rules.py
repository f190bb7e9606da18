"""The rules of a mapping, applied to a catalogue's columns."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .mapping import ColumnRule, normal
from .timeframe import half_century_of
from .vocabulary import UNKNOWN

#: Columns of some rows: cells by name, strings or `None`.
Columns = Mapping[str, Sequence[str | None]]


def apply_rule(rule: ColumnRule, columns: Columns) -> tuple[list[str | None], Counter[str]]:
    """A column's value for each row of a catalogue, and how often a value was met that the rule does not foresee."""
    texts = _texts(rule, columns)
    if rule.pattern:
        found = [text and rule.pattern.search(text) for text in texts]
        texts = [match.group(1) if match else None for match in found]
    if rule.half_century:
        ends = columns[rule.end_column] if rule.end_column else [None] * len(texts)
        spans = list(zip(texts, ends, strict=True))
        timeframes = [half_century_of(*span) for span in spans]
        dates = [" to ".join(filter(None, dict.fromkeys(span))) for span in spans]
        return timeframes, Counter(
            date for date, timeframe in zip(dates, timeframes, strict=True) if date and timeframe is None
        )
    unforeseen: Counter[str] = Counter()
    values: list[str | None] = []
    for text in texts:
        value = first = _first_part(text, rule.separator)
        if text is not None and rule.values is not None:
            parts = {normal(part) for part in (text.split(rule.separator) if rule.separator else [text])}
            value = next((value for known, value in rule.values.items() if known in parts), None)
            if value is None:
                unforeseen[text] += 1
                value = {"missing": None, "keep": first, "unknown": UNKNOWN}[rule.other]
        values.append(value)
    return values, unforeseen


def _texts(rule: ColumnRule, columns: Columns) -> list[str | None]:
    """The cell, the first of several cells that is not empty, or the template's text of each row."""
    names = [column for column in rule.columns if column in columns]
    rows = zip(*(columns[name] for name in names), strict=True)
    if rule.template is None:
        return [next((cell for cell in row if cell is not None), None) for row in rows]
    template = rule.template
    return [None if None in row else template.format(**dict(zip(names, row, strict=True))) for row in rows]


def _first_part(text: str | None, separator: str | None) -> str | None:
    if text is None or not separator:
        return text
    return next((part.strip() for part in text.split(separator) if part.strip()), None)
