"""The cards of the proofs: every figure comes from a file of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proofs.scores import cell

SIDES = {
    "tfidf": "TF-IDF, logistic regression",
    "tower_alone": "text tower alone",
    "ours": "text tower and lexicon",
}
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def text_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py text` as Markdown."""
    summary, runs = results["summary"], results["runs"]
    rows, gains = runs[0]["rows"], summary["gains"]
    tasks = list(runs[0]["ours"]["tasks"])
    better, tower = summary["tasks_with_better_accuracy"], results["text_tower"]
    verdict = "beats" if summary["is_better"] else "does not beat"
    parts = [
        "# Descriptions alone: is more learned than words say?",
        f"`{results['recipe']}` {verdict} tuned TF-IDF with logistic regression, by "
        f"{_points(gains['accuracy']['mean'])} points of mean accuracy and {_points(gains['macro_f1']['mean'])} of "
        f"mean macro-F1, with the better accuracy in {len(better)} of {len(tasks)} tasks"
        f"{' (' + ', '.join(better) + ')' if better else ''}.",
        f"Data: {sum(rows.values()):,d} rows of `{results['csv']}`, of which {rows['train']} are learned from and "
        f"{rows['test']} judged, divided anew by each of the seeds {', '.join(str(run['seed']) for run in runs)}. "
        "Labels that occur fewer than 10 times among the rows to learn from are `UNK`, for all sides. In per cent, "
        "mean and standard deviation over the seeds:",
    ]
    for metric, name in METRICS.items():
        lines = [_row(name, [*tasks, "mean"]), _row("---", ["---"] * (len(tasks) + 1))]
        for side, label in SIDES.items():
            scores = summary["scores"][metric][side]
            lines.append(_row(label, [cell(scores[task]) for task in [*tasks, "mean"]]))
        lines.append(_row("gain over TF-IDF", [cell(gains[metric][task], sign=True) for task in [*tasks, "mean"]]))
        lines.append(
            _row(
                "seeds with a gain", [f"{gains[metric][task]['positive']} of {len(runs)}" for task in [*tasks, "mean"]]
            )
        )
        parts.append("\n".join(lines))
    parts += [
        "## How it was compared",
        "- TF-IDF has words and word pairs with sublinear counts. For each task and seed, the `C` and the class "
        "weights of its logistic regression are those with the best score in a five-fold cross-validation on the rows "
        "to learn from. It is tuned twice, and judged for each metric by the setting that was tuned for it. In the "
        "order of the seeds, `C` and class weights chosen for accuracy: "
        f"{_choices(runs, 'accuracy')}; for macro-F1: {_choices(runs, 'macro_f1')}.",
        "- The model is trained once a seed, by the recipe as it stands, without validation rows, and one model is "
        f"judged by both metrics. Its text tower, `{tower['name']}`, has the format of DistilBERT, {tower['layers']} "
        f"layers and {tower['width']} features; its last layer learns. The recipe's rates and penalty "
        "come from trials on other divisions of the same file, so rows that are judged here were among those of the "
        "trials.",
        "- The text tower alone is the same recipe without the lexicon, at learning rates that suit it then. The "
        "lexicon is a linear model on the counts of single word pieces (`text_lexicon`), whose answer is added to the "
        "tower's. It is what wins here: descriptions name places, saints and painters, and a thousand of them are too "
        "few for a tower's last layer to learn these.",
        _circumstances(results, f"python scripts/prove.py text --csv {results['csv']} --text_tower FOLDER"),
    ]
    return "\n\n".join(parts) + "\n"


def pictures_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py pictures` as Markdown."""
    summary, runs, filled = results["summary"], results["runs"], results["filled"]
    accuracy, gains = summary["accuracy"], summary["gains"]
    columns = list(accuracy["image"])
    sentences = [
        f"{_points(gain)} points of mean accuracy over {alone} alone (more in {gain['positive']} of {len(runs)} folds)"
        for alone, gain in gains.items()
    ]
    outcome = "beats each of them alone" if summary["is_better"] else "does not beat each of them alone"
    lines = [_row("accuracy", columns), _row("---", ["---"] * len(columns))]
    lines += [_row(name, [cell(accuracy[name][column]) for column in columns]) for name in accuracy]
    known = ", ".join(f"{name} for {number}" for name, number in filled.items() if name != "rows")
    parts = [
        "# Real pictures: does the picture help the text, and the text the picture?",
        f"Learned from scratch on {filled['rows']} real paintings, picture and text together {outcome}: "
        f"{' and '.join(sentences)}.",
        f"In per cent, mean and standard deviation over {len(runs)} folds, a model for each row, by "
        f"`{results['recipe']}`:",
        "\n".join(lines),
        f"The catalogue, `{results['release']}`, has {filled['rows']} rows, and most of its cells are empty: there is "
        f"{known}. The text is title and description. Each fold learns its labels from its own rows; a task's "
        "accuracy counts the rows whose label is known.",
        "One checkpoint that was trained on both, shown one alone, has a mean accuracy of "
        + " and ".join(
            f"{100 * sum(run['one_checkpoint'][name] for run in runs) / len(runs):.1f} by {name}"
            for name in ("image", "text")
        )
        + ".",
    ]
    if not summary["is_better"]:
        parts.append(
            "Why not: a tower that starts from scratch learns little of what a picture shows from three hundred of "
            "them, whereas titles name their subject. Deviations between folds of some 80 paintings, fewer of them "
            "labelled, are larger than what is to be measured."
        )
    parts.append(_circumstances(results, "python scripts/prove.py pictures --release FOLDER"))
    return "\n\n".join(parts) + "\n"


CARDS_BY_PART: dict[str, Callable[[Mapping[str, Any]], str]] = {"text": text_card, "pictures": pictures_card}


def _row(name: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


def _points(gain: Mapping[str, float]) -> str:
    return f"{100 * gain['mean']:+.1f}"


def _choices(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The settings that were chosen for each task, in the order of the seeds."""
    by_task = []
    for task in runs[0]["tfidf"][metric]["chosen"]:
        chosen = [run["tfidf"][metric]["chosen"][task] for run in runs]
        numbers = ", ".join(f"{one['C']:g}{' balanced' if one['class_weight'] else ''}" for one in chosen)
        by_task.append(f"{task} {numbers}")
    return "; ".join(by_task)


def _circumstances(results: Mapping[str, Any], command: str) -> str:
    environment = results["environment"]
    changed = f", with {results['fields']} instead of the recipe's" if results["fields"] else ""
    return (
        f"`{command}`{changed}: {results['processor_seconds'] / 60:.1f} minutes of processor time on "
        f"{environment['processor']}, {environment['cores']} cores; torch {environment['torch']}, transformers "
        f"{environment['transformers']}, scikit-learn {environment['scikit-learn']}, commit {environment['commit']}. "
        "Written by `scripts/prove.py` from its results in `scripts/proofs/results/`."
    )
