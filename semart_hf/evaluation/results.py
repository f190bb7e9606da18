"""The folder of an evaluation: what a model reaches on a split, with every modality, and where that was measured."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

import semart_hf
from semart_hf.catalogue.catalogue import MINIATURE_FILE
from semart_hf.data.collator import MODALITIES
from semart_hf.data.streaming import column_of, undecoded
from semart_hf.files import locked, output_folder, read_json, write_json
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .calibration import fit_temperatures, risk_points, thresholds, with_thresholds
from .comparison import compare_outcomes
from .outcomes import Outcomes
from .predictions import Predictions, open_predictions, predict_batches, predict_dataset, predictions_writer
from .retrieval import retrieval_scores
from .scores import score_outcomes, scores_with_intervals

PACKAGES = ("torch", "transformers", "timm", "datasets", "evaluate", "scikit-learn", "semart-hf")
BOTH = MODALITIES[0]
CALIBRATED = ("log_loss", "brier", "expected_calibration_error")
OWN_FILES = (
    "predictions.parquet", "results.json", "report.html",
    "figures/confusion_*", "figures/reliability_*", "figures/risk_coverage_*",
)  # fmt: skip


def evaluate_model(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The measured part of results.json: rows, seconds, machine, scores, by modality too; see `predict_batches`."""
    start = time.perf_counter()
    outcomes = collect_outcomes(model, processor, dataset, **options)
    return summarize(outcomes, ceilings=ceilings, seconds=time.perf_counter() - start)


def write_evaluation(
    folder: Path,
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    paintings: Dataset,
    *,
    about: Mapping[str, str],
    calibration: tuple[str, Dataset] | None = None,
    compared: tuple[Outcomes, str] | None = None,
    unseen: tuple[str, list[bool | None]] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], Outcomes, Outcomes | None]:
    """Write predictions.parquet and results.json; options are those of `predict_batches`.

    `about` has `model`, `data` and `split`, as a reader knows them; `calibration` the name and the paintings of a
    split that temperatures and risks are fitted on; `compared` is what `read_compared` returns; `unseen` a column and
    what `seen_values` returns for it: rows with values that train does not have are scored apart. Returned are the
    results, the outcomes, and those without temperatures where there are temperatures.
    """
    config, start, ceilings = model.config, time.perf_counter(), ceilings_of(about["data"])
    fitted_on = calibration[0] if calibration else None
    choosing = calibrate(model, processor, *calibration, **options) if calibration else None
    uncalibrated = Outcomes(config.tasks)
    vectors = []
    with predictions_writer(folder / "predictions.parquet", config.tasks) as write:

        def keep(batch: Predictions) -> None:
            if batch.vectors is not None:
                vectors.append(batch.vectors)
            write(batch, batch.probabilities(config.temperatures))
            uncalibrated.add(batch.probabilities(), batch.references)

        outcomes = collect_outcomes(model, processor, paintings, on_batch=keep, **options)
    both = outcomes[BOTH]
    measured = summarize(outcomes, ceilings=ceilings, seconds=time.perf_counter() - start)
    results = {
        **about,
        **measured,
        "training_data": config.training_data,
        "thresholds": thresholds(both, fitted_on or about["split"], choosing or both),
    }
    if vectors and (pairs := np.concatenate(vectors, axis=1)).any():
        reached: Any = dict((ceilings or {}).get("search", {})).get(about["split"])
        results["retrieval"] = retrieval_scores(pairs[0], pairs[1], list(paintings["text"]), ceilings=reached)
    if config.temperatures:
        results["calibration"] = {"fitted_on": fitted_on, "temperatures": dict(config.temperatures)}
        for stage, tasks in (("before", score_outcomes(uncalibrated)["tasks"]), ("after", measured["tasks"])):
            found = {task: {name: scores.get(name) for name in CALIBRATED} for task, scores in tasks.items()}
            results["calibration"][stage] = found
    if unseen is not None:
        results["unseen"] = unseen_scores(both, *unseen)
    if compared is not None:
        short = (Path(about["model"]).name, Path(compared[1]).name)  # without folders: results are published
        both_names = short if short[0] != short[1] else ("this model", "the other model")
        results["comparison"] = compare_outcomes(both, compared[0], names=both_names)
    write_json(folder / "results.json", results)
    return results, both, uncalibrated if config.temperatures else None


def calibrate(
    model: SemArtForArtClassification, processor: SemArtProcessor, split: str, paintings: Dataset, **options: Any
) -> Outcomes:
    """The calibrated outcomes of a split, on which the model's temperatures, thresholds and risks are fitted."""
    config, predictions = model.config, predict_dataset(model, processor, paintings, **options)
    config.temperatures = fit_temperatures(predictions)
    if not config.temperatures:
        raise ValueError(
            f"Got the split {split!r} with {len(predictions.references)} paintings, in which no task has two "
            "different labels. At least one task needs them to be calibrated. Give a larger split."
        )
    config.set_tasks(with_thresholds(config.tasks, predictions.outcomes(config.temperatures)))
    outcomes = replace(predictions, tasks=config.tasks).outcomes(config.temperatures)
    risks = {task: risk_points(outcomes.task(task)) for task in config.temperatures}
    config.confidence_risks = {task: points for task, points in risks.items() if points}
    return outcomes


