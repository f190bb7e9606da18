import json
from pathlib import Path

import pytest
from transformers import AutoModel, AutoProcessor

import semart_hf  # noqa: F401  registers the model's classes

SAVED_MODEL = Path(__file__).resolve().parents[1] / "formats" / "1.0"


@pytest.fixture(scope="session")
def saved_model():
    return AutoModel.from_pretrained(SAVED_MODEL).eval(), AutoProcessor.from_pretrained(SAVED_MODEL)


@pytest.fixture
def results() -> dict:
    """A results file as scripts/evaluate_model.py writes it, of four tasks and five views, with paths of a machine."""

    def scores(accuracy):
        found = {"num_rows": 90, "accuracy": accuracy, "macro_f1": accuracy - 0.1, "weighted_f1": accuracy - 0.05}
        intervals = {"accuracy": [accuracy - 0.04, accuracy + 0.04]}
        return {**found, "expected_calibration_error": 0.081, "intervals": intervals}

    def view(accuracy):
        tasks = {task: scores(accuracy) for task in ("type", "school", "timeframe", "medium")}
        return {"tasks": tasks, "mean_accuracy": accuracy, "mean_macro_f1": accuracy - 0.1, "exact_match": 0.25}

    both = view(0.8125)
    both["tasks"]["school"]["per_label"] = {
        "Dutch": {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 60},
        "Italian": {"precision": 0.5, "recall": 0.3, "f1": 0.375, "support": 20},
        "French": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        "UNK": {"precision": 0.6, "recall": 0.7, "f1": 0.6462, "support": 10},
    }
    sure = {"type": {"min_confidence": 0.9, "coverage": 0.5, "accuracy": 0.96}, "school": None}
    return {
        **{"model": "/home/anna/runs/best", "data": "/home/anna/semart", "split": "test", "num_rows": 90},
        **{"seconds": 12.5, "environment": {"processor": "A Processor", "cores": 2, "torch": "2.15.0"}},
        **both,
        "modalities": {"image+text": both, "image": view(0.6), "text": view(0.7), "image+masked text": view(0.65)},
        "thresholds": {"target_accuracy": 0.95, "chosen_on": "validation", "tasks": sure},
    }


@pytest.fixture
def results_file(results, tmp_path) -> Path:
    path = tmp_path / "evaluation" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(results))
    return path
