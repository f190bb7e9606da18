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


def read_tasks(entries: Iterable[str | Mapping[str, Any]]) -> list[Task]:
    """The tasks of a recipe: names of label columns, or tables with the fields of `Task`.

    Example:
        >>> [task.source for task in read_tasks(["type", {"name": "century", "column": "date", "rule": "century"}])]
        ['type', 'date']
    """
    tasks = []
    if isinstance(entries, str):
        raise ValueError(f"Got tasks: {entries}. Allowed is a list. Write tasks: [{entries}].")
    allowed = [field.name for field in fields(Task)]
    for entry in entries:
        given = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or not set(given) <= set(allowed) or "name" not in given:
            raise ValueError(
                f"Got the task {entry!r}. Allowed are a column's name, or a table of name and some of {allowed[1:]}. "
                "Write e.g. tasks: [type, {name: century, column: date, rule: century}]."
            )
        task = Task(**given)
        given_words = (task.column, task.rule, task.kind, task.unit, task.separator)
        words = [task.name, *(part for part in given_words if part is not None)]
        least = 1 if task.min_label_count is None else task.min_label_count
        if not all(isinstance(word, str) for word in words) or type(least) is not int or least < 1:
            raise ValueError(
                f"Got the task {entry!r}. min_label_count is 1 or more, order a list, others are words. Correct it."
            )
        if not str(task.name).isidentifier():
            raise ValueError(
                f"Got the task name {task.name!r}. Allowed are letters, digits and _. Write e.g. "
                f"{{name: style, column: {task.name!r}}}."
            )
        if task.rule is not None and task.rule not in RULES:
            raise ValueError(f"Got the rule {task.rule!r} of task {task.name}. Allowed are {list(RULES)}. Choose one.")
        _check_kind(task)
        tasks.append(task)
    names = [task.name for task in tasks]
    if not tasks or len({*names}) < len(names):
        raise ValueError(f"Got the tasks {names}. Allowed are one or more, each once. Correct tasks.")
    sources = [task.source for task in tasks]
    made = {task.name for task in tasks if task.rule or task.source != task.name}
    taken = (made & {*sources}) | ({"image", "text"} & {*names, *sources})
    if taken:
        raise ValueError(
            f"Got tasks by the names {sorted(taken)}, which are columns that are read as something else. A task has a "
            "name and labels of its own. Write e.g. {name: century, column: date, rule: century}."
        )
    return tasks


# By kind, what a recipe may say of a task only where it is of this kind.
_OWN_FIELDS = {"categorical": ("rule",), "ordered": ("rule", "order", "unit"), "multi_label": ("separator",)}


def _check_kind(task: Task) -> None:
    """Refuse a kind that does not exist, and fields that a kind does not have."""
    kind = "categorical" if task.kind is None else task.kind
    if kind not in _OWN_FIELDS:
        raise ValueError(f"Got the kind {kind!r} of task {task.name}. Allowed are {list(_OWN_FIELDS)}. Choose one.")
    for field in ("rule", "order", "unit", "separator"):
        allowed = [name for name, names in _OWN_FIELDS.items() if field in names]
        if getattr(task, field) is not None and kind not in allowed:
            raise ValueError(
                f"Got {field} for the task {task.name} of the kind {kind}. Allowed is {field} for the kind "
                f"{' or '.join(allowed)}. Leave {field} out, or set another kind."
            )
    order = task.order
    if order is not None:
        is_list = isinstance(order, list) and all(isinstance(label, str) for label in order)
        if not is_list or len(order) < 2 or len({*order}) < len(order) or UNKNOWN in order:
            raise ValueError(
                f"Got the order {order!r} of {task.name}. Allowed are 2 labels or more, each once, without {UNKNOWN}."
            )
    if task.unit is not None and not task.unit.isidentifier():
        raise ValueError(f"Got the unit {task.unit!r} of task {task.name}. Allowed is one word. Write e.g. unit: cm.")
    if task.separator == "":
        raise ValueError(f"Got an empty separator of task {task.name}. Allowed is e.g. ';'. Give one or leave it out.")
