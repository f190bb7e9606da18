"""Inference: paintings a second in batches, and the latency of one with its text, ours and the notebook's in turns."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.bench import Bench, made_bench, recipe_of
from benchmarks.measured import setting_of
from benchmarks.sides import alternate
from benchmarks.tables import print_inference

NUM_ROWS = 256
MEBIBYTE = 2**20


def measure_inference(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of every tower, printed as a table."""
    measured: dict[str, Any] = {}
    print(f"Making {NUM_ROWS} paintings ...", flush=True)
    with made_bench(
        NUM_ROWS,
        text_length=options.text_length,
        device=options.device,
        work_dir=options.work_dir,
        text_sizes=options.text_args,
    ) as bench:
        measured["data"] = {**bench.data_facts, "text_length": bench.text_length, "device": bench.device}
        measured["towers"] = {}
        for tower in options.tower:
            print(f"Inference with {tower} ...", flush=True)
            measured["towers"][tower] = measure_tower(bench, recipe_of(tower), options)
    print_inference(measured)
    return measured


def measure_tower(bench: Bench, recipe: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one tower."""
    model = save_model(bench, recipe)
    limit_words = ["--compiled"] if options.compiled_limit else []
    with ExitStack() as stack:
        ours = stack.enter_context(bench.python_side("ours", "ours-predict", recipe, "--model", str(model)))
        notebook = stack.enter_context(bench.python_side("notebook", "notebook-predict", recipe))
        limit = stack.enter_context(bench.python_side("limit", "limit-inference", recipe, *limit_words))
        alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
    with ExitStack() as stack:
        our_answer = stack.enter_context(bench.python_side("ours", "ours-answer", recipe, "--model", str(model)))
        notebook_answer = stack.enter_context(bench.python_side("notebook", "notebook-answer", recipe))
        alternate([notebook_answer, our_answer], repeats=options.repeats, seconds=options.seconds / 2)
    return {
        "rows_per_second": {side.name: figures.speed(side) for side in (ours, notebook, limit)},
        "ratio": figures.speed_ratio(ours, notebook),
        "ratio_of_processor_time": figures.work_ratio(ours, notebook),
        "limit_formats": limit.facts.get("formats"),
        "limit_format": limit.facts.get("format"),
        "latency_ms": {side.name: figures.latency(side) for side in (our_answer, notebook_answer)},
        "latency_ratio": figures.latency_ratio(our_answer, notebook_answer),
        "peak_mb": {side.name: round(side.peak_bytes / MEBIBYTE) for side in (ours, notebook)},
        "gpu_peak_mb": {side.name: side.facts.get("gpu_peak_mb") for side in (ours, notebook)},
    }


def save_model(bench: Bench, recipe: Path) -> Path:
    """The folder of a finished model with random weights."""
    from benchmarks import ours

    folder = bench.folder / f"saved-{recipe.stem}"
    if not folder.is_dir():
        ours.save_model(setting_of(bench.setting_words(recipe)), folder)
    return folder
