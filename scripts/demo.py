"""The end of `make demo`: three test paintings through the pipeline, and what the trained model reaches in a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semart_hf.cli.command import print_table

# The share of its ceiling that the mean accuracy over the tasks reaches with each source, and by how much it must fall
# when one source is taken away: the miniature is made so that neither the picture nor the text suffices.
GOALS = {"image+text": 0.92, "image": 0.85, "text": 0.85}
LEAST_GAIN_OF_BOTH = 0.05


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(description="Classify three test paintings and sum up an evaluation.")
    parser.add_argument("--model", required=True, type=Path, help="folder of the trained model")
    parser.add_argument("--data", required=True, type=Path, help="release whose test split the paintings come from")
    parser.add_argument("--results", required=True, type=Path, help="results.json of `semart-hf evaluate`")
    parser.add_argument("--require_goals", action="store_true", help="exit with status 1 if a goal is missed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    results = json.loads(options.results.read_text(encoding="utf-8"))

    show_paintings(options.model, options.data)
    show_scores(results)
    print(f"data     {options.data}\nmodel    {options.model}\nresults  {options.results}")
    missed = list(missed_goals(results))
    if missed and options.require_goals:
        raise ValueError("; ".join(missed))


def show_paintings(model: Path, data: Path) -> None:
    """A table for each of three test paintings, of three types: the likeliest labels beside the true ones."""
    from transformers import pipeline
    from transformers.utils import logging

    from semart_hf.data.loading import load_paintings

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    classify = pipeline("art-classification", model=str(model), trust_remote_code=True)
    test = load_paintings(data, tasks=classify.model.config.tasks)["test"]
    paintings = first_of_each(test, "type", classify.model.config.task_names, count=3)
    files = [data / "Images" / painting["image_file"] for painting in paintings]
    answers = classify(
        [{"image": str(file), "text": painting["text"]} for file, painting in zip(files, paintings, strict=True)]
    )

    for file, painting, answer in zip(files, paintings, answers, strict=True):
        rows = [
            (task, ranked[0]["label"], f"{ranked[0]['score']:.2f}", test.features[task].int2str(painting[task]))
            for task, ranked in answer.items()
        ]
        columns = ("task", "predicted", "probability", "true")
        print_table(columns, rows, title=f"{file}\n{painting['title']}", are_numbers=False)
    if notice := getattr(classify.model.config, "training_notice", None):
        print(notice)


def first_of_each(split: Any, task: str, others: Sequence[str], *, count: int) -> list[dict[str, Any]]:
    """The first rows with a text and a known label of every task, no two of them alike in the one task."""
    labels = {name: split[name] for name in (task, *others)}
    unknown = {name: (None, split.features[name].names.index("UNK")) for name in labels}
    chosen: dict[int, int] = {}
    for row, text in enumerate(split["text"]):
        known = all(column[row] not in unknown[name] for name, column in labels.items())
        if text and known and labels[task][row] not in chosen:
            chosen[labels[task][row]] = row
    return [split[row] for row in list(chosen.values())[:count]]


def show_scores(results: Mapping[str, Any]) -> None:
    """What the model reaches of its ceilings by what it is shown."""
    ceiling = results["modalities"]["image+text"].get("ceiling", {})
    rows = [
        (task, *map(decimals, (scores["accuracy"], scores["macro_f1"], ceiling.get(task))))
        for task, scores in results["tasks"].items()
    ]
    means = (results["mean_accuracy"], results["mean_macro_f1"], mean_ceiling(results, "image+text"))
    columns = ("task", "accuracy", "macro F1", "ceiling of accuracy")
    title = f"Picture and text, {results['num_rows']} test paintings"
    print_table(columns, rows, title=title, total=("mean", *map(decimals, means)))

    rows = []
    for modality, goal in GOALS.items():
        cells = (results["modalities"][modality]["mean_accuracy"], mean_ceiling(results, modality))
        shares = (*cells, share_of_ceiling(results, modality))
        rows.append((modality, *map(decimals, shares), f"{goal:.2f}"))
    columns = ("shown", "mean accuracy", "ceiling", "share of ceiling", "goal")
    print_table(columns, rows, title="The same model by what it is shown")


def missed_goals(results: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each goal that the results miss."""
    modalities = results["modalities"]
    for modality, goal in GOALS.items():
        share = share_of_ceiling(results, modality)
        if share is None or share < goal:
            yield f"{modality} reaches {decimals(share)} of its ceiling, the goal is {goal}"
        gain = modalities["image+text"]["mean_accuracy"] - modalities[modality]["mean_accuracy"]
        if modality != "image+text" and gain < LEAST_GAIN_OF_BOTH:
            yield f"image+text is {gain:.3f} better than {modality} alone, the goal is {LEAST_GAIN_OF_BOTH}"


def mean_ceiling(results: Mapping[str, Any], modality: str) -> float | None:
    """The mean over the tasks of the best reachable accuracies; `None` where one is not known."""
    ceiling = results["modalities"][modality].get("ceiling", {})
    reachable = [ceiling[task] for task in results["tasks"] if task in ceiling]
    return sum(reachable) / len(reachable) if len(reachable) == len(results["tasks"]) else None


def share_of_ceiling(results: Mapping[str, Any], modality: str) -> float | None:
    """The mean accuracy as a share of what is reachable; `None` where that is not known."""
    ceiling = mean_ceiling(results, modality)
    return results["modalities"][modality]["mean_accuracy"] / ceiling if ceiling else None


def decimals(fraction: float | None) -> str:
    """A fraction with three decimals; a dash where there is none."""
    return "–" if fraction is None else f"{fraction:.3f}"


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"demo.py: {error}") from error
