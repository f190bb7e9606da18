"""The miniature's writer: the words of a description, and the free text of the catalogue's other columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

_PHRASES = yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text("utf-8"))
_MOST_WORDS = 40
_ENTITIES = str.maketrans({character: f"&#{ord(character)};" for character in "çé"} | {"–": "&#150;", "œ": "&#339;"})


def describe(cues: Mapping[str, str], rng: np.random.Generator) -> str:
    """A description of 10 to 40 words that speaks of each task's cue and of nothing else but chance."""
    subject = _pick(_PHRASES["subjects"][cues["type"]], rng)
    opening = _pick(_PHRASES["openings"], rng)
    school = _pick(_PHRASES["schools"][cues["school"]], rng)
    if school[0].lower() in "aeiou":
        opening = opening.replace("a {school}", "an {school}").replace("A {school}", "An {school}")
    period = _pick(_PHRASES["periods"][cues["timeframe"]], rng)
    support = _pick(_PHRASES["supports"][cues["medium"]], rng)
    capitalised = subject[0].upper() + subject[1:]
    sentences = [opening.format(subject=subject, Subject=capitalised, school=school, period=period, support=support)]
    remarks = _PHRASES["remarks"]
    for index in rng.permutation(len(remarks))[: int(rng.integers(0, 3))]:
        if sum(len(words.split()) for words in (*sentences, remarks[index])) <= _MOST_WORDS:
            sentences.insert(0 if rng.random() < 0.25 else len(sentences), remarks[index])
    return " ".join(sentences)


def escape(text: str) -> str:
    """The text with its special characters as numeric HTML entities, as some rows of the real release have them."""
    return text.translate(_ENTITIES)


def catalogue(labels: Mapping[str, str], aspect: float, rng: np.random.Generator) -> dict[str, str]:
    """AUTHOR, TITLE, TECHNIQUE and DATE of a painting with the given labels and width-to-height ratio."""
    technique = _pick(_PHRASES["techniques"][labels["medium"]], rng)
    if rng.random() < 0.75 and labels["medium"] != "wall":
        height = float(rng.integers(24, 180))
        technique += f", {height:.0f} x {height * aspect:.0f} cm"
    first, last = (int(year) for year in labels["timeframe"].split("-"))
    year = int(rng.integers(first, last - 2))
    date = _pick((f"{year}", f"c. {year}", f"{year}-{(year + 2) % 100:02d}", "-"), rng)
    return {
        "AUTHOR": _pick(_PHRASES["surnames"][labels["school"]], rng),
        "TITLE": _pick(_PHRASES["titles"][labels["type"]], rng),
        "TECHNIQUE": technique,
        "DATE": date,
    }


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
