"""Descriptions alone: this model against TF-IDF with logistic regression, on the same rows, over several seeds."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import KernelPCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

from proofs.runner import Plan, Run, mean_and_deviation, score_figures
from proofs.trained import brief, train_and_score
from semart_hf.catalogue.release import read_rows, typed_splits
from semart_hf.catalogue.vocabulary import TASKS
from semart_hf.evaluation.metrics import score_outcomes
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.model.output_semart import UNKNOWN_LABEL

RECIPE = "text_proof.yaml"
SHARES = {"train": 0.8, "test": 0.2}
SIDES = ("tfidf", "tower_alone", "ours")
# What the tower reaches when nothing stands beside it, at the rates that suit it then.
TOWER_ALONE = {"text_lexicon": False, "learning_rate": 1e-3, "text_learning_rate": 1e-4}
GRID = {"logistic__C": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)} | {
    "logistic__class_weight": (None, "balanced")
}
METRICS = {"accuracy": "accuracy", "macro_f1": "f1_macro"}
NUM_FOLDS = 5


def plan(options: argparse.Namespace) -> Plan:
    """The runs of all seeds."""
    from transformers import AutoConfig

    tower = AutoConfig.from_pretrained(options.text_tower)
    name = Path(options.text_tower).name
    common = {
        "csv": options.csv.name,
        "text_tower": {"name": name, "layers": tower.num_hidden_layers, "width": tower.hidden_size},
        "recipe": RECIPE,
        "fields": options.fields,
    }
    shared = {"csv": options.csv, "text_tower": options.text_tower, "fields": options.fields}
    tasks = [{"seed": seed, **shared} for seed in options.seeds]
    return Plan(common, tasks, run_one, summarise, lambda run, results: [results.get(name) for name in common])


def run_one(seed: int, csv: Path, text_tower: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of each side for one division of the rows."""
    splits = typed_splits(read_rows(csv, shares=SHARES, seed=seed))
    chosen = {"data": str(csv), "text": text_tower, "seed": seed, **fields}
    ours = train_and_score(RECIPE, chosen, splits)
    tower = train_and_score(RECIPE, {**chosen, **TOWER_ALONE}, splits)
    return {
        "rows": {name: len(split) for name, split in splits.items()},
        "seconds": ours["seconds"] + tower["seconds"],
        "commit": ours["commit"],
        "tfidf": baseline(splits, seed),
        "ours": {**ours["text"], "seconds": ours["seconds"]},
        "tower_alone": {**tower["text"], "seconds": tower["seconds"]},
    }


def baseline(splits: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """By metric, the scores of TF-IDF tuned for it, with what was `chosen` for each task, on `test`."""
    texts = {name: np.array([text or "" for text in splits[name]["text"]], dtype=object) for name in SHARES}
    labels = {
        name: {
            task: np.array([UNKNOWN_LABEL if label is None else label for label in splits[name][task]])
            for task in TASKS
        }
        for name in SHARES
    }
    answers = {
        task: tune_and_predict(texts["train"], labels["train"][task], texts["test"], seed=seed) for task in TASKS
    }
    found = {}
    references = np.stack([labels["test"][task] for task in TASKS], axis=1)
    for metric in METRICS:
        outcomes = Outcomes([{"name": task, "labels": splits["train"].features[task].names} for task in TASKS])
        outcomes.add(np.stack([answers[task][metric]["predictions"] for task in TASKS], axis=1), references)
        chosen = {task: {name: answers[task][metric][name] for name in ("C", "class_weight")} for task in TASKS}
        found[metric] = {**brief(score_outcomes(outcomes)), "chosen": chosen}
    return found


def tune_and_predict(
    texts: npt.NDArray[np.object_], labels: npt.NDArray[np.int64], test_texts: npt.NDArray[np.object_], *, seed: int
) -> dict[str, dict[str, Any]]:
    """By metric, the `predictions` (rows,) for the test texts, and the `C` and `class_weight` for them.

    Both are those with the best mean of the metric over the folds of a cross-validation on the texts with a label.
    """
    is_known = labels != UNKNOWN_LABEL
    texts, labels = texts[is_known], labels[is_known]
    if len(np.unique(labels)) == 1:
        only = {"predictions": np.full(len(test_texts), labels[0]), "C": 1.0, "class_weight": None}
        return dict.fromkeys(METRICS, only)
    with tempfile.TemporaryDirectory() as memory, warnings.catch_warnings():
        # Labels with fewer rows than there are folds are missing in some of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
        search = GridSearchCV(
            words_model(memory), GRID, scoring=METRICS, refit=False, cv=list(folds.split(texts, labels))
        ).fit(texts, labels)
        found = {}
        for metric in METRICS:
            best = search.cv_results_["params"][search.cv_results_[f"rank_test_{metric}"].argmin()]
            model = words_model(memory).set_params(**best).fit(texts, labels)
            chosen = {name.removeprefix("logistic__"): value for name, value in best.items()}
            found[metric] = {"predictions": model.predict(test_texts), **chosen}
    return found


def words_model(memory: str | None = None) -> Pipeline:
    """Logistic regression on TF-IDF of words and word pairs.

    An L2 penalty gives the same answers in rotated columns, of which there are at most as many as texts, instead of
    one for each of some 60,000 words and pairs.
    """
    steps = [
        ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
        ("rotation", KernelPCA(kernel="linear", remove_zero_eig=True)),
        ("logistic", LogisticRegression(max_iter=2000)),
    ]
    return Pipeline(steps, memory=memory)


def scores_of(run: Run, side: str, metric: str) -> Run:
    """A side's scores; of TF-IDF those of the setting that was tuned for the metric."""
    found: Run = run["tfidf"][metric] if side == "tfidf" else run[side]
    return found


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by metric, side and task, gains over TF-IDF, and the verdict.

    A gain has in how many seeds it is positive, too.
    """
    summary: dict[str, Any] = {"scores": {}, "gains": {}}
    for metric in METRICS:
        by_side = {side: [scores_of(run, side, metric) for run in runs] for side in SIDES}
        summary["scores"][metric] = {side: score_figures(found, metric) for side, found in by_side.items()}
        summary["gains"][metric] = {}
        for task in summary["scores"][metric]["ours"]:
            pairs = zip(by_side["ours"], by_side["tfidf"], strict=True)
            gains = [score_of(ours, task, metric) - score_of(theirs, task, metric) for ours, theirs in pairs]
            found = {**mean_and_deviation(gains), "positive": sum(gain > 0 for gain in gains)}
            summary["gains"][metric][task] = found
    gains = summary["gains"]
    better = [task for task, gain in gains["accuracy"].items() if task != "mean" and gain["mean"] > 0]
    is_better = all(gains[metric]["mean"]["mean"] > 0 for metric in METRICS) and len(better) >= 3
    return summary | {"tasks_with_better_accuracy": better, "is_better": is_better}


def score_of(scores: Run, task: str, metric: str) -> float:
    """A task's score, or `mean`."""
    found: float = scores[f"mean_{metric}"] if task == "mean" else scores["tasks"][task][metric]
    return found
