"""What is worth asking next: an order of questions by what their answers are likely to teach a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple


class Question(NamedTuple):
    """One task of one painting: its likeliest label and the next, empty where there is none, with probabilities."""

    task: str
    label: str
    confidence: float
    other: str = ""
    other_confidence: float = 0.0


def order_by_gain(questions: Sequence[Question]) -> list[int]:
    """Places of the questions, the most useful first.

    Of each task those come first whose two likeliest labels are closest, divided by how many such questions about the
    same two labels come before. The tasks take turns in proportion to the wrong answers that are expected of them.

    Example:
        >>> asked = [Question("type", "view", 0.6, "study", 0.4), Question("school", "Dutch", 0.9, "French", 0.1)]
        >>> order_by_gain([*asked, Question("type", "view", 0.6, "study", 0.3)])
        [0, 2, 1]

    Source: margin sampling, Scheffer et al. 2001; what it saves is in `model_cards/review_proof.md`.
    """
    gaps = [question.confidence - question.other_confidence for question in questions]
    asked: Counter[tuple[str, frozenset[str]]] = Counter()
    gains: dict[str, list[tuple[float, int]]] = defaultdict(list)
    errors: Counter[str] = Counter()
    for place in sorted(range(len(questions)), key=gaps.__getitem__):
        question = questions[place]
        pair = question.task, frozenset((question.label, question.other))
        asked[pair] += 1
        gains[question.task].append(((1 - gaps[place]) / asked[pair], place))
        errors[question.task] += 1 - question.confidence  # type: ignore[assignment]
    turns = []
    for task, found in gains.items():
        found.sort(key=lambda entry: -entry[0])
        turns += [((turn + 0.5) / max(errors[task], 1e-9), place) for turn, (_, place) in enumerate(found)]
    return [place for _, place in sorted(turns)]
