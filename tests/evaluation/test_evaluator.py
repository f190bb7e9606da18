"""The evaluator gives the scores of the evaluation, in the manner of its library."""

from pathlib import Path

import datasets
import evaluate
import pytest
from rounding import rounding
from transformers import pipeline

from semart_hf.evaluation import metrics
from semart_hf.evaluation.evaluator import ArtClassificationEvaluator
from semart_hf.evaluation.intervals import bootstrap_intervals
from semart_hf.evaluation.metrics import ArtClassificationMetric, flatten_scores, score_outcomes
from semart_hf.evaluation.predictions import predict_dataset
from semart_hf.model.modeling_semart import SemArtForArtClassification


@pytest.fixture(scope="module")
def pipe(tiny_model_folder):
    return pipeline("art-classification", model=str(tiny_model_folder), device=-1)


@pytest.fixture(scope="module")
def expected(tiny_model, tiny_processor, paintings):
    return predict_dataset(tiny_model, tiny_processor, paintings, device="cpu").outcomes()


def test_scores_are_those_of_the_evaluation(pipe, paintings, expected):
    evaluator = ArtClassificationEvaluator()
    assert isinstance(evaluator, evaluate.Evaluator)
    metric = ArtClassificationMetric(tasks=pipe.model.config.tasks)
    scores = evaluator.compute(model_or_pipeline=pipe, data=paintings, metric=metric)
    assert scores["samples_per_second"] > 0
    for name, value in flatten_scores(score_outcomes(expected)).items():
        assert scores[name] == pytest.approx(value, abs=rounding(1024, layers=20, size=8)), name


def test_a_folder_is_a_model(tiny_model_folder, paintings, expected):
    scores = ArtClassificationEvaluator().compute(str(tiny_model_folder), paintings, device=-1)
    assert scores["mean_accuracy"] == pytest.approx(score_outcomes(expected)["mean_accuracy"])


def test_a_model_comes_with_its_processor(tiny_model, tiny_processor, tiny_model_folder, paintings, expected):
    accuracy = pytest.approx(score_outcomes(expected)["mean_accuracy"])
    compute = ArtClassificationEvaluator().compute
    assert compute(tiny_model, paintings, feature_extractor=tiny_processor, device=-1)["mean_accuracy"] == accuracy
    loaded = SemArtForArtClassification.from_pretrained(tiny_model_folder)
    assert compute(model_or_pipeline=loaded, data=paintings, device=-1)["mean_accuracy"] == accuracy


def test_a_metric_of_the_library(pipe, paintings, expected):
    folder = Path(metrics.__file__).parent / "art_classification"
    metric = evaluate.load(str(folder), tasks=pipe.model.config.task_names)
    scores = ArtClassificationEvaluator().compute(pipe, paintings, metric=metric)
    assert scores["mean_accuracy"] == pytest.approx(score_outcomes(expected)["mean_accuracy"])


def test_bootstrap(pipe, paintings, expected):
    scores = ArtClassificationEvaluator().compute(
        pipe, paintings, strategy="bootstrap", n_resamples=200, random_state=3
    )
    low, high = bootstrap_intervals(expected, num_resamples=200, seed=3)["type_accuracy"]
    assert scores["type_accuracy"]["confidence_interval"] == pytest.approx((low, high))
    assert 0 < scores["type_accuracy"]["standard_error"] < 0.25
    assert isinstance(scores["type_log_loss"], float)


def test_labels_are_matched_by_name(pipe, paintings, expected):
    names = ["UNK", "portrait", "landscape"]
    own = paintings.features["type"].names
    numbers = [names.index(own[number]) for number in paintings["type"]]
    shuffled = paintings.remove_columns("type").add_column("type", numbers, feature=datasets.ClassLabel(names=names))
    scores = ArtClassificationEvaluator().compute(pipe, shuffled)
    assert scores["type_accuracy"] == score_outcomes(expected)["tasks"]["type"]["accuracy"]


def test_columns_of_other_names(pipe, paintings, expected):
    renamed = paintings.rename_columns({"image": "picture", "text": "words", "type": "genre"})
    scores = ArtClassificationEvaluator().compute(
        pipe,
        renamed,
        input_column="picture",
        second_input_column="words",
        label_column=["genre", "school", "timeframe", "medium"],
    )
    assert scores["type_accuracy"] == score_outcomes(expected)["tasks"]["type"]["accuracy"]


def test_bad_input(pipe, paintings, tiny_model):
    evaluator = ArtClassificationEvaluator()
    with pytest.raises(ValueError, match=r"Got a model alone.*feature_extractor=processor"):
        evaluator.compute(tiny_model, paintings)
    with pytest.raises(ValueError, match=r"Got a int\. A pipeline, a model, or the folder"):
        evaluator.compute(3, paintings)
    with pytest.raises(ValueError, match=r"Got data with the columns.*'school'"):
        evaluator.compute(pipe, paintings.remove_columns("school"))
    with pytest.raises(ValueError, match=r"Got a object as tokenizer.*does the work of both"):
        evaluator.compute(tiny_model, paintings, tokenizer=object())
    with pytest.raises(ValueError, match="a processor beside a pipeline"):
        evaluator.compute(pipe, paintings, feature_extractor=pipe.processor)
    with pytest.raises(ValueError, match="data of type NoneType"):
        evaluator.compute(pipe)
