"""Each task's labels, learned from the train split, and the numbers of a row's labels in them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

#: The tasks, in the order of every column, head and table.
TASKS = ("type", "school", "timeframe", "medium")

#: The class of every label that train has too rarely or never. It is the last label of each vocabulary and is scored
#: like any other, as in the SemArt literature (Garcia & Vogiatzis 2018, section 5).
UNKNOWN = "UNK"


def learn_vocabulary(values: Iterable[str | None], *, task: str, min_label_count: int = 10) -> list[str]:
    """Labels of one task: those that train's column has at least `min_label_count` times, and `UNK` last.

    Timeframes are ordered in time, the labels of other tasks by falling frequency and then by name. With the default
    count the official train split gives the literature's vocabularies: 10 types, 24 schools and 17 timeframes.

    Args:
        values: The task's column of the train split. `None` is a missing label and counts for nothing.
        task: One of `TASKS`.
        min_label_count: How often a value occurs that is not to be `UNK`.

    Raises:
        ValueError: The task is unknown, or the count is below 1.
    """
    if task not in TASKS:
        raise ValueError(f"Got the task {task!r}, but the tasks are {list(TASKS)}. Use one of these names.")
    if min_label_count < 1:
        raise ValueError(f"Got min_label_count={min_label_count}, but a label occurs at least once. Use 1 or more.")
    counts = Counter(value for value in values if value is not None and value != UNKNOWN)
    labels = [label for label, count in counts.items() if count >= min_label_count]
    if task == "timeframe":
        labels.sort(key=_time_order)
    else:
        labels.sort(key=lambda label: (-counts[label], label))
    return [*labels, UNKNOWN]


def learn_vocabularies(
    columns: Mapping[str, Iterable[str | None]], *, min_label_count: int = 10
) -> dict[str, list[str]]:
    """Labels by task, in the order of `TASKS`, from the train split's label columns (a pandas frame will do)."""
    return {task: learn_vocabulary(columns[task], task=task, min_label_count=min_label_count) for task in TASKS}


def label_number(value: str | None, labels: Sequence[str]) -> int | None:
    """Position of a label in its vocabulary: that of `UNK` for a value the vocabulary lacks, `None` for a missing one.

    Raises:
        ValueError: The value is not in the vocabulary and the vocabulary has no `UNK`.
    """
    if value is None:
        return None
    if value in labels:
        return labels.index(value)
    if UNKNOWN in labels:
        return labels.index(UNKNOWN)
    raise ValueError(f"Got the label {value!r}, but the vocabulary is {list(labels)}. Add it or {UNKNOWN!r}.")


def _time_order(label: str) -> tuple[float, str]:
    """First year of a timeframe such as `1451-1500`; labels without a year come last."""
    year = re.match(r"-?\d+", label)
    return (int(year.group()) if year else float("inf"), label)
