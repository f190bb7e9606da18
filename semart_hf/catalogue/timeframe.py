"""The half-century that a catalogue's date certainly lies in, which SemArt calls a timeframe."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .text import word_table
from .vocabulary import UNKNOWN

_PERIOD = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")

# Within a vaguer date, such as "17th century", no half-century is likelier than its neighbour.
_LONGEST_SPAN = 50

_WORDS = word_table("dates")


def _any_of(name: str) -> str:
    return "(?:" + "|".join(_WORDS[name]) + ")"


# The patterns below meet texts in lower case, without accents, with "-" for every dash.
_BEFORE_CHRIST = re.compile(rf"(?<![a-z]){_any_of('before_christ')}(?![a-z])")
_AFTER_CHRIST = re.compile(rf"(?<![a-z]){_any_of('after_christ')}(?![a-z])")
_OTHER_CALENDAR = re.compile(rf"(?<![a-z]){_any_of('other_calendar')}(?![a-z])")
_BESIDE = re.compile(rf"\b{_any_of('beside_a_year')}(?=[\s.\d]|$)\.?")
_DAY_AND_MONTH = re.compile(
    rf"(?:\b\d{{1,2}}(?:st|nd|rd|th|\.)? ?)?(?:de |of )?\b{_any_of('months')}\.?"
    rf"(?: \d{{1,2}}(?:st|nd|rd|th)?,)?(?: de)? (?=\d{{4}}\b)"
)
_NUMERIC_DATE = re.compile(r"\d{1,2}[./-] ?\d{1,2}[./-] ?(\d{4})|(\d{4})-\d\d-\d\d(?:[t ][\d:.z]+)?")
_BETWEEN = re.compile(rf"{_any_of('between')} (.+?) {_any_of('and_of_between')} (.+)")
_ALTERNATIVES = re.compile(r"\s*(?:[/,;&()\[\]]|\b(?:or|and|oder|und|ou|et)\b)\s*")
_UNKNOWN_DIGITS = re.compile(r"(?=.{4}$)(\d{3}[?x_-]|\d\d(?:[?x_.-]{2}))")
_SPAN = re.compile(r"(\d{3,4})(s?) ?(?:-|\b(?:to|bis|until|tot)\b) ?(\d{1,4})(s?)")
_DECADE = re.compile(r"(?:(?:the|annees|anni|jaren) )?(\d{2}[1-9]0) ?(?:'?s|er(?: jahren?)?)?")
_PARTS_OF_DECADES = {"early": (0, 4), "mid": (3, 6), "late": (5, 9), "mid-late": (3, 9)}
_ROMAN_YEAR = re.compile(r"m{1,2}(?:cm|cd|d?c{0,4})(?:xc|xl|l?x{0,4})(?:ix|iv|v?i{0,4})")
_ROMAN = {"m": 1000, "d": 500, "c": 100, "l": 50, "x": 10, "v": 5, "i": 1}
_CENTURY = (
    r"(?:-| |of|the|des?|du|del|dell'|der|van|het|l'|le)*"
    r"(?:(?P<number>\d\d?|[ivx]+)(?:st|nd|rd|th|\.|e|eme|er|o)? ?"
    r"(?:century|cent\.?|c\.?|jh\.?|jhs\.?|jhdt\.?|jahrhunderts?|siecle|s\.|secolo|sec\.?|eeuw)"
    r"|(?:siglo|secolo|sec\.|s\.) (?P<roman>[ivx]+|\d\d?))"
)
# Pattern, number of the part from 0, and how many parts there are.
_PARTS_OF_CENTURIES = [
    *(
        (re.compile(rf"(?:{ordinal}) (?:{part}) {_CENTURY}"), (number or num_parts) - 1, num_parts)
        for number, ordinal in _WORDS["ordinals"].items()
        for num_parts, part in _WORDS["parts"].items()
        if number <= num_parts and (number, num_parts) != (2, 3)  # the middle third lies in both halves
    ),
    (re.compile(_any_of("first_half") + _CENTURY), 0, 2),
    (re.compile(_any_of("second_half") + _CENTURY), 1, 2),
]


@lru_cache(maxsize=65536)
def half_century_of(text: str | None, end_text: str | None = None) -> str | None:
    """Timeframe of a date as a catalogue writes it, such as `1651-1700` for "c. 1655"; `None` where none is certain.

    Of a span in years or a decade the middle decides, if it is no longer than fifty years. All years that a date names
    otherwise ("1644 or 1648", "163?") must lie in one half-century. Eras before Christ, other calendars, "before" and
    "after", whole centuries, years to come, and every word that is not known give `None`. The last year of a span may
    be another text.
    """
    spans = _spans(text)
    if end_text is not None and spans:
        ends = _spans(end_text)
        spans = [(spans[0][0], ends[-1][1])] if ends else []
    timeframes = {half_century(*span) for span in spans}
    return timeframes.pop() if len(timeframes) == 1 else None


def half_century(year: int, end_year: int | None = None) -> str | None:
    """Timeframe of a year or of the middle of a span; `None` before Christ, in the future, or over fifty years."""
    end_year = year if end_year is None else end_year
    if year < 1 or end_year > date.today().year or not 0 <= end_year - year <= _LONGEST_SPAN:
        return None
    start = ((year + end_year) // 2 - 1) // 50 * 50 + 1
    return f"{start:04d}-{start + 49:04d}"


def label_years(labels: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """First and last year of each label (labels, 2), NaN for `UNK`; None where another label is no span of years."""
    years = np.full((len(labels), 2), np.nan)
    for index, label in enumerate(labels):
        span = _PERIOD.fullmatch(label.strip())
        if span is not None:
            years[index] = [float(span[1]), float(span[2])]
        elif label != UNKNOWN:
            return None
    return None if np.isnan(years).all() else years


def _spans(text: str | None) -> list[tuple[int, int]]:
    """First and last year of each time that a date names; none where a part of it is not understood."""
    plain = _plain(text or "")
    if _BEFORE_CHRIST.search(plain):
        return []
    if _OTHER_CALENDAR.search(plain):  # "A.H. 887/A.D. 1482": the part that says it is the Christian year counts
        parts = [part for part in re.split(r"[/;,=()]", plain) if not _OTHER_CALENDAR.search(part)]
        plain = " ".join(part for part in parts if _AFTER_CHRIST.search(part))
    whole = _part_of_century(_BESIDE.sub(" ", plain).strip()) or _part_of_century(plain.strip())
    if whole:
        return [whole]
    numeric = _NUMERIC_DATE.fullmatch(plain.strip())
    if numeric:
        year = int(numeric[1] or numeric[2])
        return [(year, year)]
    plain = " ".join(_DAY_AND_MONTH.sub(" ", _BESIDE.sub(" ", _AFTER_CHRIST.sub(" ", plain))).split())
    between = _BETWEEN.fullmatch(plain)
    if between:
        first, last = _span(between[1]), _span(between[2])
        return [(first[0][0], last[-1][1])] if first and last else []
    spans: list[tuple[int, int]] = []
    for part in filter(None, _ALTERNATIVES.split(plain)):
        found = _span(part)
        if not found:
            return []
        spans += found
    return spans


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    plain = re.sub(r"[‐‑‒–—―−]", "-", plain).replace("’", "'").replace("(?)", "?").replace(" ?", "?")
    plain = re.sub(r"(?<![\d/])(\d{4}s?)/(?=\d\ds?(?![\d/]))", r"\1-", plain)  # 1650/51
    return re.sub(r"(?<![\d.,'])([12])[,.' ](\d{3})(?![\d.,])", r"\1\2", plain)  # 1,650


def _span(part: str) -> list[tuple[int, int]]:
    """The years of one plain expression, or the first and the last possible one where digits are unknown."""
    part = part.strip()
    if re.fullmatch(r"\d{3,4}(?:\.0+)?|\d{4}\?", part):
        year = int(part.rstrip("?").split(".")[0])
        return [(year, year)]
    if _UNKNOWN_DIGITS.fullmatch(part):
        first, last = (int(re.sub(r"\D", digit, part)) for digit in "09")
        return [(first, first), (last, last)]
    span = _SPAN.fullmatch(part)
    if span:
        start, end = span[1], span[3]
        if len(end) == 3 < len(start):
            return []
        end = start[: max(0, len(start) - len(end))] + end
        decades = [year for year, is_decade in ((start, span[2]), (end, span[4])) if is_decade]
        if not all(re.fullmatch(r"\d\d[1-9]0", year) for year in decades):
            return []
        return [(int(start), int(end) + (9 if span[4] else 0))]
    decade = _DECADE.fullmatch(part.rstrip("?"))
    if decade:  # "1600s" may be a century
        return [(int(decade[1]), int(decade[1]) + 9)]
    if len(part) > 1 and _ROMAN_YEAR.fullmatch(part):
        year = _roman(part)
        return [(year, year)]
    decade = re.fullmatch(r"(early|mid|late|mid-late)[ -](\d{2}[1-9]0)s\??", part)
    if decade:
        first, last = ((int(decade[2]) + years) for years in _PARTS_OF_DECADES[decade[1]])
        return [(first, first), (last, last)]
    return []


def _part_of_century(text: str) -> tuple[int, int] | None:
    for pattern, number, of_all in _PARTS_OF_CENTURIES:
        found = pattern.fullmatch(text)
        if found:
            digits = found["number"] or found["roman"]
            century = int(digits) if digits.isdigit() else _roman(digits)
            start = 100 * (century - 1)
            return start + 100 * number // of_all + 1, start + 100 * (number + 1) // of_all
    return None


def _roman(letters: str) -> int:
    values = [_ROMAN[letter] for letter in letters]
    return sum(
        -value if value < following else value for value, following in zip(values, [*values[1:], 0], strict=True)
    )
