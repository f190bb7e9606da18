"""Measure what the package claims: `python scripts/benchmark.py data`."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Python looks for modules in a script's own folder first, where evaluate.py stands in for the library of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

OFFICIAL_SIZE = (1000, 1250)
OFFICIAL_BYTES = 250_000
COLUMNS = ["IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME"]
WORDS = (
    "the",
    "painter",
    "shows",
    "a",
    "quiet",
    "river",
    "under",
    "evening",
    "light",
    "while",
    "two",
    "figures",
    "rest",
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(description="Measure speed and memory, beside the naive way.")
    parts = parser.add_subparsers(dest="part", required=True)
    data = parts.add_parser("data", help="preparing a catalogue: pictures a second, and memory by number of rows")
    data.add_argument("--pictures", type=int, default=1000, help="of the official size (default: 1000)")
    data.add_argument("--naive_pictures", type=int, default=200, help="for the naive way (default: 200)")
    data.add_argument("--rows", type=int, nargs=2, default=[5_000, 50_000], help="whose memory is compared")
    data.add_argument("--num_proc", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    data.add_argument("--work_dir", type=Path, help="where the made catalogues lie (default: a temporary folder)")
    data.set_defaults(run=benchmark_data)
    parser.add_argument("--output", type=Path, help="write the figures as JSON here")
    step = parts.add_parser("step")  # one measured process, which this script starts itself
    step.add_argument("way", choices=sorted(STEPS))
    step.add_argument("release", type=Path)
    step.add_argument("folder", type=Path)
    step.add_argument("num_proc", type=int)
    step.set_defaults(run=None)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.part == "step":
        print(json.dumps(STEPS[options.way](options.release, options.folder, options.num_proc)))
        return
    figures = options.run(options)
    print(json.dumps(figures, indent=2))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


def benchmark_data(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of preparing official-size pictures, ours and naively, and of many rows with small pictures."""
    with work_folder(options.work_dir) as folder:
        print(f"Making {options.pictures} pictures of {OFFICIAL_SIZE[0]} x {OFFICIAL_SIZE[1]} ...", file=sys.stderr)
        num_bytes = make_release(folder / "official", options.pictures, OFFICIAL_SIZE, OFFICIAL_BYTES)
        make_release(folder / "naive", options.naive_pictures, OFFICIAL_SIZE, OFFICIAL_BYTES)
        figures: dict[str, Any] = {"num_proc": options.num_proc, "picture_bytes": num_bytes}
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
            make_release(folder / f"rows-{rows}", rows, (64, 80), 2_000)
            figures["rows"][rows] = measure(
                "prepared", folder / f"rows-{rows}", folder / f"rows-{rows}-out", options.num_proc
            )
        growth = figures["rows"][many]["peak_mb"] - figures["rows"][few]["peak_mb"]
        figures["kb_per_further_row"] = round(1024 * growth / (many - few), 2)
    return figures


def measure(way: str, release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds of a step in a process of its own, imports left out, and the largest memory of it and its children."""
    command = [sys.executable, __file__, "step", way, str(release), str(output), str(num_proc)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.1):
            peak = max(peak, memory_of_tree(process.pid))

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
    from semart_hf.data.preparation import prepare_paintings
    from semart_hf.data.release import read_rows

    with stopwatch() as spent:
        prepare_paintings(read_rows(release), output, num_proc=num_proc)
    return spent


def naive_step(release: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds of the usual way: PIL at full size, `datasets.map` to PNG, saved to disk."""
    import datasets
    import pandas as pd
    from PIL import Image

    def shrink(row: dict[str, Any]) -> dict[str, Any]:
        picture = Image.open(release / "Images" / row["IMAGE_FILE"]).convert("RGB")
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


def make_release(folder: Path, num_rows: int, size: tuple[int, int], num_bytes: int) -> int:
    """Mean bytes of a picture of a made release, whose train split has this many rows, each with a file of its own."""
    import numpy as np

    random = np.random.default_rng(0)
    (folder / "Images").mkdir(parents=True)
    contents = [painting_of(random, size, num_bytes) for _ in range(min(num_rows, 48))]
    with (folder / "semart_train.csv").open("w", newline="", encoding="cp1252") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        for row in range(num_rows):
            name = f"{row:06d}.jpg"
            # Bytes behind the picture's end make files differ whose pictures are equal.
            (folder / "Images" / name).write_bytes(contents[row % len(contents)] + row.to_bytes(4, "big"))
            text = " ".join(WORDS[int(word)] for word in random.integers(0, len(WORDS), 70))
            labels = ["portrait", "Dutch", "1601-1650"]
            writer.writerow([name, text, f"Painter {row % 900}", f"Title {row}", "Oil on canvas", "1630", *labels])
    return sum(map(len, contents)) // len(contents)


def painting_of(random: Any, size: tuple[int, int], num_bytes: int) -> bytes:
    """A JPEG of about so many bytes whose detail is like a painting's: coarse forms, fine texture."""
    import numpy as np
    from PIL import Image

    total = np.zeros((size[1], size[0], 3))
    for octave in range(9):
        patches = Image.fromarray(random.integers(0, 256, (3 << octave, 3 << octave, 3), dtype=np.uint8))
        total += np.asarray(patches.resize(size, Image.Resampling.BILINEAR), dtype=float) / 1.9**octave
    picture = Image.fromarray(((total - total.min()) * 255 / np.ptp(total)).astype(np.uint8))
    for quality in range(95, 30, -3):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= num_bytes:
            break
    return file.getvalue()


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


def memory_of_tree(process: int) -> int:
    """Bytes of memory of a process and its descendants; what they share counts once."""
    total, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        try:
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        except OSError:  # it has ended
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0) * 1024
        waiting += map(int, children)
    return total


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """A folder for what is made, removed at the end."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-", dir=given))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
