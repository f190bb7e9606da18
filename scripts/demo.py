"""The end of `make demo`: three test paintings through the pipeline, and whether the evaluation reaches the goals."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semart_hf.cli.command import print_table
from semart_hf.documents.table import Table

# The share of its ceiling that the mean accuracy over the tasks reaches with each source, and by how much it must fall
# when one source is taken away: the miniature is made so that neither the picture nor the text suffices.
GOALS = {"image+text": 0.92, "image": 0.85, "text": 0.85}
LEAST_GAIN_OF_BOTH = 0.05


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Classify three test paintings, and check an evaluation.")
    parser.add_argument("--model", required=True, type=Path, help="folder of the trained model")
    parser.add_argument("--data", required=True, type=Path, help="release whose test split the paintings come from")
    parser.add_argument("--results", required=True, type=Path, help="results.json of `semart-hf evaluate`")
    parser.add_argument("--require_goals", action="store_true", help="exit with status 1 if a goal is missed")
    options = parser.parse_args(arguments)
    checked = list(check_goals(json.loads(options.results.read_text(encoding="utf-8"))))
    show_paintings(options.model, options.data)
    print("\n".join(words for words, _ in checked))
    print(f"data     {options.data}\nmodel    {options.model}\nresults  {options.results}")
    missed = [words for words, is_reached in checked if not is_reached]
    if missed and options.require_goals:
        raise SystemExit(f"demo.py: missed: {'; '.join(missed)}")


def show_paintings(model: Path, data: Path) -> None:
    """A table for each of the first three test paintings with a text: the likeliest labels beside the true ones."""
    from transformers import pipeline
    from transformers.utils import logging

    from semart_hf.data.loading import load_paintings

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    classify = pipeline("art-classification", model=str(model), trust_remote_code=True)
    test = load_paintings(data, tasks=classify.model.config.tasks)["test"].remove_columns("image")
    for painting in [painting for painting in test if painting["text"]][:3]:
        file = data / "Images" / painting["image_file"]
        rows = []
        for task, ranked in classify({"image": str(file), "text": painting["text"]}).items():
            truth = "–" if painting[task] is None else test.features[task].int2str(painting[task])
            rows.append((task, ranked[0]["label"], f"{ranked[0]['score']:.2f}", truth))
        title = f"{file.name}\n{painting['title']}"
        print_table(Table(("task", "predicted", "probability", "true"), rows, title, num_text_columns=4))


def check_goals(results: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """For each goal a sentence, and whether it is reached."""
    accuracy = {modality: results["modalities"][modality]["mean_accuracy"] for modality in GOALS}
    for modality, goal in GOALS.items():
        share = accuracy[modality] / results["modalities"][modality]["ceiling"]["mean"]
        yield f"{modality} reaches {share:.3f} of its ceiling, the goal is {goal}", share >= goal
        if modality != "image+text":
            gain = accuracy["image+text"] - accuracy[modality]
            words = f"image+text is {gain:.3f} better than {modality} alone, the goal is {LEAST_GAIN_OF_BOTH}"
            yield words, gain >= LEAST_GAIN_OF_BOTH


if __name__ == "__main__":
    main()
