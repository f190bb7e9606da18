"""results.json: what a model reaches on a split, with every modality, and where that was measured."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import semart_hf
from semart_hf.catalogue.release import MINIATURE_FILE
from semart_hf.files import write_json

from .calibration import fit_temperatures, risk_points, thresholds
from .comparison import compare_outcomes
from .intervals import NUM_RESAMPLES, bootstrap_intervals
from .outcomes import Outcomes
from .predictions import MODALITIES, Predictions, predict_batches, predict_dataset, predictions_writer
from .scores import score_outcomes

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor

PACKAGES = ("torch", "transformers", "timm", "datasets", "evaluate", "scikit-learn", "semart-hf")
BOTH = MODALITIES[0]


def evaluate_model(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The measured part of results.json: `num_rows`, `seconds`, the scores, and the same scores for each modality.

    The options are those of `predict_batches`, `ceilings` what `ceilings_of` returns.

    Raises:
        ValueError: The dataset is empty, has no known label, or the model answered with NaN.
    """
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
    **options: Any,
) -> tuple[dict[str, Any], Outcomes, Outcomes | None]:
    """Write predictions.parquet and results.json; options are those of `predict_batches`.

    Args:
        model: Gets the temperatures that are fitted, and the risks of its confidences.
        about: `model`, `data` and `split`, as a reader knows them.
        calibration: Name and paintings of a split that temperatures are fitted on.
        compared: What `read_compared` returns.

    Returns:
        The results, the outcomes, and the outcomes without temperatures where there are temperatures.
    """
    config, ceilings = model.config, ceilings_of(about["data"])
    start, uncalibrated, choosing = time.perf_counter(), Outcomes(config.tasks), None
    if calibration is not None:
        predictions = predict_dataset(model, processor, calibration[1], **options)
        config.temperatures = fit_temperatures(predictions)
        if not config.temperatures:
            raise ValueError(
                f"Got the split {calibration[0]!r} with {len(predictions.references)} paintings, in which no task has "
                "two different labels. At least one task needs them to be calibrated. Give a larger split."
            )
        choosing = Outcomes(config.tasks)
        choosing.add(predictions.probabilities(config.temperatures), predictions.references)
        calibrated = {task: risk_points(choosing.task(task)) for task in config.temperatures}
        config.confidence_risks = {task: points for task, points in calibrated.items() if points}
    with predictions_writer(folder / "predictions.parquet", config.tasks) as write:

        def keep(batch: Predictions) -> None:
            write(batch, batch.probabilities(config.temperatures))
            uncalibrated.add(batch.probabilities(), batch.references)

        outcomes = collect_outcomes(model, processor, paintings, on_batch=keep, **options)
    both = outcomes[BOTH]
    measured = summarize(outcomes, ceilings=ceilings, seconds=time.perf_counter() - start)
    fitted_on = calibration[0] if calibration else None
    results = {
        **about,
        **{name: measured.pop(name) for name in ("num_rows", "seconds")},
        "environment": describe_environment(),
        **measured,
        "training_data": config.training_data,
        "thresholds": thresholds(both, fitted_on or about["split"], choosing or both),
    }
    if config.temperatures:
        results["calibration"] = {"fitted_on": fitted_on, "temperatures": dict(config.temperatures)}
        names = ("log_loss", "brier", "expected_calibration_error")
        for stage, tasks in (("before", score_outcomes(uncalibrated)["tasks"]), ("after", measured["tasks"])):
            results["calibration"][stage] = {
                task: {name: scores.get(name) for name in names} for task, scores in tasks.items()
            }
    if compared is not None:
        models = (about["model"], compared[1])
        short = (Path(models[0]).name, Path(models[1]).name)
        results["comparison"] = compare_outcomes(both, compared[0], names=models if short[0] == short[1] else short)
    write_json(folder / "results.json", results)
    return results, both, uncalibrated if config.temperatures else None


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
    views = {modality: (dataset, modality) for modality in (MODALITIES if len(present) == 2 else [BOTH])}
    if "text_masked" in dataset.column_names and "text" in present:
        masked = dataset.remove_columns("text").rename_column("text_masked", "text")
        views |= {"image+masked text": (masked, BOTH)} if "image" in present else {}
        views |= {"masked text": (masked, "text")}
    collected = {}
    for name, (view, modality) in views.items():
        outcomes = collected[name] = Outcomes(model.config.tasks)
        for batch in predict_batches(model, processor, view, modality=modality, **options):
            outcomes.add(batch.probabilities(model.config.temperatures), batch.references, batch.row_ids)
            outcomes.unreadable |= batch.unreadable
            if on_batch is not None and name == BOTH:
                on_batch(batch)
    for modality in present:
        # With a single modality in the data, both together are that modality.
        collected.setdefault(modality, collected[BOTH])
    return collected


