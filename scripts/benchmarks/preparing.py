"""Preparing a catalogue: pictures a second and memory by the number of rows, ours beside the usual way."""

from __future__ import annotations

import argparse
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import FRONT, work_folder
from benchmarks.guarded import Guarded
from benchmarks.made_release import make_release
from benchmarks.process_memory import memory_of_tree

OFFICIAL_BYTES = 250_000  # as the official scans that are large; most of SemArt's are lighter (see made_release)
SMALL_PICTURES: dict[str, Any] = {"picture_size": (64, 80), "picture_bytes": 2_000}


def measure_preparation(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of preparing official-size pictures, ours and naively, and of many rows with small pictures."""
    numbers, few, many = {"prepared": options.pictures, "naive": options.naive_pictures}, *options.rows
    with work_folder(options.work_dir) as folder:
        figures: dict[str, Any] = {"num_proc": options.num_proc}
        for way, number in numbers.items():
            print(f"Preparing {number} pictures: {way} ...", flush=True)
            made = make_release(folder / way, number, picture_bytes=OFFICIAL_BYTES)
            figures["picture_bytes"] = made["picture_bytes"]
            figures[way] = measure(way, folder / way, folder / f"{way}-out", options.num_proc)
            for unit in ("second", "cpu_second"):  # the latter is the same on a busy machine
                figures[way][f"pictures_per_{unit}"] = round(number / figures[way][f"{unit}s"], 1)
        speeds = [figures[way]["pictures_per_cpu_second"] for way in numbers]
        figures["times_naive_by_cpu"] = round(speeds[0] / speeds[1], 1)
        figures["rows"] = {}
        for rows in (few, many):
            print(f"Preparing {rows} rows ...", flush=True)
            release = folder / f"rows-{rows}"
            make_release(release, rows, **SMALL_PICTURES)
            figures["rows"][str(rows)] = measure("prepared", release, folder / f"{rows}-out", options.num_proc)
    growth = figures["rows"][str(many)]["peak_mb"] - figures["rows"][str(few)]["peak_mb"]
    return figures | {"kb_per_further_row": round(1024 * growth / (many - few), 2)}


def measure(way: str, release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds of a way in a process of its own, imports left out, and the largest memory of it and its children.

    Raises:
        RuntimeError: If it fails.
    """
    peak = 0
    command = [sys.executable, str(FRONT), "prepare-side", way, str(release), str(output), str(num_proc)]
    with Guarded(command) as process:
        while not process.has_ended():
            peak = max(peak, memory_of_tree(process.pid, "Pss:"))
            time.sleep(0.1)
        process.check(way)
        return {**json.loads(process.printed().splitlines()[-1]), "peak_mb": round(peak / 2**20)}


def run_way(way: str, release: str, output: str, num_proc: str) -> None:
    """Prepare a release in this process, and print the seconds that went by and that were computed."""
    start, cpu_start = time.perf_counter(), cpu_seconds()
    WAYS[way](Path(release), Path(output), int(num_proc))
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu_start}
    print(json.dumps({name: round(seconds, 2) for name, seconds in spent.items()}))


def prepare(release: Path, output: Path, num_proc: int) -> None:
    """From the release to the finished folder, report and all."""
    from semart_hf.catalogue.release import read_rows
    from semart_hf.preparation.preparation import prepare_paintings

    prepare_paintings(read_rows(release), output, num_proc=num_proc)


def prepare_naively(release: Path, output: Path, num_proc: int) -> None:
    """The usual way: PIL at full size, `datasets.map` to PNG, saved to disk."""
    import datasets
    import pandas as pd
    from PIL import Image

    def shrink(row: dict[str, Any]) -> dict[str, Any]:
        picture = Image.open(release / "Images" / row["IMAGE_FILE"], formats=["JPEG"]).convert("RGB")
        scale = 288 / min(picture.size)
        file = io.BytesIO()
        picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS).save(file, "PNG")
        return {"image": {"bytes": file.getvalue(), "path": None}}

    frame = pd.read_csv(release / "semart_train.csv", sep="\t", encoding="cp1252")
    dataset = datasets.Dataset.from_pandas(frame).map(shrink, num_proc=num_proc)
    dataset.cast_column("image", datasets.Image()).save_to_disk(output)


WAYS: dict[str, Callable[[Path, Path, int], None]] = {"prepared": prepare, "naive": prepare_naively}


def cpu_seconds() -> float:
    """What this process and its ended children have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
