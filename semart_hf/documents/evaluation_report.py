"""report.html of an evaluation, from the headline figures to single paintings, and pages that explain answers."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasets import Dataset
from PIL import Image

from semart_hf.data.streaming import undecoded
from semart_hf.evaluation.explanations import Explanation, explain
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import confusion_counts
from semart_hf.files import write_text
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor

from . import charts, result_tables
from .page import render_page, shown_painting, title_of, to_jpeg
from .table import DASH, Table, signed

ERRORS_PER_TASK = 12
PAINTINGS_PER_CELL = 6
# At about 6 kB a thumbnail the report stays below the size that a browser opens at once.
MAX_PAINTINGS = 1000
# A table of all pairs of more labels is neither opened by a browser nor read by anyone.
MOST_MATRIX_LABELS = 500
# Pixels of the longer side of a painting on the page.
SHOWN_SIZE = 320
# Log odds: where no word says more, all are faint, because none of them mattered.
LEAST_FULL_WEIGHT = 0.1
MOST_LABELS = 4  # of an answer with several
# Vermilion shows on any painting that is drained of its own colours, to the colour-blind too.
GLOW = (255, 94, 0)

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
        tables=result_tables,
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
        explanations=explanations,
        environment=Table(["", ""], environment, num_text_columns=2),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def draw_figures(
    folder: Path, results: Mapping[str, Any], outcomes: Outcomes, uncalibrated: Outcomes | None = None
) -> dict[str, str]:
    """Every chart that the outcomes allow, by name as SVG, which is written to the folder with a PNG beside it."""
    figures = {}
    stages = {"as trained": outcomes} if uncalibrated is None else {"as trained": uncalibrated, "calibrated": outcomes}
    for task in (task for task in outcomes.single() if results["tasks"][task]["num_rows"]):
        found = outcomes.task(task)
        if task in matrix_tasks(outcomes):
            figures[f"confusion_{task}"] = charts.draw_confusion(found, f"{task}: true against predicted")
        by_stage = {stage: collected.task(task) for stage, collected in stages.items()}
        figures[f"reliability_{task}"] = charts.draw_reliability(by_stage, task)
        figures[f"risk_coverage_{task}"] = charts.draw_risk_coverage(found, task)
    return {name: charts.save_chart(figure, folder / name) for name, figure in figures.items()}


def matrix_tasks(outcomes: Outcomes) -> list[str]:
    """Names of the tasks whose confusion matrix is shown."""
    return [task for task in outcomes.single() if len(outcomes.task(task).labels) <= MOST_MATRIX_LABELS]


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
    examples: dict[int, dict[str, Any]] = {}
    texts = paintings["text"] if "text" in paintings.column_names else [None] * len(paintings)
    has_text = np.array([bool(text and text.strip()) for text in texts], dtype=bool)
    for at, task in enumerate(outcomes.single()[:4]):
        found = outcomes.task(task)
        order = np.lexsort((-found.confidences, ~has_text, found.correct != (at % 2 == 0)))  # by the last key first
        row = next((row for row in order.tolist() if row not in examples and found.is_known[row]), None)
        if row is None:
            continue
        painting = undecoded(paintings)[row]
        given = {name: painting.get(name) for name in ("image", "text")}
        try:
            explanation = explain(model, processor, task=task, precision=precision, **given)
        except ValueError:  # nothing of it can be read, or it has neither picture nor text
            continue
        truth = found.labels[found.references[row]]
        verdict = "rightly" if explanation.label == truth else f"but it is {truth}"
        by = f" by {painting['author']}" if painting.get("author") else ""
        answer = f"{task} {explanation.label}, {explanation.probability:.0%} sure, {verdict}"
        headline = f"{title_of(painting, f'row {row}')}{by}: {answer}"
        examples[row] = shown_explanation(at, [explanation], headline)
    return list(examples.values())


def explanation_page(classifier: ArtClassificationPipeline, paintings: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """A page that explains every task's answer about paintings, given by name and `{"image", "text"}`."""
    config, entries = classifier.model.config, list[dict[str, Any]]()
    several = [task["name"] for task in config.tasks if is_multi_label(task)]
    for key, (name, painting) in enumerate(paintings):
        given: Any = {name: painting[name] for name in ("image", "text") if painting.get(name) is not None}
        try:
            answers = classifier(given, tasks=several) if several else {}
            given["precision"] = classifier.precision
            found = [
                explain(classifier.model, classifier.processor, task=task, label=label, **given)
                for task in config.task_names
                for label in [one["label"] for one in answers.get(task, ())][:MOST_LABELS] or [None]
            ]
        except ValueError as error:  # a picture that cannot be read does not cost the others their page
            entries.append({"name": name, "error": str(error)})
        else:
            entries.append({"name": name, "error": "", "shown": shown_explanation(key, found)})
    return render_page("explanations.html", title="Why these answers", notice=config.training_notice, entries=entries)


def shown_explanation(key: int, explanations: Sequence[Explanation], heading: str = "") -> dict[str, Any]:
    """What the macro `explanation` shows of the answers about a painting, under one heading or else each its own."""
    picture = explanations[0].picture
    scale = 1.0 if picture is None else SHOWN_SIZE / max(picture.size)
    width, height = (0, 0) if picture is None else (max(1, round(side * scale)) for side in picture.size)
    answers = []
    for found in explanations:
        left, top, right, bottom = found.seen
        totals = {"picture": (found.picture, found.picture_total), "description": (found.words, found.text_total)}
        largest = max([abs(weight or 0) for _, weight in found.words] + [LEAST_FULL_WEIGHT])
        answers.append(
            {
                "task": found.task,
                "label": found.label,
                "headline": "" if heading else f"{found.task}: {found.label}, {found.probability:.0%} sure",
                "totals": ", ".join(f"{kind} {signed(total, 1)}" for kind, (there, total) in totals.items() if there),
                "box": [left * width, top * height, (right - left) * width, (bottom - top) * height],
                "overlay": None if found.heat is None else overlay_png(found.heat),
                "words": [
                    {"text": word, "weight": weight, "strength": abs(weight or 0) / largest}
                    for word, weight in found.words
                ],
            }
        )
    # Twice as large as it is shown, for screens with small pixels.
    jpeg = to_jpeg(picture, 2 * SHOWN_SIZE)
    return {"key": key, "heading": heading, "jpeg": jpeg, "width": width, "height": height, "answers": answers}


def overlay_png(heat: npt.NDArray[np.float32]) -> bytes:
    """A picture of the heat (height, width) to lay over a painting: it glows where the heat speaks for the answer."""
    positive = np.clip(heat, 0, None)
    # Only the half that says most glows, or nothing would stand out; one outshining pixel must not darken all others.
    faintest, brightest = np.quantile(positive, (0.5, 0.995))
    brightest = max(brightest, positive.max() / 2, faintest + 1e-12)
    alpha = np.round(np.interp(positive, (faintest, brightest), (0, 0.85 * 255))).astype(np.uint8)
    buffer = io.BytesIO()
    picture = Image.new("RGB", alpha.shape[::-1], GLOW)
    picture.putalpha(Image.fromarray(alpha))
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
