"""A task's labels: found in the columns of training rows, read from a row's cells, and numbered."""

import numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import torch
from torch import Tensor

from semart_hf.catalogue.rules import label_text
from semart_hf.catalogue.schema import (
    UNKNOWN,
    Task,
    label_number,
    label_years,
    labels_in,
    learn_vocabulary,
    numbers_of_labels,
    ordered_labels,
    positions_of,
    read_tasks,
    separator_of,
)
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .streaming import PaintingStream, column_of, labelled_columns, named_label


def tasks_of(
    paintings: datasets.Dataset | PaintingStream,
    tasks: Iterable[str | Mapping[str, Any]] | None,
    *,
    min_label_count: int = 10,
) -> list[dict[str, Any]]:
    """The tasks as a model's configuration has them, `[{"name", "labels"}, …]`, with the labels of training rows.

    A `ClassLabel` column has its labels, of any other the frequent cells become labels. `tasks` are entries of
    `read_tasks`; `None`: all columns of labels.
    """
    found = []
    for task in read_tasks(labelled_columns(paintings.features).values() if tasks is None else tasks):
        feature, problem = _label_feature(paintings, task), ""
        if task.kind == "multi_label":
            found.append(_multi_label_task(paintings, task, feature, task.min_label_count or min_label_count))
            continue
        if isinstance(feature, datasets.ClassLabel) and task.rule is None:
            if task.min_label_count is not None:
                raise ValueError(
                    f"Got min_label_count={task.min_label_count} for the task {task.name}, but the column "
                    f"{task.source!r} has its labels already. Set the recipe's min_label_count, or leave it out."
                )
            labels = list(feature.names)
            problem = "" if len(labels) > 1 else f"with the labels {labels}"
        else:
            least = task.min_label_count or min_label_count
            cells = [label_text(cell, task.rule) for cell in cells_of_task(paintings, task.origin)]
            labels = learn_vocabulary(cells, min_label_count=least)
            known = [cell for cell in cells if cell is not None]
            vocabulary = {*labels}
            if len({cell if cell in vocabulary else UNKNOWN for cell in known}) < 2:
                frequent = f"{labels[:-1]} occur at least {least} times"
                problem = f"with {len({*known}):,} labels in {len(known):,} rows, of which {frequent}"
            elif len(known) == len({*known}) > 2:
                problem = f"with another label in each of {len(known):,} rows: an identifier"
        if problem:
            raise ValueError(
                f"Got the column {task.source!r} for the task {task.name}, {problem}. A task has labels to choose "
                "between, some of them more than once. Choose another column, or a smaller min_label_count."
            )
        entry: dict[str, Any] = {**task.origin, "labels": labels}
        if task.kind == "ordered":
            if task.order or not isinstance(feature, datasets.ClassLabel) or positions_of(labels):
                entry["labels"] = ordered_labels(labels, task.order, task.name)
            positions = None if task.order else positions_of(entry["labels"])
            if positions is None and task.unit:
                raise ValueError(
                    f"Got the unit {task.unit!r} of {task.name}, whose labels {labels[:5]} are no numbers. Drop it."
                )
            if positions is not None:
                is_dated = label_years(labels) is not None
                entry |= {"positions": positions} | ({"unit": "years"} if is_dated and not task.unit else {})
        found.append(entry)
    return found


def _multi_label_task(paintings: Any, task: Task, feature: Any, least: int) -> dict[str, Any]:
    """A task with several labels: those of its lists' `ClassLabel`, or the frequent ones, most frequent first."""
    cells = list(cells_of_task(paintings, task.origin))
    separator = separator_of(cells, task.separator, task.source)
    cells = [labels for cell in cells if (labels := labels_in(cell, separator)) is not None]
    counts = Counter(label for cell in cells for label in cell)
    names = getattr(getattr(feature, "feature", None), "names", None)
    labels = sorted(label for label, count in counts.items() if count >= least)
    labels = [name for name in names if name != UNKNOWN] if names else sorted(labels, key=lambda one: -counts[one])
    problem = f"none occurs at least {least} times" if not labels else ""
    if len(cells) > 2 and not names and counts and max(counts.values()) == 1:
        problem = "none occurs twice"
    elif labels and all(counts[label] == len(cells) for label in labels):
        problem = "all are in every row"
    if problem:
        raise ValueError(
            f"Got the column {task.source!r} for the task {task.name}, with {len(counts):,} labels in {len(cells):,} "
            f"rows, of which {problem}. Choose another column, or a smaller min_label_count."
        )
    # Cells of text that the model reads or writes later have one, too, which no label has in it.
    separator = separator or next((mark for mark in (";", "|") if not any(mark in one for one in labels)), None)
    return {**task.origin, "labels": labels} | ({"separator": separator} if separator else {})


