"""Answers of several labels as the one cell that a catalogue has for them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semart_hf.catalogue.schema import labels_in
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.pipeline_semart import answer_of

NUM_ALTERNATIVES = 3


def separators_of(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What stands between the labels in a cell, by each task of a model's configuration that has several."""
    return {task["name"]: task.get("separator") or ";" for task in tasks if is_multi_label(task)}


def joined(labels: Iterable[str], separator: str) -> str:
    """The labels as they stand in one cell."""
    return f"{separator} ".join(labels) if separator in ";," else separator.join(labels)


def split_labels(cell: str | None, separator: str) -> list[str]:
    """The labels of a cell, each once; also of a list, which is read with `|` between its parts."""
    return labels_in(cell and cell.replace("|", separator), separator) or []


def several_choices(
    suggested: str,
    alternatives: Iterable[tuple[str, float]],
    chosen: str | None,
    separator: str,
    known: Sequence[str],
) -> tuple[str, list[tuple[str, str]]]:
    """The chosen labels as in a cell, the suggested ones where `chosen` is `None`, and `(text, label)` of each box."""
    answered = split_labels(suggested, separator)
    offered = [(label, "") for label in answered] + [(label, f"  {score:.0%}") for label, score in alternatives]
    labels = answered if chosen is None else split_labels(chosen, separator)
    # In one order, whatever was chosen first: by it the suggested answer is known again.
    order = [*(label for label, _ in offered), *known]
    labels = sorted(labels, key=lambda label: (*order, label).index(label))
    return joined(labels, separator), [
        (f"{'☑' if label in labels else '☐'} {label}{score}", label) for label, score in offered
    ]


def in_one_cell(predictions: dict[str, Any], tasks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The pipeline's answer by task with few alternatives; several labels become one entry, joined as in a cell.

    All labels must be ranked in it. The score of several is how probable it is that they are exactly these.
    """
    found = dict(predictions)
    for task in tasks:
        ranked = predictions[task["name"]]
        if is_multi_label(task):
            chosen, confidence = answer_of([(one["label"], one["score"]) for one in ranked], task)
            answered = {*chosen}
            others = (one for one in ranked if one["label"] not in answered)
            first = {"label": joined(chosen, separators_of([task])[task["name"]]), "score": confidence}
            ranked = [first, *others]
        found[task["name"]] = ranked[: 1 + NUM_ALTERNATIVES]
    return found