def collect_outcomes(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    on_batch: Callable[[Predictions], None] | None = None,
    **options: Any,
) -> dict[str, Outcomes]:
    """Modality to the outcomes of all rows; with the column `text_masked`, also with it in place of the text.

    `on_batch` is called with each batch that saw picture and text; options are those of `predict_batches`.
    """
    present = present_modalities(dataset)
    alone = {modality: modality for modality in present} if len(present) == 2 else {}
    views = {BOTH: (dataset, alone)}  # with the names of what each modality alone gives
    if "text_masked" in dataset.column_names and "text" in present:
        masked = dataset.remove_columns("text").rename_column("text_masked", "text")
        views |= {"image+masked text": (masked, {"text": "masked text"})} if alone else {"masked text": (masked, {})}
    collected: dict[str, Outcomes] = {}
    for name, (view, alone) in views.items():
        for batch in predict_batches(model, processor, view, each_alone=bool(alone), **options):
            for key, part in {name: batch, **{alone[one]: batch.alone[one] for one in alone}}.items():
                outcomes = collected.setdefault(key, Outcomes(model.config.tasks))
                outcomes.add(part.probabilities(model.config.temperatures), part.references, part.row_ids)
                outcomes.unreadable |= part.unreadable
            if on_batch is not None and name == BOTH:
                on_batch(batch)
    for modality in present:
        # With a single modality in the data, both together are that modality.
        collected.setdefault(modality, collected[BOTH])
    return collected


def summarize(
    outcomes: Mapping[str, Outcomes], *, ceilings: Mapping[str, Mapping[str, float]] | None = None, seconds: float
) -> dict[str, Any]:
    """What `evaluate_model` returns, from the outcomes by modality."""
    modalities: dict[str, dict[str, Any]] = {}
    for modality, collected in outcomes.items():
        if modalities and not any(collected.task(name).is_known.any() for name in collected.task_names):
            continue  # every labelled painting's picture is unreadable
        scores = modalities[modality] = scores_with_intervals(collected)
        del scores["num_rows"]
        if ceilings and modality in ceilings:
            reached = scores["ceiling"] = dict(ceilings[modality])
            if {*reached} - {"mean"} != {*scores["tasks"]}:  # a mean over other tasks
                reached.pop("mean", None)
    both = modalities[BOTH]
    return {
        "num_rows": outcomes[BOTH].num_rows,
        "seconds": round(seconds, 2),
        "environment": describe_environment(),
        **{name: both[name] for name in ("tasks", "mean_accuracy", "mean_macro_f1", "exact_match", "intervals")},
        "unreadable_pictures": [
            # A picture's name and not its folder: results are published.
            {"row_id": name, "error": re.sub(r"""(['"])((?!\1).)*[/\\](((?!\1)[^/\\])+)\1""", r"\1\3\1", error)}
            for name, error in outcomes[BOTH].unreadable.items()
        ],
        "modalities": modalities,
    }


def present_modalities(dataset: Dataset) -> list[str]:
    """`image` and `text`, as far as at least one painting has one."""
    rows = undecoded(dataset)
    # One by one: the first is mostly enough, and pictures at full size are large.
    pictures = (row["image"] for row in rows.select_columns(["image"])) if "image" in rows.column_names else ()
    is_there = {"image": any(pictures), "text": any(text and text.strip() for text in column_of(rows, "text"))}
    return [name for name in is_there if is_there[name]]


def ceilings_of(data: str | Path) -> dict[str, dict[str, float]] | None:
    """The best reachable accuracies by modality and task, where the data's folder states them in ceiling.json."""
    return read_json(Path(data) / MINIATURE_FILE)


def describe_training_data(data: str | Path) -> dict[str, Any]:
    """The value of `config.training_data`; the miniature has a file of ceilings, a summary says what came of it."""
    folder = Path(data).parent if Path(data).is_file() else Path(data)
    summary = read_json(folder / "summary.json") or {}
    is_miniature = (folder / MINIATURE_FILE).is_file() or bool(summary.get("is_painted_miniature"))
    return {"name": Path(data).name or str(data), "is_painted_miniature": is_miniature}


def describe_environment() -> dict[str, Any]:
    """What the figures were measured with: Python, platform, processor, cores, package versions and commit."""
    versions = {package: next((one.version for one in distributions(name=package)), None) for package in PACKAGES}
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    processor = re.search(r"^model name\s*: (.*)$", text, flags=re.MULTILINE)
    checkout, commit = Path(semart_hf.__file__).parents[1], None
    if (checkout / ".git").exists():
        command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
        with suppress(OSError, subprocess.TimeoutExpired):
            commit = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor[1].strip() if processor else platform.processor() or None,
        "cores": os.cpu_count(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        **versions,
        "commit": commit,  # of the checkout that the package runs from
    }


@contextmanager
def evaluation_folder(folder: Path) -> Iterator[Path]:
    """An empty place to write an evaluation to, which takes the place of an earlier one when the block ends."""
    own_files: tuple[str, ...] = ()
    with suppress(ValueError):  # whatever else is there, no evaluation wrote it
        open_predictions(folder / "predictions.parquet")
        own_files = OWN_FILES
    with locked(folder, "an evaluation"), output_folder(folder, own_files, "evaluation") as place:
        yield place


def unseen_scores(outcomes: Outcomes, column: str, is_seen: list[bool | None]) -> dict[str, Any]:
    """How many rows have a value that train has, or none (`num_without`), and the scores of all others."""
    unseen, num_seen = outcomes.select(np.flatnonzero([one is False for one in is_seen])), is_seen.count(True)
    found: dict[str, Any] = {"by": column, "num_seen": num_seen, "num_without": is_seen.count(None)}
    found["num_rows"] = unseen.num_rows
    if any(unseen.task(name).is_known.any() for name in unseen.task_names):
        found |= scores_with_intervals(unseen)
    return found
