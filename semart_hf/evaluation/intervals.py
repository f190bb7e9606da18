"""How sure the scores are: bootstrap intervals over paintings.

A score of labels depends on the paintings only through how often each combination of truths and predictions occurs.
Drawing paintings with replacement is therefore drawing multinomial counts for the distinct combinations, which gives
the same distribution at a fraction of the cost, and keeps the tasks of a painting together.

Macro scores are means over the classes of the whole split in every draw. A class that a draw lacks, as a third of all
draws lack a class of one painting, keeps its score on the whole split: the draw says nothing of it. To leave it out
would average over other classes than the score itself does, the easy and frequent ones, and to count it as 0 would
punish classes that are always right; either moves all draws to one side, and the score lies at its interval's end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from semart_hf.catalogue.timeframe import label_years
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes, TaskOutcomes
from .scores import period_distances

NUM_RESAMPLES = 1000
CONFIDENCE_LEVEL = 0.95

Scores = dict[str, npt.NDArray[np.float64]]


def bootstrap_intervals(
    outcomes: Outcomes, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals `[low, high]` of the scores by their flat names: `type_accuracy`, `mean_macro_f1`, `exact_match`.

    A score that is a hole has no interval.

    Source: percentile bootstrap, Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    (resampled,) = resampled_scores([outcomes], num_resamples=num_resamples, seed=seed)
    return {name: interval_of(values) for name, values in resampled.items() if not np.isnan(values).all()}


def interval_of(values: npt.NDArray[np.float64]) -> list[float]:
    """The middle 95 % of resampled values, those that could not be computed (NaN) left out."""
    tail = 100 * (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return [float(low), float(high)]


def resampled_scores(models: list[Outcomes], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> list[Scores]:
    """For each model its scores (num_resamples,) by flat name; all models see the same draws of the same paintings."""
    names = models[0].task_names
    tasks = [[model.task(name) for name in names] for model in models]
    columns = [task.references for task in tasks[0]] + [task.predictions for row in tasks for task in row]
    combinations, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    references, *predictions = np.split(combinations, len(models) + 1, axis=1)
    sizes = [max(row[column].num_labels for row in tasks) for column in range(len(names))]
    shares = [_shares(names, row, references, answers) for row, answers in zip(tasks, predictions, strict=True)]
    weights = [np.stack([part for pair in found.values() for part in pair], axis=1) for found in shares]
    sums = [np.zeros((num_resamples, found.shape[1])) for found in weights]
    by_class = [[np.zeros((num_resamples + 1, 3, size)) for size in sizes] for _ in models]
    generator = np.random.default_rng(seed)
    # One draw at a time: all of them together would not fit for a million paintings. The last is the whole split.
    for resample in range(num_resamples + 1):
        draw = counts if resample == num_resamples else generator.multinomial(counts.sum(), counts / counts.sum())
        for model, answers in enumerate(predictions):
            for column, size in enumerate(sizes):
                by_class[model][column][resample] = _class_counts(
                    references[:, column], answers[:, column], draw, size
                )
            if resample < num_resamples:
                sums[model][resample] = draw @ weights[model]
    scores: list[Scores] = []
    for model in range(len(models)):
        found = {name: _ratio(*sums[model].T[2 * at : 2 * at + 2]) for at, name in enumerate(shares[model])}
        for name, in_draws in zip(names, by_class[model], strict=True):
            found |= {f"{name}_{score}": values for score, values in _class_scores(in_draws).items()}
        for score in ("accuracy", "macro_f1"):
            found[f"mean_{score}"] = _nan_mean(np.stack([found[f"{name}_{score}"] for name in names]))
        scores.append(found)
    return scores


def _shares(
    names: list[str], tasks: list[TaskOutcomes], references: npt.NDArray[Any], answers: npt.NDArray[Any]
) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """By flat name the scores that are one sum over the combinations (combinations,) divided by another."""
    is_known, is_right = references != UNKNOWN_LABEL, references == answers
    shares = {"exact_match": (is_known.all(axis=1) & is_right.all(axis=1), is_known.all(axis=1))}
    for column, (name, task) in enumerate(zip(names, tasks, strict=True)):
        known = is_known[:, column]
        shares[f"{name}_accuracy"] = (known & is_right[:, column], known)
        if (years := label_years(task.labels)) is None:
            continue
        truth, unused = np.where(known, references[:, column], 0), np.zeros(len(known), dtype=np.float32)
        distances = np.abs(
            period_distances(TaskOutcomes(task.labels, truth, answers[:, column], unused, unused, unused, unused))
        )
        has_date, has_both = known & ~np.isnan(years[truth, 0]), known & ~np.isnan(distances)
        shares[f"{name}_within_one_period"] = (has_date & (distances < 1.5), has_date)
        shares[f"{name}_mean_absolute_error_periods"] = (np.where(has_both, distances, 0), has_both)
    return shares


def _class_counts(references: Any, predictions: Any, draw: Any, size: int) -> npt.NDArray[np.float64]:
    """Right answers, truths and answers of each class (3, size)."""
    is_known = references != UNKNOWN_LABEL
    references, predictions, draw = references[is_known], predictions[is_known], draw[is_known]
    parts = ((references, draw * (references == predictions)), (references, draw), (predictions, draw))
    return np.stack([np.bincount(labels, weights, minlength=size) for labels, weights in parts])


def _class_scores(counts: npt.NDArray[np.float64]) -> Scores:
    """Scores (draws,) of the class counts (draws + 1, 3, classes), of which the last are those of the split itself."""
    hits, support, answered = counts.swapaxes(0, 1)
    f1, recall = _ratio(2 * hits, support + answered), _ratio(hits, support)  # NaN for a class that does not occur
    f1, recall = (np.where(np.isnan(found), found[-1:], found)[:-1] for found in (f1, recall))
    return {
        "balanced_accuracy": _nan_mean(recall.T),
        "macro_f1": _nan_mean(f1.T),
        "weighted_f1": _ratio(np.nansum(f1 * support[:-1], axis=1), support[:-1].sum(axis=1)),
    }


def _ratio(numerators: npt.NDArray[Any], denominators: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """NaN where nothing is counted."""
    result = np.full(np.broadcast(numerators, denominators).shape, np.nan)
    np.divide(numerators, denominators, out=result, where=denominators > 0)
    return result


def _nan_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the first axis of what is there; NaN where nothing is."""
    counted = ~np.isnan(values)
    return _ratio(np.where(counted, values, 0).sum(axis=0), counted.sum(axis=0))


def p_value_words(p: float) -> str:
    """A p value as it is written in a sentence: `p = 0.03` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
