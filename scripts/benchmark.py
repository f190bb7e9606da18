"""Measure what the package claims, beside the usual way: `python scripts/benchmark.py all --json FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  python scripts/benchmark.py all --json scripts/benchmarks/results/cpu.json    # training, inference, start
  python scripts/benchmark.py train --tower resnet18 --without_each            # what each technique gains
  python scripts/benchmark.py train --device cuda --rows 19232
  python scripts/benchmark.py memory --json scripts/benchmarks/results/cpu.json

Other work on the machine spoils speeds, and less so ratios, because the sides take turns. TMPDIR says where data is
made, and removed again."""
PARTS = {
    "all": "train, inference and startup",
    "train": "training: rows a second, a run from a cold start, share of the limit, peak memory",
    "inference": "inference: paintings a second in batches, latency of one",
    "memory": "peak memory of training by the number of rows, with small towers",
    "data": "preparing a catalogue: pictures a second, and memory by number of rows",
    "startup": "what importing, --help and the first prediction take",
}


def main(arguments: list[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["side"]:  # a measured process, which this script starts itself
        from benchmarks.sides import run_side

        run_side(words[1:])
        return
    options = parse_arguments(words)
    try:
        for part in ("train", "inference", "startup") if options.part == "all" else (options.part,):
            keep(options.json, part, measure(part, options))
    except (ValueError, RuntimeError, ImportError) as error:
        raise SystemExit(f"benchmark.py: {error}") from error


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure speed, memory and start, ours and the usual way in turns.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, text in PARTS.items():
        part = parts.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        part.add_argument("--json", type=Path, help="file that gets the figures; those of other parts in it stay")
        if name == "data":
            part.add_argument("--pictures", type=int, default=1000, help="of the official size")
        if name in ("data", "memory"):
            part.add_argument("--rows", type=int, nargs="+", default=[1_000, 50_000], help="releases of these sizes")
        else:
            towers = ["resnet18", "efficientnet_b0", "vit_tiny"]
            part.add_argument("--tower", nargs="+", default=towers, help="names, or paths of recipes")
        if name in ("all", "train", "inference"):
            part.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")
            part.add_argument("--repeats", type=int, default=4, help="turns of each side")
            part.add_argument("--seconds", type=float, default=6.0, help="of a turn, about")
        if name in ("all", "train"):
            part.add_argument("--rows", type=int, default=2000, help="of the made release; SemArt has 19244")
            part.add_argument("--without_each", action="store_true", help="also without one technique at a time")
    return parser.parse_args(words)


def measure(part: str, options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import measurements
    from benchmarks.guarded import raise_on_termination

    raise_on_termination()
    parts = {
        "train": measurements.measure_training,
        "inference": measurements.measure_inference,
        "memory": measurements.measure_memory,
        "data": measurements.measure_preparation,
        "startup": measurements.measure_start,
    }
    return parts[part](options)


def keep(path: Path | None, part: str, figures: dict[str, Any]) -> None:
    """Print a part's figures, and write them into a file beside those of other parts, with machine and commit."""
    from benchmarks.speed_tables import speed_text

    from semart_hf.evaluation.results import describe_environment
    from semart_hf.files import write_json

    measured = {part: {"environment": describe_environment(), **figures}}
    print(speed_text(measured))
    if path is not None:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_json(path, kept | measured)
        print(f"Wrote the figures of {part} to {path}")


if __name__ == "__main__":
    main()
