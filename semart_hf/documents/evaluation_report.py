"""report.html of an evaluation, from the headline figures to the single paintings behind them, and its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from semart_hf.data.streaming import undecoded
from semart_hf.evaluation.explanations import explain
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import confusion_counts
from semart_hf.files import write_text
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from . import charts
from .explanation_page import LEGEND, shown_explanation
from .page import data_uri, render_page, shown_painting, title_of
from .result_tables import (
    calibration_table,
    label_table,
    modality_table,
    result_notes,
    retrieval_table,
    retrieval_words,
    score_table,
    task_notes,
    threshold_table,
)
from .table import DASH, Table

ERRORS_PER_TASK = 12
PAINTINGS_PER_CELL = 6
# At about 6 kB a thumbnail the report stays below the size that a browser opens at once.
MAX_PAINTINGS = 1000
# A table of all pairs of more labels is neither opened by a browser nor read by anyone.
MOST_MATRIX_LABELS = 500

ConfusionCell = tuple[str, int, int]  # task, true label and predicted label


def write_evaluation_report(
    folder: Path,
    results: Mapping[str, Any],
    outcomes: Outcomes,
    paintings: Dataset,
    *,
    uncalibrated: Outcomes | None = None,
    explanations: Sequence[dict[str, Any]] = (),
) -> Path:
    """The path of `report.html`, made of what `write_evaluation` and `explain_examples` give, with `figures`."""
    errors, cells = choose_paintings(outcomes)
    rows = sorted({row for chosen in (*errors.values(), *cells.values()) for row in chosen})
    tasks = {task: outcomes.task(task) for task in results["tasks"]}
    known = {key: results[key] for key in ("model", "data", "split", "seconds")} | results["environment"]
    environment = [[key, DASH if value is None else str(value)] for key, value in known.items()]
    name = Path(results["model"]).name or results["model"]
    page = render_page(
        "evaluation.html",
        title=f"{name} on {results['num_rows']} paintings",
        name=name,
        results=results,
        notes=result_notes(results),
        scores=score_table(results),
        modalities=modality_table(results),
        retrieval=retrieval_table(results["retrieval"]) if "retrieval" in results else None,
        retrieval_words=retrieval_words,
        figures=draw_figures(folder / "figures", results, outcomes, uncalibrated),
        outcomes=tasks,
        counts={task: confusion_counts(tasks[task]) for task in matrix_tasks(outcomes)},
        most_labels=MOST_MATRIX_LABELS,
        errors=errors,
        cells=cells,
        shown={
            row: shown_painting(row, painting, f"row {row}")
            for row, painting in zip(rows, undecoded(paintings).select(rows), strict=True)
        },
        label_table=label_table,
        task_notes=task_notes,
        calibration=calibration_table(results["calibration"]) if "calibration" in results else None,
        thresholds=threshold_table(results["thresholds"]),
        legend=LEGEND,
        explanations=explanations,
        environment=Table(["", ""], environment, num_text_columns=2),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def draw_figures(
    folder: Path, results: Mapping[str, Any], outcomes: Outcomes, uncalibrated: Outcomes | None = None
) -> dict[str, str]:
    """Every chart that the outcomes allow, as PNG and SVG in the folder; name to address for `<img>`."""
    figures = {}
    stages = {"as trained": outcomes} if uncalibrated is None else {"as trained": uncalibrated, "calibrated": outcomes}
    for task in (task for task in outcomes.single() if results["tasks"][task]["num_rows"]):
        found = outcomes.task(task)
        if task in matrix_tasks(outcomes):
            figures[f"confusion_{task}"] = charts.draw_confusion(found, f"{task}: true against predicted")
        by_stage = {stage: collected.task(task) for stage, collected in stages.items()}
        figures[f"reliability_{task}"] = charts.draw_reliability(by_stage, task)
        figures[f"risk_coverage_{task}"] = charts.draw_risk_coverage(found, task)
    return {
        name: data_uri(charts.save_chart(figure, folder / name).encode(), "image/svg+xml")
        for name, figure in figures.items()
    }


def matrix_tasks(outcomes: Outcomes) -> list[str]:
    """Names of the tasks whose confusion matrix is shown."""
    return [task for task in outcomes.single() if outcomes.task(task).num_labels <= MOST_MATRIX_LABELS]


def choose_paintings(outcomes: Outcomes) -> tuple[dict[str, list[int]], dict[ConfusionCell, list[int]]]:
    """Rows to show, the most confident first: some errors of each task, and equally many of each confusion cell."""
    errors: dict[str, list[int]] = {}
    cells: dict[ConfusionCell, list[int]] = {}
    for name in outcomes.single():
        task = outcomes.task(name)
        columns = {"truth": task.references, "answer": task.predictions, "sure": np.nan_to_num(task.confidences)}
        known = pd.DataFrame(columns)[task.is_known].sort_values("sure", ascending=False, kind="stable")
        errors[name] = known.index[known["truth"] != known["answer"]][:ERRORS_PER_TASK].tolist()
        if name in matrix_tasks(outcomes):
            for (truth, answer), rows in known.groupby(["truth", "answer"], sort=False):
                cells[name, truth, answer] = rows.index[:PAINTINGS_PER_CELL].tolist()
    errors_first = sorted(cells, key=lambda cell: cell[1] == cell[2])[:MAX_PAINTINGS]
    depth = max(1, MAX_PAINTINGS // max(1, len(cells)))
    return errors, {cell: cells[cell][:depth] for cell in errors_first}


def explain_examples(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    paintings: Dataset,
    outcomes: Outcomes,
    precision: str = "auto",
) -> list[dict[str, Any]]:
    """A painting explained for each of the first four tasks, with a headline: right and wrong answers in turn."""
    examples: list[dict[str, Any]] = []
    used: set[int] = set()
    texts = paintings["text"] if "text" in paintings.column_names else [None] * len(paintings)
    has_text = np.array([bool(text and text.strip()) for text in texts], dtype=bool)
    for at, task in enumerate(outcomes.single()[:4]):
        found = outcomes.task(task)
        order = np.lexsort((-found.confidences, ~has_text, found.correct != (at % 2 == 0)))  # by the last key first
        left = (row for row in order.tolist() if row not in used and found.is_known[row])
        if (row := next(left, None)) is None:
            continue
        used.add(row)
        painting = undecoded(paintings)[row]
        given = {"image": painting.get("image"), "text": painting.get("text"), "precision": precision}
        try:
            explanation = explain(model, processor, task=task, **given)
        except ValueError:  # nothing of it can be read, or it has neither picture nor text
            continue
        truth = found.labels[found.references[row]]
        verdict = "rightly" if explanation.label == truth else f"but it is {truth}"
        by = f" by {painting['author']}" if painting.get("author") else ""
        answer = f"{task} {explanation.label}, {explanation.probability:.0%} sure, {verdict}"
        headline = f"{title_of(painting, f'row {row}')}{by}: {answer}"
        examples.append(shown_explanation(at, [explanation], headline))
    return examples
