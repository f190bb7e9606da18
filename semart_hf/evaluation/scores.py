"""From outcomes to numbers: the formulas, one task at a time.

A score that cannot be computed is None, a hole that reports show as one: no row with a known label, or labels without
probabilities where a probability is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from semart_hf.catalogue.timeframe import label_years
from semart_hf.catalogue.vocabulary import UNKNOWN

from .outcomes import TaskOutcomes

NUM_CALIBRATION_BINS = 15
"""Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 5."""


def confusion_counts(outcomes: TaskOutcomes) -> npt.NDArray[np.int64]:
    """How often each label (row) was taken for each label (column): (num_labels, num_labels), known rows only."""
    known, size = outcomes.known(), outcomes.num_labels
    cells = known.references.astype(np.int64) * size + known.predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def label_scores(confusion: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro and weighted F1 of a confusion matrix with at least one count.

    The labels that count are the ones that occur, as truth or as prediction: scikit-learn's default. Its functions see
    the cells with their counts as weights, so that they cost the same for a thousand rows and for a million.
    """
    true, predicted = np.nonzero(confusion)
    weights = confusion[true, predicted]
    present = np.unique(true)
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "balanced_accuracy": float(
            recall_score(true, predicted, labels=present, average="macro", sample_weight=weights, zero_division=0)
        ),
        "macro_f1": float(f1_score(true, predicted, average="macro", sample_weight=weights, zero_division=0)),
        "weighted_f1": float(f1_score(true, predicted, average="weighted", sample_weight=weights, zero_division=0)),
    }


def per_label_scores(confusion: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each label of the vocabulary, in its order."""
    true, predicted = np.nonzero(confusion)
    columns = precision_recall_fscore_support(
        true,
        predicted,
        labels=np.arange(len(labels)),
        sample_weight=confusion[true, predicted],
        zero_division=0,
    )
    return {
        label: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for label, precision, recall, f1, support in zip(labels, *columns, strict=True)
    }


def probability_scores(outcomes: TaskOutcomes) -> dict[str, float]:
    """Top-3 accuracy, log loss, Brier score and expected calibration error of outcomes with probabilities.

    Source: the Brier score is Brier's own (1950), a sum over the labels between 0 and 2.
    """
    return {
        "top_3_accuracy": float((outcomes.ranks < 3).mean()),
        "log_loss": float(outcomes.losses.mean(dtype=np.float64)),
        "brier": float(outcomes.brier.mean(dtype=np.float64)),
        "expected_calibration_error": calibration_error(outcomes.confidences, outcomes.correct),
    }


def calibration_bins(
    confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the paintings in each confidence bin that holds any, from low to high."""
    bins = np.minimum((confidences * NUM_CALIBRATION_BINS).astype(np.int64), NUM_CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_CALIBRATION_BINS)
    confidence_sums = np.bincount(bins, weights=confidences, minlength=NUM_CALIBRATION_BINS)
    correct_sums = np.bincount(bins, weights=correct, minlength=NUM_CALIBRATION_BINS)
    return [
        {
            "lower": index / NUM_CALIBRATION_BINS,
            "count": int(counts[index]),
            "confidence": float(confidence_sums[index] / counts[index]),
            "accuracy": float(correct_sums[index] / counts[index]),
        }
        for index in np.flatnonzero(counts)
    ]


def calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equally wide bins.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.
    """
    bins = calibration_bins(confidences, correct)
    return float(sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(confidences))


def period_distances(outcomes: TaskOutcomes) -> npt.NDArray[np.float64]:
    """Signed distance in periods from truth to prediction, positive when dated too late; NaN where either is `UNK`.

    Periods are counted in years and not in labels, because a period too rare for the vocabulary still lies between its
    neighbours.

    Raises:
        ValueError: The labels are not spans of years.
    """
    years = label_years(outcomes.labels)
    if years is None:
        raise ValueError(
            f"Got the labels {list(outcomes.labels)}. Distances in time need spans such as 1501-1550. Ask for them "
            "for a task of periods only."
        )
    period_length = float(np.nanmedian(years[:, 1] - years[:, 0] + 1))
    starts = years[:, 0]
    return np.asarray((starts[outcomes.predictions] - starts[outcomes.references]) / period_length)


def period_scores(outcomes: TaskOutcomes) -> dict[str, float | None]:
    """Accuracy within one period, and the mean absolute error in periods and in years.

    A painting with a dated truth that was answered `UNK` counts as wrong within one period; it has no distance, so it
    is left out of the errors, which are over `num_dated` rows.
    """
    years = label_years(outcomes.labels)
    if years is None:
        return {}
    distances = np.abs(period_distances(outcomes))
    has_dated_truth = ~np.isnan(years[outcomes.references, 0])
    is_dated = ~np.isnan(distances)
    middles = years.mean(axis=1)
    in_years = np.abs(middles[outcomes.predictions] - middles[outcomes.references])
    # Half a period of slack keeps one period one period where lengths differ by a year.
    within_one = distances[has_dated_truth] < 1.5
    return {
        "within_one_period": float(within_one.mean()) if len(within_one) else None,
        "mean_absolute_error_periods": float(distances[is_dated].mean()) if is_dated.any() else None,
        "mean_absolute_error_years": float(in_years[is_dated].mean()) if is_dated.any() else None,
        "num_dated": int(is_dated.sum()),
    }


def score_task(outcomes: TaskOutcomes) -> dict[str, Any]:
    """Every score of one task over the rows whose label is known.

    `without_unk` repeats the label scores over the rows whose true label is a real one: the literature scores `UNK` as
    a class, a person may not want to. `only_label` is there where all rows have one label: such scores do not say
    whether the model distinguishes the labels, and whoever shows them says so.
    """
    known = outcomes.known()
    names = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")
    if not len(known.references):
        return {"num_rows": 0, **dict.fromkeys(names)}
    confusion = confusion_counts(known)
    scores: dict[str, Any] = {"num_rows": len(known.references), **_in_order(label_scores(confusion), names)}
    if known.has_probabilities:
        scores |= probability_scores(known)
    scores |= period_scores(known)
    if UNKNOWN in known.labels:
        named = confusion.copy()
        named[known.labels.index(UNKNOWN)] = 0
        count = int(named.sum())
        scores["without_unk"] = {
            "num_rows": count,
            **(_in_order(label_scores(named), names) if count else dict.fromkeys(names)),
        }
    present = np.flatnonzero(confusion.sum(axis=1))
    if len(present) == 1 and known.labels:
        scores["only_label"] = known.labels[present[0]]
    if known.labels:
        scores["per_label"] = per_label_scores(confusion, known.labels)
    return scores


def _in_order(scores: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    return {name: scores[name] for name in names}
