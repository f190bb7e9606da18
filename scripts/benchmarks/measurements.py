"""Training and inference of each tower, ours beside the notebook's and the limit, and memory by the number of rows."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, made_bench, recipe_of, work_folder
from benchmarks.techniques import techniques_of
from benchmarks.turns import (
    Side,
    alternate,
    figure,
    milliseconds,
    ratio,
    rows_per_processor_second,
    rows_per_second,
    significant,
)

MEBIBYTE = 2**20
BATCH = 32
INFERENCE_ROWS = 256
# Of fewer backgrounds, half of 50,000 rows would be copies, and be reported.
SMALL_PICTURES: dict[str, Any] = {"picture_size": (64, 80), "picture_bytes": 2_000, "num_backgrounds": 4_000}
SMALL_TEXT_TOWER = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
MEMORY_STEPS = 40
SMALL_RECIPE = """vision: test_resnet
image_size: 32
frozen_vision_stages: 1
trainable_text_layers: 1
fusion_dim: 64
cache_frozen_text: "true"
num_train_epochs: 1
per_device_train_batch_size: 32
dataloader_num_workers: 2
"""


def measure_training(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of training with every tower."""
    rows = options.rows // BATCH * BATCH  # whole batches on both sides
    if rows == 0:
        raise ValueError(f"rows is {options.rows}, but a batch has {BATCH}. Give {BATCH} or more.")
    towers: dict[str, Any] = {}
    print(f"Making {rows} paintings ...", flush=True)
    # scripts/train.py scores the validation rows at its end.
    with made_bench(rows, num_validation_rows=BATCH, **bench_options(options)) as bench:
        preparation = None
        for tower in options.tower:
            print(f"Training with {tower} ...", flush=True)
            towers[tower] = measure_training_of(bench, recipe_of(tower), options, preparation)
            preparation = towers[tower]["preparation_seconds"]
    return {"data": data_of(bench), "towers": towers}


def measure_training_of(
    bench: Bench, recipe: Path, options: argparse.Namespace, preparation: float | None
) -> dict[str, Any]:
    """Figures of training with one tower.

    Small pictures and frozen texts are made by its first run, and read from the cache by the next: how many seconds
    `preparation` took is known from another tower, or learned by starting a second time.
    """
    ours, notebook = bench.training_side("ours", recipe), bench.side("notebook", "notebook-train", recipe)
    limit = bench.side("limit", "limit-train", recipe)
    if preparation is None:
        with bench.training_side("cold", recipe) as cold:
            pass
    with ours:
        if preparation is None:
            preparation = max(0.0, cold.seconds_to_first_step - ours.seconds_to_first_step)
        with notebook, limit:
            alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
        epoch = {side.name: bench.data_facts["rows"] / speed(side)["median"] for side in (ours, notebook)}
        measured = {
            **compared(ours, notebook, limit),
            "share_of_limit": ratio(ours, limit, rows_per_second),
            "seconds_an_epoch": {name: significant(seconds) for name, seconds in epoch.items()},
            "preparation_seconds": round(preparation, 1),
            "cold_run": estimated_run(ours, notebook, bench.data_facts["rows"], options.epochs, preparation),
        }
        if options.without_each:
            measured["without"] = without_each(bench, recipe, ours, options)
    return measured


def estimated_run(ours: Side, notebook: Side, rows: int, epochs: int, preparation: float) -> dict[str, Any]:
    """Seconds of a run of all epochs from a cold start, estimated from measured parts."""
    seconds = {
        side.name: side.seconds_to_first_step + (rows * epochs - BATCH) / speed(side)["median"]
        for side in (ours, notebook)
    }
    seconds["ours"] += preparation
    return {
        "is_estimated": True,
        "epochs": epochs,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "first_step_seconds": {side.name: round(side.seconds_to_first_step, 1) for side in (ours, notebook)},
        "ratio": significant(seconds["notebook"] / seconds["ours"]),
    }


