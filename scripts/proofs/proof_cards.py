"""The cards of the proofs: templates in `cards/`, of which every figure comes from a file of results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, UndefinedError
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from semart_hf.documents.charts import BLUE, COLORS, PNG_DPI, STYLE, VERMILION, WIDTH

SCORES = ("mean_accuracy", "mean_macro_f1")


def card(results: Mapping[str, Any]) -> str:
    """The card of a file of results, as Markdown; a `ValueError` if it compares what has not been run."""
    loader = FileSystemLoader(Path(__file__).with_name("cards"))
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["cell"] = cell
    functions = (points, fields_in_words, costs_accuracy, is_within_spread)
    environment.globals |= {function.__name__: function for function in functions}
    try:
        return environment.get_template(f"{results['part']}.md").render(results)
    except UndefinedError as error:
        problem = f"Got results of {results['part']} that are not complete: {error}"
        raise ValueError(f"{problem}. Run prove.py {results['part']}: it continues where it ended.") from error


def cell(figure: Mapping[str, float], *, sign: bool = False, several: bool = True) -> str:
    """A mean and its deviation in per cent: `61.3 ± 1.2`; the mean alone where there are not several runs."""
    mean = f"{100 * figure['mean']:{'+' if sign else ''}.1f}"
    return f"{mean} ± {100 * figure['deviation']:.1f}" if several else mean


def points(figure: Mapping[str, float], sign: int = 1) -> str:
    """A difference in per cent, with its sign."""
    return f"{round(100 * sign * figure['mean'], 1) + 0.0:+.1f}"  # what rounds to nothing has no sign of its own


def fields_in_words(fields: Mapping[str, Any]) -> str:
    """For example `ema_decay: 0.0`, in backticks."""
    return ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in fields.items())


def is_within_spread(summary: Mapping[str, Any], setting: str) -> bool:
    return all(abs(summary[score]["differences"][setting]) < summary[score]["spreads"][setting] for score in SCORES)


def costs_accuracy(summary: Mapping[str, Any]) -> bool:
    """Whether some score is worse with all techniques, by more than the spread."""
    found = [summary[score] for score in SCORES]
    return any(apart <= -score["spreads"][name] for score in found for name, apart in score["differences"].items())


@rc_context(STYLE)
def write_charts(results: Mapping[str, Any], folder: Path) -> None:
    """Write the charts that a card shows, in a folder of its own, as far as there are any."""
    for figures, file, draw in (("few", "few_rows", draw_few_rows), ("orders", "orders", draw_orders)):
        if found := results["summary"].get(figures):
            folder.mkdir(parents=True, exist_ok=True)
            draw(found).savefig(folder / f"{file}.png", dpi=PNG_DPI, metadata={"Software": None})


def draw_few_rows(few: Mapping[str, Any]) -> Figure:
    """Mean accuracy and macro-F1 of a recipe and of its anchor by the number of training rows, with deviations."""
    figure, sizes = Figure(figsize=(2 * WIDTH, 3.4), layout="constrained"), [*map(int, few)]
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "macro_f1"), strict=True):
        names = [name for name in next(iter(few.values()))[metric] if name != "gains"]
        for name, color, marker in zip(names, (BLUE, VERMILION), "os", strict=True):
            means, spread = ([found[metric][name][key] for found in few.values()] for key in ("mean", "deviation"))
            axes.errorbar(sizes, means, spread, color=color, marker=marker, capsize=3, label=name)
        axes.set(xscale="log", xlabel="training rows", title=f"mean {metric.replace('_f1', '-F1')}")
        axes.set_xticks(sizes, [*few])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid()
        axes.legend()
    return figure


def draw_orders(orders: Mapping[str, Any]) -> Figure:
    """Mean accuracy by number of decisions, a line for each order of a review."""
    figure = Figure(figsize=(WIDTH, 0.9 * WIDTH), layout="constrained")
    axes = figure.subplots()
    for (name, order), color, marker in zip(orders.items(), COLORS, "osv^Dx", strict=True):
        means = [accuracy["mean"] for accuracy in order["accuracy"]]
        axes.plot(order["decisions"], means, f"{marker}-", color=color, label=name, markersize=4, linewidth=1.6)
    axes.set(xlabel="decisions", ylabel="mean accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    figure.legend(loc="outside upper left", fontsize=9)
    return figure
