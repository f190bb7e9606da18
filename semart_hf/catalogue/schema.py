"""Which tasks a model learns, and their labels: where they are, learned, numbered, ordered, and several in a cell."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .rules import RULES

#: The class of every label that train has too rarely or never. It is the last label of each vocabulary and is scored
#: like any other, as in the SemArt literature (Garcia & Vogiatzis 2018, section 5).
UNKNOWN = "UNK"
_PERIOD = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")
_SEPARATORS = ("|", ";")  # of a column of text where none is named, if it has one of them and not the other


@dataclass(frozen=True)
class Problem:
    """One finding about one row, and what was done with the row because of it."""

    row: int | None  # number in its file from 1; `None` where the finding concerns a whole file
    split: str | None
    image_file: str | None
    problem: str  # kind of finding, such as `missing_picture`
    detail: str
    action: str  # such as `dropped` or `kept as text`
    release: str | None = None  # where several are merged

    @property
    def sentence(self) -> str:
        """The detail, and before it which row it is about: `train row 2 (a.jpg): there is no file a.jpg`."""
        if self.row is None:
            return self.detail
        name = "" if self.image_file is None else f" ({self.image_file})"
        return f"{'' if self.split is None else f'{self.split} '}row {self.row}{name}: {self.detail}"

    def as_json(self) -> str:
        """One line of JSON; `release` only where several releases are merged."""
        record = {name: value for name, value in vars(self).items() if name != "release" or value is not None}
        return json.dumps(record, ensure_ascii=False)


@dataclass(frozen=True)
class Task:
    """A task of a recipe."""

    name: str  # letters, digits and _
    column: str | None = None  # that has the labels, or what they are derived from; `None`: the task's name
    rule: str | None = None  # one of `RULES`; `None`: the cells are the labels
    min_label_count: int | None = None  # rarer labels become `UNK`, of several are left out; `None`: the recipe's
    kind: str | None = None  # `None`: categorical, and ordered in years where all labels are periods
    order: list[str] | None = None  # of labels that are neither numbers nor periods, from the least to the most
    unit: str | None = None  # of ordered labels that are numbers, in one word, such as cm
    separator: str | None = None  # between several labels in a cell of text

    @property
    def source(self) -> str:
        """The column that is read."""
        return self.column or self.name

    def labels_of(self, cell: Any) -> list[str] | None:
        """The labels of a cell in the form of `ReleaseTables`; `None` where it is empty."""
        if self.kind == "multi_label":
            return labels_in(cell, self.separator)
        return None if cell is None else [cell]

    def number_of(self, cell: str | None, numbers: Mapping[str, int]) -> int | list[int] | None:
        """The number of a cell's label, or of each of several, without those that are too rare."""
        if self.kind != "multi_label":
            return label_number(cell, numbers)
        labels = self.labels_of(cell)
        return None if labels is None else [numbers[label] for label in labels if label in numbers]

    @property
    def entry(self) -> dict[str, Any]:
        """What a recipe says of it, as `read_tasks` reads it."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    @property
    def origin(self) -> dict[str, str]:
        """Name, and what else of it a configuration keeps to read other data likewise."""
        return {name: value for name, value in self.entry.items() if name not in ("min_label_count", "order")}


#: SemArt's tasks, in the order of every column, head and table: those of all data that declares no others.
SEMART_TASKS = (Task("type"), Task("school"), Task("timeframe"), Task("medium"))
_KINDS = ("categorical", "ordered", "multi_label")
# By field, the kinds of tasks that have it.
_KINDS_OF = {"rule": _KINDS[:2], "order": ("ordered",), "unit": ("ordered",), "separator": ("multi_label",)}


def read_tasks(entries: Iterable[str | Mapping[str, Any]]) -> list[Task]:
    """The tasks of a recipe: names of label columns, or tables with the fields of `Task`."""
    if isinstance(entries, str):
        raise ValueError(f"Got tasks: {entries}. Allowed is a list. Write tasks: [{entries}].")
    tasks = [_read_task(entry) for entry in entries]
    names, sources = [task.name for task in tasks], [task.source for task in tasks]
    if not tasks or len({*names}) < len(names):
        raise ValueError(f"Got the tasks {names}. Allowed are one or more, each once. Correct tasks.")
    made = {task.name for task in tasks if task.rule or task.source != task.name}
    if taken := (made & {*sources}) | ({"image", "text"} & {*names, *sources}):
        raise ValueError(
            f"Got tasks by the names {sorted(taken)}, which are columns that are read as something else. A task has a "
            "name and labels of its own. Write e.g. {name: century, column: date, rule: century}."
        )
    return tasks


def _read_task(entry: str | Mapping[str, Any]) -> Task:
    given = {"name": entry} if isinstance(entry, str) else entry
    allowed = [field.name for field in fields(Task)]
    if not isinstance(given, Mapping) or not set(given) <= set(allowed) or "name" not in given:
        raise ValueError(
            f"Got the task {entry!r}. Allowed are a column's name, or a table of name and some of {allowed[1:]}. "
            "Write e.g. tasks: [type, {name: century, column: date, rule: century}]."
        )
    task = Task(**given)
    name, rule, order, unit = task.name, task.rule, task.order, task.unit
    words = [name, *(word for word in (task.column, rule, task.kind, unit, task.separator) if word is not None)]
    least = 1 if task.min_label_count is None else task.min_label_count
    if not all(isinstance(word, str) for word in words) or type(least) is not int or least < 1:
        raise ValueError(
            f"Got the task {entry!r}. min_label_count is 1 or more, order a list, others are words. Correct it."
        )
    kind = "categorical" if task.kind is None else task.kind
    foreign = [field for field, kinds in _KINDS_OF.items() if getattr(task, field) is not None and kind not in kinds]
    field, kinds = (foreign[0], " or ".join(_KINDS_OF[foreign[0]])) if foreign else ("", "")
    is_order = isinstance(order, list) and all(isinstance(label, str) for label in order) and UNKNOWN not in order
    wrong_order = order is not None and (not is_order or not 2 <= len(order) == len({*order}))
    wrong_unit = unit is not None and not unit.isidentifier()
    example = f"{{name: style, column: {name!r}}}"
    faults = [
        (not name.isidentifier(), f"the task name {name!r}. Allowed are letters, digits and _. Write e.g. {example}."),
        (rule not in (None, *RULES), f"the rule {rule!r} of task {name}. Allowed are {list(RULES)}. Choose one."),
        (kind not in _KINDS, f"the kind {kind!r} of task {name}. Allowed are {list(_KINDS)}. Choose one."),
        (foreign, f"{field} for the task {name} of the kind {kind}. It goes with {kinds}. Leave it out, or set that."),
        (wrong_order, f"the order {order!r} of {name}. Allowed are 2 or more labels, each once, without {UNKNOWN}."),
        (wrong_unit, f"the unit {unit!r} of task {name}. Allowed is one word. Write e.g. unit: cm."),
        (task.separator == "", f"an empty separator of task {name}. Allowed is e.g. ';'. Give one or leave it out."),
    ]
    if found := [fault for is_fault, fault in faults if is_fault]:
        raise ValueError(f"Got {found[0]}")
    return task


class Scale(NamedTuple):
    """The places of ordered labels `(num_labels,)`, NaN for one without a place such as `UNK`.

    `steps` are numbers in the order of the labels: of periods their starts in median lengths, of others their ranks.
    """

    positions: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]
    unit: str | None
    step: str  # what a step is called

    @property
    def gap(self) -> float:
        """The median distance of neighbours, in the unit."""
        return float(np.median(np.diff(np.unique(self.positions[~np.isnan(self.positions)])))) or 1.0


def scale_of(task: Mapping[str, Any]) -> Scale | None:
    """The scale of a task of a configuration: of periods one in years; `None` where its labels have no order."""
    labels, kind, positions, unit = (task.get(key) for key in ("labels", "kind", "positions", "unit"))
    years = label_years(labels or ()) if kind in (None, "ordered") else None
    if years is not None and (positions is None or unit == "years"):
        length = np.nanmedian(years[:, 1] - years[:, 0] + 1)
        return Scale(years.mean(axis=1), years[:, 0] / length, "years", "period")
    if kind != "ordered" or not labels:
        return None
    if positions is None:
        positions = [None if label == UNKNOWN else number for number, label in enumerate(labels)]
    places = np.array(positions, dtype=np.float64)
    steps = np.where(np.isnan(places), np.nan, np.searchsorted(np.unique(places), places))
    return Scale(places, steps, unit, "step")


def label_years(labels: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """First and last year of each label (labels, 2), NaN for `UNK`; None where another label is no span of years."""
    spans = [_PERIOD.fullmatch(label.strip()) for label in labels]
    if not any(spans) or any(span is None and label != UNKNOWN for span, label in zip(spans, labels, strict=True)):
        return None
    return np.array([span.groups() if span else (np.nan, np.nan) for span in spans], dtype=np.float64)


def positions_of(labels: Sequence[str]) -> list[float | None] | None:
    """Positions of labels that are periods (their middles) or numbers, `None` for `UNK`; none if there are others."""
    years = label_years(labels)
    if years is not None:
        return [None if np.isnan(year) else float(year) for year in years.mean(axis=1)]
    try:
        numbers = [None if label == UNKNOWN else float(label) for label in labels]
    except ValueError:
        return None
    return numbers if all(number is None or np.isfinite(number) for number in numbers) else None


def ordered_labels(labels: Sequence[str], order: Sequence[str] | None, task: str) -> list[str]:
    """Labels of an ordered task in their order, `UNK` last."""
    words = [label for label in labels if label != UNKNOWN]
    last = [UNKNOWN] * (UNKNOWN in labels)
    if order is not None:
        if missing := [label for label in words if label not in order]:
            raise ValueError(
                f"Got the labels {missing[:5]} of the ordered task {task}, which its order {list(order)} lacks. Add "
                "them to order, from the least to the most."
            )
        return [label for label in order if label in words] + last
    positions = positions_of(words)
    if positions is None:
        raise ValueError(
            f"Got the labels {words[:5]} of the ordered task {task}, which are neither numbers nor periods such as "
            "1501-1550. Write their order, from the least to the most: order: [small, medium, large]."
        )
    return [label for _, label in sorted(zip(positions, words, strict=True))] + last


def labels_in(cell: Any, separator: str | None) -> list[str] | None:
    """The labels of a multi-label cell, each once; `None` for an empty cell, `[]` for an empty list: it has none."""
    if cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, str):
        parts: Iterable[Any] = cell.split(separator) if separator else [cell]
    elif isinstance(cell, Iterable) and not isinstance(cell, Mapping | bytes):
        parts = cell
    else:
        raise TypeError(
            f"Got the cell {cell!r} of a task with several labels. Allowed are lists of words, and words with a "
            "separator between them. Correct the column, or set another kind."
        )
    words = [part for part in parts if part is not None and part == part]
    if wrong := [word for word in words if not isinstance(word, str)]:
        raise TypeError(f"Got the label {wrong[0]!r} in {cell!r}. A label is a word. Correct the column.")
    return list(dict.fromkeys(word.strip() for word in words if word.strip() not in ("", UNKNOWN)))


def separator_of(cells: Iterable[Any], given: str | None, column: str) -> str | None:
    """What separates the labels in a column of text: the given one, or the one that is found; `None` for lists."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if not texts:
        return None
    found = [mark for mark in ([given] if given else _SEPARATORS) if any(mark in text for text in texts)]
    if len(found) == 1:
        return found[0]
    example = next((text for text in texts if not text.strip().isalnum()), texts[0])
    fault = f"no cell has the separator {given!r}" if given else f"{' and '.join(found) or 'neither | nor ;'} occur"
    raise ValueError(
        f"Got the column {column!r} for a task with several labels, with cells such as {example!r}, in which {fault}. "
        "Write what separates the labels, e.g. separator: ','."
    )


