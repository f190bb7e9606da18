"""The learning curves of a finished run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from .chart_style import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, styled

_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)


def draw_curves(history: Sequence[Mapping[str, Any]], tasks: Sequence[str], path: Path) -> None:
    """Write a picture of loss, each task's accuracy, validation scores and learning rate over the epochs.

    Args:
        history: The Trainer's `state.log_history`.
        tasks: Names of the tasks.
        path: Where the PNG goes.
    """
    training = [line for line in history if "loss" in line]
    validation = [line for line in history if "eval_loss" in line]
    with styled():
        figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
        _draw(
            axes[0, 0],
            "Loss",
            [("training", training, "loss", 0, "-"), ("validation", validation, "eval_loss", 1, "o-")],
        )
        _draw(
            axes[0, 1],
            "Accuracy: lines training, dots validation",
            [(task, training, f"{task}_accuracy", index, "-") for index, task in enumerate(tasks)]
            + [("", validation, f"eval_{task}_accuracy", index, "o--") for index, task in enumerate(tasks)],
        )
        _draw(
            axes[1, 0],
            "Validation, mean over the tasks",
            [
                ("mean accuracy", validation, "eval_mean_accuracy", 0, "o-"),
                ("mean macro-F1", validation, "eval_mean_macro_f1", 1, "o-"),
            ],
        )
        _draw(axes[1, 1], "Learning rate (first group)", [("", training, "learning_rate", 6, "-")])
        for axis in axes[1]:
            axis.set_xlabel("epoch")
        figure.savefig(path, dpi=120)
        plt.close(figure)


def _draw(axis: Any, title: str, curves: Sequence[tuple[str, Sequence[Mapping[str, Any]], str, int, str]]) -> None:
    for label, lines, key, color, style in curves:
        points = [(line["epoch"], line[key]) for line in lines if line.get(key) is not None and "epoch" in line]
        if points:
            epochs, values = zip(*points, strict=True)
            # An opaque label for the legend only where there is one: matplotlib leaves out those that begin with "_".
            axis.plot(
                epochs,
                values,
                style,
                color=_COLORS[color % len(_COLORS)],
                label=label or "_",
                markersize=3.5,
                lw=1.4,
            )
    axis.set_title(title, fontsize=10)
    axis.grid()
    if axis.get_legend_handles_labels()[1]:
        axis.legend(frameon=False)
    elif not axis.lines:
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
