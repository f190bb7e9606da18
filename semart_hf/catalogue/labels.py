"""The labels of a task: learned, numbered, in their order and places on a scale, and several in a cell."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_PERIOD = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")
# Separators that a column of text is read with where none is named, if it has one of them and not the other.
_SEPARATORS = ("|", ";")


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
    is_placed = ~np.isnan(places)
    steps = np.full(len(places), np.nan)
    steps[is_placed] = np.unique(places[is_placed], return_inverse=True)[1]
    return Scale(places, steps, unit, "step")


def label_years(labels: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """First and last year of each label (labels, 2), NaN for `UNK`; None where another label is no span of years."""
    years = np.full((len(labels), 2), np.nan)
    for index, label in enumerate(labels):
        span = _PERIOD.fullmatch(label.strip())
        if span is not None:
            years[index] = [float(span[1]), float(span[2])]
        elif label != UNKNOWN:
            return None
    return None if np.isnan(years).all() else years


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
    if cell is None or (isinstance(cell, float) and cell != cell):
        return None
    if isinstance(cell, str):
        if not cell.strip():
            return None
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


def each_label(cells: Iterable[Any], separator: str | None) -> Iterator[str]:
    """Every label of every cell."""
    for cell in cells:
        yield from labels_in(cell, separator) or ()


#: The class of every label that train has too rarely or never. It is the last label of each vocabulary and is scored
#: like any other, as in the SemArt literature (Garcia & Vogiatzis 2018, section 5).
UNKNOWN = "UNK"


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
