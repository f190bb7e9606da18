"""A run stops before its first step where most of what it is to learn from cannot be read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.model.pictures_semart import PictureError, load_picture

from .sampling import TrainingPaintings
from .streaming import PaintingStream, column_of

LEAST_SHARE = 0.5
logger = logging.getLogger(__name__)
# Pictures that are opened, evenly spaced among all; rows of a stream that are looked at; rows that are named.
_NUM_TRIED, _NUM_STREAMED, _NUM_NAMED = 48, 256, 3
_SMALL_SIDE = 32


def check_readable(
    rows: datasets.Dataset | PaintingStream, *, split: str, modality: str, data: str | Path, follow_links: bool = False
) -> None:
    """Nothing, if at least half of the rows have what the modality shows; a stream is judged by its first rows.

    Beside pictures, a single text is enough: many catalogues describe few of their paintings. How many is logged.

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
    total, first = len(some), "" if some is rows else "the first "
    for part in modality.split("+") if total else ():
        count, tried, reasons = _readable_pictures(some) if part == "image" else _readable_texts(some)
        least_share = 0.0 if (part, modality) == ("text", "image+text") else LEAST_SHARE
        if count and count >= least_share * total:
            if count < LEAST_SHARE * total:
                logger.warning("%s: %d of %s%d %s rows have a text.", data, count, first, total, split)
            continue
        what, other = ("pictures", "text") if part == "image" else ("texts", "image")
        raise ValueError(
            f"Got {data}, where {count:,} of {first}{total:,} {split} {what} can be read{tried}, "
            f"but modality: {modality} needs {'at least half of them' if least_share else 'some'}."
            f"{_explained(some, reasons, Path(data), follow_links=follow_links)}\nCorrect the names or the data, or "
            f"{f'set modality: {other} if that is meant' if '+' in modality else 'give other data'}."
        )


def check_shown(rows: Any, *, split: str) -> None:
    """Nothing, if at least one row shows a picture or a text, and at least half of the pictures can be read.

    Args:
        rows: As for `check_readable`, of any kind.
        split: Its name.

    Raises:
        ValueError: If not.
    """
    if isinstance(rows, PaintingStream | TrainingPaintings):
        return
    has_picture = _has_picture(rows)
    if not has_picture.any() and not _readable_texts(rows)[0]:
        raise ValueError(
            f"Got {len(rows)} {split} rows, but none has a picture or a text, in the columns image and text. Rename "
            "the columns, or correct the data."
        )
    places = np.flatnonzero(has_picture)[:: max(1, int(has_picture.sum()) // _NUM_TRIED)].tolist()
    faults = {place: fault for place in places if (fault := _fault(rows[place]["image"]))}
    if len(faults) > LEAST_SHARE * len(places):
        place, fault = next(iter(faults.items()))
        raise ValueError(
            f"Got {len(rows)} {split} rows, but of {len(places)} pictures that were tried {len(faults)} cannot be "
            f"read, first that of row {place + 1}: {fault} Correct the column image."
        )


def _readable_pictures(rows: Any) -> tuple[int, str, dict[int, str]]:
    """How many pictures can be read, by trying some; what was tried; and the first rows without, with a reason."""
    has_picture = _has_picture(rows)
    missing = dict.fromkeys(np.flatnonzero(~has_picture)[:_NUM_NAMED].tolist(), "it has no picture")
    count = int(has_picture.sum())
    if count < LEAST_SHARE * len(has_picture):
        return count, "", missing
    chosen = np.flatnonzero(has_picture)[:: max(1, count // _NUM_TRIED)].tolist()
    faults = {place: fault for place in chosen if (fault := _fault(rows[place]["image"]))}
    if not faults:
        return count, "", missing
    tried = f" ({len(chosen) - len(faults)} of the {len(chosen)} that were tried)"
    return round(count * (1 - len(faults) / len(chosen))), tried, dict(list(faults.items())[:_NUM_NAMED])


def _readable_texts(rows: Any) -> tuple[int, str, dict[int, str]]:
    has_text = [bool((text or "").strip()) for text in column_of(rows, "text")]
    missing = [place for place, is_there in enumerate(has_text) if not is_there]
    return sum(has_text), "", dict.fromkeys(missing[:_NUM_NAMED], "it has no text")


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


def _explained(rows: Any, reasons: Mapping[int, str], data: Path, *, follow_links: bool) -> str:
    """A line for each of some rows: its name, and why it has no picture or text."""
    folder = (data.parent if data.is_file() else data) / "Images"
    is_release = data.is_file() or any(data.glob("semart_*.csv"))
    lines = []
    for place, reason in reasons.items():
        name = dict(rows[place]).get("image_file")
        if reason == "it has no picture" and is_release:
            found = find_picture(str(folder), name, follow_links=follow_links)
            reason = found[1] if isinstance(found, tuple) else reason
        lines.append(f"\n  row {place + 1}{f' ({name})' if name else ''}: {reason}")
    return "".join(lines)
