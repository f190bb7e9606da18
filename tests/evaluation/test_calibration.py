import json

import numpy as np
import pytest
from scipy.special import softmax

from semart_hf.evaluation import calibration
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.predictions import Predictions
from semart_hf.model.configuration_semart import SemArtConfig

TASKS = [{"name": "type", "labels": ["portrait", "landscape", "UNK"]}]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    # Labels drawn from softmax(logits): the logits times the temperature are too sharp by exactly that factor.
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(20_000, 4))
    references = (softmax(logits, axis=1).cumsum(1) > generator.random((20_000, 1))).argmax(1)
    assert calibration.fit_temperature(logits * temperature, references) == pytest.approx(temperature, rel=0.05)


def test_tasks_that_say_nothing_are_left_out():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 1.5]], dtype=np.float32)
    references = np.array([[0, 1, -100], [1, 1, -100], [0, -100, -100]])
    tasks = [{"name": name, "labels": ["a", "b"]} for name in ("type", "school", "medium")]
    predictions = Predictions(["1", "2", "3"], {task["name"]: logits for task in tasks}, references, tasks)
    assert list(calibration.fit_temperatures(predictions)) == ["type"]


def test_a_stored_calibration_changes_nothing_else(tmp_path):
    config = {"model_type": "semart", "auto_map": {"AutoModel": "modeling.SemArt"}, "custom_pipelines": {"a": {}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    risks = {"type": [[0.9, 0.0], [0.6, 0.4]]}
    fitted = SemArtConfig(tasks=TASKS, temperatures={"type": 1.23456789}, confidence_risks=risks)
    calibration.store_calibration(tmp_path, fitted)
    expected = config | {"tasks": TASKS, "temperatures": {"type": 1.2346}, "confidence_risks": risks}
    assert json.loads((tmp_path / "config.json").read_text()) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.fixture
def outcomes():
    """Answers with confidences 0.9, 0.8, 0.7 (twice), 0.6, the second and the last of them wrong; one unlabelled."""
    confidences = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.99])
    table = np.stack([confidences, 1 - confidences, np.zeros(6)], axis=1)
    collected = Outcomes(TASKS)
    collected.add({"type": table}, np.array([[0], [1], [0], [0], [1], [-100]]))
    return collected.task("type")


def test_risk_coverage_threshold_and_a_few_points_of_them(outcomes, monkeypatch):
    coverage, risk, confidences = calibration.risk_coverage(outcomes)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 4, 2 / 5])
    np.testing.assert_allclose(confidences, [0.9, 0.8, 0.7, 0.6], rtol=1e-6)
    # 0.8 is wrong more often than 0.7, which accepts more.
    assert calibration.risk_points(outcomes) == [[0.899999, 0.0], [0.699999, 0.25], [0.6, 0.4]]
    assert calibration.confidence_threshold(outcomes, outcomes)["coverage"] == pytest.approx(0.2)
    assert calibration.confidence_threshold(outcomes.select(np.array([1, 4])), outcomes) is None
    monkeypatch.setattr(calibration, "TARGET_ACCURACY", 0.75)
    expected = {"min_confidence": 0.7, "coverage": 0.8, "accuracy": 0.75}
    assert calibration.confidence_threshold(outcomes, outcomes) == pytest.approx(expected, rel=1e-6)
    collected = Outcomes(TASKS)
    confidences = np.linspace(0.4, 0.99, 5000)
    table = np.stack([confidences, 1 - confidences, np.zeros(5000)], axis=1)
    collected.add({"type": table}, (np.arange(5000) % np.linspace(2, 400, 5000).astype(int) == 0)[:, None].astype(int))
    points = np.array(calibration.risk_points(collected.task("type")))
    assert len(points) == 100
    assert (np.diff(points[:, 0]) < 0).all()
    assert (np.diff(points[:, 1]) > 0).all()
    assert calibration.risk_points(Outcomes(TASKS).task("type")) == []
    sure = Outcomes(TASKS)
    sure.add({"type": [[1 - 3e-7, 3e-7, 0]] * 4}, [[0]] * 4)
    assert calibration.risk_points(sure.task("type")) == [[0.999999, 0.0]]  # which all of them reach
