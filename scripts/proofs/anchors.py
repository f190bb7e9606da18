"""What the models are compared with: logistic regression on frozen features and on TF-IDF, tuned for each task."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.processing_semart import SemArtImageProcessor

Matrix = npt.NDArray[np.float64]
GRID: dict[str, Sequence[Any]] = {
    "C": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "class_weight": (None, "balanced"),
}
METRICS = {"accuracy": "accuracy", "macro_f1": "f1_macro"}


@torch.inference_mode()
def tower_features(tower: Any, paintings: Any) -> npt.NDArray[np.float32]:
    """Pooled features `(rows, num_features)` of a timm tower at its own size."""
    processor = SemArtImageProcessor.from_timm(tower.config.pretrained_cfg)
    batches = (processor([painting["image"]], return_tensors="pt")["pixel_values"] for painting in paintings)
    return np.concatenate([tower(batch).pooler_output.flatten(1).numpy() for batch in batches])


def word_columns(texts: Sequence[str], others: Sequence[str]) -> tuple[Matrix, Matrix]:
    """TF-IDF of words and word pairs with sublinear counts, learned from the first texts alone."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts)
    return rotated(words.transform(texts), words.transform(others))


def feature_columns(features: npt.NDArray[Any], others: npt.NDArray[Any]) -> tuple[Matrix, Matrix]:
    """Features of one mean and deviation, by the first rows; a row's length is about 1, as that of TF-IDF is."""
    scaler = StandardScaler().fit(features)
    first, second = (scaler.transform(part) / np.sqrt(features.shape[1]) for part in (features, others))
    return rotated(first, second)


def rotated(first: Any, second: Any) -> tuple[Matrix, Matrix]:
    """Both in columns that the first rows span, of which there are as many as these at most.

    An L2 penalty gives the same answers in rotated columns; words and pairs alone would be 60,000.
    """
    rotation = KernelPCA(kernel="linear", remove_zero_eig=True).fit(first)
    return rotation.transform(first), rotation.transform(second)


def tune_and_predict(
    columns: Matrix, labels: npt.NDArray[np.int64], others: Matrix, *, seed: int
) -> dict[str, tuple[npt.NDArray[np.int64], dict[str, Any]]]:
    """By metric, predictions (rows,) for the other rows, and the `C` and `class_weight` that they are made with.

    Both are those with the best mean of the metric over the folds of a cross-validation on the rows with a label.
    Where these are too few for one, the most frequent label is the answer.
    """
    is_known = labels != UNKNOWN_LABEL
    columns, labels = columns[is_known], labels[is_known]
    counts = np.bincount(labels, minlength=1)
    if sum(counts > 1) < 2:
        return dict.fromkeys(METRICS, (most_frequent(labels, len(others)), {}))
    with warnings.catch_warnings():
        # Labels with fewer rows than there are folds are missing in some of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        folds = StratifiedKFold(min(5, sorted(counts)[-2]), shuffle=True, random_state=seed)
        search = GridSearchCV(
            LogisticRegression(max_iter=500), GRID, scoring=METRICS, refit=False, cv=list(folds.split(columns, labels))
        ).fit(columns, labels)
        found = {}
        for metric in METRICS:
            best: Mapping[str, Any] = search.cv_results_["params"][search.cv_results_[f"rank_test_{metric}"].argmin()]
            model = LogisticRegression(max_iter=2000, **best).fit(columns, labels)
            found[metric] = model.predict(others), dict(best)
    return found


def most_frequent(labels: npt.NDArray[np.int64], num_rows: int) -> npt.NDArray[np.int64]:
    """The most frequent of the known labels for each of so many rows; the first label where none is known."""
    known = labels[labels != UNKNOWN_LABEL]
    return np.full(num_rows, np.bincount(known).argmax() if len(known) else 0, dtype=np.int64)
