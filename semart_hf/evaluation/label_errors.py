"""Labels that are probably wrong, by confident learning."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from semart_hf.extras import optional

NUM_DRAWS = 5
NUM_PARTS = 5
# Rows for each label, below which a catalogue says too little of how its labels go together.
LEAST_ROWS = 10
_LEAST = 1e-9
_Numbers = npt.NDArray[Any]


class LabelErrors(NamedTuple):
    """What is doubtful about one task's labels."""

    quality: npt.NDArray[np.float64]  # probability of each row's label (rows,); NaN where it has none
    is_flagged: npt.NDArray[np.bool_]  # whether confident learning takes it for wrong (rows,)
    expected_false_alarms: float  # labels flagged if none were wrong and the probabilities were right


def find_label_errors(references: Sequence[int] | npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> LabelErrors:
    """Doubts about the labels of one task `(rows,)`, -100 where there is none, from `(rows, labels)` of probabilities.

    These are of a model that was not trained on the row.

    Source: Northcutt, Jiang & Chuang 2021, Confident Learning; quality is cleanlab's self-confidence, by which more
    of the first labels are wrong ones than by its normalized margin (`scripts/prove.py audit`).
    """
    optional("cleanlab", "audit")
    references, probabilities = np.asarray(references), np.asarray(probabilities, dtype=np.float64)
    is_known = references >= 0
    quality, is_flagged = np.full(len(references), np.nan), np.zeros(len(references), dtype=bool)
    present, given = np.unique(references[is_known], return_inverse=True)
    shares = _normalized(probabilities[is_known][:, present])
    quality[is_known], is_flagged[is_known] = _judged(given, shares)
    generator, sums, false_alarms = np.random.default_rng(0), shares.cumsum(axis=1), []
    for _ in range(NUM_DRAWS):  # of labels from the probabilities
        drawn = (sums < generator.random((len(shares), 1))).sum(axis=1).clip(max=len(present) - 1)
        false_alarms.append(_judged(drawn, shares)[1].sum())
    return LabelErrors(quality, is_flagged, float(np.mean(false_alarms)))


def _judged(labels: _Numbers, shares: _Numbers) -> tuple[_Numbers, _Numbers]:
    """The quality of each row's label and whether it is flagged (rows,); NaN and no where all rows have the same."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # cleanlab counts labels from 0 without gaps: a label that no row has is left out, and the rest add up to 1.
    present, given = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return np.full(len(labels), np.nan), np.zeros(len(labels), dtype=bool)
    shares = _normalized(shares[:, present])
    quality = get_label_quality_scores(given, shares, method="self_confidence")
    return quality, find_label_issues(given, shares, n_jobs=1)


def _normalized(shares: _Numbers) -> _Numbers:
    shares = np.clip(shares, 1e-12, None)
    return shares / shares.sum(axis=1, keepdims=True)


def with_other_labels(
    references: Mapping[str, _Numbers], probabilities: Mapping[str, _Numbers]
) -> dict[str, npt.NDArray[np.float64]]:
    """By task probabilities `(rows, labels)` that also follow from a row's other labels, and from how the model errs.

    For each task a logistic regression of the label on the model's log-probabilities and the row's labels of the
    other tasks, fitted on four fifths of the rows and asked about the rest; the result is its geometric mean with
    the model's own probabilities. A task with less than `LEAST_ROWS` rows for each label keeps the model's own.
    `references` are the numbers of the labels `(rows,)`, -100 where there is none; the model has not seen the rows.
    """
    found = {}
    others = {
        task: np.eye(shares.shape[1] + 1)[np.maximum(references[task], -1)] for task, shares in probabilities.items()
    }
    for task, shares in probabilities.items():
        own = np.log(np.clip(np.asarray(shares, dtype=np.float64), _LEAST, None))
        columns = [np.clip(own, -8, None), *(labels for other, labels in others.items() if other != task)]
        learned = _cross_fitted(np.concatenate(columns, axis=1), references[task], own)
        weights = np.exp((own + learned) / 2)
        found[task] = weights / weights.sum(axis=1, keepdims=True)
    return found


def _cross_fitted(columns: _Numbers, labels: _Numbers, own: _Numbers) -> _Numbers:
    """Log-probabilities of regressions that were not fitted on the row `(rows, labels)`, or the model's `own`."""
    from sklearn.linear_model import LogisticRegression

    places = np.flatnonzero(labels >= 0)
    if len(places) < LEAST_ROWS * len({*labels[places].tolist()}):
        return own
    learned = own.copy()
    part_of = np.random.default_rng(0).permutation(len(places)) % NUM_PARTS
    for part in range(NUM_PARTS):
        fitted, asked = places[part_of != part], places[part_of == part]
        if len({*labels[fitted].tolist()}) > 1:
            regression = LogisticRegression(C=0.1, max_iter=300).fit(columns[fitted], labels[fitted])
            learned[asked] = np.log(_LEAST)  # of labels that it does not know
            learned[np.ix_(asked, regression.classes_)] = regression.predict_log_proba(columns[asked])
    return learned
