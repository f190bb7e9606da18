"""A small trainer, for the tests of the Trainer and of what a recipe can switch on."""

import datasets
import torch
from rounding import rounding
from transformers import TrainerCallback

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import Augmentation, DataArguments
from semart_hf.data.loading import load_paintings
from semart_hf.data.rows import tasks_of
from semart_hf.recipes.recipe import ModelArguments
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_model, build_processor, build_tokenizer
from semart_hf.training.trainer import SemArtTrainer

TEXT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
DRY_TEXT = {**TEXT, "dropout": 0.0, "attention_dropout": 0.0}
TOWERS = {"vision": "test_resnet", "text": None, "text_args": TEXT, "pretrained": "false"}
TOWERS |= {"image_size": 64, "fusion_dim": 32}
OPTIONS = {"report_to": "none", "disable_tqdm": True, "num_train_epochs": 2, "learning_rate": 3e-3, "logging_steps": 4}
OPTIONS |= {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 16, "seed": 3}
# Forward and backward of 20 layers with at most 1,024 terms, and losses of at most 3.
LOSS_ROUNDING = rounding(1024, layers=2 * 20, size=3)
STEPS_ALONE = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def parts_of(release, tasks=None, **fields):
    """Splits, tasks, arguments of the model and tokenizer of a small release; `fields` are the model's."""
    splits = load_paintings(release, min_label_count=3)
    splits = {name: split.cast_column("image", datasets.Image(decode=False)) for name, split in splits.items()}
    data = DataArguments(data=str(release), vocab_size=300, max_text_length=32)
    model = ModelArguments(**{**TOWERS, "frozen_vision_stages": 3, "trainable_text_layers": 1, **fields})
    tasks = tasks_of(splits["train"], tasks)
    return splits, tasks, model, build_tokenizer(splits["train"], model, data)


def make_model(parts, **fields):
    _, tasks, model_arguments, tokenizer = parts
    torch.manual_seed(0)
    return build_model(tasks, ModelArguments(**{**vars(model_arguments), **fields}), tokenizer)


def make_trainer(parts, folder, model=None, model_init=None, callbacks=(), num_rows=32, collation=None, **options):
    """A trainer on the first rows; `collation` are fields of its collator, `options` of its arguments."""
    splits, tasks, _, tokenizer = parts
    arguments = SemArtTrainingArguments(str(folder), **{**OPTIONS, **options})
    model = make_model(parts) if model is None and model_init is None else model
    processor = build_processor(model_init() if model is None else model, tokenizer)
    collation = {"augmentation": Augmentation(horizontal_flip=0.5)} if collation is None else collation
    trainer = SemArtTrainer(
        model,
        arguments,
        model_init=model_init,
        processing_class=processor,
        data_collator=ArtCollator(processor, tasks, **collation),
        train_dataset=splits["train"] if num_rows is None else splits["train"].select(range(num_rows)),
        eval_dataset=splits["validation"],
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


def log_without_clocks(history):
    clocks = ("second", "runtime", "data_wait", "total_flos")
    return [{key: value for key, value in line.items() if not any(word in key for word in clocks)} for line in history]


def losses_of(trainer):
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


class Recorder(TrainerCallback):
    def __init__(self, look):
        self.look = look
        self.seen = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append(self.look(model))
