"""scripts/evaluate.py from a model folder and a release to results.json."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_release import load_script, save_tiny_model, write_release


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("evaluate") / "model")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("evaluate") / "release")


def run(model, release, output, *more):
    arguments = ["--model", model, "--data", release, "--output_dir", output, "--device", "cpu", *more]
    load_script("evaluate").main([str(argument) for argument in arguments])
    return json.loads((output / "results.json").read_text())


def test_results_follow_the_schema(model, release, tmp_path, capsys):
    ceiling = {"image+text": {"type": 0.9, "school": 0.8, "timeframe": 0.7, "medium": 0.95, "mean": 0.84}}
    (release / "ceiling.json").write_text(json.dumps(ceiling))
    results = run(model, release, tmp_path)
    first = ["model", "data", "split", "num_rows", "seconds", "environment", "tasks", "mean_accuracy", "mean_macro_f1"]
    assert list(results)[: len(first)] == first
    assert (results["model"], results["data"], results["split"]) == (str(model), str(release), "test")
    assert results["num_rows"] == 12
    assert list(results["tasks"]) == ["type", "school", "timeframe", "medium"]
    for scores in results["tasks"].values():
        assert list(scores)[:4] == ["num_rows", "accuracy", "macro_f1", "weighted_f1"]
        assert scores["num_rows"] == 12
        assert 0 <= scores["accuracy"] <= 1
    assert list(results["modalities"]) == ["image+text", "image", "text"]
    assert results["modalities"]["image+text"]["ceiling"] == ceiling["image+text"]
    assert results["modalities"]["image+text"]["mean_accuracy"] == results["mean_accuracy"]
    # Four Flemish paintings: a school that the model calls UNK, which is scored, and left out beside it.
    assert results["tasks"]["school"]["per_label"]["UNK"]["support"] == 4
    assert results["tasks"]["school"]["without_unk"]["num_rows"] == 8
    shown = capsys.readouterr().out
    assert f"{100 * results['mean_accuracy']:.1f}" in shown
    assert "ceiling" in shown


def test_a_split_that_is_not_there(model, release, tmp_path):
    with pytest.raises(ValueError, match=r"the split 'train'.*\['validation', 'test'\].*--split"):
        run(model, release, tmp_path, "--split", "train")


def test_help_answers_at_once():
    script = Path(__file__).parents[2] / "scripts" / "evaluate.py"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "--output_dir" in done.stdout
    assert time.perf_counter() - start < 3
