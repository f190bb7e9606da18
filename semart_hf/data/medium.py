"""The medium of a painting, from the free text of its technique."""

import re

#: The labels of the task `medium` that the rules below give.
MEDIUMS = ("canvas", "wood", "wall", "paper", "metal", "other")

_FIRST = (
    ("canvas", "canvas|linen"),
    ("wood", "panel|wood|oak|poplar"),
    ("wall", "fresco|plaster"),
    ("paper", "paper"),
)


def medium_of(technique: str | None) -> str | None:
    """Medium of a painting by the surface that carries its paint today; `None` where the text does not say it."""
    for medium, pattern in _FIRST:
        if re.search(pattern, technique or "", re.IGNORECASE):
            return medium
    return None
