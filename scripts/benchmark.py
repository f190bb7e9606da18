"""Measure what the package claims, beside the usual way: `python scripts/benchmark.py all --json FILE`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# Python looks for modules in a script's own folder first, where evaluate.py would stand in for the library of that
# name. The parts of this script lie there too, so that it is looked through last.
SCRIPTS = Path(__file__).resolve().parent

TOWERS = ("resnet18", "efficientnet_b0", "vit_tiny")
EXAMPLES = """examples:
  python scripts/benchmark.py all --json scripts/benchmarks/results/cpu.json    # training, inference, start
  python scripts/benchmark.py train --tower resnet18 --without_each            # what each means gains
  python scripts/benchmark.py train --tower resnet18 --rows 640 --epochs 2 --whole_run
  python scripts/benchmark.py train --device cuda --rows 19232
  python scripts/benchmark.py memory --json scripts/benchmarks/results/cpu.json
  python scripts/benchmark.py data
  python scripts/benchmark.py onnx --json scripts/benchmarks/results/cpu.json

Other work on the machine spoils speeds, and less so ratios, because the sides take turns."""


def main(arguments: list[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["side"]:  # a measured process, which this script starts itself
        from benchmarks.measured import run_side

        run_side(words[1:])
        return
    options = parse_arguments(words)
    parts = ("train", "inference", "startup") if options.part == "all" else (options.part,)
    try:
        for part in parts:
            keep(options.json, part, measure(part, options))
    except (ValueError, RuntimeError, ImportError) as error:
        raise SystemExit(f"benchmark.py: {error}") from error


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        description="Measure speed, memory and start, ours and the usual way in turns.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, text in (
        ("all", "train, inference and startup"),
        ("train", "training: rows a second, a run from a cold start, share of the limit, peak memory"),
        ("inference", "inference: paintings a second in batches, latency of one"),
        ("memory", "peak memory of training by the number of rows, with small towers"),
        ("data", "preparing a catalogue: pictures a second, and memory by number of rows"),
        ("onnx", "milliseconds of a call of torch and of onnxruntime on the CPU, and how far their answers differ"),
        ("startup", "what importing, --help and the first prediction take, and on what it is spent"),
    ):
        part = parts.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        part.add_argument("--json", type=Path, help="file that gets the figures; those of other parts in it stay")
        part.add_argument("--work_dir", type=Path, help="where data is made, and removed again; default: as temporary")
        if name == "data":
            add_data_arguments(part)
            continue
        if name == "memory":
            part.add_argument("--rows", type=int, nargs="+", default=[1_000, 50_000], help="releases of these sizes")
            continue
        part.add_argument("--tower", nargs="+", default=list(TOWERS), help="names, or paths of recipes")
        part.add_argument("--text_length", type=int, default=128, help="tokens that texts are padded or cut to")
        part.add_argument(
            "--text_args", type=json.loads, help="DistilBERT's sizes as JSON; default: the published ones"
        )
        if name == "onnx":
            part.add_argument("--repeats", type=int, default=6, help="turns of each side")
            part.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="paintings in a call")
            continue
        part.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")
        if name != "startup":
            part.add_argument("--repeats", type=int, default=4, help="turns of each side")
            part.add_argument("--seconds", type=float, default=6.0, help="of a turn, about")
            part.add_argument(
                "--compiled_limit", action="store_true", help="try torch.compile for the limit too (slow)"
            )
        if name in ("all", "train"):
            add_training_arguments(part)
    return parser.parse_args(words)


def add_training_arguments(part: argparse.ArgumentParser) -> None:
    part.add_argument("--rows", type=int, default=2000, help="of the made release; SemArt has 19244")
    part.add_argument("--epochs", type=int, default=10, help="of the run from a cold start")
    part.add_argument("--whole_run", action="store_true", help="really run all epochs of both sides, not reckon them")
    part.add_argument("--without_each", action="store_true", help="measure our side with one means removed at a time")


def add_data_arguments(part: argparse.ArgumentParser) -> None:
    part.add_argument("--pictures", type=int, default=1000, help="of the official size")
    part.add_argument("--naive_pictures", type=int, default=200, help="for the naive way")
    part.add_argument("--rows", type=int, nargs=2, default=[5_000, 50_000], help="whose memory is compared")
    part.add_argument("--num_proc", type=int, default=len(os.sched_getaffinity(0)), help="processes")


def measure(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one part, which are printed too."""
    if part == "data":
        from benchmarks.preparing import measure_preparation

        return measure_preparation(options)
    if part == "startup":
        from benchmarks.starting import measure_start

        return measure_start(options)
    if part == "memory":
        from benchmarks.memory import measure_memory

        return measure_memory(options.rows, options.work_dir)
    if part == "onnx":
        from benchmarks.onnx_speed import measure_onnx

        return measure_onnx(options)
    if part == "inference":
        from benchmarks.inference_speed import measure_inference

        return measure_inference(options)
    from benchmarks.training_speed import measure_training

    return measure_training(options)


def keep(path: Path | None, part: str, figures: dict[str, Any]) -> None:
    """Write a part's figures into a file beside those of other parts, with the machine and commit they come from."""
    if path is None:
        return
    from semart_hf.evaluation.results import describe_environment

    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    kept[part] = {"environment": describe_environment(), **figures}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Wrote the figures of {part} to {path}")


if __name__ == "__main__":
    main()
