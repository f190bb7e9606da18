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

from .outcomes import MISSING, Outcomes, TaskOutcomes
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
    is_known = (references != MISSING).all(axis=1)
    tables = [[np.zeros((num_resamples + 1, size, size)) for size in sizes] for _ in models]
    matches = np.zeros((len(models), 2, num_resamples))
    generator = np.random.default_rng(seed)
    # One draw at a time: all of them together would not fit for a million paintings. The last is the whole split.
    for resample in range(num_resamples + 1):
        draw = counts if resample == num_resamples else generator.multinomial(counts.sum(), counts / counts.sum())
        for model, answers in enumerate(predictions):
            for column, size in enumerate(sizes):
                tables[model][column][resample] = _confusion(references[:, column], answers[:, column], draw, size)
            if resample < num_resamples:
                is_match = is_known & (references == answers).all(axis=1)
                matches[model, :, resample] = draw[is_match].sum(), draw[is_known].sum()
    scores: list[Scores] = []
    for model in range(len(models)):
        found: Scores = {}
        for column, name in enumerate(names):
            drawn, whole = tables[model][column][:-1], tables[model][column][-1:]
            by_score = _label_scores(drawn, whole) | _period_scores(drawn, tasks[model][column])
            found |= {f"{name}_{score}": values for score, values in by_score.items()}
        for score in ("accuracy", "macro_f1"):
            found[f"mean_{score}"] = _nan_mean(np.stack([found[f"{name}_{score}"] for name in names]))
        found["exact_match"] = _ratio(*matches[model])
        scores.append(found)
    return scores


def _confusion(references: Any, predictions: Any, draw: Any, size: int) -> npt.NDArray[np.float64]:
    is_known = references != MISSING
    cells = references[is_known].astype(np.int64) * size + predictions[is_known]
    counts = np.bincount(cells, weights=draw[is_known].astype(np.float64), minlength=size * size)
    return np.asarray(counts, dtype=np.float64).reshape(size, size)


def _label_scores(drawn: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> Scores:
    """Scores (draws,) of confusion matrices (draws, labels, labels); `whole` (1, labels, labels): the split itself."""
    f1, recall = _by_class(drawn)
    whole_f1, whole_recall = _by_class(whole)
    support = drawn.sum(axis=2)
    total = support.sum(axis=1)
    return {
        "accuracy": _ratio(np.diagonal(drawn, axis1=1, axis2=2).sum(axis=1), total),
        "balanced_accuracy": _nan_mean(np.where(np.isnan(recall), whole_recall, recall).T),
        "macro_f1": _nan_mean(np.where(np.isnan(f1), whole_f1, f1).T),
        "weighted_f1": _ratio(np.nansum(f1 * support, axis=1), total),
    }


def _by_class(confusions: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """F1 and recall (draws, labels); NaN for a class that does not occur."""
    hits, support = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2)
    return _ratio(2 * hits, support + confusions.sum(axis=1)), _ratio(hits, support)


def _period_scores(confusions: npt.NDArray[np.float64], task: TaskOutcomes) -> Scores:
    years = label_years(task.labels)
    if years is None:
        return {}
    size = len(task.labels)
    cells = np.divmod(np.arange(size * size, dtype=np.int16), size)
    unused = np.zeros(size * size, dtype=np.float32)
    grid = TaskOutcomes(task.labels, cells[0], cells[1], unused, unused, unused, unused)
    distances = np.abs(period_distances(grid)).reshape(size, size)
    has_dated_truth = np.repeat(~np.isnan(years[:, :1]), size, axis=1)
    return {
        "within_one_period": _cell_mean(confusions, np.where(distances < 1.5, 1.0, 0.0), has_dated_truth),
        "mean_absolute_error_periods": _cell_mean(confusions, distances, ~np.isnan(distances)),
    }


def _cell_mean(confusions: npt.NDArray[np.float64], values: Any, counted: Any) -> npt.NDArray[np.float64]:
    weighted = (confusions * np.where(counted, values, 0)).sum(axis=(1, 2))
    return _ratio(weighted, (confusions * counted).sum(axis=(1, 2)))


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
