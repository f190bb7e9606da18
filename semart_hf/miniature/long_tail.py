"""The miniature's labels as often as SemArt has them: a few that everybody paints, and a long tail of rare ones."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .world import Table, World

COUNTS: Mapping[str, Mapping[str, int]] = {
    "type": {
        "religious": 7476,
        "portrait": 3288,
        "landscape": 2487,
        "mythological": 1860,
        "genre": 1630,
        "still-life": 924,
        "interior": 452,
        "historical": 544,
        "study": 57,
    },
    "school": {
        "Italian": 8005,
        "Dutch": 2944,
        "French": 2552,
        "Flemish": 2015,
        "German": 1172,
        "Spanish": 852,
        "English": 411,
        "American": 113,
        "Greek": 37,
        "Swedish": 23,
    },
    "timeframe": {
        "1451-1500": 2059,
        "1501-1550": 2575,
        "1551-1600": 1580,
        "1601-1650": 3399,
        "1651-1700": 2085,
        "1701-1750": 1442,
        "1751-1800": 1112,
        "1801-1850": 1054,
        "1851-1900": 1744,
        # Nothing but a gilded ground shows it in the miniature: it stands for SemArt's rarest period of its own.
        "1351-1400": 14,
    },
    "medium": {"canvas": 4182, "wood": 2645, "wall": 241, "paper": 187, "metal": 106, "other": 36},
}
"""Paintings of each label in 19,226 of the 19,244 of SemArt's train split; the media are of the named techniques."""

_ENOUGH = 1e-9  # largest difference between a label's share and the wanted one


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
