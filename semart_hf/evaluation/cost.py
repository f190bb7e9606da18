"""What a model costs: parameters, floating-point operations, paintings a second, memory and size on disk.

`python -m semart_hf.evaluation.cost --model DIR --data DATA --output FILE` measures in a process of its own, so that
the memory is the model's and not that of whatever ran before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Image
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoProcessor

from semart_hf.data.collator import ArtCollator
from semart_hf.files import write_json
from semart_hf.model.techniques_semart import run_model

from .results import describe_environment
from .vocabularies import load_for_model

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification

Batch = dict[str, torch.Tensor]

BATCH_SIZES = (1, 4, 16, 64)
SECONDS_PER_BATCH_SIZE = 1.0
FLOP_ROWS = 8


def measure_cost(folder: Path, paintings: Dataset, *, device: str | None = None) -> dict[str, Any]:
    """Every figure of a model that can be had without training it: `parameters`, `flops`, `inference` and `disk`.

    Args:
        folder: A finished model.
        paintings: What the model is run on; those with picture and text are taken where there are some.
        device: `None`: the first GPU where there is one.

    Raises:
        ValueError: There are no paintings.
    """
    model = AutoModel.from_pretrained(folder, trust_remote_code=False)
    examples = complete_paintings(paintings, max(*BATCH_SIZES, FLOP_ROWS))
    collator = ArtCollator(AutoProcessor.from_pretrained(folder, trust_remote_code=False), model.config.tasks)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()

    def batch_of(size: int) -> Batch:
        batch = collator(list(islice(cycle(examples), size)))
        return {name: value.to(device) for name, value in batch.items() if name != "labels"}

    # Before anything else, so that the peak is that of inference.
    inference = measure_inference(model, batch_of)
    return {
        "parameters": count_parameters(model),
        "flops": count_flops(model, batch_of(FLOP_ROWS)),
        "inference": inference,
        "disk": size_on_disk(folder),
        "environment": describe_environment(),
    }


def complete_paintings(paintings: Dataset, count: int) -> list[dict[str, Any]]:
    """The first rows with picture and text, at most so many; the first rows of all where none has both.

    Raises:
        ValueError: There is no row.
    """
    if not len(paintings):
        raise ValueError("Got a dataset without rows. A model's speed is measured on paintings. Check the split.")
    if "image" in paintings.column_names:
        paintings = paintings.cast_column("image", Image(decode=False))
    is_complete = (row for row in paintings if row.get("image") is not None and (row.get("text") or "").strip())
    return list(islice(is_complete, count)) or list(islice(paintings, count))


def count_parameters(model: SemArtForArtClassification) -> dict[str, int]:
    """Number of all parameters, of those that learn, and of each tower's."""
    return {
        "total": model.num_parameters(),
        "trained": model.num_parameters(only_trainable=True),
        "vision": model.vision_tower.num_parameters(),
        "text": model.text_tower.num_parameters(),
    }


def count_flops(model: torch.nn.Module, batch: Batch) -> dict[str, int]:
    """Floating-point operations of a painting's `forward`, and the vision tower's part of it.

    A multiplication and an addition are two operations, as in the towers' papers' FLOPs (their "multiply-adds" are
    half of it). Counted are matrix products, convolutions and attention. `tokens` is the padded length of the texts.
    """
    rows = len(next(iter(batch.values())))
    # Not in inference mode, where the counter does not see attention.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch)
    by_module = {name.split(".", 1)[-1]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    return {
        "forward": round(counter.get_total_flops() / rows),
        "forward_vision": round(by_module.get("vision_tower", 0) / rows),
        "tokens": batch["input_ids"].shape[1] if "input_ids" in batch else 0,
    }


def measure_inference(model: torch.nn.Module, batch_of: Callable[[int], Batch]) -> dict[str, Any]:
    """Paintings a second of the forward pass on ready batches: for one painting, and for the fastest batch size.

    Args:
        model: In evaluation mode.
        batch_of: Makes the inputs of so many paintings, on the model's device.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    speeds: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        try:
            seconds = forward_seconds(model, batch_of(size))
        except torch.OutOfMemoryError:
            break
        speeds.append({"batch_size": size, "paintings_per_second": size / seconds, "milliseconds": 1000 * seconds})
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "single": speeds[0],
        "best": max(speeds, key=lambda measured: measured["paintings_per_second"]),
        "peak_memory_bytes": peak_memory(device),
    }


def forward_seconds(model: torch.nn.Module, batch: Batch) -> float:
    """Seconds of a forward pass: the median within `SECONDS_PER_BATCH_SIZE`."""

    def forward() -> None:
        with torch.inference_mode():
            run_model(model, batch)

    timer = Timer("forward()", globals={"forward": forward}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=SECONDS_PER_BATCH_SIZE).median


def steady_speed(log_history: Sequence[Mapping[str, Any]]) -> float | None:
    """Paintings a second of all processes in the median of the log's lines, validation left out; None without a line.

    The median forgets what happens once: the warm-up of the first steps, a checkpoint, the line in which a run was
    resumed. So it is the same whether a run was interrupted or not, which the whole run's average is not.

    Args:
        log_history: The trainer state's.
    """
    speeds = [line["rows_per_second"] for line in log_history if "rows_per_second" in line]
    return statistics.median(speeds) if speeds else None


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors took on the GPU, or the most that this process held in the machine's memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage() would count what the parent held when it started this process.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def size_on_disk(folder: Path) -> dict[str, int]:
    """Bytes of the weights, and of everything in the folder that loading the model may read: no checkpoints."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {
        "weights": sum(path.stat().st_size for path in files if path.suffix == ".safetensors"),
        "folder": sum(path.stat().st_size for path in files),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure one model and write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m semart_hf.evaluation.cost", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="folder of a trained model")
    parser.add_argument("--data", required=True, help="paintings to run it on")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    options = parser.parse_args(arguments)
    tasks = AutoModel.from_pretrained(options.model, trust_remote_code=False).config.tasks
    paintings = load_for_model(options.model, options.data, options.split, tasks, common_labels=True)
    write_json(options.output, measure_cost(options.model, paintings, device=options.device))


if __name__ == "__main__":
    main()
