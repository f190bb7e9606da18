"""Measure what the package claims, beside the usual way: `python scripts/benchmark.py all --json FILE`."""

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

# By part: what it measures, where its `measure_PART` is, and rows of made releases by default.
PARTS = {
    "train": ("training: rows a second, a cold run, share of the limit, peak memory", "measurements", [2_000]),
    "inference": ("paintings a second in batches, latency of one, share of the limit", "measurements", []),
    "startup": ("what importing, --help and the first prediction take", "measurements", []),
    "memory": ("peak memory and speed of training and answering by number of rows", "measurements", [1_000, 50_000]),
    "data": ("preparing a catalogue: pictures a second, memory by number of rows", "measurements", [1_000, 50_000]),
    "search": ("an index of made vectors by number of rows", "search_scale", [100_000, 1_000_000]),
    "towers": ("memory and arithmetic of the larger towers of semart-large.yaml", "tower_costs", []),
    "all": ("train, inference and startup", "", []),
}
EXAMPLES = """examples:
  python scripts/benchmark.py all --json scripts/benchmarks/results    # a file by the machine's name
  python scripts/benchmark.py train --tower resnet18 --without_each            # what each technique gains
  python scripts/benchmark.py train --device cuda --rows 19232 --beside 1      # beside a busy process
  python scripts/benchmark.py search --json scripts/benchmarks/results/search/cpu.json

Other work on the machine spoils speeds, and less so ratios, because the sides take turns. TMPDIR says where data is
made, and removed again."""


def main(arguments: list[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["side"]:  # a measured process, which this script starts itself
        if words[1] == "ours-train":  # as the command has it, before torch is imported
            from semart_hf.cli.command import set_up_threads

            set_up_threads()
        from benchmarks.sides import run_side

        run_side(words[1:])
        return
    options = parse_arguments(words)

    from benchmarks.turns import raise_on_termination

    raise_on_termination()
    try:
        for part in ("train", "inference", "startup") if options.part == "all" else (options.part,):
            _, room, rows = PARTS[part]
            options.rows = options.rows or rows
            module = importlib.import_module(f"benchmarks.{room}")
            keep(options.json, part, getattr(module, f"measure_{part}")(options))
    except (ValueError, RuntimeError, ImportError) as error:
        raise SystemExit(f"benchmark.py: {error}") from error


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure speed, memory and start, ours and the usual way in turns.",
        epilog="\n".join(["parts:", *(f"  {part:10} {words}" for part, (words, *_) in PARTS.items()), "", EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("part", choices=PARTS, help="see below")
    kept = "file that gets the figures, or a folder for one by the machine's name; others in it stay"
    add("--json", type=Path, help=kept)
    towers = ["resnet18", "efficientnet_b0", "vit_tiny"]
    add("--tower", nargs="+", default=towers, help=f"names, or paths of recipes (default: {' '.join(towers)})")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute (default: cpu)")
    add("--repeats", type=int, default=4, help="turns of each side (default: 4)")
    add("--seconds", type=float, default=6.0, help="of a turn, about (default: 6)")
    rows = ", ".join(f"{part} {' and '.join(map(str, rows))}" for part, (*_, rows) in PARTS.items() if rows)
    add("--rows", type=int, nargs="+", help=f"of made releases (default: {rows})")
    add("--without_each", action="store_true", help="train also without one technique at a time")
    add("--beside", type=int, default=0, help="what is left beside so many busy processes, of train and inference")
    add("--pictures", type=int, default=1000, help="of the official size, to prepare (default: 1000)")
    return parser.parse_args(words)


def keep(path: Path | None, part: str, figures: dict[str, Any]) -> None:
    """Write a part's figures, with machine and commit, into a file beside those of other parts, and print them."""
    from benchmarks.figures import TEXTS, speed_text

    from semart_hf.evaluation.results import describe_environment
    from semart_hf.files import read_json, write_json

    measured = {"environment": describe_environment(), **figures}
    for tower in measured.get("towers", {}).values():
        tower["commit"] = measured["environment"]["commit"]
    if path is not None:
        path = path / f"{machine_name(measured['environment'])}.json" if path.is_dir() else path
        kept = read_json(path) or {}
        is_alike = part in kept and is_measured_alike(measured, kept[part])
        towers = {"towers": kept[part]["towers"] | measured["towers"]} if is_alike else {}
        write_json(path, {**kept, part: {**measured, **towers}})
        print(f"Wrote the figures of {part} to {path}")
    print(TEXTS.get(part, speed_text)({part: measured}))


def is_measured_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two measurements of towers differ in their commit alone, so that all towers may stand in one table."""
    environments = [{**found["environment"], "commit": ""} for found in (one, other)]
    return "data" in one and environments[0] == environments[1] and one["data"] == other["data"]


def machine_name(environment: dict[str, Any]) -> str:
    """The name of this machine's processor, of its GPU if it has one, for example `amd-epyc-2-cores-avx512_bf16`."""
    import torch

    words = [environment["processor"], f"{environment['cores']} cores", environment.get("gpu")]
    words += [next((name for name in ("amx_tile", "avx512_bf16") if torch.cpu.get_capabilities().get(name)), None)]
    return "-".join(re.findall(r"[a-z0-9_]+", " ".join(filter(None, words)).lower()))


if __name__ == "__main__":
    main()
