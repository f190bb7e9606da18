"""Filters on a catalogue's columns: a small language, of which every sign is checked before a database sees it."""

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^'\0]|'')*')|(?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?!\w))|(?P<sign>!=|<=|>=|[=<>(),])
    |"(?P<quoted>(?:[^"\0]|"")+)"|(?P<word>[^\W\d]\w*)|(?P<end>\Z)|(?P<odd>\S)""",
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
    parser = _Parser(text, fields)
    found = parser.condition(0)
    if parser.kind != "end":
        raise parser.wrong("and, or, or the end")
    return found


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

    def condition(self, depth: int) -> str:
        """Terms between `and` and `or`, of which SQL puts `and` first, too; `depth` counts what is around them."""
        parts = [self._term(depth)]
        while word := self._take("and", "or"):
            parts += [word.upper(), self._term(depth)]
        return " ".join(parts)

    def wrong(self, expected: str) -> ValueError:
        got = "the end" if self.kind == "end" else repr(self.value)
        where = f"at character {self.place + 1} of the filter {self.text!r}"
        return ValueError(f"Got {got} {where}, where {expected} is allowed. {_ADVICE}")

    def _go_on(self) -> None:
        token = next(self.tokens)
        self.kind, self.value, self.place = token.lastgroup or "", token[token.lastgroup or 0], token.start()

    def _take(self, *words: str, expected: str = "") -> str:
        """The next token, which is passed, if it is one of these; else nothing, or an error where one is expected."""
        found = self.value.lower() if self.kind in ("word", "sign") else ""
        if found in words:
            self._go_on()
            return found
        if expected:
            raise self.wrong(expected)
        return ""

    def _term(self, depth: int) -> str:
        if depth > _MOST_DEPTH:
            raise ValueError(f"Got a filter with more than {_MOST_DEPTH} parentheses in one another. Use fewer.")
        if self._take("not"):
            return f"NOT {self._term(depth + 1)}"
        if self._take("("):
            inner = self.condition(depth + 1)
            self._take(")", expected="and, or, or a closing parenthesis")
            return f"( {inner} )"
        return self._comparison()

    def _comparison(self) -> str:
        if self.kind not in ("word", "quoted") or (self.kind == "word" and self.value.lower() in _WORDS):
            raise self.wrong("a column, not or a parenthesis")
        field = find_field(self.value.replace('""', '"'), self.fields)
        self._go_on()
        is_negated = self._take("not")
        if self._take("in"):
            self._take("(", expected="a list of values in parentheses")
            parts = [self._compared(field, "=")]
            while self._take(","):
                parts.append(self._compared(field, "="))
            self._take(")", expected="a comma or a closing parenthesis")
            return f"({'NOT ' if is_negated else ''}({' OR '.join(parts)}))"
        if is_negated:
            raise self.wrong("in")
        sign = self._take(*_SIGNS, expected=f"in, not in, or one of {' '.join(_SIGNS)}")
        found = self._compared(field, sign.removeprefix("!"))
        return f"(NOT {found})" if sign == "!=" else found

    def _compared(self, field: Field, sign: str) -> str:
        """The condition that the next token, a value, makes."""
        name, kind, value = field.name, self.kind, self.value
        if kind not in ("number", "text"):
            raise self.wrong("a value, as 'Dutch' or 1650,")
        if field.kind == "number" and kind == "text":
            raise self.wrong("a number")
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
