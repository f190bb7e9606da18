"""Each task's labels, learned from the train split, and the numbers of a row's labels in them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

#: The class of every label that train has too rarely or never. It is the last label of each vocabulary and is scored
#: like any other, as in the SemArt literature (Garcia & Vogiatzis 2018, section 5).
UNKNOWN = "UNK"


def learn_vocabulary(values: Iterable[str | None], *, min_label_count: int = 10) -> list[str]:
    """The labels of one task: those that are there at least `min_label_count` times, and `UNK` last.

    Spans of years are ordered in time, other labels by falling frequency and then by name. With the default
    count the official train split gives the literature's vocabularies: 10 types, 24 schools and 17 timeframes. `None`
    is a missing label and counts for nothing.

    Example:
        >>> learn_vocabulary(["Dutch", "French", "French", None], min_label_count=1)
        ['French', 'Dutch', 'UNK']
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
