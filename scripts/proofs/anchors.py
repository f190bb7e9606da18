"""What the models are compared with: logistic regression on frozen features and on TF-IDF, tuned for each task."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.tables import typed_splits
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.processing_semart import SemArtImageProcessor

Matrix = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
GRID: dict[str, Sequence[Any]] = {
    "C": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "class_weight": (None, "balanced"),
}
MAJORITY = "majority"
METRICS = {"accuracy": "accuracy", "macro_f1": "f1_macro"}


@torch.inference_mode()
def tower_features(tower: Any, paintings: Any) -> npt.NDArray[np.float32]:
    """Pooled features `(rows, num_features)` of a timm tower at its own size."""
    processor = SemArtImageProcessor.from_timm(tower.config.pretrained_cfg)
    batches = (processor([painting["image"]], return_tensors="pt")["pixel_values"] for painting in paintings)
    return np.concatenate([tower(batch).pooler_output.flatten(1).numpy() for batch in batches])


def word_columns(texts: Sequence[str | None], others: Sequence[str | None]) -> tuple[Matrix, Matrix]:
    """TF-IDF of words and word pairs with sublinear counts, learned from the first texts alone."""
    first, second = ([text or "" for text in part] for part in (texts, others))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(first)
    return rotated(words.transform(first), words.transform(second))


def feature_columns(features: npt.NDArray[Any], others: npt.NDArray[Any]) -> tuple[Matrix, Matrix]:
    """Features of one mean and deviation, by the first rows; a row's length is about 1, as that of TF-IDF is."""
    scaler = StandardScaler().fit(features)
    return rotated(*(scaler.transform(part) / np.sqrt(features.shape[1]) for part in (features, others)))


def rotated(first: Any, second: Any) -> tuple[Matrix, Matrix]:
    """Both in columns that the first rows span, which are fewer, and where an L2 penalty gives the same answers."""
    rotation = KernelPCA(kernel="linear", remove_zero_eig=True).fit(first)
    return rotation.transform(first), rotation.transform(second)


def numbers_of(labels: Sequence[int | None]) -> Numbers:
    return np.array([UNKNOWN_LABEL if label is None else label for label in labels])


def tune_and_predict(columns: Matrix, labels: Numbers, others: Matrix, seed: int) -> dict[str, tuple[Numbers, Any]]:
    """By metric, predictions (rows,) for the other rows, with the `C` and `class_weight` that are best over folds.

    Where the rows with a label are too few for folds, the most frequent label is the answer.
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
        model = LogisticRegression(max_iter=500)
        search = GridSearchCV(model, GRID, scoring=METRICS, refit=False, cv=folds).fit(columns, labels)
        found = {}
        for metric in METRICS:
            best = search.cv_results_["params"][search.cv_results_[f"rank_test_{metric}"].argmin()]
            model = LogisticRegression(max_iter=2000, **best).fit(columns, labels)
            found[metric] = model.predict(others), dict(best)
    return found


def most_frequent(labels: Numbers, num_rows: int) -> Numbers:
    """The most frequent of the known labels for each of so many rows; the first label where none is known."""
    known = labels[labels != UNKNOWN_LABEL]
    return np.full(num_rows, np.bincount(known).argmax() if len(known) else 0, dtype=np.int64)


def anchor_answers(data: Path, about: Mapping[str, Any], features: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The labels that each anchor (`majority`, or a modality and its metric) answers, and what was `chosen`."""
    rows = read_rows(data)
    splits = typed_splits(rows, min_label_count=about["min_label_count"], text_columns=about["text_columns"])
    pictures = [np.stack([features[name] for name in splits[split]["image_file"]]) for split in ("train", "test")]
    texts = [splits[split]["text"] for split in ("train", "test")]
    columns = {"image": feature_columns(*pictures), "text": word_columns(*texts)}
    both = (np.hstack(parts) for parts in zip(*columns.values(), strict=True))
    columns = {"image+text": rotated(*both), **columns}
    has_text = np.array([bool(text) for text in texts[0]])
    answers: dict[str, dict[str, Any]] = {MAJORITY: {}}
    chosen: dict[str, dict[str, Any]] = {}
    for task in rows.labelled_tasks:
        names, known = splits["train"].features[task].names, numbers_of(splits["train"][task])
        answers[MAJORITY][task] = [names[place] for place in most_frequent(known, len(texts[1]))]
        for modality, (learned, judged) in columns.items():
            labels = np.where(has_text, known, UNKNOWN_LABEL) if modality == "text" else known
            for metric, (predictions, best) in tune_and_predict(learned, labels, judged, seed=seed).items():
                answers.setdefault(f"{modality}, {metric}", {})[task] = [names[place] for place in predictions]
                chosen.setdefault(f"{modality}, {metric}", {})[task] = best
    return {"answers": answers, "chosen": chosen}


def tower_columns(table: pd.DataFrame, folder: Path, tower: str) -> dict[str, Any]:
    """By picture, the features of a frozen tower, which are computed once and kept beside the pictures."""
    path = folder / f"features-{Path(tower).name}.npz"
    names, kept = table["IMAGE_FILE"].tolist(), dict(np.load(path)) if path.is_file() else {}
    if missing := [name for name in names if name not in kept]:
        model = AutoModel.from_pretrained(tower, trust_remote_code=False).eval()
        rows = ({"image": Image.open(folder / "Images" / name).convert("RGB")} for name in missing)
        kept |= dict(zip(missing, tower_features(model, rows), strict=True))
        np.savez(path.with_suffix(".new.npz"), **kept)
        path.with_suffix(".new.npz").replace(path)
    return {name: kept[name] for name in names}
