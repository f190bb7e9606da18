"""What makes a run fast does not change its steps."""

import datasets
import pytest
import torch
from rounding import rounding

from semart_hf.data.augmentation import Augmentation
from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.labels import tasks_of
from semart_hf.data.loading import load_paintings
from semart_hf.model import modeling_semart
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_model, build_processor, build_tokenizer
from semart_hf.training.recipe import ModelArguments
from semart_hf.training.trainer import SemArtTrainer

# Towers compute in double, so that steps differ by the rounding of a loss, a mean of 16 rows over 4 tasks.
ROUNDING = rounding(16 * 4, size=3)


@pytest.fixture(scope="module")
def train_split(small_release):
    split = load_paintings(small_release, min_label_count=3)["train"]
    return split.cast_column("image", datasets.Image(decode=False))


def losses_of(train_split, folder, *, vision="test_resnet", dropout=0.1, collator_options=None, **options):
    """Each step's loss of an epoch of 5 steps."""
    data = DataArguments(data="-", vocab_size=300, max_text_length=32)
    arguments = ModelArguments(
        vision=vision,
        text=None,
        text_args={
            **{"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
            **{"dropout": dropout, "attention_dropout": dropout},
        },
        pretrained="false",
        image_size=32,
        fusion_dim=32,
        fusion_dropout=dropout,
        frozen_vision_stages=2,
    )
    tokenizer = build_tokenizer(train_split, arguments, data)
    torch.manual_seed(0)
    model = build_model(tasks_of(train_split, data.tasks), arguments, tokenizer).double()
    processor = build_processor(model, tokenizer)
    collator = ArtCollator(
        processor,
        model.config.tasks,
        augmentation=Augmentation(crop_scale=(0.5, 1.0), rotation=10, color_jitter=0.2, random_erasing=0.3),
        image_dropout=0.3,
        **(collator_options or {}),
    )
    training = SemArtTrainingArguments(
        output_dir=str(folder),
        report_to="none",
        disable_tqdm=True,
        num_train_epochs=1,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        eval_strategy="no",
        load_best_model_at_end=False,
        **options,
    )
    trainer = SemArtTrainer(
        model, training, processing_class=processor, data_collator=collator, train_dataset=train_split
    )
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.fixture(scope="module")
def expected(train_split, tmp_path_factory):
    return losses_of(train_split, tmp_path_factory.mktemp("plain"))


def test_pictures_that_the_device_finishes_give_the_same_steps(train_split, tmp_path, expected):
    found = losses_of(train_split, tmp_path, collator_options={"finishes_pictures": False})
    assert len(found) == 5
    assert found == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("vision", ["test_resnet", "test_vit"])
def test_all_means_of_speed_and_none_give_the_same_steps(train_split, tmp_path, monkeypatch, vision):
    fast = losses_of(train_split, tmp_path / "fast", vision=vision, dropout=0.0)
    monkeypatch.setattr(modeling_semart, "FirstTokenBlock", lambda block, config: block)
    monkeypatch.setattr(SemArtTrainer, "techniques", ())
    slow = losses_of(train_split, tmp_path / "slow", vision=vision, dropout=0.0, keep_freed_memory=False)
    assert len(slow) == 5
    assert fast == pytest.approx(slow, abs=ROUNDING)
