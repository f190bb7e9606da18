"""What somebody hands to a trainer as data becomes rows that it can read, or is refused in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import torch

from .labels import label_counts, renumbered
from .readable import check_shown
from .sampling import TrainingPaintings
from .streaming import PaintingStream


def rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> Any:
    """Rows with `image` undecoded, `text`, and labels that are words or numbers of the model's vocabularies.

    Args:
        rows: A `datasets.Dataset`, a DataFrame, a sequence of dicts, or a `PaintingStream`.
        tasks: The model's, `[{"name", "labels"}, …]`. The labels of a `ClassLabel` column are matched by name.

    Raises:
        TypeError: If it is something else.
        ValueError: If no column is one of the tasks', or a label is none of the model's.
    """
    if isinstance(rows, PaintingStream | TrainingPaintings):
        return rows
    if isinstance(rows, datasets.IterableDataset | torch.utils.data.IterableDataset):
        raise TypeError(
            f"Got a {type(rows).__name__}, whose rows have neither numbers nor a length. Allowed are a "
            "datasets.Dataset, and PaintingStream(folder) of semart_hf.data.streaming, for a prepared folder. Give "
            "one of them, or load the data without streaming=True."
        )
    if isinstance(rows, Mapping):
        raise TypeError(
            f"Got a {type(rows).__name__} with {list(rows)[:5]}, but rows of one split are needed. Give one of them, "
            f"e.g. splits[{next(iter(rows), 'train')!r}]."
        )
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "iterrows"):
        rows = datasets.Dataset.from_pandas(rows, preserve_index=False)
    if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")) or isinstance(rows, str):
        raise TypeError(
            f"Got a {type(rows).__name__}, but rows are a datasets.Dataset, a DataFrame or a list of dicts. Give one."
        )
    if isinstance(rows, datasets.Dataset):
        for task in tasks:
            if isinstance(rows.features.get(task["name"]), datasets.ClassLabel):
                rows = renumbered(rows, task["name"], task["labels"])
        if isinstance(rows.features.get("image"), datasets.Image):
            rows = rows.cast_column("image", datasets.Image(decode=False))
    elif len(rows) and not isinstance(rows[0], Mapping):
        raise TypeError(f"Got rows of type {type(rows[0]).__name__}, but a row is a dict with image, text and labels.")
    return rows


def labelled_rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]], *, split: str) -> Any:
    """The same as `rows_for`, of rows that something can be learned from, or that can be scored.

    Raises:
        ValueError: If no row has a known label of any task, if none shows a picture or a text, or if most pictures
            cannot be read.
    """
    checked = rows_for(rows, tasks)
    if not any(bool(counts.any()) for counts in label_counts(checked, tasks).values()):
        columns = getattr(checked, "column_names", None) or list(checked[0] if len(checked) else {})
        raise ValueError(
            f"Got {len(checked)} {split} rows with the columns {columns}, but none has a label of the model's tasks "
            f"{[task['name'] for task in tasks]}. Rename the label columns, or make the model with these tasks."
        )
    check_shown(checked, split=split)
    return checked


def validation_sets_for(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each validation set by its name, which is empty for one that has none; see `labelled_rows_for`.

    Args:
        rows: Of one set, of several by name, or `None`.
        tasks: The model's.

    Raises:
        ValueError: If a set cannot be scored, or there is none by any name.
    """
    if isinstance(rows, dict) and not rows:
        raise ValueError("Got validation sets by name, but none in them. Give one, or None and eval_strategy: no.")
    sets = rows if isinstance(rows, dict) else {} if rows is None else {"": rows}
    return {name: labelled_rows_for(some, tasks, split=f"validation {name}".strip()) for name, some in sets.items()}
