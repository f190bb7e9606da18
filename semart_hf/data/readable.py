"""A run stops before its first step where most of what it is to learn from cannot be read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.model.pictures_semart import PictureError, load_picture

from .streaming import PaintingStream, column_of

LEAST_SHARE = 0.5
# Pictures that are opened, evenly spaced among all; rows of a stream that are looked at; rows that are named.
_NUM_TRIED, _NUM_STREAMED, _NUM_NAMED = 48, 256, 3
_SMALL_SIDE = 32


def check_readable(
    rows: datasets.Dataset | PaintingStream, *, split: str, modality: str, data: str | Path, follow_links: bool = False
) -> None:
    """Nothing, if at least half of the rows have each part of the modality; rows of a stream are judged by its first.

    Args:
        rows: One split, pictures undecoded.
        split: Its name.
        modality: What the model is shown: `image+text`, or one of both alone.
        data: Where the rows come from.
        follow_links: Whether links in a release's folder of pictures are followed.

    Raises:
        ValueError: If there is less, with counts, the first rows without it, and what may be the cause.
    """
    some: Any = rows.first_rows(_NUM_STREAMED) if isinstance(rows, PaintingStream) else rows
    total = len(some)
    for part in modality.split("+"):
        is_there = (
            _has_picture(some)
            if part == "image"
            else np.array([bool((text or "").strip()) for text in column_of(some, "text")], dtype=bool)
        )
        what, count = {"image": "pictures", "text": "texts"}[part], int(is_there.sum())
        places, reasons = np.flatnonzero(~is_there)[:_NUM_NAMED], {}
        tried = ""
        if part == "image" and count >= LEAST_SHARE * total > 0:
            chosen = np.flatnonzero(is_there)[:: max(1, count // _NUM_TRIED)]
            reasons = {int(place): error for place in chosen if (error := _fault(some[int(place)]["image"]))}
            places = np.array([*reasons][:_NUM_NAMED], dtype=int)
            if reasons:
                tried = f" ({len(chosen) - len(reasons)} of the {len(chosen)} that were tried)"
            count = round(count * (1 - len(reasons) / len(chosen)))
        if total and count and count >= LEAST_SHARE * total:
            continue
        names = _explained(some, places.tolist(), reasons, Path(data), part, follow_links=follow_links)
        other = {"image": "text", "text": "image"}[part]
        remedy = f"set modality: {other} if that is meant" if "+" in modality else "give other data"
        first = "the first " if some is not rows else ""
        raise ValueError(
            f"Got {data}, where {count:,} of {first}{total:,} {split} {what} can be read{tried}, but modality: "
            f"{modality} needs at least half of them.{names}\nCorrect the names or the data, or {remedy}."
        )


def _has_picture(rows: datasets.Dataset | Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Whether each row names a picture or holds one `(rows,)`; none is read."""
    if not isinstance(rows, datasets.Dataset):
        return np.array([row.get("image") is not None for row in rows], dtype=bool)
    if "image" not in rows.column_names:
        return np.zeros(len(rows), dtype=bool)
    cells = rows.data.column("image")
    parts = [pc.is_valid(pc.struct_field(cells, name)) for name in ("bytes", "path")]
    return np.asarray(pc.and_(pc.is_valid(cells), pc.or_(*parts)), dtype=bool)


def _fault(cell: Any) -> str | None:
    """What is wrong with a picture; `None`: nothing."""
    try:
        load_picture(cell, least_side=_SMALL_SIDE)
    except PictureError as error:
        return str(error)
    return None


def _explained(
    rows: Any, places: Sequence[int], reasons: Mapping[int, str], data: Path, part: str, *, follow_links: bool
) -> str:
    """A line for each of some rows: its name, and why it has no picture or text."""
    folder = (data.parent if data.is_file() else data) / "Images"
    is_release = data.is_file() or any(data.glob("semart_*.csv"))
    lines = []
    for place in places:
        name = dict(rows[place]).get("image_file")
        reason = reasons.get(place, f"it has no {'picture' if part == 'image' else 'text'}")
        if part == "image" and place not in reasons and is_release:
            found = find_picture(str(folder), name, follow_links=follow_links)
            reason = found[1] if isinstance(found, tuple) else reason
        lines.append(f"\n  row {place + 1}{f' ({name})' if name else ''}: {reason}")
    return "".join(lines)
