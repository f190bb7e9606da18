"""A row's labels become the model's numbers, in one place for batches, counts and data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import torch
from torch import Tensor

from semart_hf.catalogue.vocabulary import label_number
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .streaming import column_of


def known_number(label: Any, task: Mapping[str, Any]) -> int:
    """A label's number in its task's vocabulary; −100 where it is unknown.

    Args:
        label: As a row has it: a number of the vocabulary, `None` or −100.
        task: `{"name", "labels"}`.

    Raises:
        TypeError: If the label is a word and not its number.
        ValueError: If the vocabulary has no such number.
    """
    if label is None:
        return UNKNOWN_LABEL
    if isinstance(label, str):
        raise TypeError(
            f"Got the {task['name']} label {label!r}, but labels are numbers of the model's vocabulary. Make the "
            f"column a ClassLabel with the model's labels in their order: dataset.cast_column({task['name']!r}, "
            "datasets.ClassLabel(names=[…]))."
        )
    if label != UNKNOWN_LABEL and not 0 <= label < len(task["labels"]):
        raise ValueError(
            f"Label {label} of task {task['name']!r} is not in the model's vocabulary of {len(task['labels'])} "
            "labels. Load the data with the model's tasks: load_paintings(data, tasks=model.config.tasks)."
        )
    return int(label)


def labels_of(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Tensor:
    """The rows' labels as the model takes them `(batch, num_tasks)`, −100 where unknown."""
    return torch.tensor([[known_number(row.get(task["name"]), task) for task in tasks] for row in rows])


def label_counts(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """How often the rows have each label, by task `(num_labels,)`; zeros where there are no rows.

    Args:
        rows: A dataset, a `PaintingStream`, or `None`.
        tasks: `[{"name", "labels"}, …]`.
    """
    counts = {}
    for task in tasks:
        column = () if rows is None else column_of(rows, task["name"])
        numbers = torch.tensor([known_number(label, task) for label in column], dtype=torch.long)
        counts[task["name"]] = torch.bincount(numbers[numbers >= 0], minlength=len(task["labels"]))
    return counts


def renumbered(rows: datasets.Dataset, name: str, labels: Sequence[str]) -> datasets.Dataset:
    """The rows with one column of labels numbered as in `labels`; see `label_number` for those that it lacks."""
    own = rows.features[name].names
    if list(own) == list(labels):
        return rows
    numbers = list(column_of(rows, name))
    new = {number: label_number(own[number], labels) for number in set(numbers) - {None}}
    values = [None if number is None else new[number] for number in numbers]
    feature = datasets.ClassLabel(names=list(labels))
    return rows.remove_columns(name).add_column(name, values, feature=feature)
