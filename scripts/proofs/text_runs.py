"""Descriptions alone: this model against TF-IDF with logistic regression, on the same rows, over several seeds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from proofs.anchors import GRID, METRICS, tune_and_predict, word_columns
from proofs.runner import Run, brief, by_task, mean_and_deviation, score_figures, train_and_score
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.mapping import SplitRule
from semart_hf.catalogue.schema import SEMART_TASKS
from semart_hf.catalogue.tables import typed_splits
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import score_outcomes
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE = "text_proof.yaml"
SHARES = {"train": 0.8, "test": 0.2}
SIDES = ("tfidf", "tower_alone", "ours")
# What the tower reaches when its last layer learns and nothing stands beside it, at the rates that suit it then.
TOWER_ALONE = {
    "text_lexicon": False,
    "head_init": "random",
    "text_pooling": "first",
    "trainable_text_layers": 1,
    "fusion_dropout": 0.3,
    "num_train_epochs": 15,
    "learning_rate": 1e-3,
    "text_learning_rate": 1e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.05,
    "logging_steps": 50,
}


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tower = AutoConfig.from_pretrained(options.text_tower)
    name = Path(options.text_tower).name
    common = {
        "csv": options.csv.name,
        "text_tower": {"name": name, "layers": tower.num_hidden_layers, "width": tower.hidden_size},
        "recipe": RECIPE,
        "fields": {"ours": read_recipe(RECIPES / RECIPE), "tower_alone": TOWER_ALONE, "tfidf": GRID},
    }
    shared = {"csv": options.csv, "text_tower": options.text_tower}
    return common, [{"seed": seed, **shared} for seed in options.seeds]


def run_one(seed: int, csv: Path, text_tower: str) -> dict[str, Any]:
    """Scores of each side for one division of the rows."""
    splits = typed_splits(read_rows(csv, splits=SplitRule(shares=SHARES, seed=seed)))
    chosen = {"data": str(csv), "text": text_tower, "seed": seed}
    ours = train_and_score(RECIPE, chosen, splits)
    tower = train_and_score(RECIPE, {**chosen, **TOWER_ALONE}, splits)
    return {
        "rows": {name: len(split) for name, split in splits.items()},
        "seconds": round(ours["seconds"] + tower["seconds"], 1),
        "commit": ours["commit"],
        "tfidf": baseline(splits, seed),
        "ours": ours["text"],
        "tower_alone": tower["text"],
    }


def baseline(splits: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """By metric, the scores on `test` of TF-IDF tuned for it, with what was `chosen` for each task."""
    tasks = [task.name for task in SEMART_TASKS]
    columns = word_columns(*([text or "" for text in splits[name]["text"]] for name in SHARES))
    labels = {
        name: np.array([[UNKNOWN_LABEL if label is None else label for label in splits[name][task]] for task in tasks])
        for name in SHARES
    }
    answers = [tune_and_predict(columns[0], known, columns[1], seed=seed) for known in labels["train"]]
    found = {}
    for metric in METRICS:
        outcomes = Outcomes([{"name": task, "labels": splits["train"].features[task].names} for task in tasks])
        outcomes.add(np.stack([answer[metric][0] for answer in answers], axis=1), labels["test"].T)
        chosen = {task: answer[metric][1] for task, answer in zip(tasks, answers, strict=True)}
        found[metric] = {**brief(score_outcomes(outcomes)), "chosen": chosen}
    return found


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by metric, side and task, gains over TF-IDF, and the verdict.

    A gain has in how many seeds it is positive, too. TF-IDF is judged by the setting that was tuned for the metric.
    """
    scores: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for metric in METRICS:
        sides = {side: [run[side][metric] if side == "tfidf" else run[side] for run in runs] for side in SIDES}
        scores[metric] = {side: score_figures(found, metric) for side, found in sides.items()}
        pairs = [[by_task(one, metric) for one in pair] for pair in zip(sides["ours"], sides["tfidf"], strict=True)]
        gains[metric] = {}
        for task in scores[metric]["ours"]:
            found = [ours[task] - theirs[task] for ours, theirs in pairs]
            gains[metric][task] = {**mean_and_deviation(found), "positive": sum(gain > 0 for gain in found)}
    better = [task for task, gain in gains["accuracy"].items() if task != "mean" and gain["mean"] > 0]
    is_better = all(gains[metric]["mean"]["mean"] > 0 for metric in METRICS) and len(better) >= 3
    return {"scores": scores, "gains": gains, "tasks_with_better_accuracy": better, "is_better": is_better}
