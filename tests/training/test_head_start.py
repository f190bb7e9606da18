import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from small_trainer import STEPS_ALONE, make_model, make_trainer, parts_of

from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.training import head_start
from semart_hf.training.building import build_processor

FIELDS = {"vision_pooling": "stages", "text_pooling": "mean", "text_lexicon": True, "fusion_dim": 64}


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, **FIELDS)


OPTIONS = {"head_init": "logistic_regression", "precision": "fp32", "num_train_epochs": 0, **STEPS_ALONE}


@pytest.mark.parametrize(("share", "loss"), [(0.0, "class_weighted"), (1.0, "cross_entropy")])
def test_the_model_gives_the_logits_of_the_regression(parts, tmp_path, monkeypatch, share, loss):
    """As the start of its heads, and where its network has learned since, as a probe that alone answers."""
    monkeypatch.setattr(head_start, "PART_WEIGHT", 0.0)  # scikit-learn sees every painting once
    monkeypatch.setattr(head_start, "LOGIT_ADJUSTMENT", 0.0)  # and adjusts nothing
    model = make_model(parts, probe_share=share, trainable_text_layers=0)
    own = {"head_init": "random", "num_train_epochs": 1} if share else {}
    trainer = make_trainer(parts, tmp_path, model=model, **{**OPTIONS, **own}, loss=loss)
    rows = trainer.train_dataset.paintings
    options = {"batch_size": 16, "precision": "fp32"}
    found = head_start.features_of(trainer.model, trainer.data_collator, rows, **options)
    trainer.train()
    parts = ((found.image, found.has_image, 1), (found.text, found.has_text, 0.7))
    blocks = [head_start._Block.of(*part).values for part in parts]
    absent = 1 - torch.stack((found.has_image, found.has_text), 1).float()
    table = torch.cat([*blocks, absent, 0.7 * found.words.to_dense()], 1).numpy()
    answers = predict_dataset(trainer.model, trainer.processing_class, rows, **options)
    for task, columns in trainer.model.config.label_columns.items():
        labels = found.labels[:, columns.start].numpy()
        weight = "balanced" if loss == "class_weighted" else None
        reference = LogisticRegression(C=1 / head_start.PENALTY, class_weight=weight, tol=1e-8, max_iter=2000)
        reference.fit(table[labels >= 0], labels[labels >= 0])
        own = torch.tensor(answers.logits[task]).softmax(1).numpy()[:, reference.classes_]
        assert np.abs(own - reference.predict_proba(table)).max() < 5e-3, task


def test_a_row_without_picture_or_text_gets_what_the_regression_has_for_it(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, **OPTIONS)
    rows = [{**row, "image": None} if n % 3 == 0 else row for n, row in enumerate(trainer.train_dataset.paintings)]
    rows = [{**row, "text": None} if n % 4 == 0 else row for n, row in enumerate(rows)]
    found = head_start.features_of(trainer.model, trainer.data_collator, rows, batch_size=5, precision="fp32")
    for name, has in (("image", found.has_image), ("text", found.has_text)):
        assert has.tolist() == [bool(row[name]) for row in rows]
        assert 0 < has.sum() < len(rows)
    assert not found.image[~found.has_image].any()
    assert not found.words.to_dense()[~found.has_text].any()
    head_start.start_heads(trainer.model, found, trainer.loss)
    inputs = trainer.data_collator(rows)
    labels = inputs.pop("labels")
    output = trainer.model.eval()(**inputs, labels=labels)
    assert output.loss < 0.4
    for task, columns in trainer.model.config.label_columns.items():
        assert (output.logits[task].argmax(1) == labels[:, columns.start])[found.has_image].float().mean() > 0.95
    model = make_model(parts, fusion_dim=8)
    with pytest.raises(ValueError, match=r"fusion_dim 8, which must be as large\. Set fusion_dim: 64"):
        make_trainer(parts, tmp_path, model=model, **OPTIONS).train()


def test_rare_labels_gain_as_much_in_the_answer_whatever_the_share_of_the_probe(parts, tmp_path, monkeypatch):
    """With a network that says nothing, answers are the regression's times its share, and the adjustment."""
    answers = {}
    for share, tau in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)):
        monkeypatch.setattr(head_start, "LOGIT_ADJUSTMENT", tau)
        model = make_model(parts, probe_share=share, trainable_text_layers=0)
        trainer = make_trainer(parts, tmp_path, model=model, **OPTIONS)
        options = {"batch_size": 16, "precision": "fp32"}
        found = head_start.features_of(model, trainer.data_collator, trainer.train_dataset.paintings, **options)
        head_start.start_heads(model, found, trainer.loss)
        if share:
            for head in model.heads.values():
                torch.nn.init.zeros_(head.weight)
                torch.nn.init.zeros_(head.bias)
        inputs = trainer.data_collator(list(trainer.train_dataset.paintings))
        inputs.pop("labels")
        with torch.no_grad():
            by_text = model.eval()(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
            answers[share, tau] = model(**inputs).logits, by_text
    columns = model.config.label_columns
    for task in model.config.tasks:
        labels = found.labels[:, columns[task["name"]].start]
        counts = torch.bincount(labels[labels >= 0], minlength=len(task["labels"])).clamp(min=0.5)
        for share in (0.0, 0.5):
            for plain, adjusted in zip(answers[share, 0.0], answers[share, 0.5], strict=True):
                change = adjusted[task["name"]] - plain[task["name"]]
                expected = -0.5 * (counts / (labels >= 0).sum()).log()
                assert torch.allclose(change, expected.expand_as(change), atol=1e-3)


def test_a_squashed_picture_is_seen_to_its_edges(small_release):
    parts = parts_of(small_release, crop_mode="squash", crop_pct=1)
    processor = build_processor(make_model(parts), parts[3])
    picture = Image.new("RGB", (300, 100))
    picture.paste((255, 255, 255), (0, 0, 60, 100))
    pixels = processor(images=[picture])["pixel_values"]
    assert pixels.shape == (1, 3, 64, 64)
    shares = (pixels > pixels.mean()).float().mean()
    assert abs(shares - 60 / 300) < 0.03
