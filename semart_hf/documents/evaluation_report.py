"""report.html of an evaluation, from the headline figures to the single paintings behind them, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Image

from semart_hf.catalogue.timeframe import label_years
from semart_hf.catalogue.vocabulary import UNKNOWN
from semart_hf.evaluation.explanations import explain
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import confusion_counts
from semart_hf.files import write_text
from semart_hf.model.output_semart import UNKNOWN_LABEL

from . import evaluation_charts as charts
from .chart_style import save_chart
from .explanation_page import LEGEND, shown_explanation
from .gallery import Gallery, choose_paintings
from .matrix import matrix_of
from .page import data_uri, render_page
from .result_tables import (
    calibration_table,
    calibration_words,
    modality_table,
    score_table,
    single_label_words,
    threshold_table,
    training_words,
    unreadable_words,
)
from .table import DASH, Table, percent
from .thumbnails import ShownPainting, to_jpeg

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor


def write_evaluation_report(
    folder: Path,
    results: Mapping[str, Any],
    outcomes: Outcomes,
    paintings: Dataset,
    *,
    uncalibrated: Outcomes | None = None,
    explanations: Sequence[dict[str, Any]] = (),
) -> Path:
    """The path of `report.html` in the folder; its charts lie as PNG and SVG in `figures` beside it.

    Args:
        folder: Where results.json lies.
        results: What it holds.
        outcomes: Those of image and text.
        paintings: The dataset that was evaluated.
        uncalibrated: The outcomes without temperatures, where there are some.
        explanations: What `explain_examples` returns.
    """
    figures = draw_figures(folder / "figures", results, outcomes, uncalibrated)
    gallery = choose_paintings(outcomes)
    shown = _Paintings(paintings, gallery.rows)
    name = Path(results["model"]).name or results["model"]
    page = render_page(
        "evaluation.html",
        title=f"{name} on {results['num_rows']} paintings",
        name=name,
        results=results,
        summary=_summary(results),
        notes=list(filter(None, (words(results) for words in (unreadable_words, calibration_words, training_words)))),
        scores=score_table(results),
        score_note=_score_note(results),
        modalities=modality_table(results),
        figures={name: data_uri(path.read_bytes(), "image/svg+xml") for name, path in figures.items()},
        tasks=[_task(task, results["tasks"][task], outcomes, gallery, shown) for task in results["tasks"]],
        calibration=calibration_table(results["calibration"]) if "calibration" in results else None,
        thresholds=threshold_table(results["thresholds"]),
        threshold_words=_threshold_words(results),
        legend=LEGEND,
        explanations=explanations,
        environment=Table(
            ["", ""],
            [
                [key, DASH if value is None else str(value)]
                for key, value in {
                    **{key: results[key] for key in ("model", "data", "split", "seconds")},
                    **results["environment"],
                }.items()
            ],
            num_text_columns=2,
        ),
        pictures=shown.pictures,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def draw_figures(
    folder: Path, results: Mapping[str, Any], outcomes: Outcomes, uncalibrated: Outcomes | None = None
) -> dict[str, Path]:
    """Every chart that the outcomes allow as PNG and SVG in the folder; name to SVG."""
    files: dict[str, Path] = {}

    def save(name: str, figure: Any) -> None:
        files[name] = save_chart(figure, folder / name)[1]

    for task, scores in results["tasks"].items():
        if not scores["num_rows"]:
            continue
        found = outcomes.task(task)
        before = {} if uncalibrated is None else {"as trained": uncalibrated.task(task)}
        save(f"confusion_{task}", charts.draw_confusion(found, f"{task}: true against predicted"))
        save(f"f1_{task}", charts.draw_f1_bars(scores["per_label"], f"{task}: F1 of each label"))
        if label_years(found.labels) is not None:
            save(f"periods_{task}", charts.draw_period_errors(found, f"{task}: how far off"))
        stages = {**before, "calibrated" if before else "as trained": found}
        save(f"reliability_{task}", charts.draw_reliability(stages, task))
        save(f"risk_coverage_{task}", charts.draw_risk_coverage(found, task))
    save("modalities", charts.draw_modalities(results["modalities"]))
    return files


def explain_examples(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    paintings: Dataset,
    outcomes: Outcomes,
    precision: str = "auto",
) -> list[dict[str, Any]]:
    """One painting explained for each of the first four tasks: right and wrong answers in turn, with their headlines.

    Taken are the most confident answers about paintings that have a description, where any has one.
    """
    examples: list[dict[str, Any]] = []
    used: set[int] = set()
    undecoded = paintings.cast_column("image", Image(decode=False)) if "image" in paintings.column_names else paintings
    texts = paintings["text"] if "text" in paintings.column_names else [None] * len(paintings)
    has_text = np.array([bool(text and text.strip()) for text in texts], dtype=bool)
    for at, task in enumerate(outcomes.task_names[:4]):
        found = outcomes.task(task)
        is_known = found.references != UNKNOWN_LABEL
        is_wanted = is_known & (found.correct if at % 2 == 0 else ~found.correct)
        is_wanted = is_wanted if is_wanted.any() else is_known
        is_wanted = is_wanted & has_text if (is_wanted & has_text).any() else is_wanted
        order = np.argsort(-np.where(is_wanted, found.confidences, -1), kind="stable")
        row = next((int(row) for row in order if is_wanted[row] and int(row) not in used), None)
        if row is None:
            continue
        used.add(row)
        painting = undecoded[row]
        try:
            explanation = explain(
                model,
                processor,
                image=painting.get("image"),
                text=painting.get("text"),
                task=task,
                precision=precision,
            )
        except ValueError:  # nothing of it can be read, or it has neither picture nor text
            continue
        truth = found.labels[found.references[row]]
        verdict = "rightly" if explanation.label == truth else f"but it is {truth}"
        title, author = _Paintings(paintings, [row], has_pictures=False).titles[row]
        by = f" by {author}" if author else ""
        headline = f"{title}{by}: {task} {explanation.label}, {explanation.probability:.0%} sure, {verdict}"
        examples.append(shown_explanation(at, [explanation], headline))
    return examples


class _Paintings:
    """Titles and thumbnails of some rows; one picture is in memory at a time."""

    def __init__(self, paintings: Dataset, rows: list[int], *, has_pictures: bool = True) -> None:
        names = [name for name in ("title", "author", "image_file") if name in paintings.column_names]
        cells = paintings.select_columns(names).select(rows) if names else [{} for _ in rows]
        self.titles = {
            row: (found.get("title") or found.get("image_file") or f"row {row}", found.get("author") or "")
            for row, found in zip(rows, cells, strict=True)
        }
        self.pictures: dict[int, bytes | None] = dict.fromkeys(rows)
        if has_pictures and "image" in paintings.column_names:
            images = paintings.select_columns(["image"]).cast_column("image", Image(decode=False))
            for row in rows:
                source = images[row]["image"]
                self.pictures[row] = None if source is None else to_jpeg(source)

    def wall(self, rows: Sequence[int], outcomes: Outcomes, task: str, *, with_truth: bool) -> list[ShownPainting]:
        found = outcomes.task(task)
        shown = []
        for row in rows:
            confidence = found.confidences[row]
            sure = "" if np.isnan(confidence) else f", {confidence:.0%} sure"
            lines = [f"is {found.labels[found.references[row]]}"] if with_truth else []
            lines.append(f"taken for {found.labels[found.predictions[row]]}{sure}")
            title, author = self.titles[row]
            shown.append(ShownPainting(row, self.pictures[row] is not None, title, author, lines))
        return shown


def _summary(results: Mapping[str, Any]) -> str:
    known = {task: scores["accuracy"] for task, scores in results["tasks"].items() if scores["num_rows"]}
    best, worst = max(known, key=lambda task: known[task]), min(known, key=lambda task: known[task])
    mean = percent(results["mean_accuracy"], results["intervals"]["mean_accuracy"])
    words = (
        f"On the {results['num_rows']} paintings of the {results['split']} split, {mean.text} % of the answers are "
        f"right in the mean over {len(known)} tasks (95 % interval {mean.small})"
    )
    if best != worst:
        words += f": best at {best} ({percent(known[best])} %), worst at {worst} ({percent(known[worst])} %)"
    return words + "."


def _score_note(results: Mapping[str, Any]) -> str:
    words = (
        f"Small figures are 95 % intervals from drawing the paintings again and again. {UNKNOWN}, the class of every "
        "label too rare to learn, is scored like any other, as in the SemArt literature; the last column leaves its "
        "paintings out."
    )
    if results.get("exact_match") is not None:
        words += f" All tasks are right at once for {percent(results['exact_match'])} % of the paintings"
        words += f" ({percent(results['exact_match'], results['intervals']['exact_match']).small})."
    return words


def _task(
    task: str, scores: Mapping[str, Any], outcomes: Outcomes, gallery: Gallery, shown: _Paintings
) -> dict[str, Any]:
    if not scores["num_rows"]:
        return {"name": task, "is_known": False}
    labels = outcomes.task(task).labels
    cells = []
    for (name, true, answer), rows in gallery.cells.items():
        if name == task:
            count = gallery.counts[name, true, answer]
            some = f" ({count})" if len(rows) == count else f", the {len(rows)} most confident of {count}"
            verdict = "rightly" if true == answer else f"{labels[true]}, but"
            cells.append(
                {
                    "anchor": f"cell-{task}-{true}-{answer}",
                    "title": f"{verdict} taken for {labels[answer]}{some}",
                    "wall": shown.wall(rows, outcomes, task, with_truth=False),
                }
            )
    return {
        "name": task,
        "is_known": True,
        "single_label": single_label_words(task, scores),
        "matrix": _confusion(task, outcomes),
        "cells": cells,
        "per_label": Table(
            ["label", "paintings", "precision %", "recall %", "F1 %"],
            [
                [label, found["support"], *(percent(found[score]) for score in ("precision", "recall", "f1"))]
                for label, found in scores["per_label"].items()
            ],
        ),
        "periods": _period_words(scores) if "within_one_period" in scores else "",
        "errors": shown.wall(gallery.errors[task], outcomes, task, with_truth=True),
    }


def _confusion(task: str, outcomes: Outcomes) -> dict[str, Any]:
    found = outcomes.task(task)
    order = charts.display_order(found)
    counts = confusion_counts(found)[np.ix_(order, order)]
    names = [found.labels[index] for index in order]
    return matrix_of(
        counts,
        names,
        names,
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
        corner="true ↓ answer →",
        anchor=lambda row, column: f"cell-{task}-{order[row]}-{order[column]}",
    )


def _period_words(scores: Mapping[str, Any]) -> str:
    if scores["within_one_period"] is None or scores["mean_absolute_error_periods"] is None:
        return "No painting has a date to measure from."
    return (
        f"{percent(scores['within_one_period'])} % are dated to the right period or the one beside it. The mean error "
        f"is {scores['mean_absolute_error_periods']:.2f} periods, {scores['mean_absolute_error_years']:.0f} years."
    )


def _threshold_words(results: Mapping[str, Any]) -> str:
    thresholds = results["thresholds"]
    words = (
        f"The lowest confidence from which {thresholds['target_accuracy']:.0%} of the answers are right, chosen on "
    )
    words += thresholds["chosen_on"]
    if thresholds["chosen_on"] == results["split"]:
        words += (
            ", the split that is scored here, which flatters it; choose it on validation with --calibrate validation"
        )
    return words + '. pipeline(…)(…, min_confidence={"type": …}) answers “unsure” below it.'
