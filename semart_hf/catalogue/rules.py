"""Rules by which labels are derived: the timeframe of a date, and the medium of a technique."""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from .text import word_table

_LONGEST_SPAN = 50  # within a vaguer date, such as "17th century", no half-century is likelier than its neighbour
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
_NUMERIC_DATE = re.compile(r"\d{1,2}[./-] ?\d{1,2}[./-] ?(\d{4})|(\d{4})-\d\d-\d\d(?:[t ][\d:.z+-]+)?")
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

    Of a span or a decade of at most fifty years the middle decides. All years that a date names otherwise ("163?",
    "1644 or 1648") must lie in one half-century. The last year of a span may be another text.
    """
    spans = _spans(text)
    if end_text is not None:
        ends = _spans(end_text)
        spans = [(spans[0][0], ends[-1][1])] if spans and ends else []
    timeframes = {half_century(*span) for span in spans}
    return timeframes.pop() if len(timeframes) == 1 else None


def half_century(year: int, end_year: int) -> str | None:
    """Timeframe of the middle of a span of years; `None` before Christ, in the future, or over fifty years."""
    if year < 1 or end_year > date.today().year or not 0 <= end_year - year <= _LONGEST_SPAN:
        return None
    start = ((year + end_year) // 2 - 1) // 50 * 50 + 1
    return f"{start:04d}-{start + 49:04d}"


def _spans(text: str | None) -> list[tuple[int, int]]:
    """First and last year of each time that a date names; none where a part of it is not understood."""
    plain = re.sub(r"[‐‑‒–—―−]", "-", _without_accents((text or "").casefold()))
    plain = plain.replace("’", "'").replace("(?)", "?").replace(" ?", "?")
    plain = re.sub(r"(?<![\d/])(\d{4}s?)/(?=\d\ds?(?![\d/]))", r"\1-", plain)  # 1650/51
    plain = re.sub(r"(?<![\d.,'])([12])[,.' ](\d{3})(?![\d.,])", r"\1\2", plain)  # 1,650
    if _BEFORE_CHRIST.search(plain):
        return []
    if _OTHER_CALENDAR.search(plain):  # "A.H. 887/A.D. 1482": the part that says it is the Christian year counts
        parts = [part for part in re.split(r"[/;,=()]", plain) if not _OTHER_CALENDAR.search(part)]
        plain = " ".join(part for part in parts if _AFTER_CHRIST.search(part))
    if whole := _part_of_century(_BESIDE.sub(" ", plain).strip()) or _part_of_century(plain.strip()):
        return [whole]
    if numeric := _NUMERIC_DATE.fullmatch(plain.strip()):
        plain = numeric[1] or numeric[2]
    plain = " ".join(_DAY_AND_MONTH.sub(" ", _BESIDE.sub(" ", _AFTER_CHRIST.sub(" ", plain))).split())
    if between := _BETWEEN.fullmatch(plain):
        first, last = _span(between[1]), _span(between[2])
        return [(first[0][0], last[-1][1])] if first and last else []
    times = [_span(part) for part in _ALTERNATIVES.split(plain) if part]
    return [span for spans in times for span in spans] if all(times) else []


def _span(part: str) -> list[tuple[int, int]]:
    """The years of one plain expression, or the first and the last possible one where digits are unknown."""
    part = part.strip()
    if re.fullmatch(r"\d{3,4}(?:\.0+)?|\d{4}\?", part):
        year = int(part.rstrip("?").split(".")[0])
        return [(year, year)]
    if _UNKNOWN_DIGITS.fullmatch(part):
        first, last = (int(re.sub(r"\D", digit, part)) for digit in "09")
        return [(first, first), (last, last)]
    if span := _SPAN.fullmatch(part):
        start, digits = span[1], span[3]
        end = start[: max(0, len(start) - len(digits))] + digits
        decades = [year for year, is_decade in ((start, span[2]), (end, span[4])) if is_decade]
        if len(digits) == 3 < len(start) or not all(re.fullmatch(r"\d\d[1-9]0", year) for year in decades):
            return []
        return [(int(start), int(end) + (9 if span[4] else 0))]
    if decade := _DECADE.fullmatch(part.rstrip("?")):  # "1600s" may be a century
        return [(int(decade[1]), int(decade[1]) + 9)]
    if len(part) > 1 and _ROMAN_YEAR.fullmatch(part):
        return [(_number(part), _number(part))]
    if decade := re.fullmatch(r"(early|mid|late|mid-late)[ -](\d{2}[1-9]0)s\??", part):
        first, last = ((int(decade[2]) + years) for years in _PARTS_OF_DECADES[decade[1]])
        return [(first, first), (last, last)]
    return []


def _part_of_century(text: str) -> tuple[int, int] | None:
    for pattern, number, of_all in _PARTS_OF_CENTURIES:
        if found := pattern.fullmatch(text):
            start = 100 * (_number(found["number"] or found["roman"]) - 1)
            return start + 100 * number // of_all + 1, start + 100 * (number + 1) // of_all
    return None


def _number(digits: str) -> int:
    if digits.isdigit():
        return int(digits)
    values = [_ROMAN[letter] for letter in digits]
    return sum(-one if one < following else one for one, following in zip(values, [*values[1:], 0], strict=True))


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


# The typing errors are the official release's.
_TRANSFERRED = r"(?:tr?an?s?fer+ed|trasportat\w|trasferit\w|transpos\w+|transfere\w*|trasladad\w)"
_TO_TODAY = re.compile(_TRANSFERRED + r"(?: (?:from|da|de) [\w ]+?)? (?:on)?(?:to|on|su|sur|a) (?P<today>.*)")
_TO_TODAY_GERMAN = re.compile(r".*\bauf (?P<today>.*) ubertragen")
_FROM_FORMER = re.compile(_TRANSFERRED + r" (?:from|da|de|du) .*")
_MOUNTED = re.compile(
    r"(?:mounted|monted|laid|pasted|glued|stuck|attached|fixed|affixed|adhered|stretched|marouflage\w*|maroufle\w?)"
    r"(?: down)? (?:on|onto|to|over|upon|sur) .*|(?:backed|lined) (?:with|by|on|onto) .*"
    r"|(?:applicat|incollat|montat)\w su .*|auf .* (?:aufgezogen|kaschiert)"
)


@lru_cache(maxsize=65536)
def medium_of(technique: str | None) -> str | None:
    """Medium of a painting by the surface that carries its paint today; `None` where the text does not say it.

    After a transfer that is the new one, but a sheet or canvas that was mounted on something else stays what it is. A
    technique may be tied to a surface: a fresco is wall, a pastel or a print is paper.
    """
    if technique is None:
        return None
    text = " ".join(_without_accents(technique.lower()).split())
    text = re.sub(r"(?<=[a-z])(?=\d)", " ", text)  # "wood288 x 175 cm"
    transfer = _TO_TODAY.search(text) or _TO_TODAY_GERMAN.search(text)
    if transfer and (today := _named_surface(transfer["today"])):
        return today
    text = _FROM_FORMER.sub("", text)
    painted = _MOUNTED.sub("", text)
    exact = _named_surface(painted) or _first(_rules("implied_surfaces"), painted)
    return exact or _named_surface(_corrected(painted)) or _named_surface(text)


def _corrected(text: str) -> str:
    """The surfaces that words of five letters and more most likely misspell, or run into another word: `oncanvas`."""
    words, surfaces = [], word_table("surfaces")["often_misspelt"]
    for word in re.findall(r"\w{5,}", text):
        close = get_close_matches(word, surfaces, n=1, cutoff=0.84)
        close = close or get_close_matches(word.removesuffix("s"), surfaces, n=1, cutoff=0.84)
        words += (close if word != "popular" else []) or [
            one for one in surfaces if word.startswith(one) or word.endswith(one) or sorted(word) == sorted(one)
        ]
    return " ".join(words)


def _named_surface(text: str) -> str | None:
    for _, pattern in _rules("not_surfaces"):
        text = pattern.sub(" ", text)
    return _first(_rules("surfaces"), " ".join(text.split()))


def _first(rules: list[tuple[str, re.Pattern[str]]], text: str) -> str | None:
    """Medium of the rule whose words come first in the text."""
    matches = [(match.start(), row) for row, (_, words) in enumerate(rules) if (match := words.search(text))]
    return rules[min(matches)[1]][0] if matches else None


@lru_cache
def _rules(name: str) -> list[tuple[str, re.Pattern[str]]]:
    """Medium and words of each rule in a list of the table of surfaces; of a list without media the words alone."""
    lines = word_table("surfaces")[name]
    rules = [rule for line in lines for rule in (line.items() if isinstance(line, dict) else [("", line)])]
    return [(medium, re.compile(rf"(?<!\w)(?:{words})(?:s|es)?(?!\w)")) for medium, words in rules]


def century_of(date: str | None) -> str | None:
    """The century of a date, as the hundred years that hold the middle of its half-century: `1601-1700`."""
    if (half := half_century_of(date)) is None:
        return None
    first = (int(half[:4]) - 1) // 100 * 100 + 1
    return f"{first}-{first + 99}"


#: Rules by which labels are derived from another column: a cell's text goes in, a label or `None` comes out. One that
#: is added here is a rule of recipes, and of the models that were trained with it.
RULES: dict[str, Callable[[str | None], str | None]] = {
    "medium": medium_of,
    "half_century": half_century_of,
    "century": century_of,
}


def label_text(cell: Any, rule: str | None = None) -> str | None:
    """The label that a cell has, or that a rule derives from it; `None` where it is empty."""
    if cell is None or cell != cell:
        return None
    if isinstance(cell, float) and cell.is_integer():  # how pandas writes whole numbers beside missing ones
        cell = int(cell)
    text = str(cell).strip()
    return (RULES[rule](text) if rule else text) or None
