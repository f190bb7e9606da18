"""Real processes: how a step is divided among them does not change what it computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rounding import rounding
from safetensors.torch import load_file

# Forward and backward of 20 layers with at most 1,024 terms, and losses of at most 3.
ROUNDING = rounding(1024, layers=2 * 20, size=3)
LEARNING_RATE, NUM_STEPS = 3e-3, 2  # of first_epoch.py
SCRIPT = Path(__file__).with_name("first_epoch.py")


def launch(small_release, folder, *divisions, processes=1, launcher=("--multi_gpu",)):
    """Losses and weights of trainings one after the other, by their division into batches."""
    command = [sys.executable, str(SCRIPT)]
    if processes > 1:
        command = [
            *(str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1", *launcher),
            *("--num_processes", str(processes), "--main_process_port", "0", "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", str(SCRIPT)),
        ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(small_release), str(folder), *divisions],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        (
            json.loads((folder / division / "losses.json").read_text()),
            load_file(folder / division / "model.safetensors"),
        )
        for division in divisions
    ]


@pytest.fixture(scope="module")
def one_process(small_release, tmp_path_factory):
    return launch(small_release, tmp_path_factory.mktemp("one"), "32x1")[0]


def assert_same(one, other, is_sharded):
    assert (other[0]["world_size"], other[0]["is_sharded"]) == (2, is_sharded)
    assert [line["step"] for line in other[0]["steps"]] == [1, 2]
    for expected, found in zip(one[0]["steps"], other[0]["steps"], strict=True):
        for name in ("loss", "type_loss", "timeframe_loss", "school_accuracy", "grad_norm"):
            assert found[name] == pytest.approx(expected[name], abs=ROUNDING), name
    for name, tensor in one[1].items():  # AdamW's step is as large for a gradient that is rounding alone
        assert torch.allclose(other[1][name], tensor, atol=2 * NUM_STEPS * LEARNING_RATE), name


def test_two_processes_have_the_losses_of_one(one_process, small_release, tmp_path):
    for run in launch(small_release, tmp_path, "16x1", "8x2", processes=2):
        assert_same(one_process, run, is_sharded=False)


def test_sharded_processes_have_the_losses_of_one(one_process, small_release, tmp_path):
    fsdp = (
        *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
        *("--fsdp_state_dict_type", "FULL_STATE_DICT", "--fsdp_cpu_ram_efficient_loading", "false"),
    )
    for run in launch(small_release, tmp_path, "8x2", processes=2, launcher=fsdp):
        assert_same(one_process, run, is_sharded=True)
