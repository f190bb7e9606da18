"""Several towers trained under one recipe: who answers better, at what cost, and which differences say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from .comparison import compare_outcomes, holm
from .intervals import NUM_RESAMPLES
from .outcomes import Outcomes

SIGNIFICANCE = 0.05

COST_AXES = {
    "seconds_per_epoch": "seconds an epoch of training",
    "milliseconds_per_painting": "milliseconds for one painting",
    "flops_forward": "operations a painting, forward",
    "parameters": "parameters",
}
"""What accuracy is set against, by its name in a tower's `cost`."""


@dataclass(frozen=True)
class TowerRun:
    """One tower's finished run: its folder, config.json and answers, and what was measured.

    Args:
        recipe: The fields that were to be the same for all towers; empty where they are not known.
        results: results.json of its evaluation.
        training: results.json of its training; empty where there is none.
        cost: What `measure_cost` returns.
    """

    name: str
    model: Path
    recipe: Mapping[str, Any]
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    training: Mapping[str, Any]
    cost: Mapping[str, Any]
    outcomes: Outcomes


def compare_runs(runs: Sequence[TowerRun], *, num_resamples: int | None = None) -> dict[str, Any]:
    """What comparison.json holds: each tower's scores and cost, every pair's differences, and the Pareto fronts.

    Args:
        runs: At least two.
        num_resamples: Of the bootstrap; `None`: `enough_resamples`.

    Raises:
        ValueError: The towers were not evaluated on the same paintings, or have different labels.
    """
    first = runs[0].results
    num_resamples = num_resamples or enough_resamples(len(runs), len(first["tasks"]))
    pairs = [
        compare_outcomes(one.outcomes, other.outcomes, names=(one.name, other.name), num_resamples=num_resamples)
        for one, other in combinations(runs, 2)
    ]
    correct_for_many(pairs)
    towers = {run.name: tower_entry(run) for run in runs}
    return {
        **{name: first[name] for name in ("data", "split", "num_rows")},
        "tasks": list(first["tasks"]),
        "towers": towers,
        "pairs": pairs,
        "pareto": {axis: pareto_front(towers, axis) for axis in COST_AXES},
        "recipe_differences": recipe_differences(runs),
        "environment": runs[0].cost["environment"],
    }


def enough_resamples(num_towers: int, num_tasks: int) -> int:
    """How many draws let a difference stay significant after the correction for the number of comparisons.

    A bootstrap p value is never below 2 / draws: with the usual number of draws and six towers, the correction would
    leave no difference of F1 significant, however large.
    """
    return max(NUM_RESAMPLES, 100 * (num_towers * (num_towers - 1) // 2) * num_tasks)


def correct_for_many(pairs: Sequence[dict[str, Any]]) -> None:
    """Give every difference `p_corrected`, and `is_significant_among_all` beside its own `is_significant`.

    Corrected together are the differences of one kind: the accuracies by task of all pairs (McNemar's test), their F1,
    and each of the two means (bootstrap).
    """
    families: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for pair in pairs:
        for scored in (pair["mean"], *pair["tasks"].values()):
            for score, entry in scored.items():
                families.setdefault((scored is pair["mean"], score), []).append(entry)
    for entries in families.values():
        p_values = [entry["mcnemar"]["p"] if "mcnemar" in entry else entry["bootstrap_p"] for entry in entries]
        for entry, p in zip(entries, holm(p_values), strict=True):
            entry["p_corrected"] = p
            entry["is_significant_among_all"] = bool(entry["is_significant"] and p < SIGNIFICANCE)


def tower_entry(run: TowerRun) -> dict[str, Any]:
    """A tower's part of comparison.json; a cost that was not measured is None."""
    vision, training = run.config.get("vision_config") or {}, run.training.get("training") or {}
    names = ("mean_accuracy", "mean_macro_f1", "exact_match", "intervals", "ceiling")
    scores = {
        modality: {
            "tasks": {
                task: {name: value for name, value in scored.items() if name != "per_label"}
                for task, scored in found["tasks"].items()
            },
            **{name: found[name] for name in names if name in found},
        }
        for modality, found in run.results["modalities"].items()
    }
    return {
        "model": str(run.model),
        "vision": vision.get("architecture"),
        "image_size": ((vision.get("pretrained_cfg") or {}).get("input_size") or [None])[-1],
        "frozen_vision_stages": run.config.get("frozen_vision_stages"),
        "scores": scores,
        "cost": {
            "epochs": training.get("epochs"),
            "training_paintings": training.get("paintings"),
            "seconds_per_epoch": training.get("seconds_per_epoch"),
            "training_peak_memory_bytes": training.get("peak_memory_bytes"),
            **{name: value for name, value in run.cost.items() if name != "environment"},
        },
        "trained_on": run.training.get("environment"),
    }


def pareto_front(towers: Mapping[str, Mapping[str, Any]], axis: str) -> list[str]:
    """The towers that no other equals in accuracy at less cost, or surpasses at no more; cheapest first.

    A tower whose cost was not measured is left out.
    """
    points = {
        name: (tower["cost"][axis], -tower["scores"]["image+text"]["mean_accuracy"])
        for name, tower in towers.items()
        if tower["cost"][axis] is not None
    }
    front, best = list[str](), (0.0, 1.0)
    for name in sorted(points, key=lambda name: points[name]):
        if points[name] == best or points[name][1] < best[1]:
            best = points[name]
            front.append(name)
    return front


def recipe_differences(runs: Sequence[TowerRun]) -> dict[str, dict[str, Any]]:
    """Field to each tower's value, for the fields that were to be the same and are not."""
    known = [run for run in runs if run.recipe]
    fields = dict.fromkeys(name for run in known for name in run.recipe)
    values = {name: {run.name: run.recipe.get(name) for run in known} for name in fields}
    return {name: found for name, found in values.items() if any(v != found[known[0].name] for v in found.values())}
