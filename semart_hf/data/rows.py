"""What is given as data becomes rows with numbered labels; a run stops before its first step where it cannot."""

import logging
import numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from semart_hf.catalogue import schema
from semart_hf.catalogue.catalogue_files import named_label, with_column
from semart_hf.catalogue.picture_files import find_picture
from semart_hf.catalogue.rules import label_text
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.pictures_semart import PictureError, load_picture
from semart_hf.model.processing_semart import is_missing

from .sampling import TrainingPaintings
from .streaming import PaintingStream, column_of, labelled_columns, undecoded

LEAST_SHARE = 0.5
logger = logging.getLogger(__name__)
# Pictures that are opened, evenly spaced among all; rows of a stream that are looked at; rows that are named.
_NUM_TRIED, _NUM_STREAMED, _NUM_NAMED = 48, 256, 3


def rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]], *, may_stream: bool = False) -> Any:
    """A `Dataset`, DataFrame, sequence of dicts or `PaintingStream`: with `image` undecoded and the model's labels."""
    if isinstance(rows, TrainingPaintings):  # a trainer's own
        rows = rows.paintings
    if isinstance(rows, PaintingStream):
        if not may_stream:
            raise TypeError(
                "Got a PaintingStream, whose rows are mixed and varied as in training. To validate or to predict, "
                "give rows: load_paintings(folder, only=['validation'])['validation']."
            )
        return rows
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "iterrows"):
        try:
            empty = rows.columns[rows.isna().all()]  # of which NaN would be numbers
            rows = datasets.Dataset.from_pandas(rows.astype(dict.fromkeys(empty, object)), preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(
                f"Got a DataFrame with a column of mixed types ({error}). Use e.g. frame[column].astype('string')."
            ) from error
    is_sized = hasattr(rows, "__len__") and hasattr(rows, "__getitem__")
    if not is_sized or isinstance(rows, str | Mapping):
        raise TypeError(
            f"Got a {type(rows).__name__}, but rows are a datasets.Dataset, a DataFrame, a list of dicts, or for a "
            "prepared folder semart_hf.data.streaming.PaintingStream(folder). Give one, of one split."
        )
    if isinstance(rows, datasets.Dataset):
        rows = with_label_columns(undecoded(rows), tasks)
    elif len(rows) and not isinstance(rows[0], Mapping):
        raise TypeError(f"Got rows of type {type(rows[0]).__name__}, but a row is a dict with image, text and labels.")
    return rows


def labelled_rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]], *, split: str) -> Any:
    """The same as `rows_for`, of rows that something can be learned from, or that can be scored."""
    checked = rows_for(rows, tasks, may_stream=split == "training")
    columns = list(getattr(checked, "features", None) or (checked[0] if len(checked) else {}))
    lacking = [f"label of {name}" for name, counts in label_counts(checked, tasks).items() if not counts.any()]
    if len(lacking) == len(tasks):
        raise ValueError(
            f"Got {len(checked)} {split} rows with the columns {columns}, but none has a label of the model's tasks "
            f"{[task['name'] for task in tasks]}. Rename the label columns, or make the model with these tasks."
        )
    is_stream = isinstance(checked, PaintingStream)  # which makes its texts
    lacking += [f"column {name}" for name in ("image", "text") if not is_stream and name not in columns]
    if lacking:
        advice = "Rename the columns that hold what is meant, if there are."
        logger.warning("The %s rows, of %s, have no %s. %s", split, columns, ", no ".join(lacking), advice)
    if is_stream:
        return checked
    has_picture, num_tried, faults = _try_pictures(checked)
    if not has_picture.any() and not _is_there(checked, "text").any():
        raise ValueError(f"Got {len(checked)} {split} rows, but none has a picture or a text. Fill image or text.")
    if len(faults) > LEAST_SHARE * num_tried:
        place, fault = next(iter(faults.items()))
        raise ValueError(
            f"Got {len(checked)} {split} rows, but of {num_tried} pictures that were tried {len(faults)} cannot be "
            f"read, first that of row {place + 1}: {fault} Correct the column image."
        )
    return checked