def _label_feature(paintings: Any, task: Task) -> Any:
    features = paintings.features
    if task.source in features and task.source not in ("image", "text"):
        feature = features[task.source]
        no_labels = ("binary",) if task.kind == "ordered" else ("float", "double", "binary")
        is_plain = isinstance(feature, datasets.Value) and not feature.dtype.startswith(no_labels)
        item = getattr(feature, "feature", None)
        is_list = isinstance(item, datasets.ClassLabel) or getattr(item, "dtype", "").endswith("string")
        is_text = is_plain and feature.dtype.endswith("string")
        if task.kind == "multi_label":
            if is_list or is_text:
                return feature
        elif isinstance(feature, datasets.ClassLabel) or is_plain:
            return feature
        if is_list or task.kind == "multi_label":
            raise ValueError(
                f"Got the task {task.name} of the kind {task.kind or 'categorical'}, with labels in the column "
                f"{task.source!r} of {'lists' if is_list else 'one label a row'}. Lists of labels, and text with a "
                "separator, are read by the kind multi_label, others by the others. Choose another kind or column."
            )
    usable = [name for name in features if name not in ("image", "text", "image_file")]
    raise ValueError(
        f"Got the task {task.name}, with labels in the column {task.source!r}. Allowed are columns of words, whole "
        f"numbers or labels, here among {usable}. Choose one."
    )


def with_label_columns(rows: datasets.Dataset, tasks: Iterable[Mapping[str, Any]]) -> datasets.Dataset:
    """The rows with a column of each task's name, of `ClassLabel` or text, where its labels come from another."""
    for task in tasks:
        name, source, rule = task["name"], task.get("column") or task["name"], task.get("rule")
        feature = rows.features.get(source)
        is_own = source == name and rule is None
        if feature is None or (is_own and isinstance(feature, datasets.ClassLabel)):
            continue
        if is_multi_label(task):
            if not is_own or isinstance(getattr(feature, "feature", None), datasets.ClassLabel):
                cells, text = list(cells_of_task(rows, task)), datasets.Value("string")
                is_text = isinstance(feature, datasets.Value)
                rows = _with_column(rows, name, cells, text if is_text else datasets.List(text))
            continue
        cells = list(cells_of_task(rows, task))
        labels = [label_text(cell, rule) for cell in cells]
        are_numbers = "labels" in task and not any(isinstance(cell, str) for cell in cells)
        if is_own and (labels == cells or (are_numbers and not set(labels) & set(task["labels"]))):
            continue  # labels as they are, or their numbers
        rows = _with_column(rows, name, labels, datasets.Value("string"))
    return rows


def _with_column(rows: datasets.Dataset, name: str, cells: list[Any], feature: Any) -> datasets.Dataset:
    """The rows with a column in place of any of this name, which may be their only one."""
    if rows.column_names == [name]:  # without a column there would be no rows to add one to
        return datasets.Dataset.from_dict({name: cells}, features=datasets.Features({name: feature}))
    return rows.remove_columns({name}.intersection(rows.column_names)).add_column(name, cells, feature=feature)


def cells_of_task(rows: Any, task: Mapping[str, Any]) -> Iterator[Any]:
    """The cells that a task's labels are read from, those of a `ClassLabel` by name, as a stream gives them."""
    source = task.get("column") or task["name"]
    cells = column_of(rows, source)
    return cells if isinstance(rows, PaintingStream) else (named_label(cell, rows.features[source]) for cell in cells)


