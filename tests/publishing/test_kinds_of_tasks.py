"""A model with a task of each kind is published, loads elsewhere, and answers there as its card shows."""

import copy

import pytest
from huggingface_hub import ModelCard

from semart_hf.documents import card_text
from semart_hf.documents.model_card import CardFacts, Example, render_card
from semart_hf.publishing.check import check_repository
from semart_hf.publishing.model_repository import PACKAGE, assemble_repository, make_pipeline
from semart_hf.publishing.onnx_export import export_onnx


@pytest.fixture
def model(saved_model):
    model = copy.deepcopy(saved_model[0])
    kinds = [{"kind": "multi_label", "thresholds": [1.0] * len(model.config.tasks[0]["labels"])}, {}]
    kinds += [{"kind": "ordered"}, {}]
    model.config.set_tasks([{**task, **kind} for task, kind in zip(model.config.tasks, kinds, strict=True)])
    return model


def test_it_is_published_and_checked(model, saved_model, results_file, tmp_path):
    processor = saved_model[1]
    answer = make_pipeline(model, processor)({"text": "a view of Delft"})
    assert answer["type"] == []  # none is likely enough, which the card's example has to stand
    folder = assemble_repository(model, processor, tmp_path / "repository", "anna/delft", results=[results_file])
    found = dict(check_repository(folder, model, processor, "anna/delft"))
    assert {"scores", "example"} <= found.keys()
    card = ModelCard.load(folder / "README.md")
    assert "in classify(painting, top_k=1).items():" in card.text
    assert "A painting has several labels of type: without `top_k`" in card.text
    loaded = type(model).from_pretrained(folder)
    assert loaded.config.tasks == model.config.tasks
    assert loaded.config.format_version == "1.2"


def test_its_card_has_the_scores_of_several_labels(model, saved_model, results, tmp_path):
    scored = results["tasks"]["type"]
    scored |= {"kind": "multi_label", "mean_average_precision": 0.625, "micro_f1": 0.5}
    scored["per_label"] = {"portrait": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 45}}
    example = Example("A view", None, make_pipeline(model, saved_model[1])({"text": "A view"}, top_k=1))
    card = render_card(model, CardFacts("anna/delft", example, [results]), PACKAGE / "templates" / "model_card.md")
    (index,) = ModelCard(str(card)).data.to_dict()["model-index"]
    metrics = {one["name"]: (one["type"], one["value"]) for one in index["results"][0]["metrics"]}
    assert metrics["Mean average precision (type)"] == ("mean_average_precision", 0.625)
    assert metrics["Micro F1 (type)"] == ("f1", 0.5)
    assert "Micro F1 (school)" not in metrics
    assert "type: portrait 50%" in card_text.imbalance(results)  # of 90 paintings, which may have others too


def test_its_graphs_answer_as_it_does(model, saved_model, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    described = export_onnx(model, saved_model[1], tmp_path / "onnx")
    assert all(graph["max_difference"] < 1e-4 for graph in described["graphs"].values())
    assert type(model.config).from_pretrained(tmp_path / "onnx").tasks == model.config.tasks
