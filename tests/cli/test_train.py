import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import distributed_evaluation
import numpy as np
import pytest
import torch
from rounding import rounding
from small_recipe import small_recipe
from tiny_release import run as run_command
from transformers import AutoModel, AutoProcessor, pipeline
from warm_python import run_python

import semart_hf  # noqa: F401
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.data.collator import ArtCollator
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings

CHECKOUT = Path(__file__).parents[2]
FIELDS = {"image_dropout": 0.2, "text_dropout": 0.2, "learning_rate": 1e-3, "logging_steps": 4}


@pytest.fixture(scope="module")
def run(small_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "recipe.yaml"
    recipe.write_text(small_recipe(data=small_release, output_dir=folder / "model", **FIELDS))
    launcher = [
        str(Path(sys.executable).with_name("accelerate")),
        *("launch", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    command = [*launcher, "scripts/train.py", str(recipe)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "model", done.stdout + done.stderr


def test_the_run_says_what_it_does_and_its_folder_is_whole(run, small_release):
    folder, printed = run
    for line in (
        "Data: train 70 paintings, validation 19 paintings, test 21 paintings",
        "Training pictures: prepared with a shorter side of ",
        "trainable params: ",
        "epoch 1, validation: loss",
        "test: mean accuracy 0.",
    ):
        assert line in printed
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "recipe.yaml"} <= names
    assert {"modeling_semart.py", "pipeline_semart.py", "results.json"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pkl", ".pt"))}
    results = json.loads((folder / "results.json").read_text())
    assert results["split"] == "test"
    assert results["num_rows"] == 21
    assert set(results["modalities"]) == {"image+text", "image", "text"}
    ceilings = json.loads((small_release / "ceiling.json").read_text())
    assert results["modalities"]["text"]["ceiling"]["school"] == ceilings["text"]["school"]


def test_trainer_script_and_pipeline_agree_on_every_painting(run, small_release, tmp_path):
    folder, _ = run
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    test = load_paintings(small_release, tasks=model.config.tasks)["test"]
    scripted = predict_dataset(model, processor, test)
    trainer = distributed_evaluation.make_trainer(folder, small_release, tmp_path)
    trainer.data_collator = ArtCollator(processor, model.config.tasks)
    trained = trainer.predict(test.cast_column("image", datasets.Image(decode=False))).predictions
    classify = pipeline("art-classification", model=str(folder), trust_remote_code=True)
    rows = [{"image": row["image"], "text": row["text"]} for row in test]
    answers = classify(rows, batch_size=5, top_k=None)
    run_command("evaluate", "--model", folder, "--data", small_release, "--output_dir", tmp_path / "e")
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    for column, task in enumerate(model.config.task_names):
        bound = rounding(1024, layers=20, size=8)
        assert np.allclose(scripted.logits[task], trained[task], atol=bound)
        labels = model.config.labels(task)
        expected = torch.tensor(scripted.logits[task]).softmax(-1)
        for answer, probabilities in zip(answers, expected, strict=True):
            scores = {entry["label"]: entry["score"] for entry in answer[task]}
            assert torch.allclose(torch.tensor([scores[label] for label in labels]), probabilities, atol=bound)
        truth = zip(answers, scripted.references[:, column], strict=True)
        correct = [answer[task][0]["label"] == labels[label] for answer, label in truth if label >= 0]
        assert results["tasks"][task]["accuracy"] == pytest.approx(np.mean(correct))
    mean = json.loads((folder / "results.json").read_text())["mean_accuracy"]
    assert mean == pytest.approx(results["mean_accuracy"])


def test_two_processes_give_the_metrics_of_one_before_and_after_training(run, small_release, tmp_path):
    folder, _ = run
    script = Path(__file__).with_name("distributed_evaluation.py")
    logs = tmp_path / "logs"
    run_python(script, folder, small_release, tmp_path, logs=logs, num_processes=2, OMP_NUM_THREADS="1")
    before, after = json.loads((tmp_path / "metrics.json").read_text())
    assert before["world_size"] == 2
    assert before["eval_num_rows"] == after["eval_num_rows"] == 19
    assert after["eval_loss"] != before["eval_loss"]
    alone = distributed_evaluation.make_trainer(folder, small_release, tmp_path / "one").evaluate()
    for name, value in alone.items():
        if name.endswith(("_accuracy", "_f1", "log_loss", "num_rows")):
            assert before[name] == pytest.approx(value, abs=rounding(1024, layers=20, size=8)), name


def test_a_prepared_folder_is_streamed(small_release, tmp_path, capsys):
    options = PreparationOptions(image_size=40, min_label_count=3, rows_per_shard=16)
    prepare_paintings(read_rows(small_release), tmp_path / "prepared", options, num_proc=1)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(small_recipe(data=f"file://{tmp_path}/prepared", output_dir=tmp_path / "model", **FIELDS))
    words = ("--streaming", "true", "--epoch_length", "32", "--dataloader_num_workers", "1")
    run_command("train", recipe, *words)
    assert "Data: train 70 paintings, validation 19 paintings, test 21 paintings" in capsys.readouterr().out
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["num_rows"] == 21
    assert results["training"]["paintings"] == 70
    (state,) = (tmp_path / "model").glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["global_step"] == 4