def known_number(label: Any, task: Mapping[str, Any], by_label: Mapping[str, int]) -> int:
    """The number of a label, given as name or number, in its task's vocabulary; −100 for `None`, NaN and −100."""
    if label is None or label != label:
        return UNKNOWN_LABEL
    if isinstance(label, str):
        label = label.strip() or None
        found = label_number(label, by_label)
        return UNKNOWN_LABEL if found is None else found
    if isinstance(label, bool) or not isinstance(label, numbers.Real) or int(float(label)) != label:
        raise TypeError(
            f"Got the {task['name']} label {label!r}, but a label is a name or its number in the model's vocabulary."
        )
    number = int(float(label))
    if number != UNKNOWN_LABEL and not 0 <= number < len(task["labels"]):
        raise ValueError(
            f"Label {label} of task {task['name']!r} is not in the model's vocabulary of {len(task['labels'])} "
            "labels. Load the data with the model's tasks: load_paintings(data, tasks=model.config.tasks)."
        )
    return number


def known_numbers(cell: Any, task: Mapping[str, Any], by_label: Mapping[str, int]) -> list[int] | None:
    """The numbers of a cell's labels in a task with several; those that it lacks are left out, `None` if unknown."""
    if isinstance(cell, list | tuple) and cell and all(type(one) is int for one in cell):
        if wrong := [one for one in cell if not 0 <= one < len(by_label)]:
            raise ValueError(
                f"Label {wrong[0]} of task {task['name']!r} is not in the model's vocabulary of {len(by_label)} "
                "labels. Give names, or numbers of this vocabulary."
            )
        return list(cell)
    labels = labels_in(cell, task.get("separator"))
    return None if labels is None else [by_label[label] for label in labels if label in by_label]


def labels_of(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Tensor:
    """The rows' labels as the model takes them `(batch, num_label_columns)`, −100 where unknown."""
    columns = label_columns(tasks)
    labels = torch.full((len(rows), max((part.stop for part in columns.values()), default=0)), UNKNOWN_LABEL)
    for task in tasks:
        part, name, by_label = columns[task["name"]], task["name"], numbers_of_labels(task["labels"])
        if not is_multi_label(task):
            labels[:, part.start] = torch.tensor([known_number(row.get(name), task, by_label) for row in rows])
            continue
        for place, row in enumerate(rows):
            known = known_numbers(row.get(name), task, by_label)
            if known is not None:
                labels[place, part] = 0
                labels[place, [part.start + number for number in known]] = 1
    return labels


def label_counts(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """How often the rows have each label, by task `(num_labels,)`; zeros where `rows` is `None`.

    Of a task with several labels `(2, num_labels)`: how many rows are without and with each.
    """
    counts = {}
    for task in tasks:
        column, by_label = () if rows is None else column_of(rows, task["name"]), numbers_of_labels(task["labels"])
        if is_multi_label(task):
            cells = [found for cell in column if (found := known_numbers(cell, task, by_label)) is not None]
            flat = torch.tensor([number for cell in cells for number in cell], dtype=torch.long)
            having = torch.bincount(flat, minlength=len(by_label))
            counts[task["name"]] = torch.stack([len(cells) - having, having])
            continue
        known = torch.tensor([known_number(label, task, by_label) for label in column], dtype=torch.long)
        counts[task["name"]] = torch.bincount(known[known >= 0], minlength=len(task["labels"]))
    return counts


def renumbered(rows: datasets.Dataset, task: Mapping[str, Any]) -> datasets.Dataset:
    """The rows with a task's `ClassLabel` column numbered as in the task; labels that it lacks are its `UNK`."""
    name, labels = task["name"], task["labels"]
    own, by_label = rows.features[name].names, numbers_of_labels(labels)
    if list(own) == list(labels):
        return rows
    cells = list(column_of(rows, name))
    met = {own[number] for number in set(cells) - {None, -1}}
    if UNKNOWN not in labels and not met <= {*labels}:
        raise ValueError(
            f"Got the {name} labels {sorted(met - {*labels})}, but the model knows {list(labels)} and has no "
            f"{UNKNOWN!r}. Take a model with these labels, or leave their rows out."
        )
    new: dict[int | None, int | None] = {None: None, -1: None}  # as datasets writes no label
    new |= {number: by_label.get(label, by_label.get(UNKNOWN)) for number, label in enumerate(own)}
    return _with_column(rows, name, [new[number] for number in cells], datasets.ClassLabel(names=list(labels)))


def labels_per_task(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> int:
    """How many of the rows have a known label, in the mean over the tasks."""
    counts = label_counts(rows, tasks).values()
    return round(sum(int(found.sum()) // (found.shape[1] if found.ndim > 1 else 1) for found in counts) / len(tasks))
