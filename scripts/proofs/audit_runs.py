"""How many of the first labels of an audit are wrong ones, where 5 % of each task's labels were replaced."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cleanlab.rank import get_label_quality_scores

from proofs.review_runs import SIZES
from proofs.runner import Run, mean_and_deviation
from semart_hf.cli.command import load_model
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.label_errors import find_label_errors, with_other_labels
from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.evaluation.results import describe_environment
from semart_hf.miniature.miniature import paint_miniature

SHARE = 0.05
# With the museums before it the ranking was chosen.
FIRST_MUSEUM = 20
RANKINGS = ("found", "found_by_model", "found_by_margin")


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common = {"num_paintings": SIZES["num_train"], "share": SHARE, "first_museum": FIRST_MUSEUM}
    shared = {"model": options.model, "release": options.release}
    return common, [{"seed": seed, **shared} for seed in options.seeds]


def run_one(seed: int, model: str, release: Path) -> dict[str, Any]:
    """By task and of `all`: labels, `replaced` ones, those `found` among as many first by each ranking, and flags."""
    museum = paint_miniature(release / str(FIRST_MUSEUM + seed), seed=FIRST_MUSEUM + seed, **SIZES)
    start = time.perf_counter()
    network, processor = load_model(model)
    rows = load_paintings(museum, tasks=network.config.tasks)["train"]
    predictions = predict_dataset(network, processor, rows, batch_size=64)
    probabilities = predictions.probabilities(network.config.temperatures)  # by task, in the order of the references
    generator = np.random.default_rng(seed)
    given = {task: predictions.references[:, number] for number, task in enumerate(probabilities)}
    changed = {task: replaced(labels, generator) for task, labels in given.items()}
    judged = with_other_labels(changed, probabilities)
    judged_without = with_other_labels(given, probabilities)
    found: dict[str, Any] = {}
    whole: dict[str, list[npt.NDArray[Any]]] = {}
    for task, labels in changed.items():
        is_known = labels >= 0
        labels, is_wrong, own = labels[is_known], (labels != given[task])[is_known], probabilities[task][is_known]
        errors = find_label_errors(labels, judged[task][is_known])
        without = find_label_errors(given[task], judged_without[task])
        rankings = {
            "found": errors.quality,
            "found_by_model": get_label_quality_scores(labels, own, method="self_confidence"),
            "found_by_margin": get_label_quality_scores(labels, own, method="normalized_margin"),
        }
        for name, values in {"is_wrong": is_wrong, **rankings}.items():
            whole.setdefault(name, []).append(values)
        found[task] = {
            **first_labels(is_wrong, rankings),
            "flagged": int(errors.is_flagged.sum()),
            "flagged_right": int((errors.is_flagged & ~is_wrong).sum()),
            "expected_right": errors.expected_false_alarms,
            "without_errors": {"flagged": int(without.is_flagged.sum()), "expected": without.expected_false_alarms},
        }
    joined = {name: np.concatenate(values) for name, values in whole.items()}
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "commit": describe_environment().get("commit"),
        "tasks": found,
        "all": first_labels(joined.pop("is_wrong"), joined),
    }


def replaced(labels: npt.NDArray[Any], generator: Any) -> npt.NDArray[Any]:
    """The labels with a share of the known ones replaced by another that the catalogue has."""
    changed, known = labels.copy(), np.flatnonzero(labels >= 0)
    present = np.unique(labels[known])
    for place in generator.choice(known, round(SHARE * len(known)), replace=False):
        changed[place] = generator.choice(present[present != labels[place]])
    return changed


def first_labels(is_wrong: npt.NDArray[np.bool_], rankings: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """How many of as many first labels as are wrong are wrong, by each ranking."""
    count = int(is_wrong.sum())
    found = {
        name: int(is_wrong[np.argsort(quality, kind="stable")[:count]].sum()) for name, quality in rankings.items()
    }
    return {"labels": len(is_wrong), "replaced": count, **found}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Share of replaced labels among the first, and of the flagged ones that are right, by task and over all tasks."""
    tasks = {}
    for name in runs[0]["tasks"]:
        found = [run["tasks"][name] for run in runs]
        tasks[name] = {
            **{figure: shares([one[figure] for one in found], found) for figure in RANKINGS},
            **{
                figure: float(np.mean([one[figure] for one in found]))
                for figure in ("flagged", "flagged_right", "expected_right", "labels")
            },
            **{
                f"without_errors_{figure}": float(np.mean([one["without_errors"][figure] for one in found]))
                for figure in ("flagged", "expected")
            },
        }
    whole = [run["all"] for run in runs]
    over_all = {figure: shares([one[figure] for one in whole], whole) for figure in RANKINGS}
    return {"tasks": tasks, "all": over_all, "by_seed": [one["found"] / one["replaced"] for one in whole]}


def shares(counts: Sequence[int], found: Sequence[Any]) -> dict[str, float]:
    return mean_and_deviation([count / one["replaced"] for count, one in zip(counts, found, strict=True)])
