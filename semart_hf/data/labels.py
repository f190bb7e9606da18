"""A row's labels become the model's numbers, in one place for batches, counts and data sets."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import torch
from torch import Tensor

from semart_hf.catalogue.vocabulary import label_number
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .streaming import PaintingStream, column_of


def tasks_of(paintings: datasets.Dataset | PaintingStream, names: Iterable[str]) -> list[dict[str, Any]]:
    """`[{"name", "labels"}, …]` as the data's label columns say.

    Raises:
        ValueError: If the data have no such label column.
    """
    features = paintings.features
    available = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    unknown = [name for name in names if name not in available]
    if unknown:
        raise ValueError(
            f"Unknown tasks {unknown}: the data have labels for {available}. Choose the tasks among them."
        )
    return [{"name": name, "labels": list(features[name].names)} for name in names]


def known_number(label: Any, task: Mapping[str, Any]) -> int:
    """A label's number in its task's vocabulary; −100 where it is unknown: `None`, NaN, −100.

    Args:
        label: A label's name, or its number in the vocabulary.
        task: `{"name", "labels"}`.

    Raises:
        TypeError: If the label is neither a name nor a number.
        ValueError: If the vocabulary has no such label, and no `UNK` for it.
    """
    if label is None or label != label:
        return UNKNOWN_LABEL
    if isinstance(label, str):
        found = label_number(label, task["labels"])
        return UNKNOWN_LABEL if found is None else found
    if isinstance(label, bool) or not isinstance(label, numbers.Real) or int(float(label)) != label:
        raise TypeError(
            f"Got the {task['name']} label {label!r}, but a label is a name or its number in the model's vocabulary. "
            "Correct the column."
        )
    number = int(float(label))
    if number != UNKNOWN_LABEL and not 0 <= number < len(task["labels"]):
        raise ValueError(
            f"Label {label} of task {task['name']!r} is not in the model's vocabulary of {len(task['labels'])} "
            "labels. Load the data with the model's tasks: load_paintings(data, tasks=model.config.tasks)."
        )
    return number


def labels_of(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Tensor:
    """The rows' labels as the model takes them `(batch, num_tasks)`, −100 where unknown."""
    return torch.tensor([[known_number(row.get(task["name"]), task) for task in tasks] for row in rows])


def label_counts(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """How often the rows have each label, by task `(num_labels,)`; zeros where `rows` is `None`."""
    counts = {}
    for task in tasks:
        column = () if rows is None else column_of(rows, task["name"])
        known = torch.tensor([known_number(label, task) for label in column], dtype=torch.long)
        counts[task["name"]] = torch.bincount(known[known >= 0], minlength=len(task["labels"]))
    return counts


def renumbered(rows: datasets.Dataset, name: str, labels: Sequence[str]) -> datasets.Dataset:
    """The rows with one column of labels numbered as in `labels`; see `label_number` for those that it lacks."""
    own = rows.features[name].names
    if list(own) == list(labels):
        return rows
    cells = list(column_of(rows, name))
    new = {None: None, **{number: label_number(own[number], labels) for number in set(cells) - {None}}}
    feature = datasets.ClassLabel(names=list(labels))
    return rows.remove_columns(name).add_column(name, [new[number] for number in cells], feature=feature)
