"""The figure of accuracy against cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from semart_hf.evaluation.tower_comparison import COST_AXES

from .chart_style import COLORS, INK, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^Dv*"
_UNITS = {"flops_forward": (1e9, "G"), "parameters": (1e6, "M")}


def draw_trade_off(comparison: Mapping[str, Any]) -> Figure:
    """Mean accuracy with its interval against each cost; the front joins the towers that none other beats."""
    axes_names = [
        axis for axis in COST_AXES if any(tower["cost"][axis] is not None for tower in comparison["towers"].values())
    ]
    with styled():
        size = (WIDTH, 2.8 * len(axes_names))
        figure, grid = plt.subplots(len(axes_names), 1, figsize=size, layout="constrained", squeeze=False)
        for axes, axis in zip(grid.flat, axes_names, strict=False):
            _draw_axis(axes, axis, comparison)
        figure.supylabel("mean accuracy, picture and text (bar: 95 % interval)", fontsize=10)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure


def _draw_axis(axes: Axes, axis: str, comparison: Mapping[str, Any]) -> None:
    scale, unit = _UNITS.get(axis, (1.0, ""))
    front, costs = comparison["pareto"][axis], []
    for index, (name, tower) in enumerate(comparison["towers"].items()):
        cost = tower["cost"][axis]
        if cost is None:
            continue
        scored = tower["scores"]["image+text"]
        accuracy, interval = scored["mean_accuracy"], scored["intervals"]["mean_accuracy"]
        costs.append(cost / scale)
        color = COLORS[index % len(COLORS)]
        axes.errorbar(
            cost / scale,
            accuracy,
            yerr=[[max(accuracy - interval[0], 0)], [max(interval[1] - accuracy, 0)]],
            fmt=_MARKERS[index % len(_MARKERS)],
            markersize=9,
            markerfacecolor=color if name in front else "none",
            markeredgewidth=1.6,
            color=color,
            capsize=3,
            label=name,
            zorder=3,
        )
    points = [
        (tower["cost"][axis] / scale, tower["scores"]["image+text"]["mean_accuracy"])
        for tower in (comparison["towers"][name] for name in front)
    ]
    widest = max(costs) * 1.18
    xs, ys = [x for x, _ in points], [y for _, y in points]
    # To the right of a point all that costs more and answers no better is beaten by it.
    axes.step([*xs, widest], [*ys, ys[-1]], where="post", color=INK, linewidth=1.2, linestyle="--", label="front")
    axes.set_xlim(0, widest)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid()
    axes.set_xlabel(COST_AXES[axis] + (f", {unit}" if unit else ""))
