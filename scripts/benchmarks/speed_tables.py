"""Measured speeds as Markdown, for the terminal and docs/speed.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.bench import FIELDS
from semart_hf.documents.table import DASH, Cell, Table
from semart_hf.training.techniques import TRAINING_TECHNIQUES

TOWERS = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0", "vit_tiny": "ViT-Tiny"}
Figures = Mapping[str, Any]
Rows = list[tuple[str, Figures, Callable[[Any], Cell | str]]]  # a name, what each tower has, and how a cell shows it
# What a file may hold: part, and what it is called where it is missing.
PARTS = {
    "train": "training",
    "inference": "inference",
    "memory": "memory by the number of rows",
    "startup": "start",
    "data": "preparing",
}


def speed_text(measured: Figures) -> str:
    """What scripts/benchmark.py measured on one machine: tables, sentences, the machine, and what is missing."""
    parts = [speed_table(measured), technique_table(measured), *sentences(measured)]
    environment = next(iter(measured.values()))["environment"]
    commits = dict.fromkeys(part["environment"]["commit"] for part in measured.values())  # parts are measured apart
    where = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    missing = [words for part, words in PARTS.items() if part not in measured]
    missing += [] if parts[1] else ["each technique removed"]
    missing += [] if measured.get("train", {}).get("data", {}).get("device") == "cuda" else ["a GPU"]
    parts.append(
        f"Median turn (slowest–fastest; both) of both sides in turns, the same model, data and batch; {where}, torch "
        f"{environment['torch']}, commit {', '.join(commits)}. Written by `scripts/render_docs.py`."
        + (f" Not measured here: {', '.join(missing)}." if missing else "")
    )
    return "\n\n".join(filter(None, parts))


def speed_table(measured: Figures) -> str:
    def times_as_fast(figures: Figures) -> Cell:
        return compared(figures["ratio"], figures["rows_per_second"], "{:.1f}")

    def memory(figures: Figures) -> str:
        return " / ".join(f"{figures['peak_mb'][side] / 1024:.1f}" for side in ("ours", "notebook"))

    training, inference = (measured.get(part, {}).get("towers", {}) for part in ("train", "inference"))
    towers = list(dict.fromkeys([*training, *inference]))
    rows: Rows = []
    if training:
        epochs, number = next(iter(training.values()))["cold_run"]["epochs"], measured["train"]["data"]["rows"]
        run = f"{epochs} epochs of {number:,} paintings from a cold start, estimated; seconds"
        rows += [
            ("training, times as fast; paintings a second", training, times_as_fast),
            (run, training, lambda f: compared(f["cold_run"]["ratio"], f["cold_run"]["seconds"], "{:.0f}")),
            *limit(training, "share of the arithmetic's limit"),
            *busy(training, "training"),
            ("peak memory in training, GiB", training, memory),
        ]
    if inference:
        name = "one painting with its text, share of the time; milliseconds"
        rows += [
            ("inference, times as fast; paintings a second", inference, times_as_fast),
            *limit(inference, "share of the model's limit"),
            *busy(inference, "inference"),
            (name, inference, lambda f: compared(f["latency_ratio"], f["latency_ms"], "{:.0f}", "{:.2f}")),
            ("peak memory in inference, GiB", inference, memory),
        ]
    if suggested := {tower: figures for tower, figures in inference.items() if "catalogue_ratio" in figures}:
        name = "a catalogue's suggestions, share of the pipeline's rate"
        rows.append((name, suggested, lambda f: f"{f['catalogue_ratio']['median']:.2f}"))
    cells = [[name, *(cell(found[one]) if one in found else DASH for one in towers)] for name, found, cell in rows]
    return tower_table("ours / the notebook's", towers, cells)


def limit(towers: Figures, name: str) -> Rows:
    """The row of the share of the limit, where that was measured."""
    found = {tower: figures["share_of_limit"] for tower, figures in towers.items() if "share_of_limit" in figures}
    return [(name, found, lambda share: f"{share['median']:.2f}")] if found else []


def busy(towers: Figures, part: str) -> Rows:
    """The rows of what is left beside busy processes, where that was measured."""
    measured = {tower: figures["beside"] for tower, figures in towers.items() if "beside" in figures}
    numbers = sorted({found["processes"] for found in measured.values()})
    names = [f"{part}, speed left beside {number} busy process{'es' * (number > 1)}" for number in numbers]

    def left(figures: Figures) -> str:
        return " / ".join(f"{figures['speed'][side]['median']:.2f}" for side in ("ours", "notebook"))

    return [(name, measured, left) for name in names]


def technique_table(measured: Figures) -> str:
    figures = measured.get("train", {}).get("towers", {})
    without = {tower: found["without"] for tower, found in figures.items() if "without" in found}
    known = {*FIELDS, *(technique.name for technique in TRAINING_TECHNIQUES)}  # a file may have some that are gone
    names = dict.fromkeys(name for found in without.values() for name in found if name in known)
    cells = [
        [name, *(f"{found[name]['speed']['median']:.2f}" if name in found else DASH for found in without.values())]
        for name in names
    ]
    return tower_table("speed left without", list(without), cells)


def tower_table(title: str, towers: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> str:
    """A table with a column for each tower; empty where nothing was measured."""
    header = [title, *(TOWERS.get(tower, tower) for tower in towers)]
    return Table(header, rows, num_text_columns=len(header)).markdown() if rows else ""


def compared(ratio: Any, both: Figures, form: str, ratio_form: str = "{:.1f}") -> Cell:
    """For example `**4.0** (3.9–4.2; 20.1 / 5.0)`: a ratio, its spread if it has one, and both figures."""
    median, spread = ratio, ""
    if isinstance(ratio, Mapping):
        median, spread = ratio["median"], f"{ratio_form}–{ratio_form}; ".format(ratio["min"], ratio["max"])
    values = [both[side]["median"] if isinstance(both[side], Mapping) else both[side] for side in ("ours", "notebook")]
    return Cell(ratio_form.format(median), spread + f"{form} / {form}".format(*values), is_strong=True)


def sentences(measured: Figures) -> list[str]:
    """Start, memory and speed by the number of rows, and preparing, as far as they were measured."""
    found = []
    if "startup" in measured:
        seconds = {name: figures["seconds"] for name, figures in measured["startup"]["starts"].items()}
        helps = [value for name, value in seconds.items() if "--help" in name]
        words = [f"{name} {value:.2f} s" for name, value in seconds.items() if "--help" not in name]
        found.append(f"Start: {', '.join(words)}; `--help` of the scripts {min(helps):.2f} to {max(helps):.2f} s.")
        if profile := measured["startup"].get("profile"):
            shares = ", ".join(f"{package} {value:.2f} s" for package, value in profile.items())
            found.append(f"What `semart-hf predict` imports, by package: {shares}.")
    for way, figures in measured.get("memory", {}).get("ways", {}).items():
        peaks = rows_in_words(figures["peak_mb"])
        speeds = [f"{int(rows):,} rows {speed:.0f}" for rows, speed in figures.get("rows_per_second", {}).items()]
        found.append(
            f"Peak memory of our training by the data's size, {way}, small towers: {peaks}."
            + (f" Rows a second: {', '.join(speeds)}." if speeds else "")
        )
    if "data" in measured:
        data = measured["data"]
        ours, naive = (data[way]["pictures_per_second"] for way in ("prepared", "naive"))
        peaks = rows_in_words({rows: figures["peak_mb"] for rows, figures in data["rows"].items()})
        found.append(
            f"Preparing pictures of 1,000 x 1,250 ({data['picture_bytes'] / 1000:.0f} KB each): {ours:.1f} a second, "
            f"report and all; PIL at full size in `datasets.map`, to PNG: {naive:.1f}. Peak memory of the first: "
            f"{peaks}."
        )
    return found


def rows_in_words(peaks: Mapping[str, int]) -> str:
    """For example `1,000 rows 1,026 MiB`."""
    return ", ".join(f"{int(rows):,} rows {peak:,} MiB" for rows, peak in peaks.items())
