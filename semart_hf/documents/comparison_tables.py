"""The tables of a comparison of towers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semart_hf.evaluation.comparison import signed_points
from semart_hf.evaluation.intervals import p_value_words
from semart_hf.evaluation.published import PUBLISHED, SOURCES_IN_WORDS

from .table import DASH, Cell, Table, percent

NOT_BELOW = "≈"


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """All tables, in the order in which they are read."""
    shown = next(iter(comparison["towers"].values()))["scores"]
    tables = [
        score_table(comparison, "accuracy", "Accuracy, picture and text, %", "image+text"),
        score_table(comparison, "macro_f1", "Macro F1, picture and text, %", "image+text"),
    ]
    if "image" in shown and "text" in shown:
        tables += [
            score_table(comparison, "accuracy", "Accuracy, picture alone, %", "image"),
            score_table(comparison, "accuracy", "Accuracy, text alone, %", "text"),
        ]
    tables += [
        difference_table(comparison, "accuracy", "Differences of accuracy, in points"),
        difference_table(comparison, "macro_f1", "Differences of macro F1, in points"),
        cost_table(comparison),
    ]
    return tables


def score_table(comparison: Mapping[str, Any], score: str, title: str, shown: str) -> Table:
    """A row a tower, a column a task; below them the ceiling, and what others published for the same."""
    tasks = comparison["tasks"]
    towers = {name: tower["scores"][shown] for name, tower in comparison["towers"].items()}
    marks = _marks(comparison, score) if shown == "image+text" else {}
    rows = []
    for name, scored in towers.items():
        cells = [Cell(name)]
        for task in tasks:
            found = scored["tasks"][task]
            cells.append(_score_cell(found[score], found.get("intervals", {}).get(score), marks.get((name, task))))
        mean = f"mean_{score}"
        cells.append(_score_cell(scored[mean], scored["intervals"].get(mean), marks.get((name, "mean"))))
        rows.append(cells)
    ceiling = next(iter(towers.values())).get("ceiling") if score == "accuracy" else None
    if ceiling:
        rows.append([Cell("best reachable"), *(percent(ceiling.get(task), missing=DASH) for task in (*tasks, "mean"))])
    published = [entry for entry in PUBLISHED if entry.shown == shown and entry.accuracy and score == "accuracy"]
    rows += [
        [
            Cell(f"{entry.name} †"),
            *(percent(entry.accuracy.get(task), missing=DASH) for task in tasks),
            Cell(DASH),
        ]
        for entry in published
    ]
    notes = ["Small: 95 % intervals over the paintings."]
    if marks:
        notes[0] += f" Bold: the best. {NOT_BELOW}: not significantly below the best."
    return Table(("", *tasks, "mean"), rows, title, [*notes, *([SOURCES_IN_WORDS] if published else [])])


def _marks(comparison: Mapping[str, Any], score: str) -> dict[tuple[str, str], str]:
    """For a tower and a task (or `mean`): `best`, or the sign of a score not significantly below the best."""
    marks: dict[tuple[str, str], str] = {}
    for task in (*comparison["tasks"], "mean"):
        values = {
            name: _score_of(tower["scores"]["image+text"], task, score) for name, tower in comparison["towers"].items()
        }
        known = {name: value for name, value in values.items() if value is not None}
        if not known:
            continue
        best = max(known, key=lambda name: known[name])
        marks[best, task] = "best"
        for pair in comparison["pairs"]:
            names = {pair["first"], pair["second"]}
            entry = (pair["mean"] if task == "mean" else pair["tasks"].get(task, {})).get(score)
            if best in names and entry and not entry["is_significant_among_all"]:
                (other,) = names - {best}
                marks[other, task] = NOT_BELOW
    return marks


def _score_of(scored: Mapping[str, Any], task: str, score: str) -> float | None:
    value: float | None = scored[f"mean_{score}"] if task == "mean" else scored["tasks"][task][score]
    return value


def _score_cell(value: float | None, interval: Sequence[float] | None, mark: str | None) -> Cell:
    cell = percent(value, interval, missing="no label")
    return Cell(cell.text + (f" {mark}" if mark == NOT_BELOW else ""), cell.small, is_strong=mark == "best")


def difference_table(comparison: Mapping[str, Any], score: str, title: str) -> Table:
    """A row a pair of towers, a column a task: first minus second, its interval and its corrected p value."""
    tasks = comparison["tasks"]
    rows = []
    for pair in comparison["pairs"]:
        cells = [Cell(f"{pair['first']} − {pair['second']}")]
        for task in (*tasks, "mean"):
            entry = (pair["mean"] if task == "mean" else pair["tasks"].get(task, {})).get(score)
            cells.append(Cell("no label") if entry is None else _difference_cell(entry))
        rows.append(cells)
    test = "McNemar's test by task, bootstrap for the mean" if score == "accuracy" else "bootstrap"
    notes = [
        "Small: 95 % interval from drawing the same paintings for both, and p value "
        f"({test}), corrected by Holm for the number of comparisons of its kind. Bold: significant."
    ]
    return Table(("", *tasks, "mean"), rows, title, notes)


def _difference_cell(entry: Mapping[str, Any]) -> Cell:
    low, high = (signed_points(100 * bound) for bound in entry["interval"])
    points = signed_points(100 * entry["difference"])
    sign = "" if points.startswith("−") or points == "0.0" else "+"
    small = f"{low} to {high}, {p_value_words(entry['p_corrected'])}"
    return Cell(sign + points, small, is_strong=entry["is_significant_among_all"])


def cost_table(comparison: Mapping[str, Any]) -> Table:
    """A row a figure, a column a tower."""
    towers = comparison["towers"]
    rows = []
    for label, name, write in _COST_ROWS:
        values = [tower["cost"][name] for tower in towers.values()]
        rows.append([Cell(label), *(Cell(DASH if value is None else write(value)) for value in values)])
    theirs = [
        next((e.minutes_per_epoch for e in PUBLISHED if e.architecture == tower["vision"]), None)
        for tower in towers.values()
    ]
    if any(theirs):
        cells = (Cell(DASH if minutes is None else f"{minutes:.0f} min") for minutes in theirs)
        rows.append([Cell("an epoch of the study, on its GPU and SemArt †"), *cells])
    first = next(iter(towers.values()))["cost"]
    notes = [
        "A multiplication and an addition are two operations. "
        f"Texts of {first['text_tokens']} tokens. Training: with reading and augmentation, without validation. "
        f"Inference: the forward pass alone on {first['inference_device']} ({first['inference_threads']} threads). "
        "Memory: the largest the main process held, or its tensors on a GPU.",
    ]
    if any(theirs):
        notes.append(SOURCES_IN_WORDS)
    return Table(("", *towers), rows, "Cost", notes)


def _million(value: float) -> str:
    return f"{value / 1e6:.2f} M"


def _giga(value: float) -> str:
    return f"{value / 1e9:.2f} G" if value >= 1e8 else f"{value / 1e6:.1f} M"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


_COST_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("parameters", "parameters", _million),
    ("of these trained", "trained_parameters", _million),
    ("of the vision tower", "vision_parameters", _million),
    ("operations a painting, forward", "flops_forward", _giga),
    ("of the vision tower, forward", "flops_forward_vision", _giga),
    ("epochs trained", "epochs", lambda value: f"{value:g}"),
    ("paintings an epoch", "training_paintings", lambda value: f"{value:,}"),
    ("seconds an epoch", "seconds_per_epoch", lambda value: f"{value:.1f}"),
    ("training, paintings a second", "training_paintings_per_second", _rate),
    ("training, peak memory", "training_peak_memory_bytes", _megabytes),
    ("one painting, milliseconds", "milliseconds_per_painting", lambda value: f"{value:.1f}"),
    ("one at a time, paintings a second", "paintings_per_second_single", _rate),
    ("best batch, paintings a second", "paintings_per_second_best", _rate),
    ("the best batch's size", "best_batch_size", str),
    ("inference, peak memory", "inference_peak_memory_bytes", _megabytes),
    ("weights on disk", "weights_bytes", _megabytes),
    ("the whole folder on disk", "folder_bytes", _megabytes),
)
