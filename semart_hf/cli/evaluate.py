"""Score a model on a split: semart-hf evaluate --model DIR --data DIR --split test --output_dir OUT."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .command import command, load_model, print_table

#: What an evaluation writes into its folder.
OUTPUTS = ("predictions.parquet", "results.json", "report.html")


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
    if options.output_dir.resolve() == Path(options.model).resolve():
        raise ValueError(
            f"Got {options.output_dir} as --model and as --output_dir: the training's results would be overwritten. "
            "Two folders are needed. Give another --output_dir."
        )

    # After the command line is understood, so that --help and a wrong flag answer at once.
    from semart_hf.evaluation.calibration import check_can_store, store_temperatures

    check_output(options.output_dir)
    if options.calibrate:
        check_can_store(options.model)
    model, processor = load_model(options.model)
    paintings = load(options, model, options.split)
    check_labelled(options, model, paintings)
    other = read_other(options, model, paintings) if options.compare else None
    if options.mask_label_words:
        paintings = with_masked_text(paintings)
    is_new = not options.output_dir.exists()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    try:
        # Within the folder: only there is it certain that files can be written and moved.
        with TemporaryDirectory(dir=options.output_dir, prefix=".unfinished.") as unfinished:
            results = evaluate(options, model, processor, paintings, Path(unfinished), other)
            written = move_files(Path(unfinished), options.output_dir)
    except BaseException:
        if is_new:
            with suppress(OSError):  # another process has written into it
                options.output_dir.rmdir()
        raise
    # The last act: a model is calibrated by an evaluation that has succeeded, or stays as it was.
    if options.calibrate:
        store_temperatures(options.model, model.config.temperatures)
    print_scores(results, model.config.training_notice)
    print("Written:", ", ".join(map(str, written)))


def check_output(folder: Path) -> None:
    """Refuse a folder in which files that are no evaluation would be overwritten.

    Raises:
        ValueError: The folder holds such files.
    """
    from semart_hf.evaluation.predictions_file import is_predictions_file

    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Got the --output_dir {folder}, which is a file. A folder is needed. Give another name.")
    found = [name for name in OUTPUTS if (folder / name).exists()]
    if found and not is_predictions_file(folder / "predictions.parquet"):
        raise ValueError(
            f"Got the --output_dir {folder}, which holds {found} of something else than an evaluation. Allowed is a "
            "new folder, or an earlier evaluation, which is replaced. Give another --output_dir."
        )


def move_files(source: Path, folder: Path) -> list[Path]:
    """The files of a finished evaluation, each moved to its place, where those of an earlier one go.

    What else lies in the folder stays.
    """
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for name in set(earlier_files(folder)) - set(files):
        (folder / name).unlink(missing_ok=True)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(folder / name)
    return list(dict.fromkeys(folder / name.parts[0] for name in files))


def earlier_files(folder: Path) -> list[Path]:
    """Names of the files that the evaluation in a folder may have written; none where there is no evaluation."""
    from semart_hf.evaluation.predictions_file import is_predictions_file, read_tasks

    if not is_predictions_file(folder / "predictions.parquet"):
        return []
    kinds = ("confusion", "f1", "periods", "reliability", "risk_coverage")
    figures = ["modalities", *(f"{kind}_{task['name']}" for kind in kinds for task in read_tasks(folder / OUTPUTS[0]))]
    return [*map(Path, OUTPUTS), *(Path("figures", f"{name}.{kind}") for name in figures for kind in ("png", "svg"))]


def evaluate(
    options: argparse.Namespace, model: Any, processor: Any, paintings: Any, folder: Path, other: Any = None
) -> dict[str, Any]:
    """What results.json holds; everything that an evaluation writes lies in the folder.

    Args:
        options: The command line's choices.
        model: What is evaluated.
        processor: Its own.
        paintings: What it is evaluated on.
        folder: Where the files go.
        other: What `read_other` returns.
    """
    from semart_hf.evaluation.calibration import describe_calibration, thresholds
    from semart_hf.evaluation.outcomes import Outcomes
    from semart_hf.evaluation.predictions_file import predictions_writer
    from semart_hf.evaluation.results import ceilings_of, collect_outcomes, describe_environment, summarize
    from semart_hf.files import write_json

    ceilings = ceilings_of(options.data)
    start, uncalibrated, unreadable = time.perf_counter(), Outcomes(model.config.tasks), dict[str, str]()
    calibrated = calibrate(options, model, processor) if options.calibrate else None
    temperatures = model.config.temperatures
    with predictions_writer(folder / "predictions.parquet", model.config.tasks) as write:

        def keep(batch: Any) -> None:
            write(batch, batch.probabilities(temperatures))
            uncalibrated.add(batch.probabilities(), batch.references)
            unreadable.update(batch.unreadable)

        outcomes = collect_outcomes(model, processor, paintings, on_batch=keep, **loop_options(options))
    seconds = time.perf_counter() - start
    measured = summarize(outcomes, unreadable, ceilings=ceilings, seconds=seconds)
    results = {
        "model": options.model,
        "data": options.data,
        "split": options.split,
        "num_rows": measured["num_rows"],
        "seconds": measured["seconds"],
        "environment": describe_environment(),
        **measured,
        "training_data": model.config.training_data,
        "thresholds": thresholds(outcomes["image+text"], options.split)
        if calibrated is None
        else thresholds(outcomes["image+text"], options.calibrate, calibrated),
    }
    if temperatures:
        results["calibration"] = {
            "fitted_on": options.calibrate,
            **describe_calibration(temperatures, uncalibrated, measured["tasks"]),
        }
    if other is not None:
        from semart_hf.evaluation.comparison import compare_outcomes

        second, name = other
        names = (Path(options.model).name, Path(name).name)
        names = names if names[0] != names[1] else (options.model, name)
        results["comparison"] = compare_outcomes(outcomes["image+text"], second, names=names)
    write_json(folder / "results.json", results)
    if not options.no_report:
        from semart_hf.documents.evaluation_report import explain_examples, write_evaluation_report

        both = outcomes["image+text"]
        write_evaluation_report(
            folder,
            results,
            both,
            paintings,
            uncalibrated=uncalibrated if "calibration" in results else None,
            explanations=explain_examples(model, processor, paintings, both, options.precision),
        )
    return results


def load(options: argparse.Namespace, model: Any, split: str) -> Any:
    """The paintings of a split, their labels numbered as in the model.

    Raises:
        ValueError: The labels are others, or most of the pictures that the split names cannot be read.
    """
    import datasets

    from semart_hf.data.readable import check_readable
    from semart_hf.evaluation.vocabularies import load_split, read_label_map

    recipe = trained_recipe(Path(options.model))
    columns = recipe.get("text_columns")
    paintings = load_split(
        options.data,
        split,
        model.config.tasks,
        label_map=read_label_map(options.map_labels) if options.map_labels else None,
        common_labels=options.common_labels,
        text_columns=options.text_columns or ([columns] if isinstance(columns, str) else columns),
    )
    # Data of texts alone name no picture, and are scored as such by a model that reads both.
    is_named = "image_file" in paintings.column_names and any(paintings["image_file"])
    shown = recipe.get("modality", "image+text")
    if len(paintings) and "image" in paintings.column_names and (shown == "image" or ("image" in shown and is_named)):
        undecoded = paintings.cast_column("image", datasets.Image(decode=False))
        check_readable(undecoded, split=split, modality="image", data=options.data)
    return paintings


def trained_recipe(model: Path) -> dict[str, Any]:
    """The fields of the recipe in the model's folder; empty where there is none."""
    import yaml

    path = model / "recipe.yaml"
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except yaml.YAMLError as error:
        raise ValueError(f"Got {path}, which is no YAML: {error}. Correct or remove it.") from error
    return recipe if isinstance(recipe, dict) else {}


