"""The model's text input, made of a row's columns."""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

# What stands between two columns of a template: closing brackets and quotes of the left one, the joint, and the words
# that lead to the right one.
_BETWEEN = re.compile(r"(?P<after>[)\]}\"'”’»]*)(?P<joint>\S*\s*)(?P<before>.*)", re.DOTALL)


@dataclass(frozen=True)
class _Part:
    """One column of a template: with what it is joined to the text before it, and what stands around it."""

    column: str
    joint: str = ""
    before: str = ""
    after: str = ""


def text_of(row: Mapping[str, object], columns: Sequence[str] | str) -> str | None:
    """A row's text input: its columns in their order, those that are missing left out; `None` where all are.

    A list of columns makes each a sentence. A template says more: in `"{TITLE} ({DATE}), by {AUTHOR}. {DESCRIPTION}"`
    brackets and words before a column go with it, so that a row without date and author gives
    "The Ninth Wave. A ship founders."

    Args:
        row: Values by column name; the case of the names does not matter.
        columns: Column names, or a template with column names in braces.

    Raises:
        ValueError: The template is malformed, or names no column or one that the row lacks.
    """
    values = {name.lower(): value for name, value in row.items()}
    text = ""
    for part in _parts(columns if isinstance(columns, str) else tuple(columns)):
        if part.column not in values:
            raise ValueError(
                f"Got the text column {part.column.upper()!r}, but the columns are "
                f"{[name.upper() for name in values]}. Choose text_columns among these."
            )
        if values[part.column] is not None:
            joint = part.joint.lstrip(".") if text.endswith((".", "!", "?")) else part.joint
            text += (joint if text else "") + part.before + str(values[part.column]) + part.after
    return text or None


@lru_cache(maxsize=32)
def _parts(columns: tuple[str, ...] | str) -> tuple[_Part, ...]:
    """Parts of a template or of a list of columns, in their order."""
    if not isinstance(columns, str):
        if not columns:
            raise ValueError('Got no text columns, but a text has at least one. Pass for example ["DESCRIPTION"].')
        return tuple(_Part(column.lower(), joint=". ") for column in columns)
    if "{" not in columns:
        return (_Part(columns.lower()),)
    try:
        pieces = list(string.Formatter().parse(columns))
    except ValueError as error:
        raise ValueError(_malformed(columns)) from error
    parts: list[_Part] = []
    for literal, name, form, conversion in pieces:
        if name == "" or form or conversion:
            raise ValueError(_malformed(columns))
        between = _BETWEEN.fullmatch(literal)
        if parts and between and name is not None:
            parts[-1] = _Part(parts[-1].column, parts[-1].joint, parts[-1].before, between["after"])
            parts.append(_Part(name.lower(), between["joint"], between["before"]))
        elif name is not None:
            parts.append(_Part(name.lower(), before=literal))
        else:
            parts[-1] = _Part(parts[-1].column, parts[-1].joint, parts[-1].before, literal)
    return tuple(parts)


def _malformed(template: str) -> str:
    return (
        f"Got the text template {template!r}, but it is text with column names in braces. "
        'Write for example "{TITLE}. {DESCRIPTION}".'
    )