def summarize(
    outcomes: Mapping[str, Outcomes],
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    seconds: float,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """What `evaluate_model` returns, from the outcomes by modality."""
    modalities: dict[str, dict[str, Any]] = {}
    for modality, collected in outcomes.items():
        if modalities and not any(collected.task(name).is_known.any() for name in collected.task_names):
            continue  # every labelled painting's picture is unreadable
        scores = modalities[modality] = score_outcomes(collected)
        del scores["num_rows"]
        intervals = bootstrap_intervals(collected, num_resamples=num_resamples)
        for task, found in scores["tasks"].items():
            spans = {name: intervals[f"{task}_{name}"] for name in found if f"{task}_{name}" in intervals}
            found |= {"intervals": spans} if spans else {}
        scores["intervals"] = {name: intervals[name] for name in scores if name in intervals}
        if ceilings and modality in ceilings:
            scores["ceiling"] = dict(ceilings[modality])
    both = modalities[BOTH]
    return {
        "num_rows": outcomes[BOTH].num_rows,
        "seconds": round(seconds, 2),
        **{name: both[name] for name in ("tasks", "mean_accuracy", "mean_macro_f1", "exact_match", "intervals")},
        "unreadable_pictures": [
            # A picture's name and not its folder: results are published.
            {"row_id": name, "error": re.sub(r"'[^']*[/\\]([^'/\\]+)'", r"'\1'", error)}
            for name, error in outcomes[BOTH].unreadable.items()
        ],
        "modalities": modalities,
    }


def present_modalities(dataset: Dataset) -> list[str]:
    """`image` and `text`, as far as at least one painting has one."""
    present = []
    for modality in ("image", "text"):
        if modality in dataset.column_names:
            batches = dataset.select_columns([modality]).with_format("arrow").iter(1000)
            columns = (batch[modality].drop_null() for batch in batches)
            if any(len(c) if modality == "image" else any(map(str.strip, c.to_pylist())) for c in columns):
                present.append(modality)
    return present


def ceilings_of(data: str | Path) -> dict[str, dict[str, float]] | None:
    """The best reachable accuracies by modality and task, where the data's folder states them in ceiling.json."""
    return _read_json(Path(data) / MINIATURE_FILE)


def describe_training_data(data: str | Path) -> dict[str, Any]:
    """The value of `config.training_data`; the miniature has a file of ceilings, a summary says what came of it."""
    folder = Path(data).parent if Path(data).is_file() else Path(data)
    summary = _read_json(folder / "summary.json") or {}
    is_miniature = (folder / MINIATURE_FILE).is_file() or bool(summary.get("is_painted_miniature"))
    return {"name": Path(data).name or str(data), "is_painted_miniature": is_miniature}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except json.JSONDecodeError as error:
        raise ValueError(f"Got {path}, which is no JSON: {error}. Correct or remove it.") from error


def describe_environment() -> dict[str, Any]:
    """What the figures were measured with: Python, platform, processor, cores, package versions and commit."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    processor = re.search(r"^model name\s*: (.*)$", text, flags=re.MULTILINE)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor[1].strip() if processor else platform.processor() or None,
        "cores": os.cpu_count(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        **versions,
        "commit": _package_commit(),
    }


def _package_commit() -> str | None:
    """The commit of the checkout that the package runs from; None elsewhere."""
    checkout = Path(semart_hf.__file__).parents[1]
    if (checkout / ".git").exists():
        command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
        with suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    return None
