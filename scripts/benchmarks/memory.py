"""Peak memory of our training by the number of rows: towers that hold next to nothing, so that rows would show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import made_bench, work_folder
from benchmarks.tables import print_memory

# Of fewer backgrounds, half of 50,000 rows would be copies, and be told of.
SMALL_PICTURES = {"picture_size": (64, 80), "picture_bytes": 2_000, "num_backgrounds": 4_000}
SMALL_TEXT_TOWER = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
NUM_STEPS = 40
RECIPE = """vision: test_resnet
image_size: 32
frozen_vision_stages: 1
trainable_text_layers: 1
fusion_dim: 64
cache_frozen_text: "true"
num_train_epochs: 1
per_device_train_batch_size: 32
dataloader_num_workers: 2
"""


def measure_memory(rows: Sequence[int], work_dir: Path | None = None) -> dict[str, Any]:
    """Peak megabytes by the number of rows, each in a process of its own with caches that begin empty.

    Preparing and caching count: they take place in the measured process or its children.
    """
    peaks: dict[str, Any] = {}
    with work_folder(work_dir) as folder:
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        for number in rows:
            print(f"Making {number} rows, and training on them ...", flush=True)
            sizes: dict[str, Any] = dict(SMALL_TEXT_TOWER)
            with (
                made_bench(
                    number, text_length=128, device="cpu", work_dir=work_dir, text_sizes=sizes, **SMALL_PICTURES
                ) as bench,
                bench.training_side("memory", recipe) as side,
            ):
                side.take_turn(min(NUM_STEPS, number // 32 - 1))
                peaks[str(number)] = round(side.peak_bytes / 2**20)
    smallest, largest = min(peaks.values()), max(peaks.values())
    measured = {"peak_mb": peaks, "growth": round(largest / smallest - 1, 3)}
    print_memory(measured)
    return measured
