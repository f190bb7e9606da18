"""predictions.parquet holds what was predicted, and gives back the same scores."""

import numpy as np
import pandas as pd
import pytest
from rounding import rounding

from semart_hf.evaluation.metrics import score_outcomes
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.predictions import predict_batches, predict_dataset
from semart_hf.evaluation.predictions_file import predictions_writer, read_predictions

ROUNDING = rounding(1024, layers=20, size=8)  # 20 layers of at most 1,024 terms, logits of at most 8


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_model, tiny_processor, paintings):
    path = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    with predictions_writer(path, tiny_model.config.tasks) as write:
        for batch in predict_batches(tiny_model, tiny_processor, paintings, batch_size=4, device="cpu"):
            write(batch, batch.probabilities())
    return path


def test_any_reader_understands_it(written, tiny_model, tiny_processor, paintings):
    frame = pd.read_parquet(written)
    expected = predict_dataset(tiny_model, tiny_processor, paintings, device="cpu")
    assert frame["row_id"].tolist() == paintings["image_file"][:]
    labels = paintings.features["school"].names
    truths = [None if number is None else labels[number] for number in paintings["school"]]
    assert [None if pd.isna(label) else label for label in frame["school_true"]] == truths
    probabilities = expected.probabilities()["school"]
    assert frame["school_predicted"].tolist() == [labels[number] for number in probabilities.argmax(1)]
    assert list(frame["school_probabilities"][0]) == labels
    np.testing.assert_allclose(list(frame["school_probabilities"][0].values()), probabilities[0], atol=ROUNDING)


def test_read_back_it_scores_the_same(written, tiny_model, tiny_processor, paintings):
    outcomes = read_predictions(written)
    assert outcomes.row_ids == paintings["image_file"][:]
    predictions = predict_dataset(tiny_model, tiny_processor, paintings, device="cpu")
    direct = Outcomes(tiny_model.config.tasks)
    direct.add(predictions.probabilities(), predictions.references)
    expected, found = score_outcomes(direct), score_outcomes(outcomes)
    assert found["mean_macro_f1"] == pytest.approx(expected["mean_macro_f1"])
    assert found["tasks"]["timeframe"]["log_loss"] == pytest.approx(
        expected["tasks"]["timeframe"]["log_loss"], abs=ROUNDING
    )


def test_an_error_leaves_no_file(tmp_path, tiny_model):
    def fail():
        with predictions_writer(tmp_path / "predictions.parquet", tiny_model.config.tasks):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("none", "text", "other"):
        with pytest.raises(ValueError, match=rf"{name}\.parquet, which is no predictions\.parquet.*Evaluate that"):
            read_predictions(tmp_path / f"{name}.parquet")
