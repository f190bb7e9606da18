"""Descriptions alone: this model against TF-IDF with logistic regression, on the same rows, over several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from proofs.anchors import GRID, METRICS, numbers_of, tune_and_predict, word_columns
from proofs.runner import Options, Run, brief, by_task, figures, train_and_score
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.mapping import SplitRule
from semart_hf.catalogue.schema import SEMART_TASKS
from semart_hf.catalogue.tables import typed_splits
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import score_outcomes
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE = "text_proof.yaml"
SHARES = {"train": 0.8, "test": 0.2}
SIDES = ("tfidf", "tower_alone", "ours")
# What the tower reaches when its last layer learns and nothing stands beside it, at the rates that suit it then.
TOWER_ALONE = read_recipe(Path(__file__).with_name("tower_alone.yaml"))


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tower, name = AutoConfig.from_pretrained(options.text_tower), Path(options.text_tower).name
    common = {
        "csv": options.csv.name,
        "text_tower": {"name": name, "layers": tower.num_hidden_layers, "width": tower.hidden_size},
        "recipe": RECIPE,
        "fields": {"ours": read_recipe(RECIPES / RECIPE), "tower_alone": TOWER_ALONE, "tfidf": GRID},
    }
    return common, [{"seed": seed, "csv": options.csv, "text_tower": options.text_tower} for seed in options.seeds]


def run_one(seed: int, csv: Path, text_tower: str) -> dict[str, Any]:
    """Scores of each side for one division of the rows."""
    splits = typed_splits(read_rows(csv, splits=SplitRule(shares=SHARES, seed=seed)))
    ours = train_and_score(RECIPE, csv, seed, {"text": text_tower}, splits)
    tower = train_and_score(RECIPE, csv, seed, {"text": text_tower, **TOWER_ALONE}, splits)
    return {
        "rows": {name: len(split) for name, split in splits.items()},
        "seconds": round(ours["seconds"] + tower["seconds"], 1),
        "tfidf": baseline(splits, seed),
        "ours": ours["text"],
        "tower_alone": tower["text"],
    }


def baseline(splits: Run, seed: int) -> dict[str, Any]:
    """By metric, the scores on `test` of TF-IDF tuned for it, with what was `chosen` for each task."""
    tasks = [{"name": task.name, "labels": splits["train"].features[task.name].names} for task in SEMART_TASKS]
    learned, judged = word_columns(*(splits[name]["text"] for name in SHARES))
    train, test = ([numbers_of(splits[name][task["name"]]) for task in tasks] for name in SHARES)
    answers = [tune_and_predict(learned, known, judged, seed=seed) for known in train]
    found = {}
    for metric in METRICS:
        predictions, chosen = zip(*(answer[metric] for answer in answers), strict=True)
        outcomes = Outcomes(tasks)
        outcomes.add(np.stack(predictions, axis=1), np.stack(test, axis=1))
        choices = {task["name"]: choice for task, choice in zip(tasks, chosen, strict=True)}
        found[metric] = {**brief(score_outcomes(outcomes)), "chosen": choices}
    return found


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation over the seeds, by metric, side and task, gains over TF-IDF tuned for it, and the verdict."""
    scores: dict[str, Any] = {}
    better: dict[str, Any] = {}
    for metric in METRICS:
        found = {side: [run[side][metric] if side == "tfidf" else run[side] for run in runs] for side in SIDES}
        sides = {side: [by_task(one, metric) for one in own] for side, own in found.items()}
        scores[metric] = {side: figures(own) for side, own in sides.items()}
        pairs = zip(sides["ours"], sides["tfidf"], strict=True)
        apart = [{task: ours[task] - theirs[task] for task in scores[metric]["ours"]} for ours, theirs in pairs]
        better[metric] = figures(apart)
        for task, gain in better[metric].items():
            gain["positive"] = sum(one[task] > 0 for one in apart)
    won = [task for task, gain in better["accuracy"].items() if task != "mean" and gain["mean"] > 0]
    is_better = all(better[metric]["mean"]["mean"] > 0 for metric in METRICS) and len(won) >= 3
    return {"scores": scores, "gains": better, "tasks_with_better_accuracy": won, "is_better": is_better}
