"""The art history of the miniature: which school painted when, on what and what, and how pictures and words show it.

The schools' centuries follow the counts of SemArt's train split, flattened so that the rarest class can be learned
from two thousand paintings; the rest is the common knowledge of a museum's label. A few labels are so rare that they
stay under ten paintings and become `UNK`, as in SemArt. `with_long_tail` gives every label SemArt's own frequency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .world import SILENT, Cue, Table, World

TIMEFRAMES = tuple(f"{year}-{year + 49}" for year in (*range(1451, 1900, 50), 1351))
RARE = {"type": ("study",), "school": ("Greek", "Swedish"), "timeframe": ("1351-1400",), "medium": ("other",)}
"""Labels too rare to be learned from the default number of paintings."""

MISSING_TEXT = 0.04
"""Share of paintings without a description."""

# Paintings of each school in each half-century, out of about a thousand (columns: TIMEFRAMES).
_PAINTED: dict[str, tuple[float, ...]] = {
    "Italian": (58, 60, 44, 34, 18, 36, 16, 4, 4, 1.5),
    "Dutch": (0, 4, 6, 60, 56, 6, 3, 3, 14, 0),
    "French": (3, 3, 4, 18, 14, 24, 26, 26, 54, 0),
    "Flemish": (18, 22, 18, 42, 18, 4, 2, 1, 0, 0.2),
    "German": (10, 40, 5, 4, 3, 3, 7, 18, 8, 0),
    "Spanish": (5, 5, 18, 24, 12, 2, 6, 12, 4, 0.2),
    "English": (0, 0, 1, 2, 3, 10, 32, 18, 8, 0),
    "American": (0, 0, 0, 0, 0, 0, 8, 18, 32, 0),
    "Greek": (0.3, 0.5, 0.3, 0.2, 0, 0, 0, 0, 0, 0.2),
    "Swedish": (0, 0, 0, 0, 0, 0.3, 0.5, 0.2, 0.5, 0),
}
# Of each half-century: the early centuries, the high Renaissance, the late Baroque, the moderns.
_ERA = (0, 0, 1, 1, 2, 2, 3, 3, 3, 0)

_MEDIUMS = ("canvas", "wood", "wall", "paper", "metal", "other")
# Italy paints its walls, the North its oak, Spain and the later centuries canvas; paper and copper come in between.
_SUPPORTS: dict[str, tuple[tuple[float, ...], ...]] = {
    "Italian": ((8, 44, 44, 2, 2, 0.2), (62, 6, 20, 2, 10, 0.2), (66, 2, 20, 6, 6, 0.2), (60, 4, 12, 20, 4, 0.2)),
    "northern": ((4, 86, 2, 4, 4, 0.2), (30, 50, 0, 4, 16, 0.2), (60, 24, 0, 8, 8, 0.2), (68, 8, 4, 18, 2, 0.2)),
    "other": ((20, 68, 6, 3, 3, 0.2), (78, 8, 4, 3, 7, 0.2), (82, 3, 3, 9, 3, 0.2), (72, 5, 2, 20, 1, 0.2)),
}
_NORTHERN = ("Dutch", "Flemish", "German", "Swedish")

_TYPES = (
    *("religious", "portrait", "landscape", "mythological", "genre"),
    *("still-life", "interior", "historical", "study"),
)
# How much each era, and each school beside the others, cared for each type (columns: _TYPES).
_TYPES_OF_ERA = (
    (60, 18, 4, 8, 3, 2, 2, 4, 0.2),
    (34, 18, 12, 13, 9, 8, 4, 5, 0.2),
    (16, 18, 20, 12, 14, 11, 7, 5, 0.2),
    (5, 28, 30, 5, 13, 8, 6, 8, 0.2),
)
_TYPES_OF_SCHOOL: dict[str, tuple[float, ...]] = {
    "Italian": (1.6, 0.9, 0.8, 1.6, 0.4, 0.5, 0.6, 1, 1),
    "Dutch": (0.4, 1, 1.5, 0.3, 1.8, 1.8, 2.4, 0.8, 1),
    "French": (0.8, 1, 1.1, 1.3, 1.2, 1, 0.8, 1.3, 1),
    "Flemish": (1, 0.9, 1.1, 1, 1.3, 1.5, 1.6, 0.8, 1),
    "German": (1, 1.3, 1.1, 0.8, 0.6, 0.6, 0.6, 1, 1),
    "Spanish": (1.6, 1.1, 0.3, 0.5, 1, 1.4, 0.3, 0.9, 1),
    "English": (0.2, 1.8, 1.4, 0.4, 0.6, 0.3, 0.5, 1.1, 1),
    "American": (0.1, 1.2, 1.9, 0.2, 1, 0.7, 0.5, 1.6, 1),
    "Greek": (3, 1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 1),
    "Swedish": (0.3, 2, 1, 0.5, 1, 0.5, 0.5, 1, 1),
}

# Nothing but a gilded ground shows 1351-1400 in the miniature: it stands for SemArt's rarest period of its own.
COUNTS: Mapping[str, Mapping[str, int]] = {
    "type": dict(zip(_TYPES, (7476, 3288, 2487, 1860, 1630, 924, 452, 544, 57), strict=True)),
    "school": dict(zip(_PAINTED, (8005, 2944, 2552, 2015, 1172, 852, 411, 113, 37, 23), strict=True)),
    "timeframe": dict(zip(TIMEFRAMES, (2059, 2575, 1580, 3399, 2085, 1442, 1112, 1054, 1744, 14), strict=True)),
    "medium": dict(zip(_MEDIUMS, (4182, 2645, 241, 187, 106, 36), strict=True)),
}
"""Paintings of each label in 19,226 of the 19,244 of SemArt's train split; the media are of the named techniques."""

