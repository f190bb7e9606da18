"""The medium of a painting, from the free text of its technique, by the words of `mappings/words/surfaces.yaml`.

The surface that carries the paint today decides: after a transfer the new one, but a painted sheet or canvas that was
mounted on something else stays what it is. Of several surfaces the first that is named counts.
"""

import re
import unicodedata
from difflib import get_close_matches
from functools import lru_cache

from .text import word_table

# Medium and words of each rule.
_Rules = list[tuple[str, re.Pattern[str]]]

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

    A technique that is tied to a surface says it without naming it: a fresco is wall, a pastel or a print is paper.
    """
    if technique is None:
        return None
    decomposed = unicodedata.normalize("NFKD", technique.lower())
    text = " ".join("".join(letter for letter in decomposed if not unicodedata.combining(letter)).split())
    text = re.sub(r"(?<=[a-z])(?=\d)", " ", text)  # "wood288 x 175 cm"
    transfer = _TO_TODAY.search(text) or _TO_TODAY_GERMAN.search(text)
    today = _named_surface(transfer["today"]) if transfer else None
    if today:
        return today
    text = _FROM_FORMER.sub("", text)
    painted = _MOUNTED.sub("", text)
    exact = _named_surface(painted) or _first(_rules()["implied_surfaces"], painted)
    return exact or _named_surface(_corrected(painted)) or _named_surface(text)


def _corrected(text: str) -> str:
    """The surfaces that words of five letters and more most likely misspell, or run into another word: `oncanvas`."""
    words, surfaces = [], word_table("surfaces")["often_misspelt"]
    for word in re.findall(r"\w{5,}", text):
        close = get_close_matches(word, surfaces, n=1, cutoff=0.84)
        close = close or get_close_matches(word.removesuffix("s"), surfaces, n=1, cutoff=0.84)
        words += (close if word != "popular" else []) or [
            surface
            for surface in surfaces
            if word.startswith(surface) or word.endswith(surface) or sorted(word) == sorted(surface)
        ]
    return " ".join(words)


def _named_surface(text: str) -> str | None:
    for _, pattern in _rules()["not_surfaces"]:
        text = pattern.sub(" ", text)
    return _first(_rules()["surfaces"], " ".join(text.split()))


def _first(rules: _Rules, text: str) -> str | None:
    """Medium of the rule whose words come first in the text."""
    matches = [(match.start(), row) for row, (_, words) in enumerate(rules) if (match := words.search(text))]
    return rules[min(matches)[1]][0] if matches else None


@lru_cache(maxsize=1)
def _rules() -> dict[str, _Rules]:
    return {
        name: [
            (medium, re.compile(rf"(?<!\w)(?:{words})(?:s|es)?(?!\w)"))
            for line in lines
            for medium, words in (line.items() if isinstance(line, dict) else [("", line)])
        ]
        for name, lines in word_table("surfaces").items()
    }