def without_each(bench: Bench, recipe: Path, ours: Side, options: argparse.Namespace) -> dict[str, Any]:
    """Speed of our side without one technique over that with all, by the technique's name."""
    without: dict[str, Any] = {}
    for technique, fields in techniques_of(bench.setting(recipe).vision, bench.device).items():
        ours.turns.clear()
        with bench.training_side(f"without {technique}", recipe, fields, without=technique) as side:
            alternate([ours, side], repeats=max(2, options.repeats // 2), seconds=options.seconds)
        without[technique] = {
            "speed": ratio(side, ours, rows_per_second),
            "speed_by_processor_time": ratio(side, ours, rows_per_processor_second),
            "peak_mb": round(side.peak_bytes / MEBIBYTE),
            "fields": fields,
        }
    return without


def measure_inference(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of inference with every tower: paintings a second in batches, and the latency of one with its text."""
    towers = {}
    print(f"Making {INFERENCE_ROWS} paintings ...", flush=True)
    with made_bench(INFERENCE_ROWS, **bench_options(options)) as bench:
        for tower in options.tower:
            print(f"Inference with {tower} ...", flush=True)
            towers[tower] = measure_inference_of(bench, recipe_of(tower), options)
    return {"data": data_of(bench), "towers": towers}


def measure_inference_of(bench: Bench, recipe: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of inference with one tower."""
    from benchmarks.sides import save_model

    model = save_model(bench, recipe)
    with ExitStack() as stack:
        ours, notebook, limit = (
            stack.enter_context(bench.side(name, part, recipe, *words))
            for name, part, words in (
                ("ours", "ours-predict", [model]),
                ("notebook", "notebook-predict", []),
                ("limit", "limit-predict", []),
            )
        )
        alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
    answers = bench.side("ours", "ours-answer", recipe, model), bench.side("notebook", "notebook-answer", recipe)
    with answers[0], answers[1]:
        alternate(answers[::-1], repeats=options.repeats, seconds=options.seconds / 2)
    return {
        **compared(ours, notebook, limit),
        "latency_ms": {side.name: figure(side, milliseconds) for side in answers},
        "latency_ratio": ratio(*answers, milliseconds),
    }


def compared(ours: Side, notebook: Side, limit: Side) -> dict[str, Any]:
    """What training and inference have in common: speeds, their ratios, the limit's format, and memory."""
    return {
        "rows_per_second": {side.name: speed(side) for side in (ours, notebook, limit)},
        "ratio": ratio(ours, notebook, rows_per_second),
        "ratio_of_processor_time": ratio(ours, notebook, rows_per_processor_second),
        "limit_formats": limit.facts.get("formats"),
        "limit_format": limit.facts.get("format"),
        "peak_mb": {side.name: round(side.peak_bytes / MEBIBYTE) for side in (ours, notebook)},
        "gpu_peak_mb": {side.name: side.facts.get("gpu_peak_mb") for side in (ours, notebook)},
    }


def speed(side: Side) -> dict[str, float]:
    """Rows a second of a side."""
    return figure(side, rows_per_second)


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak megabytes of training by the number of rows, with towers that hold next to nothing and empty caches.

    Preparing and caching count: they take place in the measured process or its children.
    """
    peaks: dict[str, int] = {}
    with work_folder(options.work_dir) as folder:
        recipe = folder / "recipe.yaml"
        recipe.write_text(SMALL_RECIPE, encoding="utf-8")
        for number in options.rows:
            print(f"Making {number} rows, and training on them ...", flush=True)
            with (
                made_bench(number, work_dir=folder, text_sizes=SMALL_TEXT_TOWER, **SMALL_PICTURES) as bench,
                bench.training_side("memory", recipe) as side,
            ):
                side.take_turn(min(MEMORY_STEPS, number // BATCH - 1))
            peaks[str(number)] = round(side.peak_bytes / MEBIBYTE)
    return {"peak_mb": peaks, "growth": round(max(peaks.values()) / min(peaks.values()) - 1, 3)}


def bench_options(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the bench."""
    return {name: getattr(options, name) for name in ("text_length", "device", "work_dir")}


def data_of(bench: Bench) -> Mapping[str, Any]:
    """What figures say of the data that they come from."""
    return {**bench.data_facts, "text_length": bench.text_length, "device": bench.device}
