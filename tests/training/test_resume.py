"""Real processes that are really killed: what they leave behind, and that going on changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semart_hf.training.checkpoints import WHOLE, checkpoints_of, is_whole, last_whole_checkpoint, mark_whole
from semart_hf.training.preemption import PREEMPTED_STATUS
from semart_hf.training.run_folder import begin_run

CHECKOUT = Path(__file__).parents[2]
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
color_jitter: 0.2
image_dropout: 0.2
text_dropout: 0.2
ema_decay: 0.9
loss: {{default: logit_adjusted, timeframe: ordinal+logit_adjusted}}
num_train_epochs: 2
per_device_train_batch_size: 4
learning_rate: 1e-3
logging_steps: 3
eval_strategy: epoch
save_strategy: steps
save_steps: 2
save_total_limit: 3
load_best_model_at_end: false
dataloader_num_workers: {workers}
"""


def command(recipe, processes=1):
    several = ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else []
    return [
        *(str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1"),
        *("--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no", *several),
        *("--num_cpu_threads_per_process", "1", "scripts/train.py", str(recipe)),
    ]


def start(recipe, processes=1):
    words = [sys.executable, "scripts/train.py", str(recipe)] if processes == 1 else command(recipe, processes)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output[-3000:]
    return output


def wait_for_checkpoint(process, folder, number):
    deadline = time.monotonic() + 200
    while not (folder / f"checkpoint-{number}").is_dir():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill(process, number=signal.SIGKILL):
    os.killpg(process.pid, number)


def write_recipe(folder, data, workers=0):
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=data, output_dir=folder / "model", workers=workers))
    return recipe


def outcome(folder):
    """Everything that must not differ: weights, optimizer state, and the log without its clocks."""
    last = checkpoints_of(folder)[0]
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    clocks = ("second", "runtime", "data_wait", "total_flos")
    log = [{key: value for key, value in line.items() if not any(word in key for word in clocks)} for line in history]
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    return {
        "weights": load_file(folder / "model.safetensors"),
        "learned": load_file(last / "resume" / "learned_weights.safetensors"),
        "optimizer": {f"{key}.{name}": value for key, state in optimizer.items() for name, value in state.items()},
        "log": log,
        "scores": json.loads((folder / "results.json").read_text())["tasks"],
        "step": last.name,
    }


def assert_identical(one, other):
    for part in ("weights", "learned", "optimizer"):
        assert one[part].keys() == other[part].keys()
        different = [name for name in one[part] if not torch.equal(one[part][name], other[part][name])]
        assert not different, (part, different[:5])
    assert one["log"] == other["log"]
    assert one["scores"] == other["scores"]
    assert one["step"] == other["step"]


@pytest.fixture(scope="module")
def uninterrupted(small_release, tmp_path_factory):
    """Outcomes of runs that nobody disturbed, by number of processes."""
    outcomes = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"uninterrupted-{processes}")
        finish(start(write_recipe(folder, small_release), processes))
        outcomes[processes] = outcome(folder / "model")
    return outcomes


def test_two_killed_processes_end_as_if_they_had_not_been(uninterrupted, small_release, tmp_path):
    recipe = write_recipe(tmp_path, small_release, workers=1)
    process = start(recipe, processes=2)
    wait_for_checkpoint(process, tmp_path / "model", 6)
    kill(process)
    process.wait()
    assert "Continuing from" in finish(start(recipe, processes=2))
    assert_identical(outcome(tmp_path / "model"), uninterrupted[2])


