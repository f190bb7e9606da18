"""Scores on the rows whose painter, or whatever a column names, train has not seen."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.data.loading import is_release, load_paintings
from semart_hf.data.streaming import column_of

from .outcomes import Outcomes
from .scores import scores_with_intervals


def values_of_train(data: str | Path, column: str) -> set[str]:
    """What the column has in the train split, case and spaces aside."""
    splits: Any = read_rows(data).splits if is_release(data) else load_paintings(data)
    rows = splits.get("train")
    found = set() if rows is None or column not in rows.column_names else set(map(_normal, column_of(rows, column)))
    if not found - {""}:
        raise ValueError(
            f"Got --unseen_by {column} for {data}, but it has no train split with that column to compare with. Give "
            "data with the train split that the model was trained on, or leave --unseen_by out."
        )
    return found - {""}


def unseen_scores(outcomes: Outcomes, paintings: Dataset, column: str, train_values: Iterable[str]) -> dict[str, Any]:
    """How many rows have a value that train has, or none (`num_without`), and the scores of all others."""
    values = np.array([_normal(cell) for cell in column_of(paintings, column)], dtype=object)
    is_named = values != ""
    is_seen = np.isin(values, list(train_values)) & is_named
    unseen = outcomes.select(np.flatnonzero(is_named & ~is_seen))
    found: dict[str, Any] = {"by": column, "num_seen": int(is_seen.sum()), "num_without": int((~is_named).sum())}
    found["num_rows"] = unseen.num_rows
    if any(unseen.task(name).is_known.any() for name in unseen.task_names):
        found |= scores_with_intervals(unseen)
    return found


def _normal(cell: str | None) -> str:
    return " ".join((cell or "").casefold().split())
