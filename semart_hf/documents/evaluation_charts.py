"""Charts of an evaluation, one task each, to be read at first sight: labels whole, counts beside shades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from semart_hf.catalogue.vocabulary import UNKNOWN
from semart_hf.evaluation.calibration import TARGET_ACCURACY, confidence_threshold, risk_coverage
from semart_hf.evaluation.outcomes import TaskOutcomes
from semart_hf.evaluation.scores import (
    NUM_CALIBRATION_BINS,
    calibration_bins,
    calibration_error,
    confusion_counts,
    period_distances,
)

from .chart_style import BLUE, COLORS, GREEN, INK, ORANGE, VERMILION, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FARTHEST_PERIOD = 6
# Beyond so many labels a confusion matrix is drawn as shades alone, on at most so many inches.
MOST_WRITTEN_LABELS = 60
LARGEST_SIDE = 30.0
# In a large matrix a smaller share of its row is left to the shade alone.
LEAST_WRITTEN_SHARE = 0.1


def display_order(outcomes: TaskOutcomes) -> list[int]:
    """Label indices in the order of a chart: in the vocabulary's own, by time or by frequency, and `UNK` last."""
    return sorted(range(len(outcomes.labels)), key=lambda index: outcomes.labels[index] == UNKNOWN)


def draw_confusion(outcomes: TaskOutcomes, title: str) -> Figure:
    """Shares of each true label as shades, with the shares and counts written in them."""
    order = display_order(outcomes)
    counts = confusion_counts(outcomes)[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [outcomes.labels[index] for index in order]
    is_large, is_huge = len(labels) > 12, len(labels) > MOST_WRITTEN_LABELS
    # Inches. A side of hundreds would take gigabytes; the report has the same matrix as a table.
    side = min(2.5 + len(labels) * (0.1 if is_huge else 0.42 if is_large else 0.62), LARGEST_SIDE)
    size = min(10.0, 72 * 0.8 * (side - 2.5) / len(labels))  # points, so that names do not overlap
    with styled():
        figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(counts), strict=True) if not is_huge else ():
            share, count = shares[row, column], counts[row, column]
            has_share = not is_large or share >= LEAST_WRITTEN_SHARE
            text = f"{share:.0%}\n{count}" if has_share else f"{count}"
            color = "white" if share > 0.7 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        totals = counts.sum(axis=1)
        axes.set_yticks(
            range(len(labels)), [f"{name} ({n})" for name, n in zip(labels, totals, strict=True)], fontsize=size
        )
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="predicted", ylabel="true (paintings)", title=title)
    return figure


