"""From outcomes to the figures and the report in the output folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datasets import Image
from tqdm.auto import tqdm

from semart_hf.catalogue.timeframe import label_years
from semart_hf.documents import figures
from semart_hf.evaluation.explanations import Explanation, explain
from semart_hf.evaluation.outcomes import MISSING, Outcomes

from .gallery import choose_paintings, thumbnails
from .report import ReportInputs, render_report

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor


def draw_figures(
    folder: Path, results: Mapping[str, Any], outcomes: Outcomes, uncalibrated: Outcomes | None = None
) -> dict[str, Path]:
    """Every figure that the outcomes allow as PNG and SVG in the folder; name to PNG."""
    files: dict[str, Path] = {}

    def save(name: str, figure: Any) -> None:
        files[name] = figures.save_figure(figure, folder / name)[0]

    for task, scores in results["tasks"].items():
        if not scores["num_rows"]:
            continue
        save(f"confusion_{task}", figures.draw_confusion(outcomes.of(task), f"{task}: true against predicted"))
        save(f"f1_{task}", figures.draw_f1_bars(scores["per_label"], f"{task}: F1 of each label"))
        if label_years(outcomes.of(task).labels) is not None:
            save(f"periods_{task}", figures.draw_period_errors(outcomes.of(task), f"{task}: how far off"))
    stages = {"as trained": outcomes} if uncalibrated is None else {"as trained": uncalibrated, "calibrated": outcomes}
    by_stage = {stage: {task: found.of(task) for task in found.task_names} for stage, found in stages.items()}
    save("reliability", figures.draw_reliability(by_stage, "How often answers of a given confidence are right"))
    last = list(by_stage.values())[-1]
    save("risk_coverage", figures.draw_risk_coverage(last, "Answering only when sure"))
    save("modalities", figures.draw_modalities(results["modalities"], "What each source is worth"))
    return files


def write_report(
    path: Path,
    results: Mapping[str, Any],
    outcomes: Outcomes,
    files: Mapping[str, Path],
    paintings: Dataset,
    explanations: list[tuple[str, Explanation]],
) -> None:
    """Write report.html, as a whole or not at all."""
    gallery = choose_paintings(outcomes)
    rows = gallery.rows
    shown = tqdm(thumbnails(paintings, rows), total=len(rows), desc="report", unit="painting", disable=len(rows) < 50)
    pictures = dict(shown)
    inputs = ReportInputs(results, outcomes, files, gallery, pictures, _titles(paintings, rows), explanations)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(render_report(inputs), encoding="utf-8")
    unfinished.replace(path)


def explain_examples(
    model: SemArtForArtClassification, processor: SemArtProcessor, paintings: Dataset, outcomes: Outcomes
) -> list[tuple[str, Explanation]]:
    """One painting explained for each of the first four tasks: right and wrong answers in turn, with their headlines.

    Taken are the surest of the paintings that have a picture, and a description where any has one.
    """
    examples: list[tuple[str, Explanation]] = []
    used: set[int] = set()
    undecoded = paintings.cast_column("image", Image(decode=False)) if "image" in paintings.column_names else paintings
    has_text = _have_text(paintings)
    for at, task in enumerate(outcomes.task_names[:4]):
        found = outcomes.of(task)
        is_known = found.references != MISSING
        is_wanted = is_known & (found.correct if at % 2 == 0 else ~found.correct)
        is_wanted = is_wanted if is_wanted.any() else is_known
        is_wanted = is_wanted & has_text if (is_wanted & has_text).any() else is_wanted
        order = np.argsort(-np.where(is_wanted, found.confidences, -1), kind="stable")
        row = next((int(row) for row in order if is_wanted[row] and int(row) not in used), None)
        if row is None:
            continue
        used.add(row)
        painting = undecoded[row]
        if painting.get("image") is None and not has_text[row]:
            continue
        explanation = explain(model, processor, image=painting.get("image"), text=painting.get("text"), task=task)
        truth = found.labels[found.references[row]]
        verdict = "rightly" if explanation.label == truth else f"but it is {truth}"
        title, author = _titles(paintings, [row])[row]
        by = f" by {author}" if author else ""
        headline = f"{title}{by}: {task} {explanation.label}, {explanation.probability:.0%} sure, {verdict}"
        examples.append((headline, explanation))
    return examples


def _have_text(paintings: Dataset) -> npt.NDArray[np.bool_]:
    """Whether each painting has a description (rows,), found without all of them in memory at once."""
    if "text" not in paintings.column_names:
        return np.zeros(len(paintings), dtype=bool)
    batches = paintings.select_columns(["text"]).iter(1000)
    return np.array([bool(text and text.strip()) for batch in batches for text in batch["text"]], dtype=bool)


def _titles(paintings: Dataset, rows: list[int]) -> dict[int, tuple[str, str]]:
    """Row to title and author; a painting without a title goes by its file or its number."""
    columns = [name for name in ("title", "author", "image_file") if name in paintings.column_names]
    chosen = paintings.select_columns(columns).select(rows) if columns else [{} for _ in rows]
    return {
        row: (painting.get("title") or painting.get("image_file") or f"row {row}", painting.get("author") or "")
        for row, painting in zip(rows, chosen, strict=True)
    }
