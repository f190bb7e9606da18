"""What is given as data becomes rows; a run stops before its first step where it cannot."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.pictures_semart import PictureError, load_picture

from .labels import label_counts, renumbered, with_label_columns
from .sampling import TrainingPaintings
from .streaming import PaintingStream, column_of, undecoded

LEAST_SHARE = 0.5
logger = logging.getLogger(__name__)
# Pictures that are opened, evenly spaced among all; rows of a stream that are looked at; rows that are named.
_NUM_TRIED, _NUM_STREAMED, _NUM_NAMED = 48, 256, 3
_SMALL_SIDE = 32


def rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> Any:
    """Rows with `image` undecoded, `text`, and labels that are names or numbers of the model's vocabularies.

    They come from a `datasets.Dataset`, whose `ClassLabel` columns are matched by name, a DataFrame, a sequence of
    dicts, or a `PaintingStream`.
    """
    if isinstance(rows, PaintingStream | TrainingPaintings):
        return rows
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "iterrows"):
        try:
            rows = datasets.Dataset.from_pandas(rows, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(
                f"Got a DataFrame with a column of mixed types ({error}). A column is of one type. Correct it, e.g. "
                "with frame[column].astype('string')."
            ) from error
    is_sized = hasattr(rows, "__len__") and hasattr(rows, "__getitem__")
    if not is_sized or isinstance(rows, str | Mapping):
        raise TypeError(
            f"Got a {type(rows).__name__}, but rows are a datasets.Dataset, a DataFrame, a list of dicts, or for a "
            "prepared folder semart_hf.data.streaming.PaintingStream(folder). Give one, of one split."
        )
    if isinstance(rows, datasets.Dataset):
        rows = with_label_columns(rows, tasks)
        for task in tasks:
            if isinstance(rows.features.get(task["name"]), datasets.ClassLabel) and not is_multi_label(task):
                rows = renumbered(rows, task)
        rows = undecoded(rows)
    elif len(rows) and not isinstance(rows[0], Mapping):
        raise TypeError(f"Got rows of type {type(rows[0]).__name__}, but a row is a dict with image, text and labels.")
    return rows


def labelled_rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]], *, split: str) -> Any:
    """The same as `rows_for`, of rows that something can be learned from, or that can be scored."""
    checked = rows_for(rows, tasks)
    if not any(bool(counts.any()) for counts in label_counts(checked, tasks).values()):
        columns = getattr(checked, "column_names", None) or list(checked[0] if len(checked) else {})
        raise ValueError(
            f"Got {len(checked)} {split} rows with the columns {columns}, but none has a label of the model's tasks "
            f"{[task['name'] for task in tasks]}. Rename the label columns, or make the model with these tasks."
        )
    if isinstance(checked, PaintingStream | TrainingPaintings):
        return checked
    has_picture, num_tried, faults = _try_pictures(checked)
    if not has_picture.any() and not any(_has_text(checked)):
        raise ValueError(
            f"Got {len(checked)} {split} rows, but none has a picture or a text in the columns image and text."
        )
    if len(faults) > LEAST_SHARE * num_tried:
        place, fault = next(iter(faults.items()))
        raise ValueError(
            f"Got {len(checked)} {split} rows, but of {num_tried} pictures that were tried {len(faults)} cannot be "
            f"read, first that of row {place + 1}: {fault} Correct the column image."
        )
    return checked


def validation_sets_for(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each of several validation sets by its name, `""` for the only one; see `labelled_rows_for`."""
    if isinstance(rows, dict) and not rows:
        raise ValueError("Got validation sets by name, but none in them. Give one, or None and eval_strategy: no.")
    sets = rows if isinstance(rows, dict) else {} if rows is None else {"": rows}
    return {name: labelled_rows_for(some, tasks, split=f"validation {name}".strip()) for name, some in sets.items()}


def check_readable(
    rows: datasets.Dataset | PaintingStream, *, split: str, modality: str, data: str | Path, follow_links: bool = False
) -> None:
    """Refuse rows of which less than half have what the modality shows; a stream is judged by its first rows.

    Beside pictures, a single text is enough: many catalogues describe few of their paintings. How many is logged.
    """
    some: Any = rows.first_rows(_NUM_STREAMED) if isinstance(rows, PaintingStream) else rows
    total, first = len(some), "" if some is rows else "the first "
    for part in modality.split("+") if total else ():
        tried = ""
        if part == "image":
            has_part, num_tried, reasons = _try_pictures(some)
            count = int(has_part.sum())
            if count >= LEAST_SHARE * total and reasons:
                tried = f" ({num_tried - len(reasons)} of the {num_tried} that were tried)"
                count = round(count * (1 - len(reasons) / num_tried))
            else:
                reasons = dict.fromkeys(np.flatnonzero(~has_part).tolist(), "it has no picture")
        else:
            has_text = _has_text(some)
            count = sum(has_text)
            reasons = {place: "it has no text" for place, is_there in enumerate(has_text) if not is_there}
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


def _has_text(rows: Any) -> list[bool]:
    return [bool((text or "").strip()) for text in column_of(rows, "text")]


def _try_pictures(rows: Any) -> tuple[np.ndarray, int, dict[int, str]]:
    """Whether each row has a picture `(rows,)`, how many were tried, and what is wrong with some of these."""
    has_picture = np.zeros(len(rows), dtype=bool)
    if not isinstance(rows, datasets.Dataset):
        has_picture = np.array([row.get("image") is not None for row in rows], dtype=bool)
    elif "image" in rows.column_names:
        cells = rows.with_format("arrow").select_columns("image")[:]["image"]
        parts = [pc.is_valid(pc.struct_field(cells, name)) for name in ("bytes", "path")]
        has_picture = np.asarray(pc.and_(pc.is_valid(cells), pc.or_(*parts)), dtype=bool)
    places = np.flatnonzero(has_picture)[:: max(1, int(has_picture.sum()) // _NUM_TRIED)].tolist()
    faults = {}
    for place in places:
        try:
            load_picture(rows[place]["image"], least_side=_SMALL_SIDE)
        except PictureError as error:
            faults[place] = str(error)
    return has_picture, len(places), faults


def _explained(rows: Any, reasons: Mapping[int, str], data: Path, *, follow_links: bool) -> str:
    """A line for each of some rows: its name, and why it has no picture or text."""
    folder = (data.parent if data.is_file() else data) / "Images"
    is_release = data.is_file() or any(data.glob("semart_*.csv"))
    lines = []
    for place, reason in list(reasons.items())[:_NUM_NAMED]:
        name = dict(rows[place]).get("image_file")
        if reason == "it has no picture" and is_release:
            found = find_picture(str(folder), name, follow_links=follow_links)
            reason = found[1] if isinstance(found, tuple) else reason
        lines.append(f"\n  row {place + 1}{f' ({name})' if name else ''}: {reason}")
    return "".join(lines)
