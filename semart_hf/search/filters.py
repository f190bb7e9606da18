"""Filters on a catalogue's columns: a small language, of which every sign is checked before a database sees it."""

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?!\w))|(?P<sign>!=|<=|>=|[=<>(),])
    |"(?P<quoted>(?:[^"]|"")+)"|(?P<word>[^\W\d]\w*)|(?P<end>\Z)|(?P<odd>\S)""",
    re.VERBOSE,
)
_WORDS = ("and", "or", "not", "in")
_SIGNS = ("=", "!=", "<", "<=", ">", ">=")
_MOST_CHARACTERS, _MOST_VALUES, _MOST_DEPTH = 10_000, 200, 50
_ADVICE = "Write a filter like \"school = 'Dutch' and not (timeframe < '1601' or type in ('genre', 'portrait'))\"."


class Field(NamedTuple):
    """A column that filters may name: its name in the database, and its kind: `text`, `number` or `labels`."""

    name: str
    kind: str = "text"


def parse_filter(text: str, fields: Mapping[str, Field]) -> str:
    """The condition in SQL, made of the fields' names and of quoted values alone.

    A filter is made of `COLUMN = != < <= > >= VALUE`, `COLUMN in (VALUE, …)`, `and`, `or`, `not` and parentheses. A
    column may be written in other case where no other column is spelt so.

    Comparisons are of texts where the value is in quotes, else of numbers, which a cell that is no number fails. An
    empty cell equals `''` and is neither less nor greater than anything. Labels equal a value that is among them.
    """
    return _Parser(text, fields).condition()


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self.text, self.fields = text, fields
        if not text.strip():
            raise ValueError(f"Got an empty filter. {_ADVICE}")
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"Got a filter of {len(text):,} characters. Allowed are {_MOST_CHARACTERS:,}.")
        found = list(_TOKEN.finditer(text))
        if sum(token.lastgroup in ("text", "number") for token in found) > _MOST_VALUES:
            raise ValueError(f"Got a filter with more than {_MOST_VALUES} values. Write it with fewer.")
        self.tokens = iter(found)
        self._go_on()

    def condition(self) -> str:
        """The filter with its own structure, which is SQL's: `not` before `and` before `or`."""
        parts: list[str] = []
        num_open = num_nots = 0
        while True:
            if self._takes("not"):
                num_nots += 1
                parts.append("NOT")
            elif self._takes("("):
                num_open += 1
                parts.append("(")
            else:
                parts.append(self._comparison())
                num_nots = 0
                while num_open and self._takes(")"):
                    num_open -= 1
                    parts.append(")")
                if self.kind == "end" and not num_open:
                    return " ".join(parts)
                parts.append(self.value.upper())
                if not self._takes("and", "or"):
                    raise self._wrong(f"and, or, or {'a closing parenthesis' if num_open else 'the end'}")
            if num_open + num_nots > _MOST_DEPTH:
                raise ValueError(f"Got a filter with more than {_MOST_DEPTH} parentheses in one another. Use fewer.")

    def _go_on(self) -> None:
        token = next(self.tokens)
        self.kind, self.value, self.place = token.lastgroup or "", token[token.lastgroup or 0], token.start()
        if self.kind == "odd" or "\0" in self.value:
            where = f"at character {self.place + 1} of the filter {self.text!r}"
            raise ValueError(f"Got {self.text[self.place]!r} {where}, which it cannot hold. {_ADVICE}")

    def _takes(self, *words: str) -> bool:
        """Whether the next token is one of these, which is passed then."""
        is_found = self.kind in ("word", "sign") and self.value.lower() in words
        if is_found:
            self._go_on()
        return is_found

    def _wrong(self, expected: str) -> ValueError:
        got = "the end" if self.kind == "end" else repr(self.value)
        where = f"at character {self.place + 1} of the filter {self.text!r}"
        return ValueError(f"Got {got} {where}, where {expected} is allowed. {_ADVICE}")

    def _comparison(self) -> str:
        if self.kind not in ("word", "quoted") or (self.kind == "word" and self.value.lower() in _WORDS):
            raise self._wrong("a column, not or a parenthesis")
        field = find_field(self.value.replace('""', '"'), self.fields)
        self._go_on()
        is_negated = self._takes("not")
        if self._takes("in"):
            if not self._takes("("):
                raise self._wrong("a list of values in parentheses")
            parts = [self._compared(field, "=")]
            while self._takes(","):
                parts.append(self._compared(field, "="))
            if not self._takes(")"):
                raise self._wrong("a comma or a closing parenthesis")
            return f"({'NOT ' * is_negated}({' OR '.join(parts)}))"
        sign = self.value
        if is_negated or not self._takes(*_SIGNS):
            raise self._wrong("in" if is_negated else f"in, not in, or one of {' '.join(_SIGNS)}")
        found = self._compared(field, sign.removeprefix("!"))
        return f"(NOT {found})" if sign == "!=" else found

    def _compared(self, field: Field, sign: str) -> str:
        """The condition that the next token, a value, makes."""
        name, kind, value = field.name, self.kind, self.value
        if kind not in ("number", "text"):
            raise self._wrong("a value, as 'Dutch' or 1650,")
        if field.kind == "number" and kind == "text":
            raise self._wrong("a number")
        if field.kind == "labels" and sign != "=":
            raise ValueError(f"Got {sign} for a task with several labels. Allowed are =, != and in. {_ADVICE}")
        self._go_on()
        if value == "''" and sign == "=":
            return f"{name} IS NULL"
        if field.kind == "labels":
            return f"coalesce(array_has({name}, {value if kind == 'text' else repr(value)}), false)"
        if kind == "text":  # the value still is in its quotes, with every quote within it doubled
            return f"({name} IS NOT NULL AND {name} {sign} {value})"
        number = name if field.kind == "number" else f"try_cast({name} AS double)"
        found = f"coalesce({number} {sign} {value}, false)"
        # For the database, NaN is more than any number.
        return f"({found} AND NOT isnan({number}))" if sign.startswith(">") else found


def find_field(name: str, fields: Mapping[str, Field]) -> Field:
    """The field of a column's name; a ValueError if there is none, or there are several but for their case."""
    found = [name] if name in fields else [column for column in fields if column.casefold() == name.casefold()]
    if len(found) == 1:
        return fields[found[0]]
    spelt = {column.casefold(): column for column in fields}
    close = [] if found else difflib.get_close_matches(name.casefold(), spelt, n=1)
    near = f" Did you mean {spelt[close[0]]!r}?" if close else ""
    raise ValueError(f"Got the column {name!r} in a filter. Allowed are {found or [*fields]}. Name one of them.{near}")