_ENOUGH = 1e-9  # largest difference between a label's share and the wanted one

# label → (the value that shows it, the values it is confused with)
_Shown = Mapping[str, tuple[str, Sequence[str]]]

_COMPOSITIONS: _Shown = {
    "religious": ("religious", ("mythological", "portrait")),
    "portrait": ("portrait", ("religious", "genre")),
    "landscape": ("landscape", ("historical", "mythological")),
    "mythological": ("mythological", ("landscape", "religious")),
    "genre": ("genre", ("interior", "portrait")),
    "still-life": ("still-life", ("interior", "genre")),
    "interior": ("interior", ("genre", "still-life")),
    "historical": ("historical", ("landscape", "mythological")),
    "study": ("portrait", ("still-life", "landscape")),
}
# Four hands for ten schools, and neighbours paint alike: a brush narrows the school down, only a word can name it.
_BRUSHES: _Shown = {
    "Italian": ("hatched", ("enamel", "swept")),
    "Dutch": ("enamel", ("swept", "hatched")),
    "French": ("dabbed", ("swept", "enamel")),
    "Flemish": ("enamel", ("swept", "hatched")),
    "German": ("swept", ("hatched", "enamel")),
    "Spanish": ("hatched", ("swept", "dabbed")),
    "English": ("dabbed", ("swept", "hatched")),
    "American": ("swept", ("dabbed", "enamel")),
    "Greek": ("enamel", ("hatched", "swept")),
    "Swedish": ("dabbed", ("swept", "enamel")),
}
# Six palettes for ten half-centuries: neighbours share theirs.
_PALETTES: _Shown = {
    "1451-1500": ("gilded", ("clear", "clear")),
    "1501-1550": ("clear", ("gilded", "tenebrist")),
    "1551-1600": ("clear", ("tenebrist", "gilded")),
    "1601-1650": ("tenebrist", ("silvery", "clear")),
    "1651-1700": ("silvery", ("tenebrist", "pastel")),
    "1701-1750": ("pastel", ("silvery", "sunset")),
    "1751-1800": ("pastel", ("sunset", "silvery")),
    "1801-1850": ("sunset", ("pastel", "sunlit")),
    "1851-1900": ("sunlit", ("sunset", "pastel")),
    "1351-1400": ("gilded", ("clear", "clear")),
}
_SURFACES: _Shown = {
    "canvas": ("canvas", ("wood", "paper")),
    "wood": ("wood", ("canvas", "metal")),
    "wall": ("wall", ("paper", "canvas")),
    "paper": ("paper", ("wall", "canvas")),
    "metal": ("metal", ("wood", "canvas")),
    "other": ("metal", ("wall", "paper")),
}
_TYPE_WORDS: _Shown = {**_COMPOSITIONS, "study": (SILENT, ("portrait", "landscape"))}
# Words are wrong across the lines that brush and palette draw, so that picture and description correct each other.
_SCHOOL_WORDS: _Shown = {
    "Italian": ("Italian", ("French", "Flemish")),
    "Dutch": ("Dutch", ("German", "French")),
    "French": ("French", ("Italian", "Flemish")),
    "Flemish": ("Flemish", ("German", "Italian")),
    "German": ("German", ("Dutch", "Italian")),
    "Spanish": ("Spanish", ("Flemish", "French")),
    "English": ("English", ("American", "Dutch")),
    "American": ("American", ("English", "French")),
    "Greek": (SILENT, ("Italian", "Spanish")),
    "Swedish": (SILENT, ("German", "French")),
}
_PERIOD_WORDS: _Shown = {
    "1451-1500": ("1451-1500", ("1501-1550", "1551-1600")),
    "1501-1550": ("1501-1550", ("1451-1500", "1601-1650")),
    "1551-1600": ("1551-1600", ("1601-1650", "1651-1700")),
    "1601-1650": ("1601-1650", ("1551-1600", "1651-1700")),
    "1651-1700": ("1651-1700", ("1601-1650", "1701-1750")),
    "1701-1750": ("1701-1750", ("1651-1700", "1801-1850")),
    "1751-1800": ("1751-1800", ("1651-1700", "1801-1850")),
    "1801-1850": ("1801-1850", ("1751-1800", "1851-1900")),
    "1851-1900": ("1851-1900", ("1801-1850", "1751-1800")),
    "1351-1400": (SILENT, ("1451-1500", "1501-1550")),
}
_SUPPORT_WORDS: _Shown = {**_SURFACES, "other": (SILENT, ("canvas", "wood"))}


