"""report.html: an evaluation to be read, from the headline figures to the single paintings behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from semart_hf.catalogue.vocabulary import UNKNOWN
from semart_hf.evaluation.explanations import Explanation
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import confusion_counts

from .figures import display_order
from .gallery import Gallery
from .page_parts import (
    EXPLANATION_LEGEND,
    drawing,
    explanation_block,
    facts,
    heading,
    number,
    page,
    painting,
    paragraph,
    percent,
    picture_store,
    shade,
    table,
)


@dataclass
class ReportInputs:
    """Everything that a report shows.

    Args:
        results: What results.json holds.
        outcomes: Those of image and text.
        figures: Name to the figure's PNG file.
        gallery: The paintings to show.
        pictures: Row to thumbnail, None where a painting has no picture.
        titles: Row to title and author, for the rows of the gallery.
        explanations: A headline and an explanation each.
    """

    results: Mapping[str, Any]
    outcomes: Outcomes
    figures: Mapping[str, Path]
    gallery: Gallery
    pictures: Mapping[int, bytes | None]
    titles: Mapping[int, tuple[str, str]]
    explanations: Sequence[tuple[str, Explanation]] = field(default_factory=list)


def render_report(inputs: ReportInputs) -> str:
    """The report as one HTML page."""
    results = inputs.results
    tasks = list(results["tasks"])
    name = Path(results["model"]).name or results["model"]
    links = [("sources", "What each source is worth"), *((task, task) for task in tasks)]
    links += [("sure", "How sure"), *([("why", "Why")] if inputs.explanations else [])]
    links.append(("environment", "How this was measured"))
    if "comparison" in results:
        links.insert(0, ("comparison", f"Against {results['comparison']['second']}"))
    return page(
        f"{name} on {results['num_rows']} paintings",
        [
            f"<h1>{escape(name)}</h1>",
            f'<p class="lead">{_summary(results)}</p>',
            "<nav>" + "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in links) + "</nav>",
            *_headline(results),
            *_comparison(results),
            *_sources(inputs),
            *(part for task in tasks for part in _task(inputs, task)),
            *_confidence(inputs),
            *_why(inputs),
            *_environment(results),
            picture_store(inputs.pictures),
        ],
    )


def _summary(results: Mapping[str, Any]) -> str:
    known = {task: scores for task, scores in results["tasks"].items() if scores["num_rows"]}
    best = max(known, key=lambda task: known[task]["accuracy"])
    worst = min(known, key=lambda task: known[task]["accuracy"])
    low, high = results["intervals"]["mean_accuracy"]
    words = (
        f"On the {results['num_rows']} paintings of the {results['split']} split, "
        f"{100 * results['mean_accuracy']:.1f} % of the answers are right in the mean over {len(known)} tasks "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )
    if best != worst:
        words += (
            f": best at {best} ({100 * known[best]['accuracy']:.1f} %), worst at {worst} "
            f"({100 * known[worst]['accuracy']:.1f} %)"
        )
    return escape(words + ".")


def _headline(results: Mapping[str, Any]) -> list[str]:
    header = ["task", "paintings", "accuracy %", "balanced %", "macro F1 %", "weighted F1 %", "top 3 %", "log loss"]
    header += ["Brier", "calibration error", f"accuracy without {UNKNOWN} %"]
    rows = []
    for task, scores in results["tasks"].items():
        if not scores["num_rows"]:
            rows.append([escape(task), "0", *[percent(None)] * 4, *["–"] * 5])
            continue
        intervals = scores.get("intervals", {})
        shares = [percent(scores[score], intervals.get(score)) for score in ("accuracy", "balanced_accuracy")]
        shares += [percent(scores[score], intervals.get(score)) for score in ("macro_f1", "weighted_f1")]
        top_3 = scores.get("top_3_accuracy")
        others = [scores.get(score) for score in ("log_loss", "brier", "expected_calibration_error")]
        without_unk = scores.get("without_unk", {}).get("accuracy")
        row = [escape(task), str(scores["num_rows"]), *shares, "–" if top_3 is None else percent(top_3)]
        rows.append([*row, *map(number, others), "–" if without_unk is None else percent(without_unk)])
    intervals = results["intervals"]
    total = ["mean", "", percent(results["mean_accuracy"], intervals.get("mean_accuracy")), ""]
    total += [percent(results["mean_macro_f1"], intervals.get("mean_macro_f1")), *[""] * 6]
    words = (
        f"Small figures are 95 % intervals from drawing the paintings again and again. {UNKNOWN}, the class of every "
        "label too rare to learn, is scored like any other, as in the SemArt literature; the last column leaves its "
        "paintings out."
    )
    match = results.get("exact_match")
    if match is not None:
        low, high = intervals["exact_match"]
        words += f" All tasks are right at once for {100 * match:.1f} % ({100 * low:.1f}–{100 * high:.1f})."
    return [table(header, rows, total), paragraph(words, "note")]


def _comparison(results: Mapping[str, Any]) -> list[str]:
    if "comparison" not in results:
        return []
    comparison = results["comparison"]
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison["in_words"])
    return [heading(f"Against {comparison['second']}", 2, "comparison"), f"<ul>{items}</ul>"]


def _sources(inputs: ReportInputs) -> list[str]:
    modalities = inputs.results["modalities"]
    tasks = list(inputs.results["tasks"])
    rows = []
    for modality, scored in modalities.items():
        cells = [
            percent(scored["tasks"][task]["accuracy"], scored["tasks"][task].get("intervals", {}).get("accuracy"))
            for task in tasks
        ]
        mean = percent(scored["mean_accuracy"], scored["intervals"].get("mean_accuracy"))
        rows.append([escape(modality), *cells, mean])
        if "ceiling" in scored:
            ceilings = [scored["ceiling"].get(task) for task in (*tasks, "mean")]
            rows.append(["<small>ceiling</small>", *("–" if c is None else percent(c) for c in ceilings)])
    return [
        heading("What each source is worth", 2, "sources"),
        paragraph("Accuracy in percent when the same model sees all of a painting, or only a part of it."),
        table(("shown", *tasks, "mean"), rows),
        _drawing(inputs, "modalities", "Accuracy of each task by what the model was shown"),
    ]


def _task(inputs: ReportInputs, task: str) -> list[str]:
    scores = inputs.results["tasks"][task]
    if not scores["num_rows"]:
        return [heading(task, 2, task), f'<p class="hole">No painting of this split has a known {escape(task)}.</p>']
    parts = [
        heading(task, 2, task),
        *([paragraph(one_label_words(task, scores), "hole")] if "only_label" in scores else []),
        heading("Taken for one another", 3),
        paragraph(
            "Rows are true labels, columns answers; the shade is the share of the row. Follow a number to the "
            "paintings behind it.",
            "note",
        ),
        _confusion_table(inputs, task),
        *_cells(inputs, task),
        heading("Label by label", 3),
        _drawing(inputs, f"f1_{task}", f"F1 of each {task} label with its support"),
        _per_label(scores),
    ]
    if "within_one_period" in scores:
        parts += [heading("How far off", 3), _period_words(scores), _drawing(inputs, f"periods_{task}", "Periods off")]
    return [*parts, *_mistakes(inputs, task)]


def one_label_words(task: str, scores: Mapping[str, Any]) -> str:
    """What to know about the scores of a task with a single true label."""
    return (
        f"Every painting with a known {task} is {scores['only_label']}: these scores do not say whether the model "
        "tells the labels apart."
    )


def _per_label(scores: Mapping[str, Any]) -> str:
    rows = [
        [escape(label), str(found["support"]), *(percent(found[name]) for name in ("precision", "recall", "f1"))]
        for label, found in scores["per_label"].items()
    ]
    header = ("label", "paintings", "precision %", "recall %", "F1 %")
    return f"<details><summary>Precision and recall of each label</summary>{table(header, rows)}</details>"


def _period_words(scores: Mapping[str, Any]) -> str:
    within, periods = scores["within_one_period"], scores["mean_absolute_error_periods"]
    if within is None or periods is None:
        return '<p class="hole">No painting has a date to measure from.</p>'
    return paragraph(
        f"{100 * within:.1f} % are dated to the right period or the one beside it. The mean error is {periods:.2f} "
        f"periods, {scores['mean_absolute_error_years']:.0f} years."
    )


def _confusion_table(inputs: ReportInputs, task: str) -> str:
    outcomes = inputs.outcomes.of(task)
    order = display_order(outcomes)
    counts = confusion_counts(outcomes)
    head = "".join(f'<th scope="col"><span>{escape(outcomes.labels[index])}</span></th>' for index in order)
    rows = []
    for true in order:
        total = int(counts[true].sum())
        cells = "".join(_confusion_cell(task, true, answer, int(counts[true, answer]), total) for answer in order)
        rows.append(f'<tr><th scope="row">{escape(outcomes.labels[true])} <small>{total}</small></th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="confusion"><thead><tr><th>true ↓ &nbsp; answer →</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _confusion_cell(task: str, true: int, answer: int, count: int, total: int) -> str:
    if not count:
        return "<td></td>"
    share = count / total
    link = f'<a href="#{escape(_cell_anchor(task, true, answer))}" title="{share:.0%}">{count}</a>'
    return f"<td{shade(share)}>{link}</td>"


def _cell_anchor(task: str, true: int, answer: int) -> str:
    return f"cell-{task}-{true}-{answer}"


def _cells(inputs: ReportInputs, task: str) -> list[str]:
    """The paintings behind each number of the confusion matrix, hidden until its link is followed."""
    labels = inputs.outcomes.of(task).labels
    sections = []
    for (name, true, answer), rows in inputs.gallery.cells.items():
        if name != task:
            continue
        count = inputs.gallery.counts[name, true, answer]
        verdict = "rightly" if true == answer else f"{labels[true]}, but"
        shown = "" if len(rows) == count else f", the surest {len(rows)} of {count}"
        title = f"{verdict} taken for {labels[answer]}{shown or f' ({count})'}"
        wall = "".join(_painting(inputs, row, [_odds(inputs, task, row)]) for row in rows)
        sections.append(
            f'<section class="cell" id="{escape(_cell_anchor(task, true, answer))}"><h3>{escape(title)}</h3>'
            f'<div class="wall">{wall}</div><p><a href="#{escape(task)}">back to the matrix</a></p></section>'
        )
    return sections


def _mistakes(inputs: ReportInputs, task: str) -> list[str]:
    rows = inputs.gallery.mistakes[task]
    if not rows:
        return [heading("Mistakes", 3), paragraph("None.")]
    labels, outcomes = inputs.outcomes.of(task).labels, inputs.outcomes.of(task)
    cards = []
    for row in rows:
        truth = f"is {labels[outcomes.references[row]]}"
        cards.append(_painting(inputs, row, [truth, _odds(inputs, task, row)]))
    return [heading("The surest mistakes", 3), f'<div class="wall">{"".join(cards)}</div>']


def _odds(inputs: ReportInputs, task: str, row: int) -> str:
    outcomes = inputs.outcomes.of(task)
    confidence = outcomes.confidences[row]
    sure = "" if np.isnan(confidence) else f", {confidence:.0%} sure"
    return f"taken for {outcomes.labels[outcomes.predictions[row]]}{sure}"


def _painting(inputs: ReportInputs, row: int, lines: Sequence[str]) -> str:
    title, author = inputs.titles[row]
    return painting(row, inputs.pictures.get(row) is not None, title, author, lines)


def _confidence(inputs: ReportInputs) -> list[str]:
    results = inputs.results
    parts = [heading("How sure", 2, "sure")]
    if "calibration" in results:
        header = ("task", "temperature", "log loss before", "after", "calibration error before", "after")
        calibration = results["calibration"]
        rows = [
            [escape(task), number(temperature, 2)]
            + [
                number(calibration[when][task][name])
                for name in ("log_loss", "expected_calibration_error")
                for when in ("before", "after")
            ]
            for task, temperature in calibration["temperatures"].items()
        ]
        parts += [heading("Calibration", 3), table(header, rows)]
    parts.append(_drawing(inputs, "reliability", "How often answers of a given confidence are right"))
    thresholds = results["thresholds"]
    target = f"{thresholds['target_accuracy']:.0%}"
    rows = []
    for task, threshold in thresholds["tasks"].items():
        if threshold is None:
            rows.append([escape(task), '<span class="hole">never reached</span>', "–", "–"])
        else:
            shares = [
                "–" if threshold[name] is None else percent(threshold[name]) for name in ("coverage", "accuracy")
            ]
            rows.append([escape(task), number(threshold["min_confidence"]), *shares])
    words = f"The lowest confidence from which {target} of the answers are right, chosen on {thresholds['chosen_on']}"
    if thresholds["chosen_on"] == results["split"]:
        words += (
            ", the split that is scored here, which flatters it; choose it on validation with --calibrate validation"
        )
    words += '. pipeline(…)(…, min_confidence={"type": …}) answers “unsure” below it.'
    return [
        *parts,
        heading("Answering only when sure", 3),
        paragraph(words),
        table(("task", "min_confidence", "answered %", "of these right %"), rows),
        _drawing(inputs, "risk_coverage", "Errors among the accepted answers by share accepted"),
    ]


def _why(inputs: ReportInputs) -> list[str]:
    if not inputs.explanations:
        return []
    return [
        heading("Why", 2, "why"),
        paragraph(EXPLANATION_LEGEND),
        *(explanation_block(explanation, headline) for headline, explanation in inputs.explanations),
    ]


def _environment(results: Mapping[str, Any]) -> list[str]:
    known = {
        "model": results["model"],
        "data": results["data"],
        "split": results["split"],
        "seconds": results["seconds"],
        **results["environment"],
    }
    return [heading("How this was measured", 2, "environment"), facts(known)]


def _drawing(inputs: ReportInputs, name: str, description: str) -> str:
    return drawing(inputs.figures[name], description) if name in inputs.figures else ""
