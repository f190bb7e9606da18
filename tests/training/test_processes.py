import json
import signal
from contextlib import ExitStack

import first_epoch
import pytest
import torch
from safetensors.torch import load_file
from small_recipe import small_recipe
from small_trainer import LOSS_ROUNDING, log_without_clocks
from warm_python import Python, launched, run_python

from semart_hf.training.run_folder import checkpoints_of, is_whole

LEARNING_RATE, NUM_STEPS = 3e-3, 2  # of first_epoch.py


def outcome_of(run):
    return json.loads((run / "losses.json").read_text()), load_file(run / "model.safetensors")


@pytest.fixture(scope="module")
def one_process(small_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    first_epoch.train(small_release, folder / "tasks", 32, 1)
    first_epoch.train(small_release, folder / "contrastive", 32, 1, 1)
    return {name: outcome_of(folder / name) for name in ("tasks", "contrastive")}


FSDP = {
    **{"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"},
    **{"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"},
}


@pytest.mark.parametrize(
    ("divisions", "launcher"), [(("16x1", "8x2", "16x1x1"), {}), (("8x2", "16x1x1"), FSDP)], ids=["ddp", "fsdp"]
)
def test_two_processes_have_the_losses_of_one(one_process, small_release, tmp_path, divisions, launcher):
    words = (first_epoch.__file__, small_release, tmp_path, *divisions)
    run_python(*words, logs=tmp_path, num_processes=2, **launcher)
    for division in divisions:
        run, weights = outcome_of(tmp_path / division)
        alone, alone_weights = one_process["contrastive" if division.endswith("x1x1") else "tasks"]
        assert (run["world_size"], run["is_sharded"]) == (2, bool(launcher))
        assert [line["step"] for line in run["steps"]] == [1, 2]
        for expected, found in zip(alone["steps"], run["steps"], strict=True):
            for name in ("loss", "type_loss", "timeframe_loss", "subjects_loss", "school_accuracy", "grad_norm"):
                assert found[name] == pytest.approx(expected[name], abs=LOSS_ROUNDING), name
        for name, tensor in alone_weights.items():  # AdamW's step is as large for a gradient that is rounding alone
            assert torch.allclose(weights[name], tensor, atol=2 * NUM_STEPS * LEARNING_RATE), name


FIELDS = {"vision": "test_vit", "fusion_dropout": 0.2, "crop_scale": [0.5, 1.0], "horizontal_flip": 0.5}
FIELDS |= {"image_dropout": 0.2, "text_dropout": 0.2, "ema_decay": 0.9, "num_train_epochs": 3, "max_train_rows": 32}
FIELDS |= {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 4, "dataloader_num_workers": 1}
FIELDS |= {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 1, "save_total_limit": 3}
FIELDS["load_best_model_at_end"] = False
TRAIN_AND_LOOK = """
import sys, torch
from semart_hf.cli.train import main
main(sys.argv[1:])
if torch.distributed.is_initialized():
    raise SystemExit("error: the process ends with its group open")
"""


def write_recipe(folder, data):
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(small_recipe(data=data, output_dir=folder / "model", **FIELDS))
    return recipe


def run(recipe, log, step=0, number=0):
    """What two processes of one training print; they get a signal when the folder of checkpoint `step` appears."""
    with ExitStack() as stack:
        words = ("-c", TRAIN_AND_LOOK, recipe)
        processes = [stack.enter_context(Python(*words, output=log, **variables)) for variables in launched(2)]
        if number:  # before the checkpoint is whole
            processes[0].wait_until((recipe.parent / "model" / f"checkpoint-{step}").is_dir)
            for process in processes:
                process.signal(number)
        codes = [process.wait() for process in processes]
    output = log.read_text()
    assert any(codes) == bool(number), output[-3000:]
    return output


def outcome(folder):
    """Weights, the weights that learn, the optimizer's state, and the log without its clocks."""
    last = checkpoints_of(folder)[0]
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    tensors = {f"{key}.{name}": value for key, state in optimizer.items() for name, value in state.items()}
    tensors |= load_file(folder / "model.safetensors")
    tensors |= {f"learned.{n}": t for n, t in load_file(last / "resume" / "learned_weights.safetensors").items()}
    return tensors, log_without_clocks(history), last.name, json.loads((folder / "results.json").read_text())["tasks"]


def test_two_processes_that_are_terminated_and_killed_end_as_if_they_had_not_been(small_release, tmp_path):
    run(write_recipe(tmp_path / "undisturbed", small_release), tmp_path / "undisturbed.log")
    recipe, model = write_recipe(tmp_path, small_release), tmp_path / "model"
    output = run(recipe, tmp_path / "1.log", 2, signal.SIGTERM)
    assert output.count("the checkpoint is written. The same command continues") == 1, output[-3000:]
    last = checkpoints_of(model)[0]
    assert is_whole(last)
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in last.iterdir()}
    assert f"Continuing from {last}" in run(recipe, tmp_path / "2.log", 10, signal.SIGKILL)
    assert "Continuing from" in run(recipe, tmp_path / "3.log")
    assert json.loads((model / "results.json").read_text())["training"]["processes"] == 2
    found, expected = outcome(model), outcome(tmp_path / "undisturbed" / "model")
    assert found[0].keys() == expected[0].keys()
    assert [name for name, tensor in expected[0].items() if not torch.equal(found[0][name], tensor)] == []
    assert found[1:] == expected[1:]
