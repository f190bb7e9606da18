import pytest
import small_trainer
import torch
from small_trainer import parts_of

from semart_hf.data.data_arguments import Augmentation


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, image_size=32, frozen_vision_stages=2)


def make_trainer(parts, folder, **options):
    augmentation = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5)
    collation = {"augmentation": augmentation, "image_dropout": 0.2, "text_dropout": 0.2}
    options = {"per_device_eval_batch_size": 8, "weight_decay": 0.1, **options}
    return small_trainer.make_trainer(parts, folder, num_rows=len(parts[0]["train"]), collation=collation, **options)


@pytest.fixture(scope="module")
def trained(parts, tmp_path_factory):
    trainer = make_trainer(parts, tmp_path_factory.mktemp("run"), load_best_model_at_end=False)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    return trainer, before


def test_every_trainable_parameter_moves_and_nothing_frozen_does(trained):
    trainer, before = trained
    model = trainer.model
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert trainable <= moved
    frozen = {id(t) for module in model._frozen_modules for t in module.state_dict(keep_vars=True).values()}
    frozen_names = {name for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in frozen}
    assert any("running_mean" in name for name in frozen_names)
    assert not moved & frozen_names
    parameters = {name for name, _ in model.named_parameters()}
    assert moved & parameters == trainable


def test_the_log_has_each_tasks_loss_and_accuracy_and_the_speed(trained):
    trainer, _ = trained
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["step"] for line in lines] == [4, 8, 12, 16]
    for line in lines:
        mean = sum(line[f"{task}_loss"] for task in trainer.task_names) / 4
        # A step's loss is a mean over its rows, the line's are means over the rows of all its steps.
        assert line["loss"] == pytest.approx(mean, abs=0.02)
        assert all(0 <= line[f"{task}_accuracy"] <= 1 for task in trainer.task_names)
        assert line["rows_per_second"] > 0
        assert 0 <= line["data_wait"] <= 1
    evaluations = [line for line in trainer.state.log_history if "eval_loss" in line]
    assert len(evaluations) == 2
    assert {"eval_mean_accuracy", "eval_mean_macro_f1", "eval_school_macro_f1"} <= set(evaluations[0])


def test_the_best_checkpoint_is_what_remains_and_the_progress_lines_are_for_people(parts, tmp_path, capsys):
    options = {"num_train_epochs": 3, "metric_for_best_model": "mean_accuracy", "disable_tqdm": False}
    trainer = make_trainer(parts, tmp_path, **options)
    trainer.train()
    printed = "".join(capsys.readouterr())
    lines = ("step 4: loss ", "; accuracy type 0.", "epoch 1, validation: loss ", "mean macro-F1 0.", "rows/s")
    assert [line for line in lines if line not in printed] == []
    assert "{'" not in printed
    evaluations = [line for line in trainer.state.log_history if "eval_mean_accuracy" in line]
    best = max(line["eval_mean_accuracy"] for line in evaluations)
    assert trainer.evaluate()["eval_mean_accuracy"] == pytest.approx(best)