def validation_rows_for(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> Any:
    """`labelled_rows_for` of validation rows, or of each of several sets by name; `None` of none."""
    if not isinstance(rows, dict):
        return None if rows is None else labelled_rows_for(rows, tasks, split="validation")
    if not rows:
        raise ValueError("Got validation sets by name, but none in them. Give one, or None and eval_strategy: no.")
    return {name: labelled_rows_for(some, tasks, split=f"validation {name}") for name, some in rows.items()}


def check_readable(
    rows: datasets.Dataset | PaintingStream, *, split: str, modality: str, data: str | Path, follow_links: bool = False
) -> None:
    """Refuse rows of which less than half have what the modality shows; beside pictures a single text is enough."""
    some: Any = rows.first_rows(_NUM_STREAMED) if isinstance(rows, PaintingStream) else rows
    total, first = len(some), "" if some is rows else "the first "
    for part in modality.split("+") if total else ():
        what, other = ("picture", "text") if part == "image" else ("text", "image")
        has_part, num_tried, faults = _try_pictures(some) if part == "image" else (_is_there(some, "text"), 0, {})
        count, tried = int(has_part.sum()), ""
        reasons = dict.fromkeys(np.flatnonzero(~has_part).tolist(), f"it has no {what}")
        if faults and count >= LEAST_SHARE * total:
            tried = f" ({num_tried - len(faults)} of the {num_tried} that were tried)"
            count, reasons = round(count * (1 - len(faults) / num_tried)), faults
        least_share = 0.0 if (part, modality) == ("text", "image+text") else LEAST_SHARE
        if not count or count < least_share * total:
            raise ValueError(
                f"Got {data}, where {count:,} of {first}{total:,} {split} {what}s can be read{tried}, but "
                f"modality: {modality} needs {'at least half of them' if least_share else 'some'}."
                f"{_explained(some, reasons, Path(data), follow_links=follow_links)}\nCorrect the names or the data, "
                f"or {f'set modality: {other} if that is meant' if '+' in modality else 'give other data'}."
            )
        if count < LEAST_SHARE * total:
            logger.warning("%s: %d of %s%d %s rows have a text.", data, count, first, total, split)


def _is_there(rows: Any, column: str) -> np.ndarray:
    return np.array([not is_missing(cell) for cell in column_of(rows, column)], dtype=bool)


def _try_pictures(rows: Any) -> tuple[np.ndarray, int, dict[int, str]]:
    """Whether each row has a picture `(rows,)`, how many were tried, and what is wrong with some of these."""
    if not isinstance(getattr(rows, "features", {}).get("image"), datasets.Image):  # paths, say, or nothing
        has_picture = _is_there(rows, "image")
    else:  # without reading the files that lie in the cells
        cells = rows.with_format("arrow").select_columns("image")[:]["image"]
        parts = [pc.is_valid(pc.struct_field(cells, name)) for name in ("bytes", "path")]
        has_picture = np.asarray(pc.and_(pc.is_valid(cells), pc.or_(*parts)), dtype=bool)
    places = np.flatnonzero(has_picture)[:: max(1, int(has_picture.sum()) // _NUM_TRIED)].tolist()
    faults = {}
    for place in places:
        try:
            load_picture(rows[place]["image"], least_side=32)
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


def tasks_of(paintings: Any, tasks: Iterable[Any] | None, *, min_label_count: int = 10) -> list[dict[str, Any]]:
    """The tasks of training rows as a model's configuration has them, by entries of `read_tasks`; `None`: all labels.

    A `ClassLabel` column has its labels, of any other the frequent cells become labels.
    """
    found = []
    for task in schema.read_tasks(labelled_columns(paintings.features).values() if tasks is None else tasks):
        feature, least = _label_feature(paintings, task), task.min_label_count or min_label_count
        entry: dict[str, Any] = {**task.origin}
        problem = ""
        if task.kind == "multi_label":
            several, problem = _several_labels(paintings, task, feature, least)
            entry |= several
        elif isinstance(feature, datasets.ClassLabel) and task.rule is None:
            if task.min_label_count is not None:
                raise ValueError(
                    f"Got min_label_count={least} for {task.name}, but {task.source!r} has labels already. Drop it."
                )
            entry["labels"] = list(feature.names)
            problem = "" if len(feature.names) > 1 else f"with the labels {entry['labels']}"
        else:
            cells = [label_text(cell, task.rule) for cell in cells_of_task(paintings, task.origin)]
            entry["labels"] = labels = schema.learn_vocabulary(cells, min_label_count=least)
            counts = Counter(cell for cell in cells if cell is not None)
            if min(len(labels), len(counts)) < 2:
                frequent = f"{labels[:-1]} occur at least {least} times"
                problem = f"with {len(counts):,} labels in {counts.total():,} rows, of which {frequent}"
            elif counts.total() == len(counts) > 2:
                problem = f"with another label in each of {counts.total():,} rows: an identifier"
        if problem:
            raise ValueError(
                f"Got the column {task.source!r} for the task {task.name}, {problem}. A task has labels to choose "
                "between, some of them more than once. Choose another column, or a smaller min_label_count."
            )
        if task.kind == "ordered":
            labels = entry["labels"]
            if task.order or not isinstance(feature, datasets.ClassLabel) or schema.positions_of(labels):
                entry["labels"] = schema.ordered_labels(labels, task.order, task.name)
            positions = None if task.order else schema.positions_of(entry["labels"])
            if positions is not None:
                is_dated = schema.label_years(labels) is not None
                entry |= {"positions": positions} | ({"unit": "years"} if is_dated and not task.unit else {})
            elif task.unit:
                raise ValueError(f"Drop unit {task.unit!r} of {task.name}: its labels {labels[:5]} are no numbers.")
        found.append(entry)
    return found


def _several_labels(paintings: Any, task: schema.Task, feature: Any, least: int) -> tuple[dict[str, Any], str]:
    """Labels of a task with several, its lists' own or the frequent ones, and their separator; and what is wrong."""
    cells = list(cells_of_task(paintings, task.origin))
    separator = schema.separator_of(cells, task.separator, task.source)
    cells = [labels for cell in cells if (labels := schema.labels_in(cell, separator)) is not None]
    counts = Counter(label for cell in cells for label in cell)
    names = getattr(getattr(feature, "feature", None), "names", None)
    learned = names or schema.learn_vocabulary(counts.elements(), min_label_count=least)
    labels = [name for name in learned if name != schema.UNKNOWN]
    problem = f"none occurs at least {least} times" if not labels else ""
    if len(cells) > 2 and not names and counts and max(counts.values()) == 1:
        problem = "none occurs twice"
    elif labels and all(counts[label] == len(cells) for label in labels):
        problem = "all are in every row"
    # Cells of text that the model reads or writes later have one, too, which no label has in it.
    separator = separator or next((mark for mark in (";", "|") if not any(mark in one for one in labels)), None)
    problem = problem and f"with {len(counts):,} labels in {len(cells):,} rows, of which {problem}"
    return {"labels": labels} | ({"separator": separator} if separator else {}), problem


def _label_feature(paintings: Any, task: schema.Task) -> Any:
    feature, has_several = paintings.features.get(task.source), task.kind == "multi_label"
    item, dtype = getattr(feature, "feature", None), feature.dtype if isinstance(feature, datasets.Value) else "binary"
    is_list = isinstance(item, datasets.ClassLabel) or getattr(item, "dtype", "").endswith("string")
    no_labels = ("binary",) if task.kind == "ordered" else ("float", "double", "binary")
    is_single = isinstance(feature, datasets.ClassLabel) or not dtype.startswith(no_labels)
    if (is_list or dtype.endswith("string")) if has_several else is_single:
        return feature
    if feature is not None and (is_list or has_several):
        raise ValueError(
            f"Got the task {task.name} of the kind {task.kind or 'categorical'}, with labels in the column "
            f"{task.source!r} of {'lists' if is_list else 'one label a row'}. Lists of labels, and text with a "
            "separator, are read by the kind multi_label, others by the others. Choose another kind or column."
        )
    usable = [name for name in paintings.features if name not in ("image", "text", "image_file")]
    raise ValueError(
        f"Got the task {task.name}, with labels in the column {task.source!r}. Allowed are columns of words, whole "
        f"numbers or labels, here among {usable}. Choose one."
    )


def with_label_columns(rows: datasets.Dataset, tasks: Iterable[Mapping[str, Any]]) -> datasets.Dataset:
    """The rows with a column of each task's name: a `ClassLabel`, numbered as the task's labels, numbers or text."""
    text = datasets.Value("string")
    for task in tasks:
        name, source, rule = task["name"], task.get("column") or task["name"], task.get("rule")
        feature, own = rows.features.get(source), rows.features.get(name)
        is_own, has_several = source == name and rule is None, is_multi_label(task)
        if isinstance(own, datasets.ClassLabel) and (is_own or feature is None):
            rows = _renumbered(rows, task) if "labels" in task and not has_several else rows
        elif feature is not None and has_several:
            if not is_own or isinstance(getattr(feature, "feature", None), datasets.ClassLabel):
                kind = text if isinstance(feature, datasets.Value) else datasets.List(text)
                rows = with_column(rows, name, list(cells_of_task(rows, task)), kind)
        elif feature is not None:
            cells = list(cells_of_task(rows, task))
            labels = [label_text(cell, rule) for cell in cells]
            are_numbers = "labels" in task and not any(isinstance(cell, str) for cell in cells)
            if not (is_own and (labels == cells or (are_numbers and not {*labels} & {*task["labels"]}))):
                rows = with_column(rows, name, labels, text)
    return rows


def cells_of_task(rows: Any, task: Mapping[str, Any]) -> Iterator[Any]:
    """The cells that a task's labels are read from, those of a `ClassLabel` by name, as a stream gives them."""
    source = task.get("column") or task["name"]
    cells = column_of(rows, source)
    return cells if isinstance(rows, PaintingStream) else (named_label(cell, rows.features[source]) for cell in cells)


def known_numbers(cell: Any, task: Mapping[str, Any], by_label: Mapping[str, int]) -> list[int] | None:
    """The numbers of a cell's labels, given as names or numbers, in its task's vocabulary; `None` where unknown.

    Names that it lacks are its `UNK`; in a task with several labels they are left out.
    """
    if is_missing(cell):
        return None
    known = [cell]
    if is_multi_label(task):
        if not (isinstance(cell, list | tuple) and cell and all(type(one) is int for one in cell)):
            labels = schema.labels_in(cell, task.get("separator"))
            return None if labels is None else [by_label[label] for label in labels if label in by_label]
        known = list(dict.fromkeys(cell))
    elif isinstance(cell, str):
        found = schema.label_number(cell.strip(), by_label)
        return None if found is None else [found]
    elif isinstance(cell, bool) or not isinstance(cell, numbers.Real) or not float(cell).is_integer():
        raise TypeError(f"Got the {task['name']} label {cell!r}, but a label is a name or its number in the model.")
    elif cell == UNKNOWN_LABEL:
        return None
    if wrong := [number for number in known if not 0 <= number < len(by_label)]:
        raise ValueError(
            f"Label {wrong[0]} of task {task['name']!r} is not in the model's vocabulary of {len(by_label)} labels. "
            "Give names, or load the data with the model's tasks: load_paintings(data, tasks=model.config.tasks)."
        )
    return [int(number) for number in known]


def labels_of(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Tensor:
    """The rows' labels as the model takes them `(batch, num_label_columns)`, −100 where unknown."""
    columns = label_columns(tasks)
    labels = torch.full((len(rows), max((part.stop for part in columns.values()), default=0)), UNKNOWN_LABEL)
    for task in tasks:
        part, by_label = columns[task["name"]], schema.numbers_of_labels(task["labels"])
        known = (known_numbers(row.get(task["name"]), task, by_label) for row in rows)
        if not is_multi_label(task):
            labels[:, part.start] = torch.tensor([found[0] if found else UNKNOWN_LABEL for found in known])
            continue
        for place, found in enumerate(known):
            if found is not None:
                labels[place, part] = 0
                labels[place, [part.start + number for number in found]] = 1
    return labels


def label_counts(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """How many rows have each label `(num_labels,)`, or lack and have each of several `(2, num_labels)`."""
    counts = {}
    for task in tasks:
        by_label = schema.numbers_of_labels(task["labels"])
        flat: list[int] = []  # a list for each of a million rows would take long
        num_known = 0
        for cell in column_of(rows, task["name"]):
            if (found := known_numbers(cell, task, by_label)) is not None:
                flat += found
                num_known += 1
        having = torch.bincount(torch.tensor(flat, dtype=torch.long), minlength=len(by_label))
        counts[task["name"]] = torch.stack([num_known - having, having]) if is_multi_label(task) else having
    return counts


def _renumbered(rows: datasets.Dataset, task: Mapping[str, Any]) -> datasets.Dataset:
    """The rows with a task's `ClassLabel` column numbered as in the task; labels that it lacks are its `UNK`."""
    name, labels = task["name"], task["labels"]
    own, by_label = rows.features[name].names, schema.numbers_of_labels(labels)
    if list(own) == list(labels):
        return rows
    cells = list(column_of(rows, name))
    met = {own[number] for number in {*cells} - {None, -1}}  # as datasets writes no label
    if schema.UNKNOWN not in labels and not met <= {*labels}:
        raise ValueError(f"Got {name} labels {sorted(met - {*labels})}, but the model knows {labels}. Drop them.")
    new = {number: by_label.get(label, by_label.get(schema.UNKNOWN)) for number, label in enumerate(own)}
    return with_column(rows, name, [new.get(number) for number in cells], datasets.ClassLabel(names=list(labels)))


def labels_per_task(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> int:
    """How many of the rows have a known label, in the mean over the tasks."""
    counts = label_counts(rows, tasks).values()
    return round(sum(int(found.sum()) // (found.shape[1] if found.ndim > 1 else 1) for found in counts) / len(tasks))
