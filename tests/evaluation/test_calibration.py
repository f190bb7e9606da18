"""Temperatures are found again, thresholds are those of a hand count."""

import json

import numpy as np
import pytest

from semart_hf.evaluation.calibration import (
    confidence_threshold,
    fit_temperature,
    fit_temperatures,
    risk_coverage,
    store_temperatures,
)
from semart_hf.evaluation.outcomes import Outcomes, softmax
from semart_hf.evaluation.predictions import Predictions

TASKS = [{"name": "type", "labels": ["portrait", "landscape", "UNK"]}]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    # Labels drawn from softmax(logits): the logits times the temperature are too sharp by exactly that factor.
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(20_000, 4))
    references = (softmax(logits).cumsum(1) > generator.random((20_000, 1))).argmax(1)
    assert fit_temperature(logits * temperature, references) == pytest.approx(temperature, rel=0.05)


def test_tasks_that_say_nothing_are_left_out():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 1.5]], dtype=np.float32)
    references = np.array([[0, 1, -100], [1, 1, -100], [0, -100, -100]])
    predictions = Predictions(["1", "2", "3"], dict.fromkeys(("type", "school", "medium"), logits), references)
    assert list(fit_temperatures(predictions)) == ["type"]


def test_stored_temperatures_change_nothing_else(tmp_path):
    config = {"model_type": "semart", "auto_map": {"AutoModel": "modeling.SemArt"}, "custom_pipelines": {"a": {}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    store_temperatures(tmp_path, {"type": 1.23456789})
    assert json.loads((tmp_path / "config.json").read_text()) == config | {"temperatures": {"type": 1.2346}}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.fixture
def outcomes():
    """Answers with confidences 0.9, 0.8, 0.7 (twice), 0.6, the second and the last of them wrong; one unlabelled."""
    confidences = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.99])
    table = np.stack([confidences, 1 - confidences, np.zeros(6)], axis=1)
    collected = Outcomes(TASKS)
    collected.add({"type": table}, np.array([[0], [1], [0], [0], [1], [-100]]))
    return collected.task("type")


def test_risk_and_coverage(outcomes):
    coverage, risk, confidences = risk_coverage(outcomes)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 4, 2 / 5])
    np.testing.assert_allclose(confidences, [0.9, 0.8, 0.7, 0.6], rtol=1e-6)


def test_threshold(outcomes, monkeypatch):
    assert confidence_threshold(outcomes)["coverage"] == pytest.approx(0.2)
    assert confidence_threshold(outcomes.select(np.array([1, 4]))) is None
    monkeypatch.setattr("semart_hf.evaluation.calibration.TARGET_ACCURACY", 0.75)
    expected = {"min_confidence": 0.7, "coverage": 0.8, "accuracy": 0.75}
    assert confidence_threshold(outcomes) == pytest.approx(expected, rel=1e-6)
