"""Charts of a prepared dataset: labels by split, lengths of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from .chart_style import BLUE, COLORS, VERMILION, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_label_shares(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Figure:
    """For each label a bar a split, as long as its share of that split, with the counts beside it.

    Args:
        counts: By split and label.
        labels: From top to bottom.
    """
    totals = {split: max(1, sum(in_split.values())) for split, in_split in counts.items()}
    height = 0.8 / max(1, len(counts))
    with styled():
        size = (WIDTH, 0.7 + len(labels) * max(0.26, 0.11 * len(counts)))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        longest = np.zeros(len(labels))
        for place, (split, in_split) in enumerate(counts.items()):
            shares = np.array([in_split.get(label, 0) / totals[split] for label in labels])
            longest = np.maximum(longest, shares)
            at = np.arange(len(labels)) + (place - (len(counts) - 1) / 2) * height
            axes.barh(at, shares, height=height * 0.9, color=COLORS[place % len(COLORS)], label=split)
        for row, label in enumerate(labels):
            numbers = " · ".join(f"{in_split.get(label, 0):,}" for in_split in counts.values())
            axes.text(longest[row] + 0.01 * longest.max(initial=0), row, f" {numbers}", va="center", fontsize=9)
        axes.set_yticks(range(len(labels)), [label if len(label) <= 24 else label[:23] + "…" for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(0, max(1.35 * longest.max(initial=0), 0.01))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        if len(counts) > 1:
            figure.legend(loc="outside upper left", ncols=len(counts), fontsize=9.5)
    return figure


def draw_lengths(lengths: Sequence[int], limits: Sequence[int], unit: str) -> Figure:
    """A histogram with lines at the limits that lie within it; the longest tenth of a per cent is joined."""
    values = np.asarray(lengths)
    longest = int(np.quantile(values, 0.999)) + 1
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.6), layout="constrained")
        axes.hist(np.minimum(values, longest), bins=min(40, longest), color=BLUE, rwidth=0.9)
        for limit in limits:
            if limit < longest:
                axes.axvline(limit, color=VERMILION, linewidth=1.2)
                axes.text(limit, axes.get_ylim()[1], f" {limit}", color=VERMILION, va="top")
        axes.set_xlabel(unit)
        axes.set_ylabel("texts")
        axes.grid(axis="y")
    return figure
