"""Measured speeds as Markdown, for the terminal and docs/speed.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from benchmarks.bench import FIELDS
from semart_hf.documents.table import DASH, Cell, Table
from semart_hf.training.techniques import TRAINING_TECHNIQUES

TOWERS = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0", "vit_tiny": "ViT-Tiny"}
Figures = Mapping[str, Any]
# A row's name, the keys of the ratio and of both sides' figures that it shows, and how each is written.
SPEEDS = [
    ("training, times as fast; paintings a second", "train/ratio", "train/rows_per_second", "{:.1f}", "{:.1f}"),
    (
        "10 epochs from a cold start, estimated; s",
        "train/cold_run/ratio",
        "train/cold_run/seconds",
        "{:.1f}",
        "{:.0f}",
    ),
    ("training, share of the arithmetic's limit", "train/share_of_limit", "", "{:.2f}", ""),
    ("training, speed left beside a busy process", "", "train/beside/speed", "", "{:.2f}"),
    ("peak memory in training, MiB", "", "train/peak_mb", "", "{:,}"),
    (
        "inference, times as fast; paintings a second",
        "inference/ratio",
        "inference/rows_per_second",
        "{:.1f}",
        "{:.1f}",
    ),
    ("inference, share of the model's limit", "inference/share_of_limit", "", "{:.2f}", ""),
    ("inference, speed left beside a busy process", "", "inference/beside/speed", "", "{:.2f}"),
    ("one painting, share of the time; ms", "inference/latency_ratio", "inference/latency_ms", "{:.2f}", "{:.0f}"),
    ("peak memory in inference, MiB", "", "inference/peak_mb", "", "{:,}"),
    ("a catalogue's suggestions, share of the pipeline's rate", "inference/catalogue_ratio", "", "{:.2f}", ""),
]
TECHNIQUES = [
    (name, f"train/without/{name}/speed", "", "{:.2f}", "")
    for name in (*FIELDS, *(technique.name for technique in TRAINING_TECHNIQUES))
]
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
    tables = [
        tower_table("ours / the notebook's", measured, SPEEDS),
        tower_table("speed left without", measured, TECHNIQUES),
    ]
    environment = next(iter(measured.values()))["environment"]
    commits = dict.fromkeys(part["environment"]["commit"] for part in measured.values())  # parts are measured apart
    where = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    missing = [words for part, words in PARTS.items() if part not in measured]
    missing += [] if tables[1] else ["each technique removed"]
    data = measured.get("train", {}).get("data", {})
    missing += [] if data.get("device") == "cuda" else ["a GPU"]
    about = (
        f"Median turn (slowest–fastest; both) of both sides in turns, the same model, data ({data.get('rows', 0):,} "
        f"paintings in training) and batch; {where}, torch {environment['torch']}, commit {', '.join(commits)}. "
        "Written by `scripts/render_docs.py`." + (f" Not measured here: {', '.join(missing)}." if missing else "")
    )
    return "\n\n".join(filter(None, [*tables, *sentences(measured), about]))


def tower_table(title: str, measured: Figures, rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    """A table with a column for each tower, and a row for what any of them has; empty where nothing was measured."""
    parts = {part: measured.get(part, {}).get("towers", {}) for part in ("train", "inference")}
    towers = list(dict.fromkeys([*parts["train"], *parts["inference"]]))
    figures = [{part: found.get(tower) for part, found in parts.items()} for tower in towers]
    lines = [[name, *(cell(of_tower, *how) for of_tower in figures)] for name, *how in rows]
    lines = [line for line in lines if set(line[1:]) - {DASH}]
    header = [title, *(TOWERS.get(tower, tower) for tower in towers)]
    return Table(header, lines, num_text_columns=len(header)).markdown() if lines else ""


def cell(figures: Any, ratio: str, both: str, ratio_form: str, form: str) -> Cell | str:
    """For example `**4.0** (3.9–4.2; 20.1 / 5.0)`: a ratio, its spread if it has one, and both sides' figures."""
    found, sides = (reduce(lambda one, key: (one or {}).get(key), keys.split("/"), figures) for keys in (ratio, both))
    if not found and not sides:
        return DASH
    values = [_median(sides[side]) for side in ("ours", "notebook")] if sides else []
    words = " / ".join(form.format(value) for value in values)
    if not found:
        return words
    spread = f"{ratio_form}–{ratio_form}".format(found["min"], found["max"]) if isinstance(found, Mapping) else ""
    return Cell(ratio_form.format(_median(found)), "; ".join(filter(None, [spread, words])), is_strong=bool(words))


def _median(figure: Any) -> Any:
    return figure["median"] if isinstance(figure, Mapping) else figure


def sentences(measured: Figures) -> list[str]:
    """Start, memory and speed by the number of rows, and preparing, as far as they were measured."""
    found = []
    if "startup" in measured:
        seconds = {name: figures["seconds"] for name, figures in measured["startup"]["starts"].items()}
        helps = [value for name, value in seconds.items() if "--help" in name]
        words = [f"{name} {value:.2f} s" for name, value in seconds.items() if "--help" not in name]
        found.append(f"Start: {', '.join(words)}; `--help` of the scripts {min(helps):.2f} to {max(helps):.2f} s.")
        shares = ", ".join(f"{package} {value:.2f} s" for package, value in measured["startup"]["profile"].items())
        found.append(f"What `semart-hf predict` imports, by package: {shares}.")
    for way, figures in measured.get("memory", {}).get("ways", {}).items():
        peaks = rows_in_words(figures["peak_mb"])
        speeds = [f"{int(rows):,} rows {speed:.0f}" for rows, speed in figures.get("rows_per_second", {}).items()]
        found.append(
            f"Peak memory of our training by the data's size, {way}, small towers: {peaks}."
            + (f" Rows a second: {', '.join(speeds)}." if speeds else "")
        )
    if data := measured.get("data"):
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
