"""How many decisions each order of a review needs: an oracle answers, heads are fitted again on frozen features."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from proofs.runner import Options, Run, figures, mean_and_deviation
from semart_hf.cli.command import load_model
from semart_hf.collection.review import Question, order_by_gain
from semart_hf.data.collator import ArtCollator
from semart_hf.data.loading import load_paintings
from semart_hf.data.streaming import undecoded
from semart_hf.miniature.miniature import paint_miniature

SIZES = {"num_train": 2000, "num_val": 1, "num_test": 1000}
ROUNDS, DECISIONS = 10, 40
# The model's own paintings are those of seed 0; on those of the seeds up to 3 this order was chosen.
FIRST_MUSEUM = 10
RANDOM, GAIN = "at random", "most expected gain first"
Numbers = npt.NDArray[Any]
Asked = list[tuple[int, int, Question]]  # row, number of the task, and what the catalogue would show


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common = {"sizes": SIZES, "rounds": ROUNDS, "decisions": DECISIONS, "first_museum": FIRST_MUSEUM}
    return common, tasks_on_museums(options, FIRST_MUSEUM, SIZES)


def tasks_on_museums(options: Options, first: int, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each seed a museum of its own, which is painted where there is none; the first is that of seed 0."""
    folders = {seed: options.release / str(first + seed) for seed in options.seeds}
    for seed, folder in folders.items():
        paint_miniature(folder, seed=first + seed, workers=options.processes, **sizes)
    return [{"seed": seed, "model": options.model, "museum": folder} for seed, folder in folders.items()]


def run_one(seed: int, model: str, museum: Path) -> dict[str, Any]:
    """The curve of each order on one museum's paintings: decisions, paintings that were looked at, and accuracies."""
    network, processor = load_model(model)
    tasks = network.config.tasks
    splits = load_paintings(museum, tasks=tasks)
    (features, labels), (asked, right) = (
        features_and_labels(network, processor, splits[name]) for name in ("train", "test")
    )
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    scale = 4 / np.sqrt(features.shape[1]) / deviation
    pool, test = ((features - mean) * scale, labels), ((asked - mean) * scale, right)
    curves = {name: learn(tasks, pool, test, order, seed) for name, order in ORDERS.items()}
    every = [fitted(pool[0], labels[:, number], test[0], task) for number, task in enumerate(tasks)]
    return {"curves": curves, "all_labels": accuracies(every, right, tasks)}


def features_and_labels(model: Any, processor: Any, rows: Any) -> tuple[Numbers, Numbers]:
    """What the model's heads read `(rows, fusion_dim)`, and the numbers of the labels `(rows, tasks)`."""
    rows = undecoded(rows.select_columns(["image", "text", *model.config.task_names]))
    features, labels = [], []
    for batch in DataLoader(rows, batch_size=64, collate_fn=ArtCollator(processor, model.config.tasks)):
        labels.append(batch.pop("labels").numpy())
        with torch.inference_mode():
            features.append(model(**batch).features.float().numpy())
    return np.concatenate(features), np.concatenate(labels)


def fitted(features: Numbers, labels: Numbers, asked: Numbers, task: Run) -> Numbers:
    """Probabilities `(asked, labels)` of a head that is fitted to the rows whose label is known."""
    known, found = labels >= 0, np.zeros((len(asked), len(task["labels"])))
    present = np.unique(labels[known])
    if len(present) < 2:
        found[:, present] = 1
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        head = LogisticRegression(max_iter=300).fit(features[known], labels[known])
    found[:, head.classes_] = head.predict_proba(asked)
    return found


def accuracies(found: Sequence[Any], labels: Numbers, tasks: Sequence[Any]) -> dict[str, float]:
    """Share of right answers by task, and the tasks' `mean`."""
    shares = {}
    for own, true, task in zip(found, labels.T, tasks, strict=True):
        shares[task["name"]] = float((own.argmax(axis=1) == true)[true >= 0].mean())
    return {**shares, "mean": float(np.mean([*shares.values()]))}


