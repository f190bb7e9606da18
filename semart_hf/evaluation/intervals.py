"""Bootstrap intervals over paintings.

Drawing paintings with replacement is drawing multinomial counts for the distinct combinations of truths and
predictions: the same distribution at a fraction of the cost.

Macro scores are means over the classes of the whole split in every draw. A class that a draw lacks keeps its score on
the whole split: to leave it out, or to count it as 0, would move all draws to one side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from .outcomes import Outcomes, TaskOutcomes
from .scores import exact_matches, mean_class_scores, nan_mean, ratio, row_scores

NUM_RESAMPLES = 1000


def bootstrap_intervals(
    outcomes: Outcomes, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals `[low, high]` by the flat names of scores, such as `type_accuracy`; none for a score of None.

    Source: percentile bootstrap, Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    (resampled,) = resampled_scores([outcomes], num_resamples=num_resamples, seed=seed)
    return {name: interval_of(values) for name, values in resampled.items() if not np.isnan(values).all()}


def interval_of(values: npt.NDArray[np.float64]) -> list[float]:
    """The middle 95 % of resampled values; NaN is left out."""
    return list(map(float, np.nanpercentile(values, [2.5, 97.5])))


def resampled_scores(
    models: list[Outcomes], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[dict[str, npt.NDArray[np.float64]]]:
    """For each model its scores (num_resamples,) by flat name; all models see the same draws of the same paintings."""
    names = models[0].task_names
    columns = [models[0].task(name).references for name in names]
    columns += [model.task(name).predictions for model in models for name in names]
    combinations, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    references, *predictions = np.split(combinations, len(models) + 1, axis=1)
    distinct = [Outcomes(model.tasks) for model in models]
    for outcomes, answers in zip(distinct, predictions, strict=True):
        outcomes.add(answers, references)
    # By flat name the scores that are one sum over the rows divided by another.
    ratios = [{"exact_match": exact_matches(outcomes)} for outcomes in distinct]
    for found, outcomes in zip(ratios, distinct, strict=True):
        for name in names:
            found |= {f"{name}_{score}": pair for score, pair in row_scores(outcomes.task(name)).items()}
    parts = [sparse.csr_array(np.stack(pair, axis=1, dtype=float)) for found in ratios for pair in found.values()]
    parts += [_class_indicators(outcomes.task(name)) for outcomes in distinct for name in names]
    table = sparse.hstack(parts).T.tocsr()
    sums = np.empty((num_resamples + 1, table.shape[0]))
    generator = np.random.default_rng(seed)
    # One draw at a time: all of them together would not fit for a million paintings. The last is the whole split.
    for at in range(num_resamples):
        sums[at] = table @ generator.multinomial(counts.sum(), counts / counts.sum())
    sums[-1] = table @ counts
    pieces = iter(np.split(sums, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1))
    scores = [{name: ratio(*next(pieces)[:-1].T) for name in found} for found in ratios]
    for resampled in scores:
        for name in names:
            by_class = mean_class_scores(next(pieces).reshape(num_resamples + 1, 3, -1))
            resampled |= {f"{name}_{score}": values[:-1] for score, values in by_class.items()}
        for score in ("accuracy", "macro_f1"):
            resampled[f"mean_{score}"] = nan_mean(np.stack([resampled[f"{name}_{score}"] for name in names]))
    return scores


def _class_indicators(outcomes: TaskOutcomes) -> sparse.csr_array:
    """What each row adds to the class counts: (rows, 3 * num_labels)."""
    known, rows, size = outcomes.known(), np.flatnonzero(outcomes.is_known), outcomes.num_labels
    true, answered, is_right = known.references.astype(np.int64), known.predictions.astype(np.int64), known.correct
    rows = np.concatenate([rows[is_right], rows, rows])
    columns = np.concatenate([true[is_right], size + true, 2 * size + answered])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(outcomes.references), 3 * size))
