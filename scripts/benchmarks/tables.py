"""The figures as tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import cell

# A table is cut to the terminal, but not where it is written to a file.
CONSOLE = Console(width=None if sys.stdout.isatty() else 160)


def print_training(measured: Mapping[str, Any]) -> None:
    """Rows a second of each side, their ratios, and a whole run from a cold start."""
    table = Table(
        "training",
        "ours rows/s",
        "notebook rows/s",
        "ratio",
        "by processor time",
        "limit rows/s",
        "share of limit",
        "run from cold",
        "peak MB",
    )
    for tower, figures in measured["towers"].items():
        speeds, cold = figures["rows_per_second"], figures["cold_run"]
        run = f"{cold['seconds']['ours']:.0f} s / {cold['seconds']['notebook']:.0f} s = {1 / cold['ratio']:.2f}"
        run += f" ({cold['ratio']:.2f} times as fast{', reckoned' if cold['is_reckoned'] else ''})"
        peaks = figures["peak_mb"]
        table.add_row(
            tower,
            cell(speeds["ours"], 1),
            cell(speeds["notebook"], 1),
            cell(figures["ratio"]),
            cell(figures["ratio_of_processor_time"]),
            f"{cell(speeds['limit'], 1)} {figures['limit_format']}",
            cell(figures["share_of_limit"]),
            run,
            f"{peaks['ours']} / {peaks['notebook']}",
        )
    CONSOLE.print(table)
    CONSOLE.print("Median turn, in brackets the smallest and largest. Ratios are formed turn by turn.")


def print_onnx(measured: Mapping[str, Any]) -> None:
    """Milliseconds of a call of each graph of each tower."""
    table = Table("ONNX", "graph", "MB", "difference", "paintings", "torch ms", "onnxruntime ms", "times as fast")
    for tower, graphs in measured["towers"].items():
        for name, graph in graphs.items():
            for batch, found in graph["batches"].items():
                milliseconds = found["latency_ms"]
                table.add_row(
                    tower,
                    name,
                    cell(graph["mb"], 1),
                    f"{graph['max_difference']:.1e}",
                    str(batch),
                    cell(milliseconds["torch"], 1),
                    cell(milliseconds["onnxruntime"], 1),
                    cell(found["times_as_fast"]),
                )
    CONSOLE.print(table)
    CONSOLE.print("Median turn, in brackets the smallest and largest. Random weights, float32, the same threads.")


def print_means(measured: Mapping[str, Any]) -> None:
    """What is left of the speed without each means, where that was measured."""
    rows = [
        (tower, name, figures)
        for tower, tower_figures in measured["towers"].items()
        for name, figures in tower_figures.get("without", {}).items()
    ]
    if not rows:
        return
    table = Table("tower", "without", "speed over all means", "by processor time", "peak MB")
    for tower, name, figures in rows:
        speeds = (cell(figures["speed"]), cell(figures["speed_by_processor_time"]))
        table.add_row(tower, name, *speeds, str(figures["peak_mb"]))
    CONSOLE.print(table)


def print_memory(memory: Mapping[str, Any]) -> None:
    """Peak memory by the number of rows."""
    table = Table("rows", "peak MB of training")
    for rows, peak in memory["peak_mb"].items():
        table.add_row(rows, str(peak))
    CONSOLE.print(table)
    CONSOLE.print(f"Growth {memory['growth']:.1%}")


def print_inference(measured: Mapping[str, Any]) -> None:
    """Paintings a second in batches, and the latency of one."""
    table = Table(
        "inference",
        "ours rows/s",
        "notebook rows/s",
        "ratio",
        "by processor time",
        "limit rows/s",
        "one painting ms",
        "ratio",
        "peak MB",
    )
    for tower, figures in measured["towers"].items():
        speeds, latencies, peaks = figures["rows_per_second"], figures["latency_ms"], figures["peak_mb"]
        table.add_row(
            tower,
            cell(speeds["ours"], 1),
            cell(speeds["notebook"], 1),
            cell(figures["ratio"]),
            cell(figures["ratio_of_processor_time"]),
            f"{cell(speeds['limit'], 1)} {figures['limit_format']}",
            f"{cell(latencies['ours'], 0)} / {cell(latencies['notebook'], 0)}",
            cell(figures["latency_ratio"]),
            f"{peaks['ours']} / {peaks['notebook']}",
        )
    CONSOLE.print(table)


def print_start(measured: Mapping[str, Any]) -> None:
    """Seconds of each start, and what its imports were."""
    table = Table("start", "seconds", "imports, seconds")
    for name, figures in measured.items():
        imports = ", ".join(f"{package} {seconds:.2f}" for package, seconds in figures["imports"].items())
        table.add_row(name, cell(figures["seconds"]), imports)
    CONSOLE.print(table)
