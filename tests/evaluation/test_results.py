import json

import numpy as np
import pytest
from datasets import Dataset, Image
from sklearn.metrics import accuracy_score

from semart_hf.evaluation import results
from semart_hf.evaluation.predictions import predict_batches, predict_dataset
from semart_hf.files import write_json


@pytest.fixture(scope="module")
def measured(tiny_model, tiny_processor, paintings):
    by_task = dict.fromkeys(("type", "school", "timeframe", "medium"), 0.8)
    ceilings = {"image+text": {"type": 0.97, "mean": 0.9}, "image": {**by_task, "mean": 0.7}}
    return results.evaluate_model(tiny_model, tiny_processor, paintings, ceilings=ceilings, batch_size=4, device="cpu")


def test_scores_are_those_of_the_predictions_with_intervals(measured, tiny_model, tiny_processor, paintings):
    for modality, scored in measured["modalities"].items():
        predictions = predict_dataset(tiny_model, tiny_processor, paintings, modality=modality, device="cpu")
        accuracies = []
        for column, (task, logits) in enumerate(predictions.logits.items()):
            is_known = predictions.references[:, column] >= 0
            expected = accuracy_score(predictions.references[is_known, column], logits[is_known].argmax(1))
            assert scored["tasks"][task]["accuracy"] == pytest.approx(expected)
            assert scored["tasks"][task]["num_rows"] == (9 if task == "school" else 10)
            accuracies.append(expected)
        assert scored["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert list(measured["modalities"]) == ["image+text", "image", "text"]
    both = measured["modalities"]["image+text"]
    assert measured["tasks"] == both["tasks"]
    assert measured["mean_macro_f1"] == both["mean_macro_f1"]
    assert measured["num_rows"] == 10
    assert measured["seconds"] > 0
    assert measured["modalities"]["image"]["ceiling"]["mean"] == 0.7
    assert both["ceiling"] == {"type": 0.97}  # the mean is over other tasks than the model's
    assert "ceiling" not in measured["modalities"]["text"]
    for scores in measured["tasks"].values():
        assert {"accuracy", "macro_f1", "balanced_accuracy", "weighted_f1"} <= set(scores["intervals"])
        low, high = scores["intervals"]["accuracy"]
        assert 0 <= low <= scores["accuracy"] <= high <= 1
    assert set(measured["intervals"]) == {"mean_accuracy", "mean_macro_f1", "exact_match"}
    assert "within_one_period" in measured["tasks"]["timeframe"]["intervals"]


def test_texts_alone_and_masked_texts_are_scored_where_the_data_has_them(tiny_model, tiny_processor, paintings):
    texts = paintings.remove_columns("image").add_column("image", [None] * 10)
    assert results.present_modalities(texts) == ["text"]
    measured = results.evaluate_model(tiny_model, tiny_processor, texts, device="cpu")
    assert list(measured["modalities"]) == ["image+text", "text"]
    assert measured["modalities"]["text"]["tasks"] == measured["tasks"]
    masked = paintings.add_column("text_masked", [text and "the [MASK]" for text in paintings["text"]])
    measured = results.evaluate_model(tiny_model, tiny_processor, masked, device="cpu")
    assert list(measured["modalities"]) == ["image+text", "image", "text", "image+masked text", "masked text"]
    replaced = masked.remove_columns("text").rename_column("text_masked", "text")
    expected = predict_dataset(tiny_model, tiny_processor, replaced, modality="text", device="cpu")
    accuracy = accuracy_score(expected.references[:, 0], expected.logits["type"].argmax(1))
    assert measured["modalities"]["masked text"]["tasks"]["type"]["accuracy"] == pytest.approx(accuracy)


def test_environment_names_versions_and_no_machine():
    environment = results.describe_environment()
    assert environment["python"].startswith("3.")
    names = ("platform", "processor", "cores", "torch", "transformers", "timm", "datasets", "commit")
    assert environment.keys() >= set(names)
    json.dumps(environment, allow_nan=False)


def test_the_painted_miniature_is_known_by_its_ceilings(tmp_path):
    assert results.ceilings_of(tmp_path) is None
    assert results.describe_training_data(tmp_path) == {"name": tmp_path.name, "is_painted_miniature": False}
    write_json(tmp_path / "ceiling.json", {"image": {"mean": 0.7}})
    assert results.ceilings_of(tmp_path) == {"image": {"mean": 0.7}}
    assert results.describe_training_data(tmp_path) == {"name": tmp_path.name, "is_painted_miniature": True}
    (tmp_path / "semart_train.csv").write_text("")
    assert results.describe_training_data(tmp_path / "semart_train.csv")["is_painted_miniature"]
    (tmp_path / "prepared").mkdir()
    write_json(tmp_path / "prepared" / "summary.json", {"rows": {}})
    assert not results.describe_training_data(tmp_path / "prepared")["is_painted_miniature"]
    write_json(tmp_path / "prepared" / "summary.json", {"is_painted_miniature": True})
    assert results.describe_training_data(tmp_path / "prepared")["is_painted_miniature"]
    assert results.describe_training_data("anna/semart") == {"name": "semart", "is_painted_miniature": False}


def test_where_no_labelled_picture_can_be_read_the_other_views_are_scored(tiny_model, tiny_processor, paintings):
    cells = paintings.cast_column("image", Image(decode=False)).to_list()
    for row in cells[:5]:
        row["image"] = {"bytes": b"no picture", "path": None}
    for row in cells[5:]:
        row |= dict.fromkeys(("type", "school", "timeframe", "medium"))
    data = Dataset.from_list(cells, features=paintings.features)
    measured = results.evaluate_model(tiny_model, tiny_processor, data, device="cpu")
    assert list(measured["modalities"]) == ["image+text", "text"]
    assert measured["tasks"]["type"]["num_rows"] == 5


def test_a_picture_that_cannot_be_read_is_named_and_everything_else_is_scored(tiny_model, tiny_processor, paintings):
    # Row 1 has a text beside its broken picture, row 2 has none.
    cells = paintings.cast_column("image", Image(decode=False)).to_list()
    cells[1]["image"] = {"bytes": cells[1]["image"]["bytes"][:300], "path": None}
    cells[2]["image"] = {"bytes": None, "path": "/home/anna/L'Arlesienne.jpg"}
    cells[2]["text"] = None
    broken = Dataset.from_list(cells, features=paintings.features)
    measured = results.evaluate_model(tiny_model, tiny_processor, broken, batch_size=4, device="cpu")
    assert [found["row_id"] for found in measured["unreadable_pictures"]] == ["00001-view.jpg", "00002-view.jpg"]
    assert "truncated" in measured["unreadable_pictures"][0]["error"]
    assert ' "L\'Arlesienne.jpg" ' in measured["unreadable_pictures"][1]["error"]  # without its folder
    assert measured["num_rows"] == 10
    # By its text where it has one, left out where not; by pictures alone both are left out.
    for view, rows in (("image", [0, *range(3, 10)]), ("text", [0, 1, *range(3, 10)])):
        found = next(predict_batches(tiny_model, tiny_processor, broken, device="cpu", each_alone=True)).alone[view]
        expected = predict_dataset(tiny_model, tiny_processor, broken, modality=view, device="cpu")
        for task, logits in expected.logits.items():
            np.testing.assert_allclose(found.logits[task][rows], logits[rows], atol=1e-4)
        np.testing.assert_array_equal(found.references[rows], expected.references[rows])
    by_modality = {name: scored["tasks"]["type"]["num_rows"] for name, scored in measured["modalities"].items()}
    assert by_modality == {"image+text": 9, "image": 8, "text": 9}
    predicted = predict_dataset(tiny_model, tiny_processor, broken, device="cpu")
    whole = predict_dataset(tiny_model, tiny_processor, paintings, device="cpu")
    without = predict_dataset(tiny_model, tiny_processor, paintings, modality="text", device="cpu")
    for task in whole.logits:
        np.testing.assert_allclose(predicted.logits[task][3:], whole.logits[task][3:], atol=1e-4)
        np.testing.assert_allclose(predicted.logits[task][1], without.logits[task][1], atol=1e-4)
    assert predicted.references[2].tolist() == [-100] * 4
