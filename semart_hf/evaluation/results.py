"""results.json: what a model reaches on a split, with every modality, and where that was measured."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import semart_hf
from semart_hf.catalogue.release import MINIATURE_FILE

from .intervals import NUM_RESAMPLES, bootstrap_intervals
from .metrics import score_outcomes
from .outcomes import Outcomes
from .predictions import MODALITIES, Predictions, predict_batches

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor

PACKAGES = ("torch", "transformers", "timm", "datasets", "evaluate", "scikit-learn", "semart-hf")


def evaluate_model(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The measured part of results.json: `num_rows`, `seconds`, the scores, and the same scores for each modality.

    The dataset and the options are those of `predict_batches`, `ceilings` what `ceilings_of` returns.

    Raises:
        ValueError: The dataset is empty, has no known label, or the model answered with NaN.
    """
    start, unreadable = time.perf_counter(), dict[str, str]()
    outcomes = collect_outcomes(
        model, processor, dataset, on_batch=lambda batch: unreadable.update(batch.unreadable), **options
    )
    return summarize(outcomes, unreadable, ceilings=ceilings, seconds=time.perf_counter() - start)


def collect_outcomes(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    dataset: Dataset,
    *,
    on_batch: Callable[[Predictions], None] | None = None,
    **options: Any,
) -> dict[str, Outcomes]:
    """Modality to outcomes, all of them for all rows: a painting without a picture has nothing to show to `image`.

    Data with the column `text_masked` is also scored with it in place of the text. `on_batch` is called with each
    batch that saw picture and text; further options are those of `predict_batches`.
    """
    present = present_modalities(dataset)
    views = {modality: (dataset, modality) for modality in (MODALITIES if len(present) == 2 else MODALITIES[:1])}
    if "text_masked" in dataset.column_names and "text" in present:
        masked = dataset.remove_columns("text").rename_column("text_masked", "text")
        views |= {"image+masked text": (masked, "image+text")} if "image" in present else {}
        views |= {"masked text": (masked, "text")}
    collected = {}
    for name, (view, modality) in views.items():
        collected[name] = Outcomes(model.config.tasks)
        for batch in predict_batches(model, processor, view, modality=modality, **options):
            collected[name].add(batch.probabilities(model.config.temperatures), batch.references)
            if on_batch is not None and name == MODALITIES[0]:
                on_batch(batch)
    for modality in present:
        # With a single modality in the data, both together are that modality.
        collected.setdefault(modality, collected[MODALITIES[0]])
    return collected


def summarize(
    outcomes: Mapping[str, Outcomes],
    unreadable: Mapping[str, str] | None = None,
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    seconds: float,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """What `evaluate_model` returns, from the outcomes by modality and the pictures that could not be read."""
    modalities: dict[str, dict[str, Any]] = {}
    for modality, collected in outcomes.items():
        if modalities and not any(len(collected.task(name).known().references) for name in collected.task_names):
            continue  # every labelled painting's picture is unreadable: the other views are scored all the same
        scores = score_outcomes(collected)
        _add_intervals(scores, bootstrap_intervals(collected, num_resamples=num_resamples))
        modalities[modality] = scores
        if ceilings and modality in ceilings:
            scores["ceiling"] = dict(ceilings[modality])
    both = modalities[MODALITIES[0]]
    top = ("tasks", "mean_accuracy", "mean_macro_f1", "exact_match", "intervals")
    return {
        "num_rows": both["num_rows"],
        "seconds": round(seconds, 2),
        **{name: both[name] for name in top},
        "unreadable_pictures": [
            # A picture's name and not its folder: results are published.
            {"row_id": name, "error": re.sub(r"'[^']*[/\\]([^'/\\]+)'", r"'\1'", error)}
            for name, error in (unreadable or {}).items()
        ],
        "modalities": {
            modality: {name: value for name, value in scores.items() if name != "num_rows"}
            for modality, scores in modalities.items()
        },
    }


def _add_intervals(scores: dict[str, Any], intervals: Mapping[str, list[float]]) -> None:
    for task, task_scores in scores["tasks"].items():
        found = {name: intervals[f"{task}_{name}"] for name in task_scores if f"{task}_{name}" in intervals}
        if found:
            task_scores["intervals"] = found
    scores["intervals"] = {name: intervals[name] for name in scores if name in intervals}


def present_modalities(dataset: Dataset) -> list[str]:
    """`image` and `text`, as far as at least one painting has one."""
    return [
        modality
        for modality in ("image", "text")
        if modality in dataset.column_names
        and any(
            _has_any(batch[modality], modality)
            for batch in dataset.select_columns([modality]).with_format("arrow").iter(1000)
        )
    ]


def _has_any(column: Any, modality: str) -> bool:
    if modality == "image":
        return column.null_count < len(column)
    return any(text and text.strip() for text in column.to_pylist())


def ceilings_of(data: str | Path) -> dict[str, dict[str, float]] | None:
    """The best reachable accuracies by modality and task, where the data's folder states them in ceiling.json."""
    return _read_json(Path(data) / MINIATURE_FILE)


def describe_training_data(data: str | Path) -> dict[str, Any]:
    """The value of `config.training_data` for a model trained on this data.

    The painted miniature comes with a file of its ceilings; the summary of a folder that was prepared of it says so.
    """
    folder = Path(data).parent if Path(data).is_file() else Path(data)
    is_miniature = (folder / MINIATURE_FILE).is_file() or bool(
        (_read_json(folder / "summary.json") or {}).get("is_painted_miniature")
    )
    return {"name": Path(str(data)).name or str(data), "is_painted_miniature": is_miniature}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except json.JSONDecodeError as error:
        raise ValueError(f"Got {path}, which is no JSON: {error}. Correct or remove it.") from error


def describe_environment() -> dict[str, Any]:
    """What the figures were measured with: Python, platform, processor, cores, package versions and commit."""
    environment: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": os.cpu_count(),
    }
    if torch.cuda.is_available():
        environment["gpu"] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            environment[package] = version(package)
        except PackageNotFoundError:
            environment[package] = None
    return environment | {"commit": _package_commit()}


def _processor_name() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _package_commit() -> str | None:
    """The commit of the checkout that the package runs from, with `-dirty` after local changes; None elsewhere."""
    checkout = Path(semart_hf.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
