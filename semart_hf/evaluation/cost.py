"""What a model costs, measured in a process of its own, so that the memory is the model's and nothing else's."""

import argparse
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoProcessor

from semart_hf.data.collator import ArtCollator
from semart_hf.data.streaming import undecoded
from semart_hf.files import write_json
from semart_hf.model.techniques_semart import run_model

from .results import describe_environment
from .vocabularies import load_split

Batch = dict[str, torch.Tensor]
BATCH_SIZES = (1, 4, 16, 64)
SECONDS_PER_BATCH_SIZE = 1.0


def complete_paintings(paintings: Dataset, count: int) -> list[dict[str, Any]]:
    """The first rows with picture and text, at most so many; the first rows of all where none has both."""
    paintings = undecoded(paintings)
    is_complete = (row for row in paintings if row.get("image") is not None and (row.get("text") or "").strip())
    return list(islice(is_complete, count)) or list(islice(paintings, count))


def count_flops(model: torch.nn.Module, batch: Batch) -> dict[str, int]:
    """Operations of a painting's forward pass, two for a multiplication and an addition, and `text_tokens`."""
    # Not in inference mode, where the counter does not see attention.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch)
    return {
        "flops_forward": round(counter.get_total_flops() / len(next(iter(batch.values())))),
        "text_tokens": batch["input_ids"].shape[1] if "input_ids" in batch else 0,
    }


def measure_inference(model: torch.nn.Module, batch_of: Callable[[int], Batch]) -> dict[str, Any]:
    """Speed of the forward pass on ready batches: for one painting, and for the fastest batch size."""
    device = next(model.parameters()).device
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        try:
            seconds[size] = forward_seconds(model, batch_of(size))
        except torch.OutOfMemoryError:
            if not seconds:
                raise
            break
    best = max(seconds, key=lambda size: size / seconds[size])
    return {
        "inference_device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "inference_threads": torch.get_num_threads(),
        "milliseconds_per_painting": 1000 * seconds[1],
        "best_batch_size": best,
        "paintings_per_second_best": best / seconds[best],
        "inference_peak_memory_bytes": peak_memory(device),
    }


def forward_seconds(model: torch.nn.Module, batch: Batch) -> float:
    """Seconds of a forward pass: the median within `SECONDS_PER_BATCH_SIZE`."""
    from torch.utils.benchmark import Timer  # slow to import, and without a GPU it may print about CUDA

    names = {"run_model": run_model, "model": model, "batch": batch}
    timer = Timer("run_model(model, batch)", globals=names, num_threads=torch.get_num_threads())
    with torch.inference_mode():
        return timer.blocked_autorange(min_run_time=SECONDS_PER_BATCH_SIZE).median


def steady_speed(log_history: Sequence[Mapping[str, Any]]) -> float | None:
    """Paintings a second in the median of the log's lines, which forgets first steps, checkpoints and resumptions."""
    speeds = [line["rows_per_second"] for line in log_history if "rows_per_second" in line]
    return statistics.median(speeds) if speeds else None


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on the GPU, or that this process held in memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage() would count what the parent held when it started this process.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes where there is no such file, on a Mac


def main(arguments: list[str] | None = None) -> None:
    """Write parameters, operations, speed, memory and size of a finished model as JSON."""
    parser = argparse.ArgumentParser(prog="python -m semart_hf.evaluation.cost", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="folder of a trained model")
    parser.add_argument("--data", required=True, help="paintings to run it on")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    options = parser.parse_args(arguments)
    model = AutoModel.from_pretrained(options.model, trust_remote_code=False)
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    collator = ArtCollator(AutoProcessor.from_pretrained(options.model, trust_remote_code=False), model.config.tasks)
    paintings = load_split(options.model, options.data, options.split, model.config.tasks, common_labels=True)
    examples = complete_paintings(paintings, max(BATCH_SIZES))

    def batch_of(size: int) -> Batch:
        batch = collator(list(islice(cycle(examples), size)))
        return {name: value.to(model.device) for name, value in batch.items() if name != "labels"}

    cost = {
        **measure_inference(model, batch_of),  # first, so that the peak is that of inference
        **count_flops(model, batch_of(8)),
        "parameters": model.num_parameters(),
        "trained_parameters": model.num_parameters(only_trainable=True),
        "weights_bytes": sum(path.stat().st_size for path in options.model.glob("*.safetensors")),
        "environment": describe_environment(),
    }
    write_json(options.output, cost)


if __name__ == "__main__":
    main()
