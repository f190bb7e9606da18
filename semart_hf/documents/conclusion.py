"""A comparison of towers in sentences made from its figures: which is ahead, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semart_hf.evaluation.comparison import signed_points
from semart_hf.evaluation.intervals import p_value_words

from .table import enumeration, percent


def conclude(comparison: Mapping[str, Any]) -> list[str]:
    """The sentences of the conclusion, every figure of them from comparison.json's other fields."""
    towers = comparison["towers"]
    ranked = sorted(towers, key=lambda name: -towers[name]["scores"]["image+text"]["mean_accuracy"])
    return [
        _ranking(comparison, ranked),
        *_leads(comparison, ranked),
        *_by_task(comparison),
        _caveat(comparison),
    ]


def _ranking(comparison: Mapping[str, Any], ranked: Sequence[str]) -> str:
    scores = {name: comparison["towers"][name]["scores"]["image+text"] for name in ranked}
    parts = []
    for name in ranked:
        mean = percent(scores[name]["mean_accuracy"], scores[name]["intervals"]["mean_accuracy"])
        parts.append(f"{name} {mean.text} % ({mean.small})")
    return (
        f"On the {comparison['num_rows']} paintings of the {comparison['split']} split the mean accuracy over "
        f"{enumeration(comparison['tasks'])} is, with 95 % intervals: {', '.join(parts)}."
    )


def _leads(comparison: Mapping[str, Any], ranked: Sequence[str]) -> list[str]:
    """How far the first is ahead of each other tower, significant leads before the others."""
    first, *others = ranked
    found = {name: _oriented(comparison, first, name)["mean"]["accuracy"] for name in others}
    words = {name: f"{name} by {_lead(entry)}" for name, entry in found.items()}
    sure = [words[name] for name in others if found[name]["is_significant_among_all"]]
    unsure = [words[name] for name in others if not found[name]["is_significant_among_all"]]
    sentences = []
    if sure:
        sentences.append(f"{first} is ahead of {enumeration(sure)}.")
    if unsure:
        sentences.append(f"Not significant: {first} ahead of {enumeration(unsure)}.")
    return sentences


def _lead(entry: Mapping[str, Any]) -> str:
    low, high = (signed_points(100 * bound) for bound in entry["interval"])
    return f"{100 * entry['difference']:.1f} points ({low} to {high}, {p_value_words(entry['p_corrected'])})"


def _by_task(comparison: Mapping[str, Any]) -> list[str]:
    """Which task accuracies differ, and for each pair the tasks on which they do not."""
    pairs, tasks = comparison["pairs"], comparison["tasks"]
    count = sum("accuracy" in scores for pair in pairs for scores in pair["tasks"].values())
    sure, unsure = [], []
    for pair in pairs:
        entries = {
            task: pair["tasks"][task]["accuracy"] for task in tasks if "accuracy" in pair["tasks"].get(task, {})
        }
        for is_first in (True, False):
            won = [
                f"{task} ({100 * abs(entry['difference']):.1f} points)"
                for task, entry in entries.items()
                if entry["is_significant_among_all"] and (entry["difference"] > 0) == is_first
            ]
            names = (pair["first"], pair["second"]) if is_first else (pair["second"], pair["first"])
            if won:
                sure.append(f"{names[0]} is better than {names[1]} on {enumeration(won)}")
        level = [task for task, entry in entries.items() if not entry["is_significant_among_all"]]
        if level:
            on = "any task" if level == list(entries) and len(level) > 1 else enumeration(level)
            unsure.append(f"between {pair['first']} and {pair['second']} on {on}")
    how = f"McNemar's test, corrected for {count} comparisons"
    if not sure and len(pairs) > 1:
        return [f"No significant difference ({how}) between any two towers on any task."]
    sentences = [f"By task ({how}): {'; '.join(sure)}."] if sure else []
    if unsure:
        sentences.append(f"No significant difference{'' if sure else f' ({how})'} {'; '.join(unsure)}.")
    return sentences


def _caveat(comparison: Mapping[str, Any]) -> str:
    words = (
        "Every tower was trained once: the intervals say what other test paintings would change, not what another "
        "seed would."
    )
    if comparison["recipe_differences"]:
        fields = enumeration(list(comparison["recipe_differences"]))
        words += f" The towers were not trained by one recipe, but with different {fields}."
    return words


def _oriented(comparison: Mapping[str, Any], first: str, second: str) -> Mapping[str, Any]:
    """The comparison of two towers with the differences as first minus second."""
    for pair in comparison["pairs"]:
        if (pair["first"], pair["second"]) == (first, second):
            return dict(pair)
        if (pair["first"], pair["second"]) == (second, first):
            return {"mean": {score: _turned(entry) for score, entry in pair["mean"].items()}}
    raise ValueError(f"Got {first} and {second}, which were not compared. Compare all pairs.")


def _turned(entry: Mapping[str, Any]) -> dict[str, Any]:
    low, high = entry["interval"]
    return {**entry, "difference": -entry["difference"], "interval": [-high, -low]}