def draw_f1_bars(per_label: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """F1 of each label as a bar, with its support beside the name; a label that never occurs has no bar."""
    labels = list(per_label)
    with styled():
        figure, axes = plt.subplots(
            figsize=(WIDTH, min(1.0 + 0.28 * len(labels), 4 * LARGEST_SIDE)), layout="constrained"
        )
        scores = [per_label[label]["f1"] for label in labels]
        axes.barh(
            range(len(labels)), scores, color=[INK if label == UNKNOWN else BLUE for label in labels], height=0.72
        )
        for row, label in enumerate(labels):
            is_absent = not per_label[label]["support"] and not scores[row]
            axes.text(scores[row] + 0.01, row, "no painting" if is_absent else f"{scores[row]:.2f}", va="center")
        axes.set_yticks(range(len(labels)), [f"{label} ({per_label[label]['support']})" for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 1.12), xticks=np.linspace(0, 1, 6), xlabel="F1 (support in brackets)", title=title)
        axes.grid(axis="x")
    return figure


def draw_period_errors(outcomes: TaskOutcomes, title: str) -> Figure:
    """How many periods too early or too late the dated paintings were placed, as shares; the far ends are joined."""
    distances = period_distances(outcomes.known())
    periods = np.rint(distances[~np.isnan(distances)]).astype(int)
    reach = min(max(3, int(np.abs(periods).max(initial=0))), FARTHEST_PERIOD)
    periods = np.clip(periods, -reach, reach)
    steps = list(range(-reach, reach + 1))
    shares = np.array([(periods == step).mean() if len(periods) else 0.0 for step in steps])
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")
        colors = [GREEN if step == 0 else BLUE if abs(step) == 1 else ORANGE for step in steps]
        axes.bar(steps, shares, color=colors, width=0.85)
        for step, share in zip(steps, shares, strict=True):
            if share > 0:
                axes.text(step, share + 0.008, f"{share:.0%}" if share >= 0.01 else "<1%", ha="center", fontsize=9)
        names = [f"{step:+d}".replace("-", "−") if step else "right" for step in steps]
        if reach == FARTHEST_PERIOD:
            names[0], names[-1] = f"{names[0]} or\nmore", f"{names[-1]} or\nmore"
        axes.set_xticks(steps, names, fontsize=9)
        axes.set_ylim(0, max(shares.max() * 1.15, 0.1))
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.grid(axis="y")
        axes.set_xlabel("too early  ←  periods off  →  too late")
        axes.set_ylabel(f"share of {len(periods)} dated paintings")
        axes.set_title(title)
    return figure


def draw_reliability(stages: Mapping[str, TaskOutcomes], title: str) -> Figure:
    """How often answers of a given confidence are right; one line a stage, such as before and after calibration."""
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH * 0.8, WIDTH * 0.72), layout="constrained")
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
        for (stage, outcomes), color, marker in zip(stages.items(), (BLUE, VERMILION), "os", strict=False):
            known = outcomes.known()
            if not known.has_probabilities:
                _write_empty(axes)
                continue
            bins = calibration_bins(known.confidences, known.correct)
            error = calibration_error(known.confidences, known.correct)
            sizes = [12 + 160 * b["count"] / len(known.confidences) for b in bins]
            x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
            # The line is what the legend shows: its markers are all of one size.
            label = f"{stage}: error {error:.3f}"
            axes.plot(x, y, color=color, linewidth=1.5, marker=marker, markersize=5, label=label, clip_on=False)
            axes.scatter(x, y, s=sizes, color=color, marker=marker, zorder=3, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), title=title, ylabel="share that is right")
        axes.set_xlabel(f"confidence ({NUM_CALIBRATION_BINS} bins, area: paintings)")
        _percent_axes(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", fontsize=9)
    return figure


def draw_risk_coverage(outcomes: TaskOutcomes, title: str) -> Figure:
    """The error among the accepted answers when only the most confident share is accepted."""
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH * 0.8, WIDTH * 0.65), layout="constrained")
        axes.set_title(title)
        axes.axhline(1 - TARGET_ACCURACY, color=INK, linewidth=1, linestyle="--")
        if not outcomes.known().has_probabilities:
            _write_empty(axes)
            return figure
        coverage, risk, _ = risk_coverage(outcomes)
        axes.step(coverage, risk, where="post", color=BLUE, linewidth=1.8)
        threshold = confidence_threshold(outcomes)
        note = f"never {TARGET_ACCURACY:.0%} right"
        if threshold is not None:
            axes.plot(threshold["coverage"], 1 - threshold["accuracy"], "o", color=VERMILION, zorder=3)
            note = f"{TARGET_ACCURACY:.0%} right: {threshold['coverage']:.0%} of answers,"
            note += f"\nconfidence ≥ {threshold['min_confidence']:.2f}"
        axes.text(0.04, 0.95, note, transform=axes.transAxes, va="top", fontsize=9, color=VERMILION)
        axes.set(xlim=(0, 1.02), ylim=(0, max(0.12, float(risk.max()) * 1.25)))
        axes.set(xlabel="answers accepted, most confident first", ylabel="wrong among the accepted")
        _percent_axes(axes)
    return figure


def draw_modalities(modalities: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy of each task by what the model was shown, with the ceiling as a line where it is known."""
    tasks = [*next(iter(modalities.values()))["tasks"], "mean"]
    height = 0.8 / len(modalities)
    with styled():
        size = (WIDTH, 0.9 + len(tasks) * max(0.5, 0.22 * len(modalities)))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        for index, (modality, scored) in enumerate(modalities.items()):
            accuracies = [scored["mean_accuracy"] if t == "mean" else scored["tasks"][t]["accuracy"] for t in tasks]
            at = np.arange(len(tasks)) + (index - (len(modalities) - 1) / 2) * height
            color = COLORS[index % len(COLORS)]
            shown = [np.nan if accuracy is None else accuracy for accuracy in accuracies]
            axes.barh(at, shown, height=height * 0.92, color=color, label=modality)
            for place, task, accuracy in zip(at, tasks, accuracies, strict=True):
                if accuracy is not None:  # in the bar, because the ceiling's line often lies right behind it
                    ink = "black" if color == ORANGE or accuracy < 0.06 else "white"
                    text = f"{100 * accuracy:.0f}"
                    axes.text(max(accuracy - 0.01, 0.06), place, text, ha="right", va="center", fontsize=8, color=ink)
                ceiling = scored.get("ceiling", {}).get(task)
                if ceiling is not None:
                    axes.plot([ceiling] * 2, [place - height / 2.3, place + height / 2.3], color=INK, lw=2)
        if any("ceiling" in scored for scored in modalities.values()):
            axes.plot([], [], color=INK, lw=2, label="ceiling")
        axes.set_yticks(range(len(tasks)), tasks)
        axes.set_ylim(len(tasks) - 0.5, -0.5)
        axes.set(xlim=(0, 1.04), xlabel="accuracy")
        axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=4 if len(modalities) < 4 else 3, fontsize=9)
    return figure


def _percent_axes(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    axes.grid()


def _write_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no labelled painting", transform=axes.transAxes, ha="center", va="center")
