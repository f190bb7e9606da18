import errno
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_trainer import log_without_clocks, make_model, make_trainer, parts_of
from transformers import Trainer, TrainerCallback

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_splits
from semart_hf.training import resumable_trainer, run_folder
from semart_hf.training.callbacks import WeightAverage
from semart_hf.training.run_folder import MANIFEST, checkpoints_of, is_whole, last_whole_checkpoint, mark_whole

# Two steps an epoch: two borders between epochs.
OPTIONS = {"num_rows": 16, "num_train_epochs": 3, "logging_steps": 3, "precision": "fp32"}
OPTIONS |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "load_best_model_at_end": False}
OPTIONS["per_device_eval_batch_size"] = 32
SMALL_BATCHES = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}
BY_EPOCH = {"save_strategy": "epoch", "eval_strategy": "epoch"}
AVERAGED = {"ema_decay": 0.9, "max_steps": 4, "eval_strategy": "no"}


@pytest.fixture(scope="module")
def parts(small_release):
    splits, *rest = parts_of(small_release, image_size=32)
    return ({**splits, "validation": splits["validation"].select(range(8))}, *rest)


class DrawingCollator(ArtCollator):
    """Draws from every global generator, as collators of other people do."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return {**batch, "pixel_values": batch["pixel_values"] + noise} if "pixel_values" in batch else batch


def trainer_of(parts, folder, callbacks=(), collator=None, **options):
    trainer = make_trainer(parts, folder, callbacks=callbacks, **{**OPTIONS, **options})
    if collator is not None:
        trainer.data_collator = collator(trainer.processing_class, trainer.tasks)
    return trainer


def outcome(trainer):
    """Everything that must not differ: weights, optimizer state, position, and the log without its clocks."""
    optimizer = trainer.optimizer.state_dict()
    best = trainer.state.best_model_checkpoint
    return {
        "weights": {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()},
        "optimizer": {f"{n}.{k}": v for n, state in optimizer["state"].items() for k, v in state.items()},
        "rates": [group["lr"] for group in optimizer["param_groups"]],
        "log": log_without_clocks(trainer.state.log_history),
        "step": trainer.state.global_step,
        "best": (trainer.state.best_metric, best and best.rpartition("/")[2]),
        "generators": [torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64))],
    }


def assert_identical(found, expected):
    for part in ("weights", "optimizer"):
        assert found[part].keys() == expected[part].keys()
        different = [name for name in found[part] if not torch.equal(found[part][name], expected[part][name])]
        assert not different, (part, different[:5])
    for part in ("rates", "step", "best", "log"):
        assert found[part] == expected[part], part
    assert all(map(torch.equal, found["generators"], expected["generators"]))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, (1, 2, 6)),
        ({"dataloader_num_workers": 1, "ema_decay": 0.9}, (2, 6)),
        ({"dataloader_num_workers": 2, "collator": DrawingCollator, **SMALL_BATCHES}, (1, 2)),
        ({"collator": DrawingCollator, "ema_decay": 0.9, "load_best_model_at_end": True, **BY_EPOCH}, (2, 6)),
        ({"dataloader_num_workers": 1, "dataloader_persistent_workers": False, "precision": "bf16"}, (2,)),
        ({"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "max_steps": 5}, (2, 5)),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": "loss"}, (3,)),
    ],
    ids=["plain", "average", "accumulation", "best", "bf16", "steps", "plateau"],
)
def test_a_run_resumed_at_any_step_ends_as_if_it_had_not_ended(parts, tmp_path, options, steps):
    whole = trainer_of(parts, tmp_path / "whole", **options)
    whole.train()
    expected = outcome(whole)
    for step in steps:
        resumed = trainer_of(parts, tmp_path / f"from-{step}", **options)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert_identical(outcome(resumed), expected)


def test_a_run_with_tasks_of_every_kind_is_resumed_alike(parts, small_release, tmp_path):
    entries = ["type", {"name": "period", "column": "timeframe", "kind": "ordered"}]
    entries += [{"name": "century", "column": "date", "rule": "century"}, {"name": "subjects", "kind": "multi_label"}]
    splits = load_splits(DataArguments(data=str(small_release), tasks=entries, min_label_count=3))
    rows = {"train": splits["train"], "validation": splits["validation"].select(range(8))}
    loss = {"period": "ordinal", "default": "class_weighted"}
    parts, options = (rows, splits.tasks, *parts[2:]), {"loss": loss, "num_train_epochs": 2}
    whole, resumed = (trainer_of(parts, tmp_path / name, **options) for name in ("whole", "resumed"))
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert_identical(outcome(resumed), outcome(whole))


def test_a_run_resumed_with_other_rates_has_them(parts, tmp_path):
    options = {"eval_strategy": "no", "lr_scheduler_type": "linear", "max_steps": 2, "save_steps": 2}
    trainer_of(parts, tmp_path / "run", **options).train()
    changes = {"max_steps": 4, "learning_rate": 1e-5, "text_learning_rate": 4e-6, "weight_decay": 0.2}
    resumed = trainer_of(parts, tmp_path / "more", **{**options, **changes}, logging_steps=1)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    rates = [line["learning_rate"] for line in resumed.state.log_history if line["step"] == 3 and "loss" in line]
    assert rates == pytest.approx([0.5e-5])
    groups = {(group["name"], group["initial_lr"], group["weight_decay"]) for group in resumed.optimizer.param_groups}
    assert groups >= {("vision", 1e-5, 0.2), ("text", 4e-6, 0.2), ("new", 1e-5, 0.2)}
    other = trainer_of(parts, tmp_path / "other", **options, optim="sgd")
    with pytest.raises(ValueError, match=r"another optimizer, .*no \['dampening', 'momentum'\]\)\. Resume with what"):
        other.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_early_stopping_keeps_its_count(parts, tmp_path):
    options = {
        **{"early_stopping_patience": 3, "num_train_epochs": 4, "learning_rate": 0.0, "load_best_model_at_end": True},
        **{"metric_for_best_model": "loss", "greater_is_better": False, "eval_strategy": "steps", "eval_steps": 1},
    }
    whole = trainer_of(parts, tmp_path / "whole", **options)
    whole.train()
    last = whole.state.global_step
    assert 3 < last < 8

    def resumed(name, step, **changes):
        trainer = trainer_of(parts, tmp_path / name, **{**options, **changes})
        trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        return trainer

    for step in (2, last):
        assert_identical(outcome(resumed(f"from-{step}", step)), outcome(whole))
    # More patience, and more steps than the first run was given.
    assert resumed("patient", last, early_stopping_patience=4).state.global_step == last + 1
    options |= {"metric_for_best_model": "mean_macro_f1", "greater_is_better": True, "early_stopping_patience": None}
    trainer_of(parts, tmp_path / "short", **{**options, "max_steps": 1}).train()
    longer = trainer_of(parts, tmp_path / "short", **{**options, "early_stopping_patience": 2, "max_steps": 6})
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 3


def write_to(real, point):
    def fail(*args, **kwargs):
        if point != "manifest":  # which makes the checkpoint whole
            real(*args, **kwargs)
        if point == "_save_optimizer_and_scheduler":  # torch's own words
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 2065920 vs 2065812")
        raise OSError(errno.ENOSPC, "No space left on device")

    return fail


@pytest.fixture(scope="module")
def undisturbed(parts, tmp_path_factory):
    trainer = trainer_of(parts, tmp_path_factory.mktemp("undisturbed"), **AVERAGED)
    trainer.train()
    return outcome(trainer)


@pytest.mark.parametrize(
    "point", ["_save", "_save_optimizer_and_scheduler", "_save_rng_state", "average", "progress", "manifest"]
)
def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_resumes(parts, undisturbed, tmp_path, monkeypatch, point):
    class Fill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                owner, name = {
                    "average": (WeightAverage, "save_learned"),
                    "progress": (resumable_trainer, "write_json"),
                    "manifest": (run_folder, "write_json"),
                }.get(point, (resumable_trainer.ResumableTrainer if point == "_save" else Trainer, point))
                monkeypatch.setattr(owner, name, write_to(getattr(owner, name), point))

    folder = tmp_path / "cut"
    with pytest.raises(OSError, match=r"The disk is full .*cut\. The last whole checkpoint is kept") as caught:
        trainer_of(parts, folder, callbacks=[Fill()], **AVERAGED).train()
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert [path.name for path in checkpoints_of(folder) if is_whole(path)] == [f"checkpoint-{n}" for n in (2, 1)]
    resumed = trainer_of(parts, folder, **AVERAGED)
    resumed.train(resume_from_checkpoint=True)
    assert_identical(outcome(resumed), undisturbed)


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory):
    """A run's folder with two checkpoints, the first of which is the best."""
    folder = tmp_path_factory.mktemp("saved")
    options = {"max_steps": 2, "learning_rate": 0.0, "eval_strategy": "steps", "eval_steps": 1}
    options["load_best_model_at_end"] = True
    trainer = trainer_of(parts, folder, **options)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")
    return folder, options