def learn(tasks: Sequence[Any], pool: Any, test: Any, order: Callable[..., Asked], seed: int) -> list[dict[str, Any]]:
    """The curve of one order. The first decisions are drawn at random, for all orders the same."""
    features, labels = pool
    generator = np.random.default_rng(seed)
    cells = [(row, number) for row in generator.permutation(len(labels)) for number in range(len(tasks))]
    chosen = [cell for cell in cells if labels[cell] >= 0][:DECISIONS]
    known, shown = np.full_like(labels, -100), np.concatenate([test[0], features])
    curve = []
    for _ in range(ROUNDS + 1):
        for cell in chosen:
            known[cell] = labels[cell]
        found = [fitted(features, known[:, number], shown, task) for number, task in enumerate(tasks)]
        right = accuracies([shares[: len(test[0])] for shares in found], test[1], tasks)
        looked_at = int((known >= 0).any(axis=1).sum())
        curve.append({"decisions": int((known >= 0).sum()), "paintings": looked_at, "accuracy": right})
        asked = questions([shares[len(test[0]) :] for shares in found], tasks, (labels >= 0) & (known < 0))
        chosen = [(row, number) for row, number, _ in order(asked, generator)[:DECISIONS]]
    return curve


def questions(found: Sequence[Numbers], tasks: Sequence[Any], is_open: Numbers) -> Asked:
    """What is open, as a catalogue with suggestions shows it."""
    asked = []
    for number, (shares, task) in enumerate(zip(found, tasks, strict=True)):
        best = np.argsort(-shares, axis=1, kind="stable")[:, :2]
        for row in np.flatnonzero(is_open[:, number]).tolist():
            (first, second), names = best[row].tolist(), task["labels"]
            confidence, other = round(float(shares[row, first]), 4), round(float(shares[row, second]), 2)
            asked.append((row, number, Question(task["name"], names[first], confidence, names[second], other)))
    return asked


def by_painting(asked: Asked, key: Callable[[Asked], float]) -> Asked:
    """All questions of a painting before the next, the least sure first, as most orders of the review ask them."""
    rows: dict[int, Asked] = {}
    for question in asked:
        rows.setdefault(question[0], []).append(question)
    found = sorted(rows.values(), key=key)
    return [one for row in found for one in sorted(row, key=lambda one: one[2].confidence)]


ORDERS: dict[str, Callable[[Asked, Any], Asked]] = {
    RANDOM: lambda asked, generator: by_painting(asked, lambda _: generator.random()),
    "at random, each question of another painting": lambda asked, generator: [
        asked[place] for place in generator.permutation(len(asked))
    ],
    "least sure first": lambda asked, _: by_painting(asked, lambda row: min(one[2].confidence for one in row)),
    "most expected errors first": lambda asked, _: by_painting(
        asked, lambda row: -sum(1 - q.confidence for *_, q in row)
    ),
    "smallest margin first": lambda asked, _: sorted(asked, key=lambda q: q[2].confidence - q[2].other_confidence),
    GAIN: lambda asked, _: [asked[place] for place in order_by_gain([question for *_, question in asked])],
}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """The mean curve of each order, and after how many decisions it reaches what random choice reaches at its end."""
    orders: dict[str, Any] = {}
    for name in runs[0]["curves"]:
        points = list(zip(*(run["curves"][name] for run in runs), strict=True))
        orders[name] = {
            "decisions": [point[0]["decisions"] for point in points],
            "accuracy": [figures([one["accuracy"] for one in point])["mean"] for point in points],
            "paintings": float(np.mean([one["paintings"] for one in points[-1]])),
        }
    goal, total = orders[RANDOM]["accuracy"][-1]["mean"], orders[RANDOM]["decisions"][-1]
    for order in orders.values():
        needed = decisions_until(goal, order["decisions"], [figure["mean"] for figure in order["accuracy"]])
        order |= {"needed": needed, "share": None if needed is None else needed / total}
    winner = max(orders, key=lambda name: (-(orders[name]["needed"] or np.inf), orders[name]["accuracy"][-1]["mean"]))
    every = mean_and_deviation([run["all_labels"]["mean"] for run in runs])
    return {"orders": orders, "goal": goal, "winner": winner, "all_labels": every}


def decisions_until(goal: float, decisions: Sequence[int], accuracy: Sequence[float]) -> float | None:
    """Where the line between the points first reaches the goal; `None` where it does not."""
    reached = np.flatnonzero(np.array(accuracy) >= goal)
    if not len(reached):
        return None
    ends = slice(max(reached[0] - 1, 0), reached[0] + 1)
    return float(np.interp(goal, accuracy[ends], decisions[ends]))
