"""The cards of the proofs: templates in `cards/`, of which every figure comes from a file of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, UndefinedError

Figure = Mapping[str, float]


def card(results: Mapping[str, Any]) -> str:
    """The card of a file of results, as Markdown.

    Raises:
        ValueError: If the card compares what has not been run.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "cards"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["cell"] = cell
    environment.globals |= {
        "row": row,
        "points": points,
        "fields_in_words": fields_in_words,
        "costs_accuracy": costs_accuracy,
        "is_within_spread": is_within_spread,
    }
    template = environment.get_template(f"{results['part']}.md")
    try:
        return template.render(**results, circumstances=circumstances(results))
    except UndefinedError as error:
        raise ValueError(
            f"Got results of {results['part']} that are not complete: {error}. Run prove.py {results['part']}: it "
            "continues where it ended."
        ) from error


def cell(figure: Figure, *, sign: bool = False, several: bool = True) -> str:
    """A mean and its deviation in per cent: `61.3 ± 1.2`; the mean alone where there are not several runs."""
    mean = f"{100 * figure['mean']:{'+' if sign else ''}.1f}"
    return f"{mean} ± {100 * figure['deviation']:.1f}" if several else mean


def points(figure: Figure, sign: int = 1) -> str:
    """A difference in per cent, with its sign."""
    return f"{round(100 * sign * figure['mean'], 1) + 0.0:+.1f}"  # what rounds to nothing has no sign of its own


def row(name: str, cells: Iterable[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


def fields_in_words(fields: Mapping[str, Any]) -> str:
    """For example `ema_decay: 0.0`, in backticks."""
    return ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in fields.items())


def is_within_spread(summary: Mapping[str, Any], setting: str) -> bool:
    scores = (summary["mean_accuracy"], summary["mean_macro_f1"])
    return all(abs(score["differences"][setting]) < score["spreads"][setting] for score in scores)


def costs_accuracy(summary: Mapping[str, Any]) -> bool:
    """Whether some score is worse with all techniques, by more than the spread."""
    scores = (summary["mean_accuracy"], summary["mean_macro_f1"])
    return any(apart <= -score["spreads"][name] for score in scores for name, apart in score["differences"].items())


def circumstances(results: Mapping[str, Any]) -> str:
    """What follows a card's command: minutes, machine and versions."""
    environment, runs = results["environment"], results["runs"]
    commits = ", ".join(sorted({run["commit"] for run in runs}))
    minutes = sum(run["seconds"] for run in runs) / 60
    return (
        f": {minutes:.0f} minutes of training on {environment['processor']}; torch {environment['torch']}, "
        f"transformers {environment['transformers']}, commit {commits}. Written by `scripts/prove.py` from its "
        "results in `scripts/proofs/results/`."
    )
