"""The usual baseline of text classification: TF-IDF of words and word pairs, and logistic regression, tuned."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # C: the inverse of the penalty
CLASS_WEIGHTS = (None, "balanced")
NUM_FOLDS = 5
METRICS = ("accuracy", "macro_f1")
MISSING = -100

Labels = npt.NDArray[np.int64]
Features = npt.NDArray[np.float64]


def tune_and_predict(
    train_texts: Sequence[str], labels: Labels, test_texts: Sequence[str], *, seed: int
) -> dict[str, dict[str, Any]]:
    """By metric of `METRICS`, the `predictions` (rows,) for the test texts, and the `C` and `class_weight` for them.

    Both numbers are those with the best mean of the metric over the folds of a cross-validation on the training texts.

    Args:
        train_texts: Texts to learn from.
        labels: Label index of each training text, `MISSING` where it is unknown.
        test_texts: Texts to answer for.
        seed: Of the folds.
    """
    is_known = labels != MISSING
    texts, known = np.array(train_texts, dtype=object)[is_known], labels[is_known]
    grid: dict[tuple[float, str | None], list[tuple[float, float]]] = {}
    with warnings.catch_warnings():
        # Labels with fewer rows than there are folds are missing in some of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(texts, known))
    for learned, judged in folds:
        own, others = features(texts[learned], texts[judged])
        for choice in itertools.product(STRENGTHS, CLASS_WEIGHTS):
            answers = fit_and_predict(own, known[learned], others, *choice)
            truth = known[judged]
            scores = (accuracy_score(truth, answers), f1_score(truth, answers, average="macro", zero_division=0))
            grid.setdefault(choice, []).append(scores)
    means = {choice: np.mean(scores, axis=0) for choice, scores in grid.items()}
    own, others = features(texts, test_texts)
    found = {}
    for column, metric in enumerate(METRICS):
        strength, class_weight = max(means, key=lambda choice: means[choice][column])
        answers = fit_and_predict(own, known, others, strength, class_weight)
        found[metric] = {"predictions": answers, "C": strength, "class_weight": class_weight}
    return found


def features(train_texts: Sequence[str], test_texts: Sequence[str]) -> tuple[Features, Features]:
    """Term weights of both (texts, rank), rotated into as many columns as the training texts span.

    A logistic regression with an L2 penalty gives the same answers in the rotated columns, of which there are at most
    as many as texts, instead of one for each of some 60,000 words and pairs.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    own, others = vectorizer.fit_transform(train_texts), vectorizer.transform(test_texts)
    values, vectors = np.linalg.eigh((own @ own.T).toarray())
    is_spanned = values > 1e-8
    scales, vectors = np.sqrt(values[is_spanned]), vectors[:, is_spanned]
    return vectors * scales, (others @ own.T).toarray() @ vectors / scales


def fit_and_predict(
    own: Features, labels: Labels, others: Features, strength: float, class_weight: str | None
) -> Labels:
    """Label indices (rows,) for the others; where all rows have one label, that is the answer."""
    if len(np.unique(labels)) == 1:
        return np.full(len(others), labels[0])
    model = LogisticRegression(C=strength, class_weight=class_weight, max_iter=2000)
    answers: Labels = model.fit(own, labels).predict(others)
    return answers
