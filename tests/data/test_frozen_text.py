"""A run with cached frozen text takes the same steps as one without; when a cache is worth it, and its limits."""

import shutil
from collections import namedtuple

import datasets
import pytest
import torch
from rounding import rounding

from semart_hf.data.augmentation import Augmentation
from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.frozen_text import depth_that_stays_frozen, expected_reads, frozen_text
from semart_hf.data.labels import tasks_of
from semart_hf.data.loading import load_paintings
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_model, build_processor, build_tokenizer
from semart_hf.training.recipe import ModelArguments
from semart_hf.training.trainer import SemArtTrainer


@pytest.fixture(scope="module")
def splits(small_release):
    splits = load_paintings(small_release, min_label_count=3)
    return {name: split.cast_column("image", datasets.Image(decode=False)) for name, split in splits.items()}


def prepare(splits, folder, *, trainable=1, epochs=2, data=None, **options):
    """Model, processor, data arguments and training arguments of a small run."""
    data = DataArguments(
        data="-", vocab_size=300, max_text_length=32, **{"text_cache_dir": str(folder / "cache"), **(data or {})}
    )
    sizes = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0}
    arguments = ModelArguments(
        vision="test_resnet",
        text=None,
        text_args=sizes,
        pretrained="false",
        image_size=32,
        fusion_dim=32,
        fusion_dropout=0.0,
        trainable_text_layers=trainable,
    )
    tokenizer = build_tokenizer(splits["train"], arguments, data)
    torch.manual_seed(0)
    model = build_model(tasks_of(splits["train"], data.tasks), arguments, tokenizer)
    training = SemArtTrainingArguments(
        output_dir=str(folder / "run"),
        report_to="none",
        disable_tqdm=True,
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        load_best_model_at_end=False,
        **options,
    )
    return model, build_processor(model, tokenizer), data, training


def losses_of(splits, folder, **options):
    """Each step's and each validation's loss of a run, and what was logged about the cache."""
    model, processor, data, training = prepare(splits, folder, **options)
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    collator = ArtCollator(
        processor,
        model.config.tasks,
        augmentation=Augmentation(crop_scale=(0.5, 1.0)),
        image_dropout=0.3,
        text_dropout=0.3,
        frozen_text=kept,
    )
    trainer = SemArtTrainer(
        model,
        training,
        processing_class=processor,
        data_collator=collator,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
    )
    trainer.train()
    return [line.get("loss", line.get("eval_loss")) for line in trainer.state.log_history[:-1]], remark


@pytest.mark.parametrize(
    ("options", "depth"),
    [
        ({"trainable": 1}, 2),
        ({"trainable": 0, "dataloader_num_workers": 1}, 3),
        ({"trainable": 0, "unfreezing": {"1": {"trainable_text_layers": 2}}}, 1),
    ],
    ids=["one_layer", "pooled", "unfreezing"],
)
def test_the_steps_are_the_same_with_and_without_a_cache(splits, tmp_path, options, depth):
    storage = {"cache_frozen_text": "true", "text_cache_dtype": "fp32"}
    expected, off = losses_of(splits, tmp_path / "off", data={"cache_frozen_text": "false"}, **options)
    found, on = losses_of(splits, tmp_path / "on", data=storage, **options)
    assert len(expected) == 2 * 5 + 2
    # Forward and backward of 20 layers with at most 1,024 terms, and losses of at most 3.
    assert found == pytest.approx(expected, abs=rounding(1024, layers=2 * 20, size=3))
    assert off == "Frozen text: computed in every batch (cache_frozen_text: false)"
    assert f"distinct texts through {depth} frozen layers" in on


def test_auto_takes_a_cache_where_texts_are_read_often(splits, tmp_path):
    model, processor, data, training = prepare(splits, tmp_path, epochs=1, eval_strategy="no")
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    assert kept is None
    assert "too few for a cache" in remark
    training.num_train_epochs = 10
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    assert kept is not None
    assert kept.depth == 2
    num_texts = len({text for split in ("train", "validation") for text in splits[split]["text"] if text})
    assert f"{num_texts} distinct texts through 2 frozen layers, kept in" in remark
    training.num_train_epochs = 1
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    assert kept is not None
    assert "read from" in remark


def test_a_full_disk_costs_time_and_not_the_run(splits, tmp_path, monkeypatch):
    model, processor, data, training = prepare(splits, tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9e9, 7e9, 2.1e9))
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    assert kept is None
    assert "a cache needs" in remark
    assert "has 2.1 GB free, of which 2.1 GB are left alone. Make room, or name another text_cache_dir." in remark
    monkeypatch.undo()

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("semart_hf.data.text_cache._write_chunk", fail)
    kept, remark = frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())
    assert kept is None
    assert "because the cache could not be written: No space left on device" in remark


def test_nothing_is_cached_that_learns(splits, tmp_path):
    model, processor, data, training = prepare(splits, tmp_path, trainable=None)
    assert frozen_text(model, processor, splits, data, training, training.unfreezing_schedule()) == (
        None,
        "Frozen text: none, all text layers learn",
    )
    data.cache_frozen_text = "true"
    with pytest.raises(
        ValueError, match="cache_frozen_text is true, but there is no frozen text: none, all text layers learn"
    ):
        frozen_text(model, processor, splits, data, training, training.unfreezing_schedule())


def test_the_depth_is_what_no_phase_of_unfreezing_reaches(splits, tmp_path):
    model, *_ = prepare(splits, tmp_path, trainable=0)
    assert depth_that_stays_frozen(model, {}) == 3
    assert depth_that_stays_frozen(model, {"1": {"trainable_text_layers": 1}, 2: {"frozen_vision_stages": 0}}) == 2
    assert depth_that_stays_frozen(model, {"1": {"trainable_text_layers": None}}) == 0


def test_the_number_of_reads_counts_epochs_and_dropout(splits, tmp_path):
    _, _, data, training = prepare(splits, tmp_path, epochs=4, data={"text_dropout": 0.25})
    assert expected_reads(100, data, training) == pytest.approx(4 * 0.75)
    training.max_steps = 25
    assert expected_reads(100, data, training) == pytest.approx(25 * 16 / 100 * 0.75)