def test_a_terminated_and_a_killed_run_end_as_if_they_had_not_been(uninterrupted, small_release, tmp_path):
    recipe = write_recipe(tmp_path, small_release, workers=2)
    process = start(recipe)
    wait_for_checkpoint(process, tmp_path / "model", 4)
    kill(process, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == PREEMPTED_STATUS, output[-3000:]
    assert "the checkpoint is written. The same command continues" in output
    assert is_whole(checkpoints_of(tmp_path / "model")[0])
    process = start(recipe)
    wait_for_checkpoint(process, tmp_path / "model", 12)
    kill(process)
    process.wait()
    finish(start(recipe))
    assert_identical(outcome(tmp_path / "model"), uninterrupted[1])


def test_processes_that_are_terminated_save_one_checkpoint(small_release, tmp_path):
    recipe = write_recipe(tmp_path, small_release)
    process = start(recipe, processes=2)
    wait_for_checkpoint(process, tmp_path / "model", 2)
    kill(process, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert output.count("the checkpoint is written") == 1
    assert process.returncode != 0
    last = checkpoints_of(tmp_path / "model")[0]
    assert is_whole(last)
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in last.iterdir()}


@pytest.fixture
def folder(tmp_path):
    """A run's folder with three checkpoints: the last is cut off, the one before has lost a byte."""
    for number in (2, 4, 6):
        checkpoint = tmp_path / "run" / f"checkpoint-{number}"
        (checkpoint / "resume").mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(b"weights")
        (checkpoint / "resume" / "progress-0.json").write_text("{}")
        if number < 6:
            mark_whole(checkpoint)
    (tmp_path / "run" / "checkpoint-4" / "model.safetensors").write_bytes(b"weight")
    return tmp_path / "run"


def test_half_written_checkpoints_are_passed_over(folder, caplog):
    assert last_whole_checkpoint(folder) == folder / "checkpoint-2"
    assert [record.getMessage() for record in caplog.records] == [
        f"Passing over {folder / name}: it was not written to its end." for name in ("checkpoint-6", "checkpoint-4")
    ]
    (folder / "checkpoint-2" / WHOLE).write_text("[not json")
    assert last_whole_checkpoint(folder) is None


def test_the_same_recipe_continues_and_another_is_refused(folder):
    shutil.rmtree(folder / "checkpoint-6")
    (folder / "recipe.yaml").write_text("data: a\nseed: 1\n")
    recipe = {"data": "a", "seed": 1}
    assert begin_run(folder, recipe) == folder / "checkpoint-2"
    with pytest.raises(
        ValueError, match=r"unfinished run of another recipe: \{'seed': '1 then, 2 now'\}.*same recipe"
    ):
        begin_run(folder, {**recipe, "seed": 2})
    assert begin_run(folder, {**recipe, "seed": 2}, resume=True) == folder / "checkpoint-2"
    with pytest.raises(ValueError, match=r"checkpoint-4, which is no checkpoint.*\['checkpoint-2'\]"):
        begin_run(folder, recipe, resume=str(folder / "checkpoint-4"))


def test_a_finished_model_is_neither_continued_nor_lost(folder):
    (folder / "recipe.yaml").write_text("data: a\n")
    (folder / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"already holds .*Give another --output_dir"):
        begin_run(folder, {"data": "a"})
    assert begin_run(folder, {"data": "a", "overwrite_output_dir": True}, overwrite=True) is None
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]


def test_a_run_that_was_cut_off_at_once_begins_anew(folder, caplog):
    for number in (2, 4):
        shutil.rmtree(folder / f"checkpoint-{number}")
    (folder / "recipe.yaml").write_text("data: a\n")
    assert begin_run(folder, {"data": "a"}) is None
    assert not checkpoints_of(folder)
    assert "cut off before its first checkpoint: it begins anew" in caplog.text
    with pytest.raises(ValueError, match="holds no checkpoint that was written to its end"):
        begin_run(folder, {"data": "a"}, resume=True)


def test_a_folder_that_is_no_model_is_not_deleted(tmp_path):
    (tmp_path / "thesis.docx").write_text("")
    with pytest.raises(ValueError, match=r"\['thesis.docx'\], which is no model, so it is not deleted"):
        begin_run(tmp_path, {}, overwrite=True)
