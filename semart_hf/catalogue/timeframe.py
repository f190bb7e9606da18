"""The half-century that a catalogue's date certainly lies in, which SemArt calls a timeframe."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .vocabulary import UNKNOWN

_PERIOD = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")

# Within a vaguer date, such as "17th century", no half-century is likelier than its neighbour.
_LONGEST_SPAN = 50

_Span = tuple[int, int]

# The patterns below meet texts in lower case, without accents, with "-" for every dash.
_BEFORE_CHRIST = re.compile(
    r"(?<![a-z])(?:b\.? ?c\.?(?: ?e\.?)?|v\. ?chr|vor christ\w*|v\. ?u\. ?z"
    r"|a\. ?c\.|ac|a\. ?de ?c|a\. ?chr|av\.? j|avant j"
    r"|avanti cristo|antes de cristo|before christ)(?![a-z])"
)
_OTHER_CALENDAR = re.compile(
    r"(?<![a-z])(?:a\. ?h\.?|ah|h\.|hijri|hegir\w+|anno (?:mundi|hegirae)|a\. ?m\.?|am|a\. ?u\. ?c|b\. ?e\.|s\. ?h\."
    r"|jewish|islamic|muharram)(?![a-z])"
)
_AFTER_CHRIST = re.compile(
    r"(?<![a-z])(?:a\. ?d\.?|ad|c\. ?e\.|ce|anno domini|n\. ?chr\.?|nach christ\w*"
    r"|d\. ?c\.|apr?\.? j\.? ?-?c\.?)(?![a-z])"
)
# What may stand beside a year without making it another one.
_BESIDE = re.compile(
    r"\b(?:(?:signed|inscribed|dated|signiert|bez(?:eichnet)?)(?: (?:and|und) (?:dated|inscribed|datiert))?"
    r"|datiert|date|painted|executed|completed|finished|begun|made|created|gemalt|peint en|anno|year"
    r"|spring|summer|autumn|fall|winter|c|ca|cca|circa|about|around|approximately|approx|um|gegen|vers|environ|verso|hacia|omstreeks|probably|possibly"
    r"|perhaps|presumably|wohl|vermutlich|wahrscheinlich)(?=[\s.\d]|$)\.?"
)
_MONTHS = (
    r"(?:jan(?:uary|uar|vier)?|enero|gen(?:naio)?|feb(?:ruary|ruar|rero|braio)?|fevr(?:ier)?|mar(?:ch|s|z|zo|t)?"
    r"|maerz|apr(?:il|ile)?|avr(?:il)?|abr(?:il)?|may|mai|maj|mayo|maggio|mei|june?|juni|juin|junio|giugno|july?|juli|juil(?:let)?|julio|luglio"
    r"|aug(?:ust|ustus)?|aout|agosto|sept?(?:ember|embre|tiembre|iembre)?|settembre|o[ck]t(?:ober|obre|ubre)?|ottobre"
    r"|nov(?:ember|embre|iembre)?|de[cz](?:ember|embre)?|dic(?:iembre|embre)?)"
)
_DAY_AND_MONTH = re.compile(
    rf"(?:\b\d{{1,2}}(?:st|nd|rd|th|\.)? ?)?(?:de |of )?\b{_MONTHS}\.?"
    rf"(?: \d{{1,2}}(?:st|nd|rd|th)?,)?(?: de)? (?=\d{{4}}\b)"
)
_NUMERIC_DATE = re.compile(r"\d{1,2}[./-] ?\d{1,2}[./-] ?(\d{4})|(\d{4})-\d\d-\d\d(?:[t ][\d:.z]+)?")
_BETWEEN = re.compile(
    r"(?:between|from|zwischen|von|entre|fra|tra|tussen|de|dal) (.+?) (?:and|to|und|bis|et|e|a|y|en|al) (.+)"
)
_ALTERNATIVES = re.compile(r"\s*(?:[/,;&()\[\]]|\b(?:or|and|oder|und|ou|et)\b)\s*")
_UNKNOWN_DIGITS = re.compile(r"(?=.{4}$)(\d{3}[?x_-]|\d\d(?:[?x_.-]{2}))")
_SPAN = re.compile(r"(\d{3,4})(s?) ?(?:-|\b(?:to|bis|until|tot)\b) ?(\d{1,4})(s?)")
_DECADE = re.compile(r"(?:(?:the|annees|anni|jaren) )?(\d{2}[1-9]0) ?(?:'?s|er(?: jahren?)?)?")
_PARTS_OF_DECADES = {"early": (0, 4), "mid": (3, 6), "late": (5, 9), "mid-late": (3, 9)}
_ROMAN_YEAR = re.compile(r"m{1,2}(?:cm|cd|d?c{0,4})(?:xc|xl|l?x{0,4})(?:ix|iv|v?i{0,4})")
_ROMAN = {"m": 1000, "d": 500, "c": 100, "l": 50, "x": 10, "v": 5, "i": 1}

# Parts of a century in English, German, French, Italian, Spanish and Dutch.
_ORDINALS = {
    1: r"first|1st|1\.|erste[ns]?|premiere?|1ere|1re|1er|prim[aoe]|primera?|eerste|1e",
    2: r"second[ao]?e?|2nd|2\.|zweite[ns]?|deuxieme|2e|2eme|2de|segund[ao]|tweede",
    3: r"third|3rd|3\.|dritte[ns]?|troisieme|3e|3eme|terzo|tercer|derde",
    4: r"fourth|4th|4\.|vierte[ns]?|quatrieme|4e|quarto|cuarto|vierde",
    0: r"last|latter|letzte[ns]?|dernier|derniere|ultim[ao]|laatste",
}
_UNITS = {
    2: r"half|halfte|moitie|meta|mitad|helft",
    3: r"third|drittel|tiers|terzo|tercio|derde",
    4: r"quarter|viertel|quart|quarto|cuarto|kwart",
}
_HALVES = {
    1: r"early|beginning|start|anfang|beginn|fruhes|debut|inizi?o?|principios|comienzos|begin|vroege?",
    2: r"late|end|ende|spates|fin|fine|finales|fines|eind|einde|laat",
}
_CENTURY = (
    r"(?:-| |of|the|des?|du|del|dell'|der|van|het|l'|le)*"
    r"(?:(?P<number>\d\d?|[ivx]+)(?:st|nd|rd|th|\.|e|eme|er|o)? ?"
    r"(?:century|cent\.?|c\.?|jh\.?|jhs\.?|jhdt\.?|jahrhunderts?|siecle|s\.|secolo|sec\.?|eeuw)"
    r"|(?:siglo|secolo|sec\.|s\.) (?P<roman>[ivx]+|\d\d?))"
)
_PARTS_OF_CENTURIES = [
    *(
        (re.compile(rf"(?:{ordinal}) (?:{unit}) {_CENTURY}"), (number or of_all) - 1, of_all)
        for number, ordinal in _ORDINALS.items()
        for of_all, unit in _UNITS.items()
        if number <= of_all and (number, of_all) != (2, 3)  # the middle third lies in both halves
    ),
    *((re.compile(rf"(?:{words}){_CENTURY}"), number - 1, 2) for number, words in _HALVES.items()),
]


@lru_cache(maxsize=65536)
def half_century_of(text: str | None, end_text: str | None = None) -> str | None:
    """Timeframe of a date as a catalogue writes it, such as `1651-1700` for "c. 1655"; `None` where none is certain.

    Of a span in years or a decade the middle decides, if it is no longer than fifty years. All years that a date names
    otherwise ("1644 or 1648", "163?") must lie in one half-century. Eras before Christ, other calendars, "before" and
    "after", whole centuries, years to come, and every word that is not known give `None`.

    Args:
        text: The date, or the first year of a span.
        end_text: The last year of a span, where the catalogue has it in another column.
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


def _spans(text: str | None) -> list[_Span]:
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
    spans: list[_Span] = []
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


def _span(part: str) -> list[_Span]:
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


def _part_of_century(text: str) -> _Span | None:
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