def learn_vocabulary(values: Iterable[str | None], *, min_label_count: int = 10) -> list[str]:
    """The labels of one task: those that are there at least `min_label_count` times, and `UNK` last.

    Spans of years are ordered in time, others by falling frequency and then by name. `None` is a missing label.
    """
    if min_label_count < 1:
        raise ValueError(f"Got min_label_count={min_label_count}, but a label occurs at least once. Use 1 or more.")
    counts = Counter(value for value in values if value is not None and value != UNKNOWN)
    labels = sorted(label for label, count in counts.items() if count >= min_label_count)
    spans = {label: re.match(r"(-?\d+)-", label) for label in labels}
    if any(spans.values()):  # others come last
        labels.sort(key=lambda label: int(span[1]) if (span := spans[label]) else 9999)
    else:
        labels.sort(key=counts.__getitem__, reverse=True)  # which keeps the order of equal ones
    return [*labels, UNKNOWN]


def numbers_of_labels(labels: Iterable[str]) -> dict[str, int]:
    """A vocabulary's labels with their positions: a list of thousands takes too long to be searched for each row."""
    return {label: number for number, label in enumerate(labels)}


def label_number(value: str | None, numbers: Mapping[str, int]) -> int | None:
    """Number of a label in its vocabulary: that of `UNK` for a value that it lacks, `None` for a missing one."""
    if value is None:
        return None
    found = numbers.get(value, numbers.get(UNKNOWN))
    if found is None:
        raise ValueError(f"Got the label {value!r}, but the vocabulary is {list(numbers)}. Add it or {UNKNOWN!r}.")
    return found
