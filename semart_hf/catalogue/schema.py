"""Which tasks a model learns: what is asked of each painting, and where a data set has the labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .labels import UNKNOWN
from .rules import RULES


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

    @property
    def entry(self) -> dict[str, Any]:
        """What a recipe says of it, as `read_tasks` reads it."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    @property
    def origin(self) -> dict[str, str]:
        """Name, and what else of it a configuration keeps to read other data likewise."""
        kept = ("name", "column", "rule", "kind", "unit", "separator")
        return {name: value for name in kept if (value := getattr(self, name)) is not None}


#: SemArt's tasks, in the order of every column, head and table: those of all data that declares no others.
SEMART_TASKS = (Task("type"), Task("school"), Task("timeframe"), Task("medium"))


_KINDS = ("categorical", "ordered", "multi_label")
# By field, the kinds of tasks that have it.
_KINDS_OF = {"rule": _KINDS[:2], "order": ("ordered",), "unit": ("ordered",), "separator": ("multi_label",)}


def read_tasks(entries: Iterable[str | Mapping[str, Any]]) -> list[Task]:
    """The tasks of a recipe: names of label columns, or tables with the fields of `Task`.

    Example:
        >>> [task.source for task in read_tasks(["type", {"name": "century", "column": "date", "rule": "century"}])]
        ['type', 'date']
    """
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
    given, allowed = {"name": entry} if isinstance(entry, str) else entry, [field.name for field in fields(Task)]
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
    example = f"{{name: style, column: {name!r}}}"
    faults = [
        (not name.isidentifier(), f"the task name {name!r}. Allowed are letters, digits and _. Write e.g. {example}."),
        (rule not in (None, *RULES), f"the rule {rule!r} of task {name}. Allowed are {list(RULES)}. Choose one."),
        (kind not in _KINDS, f"the kind {kind!r} of task {name}. Allowed are {list(_KINDS)}. Choose one."),
        (foreign, f"{field} for the task {name} of the kind {kind}. It goes with {kinds}. Leave it out, or set that."),
        (
            order is not None and (not is_order or not 2 <= len(order) == len({*order})),
            f"the order {order!r} of {name}. Allowed are 2 labels or more, each once, without {UNKNOWN}.",
        ),
        (
            unit is not None and not unit.isidentifier(),
            f"the unit {unit!r} of task {name}. Allowed is one word. Write e.g. unit: cm.",
        ),
        (task.separator == "", f"an empty separator of task {name}. Allowed is e.g. ';'. Give one or leave it out."),
    ]
    for is_fault, fault in faults:
        if is_fault:
            raise ValueError(f"Got {fault}")
    return task
