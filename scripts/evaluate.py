"""Score a model on a split: `python scripts/evaluate.py --model DIR --data DIR --split test --output_dir OUT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(description="Score a model on a split of paintings and write results.json.")
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--data", required=True, help="SemArt release, prepared folder, CSV file, or name on the Hub")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output_dir", required=True, type=Path, help="where results.json is written")
    parser.add_argument("--batch_size", type=int, default=32, help="paintings at a time (default: 32)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that read pictures (default: none)")
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)

    # After the command line is understood, so that --help and a wrong flag answer at once.
    from transformers import AutoModel, AutoProcessor

    import semart_hf  # noqa: F401  registers the model's classes
    from semart_hf.data.loading import load_paintings
    from semart_hf.evaluation.results import ceilings_of, describe_environment, evaluate_model, write_json

    model = AutoModel.from_pretrained(options.model)
    processor = AutoProcessor.from_pretrained(options.model)
    splits = load_paintings(options.data, tasks=model.config.tasks)
    if options.split not in splits:
        raise ValueError(
            f"Got the split {options.split!r}. {options.data} has {list(splits)}. Pass --split with one of these."
        )
    measured = evaluate_model(
        model,
        processor,
        splits[options.split],
        ceilings=ceilings_of(options.data),
        batch_size=options.batch_size,
        device=options.device,
        num_workers=options.num_workers,
        show_progress=True,
    )
    results = {
        "model": options.model,
        "data": options.data,
        "split": options.split,
        "num_rows": measured["num_rows"],
        "seconds": measured["seconds"],
        "environment": describe_environment(),
        **measured,
    }
    path = options.output_dir / "results.json"
    write_json(path, results)
    print_scores(results)
    print(f"Written to {path}")


def print_scores(results: dict[str, Any]) -> None:
    """A table of the scores with everything shown, then one of the accuracies with each modality."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{results['model']} on {results['num_rows']} paintings ({results['split']})")
    columns = ("accuracy", "macro_f1", "weighted_f1")
    for name in ("task", "rows", *columns, "accuracy without UNK"):
        table.add_column(name.replace("_f1", " F1"), justify="left" if name == "task" else "right")
    for task, scores in results["tasks"].items():
        without_unk = scores.get("without_unk", {}).get("accuracy")
        cells = [percent(scores[name]) for name in columns]
        table.add_row(task, str(scores["num_rows"]), *cells, percent(without_unk))
    table.add_section()
    table.add_row("mean", "", percent(results["mean_accuracy"]), percent(results["mean_macro_f1"]), "", "")
    console.print(table)

    modalities = Table(title="Accuracy by what the model is shown")
    modalities.add_column("shown")
    for task in (*results["tasks"], "mean"):
        modalities.add_column(task, justify="right")
    for modality, scored in results["modalities"].items():
        accuracies = {task: scores["accuracy"] for task, scores in scored["tasks"].items()}
        accuracies["mean"] = scored["mean_accuracy"]
        modalities.add_row(modality, *map(percent, accuracies.values()))
        if "ceiling" in scored:
            modalities.add_row(
                "  ceiling", *[percent(scored["ceiling"].get(task)) for task in accuracies], style="dim"
            )
    console.print(modalities)


def percent(fraction: float | None) -> str:
    """A fraction in percent with one decimal; a dash where there is none."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
