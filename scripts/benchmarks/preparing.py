"""Preparing a catalogue: pictures a second and memory by the number of rows, ours beside the usual way."""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench import FRONT, work_folder
from benchmarks.sides import memory_of_tree
from benchmarks.stand_in import PICTURE_SIZE, make_release

# As the official scans that are large; most of SemArt's are lighter (see stand_in).
OFFICIAL_BYTES = 250_000

# Pictures where only the number of rows matters.
SMALL_SIZE, SMALL_BYTES = (64, 80), 2_000


def measure_preparation(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of preparing official-size pictures, ours and naively, and of many rows with small pictures."""
    with work_folder(options.work_dir) as folder:
        print(f"Making {options.pictures} pictures of {PICTURE_SIZE[0]} x {PICTURE_SIZE[1]} ...", file=sys.stderr)
        made = make_release(folder / "official", options.pictures, picture_bytes=OFFICIAL_BYTES)
        make_release(folder / "naive", options.naive_pictures, picture_bytes=OFFICIAL_BYTES)
        figures: dict[str, Any] = {"num_proc": options.num_proc, "picture_bytes": made["picture_bytes"]}
        for way, release, number in (
            ("prepared", "official", options.pictures),
            ("naive", "naive", options.naive_pictures),
        ):
            figures[way] = measure(way, folder / release, folder / f"{way}-out", options.num_proc)
            for unit in ("second", "cpu_second"):  # the latter is the same on a busy machine
                figures[way][f"pictures_per_{unit}"] = round(number / figures[way][f"{unit}s"], 1)
        figures["times_naive_by_cpu"] = round(
            figures["prepared"]["pictures_per_cpu_second"] / figures["naive"]["pictures_per_cpu_second"], 1
        )
        few, many = options.rows
        figures["rows"] = {}
        for rows in (few, many):
            print(f"Making {rows} rows ...", file=sys.stderr)
            make_release(folder / f"rows-{rows}", rows, picture_size=SMALL_SIZE, picture_bytes=SMALL_BYTES)
            figures["rows"][rows] = measure(
                "prepared", folder / f"rows-{rows}", folder / f"rows-{rows}-out", options.num_proc
            )
        growth = figures["rows"][many]["peak_mb"] - figures["rows"][few]["peak_mb"]
        figures["kb_per_further_row"] = round(1024 * growth / (many - few), 2)
    return figures


def measure(way: str, release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds of a step in a process of its own, imports left out, and the largest memory of it and its children."""
    command = [sys.executable, str(FRONT), "side", "prepare", way, str(release), str(output), str(num_proc)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.1):
            peak = max(peak, memory_of_tree(process.pid, ["Pss:"]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    finished.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"error: the step {way!r} failed, see above")
    return {**json.loads(printed.splitlines()[-1]), "peak_mb": round(peak / 2**20)}


def prepare_step(release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds from the release to the finished folder, report and all."""
    from semart_hf.catalogue.release import read_rows
    from semart_hf.preparation.preparation import prepare_paintings

    with stopwatch() as spent:
        prepare_paintings(read_rows(release), output, num_proc=num_proc)
    return spent


def naive_step(release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds of the usual way: PIL at full size, `datasets.map` to PNG, saved to disk."""
    import datasets
    import pandas as pd
    from PIL import Image

    def shrink(row: dict[str, Any]) -> dict[str, Any]:
        picture = Image.open(release / "Images" / row["IMAGE_FILE"], formats=["JPEG"]).convert("RGB")
        scale = 288 / min(picture.size)
        file = io.BytesIO()
        picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS).save(file, "PNG")
        return {"image": {"bytes": file.getvalue(), "path": None}}

    with stopwatch() as spent:
        frame = pd.read_csv(release / "semart_train.csv", sep="\t", encoding="cp1252")
        dataset = datasets.Dataset.from_pandas(frame).map(shrink, num_proc=num_proc)
        dataset.cast_column("image", datasets.Image()).save_to_disk(output)
    return spent


#: What can be measured in a process of its own.
STEPS: dict[str, Callable[[Path, Path, int], dict[str, float]]] = {"prepared": prepare_step, "naive": naive_step}


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Filled at the end of the block: seconds that went by, and that this process and its children computed."""
    spent: dict[str, float] = {}
    start, cpu_start = time.perf_counter(), cpu_seconds()
    yield spent
    spent["seconds"] = round(time.perf_counter() - start, 2)
    spent["cpu_seconds"] = round(cpu_seconds() - cpu_start, 2)


def cpu_seconds() -> float:
    """What this process and its ended children have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
