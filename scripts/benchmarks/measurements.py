"""What scripts/benchmark.py measures: ours beside the notebook's and the limit, memory, start and preparing."""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import DistilBertConfig

from benchmarks import sides
from benchmarks.bench import FRONT, Setting, made_data, make_release, recipe_of, techniques_of
from benchmarks.turns import Guarded, Side, alternate, figure, milliseconds, rows_per_second, speed_beside

MEBIBYTE = 2**20
BATCH, EPOCHS, INFERENCE_ROWS = 32, 10, 128
OFFICIAL_BYTES = 250_000  # as the official scans that are large; most of SemArt's are lighter (see make_release)
# Of fewer backgrounds, half of 50,000 rows would be copies, and be reported.
SMALL_PICTURES: dict[str, Any] = {"picture_size": (64, 80), "picture_bytes": 2_000, "num_backgrounds": 4_000}
SMALL_TEXT_TOWER = DistilBertConfig(dim=64, n_layers=2, n_heads=4, hidden_dim=128)
SMALL_RECIPE = Path(__file__).with_name("small_recipe.yaml")
# What is measured by the number of rows.
WAYS = {"read": "training from disk", "streamed": "training streamed", "answered": "answering a catalogue"}
FIRST_PREDICTION = (
    "import semart_hf; from transformers import pipeline; "
    "pipeline('art-classification', model={!r})({{'image': {!r}, 'text': 'A quiet view of a river.'}})"
)
VISION_PREDICTION = "from transformers import pipeline; pipeline('image-classification', model={!r})({!r})"
NOTEBOOK_IMPORTS = "import torch, timm, torchvision, transformers; from transformers import DistilBertModel"


def measure_train(options: argparse.Namespace) -> dict[str, Any]:
    rows = options.rows[0] // BATCH * BATCH  # whole batches on both sides
    if rows == 0:
        raise ValueError(f"rows is {options.rows[0]}, but a batch has {BATCH}. Give {BATCH} or more.")
    towers: dict[str, Any] = {}
    for tower, setting in settings(options, rows, "Training"):
        if not towers:  # makes small pictures and frozen texts, which the next runs read from the cache
            with setting.training_side("cold") as cold:
                pass
        with setting.training_side("ours") as ours:
            if not towers:
                preparation = max(0.0, cold.seconds_to_first_step - ours.seconds_to_first_step)
            with setting.side("notebook", "notebook-train") as notebook, setting.side("limit", "limit") as limit:
                alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
                towers[tower] = compared(ours, notebook, limit, options)
            towers[tower]["cold_run"] = estimated_run(ours, notebook, rows, preparation)
            if options.without_each:
                towers[tower]["without"] = without_each(setting, ours, options)
    return {"data": {"rows": rows, "device": options.device}, "towers": towers}


def settings(options: argparse.Namespace, rows: int, work: str) -> Iterator[tuple[str, Setting]]:
    """The setting of each tower by its name, on the same made paintings."""
    paths = {tower: recipe_of(tower) for tower in options.tower}  # a wrong name costs no other its measurement
    with made_data(rows) as folder:
        for tower, path in paths.items():
            print(f"{work} with {tower} ...", flush=True)
            yield tower, Setting(folder, path, options.device)


