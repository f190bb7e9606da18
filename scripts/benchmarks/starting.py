"""Start: importing, every script's --help, the first prediction of a saved folder, and on what each is spent."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.bench import SCRIPTS, made_bench, recipe_of
from benchmarks.figures import significant
from benchmarks.inference_speed import save_model
from benchmarks.tables import print_start

NUM_REPEATS = 3
SHOWN_PACKAGES = 6
FIRST_PREDICTION = """
from transformers import pipeline
import semart_hf
classify = pipeline("art-classification", model={model!r})
classify({{"image": {picture!r}, "text": "A quiet view of a river."}})
"""
NOTEBOOK_IMPORTS = "import torch, timm, torchvision, transformers; from transformers import DistilBertModel"


def measure_start(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each start, the median of some, and the packages whose import took most of it."""
    scripts = sorted(path for path in SCRIPTS.glob("*.py"))
    commands = {
        "nothing": ["-c", "pass"],
        "import semart_hf": ["-c", "import semart_hf"],
        "the notebook's imports": ["-c", NOTEBOOK_IMPORTS],
        **{f"{path.name} --help": [str(path), "--help"] for path in scripts},
    }
    with made_bench(
        1, text_length=128, device="cpu", work_dir=options.work_dir, text_sizes=options.text_args
    ) as bench:
        for tower in options.tower[:1]:
            model = save_model(bench, recipe_of(tower))
            picture = next((bench.release / "Images").iterdir())
            code = FIRST_PREDICTION.format(model=str(model), picture=str(picture))
            commands[f"first prediction ({tower})"] = ["-c", code]
        measured = {name: measure_command(command) for name, command in commands.items()}
    print_start(measured)
    return {"starts": measured}


def measure_command(command: Sequence[str]) -> dict[str, Any]:
    """Seconds of a command of Python's, the median of some, and of the packages that it imports.

    Raises:
        RuntimeError: If it fails.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    seconds = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
        seconds.append(time.perf_counter() - start)
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, env=environment, check=False
    )
    imports = seconds_by_package(told.stderr)
    return {
        "seconds": significant(statistics.median(seconds)),
        "imports": dict(sorted(imports.items(), key=lambda item: -item[1])[:SHOWN_PACKAGES]),
        "all_imports": significant(sum(imports.values())),
    }


def seconds_by_package(told: str) -> dict[str, float]:
    """Seconds that the modules of each package took themselves, from what `-X importtime` prints."""
    totals: dict[str, float] = {}
    for line in told.splitlines():
        # import time: self [us] | cumulative | imported package
        if not line.startswith("import time:") or "[us]" in line:
            continue
        own, _, name = line.removeprefix("import time:").split("|")
        package = name.strip().split(".")[0]
        totals[package] = totals.get(package, 0.0) + int(own) / 1e6
    return {package: significant(total) for package, total in totals.items()}
