import glob
import json
import os
import signal
from itertools import product

import psutil
import pytest
from small_recipe import small_recipe
from tiny_release import load_command
from warm_python import Python

from semart_hf.evaluation import cost


@pytest.fixture(scope="module")
def recipe(small_release, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    other = {"prepare": False, "cache_frozen_text": "false", "output_dir": "unused", "vision": "another"}
    steps = {"per_device_train_batch_size": 16, "learning_rate": 1e-3, "logging_steps": 2}
    path.write_text(small_recipe(data=small_release, **other, **steps))
    return path


@pytest.fixture
def script(monkeypatch):
    """The script, its steps in this process instead of one each; `script.steps` are those that were run."""
    module = load_command("compare")
    module.steps, module.failing = [], None

    def run(name, step, command, **_):
        if (name, step) == module.failing:
            raise SystemExit(1)
        words = command[command.index(next(word for word in command if word.startswith("semart_hf."))) + 1 :]
        {"training": load_command("train"), "evaluation": load_command("evaluate"), "cost": cost}[step].main(words)
        module.steps.append((name, step))

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(cost, "BATCH_SIZES", (1, 2))
    monkeypatch.setattr(cost, "SECONDS_PER_BATCH_SIZE", 0.01)
    return module


def compare(script, recipe, output, *words, towers=("test_resnet", "test_vit")):
    script.steps.clear()
    arguments = [str(recipe), "--towers", *map(str, towers), "--output_dir", str(output), "--no_reports", *words]
    script.main(arguments)
    return json.loads((output / "comparison.json").read_text())


STEPS = [
    *product(("test_resnet", "test_vit"), ("training", "evaluation")),
    ("test_resnet", "cost"),
    ("test_vit", "cost"),
]


def test_the_whole_comparison_and_what_is_done_again(script, recipe, tmp_path, capsys):
    output = tmp_path / "out"
    # Cut off in the second tower: the first is whole, the second has not begun.
    script.failing = ("test_vit", "training")
    with pytest.raises(SystemExit):
        compare(script, recipe, output)
    assert script.steps == STEPS[:2]
    assert not (output / "comparison.json").exists()
    script.failing = None
    comparison = compare(script, recipe, output)
    assert script.steps == STEPS[2:]
    assert list(comparison["towers"]) == ["test_resnet", "test_vit"]
    assert comparison["num_rows"] == 21
    for name, tower in comparison["towers"].items():
        model, cost = output / "towers" / name / "model", tower["cost"]
        own = json.loads((model / "results.json").read_text())
        assert tower["scores"]["image+text"]["mean_accuracy"] == pytest.approx(own["mean_accuracy"])
        assert tower["vision"] == name
        assert cost["training_peak_memory_bytes"] == own["training"]["peak_memory_bytes"] > 1e8
        assert cost["seconds_per_epoch"] == own["training"]["seconds_per_epoch"] > 0
        assert (cost["training_paintings"], cost["flops_forward"] > 1e5) == (70, True)
        assert cost["weights_bytes"] == (model / "model.safetensors").stat().st_size
    assert comparison["recipe_differences"] == {}
    printed = capsys.readouterr().out
    assert "\n".join(comparison["conclusion"]) in printed
    page = (output / "comparison.html").read_text()
    assert all(name in page for name in ("test_resnet", "test_vit", "EfficientNet-B0, the study"))
    assert "## Cost" in (output / "comparison.md").read_text()
    # All is done, so nothing is done again.
    again = compare(script, recipe, output)
    assert script.steps == []
    assert again["towers"] == comparison["towers"]
    # An evaluation that was cut off has no mark, whatever else it left.
    (output / "towers" / "test_resnet" / "evaluation" / "done.json").unlink()
    compare(script, recipe, output)
    assert script.steps == [("test_resnet", "evaluation")]
    # Other weights under the same name are evaluated and measured again.
    model = output / "towers" / "test_vit" / "model"
    weights = (model / "checkpoint-5" / "model.safetensors").read_bytes()[:-1] + b"\x01"
    (model / "model.safetensors").write_bytes(weights)
    compare(script, recipe, output)
    assert script.steps == [("test_vit", "evaluation"), ("test_vit", "cost")]
    # Another recipe in the same folder would compare what was not trained alike.
    with pytest.raises(SystemExit, match=r"test_resnet was begun by another recipe: .*'learning_rate': '0.001 then"):
        compare(script, recipe, output, "--learning_rate", "1e-2")
    # Finished runs are taken as they are.
    (output / "towers" / "test_resnet" / "model").rename(tmp_path / "older")
    taken = compare(script, recipe, tmp_path / "second", towers=(tmp_path / "older", output / "towers/test_vit/model"))
    assert {step for _, step in script.steps} == {"evaluation", "cost"}
    assert list(taken["towers"]) == ["older", "test_vit"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vision", "resnet18"], r"Got \['vision'\] on the command line.*Name the towers by --towers"),
        (["--resume_from_checkpoint", "true"], r"take a new --output_dir to begin again"),
        (["--split", "holdout"], r"Got the split 'holdout'.*\['train', 'validation', 'test'\]"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--data", "null"], r"a recipe without data.*Pass --data"),
        (["stray"], "Unexpected 'stray' on the command line"),
        (["--towers", "test_vit"], "At least two can be compared"),
    ],
)
def test_what_a_user_gets_wrong_is_named_before_anything_is_trained(script, recipe, tmp_path, words, message):
    with pytest.raises(SystemExit, match=message):
        script.main([str(recipe), "--output_dir", str(tmp_path / "out"), *words])
    assert script.steps == []
    assert not (tmp_path / "out").exists()


def test_killed_in_training_it_goes_on_from_the_checkpoint(script, recipe, tmp_path, monkeypatch):
    output = tmp_path / "out"
    words = [str(recipe), "--towers", "test_resnet", "test_vit", "--output_dir", str(output), "--no_reports"]
    # Long enough not to end by itself: a checkpoint each epoch.
    words += ["--num_train_epochs", "400"]
    model = output / "towers" / "test_resnet" / "model"
    with Python("-m", "semart_hf.cli", "compare", *words, output=tmp_path / "log", OMP_NUM_THREADS="1") as process:
        process.wait_until(lambda: glob.glob(f"{model}/checkpoint-*/manifest.json"))
        trainers = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # Nothing goes on in the background, where it would write into the folder of the next attempt.
        assert trainers
        assert not psutil.wait_procs(trainers, 30)[1]
    assert not (model / "results.json").exists()
    assert not (output / "towers" / "test_vit").exists()
    last = max(int(mark.parent.name.split("-")[1]) for mark in model.glob("checkpoint-*/manifest.json"))

    def run(plan, *_, **__):
        assert plan.checkpoint.name == f"checkpoint-{last}"
        raise KeyboardInterrupt

    monkeypatch.setattr(load_command("train"), "run", run)
    with pytest.raises(SystemExit, match="semart-hf train: interrupted"):
        script.main(words)