def art_history() -> World:
    """The world that the miniature is painted from."""
    labels = {"type": _TYPES, "school": tuple(_PAINTED), "timeframe": TIMEFRAMES, "medium": _MEDIUMS}
    return World(
        labels=labels,
        prior=_prior(),
        image={
            "type": _cue(_COMPOSITIONS, right=0.90),
            "school": _cue(_BRUSHES, right=0.90),
            "timeframe": _cue(_PALETTES, right=0.94),
            "medium": _cue(_SURFACES, right=0.90),
        },
        text={
            "type": _cue(_TYPE_WORDS, right=0.60, silent=0.36),
            "school": _cue(_SCHOOL_WORDS, right=0.88, silent=0.07),
            "timeframe": _cue(_PERIOD_WORDS, right=0.84, silent=0.12),
            "medium": _cue(_SUPPORT_WORDS, right=0.52, silent=0.45),
        },
        missing_text=MISSING_TEXT,
    )


def _prior() -> Table:
    """P(type, school, timeframe, medium): when each school painted, times what it painted then, times on what."""
    painted = np.array(list(_PAINTED.values()))
    groups = [school if school in _SUPPORTS else "northern" if school in _NORTHERN else "other" for school in _PAINTED]
    supports = np.array([[_SUPPORTS[group][era] for era in _ERA] for group in groups])
    types = np.array([_TYPES_OF_SCHOOL[school] for school in _PAINTED])[:, None] * np.array(_TYPES_OF_ERA)[list(_ERA)]
    supports /= supports.sum(axis=-1, keepdims=True)
    types /= types.sum(axis=-1, keepdims=True)
    return np.einsum("st,sty,stm->ystm", painted / painted.sum(), types, supports)


def _cue(shown: _Shown, right: float, silent: float = 0.0) -> Cue:
    """Each label shows its own value with probability `right`, none with `silent`, else one it is confused with."""
    values = list(dict.fromkeys(value for value, _ in shown.values()))
    if silent and SILENT not in values:
        values.append(SILENT)
    table = np.zeros((len(shown), len(values)))
    for row, (own, confused) in zip(table, shown.values(), strict=True):
        row[values.index(own)] += right
        if silent:
            row[values.index(SILENT)] += silent
        for value in confused:
            row[values.index(value)] += (1 - right - silent) / len(confused)
    return Cue(tuple(values), table)


def with_long_tail(world: World) -> World:
    """The world whose labels are as frequent as in SemArt, and go together as in the given one.

    Source: Deming & Stephan 1940, On a least squares adjustment of a sampled frequency table, section 5 (iterative
        proportional fitting).
    """
    shares = [np.array([COUNTS[task][label] for label in labels], float) for task, labels in world.labels.items()]
    shares = [share / share.sum() for share in shares]
    prior = world.prior
    while max(np.abs(_margin(prior, axis) - share).max() for axis, share in enumerate(shares)) > _ENOUGH:
        for axis, share in enumerate(shares):
            factors = share / _margin(prior, axis)
            prior = prior * factors.reshape([-1 if other == axis else 1 for other in range(prior.ndim)])
    return replace(world, prior=prior / prior.sum())


def _margin(prior: Table, axis: int) -> Table:
    """P(label) of the task on one axis."""
    return prior.sum(axis=tuple(other for other in range(prior.ndim) if other != axis))
