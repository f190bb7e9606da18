import pytest
import torch
from rounding import rounding
from small_trainer import DRY_TEXT, LOSS_ROUNDING, STEPS_ALONE, Recorder, losses_of, make_model, make_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._dynamo.utils import counters
from torch.nn import functional as F

from semart_hf.data.data_arguments import Augmentation
from semart_hf.training.losses import parameter_groups


def test_groups_hold_every_parameter_once_with_its_rate_and_decay(parts):
    model = make_model(parts, frozen_vision_stages=0, trainable_text_layers=None)
    names = dict(model.named_parameters())
    rates = {"vision": 1e-3, "text": 1e-4, "new": 1e-2}
    groups = parameter_groups(model, learning_rates=rates, weight_decay=0.1)
    group_of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(group_of) == sum(len(group["params"]) for group in groups) == len(names)
    timm = "vision_tower.timm_model."
    for name, expected in {
        "fusion.weight": (1e-2, 0.1),
        "fusion_norm.weight": (1e-2, 0.0),
        "heads.head_type.bias": (1e-2, 0.0),
        "absent_image": (1e-2, 0.0),
        "absent_text": (1e-2, 0.0),
        f"{timm}layer4.0.conv1.weight": (1e-3, 0.1),
        f"{timm}layer4.0.bn1.weight": (1e-3, 0.0),
        f"{timm}layer4.0.bn1.bias": (1e-3, 0.0),
        f"{timm}conv1.0.weight": (1e-3, 0.1),
        "text_tower.transformer.layer.1.ffn.lin1.weight": (1e-4, 0.1),
        "text_tower.transformer.layer.1.sa_layer_norm.weight": (1e-4, 0.0),
        "text_tower.embeddings.word_embeddings.weight": (1e-4, 0.1),
        "text_tower.embeddings.position_embeddings.weight": (1e-4, 0.0),
        "text_tower.embeddings.LayerNorm.weight": (1e-4, 0.0),
    }.items():
        group = group_of[id(names[name])]
        assert (group["lr"], group["weight_decay"]) == expected, name
    assert [group["name"] for group in groups] == ["vision", "vision", "text", "text", "new", "new"]


@pytest.mark.parametrize(("accumulated", "alone"), [(1, 0.0), (2, 0.0), (4, 0.0), (1, 0.7), (4, 0.7)])
def test_the_first_logged_loss_is_the_step_losses_mean(parts, tmp_path, accumulated, alone):
    """The hand computation: weighted sums over the whole step, whatever the accumulation."""
    model = make_model(parts, fusion_dropout=0.0, text_args=DRY_TEXT)
    for module in model.vision_tower.eval().modules():
        module.train = lambda mode=True, self=module: self  # statistics of BatchNorm stay those of evaluation
    options = {"loss": {"default": "class_weighted", "type": "cross_entropy"}, "modality_loss": alone}
    options |= {"per_device_train_batch_size": 16 // accumulated, "gradient_accumulation_steps": accumulated}
    trainer = make_trainer(parts, tmp_path, model, max_steps=1, logging_steps=1, **options, **STEPS_ALONE)
    trainer.data_collator.augmentation = Augmentation()
    keys = [key for batch in list(trainer.get_train_dataloader().batch_sampler)[:accumulated] for key in batch]
    batch = trainer.data_collator([trainer.train_dataset[key] for key in keys])
    labels = batch.pop("labels")
    batch.pop("row_index")
    model.eval()
    image = {name: tensor for name, tensor in batch.items() if name in ("pixel_values", "has_image")}
    text = {name: tensor for name, tensor in batch.items() if name not in image}
    is_whole = batch.get("has_image", torch.ones(16).bool()) & batch.get("has_text", torch.ones(16).bool())
    assert 0 < is_whole.sum() < 16
    with torch.no_grad():
        logits, by_image, by_text = (model(**inputs).logits for inputs in (batch, image, text))
    expected, apart = [], []
    for column, task in enumerate(trainer.model.config.tasks):
        train = torch.tensor([-100 if v is None else v for v in parts[0]["train"].select(range(32))[task["name"]]])
        counts = torch.bincount(train[train >= 0], minlength=len(task["labels"])).float()
        name, known, weight = task["name"], labels[:, column], None
        if name != "type":
            weight = torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)
        expected.append(F.cross_entropy(logits[name], known, weight=weight))
        mass = (known >= 0).sum() if weight is None else weight[known[known >= 0]].sum()
        whole = known.masked_fill(~is_whole, -100)
        for found in (by_image, by_text):
            apart.append(F.cross_entropy(found[name], whole, weight=weight, reduction="sum") / mass)
    trainer.train()
    line = next(line for line in trainer.state.log_history if "loss" in line)
    together = torch.stack(expected).mean() + alone * torch.stack(apart).sum() / len(expected)
    bound = rounding(1024, layers=20, size=3)  # 20 layers of at most 1,024 terms, losses of at most 3
    assert line["loss"] == pytest.approx(together.item(), abs=bound)
    assert line["type_loss"] == pytest.approx(expected[0].item(), abs=bound)


def test_the_average_is_what_is_evaluated_saved_and_left_and_reports_are_written(parts, tmp_path):
    options = {"load_best_model_at_end": False, "num_train_epochs": 2, "report_to": ["tensorboard"]}
    trainer = make_trainer(parts, tmp_path, ema_decay=0.9, **options)  # evaluated within training, too
    head = trainer.model.heads["head_type"].weight
    statistics = trainer.model.vision_tower.timm_model.layer4[0].bn1.running_mean
    recorder = Recorder(lambda _: torch.cat((head.detach().flatten(), statistics)))
    trainer.add_callback(recorder)
    average = recorder.look(None)
    trainer.train()
    for step, weights in enumerate(recorder.seen, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    assert torch.allclose(recorder.look(None), average, atol=rounding(2 * len(recorder.seen)))
    assert not torch.allclose(head.flatten(), recorder.seen[-1][: head.numel()], atol=1e-4)
    saved = type(trainer.model).from_pretrained(tmp_path / f"checkpoint-{trainer.state.global_step}")
    assert torch.equal(saved.heads["head_type"].weight, head)
    history = [line for line in trainer.state.log_history if "eval_loss" in line][-1]
    bound = rounding(1024, layers=20, size=3)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(history["eval_loss"], abs=bound)
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    assert {"train/loss", "train/school_accuracy", "eval/mean_macro_f1"} <= set(events.Tags()["scalars"])


def test_a_compiled_model_trains_the_same(parts, tmp_path):
    losses = []
    torch._dynamo.reset()
    counters.clear()
    for is_compiled in (False, True):
        options = {"torch_compile": is_compiled, "torch_compile_backend": "eager" if is_compiled else None}
        folder = tmp_path / str(is_compiled)
        options |= {"max_steps": 8, "logging_steps": 1, "model_init": lambda: make_model(parts), **STEPS_ALONE}
        trainer = make_trainer(parts, folder, **options)
        trainer.data_collator.image_dropout = 0.3  # the number of rows with a picture differs
        losses.append(losses_of(trainer))
    assert losses[1] == pytest.approx(losses[0], abs=LOSS_ROUNDING)
    assert not counters["graph_break"]
    # The vision tower and two kinds of text layers: a graph for the first batch, one for other sizes.
    assert 0 < counters["stats"]["unique_graphs"] <= 12
