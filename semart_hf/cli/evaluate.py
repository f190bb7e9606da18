"""Score a model on a split: semart-hf evaluate --model DIR --data DIR --split test --output_dir OUT."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from .command import command


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(prog="semart-hf evaluate", description="Score a model on a split of paintings.")
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument(
        "--data", required=True, help="SemArt release, prepared folder, CSV file, name on the Hub, or URL"
    )
    parser.add_argument("--split", type=split_name, default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output_dir", required=True, type=Path, help="where the results are written")
    parser.add_argument(
        "--calibrate",
        type=split_name,
        metavar="SPLIT",
        help="fit a temperature for each task on this split (validation) and store them in the model's config.json",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="DIR", help="an --output_dir of another model on the same paintings"
    )
    parser.add_argument(
        "--prepared_size",
        type=int,
        metavar="PIXELS",
        help="prepare a release's pictures with this shorter side, once, in the cache: faster if it is scored often "
        "(default: every painting is judged by its own file)",
    )
    parser.add_argument(
        "--text_columns",
        nargs="+",
        metavar="COLUMN",
        help="columns of the text (default: what the model's recipe.yaml names, else DESCRIPTION)",
    )
    parser.add_argument("--map_labels", type=Path, metavar="FILE", help='JSON: {"school": {"Flemish": "Dutch"}}')
    parser.add_argument(
        "--common_labels", action="store_true", help="score only the paintings whose label the model knows"
    )
    parser.add_argument(
        "--mask_label_words",
        action="store_true",
        help="also score with the words masked that name school, type, medium, time and painter in the text",
    )
    parser.add_argument("--no_report", action="store_true", help="leave out the figures and report.html")
    parser.add_argument("--batch_size", type=int, default=32, help="paintings at a time (default: 32)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that read pictures (default: none)")
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="what the model computes in (default: bf16 where the hardware multiplies in it)",
    )
    return parser.parse_args(arguments)


def split_name(name: str) -> str:
    """The split's name in the data; `val` is short for validation."""
    return {"val": "validation"}.get(name, name)


@command("evaluate")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)

    # After the command line is understood, so that --help and a wrong flag answer at once.
    from transformers import AutoModel, AutoProcessor

    import semart_hf  # noqa: F401  registers the model's classes
    from semart_hf.evaluation.outcomes import Outcomes
    from semart_hf.evaluation.predictions_file import PredictionsWriter
    from semart_hf.evaluation.results import (
        ceilings_of,
        collect_outcomes,
        describe_environment,
        summarize,
        write_json,
    )

    start = time.perf_counter()
    model = AutoModel.from_pretrained(options.model, trust_remote_code=False)
    processor = AutoProcessor.from_pretrained(options.model, trust_remote_code=False)
    paintings = load(options, model, options.split)
    if options.compare:
        check_comparable(options.compare, options.output_dir, paintings)
    if options.mask_label_words:
        paintings = with_masked_text(paintings)
    uncalibrated = Outcomes(model.config.tasks)
    calibrated = calibrate(options, model, processor) if options.calibrate else None
    temperatures = model.config.temperatures
    options.output_dir.mkdir(parents=True, exist_ok=True)
    with PredictionsWriter(options.output_dir / "predictions.parquet", model.config.tasks) as writer:

        def keep(batch: Any) -> None:
            writer.add(batch, batch.probabilities(temperatures))
            uncalibrated.add(batch.probabilities(), batch.references)

        outcomes = collect_outcomes(model, processor, paintings, on_batch=keep, **loop_options(options))
    measured = summarize(outcomes, ceilings=ceilings_of(options.data), seconds=time.perf_counter() - start)
    results = {
        "model": options.model,
        "data": options.data,
        **({} if options.prepared_size is None else {"prepared_size": options.prepared_size}),
        "split": options.split,
        "num_rows": measured["num_rows"],
        "seconds": measured["seconds"],
        "environment": describe_environment(),
        **measured,
        "thresholds": thresholds(options, outcomes["image+text"], calibrated),
    }
    if temperatures:
        results["calibration"] = calibration_results(options, temperatures, uncalibrated, measured["tasks"])
    # Written before the comparison too: what a long run measured is not lost with what it is set against.
    write_json(options.output_dir / "results.json", results)
    if options.compare:
        results["comparison"] = compare(options, outcomes["image+text"])
        write_json(options.output_dir / "results.json", results)
    if not options.no_report:
        present(options, model, processor, paintings, results, outcomes["image+text"], uncalibrated)
    print_scores(results)
    print("Written:", ", ".join(str(path) for path in sorted(options.output_dir.iterdir())))


