"""How many of the first labels of an audit are wrong ones, where 5 % of each task's labels were replaced."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cleanlab.rank import get_label_quality_scores

from proofs.review_runs import SIZES, tasks_on_museums
from proofs.runner import Options, Run, figures
from semart_hf.cli.command import load_model
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.label_errors import find_label_errors, with_other_labels
from semart_hf.evaluation.predictions import predict_dataset

SHARE = 0.05
# With the museums before it the ranking was chosen.
FIRST_MUSEUM = 20
RANKINGS = ("found", "found_by_model", "found_by_margin")


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common = {"num_paintings": SIZES["num_train"], "share": SHARE, "first_museum": FIRST_MUSEUM}
    return common, tasks_on_museums(options, FIRST_MUSEUM, SIZES)


def run_one(seed: int, model: str, museum: Path) -> dict[str, Any]:
    """By task and of `all`: labels, `replaced` ones, those `found` among as many first by each ranking, and flags."""
    network, processor = load_model(model)
    rows = load_paintings(museum, tasks=network.config.tasks)["train"]
    predictions = predict_dataset(network, processor, rows, batch_size=64)
    probabilities = predictions.probabilities(network.config.temperatures)  # by task, in the order of the references
    generator = np.random.default_rng(seed)
    given = {task: predictions.references[:, number] for number, task in enumerate(probabilities)}
    changed = {task: replaced(labels, generator) for task, labels in given.items()}
    judged, judged_without = (with_other_labels(labels, probabilities) for labels in (changed, given))
    found: dict[str, Any] = {}
    whole: list[tuple[npt.NDArray[Any], ...]] = []
    for task, labels in changed.items():
        is_known = labels >= 0
        labels, is_wrong, own = labels[is_known], (labels != given[task])[is_known], probabilities[task][is_known]
        errors = find_label_errors(labels, judged[task][is_known])
        without = find_label_errors(given[task], judged_without[task])
        others = [get_label_quality_scores(labels, own, method=m) for m in ("self_confidence", "normalized_margin")]
        whole.append((is_wrong, errors.quality, *others))
        found[task] = {
            **first_labels(*whole[-1]),
            "flagged": int(errors.is_flagged.sum()),
            "flagged_right": int((errors.is_flagged & ~is_wrong).sum()),
            "expected_right": errors.expected_false_alarms,
            "without_errors": {"flagged": int(without.is_flagged.sum()), "expected": without.expected_false_alarms},
        }
    return {"tasks": found, "all": first_labels(*map(np.concatenate, zip(*whole, strict=True)))}


def replaced(labels: npt.NDArray[Any], generator: Any) -> npt.NDArray[Any]:
    """The labels with a share of the known ones replaced by another that the catalogue has."""
    changed, known = labels.copy(), np.flatnonzero(labels >= 0)
    present = np.unique(labels[known])
    for place in generator.choice(known, round(SHARE * len(known)), replace=False):
        changed[place] = generator.choice(present[present != labels[place]])
    return changed


def first_labels(is_wrong: npt.NDArray[np.bool_], *qualities: npt.NDArray[Any]) -> dict[str, int]:
    """How many of as many first labels as are wrong are wrong, by each of the `RANKINGS`, given their qualities."""
    count = int(is_wrong.sum())
    orders = {name: np.argsort(quality, kind="stable") for name, quality in zip(RANKINGS, qualities, strict=True)}
    found = {name: int(is_wrong[order[:count]].sum()) for name, order in orders.items()}
    return {"labels": len(is_wrong), "replaced": count, **found}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Share of replaced labels among the first, and of the flagged ones that are right, by task and over all tasks."""
    tasks = {}
    for name in runs[0]["tasks"]:
        found = [run["tasks"][name] for run in runs]
        tasks[name] = found_shares(found)
        for figure in ("flagged", "flagged_right", "expected_right", "labels"):
            tasks[name][figure] = float(np.mean([one[figure] for one in found]))
        for figure in ("flagged", "expected"):
            tasks[name][f"without_errors_{figure}"] = float(np.mean([one["without_errors"][figure] for one in found]))
    whole = [run["all"] for run in runs]
    return {"tasks": tasks, "all": found_shares(whole), "by_seed": [one["found"] / one["replaced"] for one in whole]}


def found_shares(found: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    return figures([{name: one[name] / one["replaced"] for name in RANKINGS} for one in found])
