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
# What is chosen for each tower; every other field of a recipe is to be the same.
TOWER_FIELDS = ("vision", "vision_args", "frozen_vision_stages")
# What says where a run lies or how it was started, and nothing of what it learned.
_ABOUT_PLACE = (
    "output_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "logging_steps",
    "report_to",
    "run_name",
)

COST_AXES = {
    "seconds_per_epoch": "seconds an epoch of training",
    "milliseconds_per_painting": "milliseconds for one painting",
    "flops_forward": "operations a painting, forward",
    "parameters": "parameters",
}
"""What accuracy is set against, by its name in a tower's `cost`."""


@dataclass(frozen=True)
class TowerRun:
    """One tower's finished run, evaluated and measured.

    Args:
        name: What the tower is called here.
        model: Its folder.
        recipe: The fields that were to be the same for all towers; empty where they are not known.
        config: config.json of the model.
        results: results.json of its evaluation.
        training: results.json of its training; empty where there is none.
        cost: What `measure_cost` returns.
        row_ids: Of the paintings that it was evaluated on.
        outcomes: Its answers to them.
    """

    name: str
    model: Path
    recipe: Mapping[str, Any]
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    training: Mapping[str, Any]
    cost: Mapping[str, Any]
    row_ids: Sequence[str]
    outcomes: Outcomes


def compare_runs(runs: Sequence[TowerRun], *, num_resamples: int | None = None) -> dict[str, Any]:
    """What comparison.json holds: each tower's scores and cost, every pair's differences, and the Pareto fronts.

    Args:
        runs: The towers, at least two.
        num_resamples: Of the bootstrap; `None`: as many as `enough_resamples` says.

    Raises:
        ValueError: The towers were not evaluated on the same paintings, or have different labels.
    """
    check_same_paintings(runs)
    if num_resamples is None:
        num_resamples = enough_resamples(len(runs), len(runs[0].results["tasks"]))
    pairs = [
        compare_outcomes(first.outcomes, second.outcomes, names=(first.name, second.name), num_resamples=num_resamples)
        for first, second in combinations(runs, 2)
    ]
    correct_for_many(pairs)
    towers = {run.name: tower_entry(run) for run in runs}
    return {
        "data": runs[0].results["data"],
        "split": runs[0].results["split"],
        "num_rows": runs[0].results["num_rows"],
        "tasks": list(runs[0].results["tasks"]),
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
    num_comparisons = num_towers * (num_towers - 1) // 2 * num_tasks
    return max(NUM_RESAMPLES, 100 * num_comparisons)


def check_same_paintings(runs: Sequence[TowerRun]) -> None:
    """Refuse to compare what was measured on different paintings.

    Raises:
        ValueError: They differ, or their order does.
    """
    for run in runs[1:]:
        if list(run.row_ids) != list(runs[0].row_ids):
            raise ValueError(
                f"Got {runs[0].name} and {run.name}, evaluated on different paintings or in another order "
                f"({len(runs[0].row_ids)} and {len(run.row_ids)}). Only the same can be compared. Evaluate both on "
                "the same data and split: give another --output_dir."
            )


def correct_for_many(pairs: Sequence[dict[str, Any]]) -> None:
    """Give every difference `p_corrected`, and `is_significant_among_all` beside its own `is_significant`.

    Corrected together are the differences of one kind: the accuracies by task of all pairs (McNemar's test), their F1,
    and each of the two means (bootstrap).
    """
    families: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for pair in pairs:
        for is_mean, scored in ((True, pair["mean"]), *((False, scores) for scores in pair["tasks"].values())):
            for score, entry in scored.items():
                families.setdefault((is_mean, score), []).append(entry)
    for entries in families.values():
        p_values = [entry["mcnemar"]["p"] if "mcnemar" in entry else entry["bootstrap_p"] for entry in entries]
        for entry, p in zip(entries, holm(p_values), strict=True):
            entry["p_corrected"] = p
            entry["is_significant_among_all"] = bool(entry["is_significant"] and p < SIGNIFICANCE)


def tower_entry(run: TowerRun) -> dict[str, Any]:
    """A tower's part of comparison.json."""
    modalities, vision = run.results["modalities"], run.config.get("vision_config") or {}
    names = ("tasks", "mean_accuracy", "mean_macro_f1", "exact_match", "intervals", "ceiling")
    scores = {shown: {name: found[name] for name in names if name in found} for shown, found in modalities.items()}
    for found in scores.values():
        found["tasks"] = {
            task: {name: value for name, value in task_scores.items() if name != "per_label"}
            for task, task_scores in found["tasks"].items()
        }
    return {
        "model": str(run.model),
        "vision": vision.get("architecture"),
        "image_size": ((vision.get("pretrained_cfg") or {}).get("input_size") or [None])[-1],
        "frozen_vision_stages": run.config.get("frozen_vision_stages"),
        "trainable_text_layers": run.config.get("trainable_text_layers"),
        "scores": scores,
        "cost": flat_cost(run.cost, run.training.get("training") or {}),
        "trained_on": run.training.get("environment"),
    }


def flat_cost(cost: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of cost by one name; None where it was not measured."""
    inference = cost["inference"]
    return {
        "parameters": cost["parameters"]["total"],
        "trained_parameters": cost["parameters"]["trained"],
        "vision_parameters": cost["parameters"]["vision"],
        "flops_forward": cost["flops"]["forward"],
        "flops_forward_vision": cost["flops"]["forward_vision"],
        "text_tokens": cost["flops"]["tokens"],
        "epochs": training.get("epochs"),
        "training_paintings": training.get("paintings"),
        "seconds_per_epoch": training.get("seconds_per_epoch"),
        "training_paintings_per_second": training.get("steady_paintings_per_second"),
        "training_peak_memory_bytes": training.get("peak_memory_bytes"),
        "milliseconds_per_painting": inference["single"]["milliseconds"],
        "paintings_per_second_single": inference["single"]["paintings_per_second"],
        "best_batch_size": inference["best"]["batch_size"],
        "paintings_per_second_best": inference["best"]["paintings_per_second"],
        "inference_peak_memory_bytes": inference["peak_memory_bytes"],
        "inference_device": inference["device"],
        "inference_threads": inference["threads"],
        "weights_bytes": cost["disk"]["weights"],
        "folder_bytes": cost["disk"]["folder"],
    }


def pareto_front(towers: Mapping[str, Mapping[str, Any]], axis: str) -> list[str]:
    """The towers that no other equals in accuracy at less cost, or surpasses at no more; cheapest first.

    A tower whose cost was not measured is left out.
    """
    points = {
        name: (tower["cost"][axis], tower["scores"]["image+text"]["mean_accuracy"])
        for name, tower in towers.items()
        if tower["cost"][axis] is not None
    }
    front = [
        name
        for name, (cost, accuracy) in points.items()
        if not any(
            other_cost <= cost and other >= accuracy and (other_cost, other) != (cost, accuracy)
            for other_cost, other in points.values()
        )
    ]
    return sorted(front, key=lambda name: points[name])


def recipe_differences(runs: Sequence[TowerRun]) -> dict[str, dict[str, Any]]:
    """Field to each tower's value, for the fields that were to be the same and are not."""
    known = [run for run in runs if run.recipe]
    names = dict.fromkeys(name for run in known for name in run.recipe)
    return {
        name: {run.name: run.recipe.get(name) for run in known}
        for name in names
        if any(run.recipe.get(name) != known[0].recipe.get(name) for run in known)
    }
