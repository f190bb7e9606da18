"""Labels that are probably wrong, by confident learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class LabelErrors(NamedTuple):
    """What is doubtful about one task's labels.

    Attributes:
        quality: Of each row's label `(rows,)`, from 0 (surely wrong) to 1; NaN where it has none.
        is_flagged: Whether confident learning takes it for wrong `(rows,)`.
        expected_false_alarms: How many of the flagged labels are right, if the probabilities are.
    """

    quality: npt.NDArray[np.float64]
    is_flagged: npt.NDArray[np.bool_]
    expected_false_alarms: float


def find_label_errors(references: Sequence[int] | npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> LabelErrors:
    """Doubts about the labels of one task.

    Args:
        references: Number of each row's label `(rows,)`; -100 where it has none.
        probabilities: Of a model that was not trained on the row `(rows, labels)`.

    Raises:
        ImportError: If cleanlab is missing.

    Source: Northcutt, Jiang & Chuang 2021, Confident Learning; quality is cleanlab's normalized margin.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise ImportError(
            "Got no cleanlab in this environment, which finds doubtful labels. Install it: pip install "
            "'semart-hf[audit]'."
        ) from error
    references = np.asarray(references)
    is_known = references >= 0
    quality, is_flagged = np.full(len(references), np.nan), np.zeros(len(references), dtype=bool)
    # cleanlab counts labels from 0 without gaps: a label that no row has is left out, and the rest add up to 1.
    present, given = np.unique(references[is_known], return_inverse=True)
    if len(present) < 2:
        return LabelErrors(quality, is_flagged, 0.0)
    shares = np.asarray(probabilities, dtype=np.float64)[is_known][:, present]
    shares = np.clip(shares, 1e-12, None)
    shares /= shares.sum(axis=1, keepdims=True)
    quality[is_known] = get_label_quality_scores(given, shares, method="normalized_margin")
    is_flagged[is_known] = find_label_issues(given, shares, n_jobs=1)
    right = shares[np.arange(len(given)), given]
    return LabelErrors(quality, is_flagged, float(right[is_flagged[is_known]].sum()))