def compared(ours: Side, notebook: Side, limit: Side, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rows_per_second": {side.name: figure(side, rows_per_second) for side in (ours, notebook)},
        "ratio": figure(ours, rows_per_second, notebook),
        "share_of_limit": figure(ours, rows_per_second, limit),
        "peak_mb": {side.name: round(side.peak_bytes / MEBIBYTE) for side in (ours, notebook)},
    }
    if options.beside:
        speed = speed_beside([ours, notebook], options.beside, repeats=max(2, options.repeats // 2))
        found["beside"] = {"processes": options.beside, "speed": speed}
    return found


def estimated_run(ours: Side, notebook: Side, rows: int, preparation: float) -> dict[str, Any]:
    """Seconds of a run of all epochs from a cold start, estimated from measured parts."""
    seconds = {
        side.name: side.seconds_to_first_step + (rows * EPOCHS - BATCH) / figure(side, rows_per_second)["median"]
        for side in (ours, notebook)
    }
    seconds["ours"] += preparation
    found = {name: round(value, 1) for name, value in seconds.items()}
    return {"epochs": EPOCHS, "seconds": found, "ratio": round(seconds["notebook"] / seconds["ours"], 2)}


def without_each(setting: Setting, ours: Side, options: argparse.Namespace) -> dict[str, Any]:
    """Speed of our side without one technique over that with all, by the technique's name."""
    without: dict[str, Any] = {}
    for technique, fields in techniques_of(setting.vision, setting.device).items():
        with setting.training_side(f"without {technique}", without=technique, **fields) as side:
            alternate([ours, side], repeats=max(2, options.repeats // 2), seconds=options.seconds)
        without[technique] = {"speed": figure(side, rows_per_second, ours)}
    return without


def measure_inference(options: argparse.Namespace) -> dict[str, Any]:
    towers: dict[str, Any] = {}
    for tower, setting in settings(options, INFERENCE_ROWS, "Inference"):
        model = sides.save_model(setting)
        notebook, ours = setting.side("notebook", "notebook-predict"), setting.side("ours", "ours-predict", model)
        with notebook, ours, setting.side("limit", "predict-limit", model) as limit:
            alternate([notebook, ours, limit], repeats=options.repeats, seconds=options.seconds)
            figures = compared(ours, notebook, limit, options)
        notebook, ours = setting.side("notebook", "notebook-answer"), setting.side("ours", "ours-answer", model)
        with notebook, ours:
            alternate([notebook, ours], repeats=options.repeats, seconds=options.seconds / 2)
        if options.device == "cpu":
            limit, paths = setting.side("limit", "predict-limit", model), sides.save_graphs(setting, model)
            graphs = [setting.side(precision, "graph", model, path) for precision, path in paths.items()]
            with limit, graphs[0], graphs[1]:
                alternate([limit, *graphs], repeats=options.repeats, seconds=options.seconds)
            figures["onnx"] = {side.name: figure(side, rows_per_second, limit) for side in graphs}
        figures["latency_ms"] = {side.name: figure(side, milliseconds) for side in (ours, notebook)}
        figures["latency_ratio"] = figure(ours, milliseconds, notebook)
        pipeline = setting.side("pipeline", "ours-predict", model)
        with pipeline, setting.side("catalogue", "ours-suggest", model) as catalogue:
            alternate([pipeline, catalogue], repeats=options.repeats, seconds=options.seconds)
        towers[tower] = {**figures, "catalogue_ratio": figure(catalogue, rows_per_second, pipeline)}
    return {"data": {"rows": INFERENCE_ROWS, "device": options.device}, "towers": towers}


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak megabytes and speed of each of the `WAYS` with small towers, by the number of rows."""
    found: dict[str, Any] = {way: {"peak_mb": {}, "rows_per_second": {}} for way in WAYS}
    for rows in options.rows:
        with made_data(rows, SMALL_TEXT_TOWER, **SMALL_PICTURES) as folder:
            lines = (folder / "release" / "semart_train.csv").read_bytes().splitlines(keepends=True)
            (folder / "release" / "semart_val.csv").write_bytes(b"".join(lines[:33]))  # a stream needs some
            prepare("prepared", folder / "release", folder / "prepared")
            setting = Setting(folder, SMALL_RECIPE)
            fields = {"data": folder / "prepared"}
            ways = [setting.training_side(way, **fields, streaming=way == "streamed") for way in ("read", "streamed")]
            for side in [*ways, setting.side("answered", "ours-suggest", sides.save_model(setting))]:
                with side:  # a step of the last is the whole catalogue
                    side.take_turn(1 if side.name == "answered" else min(40, rows // BATCH - 1))
                found[side.name]["peak_mb"][str(rows)] = round(side.peak_bytes / MEBIBYTE)
                found[side.name]["rows_per_second"][str(rows)] = round(rows_per_second(side.turns[-1]), 1)
    return {"ways": found}


def measure_data(options: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of two ways to prepare, and by the number of rows the peak megabytes of ours."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        num_bytes = make_release(folder / "release", options.pictures, picture_bytes=OFFICIAL_BYTES)
        figures: dict[str, Any] = {"picture_bytes": num_bytes, "rows": {}}
        for way in ("prepared", "naive"):
            print(f"Preparing {options.pictures} pictures: {way} ...", flush=True)
            speed = options.pictures / prepare(way, folder / "release", folder / way)[0]
            figures[way] = {"pictures_per_second": round(speed, 1)}
        for rows in options.rows:
            print(f"Preparing {rows} rows ...", flush=True)
            release = folder / f"release-{rows}"
            make_release(release, rows, **SMALL_PICTURES)
            figures["rows"][str(rows)] = {"peak_mb": prepare("prepared", release, folder / str(rows))[1]}
    return figures


def prepare(way: str, release: Path, output: Path) -> tuple[float, int]:
    """Seconds of a way in a process of its own, imports left out, and its largest memory in megabytes."""
    peak = 0
    with Guarded([sys.executable, str(FRONT), "side", way, str(release), str(output)]) as guarded:
        while guarded.process.poll() is None:
            peak = max(peak, guarded.memory())
            time.sleep(0.1)
        return float(guarded.output(way).splitlines()[-1]), round(peak / MEBIBYTE)


def measure_startup(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds until commands end, and where the imports of a first answer take them."""
    doors = [path for path in sorted(FRONT.parent.glob("*.py")) if "import main" in path.read_text(encoding="utf-8")]
    commands = {
        "nothing": ["-c", "pass"],
        "import semart_hf": ["-c", "import semart_hf"],
        "import torch, transformers": ["-c", "import torch, transformers"],
        "the notebook's imports": ["-c", NOTEBOOK_IMPORTS],
        **{f"{path.name} --help": [str(path), "--help"] for path in doors},
    }
    tower = options.tower[0]
    with made_data(2 * BATCH) as folder:
        picture = str(next((folder / "release" / "Images").iterdir()))
        setting = Setting(folder, recipe_of(tower))
        model, vision_model = sides.save_model(setting), sides.save_vision_model(setting)
        answer = ["-m", "semart_hf.cli", "predict", "--model", model, "--input", picture, "--text", "A quiet river."]
        commands |= {
            f"transformers' image-classification ({tower})": ["-c", VISION_PREDICTION.format(vision_model, picture)],
            f"first prediction ({tower})": ["-c", FIRST_PREDICTION.format(model, picture)],
            f"semart-hf predict ({tower})": answer,
        }
        starts = {name: seconds_of(command) for name, command in commands.items()}
        prepare("prepared", folder / "release", folder / "prepared")
        train = setting.training_side("first step", data=folder / "prepared", min_label_count=1)
        for _ in range(2):  # the first makes the cache that the second reads
            with train:
                starts[f"first step of a training ({tower})"] = {"seconds": round(train.seconds_to_first_step, 3)}
        return {"starts": starts, "profile": import_profile(answer)}


def seconds_of(command: list[str]) -> dict[str, float]:
    """Seconds that a command of Python takes: the median of three runs."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        with Guarded([sys.executable, *command], {"HF_HUB_OFFLINE": "1"}) as guarded:
            guarded.output(" ".join(command))
        seconds.append(time.perf_counter() - begin)
    return {"seconds": round(statistics.median(seconds), 3)}


def import_profile(command: list[str]) -> dict[str, float]:
    """Seconds that a command spends in the modules of each package while they are imported, the most first."""
    words = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(words, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True)
    found = re.findall(r"^import time: +(\d+) \| +\d+ \| +([^.\s]+)", done.stderr, flags=re.MULTILINE)
    seconds: Counter[str] = Counter()
    for microseconds, package in found:
        seconds[package] += int(microseconds) / 1e6
    return {package: round(value, 3) for package, value in seconds.most_common(12)}
