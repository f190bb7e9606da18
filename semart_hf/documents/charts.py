"""Every chart: colours for any eye, no background of its own, ink that follows day and night."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from semart_hf.evaluation.calibration import TARGET_ACCURACY, confidence_threshold, risk_coverage
from semart_hf.evaluation.comparison import COST_AXES
from semart_hf.evaluation.outcomes import TaskOutcomes
from semart_hf.evaluation.scores import NUM_CALIBRATION_BINS, calibration_bins, calibration_error, confusion_counts

from .page import TEMPLATES

# Source: Okabe & Ito 2008, Color Universal Design; distinct with any colour vision.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
STYLE = rc_params_from_file(TEMPLATES / "charts.mplstyle", use_default_template=False)
INK = STYLE["text.color"]
# Inches: on a phone's 360 pixels a chart this wide keeps its type above 10 pixels.
WIDTH = 4.8
PNG_DPI = 140
# Beyond so many labels a confusion matrix is drawn as shades alone, on at most so many inches.
MOST_WRITTEN_LABELS = 60
LARGEST_SIDE = 30.0
# The page's own; they are narrower than DejaVu Sans, by which matplotlib makes room.
_FONTS = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans'"
_THEME = (
    "<style>:root { color: #211f1b } @media (prefers-color-scheme: dark) { :root { color: #ece8e1 } }"
    " @media print { :root { color: #000 } }</style>"
)


@rc_context(STYLE)
def svg_of(figure: Figure) -> str:
    """The figure as SVG whose ink is light at night and dark by day."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    head, rest = buffer.getvalue().split("<defs>", 1)
    rest = rest.replace(INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    return f"{head}{_THEME}<defs>{rest}"


@rc_context(STYLE)
def save_chart(figure: Figure, path: Path) -> str:
    """The figure as SVG, which is written with a PNG beside it as `path`.svg and `path`.png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=PNG_DPI, metadata={"Software": None})
    svg = svg_of(figure)
    path.with_suffix(".svg").write_text(svg, encoding="utf-8")
    return svg


@rc_context(STYLE)
def draw_confusion(outcomes: TaskOutcomes, title: str) -> Figure:
    """Shares of each true label as shades, with the shares and counts written in them."""
    counts, labels = confusion_counts(outcomes), outcomes.labels
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_large, is_huge = len(labels) > 12, len(labels) > MOST_WRITTEN_LABELS
    # Inches. A side of hundreds would take gigabytes; the report has the same matrix as a table.
    side = min(2.5 + len(labels) * (0.1 if is_huge else 0.42 if is_large else 0.62), LARGEST_SIDE)
    size = min(10.0, 72 * 0.8 * (side - 2.5) / len(labels))  # points, so that names do not overlap
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True) if not is_huge else ():
        share, text = shares[row, column], str(counts[row, column])
        if not is_large or share >= 0.1:  # in a large matrix a small share is left to the shade
            text = f"{share:.0%}\n{text}"
        color = "white" if share > 0.7 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    places, totals = range(len(labels)), counts.sum(axis=1)
    axes.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(places, [f"{name} ({n})" for name, n in zip(labels, totals, strict=True)], fontsize=size)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true (paintings)", title=title)
    return figure


@rc_context(STYLE)
def draw_reliability(stages: Mapping[str, TaskOutcomes], title: str) -> Figure:
    """How often answers of a given confidence are right; one line a stage, such as before and after calibration."""
    figure = Figure(figsize=(WIDTH * 0.8, WIDTH * 0.72), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
    for (stage, outcomes), color, marker in zip(stages.items(), (BLUE, VERMILION), "os", strict=False):
        known = outcomes.known()
        bins = calibration_bins(known.confidences, known.correct)
        points: Any = {"data": bins, "color": color, "marker": marker, "clip_on": False}
        # The line is what the legend shows: its markers are all of one size.
        label = f"{stage}: error {calibration_error(known.confidences, known.correct):.3f}"
        axes.plot("confidence", "accuracy", linewidth=1.5, markersize=5, label=label, **points)
        sizes = 12 + 160 * bins["count"] / len(known.confidences)
        axes.scatter("confidence", "accuracy", s=sizes, zorder=3, label="_", **points)
    axes.legend(loc="lower right", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=title, ylabel="share that is right")
    axes.set_xlabel(f"confidence ({NUM_CALIBRATION_BINS} bins, area: paintings)")
    _format_shares(axes)
    return figure


@rc_context(STYLE)
def draw_risk_coverage(outcomes: TaskOutcomes, title: str) -> Figure:
    """The error among the accepted answers when only the most confident share is accepted."""
    figure = Figure(figsize=(WIDTH * 0.8, WIDTH * 0.65), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1 - TARGET_ACCURACY, color=INK, linewidth=1, linestyle="--")
    coverage, risk, _ = risk_coverage(outcomes)
    axes.step(coverage, risk, where="post", color=BLUE, linewidth=1.8)
    note = f"never {TARGET_ACCURACY:.0%} right"
    if found := confidence_threshold(outcomes, outcomes):
        axes.plot(found["coverage"], 1 - found["accuracy"], "o", color=VERMILION, zorder=3)
        note = f"{TARGET_ACCURACY:.0%} right: {found['coverage']:.0%} of answers,"
        note += f"\nconfidence ≥ {found['min_confidence']:.2f}"
    axes.text(0.04, 0.95, note, transform=axes.transAxes, va="top", fontsize=9, color=VERMILION)
    axes.set(title=title, xlabel="answers accepted, most confident first", ylabel="wrong among the accepted")
    axes.set(xlim=(0, 1.02), ylim=(0, max(0.12, float(risk.max()) * 1.25)))
    _format_shares(axes)
    return figure


@rc_context(STYLE)
def draw_label_shares(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Figure:
    """For each label a bar a split, as long as its share of that split, with the counts by split beside it."""
    in_labels = pd.DataFrame(counts).reindex(labels).fillna(0).astype(int)
    shares = in_labels / [max(1, sum(in_split.values())) for in_split in counts.values()]
    longest, height = shares.max(axis=1), 0.8 / len(counts)
    figure = Figure((WIDTH, 0.7 + len(labels) * max(0.26, 0.11 * len(counts))), layout="constrained")
    axes = figure.subplots()
    for place, (split, color) in enumerate(zip(counts, cycle(COLORS), strict=False)):
        at = np.arange(len(labels)) + (place - (len(counts) - 1) / 2) * height
        axes.barh(at, shares[split], height=height * 0.9, color=color, label=split)
    for row, label in enumerate(labels):
        numbers = " · ".join(f"{number:,}" for number in in_labels.loc[label])
        axes.text(longest[label] + 0.01 * longest.max(), row, f" {numbers}", va="center", fontsize=9)
    axes.set_yticks(range(len(labels)), [label if len(label) <= 24 else label[:23] + "…" for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(labels) - 0.4, -0.6), xlim=(0, max(1.35 * longest.max(), 0.01)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if len(counts) > 1:
        figure.legend(loc="outside upper left", ncols=len(counts), fontsize=9.5)
    return figure


@rc_context(STYLE)
def draw_curves(history: Sequence[Mapping[str, Any]], tasks: Sequence[str], path: Path) -> None:
    """Write a PNG of loss, accuracies and learning rate over the epochs, from the Trainer's `state.log_history`."""
    panels = {
        "Loss": {"training": "loss", "validation": "eval_loss"},
        "Accuracy in training": {task: f"{task}_accuracy" for task in tasks},
        "Validation": {task: f"eval_{task}_accuracy" for task in tasks}
        | {"mean accuracy": "eval_mean_accuracy", "mean macro-F1": "eval_mean_macro_f1"},
        "Learning rate (first group)": {"": "learning_rate"},
    }
    log, figure = pd.DataFrame(history), Figure(figsize=(9, 6.5), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for (label, key), color in zip(curves.items(), cycle(COLORS), strict=False):
            points = log.reindex(columns=["epoch", key]).dropna()
            if len(points):
                style = "o-" if key.startswith("eval_") else "-"
                axes.plot("epoch", key, style, data=points, color=color, label=label, markersize=3.5, linewidth=1.4)
        axes.set(title=title, xlabel="epoch")
        axes.grid()
        if not axes.lines:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center")
        elif "" not in curves:
            axes.legend()
    figure.savefig(path, dpi=120)


@rc_context(STYLE)
def draw_trade_off(comparison: Mapping[str, Any]) -> Figure:
    """Mean accuracy with its interval against each cost; the front joins the towers that none other beats."""
    towers = comparison["towers"]
    names = [axis for axis in COST_AXES if any(tower["cost"][axis] is not None for tower in towers.values())]
    figure = Figure(figsize=(WIDTH, 2.8 * len(names)), layout="constrained")
    for axes, axis in zip(figure.subplots(len(names), 1, squeeze=False).flat, names, strict=True):
        front = {}
        for name, color, marker in zip(towers, cycle(COLORS), cycle("os^Dv*"), strict=False):
            if (cost := towers[name]["cost"][axis]) is None:
                continue
            scored = towers[name]["scores"]["image+text"]
            accuracy, (low, high) = scored["mean_accuracy"], scored["intervals"]["mean_accuracy"]
            face = color if name in comparison["pareto"][axis] else "none"
            errors = [[max(accuracy - low, 0)], [max(high - accuracy, 0)]]
            points: Any = {"fmt": marker, "markersize": 9, "markerfacecolor": face, "markeredgewidth": 1.6}
            axes.errorbar(cost, accuracy, errors, color=color, capsize=3, label=name, zorder=3, **points)
            front[name] = cost, accuracy
        widest = 1.18 * max(cost for cost, _ in front.values())
        xs, ys = zip(*(front[name] for name in comparison["pareto"][axis]), strict=True)
        # To the right of a point all that costs more and answers no better is beaten by it.
        axes.step([*xs, widest], [*ys, ys[-1]], where="post", color=INK, linewidth=1.2, linestyle="--", label="front")
        axes.set(xlim=(0, widest), xlabel=COST_AXES[axis])
        _format_shares(axes)
        axes.xaxis.set_major_formatter(EngFormatter() if axis in ("flops_forward", "parameters") else "{x:g}")
    figure.supylabel("mean accuracy, picture and text (bar: 95 % interval)", fontsize=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _format_shares(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid()


@rc_context(STYLE)
def draw_search(
    tried: Mapping[str, Sequence[Any]], scores: Sequence[float], metric: str, logarithmic: set[str]
) -> Figure:
    """What trials scored, the best first, by the values of each field; of `logarithmic` ones by their magnitude."""
    num_rows = -(-len(tried) // 2)
    figure = Figure((WIDTH, 0.4 + 1.7 * num_rows), layout="constrained")
    for place, (name, values) in enumerate(tried.items(), 1):
        axes = figure.add_subplot(num_rows, 2, place)
        is_number = all(isinstance(value, int | float) for value in values)
        places = list(values) if is_number else list(map(str, values))
        axes.plot(places, scores, "o", color=SKY, markersize=5)
        axes.plot(places[:1], scores[:1], "o", color=VERMILION, markersize=7)
        axes.set(xlabel=name, xscale="log" if name in logarithmic else axes.get_xscale())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}") if name in logarithmic else None
        axes.minorticks_off()
        axes.grid()
    figure.supylabel(metric, color=INK, fontsize=10)
    return figure
