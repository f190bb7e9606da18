"""Training: ours, the notebook's and the limit in turns; a run from a cold start; each means removed."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.bench import Bench, architecture, made_bench, recipe_of
from benchmarks.means import MEANS, WITHOUT_VARIABLE
from benchmarks.sides import Side, alternate
from benchmarks.tables import print_means, print_training
from semart_hf.training.recipe import read_recipe

MEBIBYTE = 2**20
BATCH = 32


def measure_training(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of every tower, printed as tables."""
    measured: dict[str, Any] = {}
    rows = options.rows // BATCH * BATCH  # whole batches on both sides
    if rows == 0:
        raise ValueError(f"rows is {options.rows}, but a batch has {BATCH}. Give {BATCH} or more.")
    print(f"Making {rows} paintings ...", flush=True)
    with made_bench(
        rows,
        text_length=options.text_length,
        device=options.device,
        work_dir=options.work_dir,
        text_sizes=options.text_args,
        num_validation_rows=BATCH,  # what scripts/train.py scores at its end
    ) as bench:
        measured["data"] = {**bench.data_facts, "text_length": bench.text_length, "device": bench.device}
        measured["towers"] = {}
        preparation = None
        for tower in options.tower:
            print(f"Training with {tower} ...", flush=True)
            tower_figures = measure_tower(bench, recipe_of(tower), options, preparation)
            preparation = tower_figures["preparation_seconds"]
            measured["towers"][tower] = tower_figures
    print_training(measured)
    print_means(measured)
    return measured


def measure_tower(
    bench: Bench, recipe: Path, options: argparse.Namespace, preparation: float | None
) -> dict[str, Any]:
    """Figures of one tower.

    Args:
        bench: The made data.
        recipe: The tower's.
        options: The command line's.
        preparation: Seconds that small pictures and frozen texts took, where another tower's run left them in the
            cache; `None`: this run makes them, and is started a second time to learn how long that took.
    """
    ours = bench.training_side("ours", recipe)
    if preparation is None:
        with bench.training_side("cold", recipe) as cold:
            pass
    measured: dict[str, Any] = {}
    limit_words = ["--compiled"] if options.compiled_limit else []
    with ExitStack() as stack:
        notebook = stack.enter_context(bench.python_side("notebook", "notebook-train", recipe))
        limit = stack.enter_context(bench.python_side("limit", "limit-train", recipe, *limit_words))
        stack.enter_context(ours)
        if preparation is None:
            preparation = max(0.0, cold.seconds_to_first_step - ours.seconds_to_first_step)
        alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
        measured |= {
            "rows_per_second": {side.name: figures.speed(side) for side in (ours, notebook, limit)},
            "ratio": figures.speed_ratio(ours, notebook),
            "ratio_of_processor_time": figures.work_ratio(ours, notebook),
            "share_of_limit": figures.speed_ratio(ours, limit),
            "limit_formats": limit.facts.get("formats"),
            "limit_format": limit.facts.get("format"),
            "peak_mb": {side.name: round(side.peak_bytes / MEBIBYTE) for side in (ours, notebook)},
            "gpu_peak_mb": {side.name: side.facts.get("gpu_peak_mb") for side in (ours, notebook)},
            "seconds_an_epoch": {
                side.name: figures.significant(bench.data_facts["rows"] / figures.speed(side)["median"])
                for side in (ours, notebook)
            },
            "preparation_seconds": round(preparation, 1),
        }
        notebook.stop()
        limit.stop()
        if options.without_each:
            measured["without"] = without_each(bench, recipe, ours, options)
    if options.whole_run:
        measured["cold_run"] = whole_run(bench, recipe, options.epochs)
    else:
        measured["cold_run"] = reckoned_run(bench, ours, notebook, options.epochs, preparation)
    return measured


def without_each(bench: Bench, recipe: Path, ours: Side, options: argparse.Namespace) -> dict[str, Any]:
    """Speed of our side without one means over that with all, by the means' name."""
    without: dict[str, Any] = {}
    tower = architecture(read_recipe(recipe))
    for means in (means for means in MEANS if means.is_known() and means.is_of(tower, options.device)):
        ours.turns.clear()
        side = bench.training_side(f"without {means.name}", recipe, means.off)
        if means.undo is not None:
            side.environment = {**side.environment, WITHOUT_VARIABLE: means.name}
        with side:
            alternate([ours, side], repeats=max(2, options.repeats // 2), seconds=options.seconds)
            without[means.name] = {
                "speed": figures.speed_ratio(side, ours),
                "speed_by_processor_time": figures.work_ratio(side, ours),
                "peak_mb": round(side.peak_bytes / MEBIBYTE),
                "fields": means.off,
            }
    return without


def reckoned_run(bench: Bench, ours: Side, notebook: Side, epochs: int, preparation: float) -> dict[str, Any]:
    """Seconds of a run of all epochs from a cold start, reckoned from measured parts."""
    rows = int(bench.data_facts["rows"]) * epochs
    seconds = {
        side.name: figures.whole_run_seconds(
            preparation=preparation if side is ours else 0.0,
            first_step=side.seconds_to_first_step,
            rows_per_second=figures.speed(side)["median"],
            rows=rows - BATCH,
        )
        for side in (ours, notebook)
    }
    return {
        "is_reckoned": True,
        "epochs": epochs,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "first_step_seconds": {side.name: round(side.seconds_to_first_step, 1) for side in (ours, notebook)},
        "ratio": figures.significant(seconds["notebook"] / seconds["ours"]),
    }


def whole_run(bench: Bench, recipe: Path, epochs: int) -> dict[str, Any]:
    """Seconds of a run of all epochs from a cold start, each side really run once, with empty caches."""
    environment = {**bench.environment, "HF_DATASETS_CACHE": str(bench.folder / f"cold-{recipe.stem}")}
    commands = {
        "ours": bench.training_side("whole", recipe, {"num_train_epochs": epochs}).command,
        "notebook": bench.python_side("", "notebook-train", recipe, "--epochs", str(epochs)).command,
    }
    seconds = {name: run_seconds(command, environment) for name, command in commands.items()}
    return {
        "is_reckoned": False,
        "epochs": epochs,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "ratio": figures.significant(seconds["notebook"] / seconds["ours"]),
    }


def run_seconds(command: Any, environment: dict[str, str]) -> float:
    """Seconds of a command from start to end.

    Raises:
        RuntimeError: If it fails.
    """
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"A whole run failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start
