"""Measured speeds as Markdown, for the terminal and the README."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

TOWERS = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0", "vit_tiny": "ViT-Tiny"}
Figures = Mapping[str, Any]


def speed_text(measured: Figures) -> str:
    """What scripts/benchmark.py measured on one machine: tables, sentences, the machine, and what is missing."""
    sentences = (start_sentence, memory_sentence, preparation_sentence)
    parts = [speed_table(measured), technique_table(measured), *(sentence(measured) for sentence in sentences)]
    environment = next(iter(measured.values()))["environment"]
    commits = dict.fromkeys(part["environment"]["commit"] for part in measured.values())  # parts are measured apart
    where = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    parts.append(
        f"Median turn (slowest–fastest) of both sides in turns, the same model, data and batch; {where}, torch "
        f"{environment['torch']}, commit {', '.join(commits)}. Written by `scripts/render_readme.py`. "
        + missing_sentence(measured)
    )
    return "\n\n".join(part for part in parts if part)


def speed_table(measured: Figures) -> str:
    """Training and inference of each tower, ours over the notebook's."""
    training = measured.get("train", {}).get("towers", {})
    inference = measured.get("inference", {}).get("towers", {})
    towers = list(dict.fromkeys([*training, *inference]))
    if not towers:
        return ""
    rows: list[tuple[str, Figures, Callable[[Any], str]]] = []
    if training:
        run = next(iter(training.values()))["cold_run"]
        run_name = f"{run['epochs']} epochs of {int(measured['train']['data']['rows']):,} paintings from a cold start"
        rows += [
            ("training, paintings a second", training, ratio_words),
            (run_name + ", estimated from its parts", training, run_words),
            ("share of the arithmetic's limit", training, lambda f: f"{f['share_of_limit']['median']:.2f}"),
            ("peak memory in training", training, memory_words),
        ]
    if inference:
        rows += [
            ("inference, paintings a second", inference, ratio_words),
            ("one painting with its text", inference, latency_words),
            ("peak memory in inference", inference, memory_words),
        ]
    return table(
        ["ours over the notebook's", *(TOWERS.get(tower, tower) for tower in towers)],
        [
            [name, *(words(figures[tower]) if tower in figures else "–" for tower in towers)]
            for name, figures, words in rows
        ],
    )


def technique_table(measured: Figures) -> str:
    """What is left of the training speed without each technique; empty where that was not measured."""
    towers = {
        TOWERS.get(tower, tower): figures["without"]
        for tower, figures in measured.get("train", {}).get("towers", {}).items()
        if figures.get("without")
    }
    names = dict.fromkeys(name for without in towers.values() for name in without)
    rows = [
        [name, *(f"{found[name]['speed']['median']:.2f}" if name in found else "–" for found in towers.values())]
        for name in names
    ]
    return table(["speed left without", *towers], rows) if rows else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def ratio_words(figures: Figures) -> str:
    """For example `20.1 / 5.0: **4.0** (3.9–4.2) times as fast`."""
    ours, notebook = (figures["rows_per_second"][side]["median"] for side in ("ours", "notebook"))
    ratio = figures["ratio"]
    spread = f"({ratio['min']:.1f}–{ratio['max']:.1f})"
    return f"{ours:.1f} / {notebook:.1f}: **{ratio['median']:.1f}** {spread} times as fast"


def run_words(figures: Figures) -> str:
    """For example `120 s / 480 s: **4.0** times as fast`."""
    run = figures["cold_run"]
    seconds = run["seconds"]
    return f"{seconds['ours']:.0f} s / {seconds['notebook']:.0f} s: **{run['ratio']:.1f}** times as fast"


def latency_words(figures: Figures) -> str:
    """For example `60 / 120 ms: **0.50** of its time`."""
    ours, notebook = (figures["latency_ms"][side]["median"] for side in ("ours", "notebook"))
    return f"{ours:.0f} / {notebook:.0f} ms: **{figures['latency_ratio']['median']:.2f}** of its time"


def memory_words(figures: Figures) -> str:
    """For example `1.6 / 1.7 GiB`."""
    return f"{figures['peak_mb']['ours'] / 1024:.1f} / {figures['peak_mb']['notebook'] / 1024:.1f} GiB"


def start_sentence(measured: Figures) -> str:
    """Seconds of importing, and of a first prediction."""
    starts = measured.get("startup", {}).get("starts", {})
    helps = [figures["seconds"] for name, figures in starts.items() if "--help" in name]
    words = [f"{name} {figures['seconds']:.2f} s" for name, figures in starts.items() if "--help" not in name]
    if not starts:
        return ""
    return "Start: " + ", ".join(words) + f"; `--help` of the scripts {min(helps):.2f} to {max(helps):.2f} s."


def memory_sentence(measured: Figures) -> str:
    """Peak memory by the number of rows."""
    peaks = measured.get("memory", {}).get("peak_mb", {})
    words = [f"{int(rows):,} rows {peak:,} MiB" for rows, peak in peaks.items()]
    return f"Peak memory of our training by the data's size, small towers: {', '.join(words)}." if words else ""


def preparation_sentence(measured: Figures) -> str:
    """Pictures a second of `prepare_data.py`, and its memory by the number of rows."""
    data = measured.get("data")
    if not data:
        return ""
    speeds = [data[way]["pictures_per_second"] for way in ("prepared", "naive")]
    peaks = [f"{int(rows):,} rows {figures['peak_mb']:,} MiB" for rows, figures in data["rows"].items()]
    return (
        f"Preparing pictures of 1,000 x 1,250 ({data['picture_bytes'] / 1000:.0f} KB each): {speeds[0]:.1f} a second, "
        f"report and all; PIL at full size in `datasets.map`, to PNG: {speeds[1]:.1f}. Peak memory of the first: "
        f"{', '.join(peaks)}."
    )


def missing_sentence(measured: Figures) -> str:
    """What a reader may look for that this machine's file does not hold."""
    training = measured.get("train", {})
    missing = {
        "training": "train" not in measured,
        "inference": "inference" not in measured,
        "each technique removed": not technique_table(measured),
        "memory by the number of rows": "memory" not in measured,
        "start": "startup" not in measured,
        "preparing": "data" not in measured,
        "a GPU": training.get("data", {}).get("device") != "cuda",
    }
    words = [name for name, is_missing in missing.items() if is_missing]
    return f"Not measured here: {', '.join(words)}." if words else ""