@pytest.mark.parametrize(
    ("removed", "options", "message"),
    [
        (["optimizer.pt"], {}, "lacks the optimizer: .*begin again"),
        (["../checkpoint-1"], {}, "lacks the best checkpoint so far, .*checkpoint-1"),
        ([], {"ema_decay": 0.9}, "written without averaged weights, while ema_decay is set"),
    ],
)
def test_a_checkpoint_that_cannot_be_continued_exactly_is_refused(parts, saved, tmp_path, removed, options, message):
    folder, made_with = saved
    shutil.copytree(folder, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint-2"
    for name in removed:
        path = checkpoint / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    mark_whole(checkpoint)
    trainer = trainer_of(parts, tmp_path / "new", **{**made_with, **options})
    with pytest.raises(ValueError, match=message):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_a_moved_run_knows_its_best_checkpoint(parts, saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "moved")
    trainer = trainer_of(parts, tmp_path / "moved", **saved[1])
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.best_model_checkpoint == str(tmp_path / "moved" / "checkpoint-1")
    inexactly = {"ema_decay": 0.9, "ignore_data_skip": True, "max_steps": 3}  # an average begins here
    trainer = trainer_of(parts, tmp_path / "new", **{**saved[1], **inexactly})
    assert trainer.train(str(tmp_path / "moved" / "checkpoint-2")).global_step == 3


def test_what_breaks_exact_resuming_is_said_at_the_start(parts, tmp_path, caplog):
    trainer_of(parts, tmp_path, save_only_model=True, max_steps=2)
    assert "With save_only_model: true, this run cannot be continued exactly" in caplog.text


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


def test_half_written_checkpoints_are_passed_over(parts, folder, caplog, saved):
    assert last_whole_checkpoint(folder) == folder / "checkpoint-2"
    half = (folder / "checkpoint-6", folder / "checkpoint-4")
    assert caplog.messages == [f"Passing over {path}: it was not written to its end." for path in half]
    (folder / "checkpoint-2" / MANIFEST).write_text("[not json")
    assert last_whole_checkpoint(folder) is None
    with pytest.raises(ValueError, match="holds no checkpoint that was written to its end"):
        make_trainer(parts, folder).train(resume_from_checkpoint=True)
    other = SimpleNamespace(world_size=2, ema_decay=0.0, load_best_model_at_end=False, ignore_data_skip=False)
    with pytest.raises(ValueError, match=r"which 1 process\(es\) wrote, but there are 2: .*Resume with"):
        run_folder.check_continuable(saved[0] / "checkpoint-2", other)


def test_a_new_model_of_model_init_begins_each_run(parts, tmp_path):
    made = []

    def model_init():
        with torch.random.fork_rng():
            made.append(make_model(parts))
        return made[-1]

    options = {**OPTIONS, "ema_decay": 0.9, "max_steps": 2}
    one = make_trainer(parts, tmp_path / "one", **options)
    one.train()
    trainer = make_trainer(parts, tmp_path / "two", model_init=model_init, **options)
    for _ in range(2):
        trainer.train()
        found = trainer.model.state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in one.model.state_dict().items())
    assert made[-1] is trainer.model
    assert len(made) > 2
