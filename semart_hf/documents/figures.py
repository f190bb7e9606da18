"""Figures of an evaluation, drawn to be read at first sight: colour-blind safe, labels whole, counts beside shades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

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

matplotlib.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Source: Okabe & Ito 2008, Color Universal Design; told apart with any colour vision.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7A7A7A"
FARTHEST_PERIOD = 6
# In a large matrix a smaller share of its row is said by the shade alone.
LEAST_WRITTEN_SHARE = 0.1
PNG_DPI = 140
STYLE: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "semart",
}


@contextmanager
def styled() -> Iterator[None]:
    """The house's style, for as long as a figure is drawn."""
    with plt.rc_context(STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """The figure as `path`.png and `path`.svg, without a date: equal figures are equal files. The figure is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".png"), path.with_suffix(".svg")]
    with styled():
        figure.savefig(files[0], dpi=PNG_DPI, metadata={"Software": None})
        figure.savefig(files[1], metadata={"Date": None})
    plt.close(figure)
    return files


def display_order(outcomes: TaskOutcomes) -> list[int]:
    """Label indices in the order of a figure: in the vocabulary's own, by time or by frequency, and `UNK` last."""
    return sorted(range(len(outcomes.labels)), key=lambda index: outcomes.labels[index] == UNKNOWN)


def draw_confusion(outcomes: TaskOutcomes, title: str) -> Figure:
    """Confusion matrix: share of the row and count; in a large one a faint cell has its count alone."""
    order = display_order(outcomes)
    counts = confusion_counts(outcomes)[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [outcomes.labels[index] for index in order]
    size = len(labels)
    is_large = size > 12
    side = 2.5 + size * (0.42 if is_large else 0.62)
    with styled():
        figure, axes = plt.subplots(figsize=(side + 1.2, side), layout="constrained")
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(counts), strict=True):
            share, count = shares[row, column], counts[row, column]
            has_share = not is_large or share >= LEAST_WRITTEN_SHARE
            axes.text(
                column,
                row,
                f"{share:.0%}\n{count}" if has_share else f"{count}",
                ha="center",
                va="center",
                fontsize=7.5 if is_large else 8.5,
                color="white" if share > 0.7 else "black",
            )
        axes.set_xticks(range(size), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(
            range(size), [f"{label} ({total})" for label, total in zip(labels, counts.sum(axis=1), strict=True)]
        )
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#DDDDDD", linewidth=0.8)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (paintings)")
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true label's paintings")
        bar.ax.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    return figure


def draw_f1_bars(per_label: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """F1 of each label as a bar, with its support beside the name; a label that never occurs has no bar."""
    labels = list(per_label)
    with styled():
        figure, axes = plt.subplots(figsize=(7, 1.3 + 0.32 * len(labels)), layout="constrained")
        scores = [per_label[label]["f1"] for label in labels]
        colors = [GREY if label == UNKNOWN else BLUE for label in labels]
        axes.barh(range(len(labels)), scores, color=colors, height=0.72)
        for row, label in enumerate(labels):
            is_absent = not per_label[label]["support"]
            words = "no painting" if is_absent and not scores[row] else f"{scores[row]:.2f}"
            axes.text(scores[row] + 0.01, row, words, va="center", fontsize=9, color=GREY if is_absent else "black")
        axes.set_yticks(range(len(labels)), [f"{label} ({per_label[label]['support']})" for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.08)
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.grid(axis="x", color="#DDDDDD")
        axes.set_xlabel("F1 (support in brackets)")
        axes.set_title(title)
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
        figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
        colors = [GREEN if step == 0 else BLUE if abs(step) == 1 else ORANGE for step in steps]
        axes.bar(steps, shares, color=colors, width=0.85)
        for step, share in zip(steps, shares, strict=True):
            if share > 0:
                axes.text(step, share + 0.008, f"{share:.0%}" if share >= 0.01 else "<1%", ha="center", fontsize=9)
        names = [f"{step:+d}".replace("-", "−") if step else "right" for step in steps]
        if reach == FARTHEST_PERIOD:
            names[0], names[-1] = f"{names[0]} or\nmore", f"{names[-1]} or\nmore"
        axes.set_xticks(steps, names)
        axes.set_ylim(0, max(shares.max() * 1.15, 0.1))
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.grid(axis="y", color="#DDDDDD")
        axes.set_xlabel("too early  ←  periods off  →  too late")
        axes.set_ylabel(f"share of {len(periods)} dated paintings")
        axes.set_title(title)
    return figure


def draw_reliability(stages: Mapping[str, Mapping[str, TaskOutcomes]], title: str) -> Figure:
    """For each task, how often answers of a given confidence are right; one line a stage, such as before and after."""
    tasks = list(next(iter(stages.values())))
    with styled():
        figure, grid = _panels(len(tasks), title)
        for axes, task in zip(grid, tasks, strict=False):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            for (stage, outcomes), color, marker in zip(stages.items(), (BLUE, VERMILION), "os", strict=False):
                known = outcomes[task].known()
                if not known.has_probabilities:
                    _say_empty(axes, "no labelled painting")
                    continue
                bins = calibration_bins(known.confidences, known.correct)
                error = calibration_error(known.confidences, known.correct)
                sizes = [12 + 160 * b["count"] / len(known.confidences) for b in bins]
                x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
                # The line is what the legend shows: its markers are all of one size.
                label = f"{stage}: error {error:.3f}"
                axes.plot(x, y, color=color, linewidth=1.5, marker=marker, markersize=5, label=label, clip_on=False)
                axes.scatter(x, y, s=sizes, color=color, marker=marker, zorder=3, clip_on=False)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), title=task)
            _percent_axes(axes)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper left", fontsize=8.5, framealpha=0.85, edgecolor="none")
        _label_panels(
            figure, f"confidence of the answer ({NUM_CALIBRATION_BINS} bins, area: paintings)", "share that is right"
        )
    return figure


def draw_risk_coverage(tasks: Mapping[str, TaskOutcomes], title: str) -> Figure:
    """For each task, the error among the accepted answers when only the surest share is accepted."""
    with styled():
        figure, grid = _panels(len(tasks), title)
        for axes, (task, outcomes) in zip(grid, tasks.items(), strict=False):
            axes.set_title(task)
            axes.axhline(1 - TARGET_ACCURACY, color=GREY, linewidth=1, linestyle="--")
            if not outcomes.known().has_probabilities:
                _say_empty(axes, "no labelled painting")
                continue
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
            _percent_axes(axes)
        _label_panels(figure, "share of answers accepted, surest first", "wrong among the accepted")
    return figure


def draw_modalities(modalities: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Accuracy of each task by what the model was shown, with the ceiling as a line where it is known."""
    tasks = [*next(iter(modalities.values()))["tasks"], "mean"]
    colors = [BLUE, ORANGE, GREEN, VERMILION, GREY]
    width = 0.8 / len(modalities)
    with styled():
        figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
        for index, (modality, scored) in enumerate(modalities.items()):
            accuracies = [_accuracy(scored, task) for task in tasks]
            color = colors[index % len(colors)]
            positions = np.arange(len(tasks)) + (index - (len(modalities) - 1) / 2) * width
            shown = [np.nan if accuracy is None else accuracy for accuracy in accuracies]
            axes.bar(positions, shown, width=width * 0.92, color=color, label=modality)
            for position, accuracy in zip(positions, accuracies, strict=True):
                if accuracy is not None:
                    # In the bar, because the ceiling's line often lies right above it.
                    axes.text(
                        position,
                        max(accuracy - 0.015, 0.055),
                        f"{100 * accuracy:.0f}",
                        ha="center",
                        va="top",
                        fontsize=8.5,
                        color="white" if accuracy > 0.06 and color != ORANGE else "black",
                    )
            for position, task in zip(positions, tasks, strict=True):
                ceiling = scored.get("ceiling", {}).get(task)
                if ceiling is not None:
                    axes.plot([position - width / 2.3, position + width / 2.3], [ceiling] * 2, color="black", lw=1.5)
        has_ceiling = any("ceiling" in scored for scored in modalities.values())
        if has_ceiling:
            axes.plot([], [], color="black", lw=1.5, label="ceiling")
        axes.set_xticks(range(len(tasks)), tasks)
        axes.set_ylim(0, 1.06)
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        axes.grid(axis="y", color="#DDDDDD")
        axes.set_ylabel("accuracy")
        axes.set_title(title)
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda index: labels[index] == "ceiling")
        axes.legend(
            [handles[index] for index in order],
            [labels[index] for index in order],
            ncols=4 if len(labels) <= 4 else 3,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.1),
            frameon=False,
        )
    return figure


def _accuracy(scored: Mapping[str, Any], task: str) -> float | None:
    return scored["mean_accuracy"] if task == "mean" else scored["tasks"][task]["accuracy"]


def _panels(count: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.5 * rows), layout="constrained", squeeze=False
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    for spare in grid.flat[count:]:
        spare.set_visible(False)
    return figure, list(grid.flat[:count])


def _label_panels(figure: Figure, horizontal: str, vertical: str) -> None:
    figure.supxlabel(horizontal, fontsize=10)
    figure.supylabel(vertical, fontsize=10)


def _percent_axes(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    axes.grid(color="#E5E5E5")


def _say_empty(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY)
