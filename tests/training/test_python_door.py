import inspect

import datasets
import pandas as pd
import pytest
import transformers
from small_trainer import LOSS_ROUNDING, STEPS_ALONE, losses_of, make_model, make_trainer, parts_of

from semart_hf import SemArtTrainer, SemArtTrainingArguments
from semart_hf.data.rows import rows_for
from semart_hf.training.building import build_processor


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, image_size=32)


def train_in_ten_lines(data, tokenizer_folder, text, output_dir):
    from transformers import AutoTokenizer

    from semart_hf import SemArtForArtClassification, SemArtImageProcessor, SemArtProcessor, load_paintings

    paintings = load_paintings(data, min_label_count=3)
    tasks = [{"name": name, "labels": paintings["train"].features[name].names} for name in ("type", "school")]
    model = SemArtForArtClassification.from_towers("test_resnet", text, tasks, pretrained=False, image_size=32)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    processor = SemArtProcessor(SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer)
    args = SemArtTrainingArguments(output_dir=output_dir, num_train_epochs=1, learning_rate=1e-3)
    train, validation = paintings["train"], paintings["validation"]
    trainer = SemArtTrainer(model, args, train_dataset=train, eval_dataset=validation, processing_class=processor)
    trainer.train()
    return trainer


def test_training_takes_ten_lines(parts, small_release, tmp_path):
    lines = inspect.getsource(train_in_ten_lines).splitlines()[5:]
    assert len([line for line in lines if line.strip()]) <= 10
    parts[3].save_pretrained(tmp_path / "tokenizer")
    text = transformers.DistilBertConfig(vocab_size=len(parts[3]), dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    trainer = train_in_ten_lines(str(small_release), tmp_path / "tokenizer", text, str(tmp_path / "model"))
    assert 0 <= trainer.state.best_metric <= 1
    assert trainer.state.global_step == -(-70 // 8)
    assert trainer.evaluate()["eval_num_rows"] == 19
    found = trainer.predict(trainer.eval_dataset.select_columns(["image", "text"]))
    assert (found.predictions["type"].shape[0], "test_loss" in found.metrics) == (19, False)
    sparse = [row if number < 3 else {**row, "school": None} for number, row in enumerate(trainer.eval_dataset)]
    losses = []
    for trainer.args.per_device_eval_batch_size in (1, 19):
        losses.append(trainer.evaluate(sparse)["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=LOSS_ROUNDING)


def losses_on(parts, folder, rows):
    options = {"max_steps": 2, "logging_steps": 1, "precision": "fp32", "disable_tqdm": True, **STEPS_ALONE}
    arguments = SemArtTrainingArguments(output_dir=str(folder), **options)
    model = make_model(parts)
    processor = build_processor(model, parts[3])
    return losses_of(SemArtTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor))


def test_rows_of_every_kind_give_the_same_steps(parts, tmp_path):
    """Labels of a `ClassLabel` in another order, and names in a DataFrame or in dicts, are matched by name."""
    tasks = [task["name"] for task in parts[1]]
    rows = parts[0]["train"].select(range(24))
    expected = losses_on(parts, tmp_path, rows)
    names = {task: rows.features[task].names for task in tasks}
    worded = []
    for row in rows:
        labels = {task: None if row[task] is None else names[task][row[task]] for task in tasks}
        worded.append({"image": row["image"], "text": row["text"], **labels})
    turned = datasets.Dataset.from_list(worded)
    for task in tasks:
        turned = turned.cast_column(task, datasets.ClassLabel(names=names[task][::-1]))
    decoded = turned.cast_column("image", datasets.Image())
    broken = [{"bytes": b"no picture", "path": None}] * 24
    scanned = decoded.add_column("scan", broken, feature=datasets.Image()).with_format("torch")
    # As data sets of torch may be: only its length says where it ends.
    endless = type("Endless", (), {"__len__": lambda _: 24, "__getitem__": lambda _, number: worded[number % 24]})()
    for kind in (worded, datasets.Dataset.from_list(worded), pd.DataFrame(worded), decoded, scanned, endless):
        assert losses_on(parts, tmp_path, kind) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (datasets.Dataset.from_dict({"type": [0]}).to_iterable_dataset(), "IterableDataset.*PaintingStream"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_dict({"type": [0]})}), "DatasetDict.*one split"),
        ("data/SemArt", "Got a str, but rows are"),
        ([["portrait"]], "a row is a dict"),
    ],
)
def test_what_holds_no_rows_is_refused(parts, tmp_path, rows, message):
    with pytest.raises(TypeError, match=message):
        make_trainer(({**parts[0], "train": rows}, *parts[1:]), tmp_path, num_rows=None)
    with pytest.raises(TypeError, match=message):
        rows_for(rows, parts[1])


