"""How many of the first labels of an audit are wrong ones, where 5 % of each task's labels were replaced."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cleanlab.rank import get_label_quality_scores

from proofs.review_runs import FIRST_MUSEUM, SIZES
from proofs.runner import Run, mean_and_deviation
from semart_hf.cli.command import load_model
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.label_errors import find_label_errors
from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.evaluation.results import describe_environment
from semart_hf.miniature.miniature import paint_miniature

SHARE = 0.05


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common = {"num_paintings": SIZES["num_train"], "share": SHARE, "first_museum": FIRST_MUSEUM}
    shared = {"model": options.model, "release": options.release}
    return common, [{"seed": seed, **shared} for seed in options.seeds]


def run_one(seed: int, model: str, release: Path) -> dict[str, Any]:
    """What an audit by a model that has not seen a museum's paintings finds among its labels, as they are and changed.

    By task, and of `all` together: how many labels there are, were `replaced`, and are `found` among as many of the
    first, by the audit's ranking and by cleanlab's margin; how many it flags, and how many of these are right.
    """
    museum = paint_miniature(release / str(seed), seed=FIRST_MUSEUM + seed, **SIZES)
    start = time.perf_counter()
    network, processor = load_model(model)
    rows = load_paintings(museum, tasks=network.config.tasks)["train"]
    predictions = predict_dataset(network, processor, rows, batch_size=64)
    probabilities = predictions.probabilities(network.config.temperatures)
    generator = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    whole: dict[str, list[npt.NDArray[Any]]] = {"is_wrong": [], "quality": [], "margin": []}
    for number, task in enumerate(network.config.tasks):
        given = predictions.references[:, number]
        shares, given = probabilities[task["name"]][given >= 0], given[given >= 0]
        labels, is_wrong = replaced(given, generator)
        errors, without = find_label_errors(labels, shares), find_label_errors(given, shares)
        margin = get_label_quality_scores(labels, shares, method="normalized_margin")
        for name, values in (("is_wrong", is_wrong), ("quality", errors.quality), ("margin", margin)):
            whole[name].append(values)
        found[task["name"]] = {
            **first_labels(is_wrong, errors.quality, margin),
            "flagged": int(errors.is_flagged.sum()),
            "flagged_right": int((errors.is_flagged & ~is_wrong).sum()),
            "expected_right": errors.expected_false_alarms,
            "without_errors": {"flagged": int(without.is_flagged.sum()), "expected": without.expected_false_alarms},
        }
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "commit": describe_environment().get("commit"),
        "tasks": found,
        "all": first_labels(*(np.concatenate(values) for values in whole.values())),
    }


def replaced(labels: npt.NDArray[Any], generator: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The labels with a share of them replaced by another that the catalogue has, and which these are."""
    changed, present = labels.copy(), np.unique(labels)
    places = generator.choice(len(labels), round(SHARE * len(labels)), replace=False)
    for place in places:
        changed[place] = generator.choice(present[present != labels[place]])
    return changed, changed != labels


def first_labels(
    is_wrong: npt.NDArray[np.bool_], quality: npt.NDArray[Any], margin: npt.NDArray[Any]
) -> dict[str, int]:
    """How many of as many first labels as are wrong are wrong, by each ranking."""
    count = int(is_wrong.sum())
    return {
        "labels": len(is_wrong),
        "replaced": count,
        "found": int(is_wrong[np.argsort(quality, kind="stable")[:count]].sum()),
        "found_by_margin": int(is_wrong[np.argsort(margin, kind="stable")[:count]].sum()),
    }


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Share of replaced labels among the first, and of the flagged ones that are right, by task and over all tasks."""
    tasks = {}
    for name in runs[0]["tasks"]:
        found = [run["tasks"][name] for run in runs]
        tasks[name] = {
            **{figure: shares([one[figure] for one in found], found) for figure in ("found", "found_by_margin")},
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
    over_all = {figure: shares([one[figure] for one in whole], whole) for figure in ("found", "found_by_margin")}
    return {"tasks": tasks, "all": over_all, "by_seed": [one["found"] / one["replaced"] for one in whole]}


def shares(counts: Sequence[int], found: Sequence[Any]) -> dict[str, float]:
    return mean_and_deviation([count / one["replaced"] for count, one in zip(counts, found, strict=True)])
