import numpy as np
import pandas as pd
import pytest
import torch
from rounding import rounding
from torch.nn import functional as F

from semart_hf.evaluation import predictions
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.predictions import (
    predict_batches,
    predict_dataset,
    predictions_writer,
    read_predictions,
    row_names,
)
from semart_hf.evaluation.scores import score_outcomes
from semart_hf.model import pipeline_semart
from semart_hf.model.techniques_semart import Technique

ROUNDING = rounding(1024, layers=20, size=8)  # 20 layers of at most 1,024 terms, logits of at most 8


@pytest.fixture(scope="module")
def predicted(tiny_model, tiny_processor, paintings):
    return predict_dataset(tiny_model, tiny_processor, paintings, batch_size=4, device="cpu")


def test_logits_are_the_model_s_in_any_batch_in_the_order_of_rows(predicted, tiny_model, tiny_processor, paintings):
    for row in (0, 3, 5):
        painting = paintings[row]
        inputs = tiny_processor(images=painting["image"], text=painting["text"], return_tensors="pt")
        with torch.no_grad():
            expected = tiny_model(**inputs).logits
        for task, logits in predicted.logits.items():
            np.testing.assert_allclose(logits[row], expected[task][0].numpy(), atol=ROUNDING)
    one_by_one = predict_dataset(tiny_model, tiny_processor, paintings, batch_size=1, device="cpu")
    for task, logits in predicted.logits.items():
        np.testing.assert_allclose(one_by_one.logits[task], logits, atol=ROUNDING)
    assert predicted.row_ids == paintings["image_file"][:]
    assert predicted.references.shape == (10, 4)
    assert predicted.references[:, 0].tolist() == paintings["type"][:]
    assert predicted.references[7, 1] == -100
    assert predicted.logits["school"].dtype == np.float32


def test_a_modality_alone_is_all_that_the_model_sees(tiny_model, tiny_processor, paintings):
    def logits_of(dataset, modality):
        return predict_dataset(tiny_model, tiny_processor, dataset, modality=modality, device="cpu").logits["type"]

    without_text = paintings.remove_columns("text").add_column("text", [None] * 10)
    without_image = paintings.remove_columns("image").add_column("image", [None] * 10)
    np.testing.assert_allclose(logits_of(paintings, "image"), logits_of(without_text, "image+text"), atol=ROUNDING)
    np.testing.assert_allclose(logits_of(paintings, "text"), logits_of(without_image, "image+text"), atol=ROUNDING)
    assert not np.allclose(logits_of(paintings, "image"), logits_of(paintings, "text"), atol=10 * ROUNDING)


def test_rows_without_a_name_are_numbered_and_an_empty_split_is_refused(paintings, tiny_model, tiny_processor):
    assert row_names(paintings.select([4, 4])) == ["row 0", "row 1"]
    assert row_names(paintings.remove_columns("image_file"))[9] == "row 9"
    with pytest.raises(ValueError, match=r"without rows.*Check the split"):
        predict_dataset(tiny_model, tiny_processor, paintings.select([]))


def test_nan_logits_name_their_rows(tiny_model, tiny_processor, paintings, monkeypatch):
    forward = tiny_model.forward

    def broken(**inputs):
        output = forward(**inputs)
        output.logits["medium"][1, 0] = float("nan")
        return output

    monkeypatch.setattr(tiny_model, "forward", broken)
    with pytest.raises(ValueError, match=r"NaN or infinite for 00001-view\.jpg\. Finite"):
        next(predict_batches(tiny_model, tiny_processor, paintings, batch_size=4, device="cpu"))


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_model, tiny_processor, paintings):
    path = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    with predictions_writer(path, tiny_model.config.tasks) as write:
        for batch in predict_batches(tiny_model, tiny_processor, paintings, batch_size=4, device="cpu"):
            write(batch, batch.probabilities())
    return path


def test_any_reader_understands_the_file_and_temperatures_divide(written, predicted, paintings, tiny_model):
    frame = pd.read_parquet(written)
    assert frame["row_id"].tolist() == paintings["image_file"][:]
    labels = paintings.features["school"].names
    truths = [None if number is None else labels[number] for number in paintings["school"]]
    assert [None if pd.isna(label) else label for label in frame["school_true"]] == truths
    probabilities = predicted.probabilities()["school"]
    assert frame["school_predicted"].tolist() == [labels[number] for number in probabilities.argmax(1)]
    assert list(frame["school_probabilities"][0]) == labels
    np.testing.assert_allclose(list(frame["school_probabilities"][0].values()), probabilities[0], atol=ROUNDING)
    outcomes = read_predictions(written)
    assert outcomes.row_ids == paintings["image_file"][:]
    direct = Outcomes(tiny_model.config.tasks)
    direct.add(predicted.probabilities(), predicted.references)
    expected, found = score_outcomes(direct), score_outcomes(outcomes)
    assert found["mean_macro_f1"] == pytest.approx(expected["mean_macro_f1"])
    losses = [scores["tasks"]["timeframe"]["log_loss"] for scores in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=ROUNDING)
    halved = np.exp(predicted.logits["type"][0].astype(np.float64) / 2)
    found = predicted.probabilities({"type": 2.0})
    np.testing.assert_allclose(found["type"][0], halved / halved.sum())
    np.testing.assert_array_equal(found["school"], predicted.probabilities()["school"])


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("none", "text", "other"):
        with pytest.raises(ValueError, match=rf"{name}\.parquet, which is no predictions\.parquet.*Evaluate that"):
            read_predictions(tmp_path / f"{name}.parquet")


@pytest.mark.parametrize("home", [predictions, pipeline_semart])
def test_batches_share_weights_that_are_prepared_once(tiny_model, tiny_processor, paintings, monkeypatch, home):
    models, used = [], []

    def prepare(model):
        models.append(model)
        return Technique("noted", lambda *_: True, {F.linear: lambda *given: used.append(1) or F.linear(*given)})

    monkeypatch.setattr(home, "weights_prepared_once", prepare)
    if home is predictions:
        predict_dataset(tiny_model, tiny_processor, paintings, batch_size=4, device="cpu")
    else:
        classify = pipeline_semart.ArtClassificationPipeline(model=tiny_model, processor=tiny_processor, device="cpu")
        classify([{"text": "a view"}] * 4, batch_size=2)
    assert models == [tiny_model]
    assert used