def test_rows_without_the_models_labels_are_refused(parts, tmp_path):
    model = make_model(parts)
    processor = build_processor(model, parts[3])
    new = tmp_path / "new"
    arguments = SemArtTrainingArguments(output_dir=str(new), eval_strategy="no", load_best_model_at_end=False)
    rows = datasets.Dataset.from_dict({"image": [None], "text": ["a"], "label": [0]})
    with pytest.raises(ValueError, match=r"\['image', 'text', 'label'\], but none has a label of the model's tasks"):
        SemArtTrainer(model, arguments, train_dataset=rows, processing_class=processor)
    with pytest.raises(TypeError, match=r"processing_class of the types .*NoneType, but a SemArtTrainer takes"):
        SemArtTrainer(model, arguments)
    with pytest.raises(TypeError, match=r"TrainingArguments.*SemArtTrainingArguments"):
        SemArtTrainer(model, transformers.TrainingArguments(str(tmp_path)), processing_class=processor)
    with pytest.raises(ValueError, match="compute_loss_func"):
        SemArtTrainer(model, arguments, processing_class=processor, compute_loss_func=print)
    assert not new.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.select([]), "Got 0 {split} rows"),
        (lambda rows: [{**row, "type": None} for row in rows.select_columns(["image", "type"])], "none has a label"),
        (lambda rows: rows.remove_columns(["image", "text"]), "none has a picture or a text"),
        (lambda rows: [{**row, "image": None, "text": " "} for row in rows], "none has a picture or a text"),
        (
            lambda rows: [{**row, "image": {"bytes": b"no picture", "path": None}} for row in rows],
            "of 4 pictures that were tried 4 cannot be read, first that of row 1",
        ),
    ],
)
@pytest.mark.parametrize("split", ["training", "validation", "validation italian"])
def test_a_split_that_shows_or_says_nothing_is_refused_at_the_start(parts, tmp_path, change, message, split):
    rows = parts[0]["train"].select(range(4))
    sets = {"training": (change(rows), rows), "validation": (rows, change(rows))}
    train, validation = sets.get(split, (rows, {"italian": change(rows), "other": rows}))
    with pytest.raises(ValueError, match=message.format(split=split)):
        make_trainer(({"train": train, "validation": validation}, *parts[1:]), tmp_path / "new", num_rows=None)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("metric", ["italian_mean_accuracy", "eval_other_loss"])
def test_several_validation_sets_have_their_metrics(parts, tmp_path, metric):
    sets = {"italian": parts[0]["validation"].select(range(8)), "other": parts[0]["validation"].select(range(8, 12))}
    parts = ({**parts[0], "validation": sets}, *parts[1:])
    options = {"num_train_epochs": 1, "metric_for_best_model": metric, "greater_is_better": None}
    trainer = make_trainer(parts, tmp_path, num_rows=8, **options)
    trainer.train()
    line = {key: value for entry in trainer.state.log_history for key, value in entry.items()}
    assert trainer.state.best_metric == line[f"eval_{metric.removeprefix('eval_')}"]
    with pytest.raises(ValueError, match=r"metric_for_best_model is 'mean_accuracy'.*Allowed are .*_mean_accuracy"):
        make_trainer(parts, tmp_path, num_rows=8, metric_for_best_model="mean_accuracy", load_best_model_at_end=False)
    with pytest.raises(ValueError, match="Got validation sets by name, but none in them"):
        make_trainer(({**parts[0], "validation": {}}, *parts[1:]), tmp_path)
