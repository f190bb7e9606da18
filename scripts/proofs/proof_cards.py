"""The cards of the proofs: templates in `cards/`, of which every figure comes from a file of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

Figure = Mapping[str, float]
# What a card cannot do without: part, and names of its summary.
NEEDED = {"ablations": ("best", "plain"), "speed": ("losses", "mean_accuracy")}


def card(results: Mapping[str, Any]) -> str:
    """The card of a file of results, as Markdown.

    Raises:
        ValueError: If the card compares what has not been run.
    """
    part, summary = results["part"], results["summary"]
    missing = [name for name in NEEDED.get(part, ()) if name not in summary]
    if missing:
        raise ValueError(
            f"Got results without {missing}, which the card compares. Run prove.py {part} with all settings: it "
            "continues where it ended."
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "cards"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["cell"] = cell
    environment.globals |= {
        function.__name__: function
        for function in (
            row,
            points,
            choices,
            fields_in_words,
            reached,
            costs_accuracy,
            is_within_spread,
            losses_apart,
        )
    }
    return environment.get_template(f"{part}.md").render(**results, circumstances=circumstances(results))


def cell(figure: Figure, *, sign: bool = False, several: bool = True) -> str:
    """A mean and its deviation in per cent: `61.3 ± 1.2`; the mean alone where there are not several runs."""
    mean = f"{100 * figure['mean']:{'+' if sign else ''}.1f}"
    return f"{mean} ± {100 * figure['deviation']:.1f}" if several else mean


def points(figure: Figure, sign: int = 1) -> str:
    """A difference in per cent, with its sign."""
    return f"{round(100 * sign * figure['mean'], 1) + 0.0:+.1f}"  # what rounds to nothing has no sign of its own


def row(name: str, cells: Iterable[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join([name, *cells]) + " |"


def fields_in_words(fields: Mapping[str, Any]) -> str:
    """For example `ema_decay: 0.0`, in backticks."""
    return ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in fields.items())


def reached(is_reached: bool) -> str:
    """Whether a goal is."""
    return "reached" if is_reached else "not reached"


def differences_of(summary: Mapping[str, Any], setting: str) -> list[tuple[float, float]]:
    """By each score, how far all is above a setting, and the spread between seeds."""
    scores = (summary[score] for score in ("mean_accuracy", "mean_macro_f1"))
    return [(score["differences"][setting], score["spreads"][setting]) for score in scores]


def is_within_spread(summary: Mapping[str, Any], setting: str) -> bool:
    """Whether the differences are smaller than the spread between seeds."""
    return all(abs(apart) < spread for apart, spread in differences_of(summary, setting))


def costs_accuracy(summary: Mapping[str, Any]) -> bool:
    """Whether some score is worse with all techniques, by more than the spread."""
    settings = summary["mean_accuracy"]["differences"]
    return any(apart <= -spread for setting in settings for apart, spread in differences_of(summary, setting))


def losses_apart(found: Figure) -> str:
    """How far the losses of two trainings are from each other."""
    return (
        f"{found['largest_difference_of_first_10']:.1e} at most in the first 10 steps and by "
        f"{found['largest_difference']:.1e} in all"
    )


def choices(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The settings of TF-IDF that were chosen for each task, in the order of the seeds."""
    by_task = []
    for task in runs[0]["tfidf"][metric]["chosen"]:
        chosen = [run["tfidf"][metric]["chosen"][task] for run in runs]
        numbers = ", ".join(f"{one['C']:g}{' balanced' if one['class_weight'] else ''}" for one in chosen)
        by_task.append(f"{task} {numbers}")
    return "; ".join(by_task)


def circumstances(results: Mapping[str, Any]) -> str:
    """What follows a card's command: changed fields, minutes, machine and versions."""
    environment, runs = results["environment"], results["runs"]
    changed = f", with {results['fields']} everywhere" if results.get("fields") else ""
    commits = sorted({run.get("commit") or environment["commit"] for run in runs})
    return (
        f"{changed}: {sum(map(seconds_of, runs)) / 60:.0f} minutes of training on {environment['processor']}; torch "
        f"{environment['torch']}, transformers {environment['transformers']}, commit {', '.join(commits)}. Written by "
        "`scripts/prove.py` from its results in `scripts/proofs/results/`."
    )


def seconds_of(run: Mapping[str, Any]) -> float:
    """Of all trainings of a run."""
    parts = [part["seconds"] for part in run.values() if isinstance(part, Mapping) and "seconds" in part]
    return sum(parts) if parts else run["seconds"]
