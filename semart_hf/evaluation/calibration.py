"""Calibrated probabilities: a temperature a task, and the confidence from which to trust an answer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from semart_hf.files import write_text
from semart_hf.model.configuration_semart import SemArtConfig, is_multi_label
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes, SeveralOutcomes
from .predictions import Predictions

TARGET_ACCURACY = 0.95
# Paintings with a label from which on it has a threshold of its own.
LEAST_FOR_THRESHOLD = 10


def fit_temperatures(predictions: Predictions) -> dict[str, float]:
    """Task to the temperature with the least log loss; tasks with less than two different true labels are left out.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    temperatures, outcomes = {}, predictions.outcomes()
    for task in predictions.tasks:
        logits, references = predictions.logits[task["name"]], outcomes.task(task["name"]).references
        is_known = references != UNKNOWN_LABEL
        if is_multi_label(task):  # all known pairs of a painting and a label, against its absence, whose logit is 0
            logits = np.stack([0 * logits, logits], axis=-1)
        if len(np.unique(references[is_known])) > 1:
            temperatures[task["name"]] = fit_temperature(logits[is_known], references[is_known])
    return temperatures


def fit_temperature(logits: npt.NDArray[np.floating[Any]], references: npt.NDArray[np.integer[Any]]) -> float:
    """The temperature between 0.05 and 20 with the least log loss, for logits (rows, labels) and known references."""

    def log_loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=-1)
        return -float(log_probabilities[np.arange(len(references)), references].mean())

    # Over the logarithm, where the loss has one minimum and halving is as far as doubling.
    return float(np.exp(minimize_scalar(log_loss, bounds=np.log((0.05, 20.0)), method="bounded").x))


def choose_thresholds(outcomes: SeveralOutcomes) -> list[float]:
    """The probability of each label from which it is an answer, with the best F1 on these paintings (num_labels,).

    Labels with less than 10 of them, which would be fitted to chance, share the threshold with the best micro-F1.

    Source: Lipton et al. 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure.
    """
    truth, is_known = outcomes.references == 1, outcomes.references != UNKNOWN_LABEL
    shared = _best_threshold(truth[is_known], outcomes.probabilities[is_known])
    return [
        _best_threshold(has[known], p[known]) if has.sum() >= LEAST_FOR_THRESHOLD else shared
        for has, known, p in zip(truth.T, is_known.T, outcomes.probabilities.T, strict=True)
    ]


def _best_threshold(truth: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.floating[Any]]) -> float:
    """Middle between the last accepted probability and the next, with the best F1; 0.5 where nothing is true."""
    if not truth.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    p = probabilities[order].astype(np.float64)
    f1 = 2 * np.cumsum(truth[order]) / (np.arange(1, len(p) + 1) + truth.sum())
    f1[np.append(np.diff(p) == 0, False)] = -1  # equal probabilities are accepted together
    best = int(f1.argmax())
    return float((p[best] + (p[best + 1] if best + 1 < len(p) else 0.0)) / 2)


def with_thresholds(tasks: Sequence[Mapping[str, Any]], outcomes: Outcomes) -> list[dict[str, Any]]:
    """The tasks of a configuration, those with several labels with the thresholds of `choose_thresholds`."""
    return [
        {**task, "thresholds": choose_thresholds(outcomes.task(task["name"]))} if is_multi_label(task) else dict(task)
        for task in tasks
    ]


def store_calibration(model_folder: str | Path, config: SemArtConfig) -> None:
    """Write a configuration's temperatures, risks and thresholds into the folder's config.json, which else stays."""
    path = Path(model_folder) / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["temperatures"] = {task: round(value, 4) for task, value in (config.temperatures or {}).items()}
    stored["confidence_risks"] = config.confidence_risks or {}
    stored["tasks"] = config.tasks
    write_text(path, json.dumps(stored, indent=2, sort_keys=True) + "\n")


def risk_coverage(outcomes: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Any]:
    """Coverage, risk and confidence (points,) when only answers of at least that confidence are accepted.

    Over the rows whose label is known; equal confidences are one point, and of several labels all must be right.

    Source: El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification.
    """
    known = answered(outcomes)
    confidences, counts = np.unique(-known.confidences, return_counts=True)
    num_wrong = np.searchsorted(np.sort(-known.confidences[~known.correct]), confidences, side="right")
    accepted = np.cumsum(counts)
    return accepted / max(len(known.references), 1), num_wrong / accepted, -confidences


def answered(outcomes: Any) -> Any:
    """The rows with a known label and an answer, which a task with several labels may not have."""
    known = outcomes.known()
    return known.select(np.any(known.predictions, axis=1)) if isinstance(known, SeveralOutcomes) else known


def risk_points(outcomes: Any) -> list[list[float]]:
    """At most 100 points `[confidence, share of wrong answers]`, without those than which a lower one is no worse."""
    _, risk, confidences = risk_coverage(outcomes)
    least_below = np.minimum.accumulate(risk[::-1])[::-1]
    kept = np.flatnonzero(np.append(risk[:-1] < least_below[1:], True)[: len(risk)])
    if len(kept) > 100:
        kept = kept[np.linspace(0, len(kept) - 1, 100).round().astype(int)]
    # Rounded down: an answer of that confidence reaches it.
    return [[np.floor(1e6 * float(confidences[place])) / 1e6, round(float(risk[place]), 6)] for place in kept]


def confidence_threshold(choosing: Any, scored: Any) -> dict[str, Any] | None:
    """The lowest `min_confidence` at which 95 % of accepted answers are right, if any, and what it gives on others."""
    _, risk, confidences = risk_coverage(choosing)
    reached = np.flatnonzero(1 - risk >= TARGET_ACCURACY)
    if not len(reached):
        return None
    known, num_known = answered(scored), int(scored.is_known.sum())
    is_accepted = known.confidences >= confidences[reached[-1]]
    return {
        "min_confidence": float(confidences[reached[-1]]),
        "coverage": float(is_accepted.sum() / num_known) if num_known else None,
        "accuracy": float(known.correct[is_accepted].mean()) if is_accepted.any() else None,
    }


def thresholds(outcomes: Outcomes, chosen_on: str, choosing: Outcomes) -> dict[str, Any]:
    """By task the confidence from which 95 % of `choosing`, the split `chosen_on`, are right, and what it gives."""
    tasks = {name: confidence_threshold(choosing.task(name), outcomes.task(name)) for name in outcomes.task_names}
    return {"target_accuracy": TARGET_ACCURACY, "chosen_on": chosen_on, "tasks": tasks}
