"""Real processes: how a step is divided among them does not change what it computes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rounding import rounding
from safetensors.torch import load_file

from semart_hf.training.checkpoints import checkpoints_of, is_whole

# Forward and backward of 20 layers with at most 1,024 terms, and losses of at most 3.
ROUNDING = rounding(1024, layers=2 * 20, size=3)
LEARNING_RATE, NUM_STEPS = 3e-3, 2  # of first_epoch.py
SCRIPT = Path(__file__).with_name("first_epoch.py")


ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def accelerate(*words, launcher=("--multi_gpu",)):
    """The command that starts several processes on CPUs."""
    return [
        *(str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1", *launcher),
        *("--num_processes", "2", "--main_process_port", "0", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", *words),
    ]


def launch(small_release, folder, *divisions, command):
    """Losses and weights of trainings one after the other, by their division into batches."""
    words = [*command, str(small_release), str(folder), *divisions]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [folder / division for division in divisions]
    return [(json.loads((run / "losses.json").read_text()), load_file(run / "model.safetensors")) for run in runs]


@pytest.fixture(scope="module")
def one_process(small_release, tmp_path_factory):
    return launch(small_release, tmp_path_factory.mktemp("one"), "32x1", command=[sys.executable, str(SCRIPT)])[0]


def assert_same(one, other, is_sharded):
    assert (other[0]["world_size"], other[0]["is_sharded"]) == (2, is_sharded)
    assert [line["step"] for line in other[0]["steps"]] == [1, 2]
    for expected, found in zip(one[0]["steps"], other[0]["steps"], strict=True):
        for name in ("loss", "type_loss", "timeframe_loss", "school_accuracy", "grad_norm"):
            assert found[name] == pytest.approx(expected[name], abs=ROUNDING), name
    for name, tensor in one[1].items():  # AdamW's step is as large for a gradient that is rounding alone
        assert torch.allclose(other[1][name], tensor, atol=2 * NUM_STEPS * LEARNING_RATE), name


def test_two_processes_have_the_losses_of_one(one_process, small_release, tmp_path):
    for run in launch(small_release, tmp_path, "16x1", "8x2", command=accelerate(str(SCRIPT))):
        assert_same(one_process, run, is_sharded=False)


def test_sharded_processes_have_the_losses_of_one(one_process, small_release, tmp_path):
    fsdp = (
        *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
        *("--fsdp_state_dict_type", "FULL_STATE_DICT", "--fsdp_cpu_ram_efficient_loading", "false"),
    )
    for run in launch(small_release, tmp_path, "8x2", command=accelerate(str(SCRIPT), launcher=fsdp)):
        assert_same(one_process, run, is_sharded=True)


# ---- Real processes that are really ended

RECIPE = """
data: {data}
output_dir: {output_dir}
vision: test_vit
text: null
text_args: {{dim: 32, n_layers: 2, n_heads: 4, hidden_dim: 64}}
pretrained: false
image_size: 64
trainable_text_layers: null
fusion_dim: 32
fusion_dropout: 0.2
min_label_count: 3
vocab_size: 300
max_text_length: 32
crop_scale: [0.5, 1.0]
horizontal_flip: 0.5
image_dropout: 0.2
text_dropout: 0.2
ema_decay: 0.9
num_train_epochs: 3
max_train_rows: 48
per_device_train_batch_size: 4
learning_rate: 1e-3
logging_steps: 4
eval_strategy: epoch
save_strategy: steps
save_steps: 1
save_total_limit: 3
load_best_model_at_end: false
dataloader_num_workers: 1
"""


# What a launcher does, without what importing costs: its two processes are told which they are, and share a group.
LAUNCH = """
import os, sys
import semart_hf.cli.train, semart_hf.data.loading, semart_hf.publishing.repository, semart_hf.training.trainer

rank = "1" if os.fork() == 0 else "0"
os.environ.update(RANK=rank, LOCAL_RANK=rank)
semart_hf.cli.train.main(sys.argv[1:])
if rank == "0" and os.wait()[1]:
    raise SystemExit("error: the other process failed")
"""


def start(recipe):
    """Two processes of one training, in a group of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(recipe)],
        cwd=SCRIPT.parents[2],
        env={**ENVIRONMENT, **address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end_at(process, folder, step, number):
    """Send all processes a signal when a checkpoint's folder appears, which is before it is whole."""
    deadline = time.monotonic() + 200
    while not (folder / f"checkpoint-{step}").is_dir():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, number)
    return process.communicate(timeout=120)[0]


def write_recipe(folder, data):
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=data, output_dir=folder / "model"))
    return recipe


def outcome(folder):
    """Weights, the weights that learn, the optimizer's state, and the log without its clocks."""
    last = checkpoints_of(folder)[0]
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    clocks = ("second", "runtime", "data_wait", "total_flos")
    log = [{key: value for key, value in line.items() if not any(word in key for word in clocks)} for line in history]
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    tensors = {f"{key}.{name}": value for key, state in optimizer.items() for name, value in state.items()}
    tensors |= load_file(folder / "model.safetensors")
    tensors |= {f"learned.{n}": t for n, t in load_file(last / "resume" / "learned_weights.safetensors").items()}
    return tensors, log, last.name, json.loads((folder / "results.json").read_text())["tasks"]


def test_two_processes_that_are_terminated_and_killed_end_as_if_they_had_not_been(small_release, tmp_path):
    (tmp_path / "undisturbed").mkdir()
    undisturbed = start(write_recipe(tmp_path / "undisturbed", small_release))
    output, _ = undisturbed.communicate(timeout=280)
    assert undisturbed.returncode == 0, output[-3000:]
    recipe, model = write_recipe(tmp_path, small_release), tmp_path / "model"
    terminated = start(recipe)
    output = end_at(terminated, model, 2, signal.SIGTERM)
    assert terminated.returncode != 0
    assert output.count("the checkpoint is written. The same command continues") == 1, output[-3000:]
    last = checkpoints_of(model)[0]
    assert is_whole(last)
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in last.iterdir()}
    killed = start(recipe)
    assert f"Continuing from {last}" in end_at(killed, model, 14, signal.SIGKILL)
    finished = start(recipe)
    output, _ = finished.communicate(timeout=280)
    assert finished.returncode == 0, output[-3000:]
    assert "Continuing from" in output
    found, expected = outcome(model), outcome(tmp_path / "undisturbed" / "model")
    assert found[0].keys() == expected[0].keys()
    assert [name for name, tensor in expected[0].items() if not torch.equal(found[0][name], tensor)] == []
    assert found[1:] == expected[1:]