def load(options: argparse.Namespace, model: Any, split: str) -> Any:
    """The paintings of a split, their labels numbered as in the model."""
    from semart_hf.evaluation.vocabularies import load_split, read_label_map

    return load_split(
        options.data,
        split,
        model.config.tasks,
        label_map=read_label_map(options.map_labels) if options.map_labels else None,
        common_labels=options.common_labels,
        prepared_size=options.prepared_size,
        text_columns=options.text_columns or trained_text_columns(Path(options.model)),
    )


def trained_text_columns(model: Path) -> list[str] | None:
    """The text's columns as the recipe in the model's folder names them; `None` where it names none."""
    import yaml

    recipe = model / "recipe.yaml"
    if not recipe.is_file():
        return None
    columns = (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("text_columns")
    return [columns] if isinstance(columns, str) else columns


def with_masked_text(paintings: Any) -> Any:
    """The paintings with the column `text_masked`, unless the data was prepared with one."""
    from semart_hf.catalogue.text import mask_label_words

    if "text_masked" in paintings.column_names:
        return paintings
    authors = paintings["author"] if "author" in paintings.column_names else [None] * len(paintings)
    masked = [mask_label_words(text, author=author) for text, author in zip(paintings["text"], authors, strict=True)]
    return paintings.add_column("text_masked", masked)


def loop_options(options: argparse.Namespace) -> dict[str, Any]:
    """How the model is run over paintings."""
    return {
        "batch_size": options.batch_size,
        "device": options.device,
        "num_workers": options.num_workers,
        "show_progress": True,
        "precision": options.precision,
    }


def calibrate(options: argparse.Namespace, model: Any, processor: Any) -> Any:
    """Fit the temperatures, store them in the model's folder, use them from here on; returns that split's outcomes."""
    from semart_hf.evaluation.calibration import fit_temperatures, store_temperatures
    from semart_hf.evaluation.predictions import predict_dataset

    if not (Path(options.model) / "config.json").is_file():
        raise ValueError(
            f"Got --calibrate for {options.model}, which is no local folder. Temperatures are stored in config.json. "
            "Download the model first (`hf download REPO --local-dir DIR`) and pass --model DIR."
        )
    predictions = predict_dataset(model, processor, load(options, model, options.calibrate), **loop_options(options))
    model.config.temperatures = fit_temperatures(predictions)
    store_temperatures(options.model, model.config.temperatures)
    return predictions.outcomes(model.config.temperatures)


def thresholds(options: argparse.Namespace, outcomes: Any, calibrated: Any) -> dict[str, Any]:
    """The confidence from which 95 % of a task's answers are right, and what it gives on the scored split."""
    from semart_hf.evaluation.calibration import TARGET_ACCURACY, accepted, confidence_threshold

    chosen_on = outcomes if calibrated is None else calibrated
    tasks: dict[str, Any] = {}
    for task in outcomes.task_names:
        threshold = confidence_threshold(chosen_on.of(task))
        tasks[task] = threshold and {
            "min_confidence": threshold["min_confidence"],
            **accepted(outcomes.of(task), threshold["min_confidence"]),
        }
    split = options.split if calibrated is None else options.calibrate
    return {"target_accuracy": TARGET_ACCURACY, "chosen_on": split, "tasks": tasks}


def calibration_results(
    options: argparse.Namespace, temperatures: dict[str, float], uncalibrated: Any, tasks: dict[str, Any]
) -> dict[str, Any]:
    """The temperatures, and what they change."""
    from semart_hf.evaluation.metrics import score_outcomes

    names = ("log_loss", "brier", "expected_calibration_error")
    before = score_outcomes(uncalibrated)["tasks"]
    return {
        "fitted_on": options.calibrate,
        "temperatures": dict(temperatures),
        **{
            when: {task: {name: scores.get(name) for name in names} for task, scores in scored.items()}
            for when, scored in (("before", before), ("after", tasks))
        },
    }


def check_comparable(other: Path, output_dir: Path, paintings: Any) -> None:
    """Refuse, before anything is computed, an evaluation of other paintings.

    Raises:
        ValueError: The folder holds no predictions, those of other paintings, or is the one that is written.
    """
    from semart_hf.evaluation.predictions import row_names
    from semart_hf.evaluation.predictions_file import read_row_ids

    if other.resolve() == output_dir.resolve():
        raise ValueError(
            f"Got {other} as --compare and as --output_dir: it would be overwritten. Two folders are needed. Give "
            "another --output_dir."
        )
    if read_row_ids(other / "predictions.parquet") != row_names(paintings):
        raise ValueError(
            f"Got {other} with other paintings, or in another order. Only the same can be compared. "
            "Evaluate both models with the same --data and --split."
        )


def compare(options: argparse.Namespace, outcomes: Any) -> dict[str, Any]:
    """This model against the one whose evaluation lies in --compare, on the same paintings."""
    from semart_hf.evaluation.comparison import compare_outcomes
    from semart_hf.evaluation.predictions_file import read_predictions

    _, others = read_predictions(options.compare / "predictions.parquet")
    path = options.compare / "results.json"
    other = json.loads(path.read_text(encoding="utf-8"))["model"] if path.is_file() else str(options.compare)
    names = (Path(options.model).name, Path(other).name)
    return compare_outcomes(outcomes, others, names=names if names[0] != names[1] else (options.model, other))


def present(
    options: argparse.Namespace,
    model: Any,
    processor: Any,
    paintings: Any,
    results: dict[str, Any],
    outcomes: Any,
    uncalibrated: Any,
) -> None:
    """Draw the figures and write the report."""
    from semart_hf.documents.presentation import draw_figures, explain_examples, write_report

    before = uncalibrated if "calibration" in results else None
    files = draw_figures(options.output_dir / "figures", results, outcomes, before)
    examples = explain_examples(model, processor, paintings, outcomes)
    write_report(options.output_dir / "report.html", results, outcomes, files, paintings, examples)


def print_scores(results: dict[str, Any]) -> None:
    """A table of the scores with everything shown, then one of the accuracies with each modality."""
    from rich.console import Console
    from rich.table import Table

    from semart_hf.documents.report import one_label_words

    console = Console()
    table = Table(title=f"{results['model']} on {results['num_rows']} paintings ({results['split']})")
    columns = ("accuracy", "macro_f1", "weighted_f1")
    for name in ("task", "rows", "accuracy", "95 %", "macro F1", "weighted F1", "accuracy without UNK"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task, scores in results["tasks"].items():
        accuracy, *others = [percent(scores[name]) for name in columns]
        span = " to ".join(map(percent, scores.get("intervals", {}).get("accuracy", [])))
        without_unk = scores.get("without_unk", {}).get("accuracy")
        table.add_row(task, str(scores["num_rows"]), accuracy, span, *others, percent(without_unk))
    table.add_section()
    span = " to ".join(map(percent, results["intervals"]["mean_accuracy"]))
    table.add_row("mean", "", percent(results["mean_accuracy"]), span, percent(results["mean_macro_f1"]), "", "")
    console.print(table)
    for task, scores in results["tasks"].items():
        if not scores["num_rows"]:
            console.print(f"No painting has a known {task}; it is left out of the mean.", markup=False)
        if "only_label" in scores:
            console.print(one_label_words(task, scores), markup=False)

    modalities = Table(title="Accuracy by what the model is shown")
    modalities.add_column("shown")
    for task in (*results["tasks"], "mean"):
        modalities.add_column(task, justify="right")
    for modality, scored in results["modalities"].items():
        accuracies = {task: scores["accuracy"] for task, scores in scored["tasks"].items()}
        accuracies["mean"] = scored["mean_accuracy"]
        modalities.add_row(modality, *map(percent, accuracies.values()))
        if "ceiling" in scored:
            ceilings = [percent(scored["ceiling"].get(task)) for task in accuracies]
            modalities.add_row("  ceiling", *ceilings, style="dim")
    console.print(modalities)
    for sentence in results.get("comparison", {}).get("in_words", []):
        console.print(sentence, markup=False, highlight=False)


def percent(fraction: float | None) -> str:
    """A fraction in percent with one decimal; a dash where there is none."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


if __name__ == "__main__":
    main()
