"""ONNX: milliseconds of a call of torch and of onnxruntime, in turns, for each graph of each tower."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoProcessor

from benchmarks import figures
from benchmarks.bench import Bench, made_bench, recipe_of
from benchmarks.inference_speed import save_model
from benchmarks.tables import print_onnx
from semart_hf.publishing.onnx_export import GRAPHS, export_onnx, latency_turns, open_graph

MEBIBYTE = 2**20


def measure_onnx(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of every tower, printed as a table."""
    measured: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "text_length": options.text_length,
        "towers": {},
    }
    with made_bench(
        1,
        text_length=options.text_length,
        device="cpu",
        work_dir=options.work_dir,
        text_sizes=options.text_args,
    ) as bench:
        for tower in options.tower:
            print(f"ONNX with {tower} ...")
            measured["towers"][tower] = measure_tower(bench, recipe_of(tower), options)
    # At the end: the export says better what is to be installed where one is missing.
    measured["versions"] = {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    print_onnx(measured)
    return measured


def measure_tower(bench: Bench, recipe: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one tower's graphs: largest difference from torch, size, and milliseconds by paintings in a call."""
    folder = save_model(bench, recipe)
    model = AutoModel.from_pretrained(folder, dtype="float32", trust_remote_code=False).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    exported = bench.folder / f"onnx-{recipe.stem}"
    description = export_onnx(model, processor, exported)
    measured: dict[str, Any] = {}
    for name in GRAPHS:
        path = exported / f"{name}.onnx"
        size = sum(file.stat().st_size for file in exported.glob(f"{name}.onnx*"))
        measured[name] = {
            "max_difference": description["graphs"][name]["max_difference"],
            "mb": round(size / MEBIBYTE, 1),
            "batches": {},
        }
        for batch in options.batches:
            turns = latency_turns(
                model, name, open_graph(path), batch=batch, tokens=options.text_length, turns=options.repeats
            )
            ratios = [torch_ms / ms for torch_ms, ms in zip(turns["torch"], turns["onnxruntime"], strict=True)]
            measured[name]["batches"][batch] = {
                "latency_ms": {side: figures.spread(times) for side, times in turns.items()},
                "times_as_fast": figures.spread(ratios),
            }
    return measured