def check_labelled(options: argparse.Namespace, model: Any, paintings: Any) -> None:
    """Refuse, before anything is computed, a split in which nothing can be scored.

    Raises:
        ValueError: It has no row, or no known label.
    """
    names = [name for name in model.config.task_names if name in paintings.column_names]
    if not any(label is not None for name in names for label in paintings[name]):
        raise ValueError(
            f"Got the split {options.split!r} of {options.data}: {len(paintings)} paintings without a known label of "
            f"{model.config.task_names}. At least one label is needed to score. Give a labelled split, or ask for "
            "answers alone: semart-hf predict."
        )


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
    """Fit the temperatures and use them from here on; returns that split's outcomes."""
    from semart_hf.evaluation.calibration import fit_temperatures
    from semart_hf.evaluation.predictions import predict_dataset

    predictions = predict_dataset(model, processor, load(options, model, options.calibrate), **loop_options(options))
    model.config.temperatures = fit_temperatures(predictions)
    return predictions.outcomes(model.config.temperatures)


def read_other(options: argparse.Namespace, model: Any, paintings: Any) -> tuple[Any, str]:
    """The outcomes in --compare and what their model is called; refused, before anything is computed, if of others.

    Raises:
        ValueError: The folder holds no predictions, those of other paintings or labels, or is the one that is written.
    """
    import numpy as np

    from semart_hf.evaluation.comparison import check_same_rows
    from semart_hf.evaluation.outcomes import Outcomes
    from semart_hf.evaluation.predictions import row_names
    from semart_hf.evaluation.predictions_file import read_predictions
    from semart_hf.model.output_semart import UNKNOWN_LABEL

    folder = options.compare
    if folder.resolve() == options.output_dir.resolve():
        raise ValueError(
            f"Got {folder} as --compare and as --output_dir: it would be overwritten. Two folders are needed. Give "
            "another --output_dir."
        )
    row_ids, others = read_predictions(folder / "predictions.parquet")
    if row_ids != row_names(paintings):
        raise ValueError(
            f"Got {folder} with other paintings, or in another order. Only the same can be compared. "
            "Evaluate both models with the same --data and --split."
        )
    names = model.config.task_names
    columns = [paintings[name] if name in paintings.column_names else [None] * len(row_ids) for name in names]
    truth = np.array([[UNKNOWN_LABEL if label is None else label for label in column] for column in columns]).T
    if others.task_names == names:
        # Of paintings whose picture could not be read, and that have no text, the labels do not count.
        found = np.stack([others.task(name).references for name in names], axis=1)
        truth = np.where(found == UNKNOWN_LABEL, UNKNOWN_LABEL, truth)
    expected = Outcomes(model.config.tasks)
    expected.add(np.zeros_like(truth), truth)
    check_same_rows(expected, others)
    try:
        name = json.loads((folder / "results.json").read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, TypeError, KeyError):
        name = folder
    return others, str(name)


def print_scores(results: dict[str, Any], notice: str | None) -> None:
    """A table of the scores with everything shown, one of the accuracies with each modality, and what to know."""
    from semart_hf.documents import result_tables
    from semart_hf.documents.table import as_cell

    title = f"{results['model']} on {results['num_rows']} paintings ({results['split']})"
    for table in (
        result_tables.score_table(results, result_tables.SHORT),
        result_tables.modality_table(results),
    ):
        rows = [
            ["\n".join(filter(None, (cell.text, cell.small))) for cell in map(as_cell, row)]
            for row in (*table.rows, table.total)
            if row
        ]
        print_table(table.header, rows[: len(table.rows)], title=title, total=(*rows[len(table.rows) :], None)[0])
        title = "By what the model is shown"
    for task, scores in results["tasks"].items():
        if not scores["num_rows"]:
            print(f"No painting has a known {task}; it is left out of the mean.")
        elif words := result_tables.single_label_words(task, scores):
            print(words)
    comparison = results.get("comparison", {}).get("in_words", [])
    for words in (
        result_tables.unreadable_words(results),
        result_tables.calibration_words(results),
        *comparison,
        notice,
    ):
        if words:
            print(words)


if __name__ == "__main__":
    main()
