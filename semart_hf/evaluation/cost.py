"""What a model costs: parameters, floating-point operations, paintings a second, memory and size on disk.

`python -m semart_hf.evaluation.cost --model DIR --data DATA --output FILE` measures in a process of its own, so that
the memory is the model's and not that of whatever ran before.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Image
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from transformers import AutoModel, AutoProcessor

from semart_hf.data.collator import ArtCollator
from semart_hf.files import write_json
from semart_hf.model.techniques_semart import run_model

from .results import describe_environment
from .vocabularies import load_split

if TYPE_CHECKING:
    from datasets import Dataset

    from semart_hf.model.modeling_semart import SemArtForArtClassification

Batch = Mapping[str, torch.Tensor]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# A batch size is better if it gains more than measurements scatter; two that are not better end the search.
LEAST_GAIN = 1.03
PATIENCE = 2
FLOP_ROWS = 8
SECONDS_PER_BATCH_SIZE = 1.0
LEAST_REPEATS = 3


def measure_cost(
    folder: str | Path,
    paintings: Dataset,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seconds: float = SECONDS_PER_BATCH_SIZE,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Every figure of a model that can be had without training it: `parameters`, `flops`, `inference` and `disk`.

    Args:
        folder: A finished model.
        paintings: What the model is run on; those with picture and text are taken where there are some.
        batch_sizes: Which are tried, growing, until the speed grows no more.
        seconds: How long each batch size runs.
        device: `None`: the first GPU where there is one.

    Raises:
        ValueError: There are no paintings.
    """
    folder = Path(folder)
    model = AutoModel.from_pretrained(folder, trust_remote_code=False)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    examples = complete_paintings(paintings, max(*batch_sizes, FLOP_ROWS))
    collator = ArtCollator(processor, model.config.tasks)

    def batch_of(size: int) -> Batch:
        return collator(list(itertools.islice(itertools.cycle(examples), size)))

    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device).eval()
    # Before anything else, so that the peak is that of inference.
    inference = measure_inference(model, batch_of, batch_sizes=batch_sizes, seconds=seconds, device=device)
    model.to("cpu")
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
    chosen = list(itertools.islice(is_complete, count))
    return chosen or [paintings[row] for row in range(min(count, len(paintings)))]


def count_parameters(model: SemArtForArtClassification) -> dict[str, int]:
    """Number of all parameters, of those that learn, and of each tower's."""
    return {
        "total": model.num_parameters(),
        "trained": model.num_parameters(only_trainable=True),
        "vision": model.vision_tower.num_parameters(),
        "text": model.text_tower.num_parameters(),
    }


def count_flops(model: torch.nn.Module, batch: Batch) -> dict[str, Any]:
    """Floating-point operations a painting: `forward`, the vision tower's part of it, and `backward` of training.

    A multiplication and an addition are two operations, as in the towers' papers' FLOPs (their "multiply-adds" are
    half of it). Counted are matrix products, convolutions and attention, and in `backward` only what reaches a
    parameter that learns. `tokens` is the padded length of the batch's texts.

    Args:
        model: On the device of the batch.
        batch: The model's inputs with `labels`.
    """
    rows = len(batch["labels"])
    was_training, buffers = model.training, {name: value.clone() for name, value in model.named_buffers()}
    model.train()
    forward, backward = _flop_counter(), _flop_counter()
    with torch.enable_grad():
        with forward:
            loss = model(**batch).loss
        with backward:
            loss.backward()
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    with torch.no_grad():  # a pass in training mode moves the statistics of BatchNorm
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    by_module = {name.split(".", 1)[-1]: sum(ops.values()) for name, ops in forward.get_flop_counts().items()}
    return {
        "forward": round(forward.get_total_flops() / rows),
        "forward_vision": round(by_module.get("vision_tower", 0) / rows),
        "backward": round(backward.get_total_flops() / rows),
        "tokens": batch["input_ids"].shape[1] if "input_ids" in batch else 0,
    }


def _flop_counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


