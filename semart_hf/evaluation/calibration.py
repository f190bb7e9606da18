"""Calibrated probabilities: a temperature a task, and the confidence from which to trust an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from semart_hf.files import write_text
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .metrics import score_outcomes
from .outcomes import Outcomes, TaskOutcomes, softmax
from .predictions import Predictions

TEMPERATURE_RANGE = (0.05, 20.0)
TARGET_ACCURACY = 0.95


def fit_temperatures(predictions: Predictions) -> dict[str, float]:
    """Task to the temperature that minimises the log loss of its labelled rows.

    A task without a labelled row, or with a single true label, says nothing about calibration: it is left out.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    temperatures = {}
    for column, (task, logits) in enumerate(predictions.logits.items()):
        references = predictions.references[:, column]
        is_known = references != UNKNOWN_LABEL
        if len(np.unique(references[is_known])) > 1:
            temperatures[task] = fit_temperature(logits[is_known], references[is_known])
    return temperatures


def fit_temperature(logits: npt.NDArray[np.floating[Any]], references: npt.NDArray[np.integer[Any]]) -> float:
    """The temperature between 0.05 and 20 with the least log loss, for logits (rows, labels) and known references."""
    rows = np.arange(len(references))

    def log_loss(log_temperature: float) -> float:
        probabilities = softmax(logits, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(probabilities[rows, references], 1e-300, None)).mean())

    bounds = tuple(np.log(TEMPERATURE_RANGE))
    # Over the logarithm, where the loss has one minimum and halving is as far as doubling.
    return float(np.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded").x))


def store_temperatures(model_folder: str | Path, temperatures: dict[str, float]) -> None:
    """Write the temperatures into the folder's config.json, where the pipeline finds them; all else stays as it is.

    Raises:
        ValueError: The folder holds no config.json.
    """
    check_can_store(model_folder)
    path = Path(model_folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["temperatures"] = {task: round(value, 4) for task, value in temperatures.items()}
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def check_can_store(model_folder: str | Path) -> None:
    """Refuse a model whose temperatures cannot be stored.

    Raises:
        ValueError: The folder holds no config.json.
    """
    if not (Path(model_folder) / "config.json").is_file():
        raise ValueError(
            f"Got the model {model_folder}, which is no local folder with a config.json. Temperatures are stored in "
            "one. Download the model first (`hf download REPO --local-dir DIR`) and pass --model DIR."
        )


def risk_coverage(outcomes: TaskOutcomes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Any]:
    """Coverage, risk and confidence (points,) when only answers of at least that confidence are accepted.

    From the most confident answer to all of them, over the rows whose label is known; equal ones stay together.

    Source: El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification.
    """
    known = outcomes.known()
    order = np.argsort(-known.confidences, kind="stable")
    confidences = known.confidences[order]
    accepted = np.arange(1, len(order) + 1)
    errors = np.cumsum(~known.correct[order])
    is_last_of_equals = np.append(confidences[1:] != confidences[:-1], True)[: len(order)]
    return (
        (accepted / max(len(order), 1))[is_last_of_equals],
        (errors / accepted)[is_last_of_equals],
        confidences[is_last_of_equals],
    )


def accepted(outcomes: TaskOutcomes, min_confidence: float) -> dict[str, float | None]:
    """The share of the answers that are at least so sure (`coverage`), and of those the share that is right."""
    known = outcomes.known()
    is_accepted = known.confidences >= min_confidence
    return {
        "coverage": float(is_accepted.mean()) if len(is_accepted) else None,
        "accuracy": float(known.correct[is_accepted].mean()) if is_accepted.any() else None,
    }


def confidence_threshold(outcomes: TaskOutcomes, target: float = TARGET_ACCURACY) -> dict[str, float] | None:
    """The lowest `min_confidence` at which the target share of accepted answers is right, with `coverage`, `accuracy`.

    None when not even the most confident answers reach the target.
    """
    if not outcomes.known().has_probabilities:
        return None
    coverage, risk, confidences = risk_coverage(outcomes)
    reached = np.flatnonzero(1 - risk >= target)
    if not len(reached):
        return None
    last = int(reached[-1])
    return {
        "min_confidence": float(confidences[last]),
        "coverage": float(coverage[last]),
        "accuracy": float(1 - risk[last]),
    }


def thresholds(outcomes: Outcomes, split: str, chosen_on: Outcomes | None = None) -> dict[str, Any]:
    """By task the confidence from which 95 % of the answers are right, and what it gives on the scored outcomes.

    Args:
        outcomes: What is scored.
        split: The name of the split that the confidences are chosen on.
        chosen_on: Its outcomes; `None`: those that are scored.
    """
    tasks: dict[str, Any] = {}
    for task in outcomes.task_names:
        found = confidence_threshold((chosen_on or outcomes).task(task))
        least = None if found is None else found["min_confidence"]
        tasks[task] = None if least is None else {"min_confidence": least, **accepted(outcomes.task(task), least)}
    return {"target_accuracy": TARGET_ACCURACY, "chosen_on": split, "tasks": tasks}


def describe_calibration(
    temperatures: dict[str, float], uncalibrated: Outcomes, tasks: dict[str, Any]
) -> dict[str, Any]:
    """The temperatures, and the scores of probabilities before and after; `tasks` are the scores after."""
    names = ("log_loss", "brier", "expected_calibration_error")
    stages = {"before": score_outcomes(uncalibrated)["tasks"], "after": tasks}
    return {
        "temperatures": dict(temperatures),
        **{
            stage: {task: {name: scores.get(name) for name in names} for task, scores in scored.items()}
            for stage, scored in stages.items()
        },
    }
