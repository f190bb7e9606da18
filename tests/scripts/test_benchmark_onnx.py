"""The benchmark's ONNX part: what it makes of the turns of torch and of onnxruntime."""

import argparse
import json
from types import SimpleNamespace

import pytest
from tiny_release import load_script

benchmark = load_script("benchmark")  # puts its parts within reach of the import below

from benchmarks import onnx_speed  # noqa: E402

from semart_hf.publishing.onnx_export import GRAPHS, latency_turns  # noqa: E402


class Model:
    """Takes at most eight tokens, and remembers what it was given."""

    def __init__(self, asked):
        self.asked = asked
        self.config = SimpleNamespace(
            text_config=SimpleNamespace(max_position_embeddings=8, vocab_size=10),
            vision_config=SimpleNamespace(pretrained_cfg={"input_size": (3, 4, 4)}),
        )

    def __call__(self, **inputs):
        self.asked.append(("torch", {name: tuple(values.shape) for name, values in inputs.items()}))


def test_sides_take_turns_on_the_same_inputs():
    def run(inputs):
        asked.append(("onnxruntime", {name: tuple(values.shape) for name, values in inputs.items()}))

    asked = []
    turns = latency_turns(Model(asked), "text", run, batch=3, tokens=20, turns=2, calls=2)

    assert [len(turns[side]) for side in ("torch", "onnxruntime")] == [2, 2]
    assert [side for side, _ in asked] == ["torch"] * 2 + ["onnxruntime"] * 2 + (
        ["torch"] * 2 + ["onnxruntime"] * 2
    ) * 2
    assert all(shapes == {"input_ids": (3, 8), "attention_mask": (3, 8)} for _, shapes in asked)


def test_figures_of_every_graph_are_kept_with_machine_and_versions(tmp_path, monkeypatch):
    def turns(model, name, run, *, batch, tokens, turns):
        assert (tokens, turns) == (16, 2)
        return {"torch": [8.0 * batch, 6.0 * batch], "onnxruntime": [4.0 * batch, 2.0 * batch]}

    def export(model, processor, folder):
        folder.mkdir()
        for name in GRAPHS:
            (folder / f"{name}.onnx").write_bytes(bytes(2**20))
        return {"graphs": {name: {"max_difference": 1e-6} for name in GRAPHS}}

    monkeypatch.setattr(onnx_speed, "export_onnx", export)
    monkeypatch.setattr(onnx_speed, "open_graph", lambda path: None)
    monkeypatch.setattr(onnx_speed, "latency_turns", turns)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("vision: timm/test_resnet.r160_in1k\nimage_size: 64\n")
    small = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    words = ["onnx", "--tower", str(recipe), "--text_args", json.dumps(small), "--text_length", "16", "--repeats", "2"]

    benchmark.main([*words, "--work_dir", str(tmp_path / "work"), "--json", str(tmp_path / "cpu.json")])

    kept = json.loads((tmp_path / "cpu.json").read_text())["onnx"]
    assert {"torch", "cores", "commit"} <= set(kept["environment"])
    assert set(kept["versions"]) == {"onnx", "onnxscript", "onnxruntime"}
    (graphs,) = kept["towers"].values()
    assert list(graphs) == list(GRAPHS)
    assert graphs["image"]["mb"] == 1.0
    assert graphs["image"]["batches"]["16"] == {
        "latency_ms": {
            "torch": {"median": 112.0, "min": 96.0, "max": 128.0},
            "onnxruntime": {"median": 48.0, "min": 32.0, "max": 64.0},
        },
        "times_as_fast": {"median": 2.5, "min": 2.0, "max": 3.0},
    }
    assert not list((tmp_path / "work").iterdir())


def test_the_parts_that_are_asked_for_are_known():
    options = benchmark.parse_arguments(["onnx", "--batches", "1", "8"])

    assert isinstance(options, argparse.Namespace)
    assert (options.part, options.batches, options.repeats) == ("onnx", [1, 8], 6)
    with pytest.raises(SystemExit):
        benchmark.parse_arguments(["onx"])
