"""From outcomes to numbers: the formulas, one task at a time.

A score that cannot be computed is None, a hole that reports show as one: no row with a known label, or labels without
probabilities where a probability is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from semart_hf.catalogue.timeframe import label_years
from semart_hf.catalogue.vocabulary import UNKNOWN

from .outcomes import TaskOutcomes

FloatArray = npt.NDArray[np.float64]

NUM_CALIBRATION_BINS = 15
"""Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 5."""
LABEL_SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")


def score_task(outcomes: TaskOutcomes) -> dict[str, Any]:
    """Every score of one task over the rows whose label is known.

    `without_unk` repeats the label scores over the rows whose true label is a real one: the literature scores `UNK` as
    a class, a person may not want to. `only_label` is there where all rows have one label: such scores do not say
    whether the model distinguishes the labels, and whoever shows them says so.
    """
    known = outcomes.known()
    scores = _label_scores(known)
    if not scores["num_rows"]:
        return scores
    if known.has_probabilities:
        scores |= {
            "top_3_accuracy": float((known.ranks < 3).mean()),
            "log_loss": float(known.losses.mean(dtype=np.float64)),
            "brier": float(known.brier.mean(dtype=np.float64)),  # Brier's own (1950): between 0 and 2
            "expected_calibration_error": calibration_error(known.confidences, known.correct),
        }
    for name, (numerators, denominators) in row_scores(known).items():
        if name != "accuracy":
            scores[name] = float(numerators.sum() / denominators.sum()) if denominators.any() else None
    if UNKNOWN in known.labels:
        scores["without_unk"] = _label_scores(known.select(known.references != known.labels.index(UNKNOWN)))
    if known.labels:
        counts = class_counts(known)
        columns = zip(counts[1], *map(np.nan_to_num, class_scores(counts)), strict=True)
        scores["per_label"] = {
            label: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
            for label, (support, precision, recall, f1) in zip(known.labels, columns, strict=True)
        }
        present = np.unique(known.references)
        if len(present) == 1:
            scores["only_label"] = known.labels[present[0]]
    return scores


def _label_scores(known: TaskOutcomes) -> dict[str, Any]:
    num_rows = len(known.references)
    if not num_rows:
        return {"num_rows": 0, **dict.fromkeys(LABEL_SCORES)}
    found = {"accuracy": known.correct.mean(), **mean_class_scores(class_counts(known)[None])}
    return {"num_rows": num_rows, **{name: float(np.squeeze(found[name])) for name in LABEL_SCORES}}


def confusion_counts(outcomes: TaskOutcomes) -> npt.NDArray[np.int64]:
    """How often each label (row) was taken for each label (column): (num_labels, num_labels), known rows only."""
    known, size = outcomes.known(), outcomes.num_labels
    cells = known.references.astype(np.int64) * size + known.predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def class_counts(outcomes: TaskOutcomes) -> npt.NDArray[np.int64]:
    """Right answers, true labels and answers of each class (3, num_labels)."""
    confusion = confusion_counts(outcomes)
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def class_scores(counts: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 of class counts (..., 3, num_labels); NaN for a class that does not occur."""
    right, true, answered = np.moveaxis(counts, -2, 0)
    return ratio(right, answered), ratio(right, true), ratio(2 * right, true + answered)


def mean_class_scores(counts: npt.NDArray[Any]) -> dict[str, FloatArray]:
    """Means over the classes (draws,) of the class counts (draws, 3, num_labels) of draws from a split.

    The last draw is the whole split: a class that another draw lacks has its score there. The labels that count are
    the ones that occur, as truth or as answer: scikit-learn's default.
    """
    _, recall, f1 = (np.where(np.isnan(scores), scores[-1:], scores) for scores in class_scores(counts))
    support = counts[:, 1]
    return {
        "balanced_accuracy": nan_mean(recall.T),
        "macro_f1": nan_mean(f1.T),
        "weighted_f1": ratio(np.nansum(f1 * support, axis=1), support.sum(axis=1)),
    }


def ratio(numerators: npt.NDArray[Any], denominators: npt.NDArray[Any]) -> FloatArray:
    """NaN where nothing is counted."""
    result = np.full(np.broadcast(numerators, denominators).shape, np.nan)
    np.divide(numerators, denominators, out=result, where=denominators > 0)
    return result


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is there; NaN where nothing is."""
    return ratio(np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0))


def calibration_bins(
    confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the paintings in each confidence bin that holds any, from low to high."""
    bins = np.minimum((confidences * NUM_CALIBRATION_BINS).astype(np.int64), NUM_CALIBRATION_BINS - 1)
    return [
        {
            "count": int(chosen.sum()),
            "confidence": float(confidences[chosen].mean(dtype=np.float64)),
            "accuracy": float(correct[chosen].mean()),
        }
        for chosen in (bins == index for index in np.unique(bins))
    ]


def calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equally wide bins.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.
    """
    bins = calibration_bins(confidences, correct)
    return float(sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(confidences))


def row_scores(outcomes: TaskOutcomes) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """By name the scores that are one sum over the rows (rows,) divided by another: accuracy, and those of periods.

    Distances in time are counted in years and not in labels, because a period too rare for the vocabulary still lies
    between its neighbours. A painting with a dated truth that was answered `UNK` counts as wrong within one period; it
    has no distance, so it is left out of the errors.
    """
    is_known = outcomes.is_known
    scores: dict[str, Any] = {"accuracy": (is_known & outcomes.correct, is_known)}
    years = label_years(outcomes.labels)
    if years is not None:
        true = np.where(is_known[:, None], years[outcomes.references * is_known], np.nan)
        answered, length = years[outcomes.predictions], np.nanmedian(years[:, 1] - years[:, 0] + 1)
        in_periods = np.abs(answered[:, 0] - true[:, 0]) / length
        in_years = np.abs(answered.mean(axis=1) - true.mean(axis=1))
        has_dated_truth, is_dated = ~np.isnan(true[:, 0]), ~np.isnan(in_periods)
        # Half a period of slack keeps one period one period where lengths differ by a year.
        scores["within_one_period"] = (has_dated_truth & (in_periods < 1.5), has_dated_truth)
        scores["mean_absolute_error_periods"] = (np.where(is_dated, in_periods, 0), is_dated)
        scores["mean_absolute_error_years"] = (np.where(is_dated, in_years, 0), is_dated)
    return scores
