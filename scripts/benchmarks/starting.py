"""Start: importing, every script's --help, the first prediction of a saved folder, and on what each is spent."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.bench import SCRIPTS, made_bench, recipe_of
from benchmarks.guarded import run
from benchmarks.turns import significant

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
    from benchmarks.sides import save_model

    commands = {
        "nothing": ["-c", "pass"],
        "import semart_hf": ["-c", "import semart_hf"],
        "the notebook's imports": ["-c", NOTEBOOK_IMPORTS],
        **{f"{path.name} --help": [str(path), "--help"] for path in sorted(SCRIPTS.glob("*.py"))},
    }
    with made_bench(1, work_dir=options.work_dir) as bench:
        for tower in options.tower[:1]:
            picture = next((bench.folder / "release" / "Images").iterdir())
            code = FIRST_PREDICTION.format(model=save_model(bench, recipe_of(tower)), picture=str(picture))
            commands[f"first prediction ({tower})"] = ["-c", code]
        return {"starts": {name: measure_command(command) for name, command in commands.items()}}


def measure_command(command: Sequence[str]) -> dict[str, Any]:
    """Seconds of a command of Python's, the median of some, and of the packages that it imports.

    Raises:
        RuntimeError: If it fails.
    """
    environment = {"HF_HUB_OFFLINE": "1"}
    seconds = [run([sys.executable, *command], environment)[0] for _ in range(NUM_REPEATS)]
    imports = seconds_by_package(run([sys.executable, "-X", "importtime", *command], environment)[1])
    return {
        "seconds": significant(statistics.median(seconds)),
        "imports": dict(sorted(imports.items(), key=lambda item: -item[1])[:SHOWN_PACKAGES]),
        "all_imports": significant(sum(imports.values())),
    }


def seconds_by_package(printed: str) -> dict[str, float]:
    """Seconds that the modules of each package took themselves, from what `-X importtime` prints."""
    totals: dict[str, float] = {}
    for line in printed.splitlines():
        # import time: self [us] | cumulative | imported package
        if line.startswith("import time:") and "[us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().split(".")[0]
            totals[package] = totals.get(package, 0.0) + int(own) / 1e6
    return {package: significant(total) for package, total in totals.items()}
