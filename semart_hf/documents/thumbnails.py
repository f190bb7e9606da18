"""Paintings as a page shows them: thumbnails, titles, and lines below them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semart_hf.model.pictures_semart import load_picture

THUMBNAIL_SIZE = 144


@dataclass(frozen=True)
class ShownPainting:
    """A painting on a wall.

    Args:
        key: Of its picture in the page's store.
        has_picture: Whether the store has one.
        title: In italics.
        author: Below it; empty where unknown.
        lines: What else is written below.
    """

    key: int
    has_picture: bool
    title: str
    author: str = ""
    lines: Sequence[str] = ()


def to_jpeg(picture: Any, size: int = THUMBNAIL_SIZE) -> bytes | None:
    """The picture as a JPEG whose longer side is at most `size` pixels; `None` where it cannot be read."""
    try:
        small = load_picture(picture).copy()
    except ValueError:  # a page is not lost for one file; findings and results name it
        return None
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()
