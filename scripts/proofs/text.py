"""Descriptions alone: this model against TF-IDF with logistic regression, on the same rows, over several seeds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofs.scores import mean_and_deviation
from proofs.training import brief, train_and_score

RECIPE = Path(__file__).resolve().parents[2] / "semart_hf" / "recipes" / "text_proof.yaml"
SHARES = {"train": 0.8, "test": 0.2}
# What the tower reaches when nothing stands beside it, at the rates that suit it then.
TOWER_ALONE = {"text_lexicon": False, "learning_rate": 1e-3, "text_learning_rate": 1e-4}


def prove(csv: Path, text_tower: str, seeds: Sequence[int], fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Scores of each side for each seed, and their summary, as far as they are known after each of the seeds.

    Args:
        csv: A file of the official release; its rows are divided anew for each seed.
        text_tower: Folder or Hub id of a DistilBERT.
        seeds: Of the division, the folds and the trainings.
        fields: Of the recipe, which win over its own.
    """
    from transformers import AutoConfig

    from semart_hf.catalogue.release import read_rows, typed_splits

    tower_config = AutoConfig.from_pretrained(text_tower)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:  # most texts are learned from for several of the seeds
        for seed in seeds:
            splits = typed_splits(read_rows(csv, shares=SHARES, seed=seed))
            tuned = baseline(splits, seed)
            chosen = {"data": str(csv), "text": text_tower, "seed": seed, "text_cache_dir": cache, **fields}
            ours = train_and_score(RECIPE, chosen, splits)
            tower = train_and_score(RECIPE, {**chosen, **TOWER_ALONE}, splits)
            runs.append(
                {
                    "seed": seed,
                    "rows": {name: len(split) for name, split in splits.items()},
                    "tfidf": tuned,
                    "ours": {**ours["text"], "seconds": ours["seconds"]},
                    "tower_alone": {**tower["text"], "seconds": tower["seconds"]},
                }
            )
            print(f"seed {seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in headline(runs[-1]).items()), flush=True)
            yield {
                "csv": csv.name,
                "text_tower": {
                    "name": Path(text_tower).name,
                    "layers": tower_config.num_hidden_layers,
                    "width": tower_config.hidden_size,
                },
                "recipe": RECIPE.name,
                "fields": dict(fields),
                "runs": runs,
                "summary": summarise(runs),
            }


def baseline(splits: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """By metric, the scores of TF-IDF tuned for it, with what was `chosen` for each task, on `test`."""
    from proofs.tfidf import METRICS, MISSING, tune_and_predict
    from semart_hf.catalogue.vocabulary import TASKS
    from semart_hf.evaluation.metrics import score_outcomes
    from semart_hf.evaluation.outcomes import Outcomes

    texts = {name: [text or "" for text in splits[name]["text"]] for name in SHARES}
    labels = {
        name: {task: np.array([MISSING if label is None else label for label in splits[name][task]]) for task in TASKS}
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
        settings = {task: {name: answers[task][metric][name] for name in ("C", "class_weight")} for task in TASKS}
        found[metric] = {**brief(score_outcomes(outcomes)), "chosen": settings}
    return found


def scores_of(run: Mapping[str, Any], side: str, metric: str) -> Mapping[str, Any]:
    """A side's scores; of TF-IDF those of the setting that was tuned for the metric."""
    found: Mapping[str, Any] = run["tfidf"][metric] if side == "tfidf" else run[side]
    return found


def headline(run: Mapping[str, Any]) -> dict[str, float]:
    """The means over the tasks, by side and metric."""
    return {
        f"{side} {metric}": scores_of(run, side, metric)[f"mean_{metric}"]
        for metric in ("accuracy", "macro_f1")
        for side in ("tfidf", "tower_alone", "ours")
    }


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by metric, side and task (`mean`: over the tasks), and the verdict.

    The verdict has, by metric, the mean `gain` over TF-IDF in each task and over the tasks, its deviation, and in how
    many seeds it is positive.
    """
    summary: dict[str, Any] = {"scores": {}, "gains": {}}
    for metric in ("accuracy", "macro_f1"):
        columns: dict[str, dict[str, list[float]]] = {}
        for side in ("tfidf", "tower_alone", "ours"):
            found = [scores_of(run, side, metric) for run in runs]
            columns[side] = {task: [one["tasks"][task][metric] for one in found] for task in found[0]["tasks"]}
            columns[side]["mean"] = [one[f"mean_{metric}"] for one in found]
        summary["scores"][metric] = {
            side: {task: mean_and_deviation(values) for task, values in of_task.items()}
            for side, of_task in columns.items()
        }
        gains = {
            task: [ours - theirs for ours, theirs in zip(columns["ours"][task], columns["tfidf"][task], strict=True)]
            for task in columns["ours"]
        }
        summary["gains"][metric] = {
            task: {**mean_and_deviation(values), "positive": sum(value > 0 for value in values)}
            for task, values in gains.items()
        }
    gains = summary["gains"]
    better = [task for task, gain in gains["accuracy"].items() if task != "mean" and gain["mean"] > 0]
    summary["tasks_with_better_accuracy"] = better
    summary["is_better"] = (
        gains["accuracy"]["mean"]["mean"] > 0 and gains["macro_f1"]["mean"]["mean"] > 0 and len(better) >= 3
    )
    return summary
