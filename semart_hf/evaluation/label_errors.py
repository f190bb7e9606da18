"""Labels that are probably wrong, by confident learning."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from semart_hf.extras import optional

NUM_DRAWS = 5


class LabelErrors(NamedTuple):
    """What is doubtful about one task's labels.

    Attributes:
        quality: Probability of each row's label `(rows,)`; NaN where it has none.
        is_flagged: Whether confident learning takes it for wrong `(rows,)`.
        expected_false_alarms: How many labels would be flagged if none were wrong and the probabilities were right.
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

    Source: Northcutt, Jiang & Chuang 2021, Confident Learning; quality is cleanlab's self-confidence, by which more
    of the first labels are wrong ones than by its normalized margin (`scripts/prove.py audit`).
    """
    optional("cleanlab", "audit")
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

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
    quality[is_known] = get_label_quality_scores(given, shares, method="self_confidence")
    is_flagged[is_known] = find_label_issues(given, shares, n_jobs=1)
    return LabelErrors(quality, is_flagged, _expected_false_alarms(shares, find_label_issues))


def _expected_false_alarms(shares: npt.NDArray[np.float64], find_label_issues: Any) -> float:
    """Mean number of labels that are flagged where each is drawn from its row's probabilities."""
    generator, sums = np.random.default_rng(0), shares.cumsum(axis=1)
    flagged = []
    for _ in range(NUM_DRAWS):
        drawn = (sums < generator.random((len(shares), 1))).sum(axis=1).clip(max=shares.shape[1] - 1)
        present, drawn = np.unique(drawn, return_inverse=True)
        known = shares[:, present] / shares[:, present].sum(axis=1, keepdims=True)
        flagged.append(find_label_issues(drawn, known, n_jobs=1).sum() if len(present) > 1 else 0)
    return float(np.mean(flagged))
