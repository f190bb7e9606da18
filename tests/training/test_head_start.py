import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from small_trainer import STEPS_ALONE, make_model, make_trainer, parts_of

from semart_hf.data.loading import shown_rows
from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.training import head_start
from semart_hf.training.building import build_processor
from semart_hf.training.losses import TaskLoss

FIELDS = {"vision_pooling": "stages", "text_pooling": "mean", "text_lexicon": True, "fusion_dim": 64}


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, **FIELDS)


OPTIONS = {"head_init": "logistic_regression", "precision": "fp32", "num_train_epochs": 0, **STEPS_ALONE}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_model_gives_the_logits_of_the_regressions(parts, tmp_path, monkeypatch, share):
    """As the start of its heads, and where its network has learned since, as a probe that alone answers.

    They minimise the training's loss: with `class_weighted` as scikit-learn's balanced ones do.
    """
    monkeypatch.setattr(head_start, "LOGIT_ADJUSTMENT", 0.0)
    monkeypatch.setattr(head_start, "BIAS_PENALTY", 0.0)
    monkeypatch.setattr(head_start, "TEXT_SCALES", (0.5,))
    monkeypatch.setattr(head_start, "MOST_ROTATED", 0 if share else 4000)
    model = make_model(parts, probe_share=share, trainable_text_layers=0)
    own = {"head_init": "random", "num_train_epochs": 1, "loss": "class_weighted"} if share else {}
    trainer = make_trainer(parts, tmp_path, model=model, **{**OPTIONS, **own})
    rows = trainer.train_dataset.paintings
    options = {"batch_size": 16, "precision": "fp32"}
    found = head_start.features_of(trainer.model, trainer.data_collator, rows, **options)
    trainer.train()
    image = head_start._scaled(found.image, found.has_image)[0]
    text = head_start._scaled(found.text, found.has_text)[0]
    tables = {"image": image.numpy(), "text": torch.cat([0.5 * text, found.words.to_dense()], 1).numpy()}
    answers = {
        modality: predict_dataset(trainer.model, trainer.processing_class, shown_rows(rows, modality), **options)
        for modality in ("image", "text", "image+text")
    }
    compared = []
    for task, columns in trainer.model.config.label_columns.items():
        labels = found.labels[:, columns.start].numpy()
        counts = np.bincount(labels[labels >= 0], minlength=columns.stop)
        weights = {n: counts.sum() / (counts > 0).sum() / counts[n] for n in counts.nonzero()[0]} if share else None
        expected, classes, whole = {}, {}, (found.has_image & found.has_text).numpy()
        for modality, penalty in (("image", head_start.PENALTY), ("text", head_start.TEXT_PENALTY)):
            known = (labels >= 0) & getattr(found, f"has_{modality}").numpy()
            reference = LogisticRegression(C=1 / penalty, class_weight=weights, tol=1e-8, max_iter=2000)
            reference.fit(tables[modality][known], labels[known])
            expected[modality] = reference.predict_proba(tables[modality][whole])
            classes[modality] = reference.classes_
        prior = np.bincount(labels[known], weights and [weights[n] for n in labels[known]])[reference.classes_]
        if np.array_equal(*classes.values()):  # a label that no text has is one that texts say nothing about
            both = expected["image"] * expected["text"] / prior
            expected["image+text"], classes["image+text"] = both / both.sum(1, keepdims=True), reference.classes_
        for modality, reached in expected.items():
            own = torch.tensor(answers[modality].logits[task][whole][:, classes[modality]]).softmax(1).numpy()
            assert np.abs(own - reached).max() < 1e-2, (task, modality)
            compared.append(modality)
    assert compared.count("image+text") > 1


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


@pytest.mark.parametrize("missing", ["image", "text"])
def test_a_modality_that_no_training_row_has_says_nothing(parts, tmp_path, missing):
    trainer = make_trainer(parts, tmp_path, **OPTIONS)
    rows = list(trainer.train_dataset.paintings)
    without = [{**row, missing: None} for row in rows]
    found = head_start.features_of(trainer.model, trainer.data_collator, without, batch_size=16, precision="fp32")
    head_start.start_heads(trainer.model, found, trainer.loss)
    model, inputs = trainer.model.eval(), trainer.data_collator(rows)
    inputs.pop("labels")
    pictures = {name: inputs.pop(name) for name in ("pixel_values", "has_image") if name in inputs}
    alone, other = (inputs, pictures) if missing == "image" else (pictures, inputs)
    with torch.no_grad():
        both, known, nothing = (model(**shown).logits for shown in ({**inputs, **pictures}, alone, other))
    for task, columns in model.config.label_columns.items():
        assert torch.allclose(both[task], known[task], atol=1e-4)
        labels = found.labels[:, columns.start]
        counts = torch.bincount(labels[labels >= 0], minlength=both[task].shape[1])
        assert (counts[nothing[task].argmax(1)] == counts.max()).all()


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


@pytest.mark.parametrize("fails", [False, True])
def test_few_columns_give_the_same_regression_beside_many_rows_without_a_text(monkeypatch, fails):
    torch.manual_seed(0)
    values = torch.randn(600, 700) * (torch.arange(600) % 6 == 0).unsqueeze(1)
    labels = torch.where(values.any(1), torch.arange(600) // 6 % 4, -100).unsqueeze(1)
    loss = TaskLoss({"name": "type", "labels": list("abcd")}, torch.ones(4), set())
    expected = head_start._fit([values], labels, loss, 0.2)
    seen, eigh = [], torch.linalg.eigh

    def observed(table):
        seen.append(table.shape)
        if fails:
            raise torch.linalg.LinAlgError("no convergence")
        return eigh(table)

    monkeypatch.setattr(torch.linalg, "eigh", observed)
    blocks, from_blocks = head_start._rotated([values])
    assert seen == [(100, 100)]
    assert blocks[0].shape == (600, 700 if fails else 100)
    found = from_blocks(head_start._fit(blocks, labels, loss, 0.2))
    answers = [head_start._logits([values], one).softmax(1) for one in (found, expected)]
    torch.testing.assert_close(*answers, rtol=0, atol=2e-3)
    if fails:
        with pytest.raises(torch.linalg.LinAlgError):
            head_start._rotated([values * torch.nan])
    else:
        assert head_start._rotated([0 * values])[0][0].shape == (600, 0)