def _convolution_backward(
    grad_out_shape: list[int],
    x_shape: list[int],
    w_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    out_shape: Any = None,
    **_: Any,
) -> int:
    """As many operations as forward, once for the input's gradient and once for the weight's.

    The library's own count of the weight's gradient is too large by the number of groups, which makes a depthwise
    convolution's backward hundreds of times too dear.
    """
    return (output_mask[0] + output_mask[1]) * conv_flop_count(x_shape, w_shape, grad_out_shape, transposed)


def measure_inference(
    model: SemArtForArtClassification,
    batch_of: Callable[[int], Batch],
    *,
    batch_sizes: Sequence[int],
    seconds: float,
    device: torch.device,
) -> dict[str, Any]:
    """Paintings a second of the forward pass on ready batches: for one painting, and for the best batch size.

    Args:
        model: On the device, in evaluation mode.
        batch_of: Makes the inputs of so many paintings.
        batch_sizes: Which are tried, growing; the search ends where the speed grows no more, or memory is full.
        seconds: How long each runs.
        device: Where the model is.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    speeds: list[dict[str, Any]] = []
    since_best = 0
    for size in batch_sizes:
        batch = {name: value.to(device) for name, value in batch_of(size).items() if name != "labels"}
        try:
            times = forward_seconds(model, batch, seconds=seconds, device=device)
        except torch.OutOfMemoryError:
            break
        median = statistics.median(times)
        speeds.append({"batch_size": size, "paintings_per_second": size / median, "milliseconds": 1000 * median})
        earlier = max(map(_speed, speeds[:-1]), default=0.0)
        since_best = 0 if _speed(speeds[-1]) > LEAST_GAIN * earlier else since_best + 1
        if since_best == PATIENCE:
            break
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "single": speeds[0],
        "best": best_batch_size(speeds),
        "by_batch_size": speeds,
        "peak_memory_bytes": peak_memory(device),
    }


def best_batch_size(speeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The smallest batch size that is as fast as the fastest, but for the scatter of measurements."""
    fastest = max(map(_speed, speeds))
    return next(measured for measured in speeds if LEAST_GAIN * _speed(measured) >= fastest)


def _speed(measured: Mapping[str, Any]) -> float:
    return float(measured["paintings_per_second"])


def forward_seconds(
    model: SemArtForArtClassification, batch: Batch, *, seconds: float, device: torch.device
) -> list[float]:
    """Seconds of each forward pass within the time, after one that warms up."""
    times: list[float] = []
    with torch.inference_mode():
        run_model(model, batch)
        _wait_for(device)
        end = time.perf_counter() + seconds
        while len(times) < LEAST_REPEATS or time.perf_counter() < end:
            start = time.perf_counter()
            run_model(model, batch)
            _wait_for(device)
            times.append(time.perf_counter() - start)
    return times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def steady_speed(log_history: Sequence[Mapping[str, Any]]) -> float | None:
    """Paintings a second of all processes in the median of the log's lines, validation left out; None without a line.

    The median forgets what happens once: the warm-up of the first steps, a checkpoint, the line in which a run was
    resumed. So it is the same whether a run was interrupted or not, which the whole run's average is not.

    Args:
        log_history: The trainer state's.
    """
    speeds = [line["rows_per_second"] for line in log_history if "rows_per_second" in line]
    return statistics.median(speeds) if speeds else None


def peak_memory(device: torch.device | str | None = None) -> int:
    """Bytes: the most that tensors took on the GPU, or the most that this process held in the machine's memory.

    Args:
        device: `None`: the first GPU where there is one.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
    parser.add_argument(
        "--text_columns", nargs="+", metavar="COLUMN", help="columns of the text, as it was trained on"
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_PER_BATCH_SIZE, help="how long each batch size runs (default: 1)"
    )
    options = parser.parse_args(arguments)
    tasks = AutoModel.from_pretrained(options.model, trust_remote_code=False).config.tasks
    paintings = load_split(options.data, options.split, tasks, common_labels=True, text_columns=options.text_columns)
    measured = measure_cost(
        options.model, paintings, batch_sizes=BATCH_SIZES, seconds=options.seconds, device=options.device
    )
    write_json(options.output, measured)


if __name__ == "__main__":
    main()
