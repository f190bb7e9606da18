"""What a recipe can switch on: groups, losses, mixing, averaging, thawing, stopping — each by what it really does."""

import itertools

import datasets
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters
from torch.nn import functional as F
from transformers import TrainerCallback

from semart_hf.data.augmentation import Augmentation
from semart_hf.data.collator import ArtCollator
from semart_hf.data.loading import load_paintings
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.assembly import build_model, build_processor, build_tokenizer, tasks_of
from semart_hf.training.averaging import WeightAverage
from semart_hf.training.divergence import DivergedError, DivergenceWatch
from semart_hf.training.memory import is_out_of_memory, memory_advice
from semart_hf.training.parameter_groups import groups_table, parameter_groups
from semart_hf.training.recipe import DataArguments, ModelArguments
from semart_hf.training.trainer import SemArtTrainer


@pytest.fixture(scope="module")
def parts(small_release):
    splits = load_paintings(small_release, min_label_count=3)
    splits = {name: split.cast_column("image", datasets.Image(decode=False)) for name, split in splits.items()}
    data = DataArguments(data=str(small_release), vocab_size=300, max_text_length=32)
    model = ModelArguments(
        vision="test_resnet",
        text=None,
        text_args={"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        pretrained="false",
        image_size=64,
        fusion_dim=32,
        frozen_vision_stages=3,
        trainable_text_layers=1,
    )
    tasks = tasks_of(splits["train"], data.tasks)
    return splits, tasks, model, build_tokenizer(splits["train"], model, data)


def make_model(parts, **fields):
    _, tasks, model_arguments, tokenizer = parts
    torch.manual_seed(0)
    return build_model(tasks, ModelArguments(**{**vars(model_arguments), **fields}), tokenizer)


def make_trainer(parts, folder, model=None, callbacks=(), **options):
    splits, tasks, _, tokenizer = parts
    arguments = SemArtTrainingArguments(
        output_dir=str(folder),
        **{
            "report_to": "none",
            "disable_tqdm": True,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 16,
            "num_train_epochs": 2,
            "max_steps": -1,
            "learning_rate": 3e-3,
            "logging_steps": 4,
            "seed": 3,
            **options,
        },
    )
    model = make_model(parts) if model is None else model
    processor = build_processor(model, tokenizer)
    trainer = SemArtTrainer(
        model,
        arguments,
        processor=processor,
        collator=ArtCollator(processor, tasks, augmentation=Augmentation(horizontal_flip=0.5)),
        train_paintings=splits["train"].select(range(32)),
        eval_paintings=splits["validation"],
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


class Recorder(TrainerCallback):
    """Remembers what a function says at the end of every step."""

    def __init__(self, look):
        self.look = look
        self.seen = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append(self.look(model))


def test_groups_hold_every_parameter_once_with_its_rate_and_decay(parts):
    model = make_model(parts, frozen_vision_stages=0, trainable_text_layers=None)
    names = dict(model.named_parameters())
    groups = parameter_groups(
        model,
        names,
        learning_rates={"vision": 1e-3, "text": 1e-4, "new": 1e-2},
        layer_decay=0.5,
        weight_decay=0.1,
    )
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups) == len(names)

    def rate(name):
        return of[id(names[name])]["lr"], of[id(names[name])]["weight_decay"]

    timm = "vision_tower.timm_model."
    assert rate("fusion.weight") == (1e-2, 0.1)
    assert rate("heads.head_type.bias") == (1e-2, 0.0)
    assert rate("absent_text") == (1e-2, 0.0)
    assert rate(f"{timm}layer4.0.conv1.weight") == (1e-3, 0.1)
    assert rate(f"{timm}layer4.0.bn1.weight") == (1e-3, 0.0)
    assert rate(f"{timm}layer3.0.conv1.weight") == (5e-4, 0.1)
    assert rate(f"{timm}conv1.0.weight") == (1e-3 * 0.5**4, 0.1)
    assert rate("text_tower.transformer.layer.1.ffn.lin1.weight") == (1e-4, 0.1)
    assert rate("text_tower.transformer.layer.0.ffn.lin1.weight") == (5e-5, 0.1)
    assert rate("text_tower.embeddings.word_embeddings.weight") == (2.5e-5, 0.1)
    assert rate("text_tower.embeddings.LayerNorm.weight") == (2.5e-5, 0.0)
    table = groups_table(groups)
    assert "vision, 4 below the top" in table


def test_the_optimizer_takes_the_groups(parts, tmp_path, capsys):
    trainer = make_trainer(parts, tmp_path, vision_learning_rate=1e-4, layer_decay=0.5, weight_decay=0.1)
    trainer.args.disable_tqdm = False
    optimizer = trainer.create_optimizer()
    assert {group["lr"] for group in optimizer.param_groups} == {3e-3, 1e-4, 5e-5}
    assert "learning rate  weight decay" in capsys.readouterr().out
    learning = sum(parameter.requires_grad for parameter in trainer.model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == learning


@pytest.mark.parametrize(("accumulated", "alone"), [(1, 0.0), (2, 0.0), (4, 0.0), (1, 0.7), (4, 0.7)])
def test_the_first_logged_loss_is_the_step_losses_mean(parts, tmp_path, accumulated, alone):
    """The hand computation: weighted sums over the whole step, whatever the accumulation."""
    without = {"dropout": 0.0, "attention_dropout": 0.0}
    model = make_model(parts, fusion_dropout=0.0, text_args={**parts[2].text_args, **without})
    model.vision_tower.eval()
    for module in model.vision_tower.modules():
        module.train = lambda mode=True, self=module: self  # statistics of BatchNorm stay those of evaluation
    loss = {"default": "class_weighted", "type": "cross_entropy"}
    trainer = make_trainer(
        parts,
        tmp_path,
        model,
        loss=loss,
        max_steps=1,
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        per_device_train_batch_size=16 // accumulated,
        gradient_accumulation_steps=accumulated,
        modality_loss=alone,
    )
    trainer.data_collator.augmentation = Augmentation()
    keys = [key for batch in list(trainer.get_train_dataloader().batch_sampler)[:accumulated] for key in batch]
    batch = trainer.data_collator([trainer.train_dataset[key] for key in keys])
    labels = batch.pop("labels")
    batch.pop("row_index")
    model.eval()
    names_of_image = {"pixel_values", "has_image"}
    ways = [
        batch,
        {name: tensor for name, tensor in batch.items() if name in names_of_image},
        {name: tensor for name, tensor in batch.items() if name not in names_of_image},
    ]
    is_whole = batch.get("has_image", torch.ones(16).bool()) & batch.get("has_text", torch.ones(16).bool())
    assert 0 < is_whole.sum() < 16
    with torch.no_grad():
        logits, by_image, by_text = (model(**inputs).logits for inputs in ways)
    expected, apart = [], []
    for column, task in enumerate(trainer.model.config.tasks):
        train = torch.tensor([-100 if v is None else v for v in parts[0]["train"].select(range(32))[task["name"]]])
        counts = torch.bincount(train[train >= 0], minlength=len(task["labels"])).float()
        weight = None
        if task["name"] != "type":
            weight = torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)
        name, known = task["name"], labels[:, column]
        expected.append(F.cross_entropy(logits[name], known, weight=weight))
        mass = (known >= 0).sum() if weight is None else weight[known[known >= 0]].sum()
        of_whole = known.masked_fill(~is_whole, -100)
        apart += [
            F.cross_entropy(of[name], of_whole, weight=weight, reduction="sum") / mass for of in (by_image, by_text)
        ]
    trainer.train()
    line = next(line for line in trainer.state.log_history if "loss" in line)
    together = torch.stack(expected).mean() + alone * torch.stack(apart).sum() / len(expected)
    assert line["loss"] == pytest.approx(together.item(), abs=1e-4)
    assert line["type_loss"] == pytest.approx(expected[0].item(), abs=1e-4)


def test_the_average_is_what_is_evaluated_saved_and_left(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, ema_decay=0.9, load_best_model_at_end=False, num_train_epochs=1)
    head = trainer.model.heads["head_type"].weight
    recorder = Recorder(lambda _: head.detach().clone())
    trainer.add_callback(recorder)
    start = head.detach().clone()
    trainer.train()
    average = start
    for step, weights in enumerate(recorder.seen, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    assert torch.allclose(head, average, atol=1e-6)
    assert not torch.allclose(head, recorder.seen[-1], atol=1e-4)
    saved = type(trainer.model).from_pretrained(tmp_path / f"checkpoint-{trainer.state.global_step}")
    assert torch.equal(saved.heads["head_type"].weight, head)
    history = next(line for line in trainer.state.log_history if "eval_loss" in line)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(history["eval_loss"], abs=1e-6)


def test_exchanging_the_average_twice_changes_nothing():
    model = torch.nn.BatchNorm1d(3)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight += 1
        model.running_mean += 2
    with average.applied():
        assert model.weight.tolist() == [1.0, 1.0, 1.0]
        assert model.running_mean.tolist() == [0.0, 0.0, 0.0]
    assert model.weight.tolist() == [2.0, 2.0, 2.0]
    average.update(1000)
    with average.applied():
        assert model.weight.tolist() == [1.5, 1.5, 1.5]


@pytest.mark.parametrize("keeps_graph", [False, True])
def test_layers_thaw_epoch_by_epoch(parts, tmp_path, keeps_graph):
    trainer = make_trainer(
        parts,
        tmp_path,
        num_train_epochs=3,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        unfreezing={"1": {"trainable_text_layers": 2}, "2": {"frozen_vision_stages": 1}},
    )
    if keeps_graph:  # as several processes need it
        trainer.unfreezing.keeps_graph = True
        trainer.unfreezing.current = None
        trainer.unfreezing.begin(0)
    watched = {
        "always": "fusion.weight",
        "epoch 1": "text_tower.transformer.layer.0.ffn.lin1.weight",
        "epoch 2": "vision_tower.timm_model.layer2.0.conv1.weight",
        "never": "vision_tower.timm_model.conv1.0.weight",
    }
    parameters = dict(trainer.model.named_parameters())
    recorder = Recorder(lambda _: {key: parameters[name].detach().clone() for key, name in watched.items()})
    trainer.add_callback(recorder)
    before = {key: parameters[name].detach().clone() for key, name in watched.items()}
    trainer.train()
    ends = [before, *recorder.seen[3::4]]
    moved = {
        key: [not torch.equal(one[key], other[key]) for one, other in itertools.pairwise(ends)] for key in watched
    }
    assert moved == {
        "always": [True, True, True],
        "epoch 1": [False, True, True],
        "epoch 2": [False, False, True],
        "never": [False, False, False],
    }


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"0": {"frozen_vision_stages": 1}}, "maps an epoch from 1 on"),
        ({"1": {"frozen_text_layers": 1}}, "to some of"),
        ({"1": {"frozen_vision_stages": 4}}, "freezes what has learned before"),
        ("soon", "unfreezing is 'soon', but it maps epochs"),
    ],
)
def test_a_wrong_schedule_is_refused(parts, tmp_path, schedule, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(parts, tmp_path, unfreezing=schedule)


def test_training_stops_when_validation_does_not_improve(parts, tmp_path):
    trainer = make_trainer(
        parts,
        tmp_path,
        num_train_epochs=6,
        learning_rate=0.0,
        early_stopping_patience=2,
        metric_for_best_model="loss",
        greater_is_better=False,
    )
    trainer.train()
    assert trainer.state.epoch == 3
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")


def test_an_unknown_metric_is_refused_before_training(parts, tmp_path):
    with pytest.raises(ValueError, match=r"metric_for_best_model is 'mean_macrof1'.*Did you mean mean_macro_f1"):
        make_trainer(parts, tmp_path, metric_for_best_model="mean_macrof1")
    make_trainer(parts, tmp_path, metric_for_best_model="school_accuracy")


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(parts, tmp_path):
    class Breaker(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 6:
                with torch.no_grad():
                    model.heads["head_type"].weight[0, 0] = float("nan")

    trainer = make_trainer(
        parts,
        tmp_path,
        callbacks=[Breaker()],
        save_strategy="steps",
        save_steps=2,
        eval_strategy="no",
        load_best_model_at_end=False,
        logging_steps=100,
    )
    with pytest.raises(
        DivergedError, match=r"diverged at step 7: the loss is nan.*rows of the training data.*\[\d"
    ) as e:
        trainer.train()
    assert "Lower learning_rate" in str(e.value)
    checkpoints = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-4", "checkpoint-6"]
    kept = type(trainer.model).from_pretrained(tmp_path / "checkpoint-4")
    assert all(torch.isfinite(parameter).all() for parameter in kept.parameters())


def test_the_watch_names_the_rows_of_the_step():
    watch = DivergenceWatch()
    watch.add_batch(torch.tensor(1.0), torch.tensor([5, 3]))
    watch.end_step(1, torch.tensor(2.0))
    watch.add_batch(torch.tensor(1.0), torch.tensor([9]))
    watch.add_batch(torch.tensor(2.0), torch.tensor([4, -1]))
    watch.end_step(2, torch.tensor(float("inf")))
    with pytest.raises(DivergedError, match=r"step 2: the gradient norm is inf\. .* \[4, 9\]\. Lower"):
        watch.check()


def test_full_memory_is_explained(parts, tmp_path):
    arguments = make_trainer(parts, tmp_path).args
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes"))
    advice = memory_advice(error, arguments)
    assert "per_device_train_batch_size 8 (CUDA out of memory" in advice
    assert "per_device_train_batch_size: 4 with gradient_accumulation_steps: 2" in advice


def test_the_batch_size_that_fits_is_found(parts, tmp_path, monkeypatch):
    trainer = make_trainer(parts, tmp_path, auto_find_batch_size=True, num_train_epochs=1)
    step = SemArtTrainer.compute_loss

    def limited(self, model, inputs, *args, **kwargs):
        if model.training and len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SemArtTrainer, "compute_loss", limited)
    trainer.train()
    assert trainer.state.train_batch_size <= 4
    assert trainer.state.global_step == -(-32 // trainer.state.train_batch_size)


def test_a_compiled_model_trains_the_same(parts, tmp_path):
    losses = []
    torch._dynamo.reset()
    counters.clear()
    for is_compiled in (False, True):
        trainer = make_trainer(
            parts,
            tmp_path / str(is_compiled),
            max_steps=16,
            logging_steps=1,
            torch_compile=is_compiled,
            torch_compile_backend="eager" if is_compiled else None,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        )
        trainer.data_collator.image_dropout = 0.3  # the number of rows with a picture differs
        trainer.train()
        losses.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert not counters["graph_break"]
    # The vision tower and two kinds of text layers: a graph for the first batch, one for other sizes.
    assert counters["stats"]["unique_graphs"] <= 12


def test_reports_and_curves_are_written(parts, tmp_path):
    pytest.importorskip("tensorboard")
    trainer = make_trainer(parts, tmp_path, report_to=["tensorboard"], num_train_epochs=1)
    trainer.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    assert {"train/loss", "train/school_accuracy", "eval/mean_macro_f1"} <= set(events.Tags()["scalars"])
    with Image.open(tmp_path / "training_curves.png") as picture:
        assert picture.size == (1200, 780)
