import csv
import json
import runpy
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from small_recipe import small_recipe
from transformers import pipeline

from semart_hf.cli import app, evaluate, predict, train
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing.check import check_repository
from semart_hf.publishing.repositories import assemble_repository, write_space

TASKS = ["type", {"name": "period", "column": "timeframe", "kind": "ordered"}]
TASKS += [{"name": "century", "column": "date", "rule": "century"}, {"name": "subjects", "kind": "multi_label"}]
KINDS = {"type": None, "period": "ordered", "century": None, "subjects": "multi_label"}


@pytest.fixture(scope="module")
def trained(small_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    steps = {"max_steps": 2, "precision": "fp32", "disable_tqdm": True, "dataloader_num_workers": 0}
    (folder / "recipe.yaml").write_text(small_recipe(tasks=TASKS, data=small_release, **steps))
    train.main([str(folder / "recipe.yaml"), "--output_dir", str(folder / "model")])
    words = ["--model", folder / "model", "--data", small_release, "--device", "cpu", "--output_dir"]
    evaluate.main([*map(str, [*words, folder / "first", "--no_report"])])
    evaluate.main([*map(str, [*words, folder / "out", "--calibrate", "validation", "--compare", folder / "first"])])
    return folder / "model", folder / "out"


@pytest.fixture(scope="module")
def model(trained):
    model = SemArtForArtClassification.from_pretrained(trained[0]).eval()
    torch.manual_seed(0)
    with torch.no_grad():  # clear answers, whatever the processor rounds
        for head in model.heads.values():
            head.weight.normal_()
    return model, SemArtProcessor.from_pretrained(trained[0])


def test_results_report_and_comparison_have_every_kind(trained):
    folder, out = trained
    results = json.loads((out / "results.json").read_text())
    tasks = results["tasks"]
    assert list(tasks) == list(KINDS)
    assert tasks["period"]["mean_absolute_error_years"] > 0
    several = tasks["subjects"]
    for score in ("accuracy", "macro_f1", "micro_f1", "mean_average_precision"):
        low, high = several["intervals"][score]
        assert several[score] <= high, score
        if score != "mean_average_precision":  # which is higher in most draws of 21 rows at chance level
            assert low <= several[score], score
        found = results["comparison"]["tasks"]["subjects"][score]
        assert found["first"] == several[score]
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    assert "micro_f1" not in results["comparison"]["tasks"]["type"]
    assert set(results["calibration"]["temperatures"]) == set(KINDS)
    page = (out / "report.html").read_text()
    assert "mean average precision" in page
    assert all(f">{name}<" in page for name in KINDS)
    config = json.loads((folder / "config.json").read_text())
    assert {task["name"]: task.get("kind") for task in config["tasks"]} == KINDS
    assert config["format_version"] == "1.2"
    assert config["tasks"][1]["unit"] == "years"
    assert len(config["tasks"][3]["thresholds"]) == len(config["tasks"][3]["labels"])
    assert set(config["confidence_risks"]) <= set(KINDS)


def test_the_pipeline_answers_each_kind_and_explains_it(trained, small_release, tmp_path, capsys):
    classify = pipeline("art-classification", model=str(trained[0]), trust_remote_code=False)
    painting = {"text": "A view of a river", "image": str(next((small_release / "Images").iterdir()))}
    answer = classify(painting)
    config = classify.model.config
    places = dict(zip(config.labels("period"), config.tasks[1]["positions"], strict=True))
    assert [one["position"] for one in answer["period"]] == [places[one["label"]] for one in answer["period"]]
    assert {one["unit"] for one in answer["period"]} == {"years"}
    assert set(answer["type"][0]) == {"label", "score"}
    thresholds = dict(zip(config.labels("subjects"), config.tasks[3]["thresholds"], strict=True))
    ranked = classify(painting, top_k=None)["subjects"]
    assert answer["subjects"] == [one for one in ranked if one["score"] >= thresholds[one["label"]]]
    words = ["--model", trained[0], "--input", painting["image"], "--text", painting["text"], "--device", "cpu"]
    predict.main([*map(str, [*words, "--output", tmp_path / "out.jsonl", "--explain", tmp_path / "out.html"])])
    (line,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [one["label"] for one in line["predictions"]["subjects"]] == [one["label"] for one in answer["subjects"]]
    page = (tmp_path / "out.html").read_text()
    assert all(f"{name}: {answer[name][0]['label']}" in page for name in KINDS if answer[name])


def test_the_application_of_a_space_shows_each_kind(trained, small_release, tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "anna/kinds")
    given = []
    with monkeypatch.context() as patched:
        patched.setattr(app, "main", given.extend)
        runpy.run_path(str(write_space(tmp_path / "space", str(trained[0])) / "app.py"))
    options = app.parse_arguments(given)
    classify = pipeline("art-classification", model=options.model, trust_remote_code=False)
    config, results = classify.model.config, json.loads((trained[1] / "results.json").read_text())
    page = app.Page(classify, {"thresholds": {"tasks": {"subjects": {"min_confidence": 1.0}}}})
    picture, text = str(next((small_release / "Images").iterdir())), "A view of a river"
    message, *labels, _ = page.classify(picture, text)
    assert message.startswith("<p>The model is unsure of: Subjects (")
    answer = classify({"image": picture, "text": text})
    ranked = classify({"image": picture, "text": text}, top_k=None)
    for name, found in zip(KINDS, labels, strict=True):
        marks = {one["label"]: "✓ " for one in answer[name]} if name == "subjects" else {}
        expected = {marks.get(one["label"], "") + one["label"]: one["score"] for one in ranked[name]}
        assert found == pytest.approx(expected)
    message, frame = page.explain(picture, text)
    assert all(f"{name}: {answer[name][0]['label']}" in frame for name in KINDS if answer[name])
    short = app.model_in_short(config, results)
    for name, scores in results["tasks"].items():
        assert f"<b>{name}</b>: " in short
        assert f"; right for {scores['accuracy']:.0%} of {scores['num_rows']:,} paintings" in short


def test_accepted_answers_of_each_kind_fill_a_catalogue(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["confidence_risks"] = {"century": [[0.0, 0.01]], "subjects": [[0.0, 0.01]]}
    config["tasks"][3]["thresholds"] = [0.0, 0.0] + [1.0] * (len(config["tasks"][3]["labels"]) - 2)
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "in.csv").write_text("text,century,subjects\na river,,\na saint,1501-1600,dog; cat\n")
    words = [tmp_path / "in.csv", "--model", folder, "--output", tmp_path / "out.csv", "--fill", "--device", "cpu"]
    predict.main([*map(str, words)])
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert set(first["subjects"].split("; ")) == set(config["tasks"][3]["labels"][:2])
    assert (first["century"], first["subjects_decision"]) == (first["century_suggested"], "accepted")
    assert (second["subjects"], second["subjects_decision"]) == ("dog; cat", "known")
    assert first["type_decision"] == "not calibrated"


def test_it_is_published_and_checked(model, trained, tmp_path):
    folder = assemble_repository(*model, tmp_path / "repository", "anna/kinds", results=[trained[1] / "results.json"])
    found = dict(check_repository(folder, *model))
    assert "scores" in found
    card = ModelCard.load(folder / "README.md")
    (index,) = card.data.to_dict()["model-index"]
    metrics = {one["name"]: one["value"] for one in index["results"][0]["metrics"]}
    scored = json.loads((trained[1] / "results.json").read_text())["tasks"]
    several = scored["subjects"]
    assert metrics["Mean average precision (subjects)"] == round(several["mean_average_precision"], 4)
    assert metrics["Micro F1 (subjects)"] == round(several["micro_f1"], 4)
    assert metrics["Accuracy (century)"] == round(scored["century"]["accuracy"], 4)
    assert "Micro F1 (type)" not in metrics
    assert "A painting has several labels of subjects: without `top_k`" in card.text
    assert SemArtForArtClassification.from_pretrained(folder).config.tasks == model[0].config.tasks
