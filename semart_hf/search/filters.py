"""Filters on a catalogue's columns: a small language, of which every sign is checked before a database sees it."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?!\w))|(?P<sign>!=|<=|>=|[=<>(),])
    |"(?P<quoted>(?:[^"]|"")+)"|(?P<word>[^\W\d]\w*)""",
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


class _Token(NamedTuple):
    kind: str
    value: str
    place: int


def parse_filter(text: str, fields: Mapping[str, Field]) -> str:
    """The condition in SQL, made of the fields' names and of quoted values alone.

    A filter is made of `COLUMN = != < <= > >= VALUE`, `COLUMN in (VALUE, …)`, `and`, `or`, `not` and parentheses. A
    column may be written in other case where no other column is spelt so.

    Comparisons are of texts where the value is in quotes, else of numbers, which a cell that is no number fails. An
    empty cell equals `''` and is neither less nor greater than anything. Labels equal a value that is among them.

    Example:
        >>> parse_filter("school = 'Dutch' or year < 1700", {"school": Field("cell_0"), "year": Field("cell_1")})
        "((cell_0 IS NOT NULL AND cell_0 = 'Dutch') OR coalesce(try_cast(cell_1 AS double) < 1700, false))"
    """
    return _Parser(text, fields).condition()


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self.text, self.fields, self.place, self.depth = text, fields, 0, 0
        self.tokens = self._tokens()

    def condition(self) -> str:
        found = self._any()
        if self.tokens[self.place].kind != "end":
            raise self._wrong("and, or, or the end")
        return found

    def _tokens(self) -> list[_Token]:
        if not self.text.strip():
            raise ValueError(f"Got an empty filter. {_ADVICE}")
        if len(self.text) > _MOST_CHARACTERS:
            raise ValueError(f"Got a filter of {len(self.text):,} characters. Allowed are {_MOST_CHARACTERS:,}.")
        found, place = [], 0
        while self.text[place:].strip():
            place = len(self.text) - len(self.text[place:].lstrip())
            match = _TOKEN.match(self.text, place)
            if match is None or "\0" in match[0]:
                raise ValueError(
                    f"Got {self.text[place]!r} at character {place + 1} of the filter {self.text!r}, which it cannot "
                    f"hold. {_ADVICE}"
                )
            found.append(_Token(match.lastgroup or "", match[match.lastgroup or 0], place))
            place = match.end()
        if sum(token.kind in ("text", "number") for token in found) > _MOST_VALUES:
            raise ValueError(f"Got a filter with more than {_MOST_VALUES} values. Write it with fewer.")
        return [*found, _Token("end", "", len(self.text))]

    def _takes(self, *words: str) -> bool:
        """Whether the next token is one of these, which is passed then."""
        token = self.tokens[self.place]
        is_found = token.kind in ("word", "sign") and token.value.lower() in words
        self.place += is_found
        return is_found

    def _wrong(self, expected: str) -> ValueError:
        token = self.tokens[self.place]
        got = repr(token.value) if token.kind != "end" else "the end"
        return ValueError(
            f"Got {got} at character {token.place + 1} of the filter {self.text!r}, where {expected} is allowed. "
            f"{_ADVICE}"
        )

    def _any(self) -> str:
        return self._joined("or", self._all)

    def _all(self) -> str:
        return self._joined("and", self._one)

    def _joined(self, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._takes(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else f"({f' {word.upper()} '.join(parts)})"

    def _one(self) -> str:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise ValueError(
                f"Got a filter with more than {_MOST_DEPTH} parentheses in one another. Write it with fewer."
            )
        if self._takes("not"):
            found = f"(NOT {self._one()})"
        elif self._takes("("):
            found = self._any()
            if not self._takes(")"):
                raise self._wrong("and, or, or a closing parenthesis")
        else:
            found = self._comparison()
        self.depth -= 1
        return found

    def _comparison(self) -> str:
        field = self._field()
        is_negated = self._takes("not")
        if self._takes("in"):
            if not self._takes("("):
                raise self._wrong("a list of values in parentheses")
            values = [self._value()]
            while self._takes(","):
                values.append(self._value())
            if not self._takes(")"):
                raise self._wrong("a comma or a closing parenthesis")
            found = "(" + " OR ".join(self._compared(field, "=", value) for value in values) + ")"
            return f"(NOT {found})" if is_negated else found
        sign = self.tokens[self.place].value
        if is_negated or not self._takes(*_SIGNS):
            raise self._wrong("in" if is_negated else f"in, not in, or one of {' '.join(_SIGNS)}")
        return self._compared(field, sign, self._value())

    def _field(self) -> Field:
        token = self.tokens[self.place]
        if token.kind not in ("word", "quoted") or (token.kind == "word" and token.value.lower() in _WORDS):
            raise self._wrong("a column, not or a parenthesis")
        self.place += 1
        return find_field(token.value.replace('""', '"') if token.kind == "quoted" else token.value, self.fields)

    def _value(self) -> _Token:
        if self.tokens[self.place].kind not in ("text", "number"):
            raise self._wrong("a value, as 'Dutch' or 1650,")
        self.place += 1
        return self.tokens[self.place - 1]

    def _compared(self, field: Field, sign: str, value: _Token) -> str:
        name, is_equality = field.name, sign in ("=", "!=")
        if field.kind == "labels" and not is_equality:
            raise ValueError(f"Got {sign} for a task with several labels. Allowed are =, != and in. {_ADVICE}")
        if field.kind == "number" and value.kind == "text":
            self.place -= 1
            raise self._wrong("a number")
        if value.value == "''" and is_equality:
            found = f"{name} IS NULL"
        elif field.kind == "labels":
            text = value.value if value.kind == "text" else f"'{value.value}'"
            found = f"coalesce(array_has({name}, {text}), false)"
        elif value.kind == "number":
            number = name if field.kind == "number" else f"try_cast({name} AS double)"
            found = f"coalesce({number} {sign.removeprefix('!')} {value.value}, false)"
            if sign.startswith(">"):  # for the database, NaN is more than any number
                found = f"({found} AND NOT isnan({number}))"
        else:
            # The value still is in its quotes, with every quote within it doubled.
            found = f"({name} IS NOT NULL AND {name} {sign.removeprefix('!')} {value.value})"
        return f"(NOT {found})" if sign == "!=" else found


def find_field(name: str, fields: Mapping[str, Field]) -> Field:
    """The field of a column's name; a ValueError if there is none, or there are several but for their case."""
    if name in fields:
        return fields[name]
    found: Sequence[str] = [column for column in fields if column.casefold() == name.casefold()]
    if len(found) == 1:
        return fields[found[0]]
    spelt = {column.casefold(): column for column in fields}
    close = difflib.get_close_matches(name.casefold(), spelt, n=1)
    near = f" Did you mean {spelt[close[0]]!r}?" if close and not found else ""
    raise ValueError(
        f"Got the column {name!r} in a filter. Allowed are {list(found or fields)}. Name one of them.{near}"
    )
