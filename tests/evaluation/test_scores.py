import tracemalloc
from pathlib import Path

import evaluate
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom
from sklearn import metrics as sklearn_metrics
from transformers import EvalPrediction

from semart_hf.evaluation.outcomes import Outcomes, probabilities_of
from semart_hf.evaluation.scores import (
    bootstrap_intervals,
    compute_metrics_for,
    flatten_scores,
    resampled_scores,
    score_outcomes,
)
from semart_hf.model.output_semart import UNKNOWN_LABEL

TASKS = [
    {"name": "type", "labels": ["portrait", "landscape", "still-life", "UNK"]},
    {"name": "timeframe", "labels": ["1401-1450", "1451-1500", "1551-1600", "UNK"]},
]


@pytest.fixture
def random_case():
    generator = np.random.default_rng(7)
    references = generator.integers(0, 4, size=(200, 2))
    probabilities = {}
    for column, task in enumerate(("type", "timeframe")):
        logits = generator.normal(size=(200, 4))
        logits[np.arange(200), references[:, column]] += 1
        probabilities[task] = softmax(logits, axis=1)
    references[::9, 0] = UNKNOWN_LABEL
    references[::7, 1] = UNKNOWN_LABEL
    return probabilities, references


def collected(predictions, references, tasks=TASKS):
    outcomes = Outcomes(tasks)
    outcomes.add(predictions, references)
    return outcomes


def scores_of(predictions, references, tasks=TASKS):
    return score_outcomes(collected(predictions, references, tasks))


def test_against_scikit_learn(random_case):
    probabilities, references = random_case
    scores = scores_of(probabilities, references)["tasks"]
    for column, task in enumerate(("type", "timeframe")):
        known = references[:, column] != UNKNOWN_LABEL
        is_named = known & (references[:, column] != 3)
        for found, rows in ((scores[task], known), (scores[task]["without_unk"], is_named)):
            true, predicted = references[rows, column], probabilities[task][rows].argmax(1)
            assert found["num_rows"] == len(true)
            assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(true, predicted))
            recall = sklearn_metrics.recall_score(true, predicted, labels=np.unique(true), average="macro")
            assert found["balanced_accuracy"] == pytest.approx(recall)
            for average in ("macro", "weighted"):
                expected = sklearn_metrics.f1_score(true, predicted, average=average)
                assert found[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
        true, table, labels = references[known, column], probabilities[task][known], np.arange(4)
        assert scores[task]["top_3_accuracy"] == sklearn_metrics.top_k_accuracy_score(true, table, k=3, labels=labels)
        log_loss = sklearn_metrics.log_loss(true, table, labels=labels)
        assert scores[task]["log_loss"] == pytest.approx(log_loss, abs=1e-6)
        assert scores[task]["brier"] == pytest.approx(((table - np.eye(4)[true]) ** 2).sum(1).mean(), abs=1e-6)
        names = TASKS[column]["labels"]
        options = {"target_names": names, "output_dict": True, "zero_division": 0}
        report = sklearn_metrics.classification_report(true, table.argmax(1), **options)
        assert list(scores[task]["per_label"]) == names
        for label, found in scores[task]["per_label"].items():
            assert {**found, "f1-score": found["f1"]} == pytest.approx({**report[label], "f1": found["f1"]})


class TestByHand:
    def test_unknown_references_are_left_out_and_exact_match_is_over_the_fully_labelled(self):
        predictions = [[0, 0], [1, 1], [1, 2]]
        references = [[0, -100], [2, -100], [-100, 2]]
        scores = scores_of(predictions, references)
        assert scores["num_rows"] == 3
        assert scores["tasks"]["type"]["num_rows"] == 2
        assert scores["tasks"]["type"]["accuracy"] == 0.5
        # Landscape is predicted, never true; still-life is true, never predicted; portrait is right: (1 + 0 + 0) / 3.
        assert scores["tasks"]["type"]["macro_f1"] == pytest.approx(1 / 3)
        assert scores["tasks"]["timeframe"]["num_rows"] == 1
        assert scores["mean_accuracy"] == 0.75
        assert scores["exact_match"] is None
        references = [[0, 0], [1, 2], [1, -100]]
        assert scores_of(predictions, references)["exact_match"] == 0.5

    def test_a_task_without_a_label_is_a_hole_and_one_class_is_named(self):
        scores = scores_of([[0, 0], [1, 1]], [[0, -100], [1, -100]])
        names = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")
        assert scores["tasks"]["timeframe"] == {"num_rows": 0, **dict.fromkeys(names)}
        assert scores["mean_accuracy"] == 1.0
        assert "timeframe_accuracy" not in flatten_scores(scores)
        scores = scores_of([[2, 0]] * 3, [[2, 0]] * 3)["tasks"]["type"]
        assert (scores["accuracy"], scores["macro_f1"], scores["balanced_accuracy"]) == (1.0, 1.0, 1.0)
        assert scores["per_label"]["portrait"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
        assert scores["only_label"] == TASKS[0]["labels"][2]
        assert "only_label" not in scores_of([[2, 0]] * 2, [[2, 0], [1, 0]])["tasks"]["type"]

    def test_expected_calibration_error(self):
        # Two bins: 0.9 said twice and right once, 0.6 said once and right: (2 * |0.5 - 0.9| + 1 * |1 - 0.6|) / 3.
        probabilities = {"type": [[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0]]}
        scores = scores_of(probabilities, [[0], [1], [1]], TASKS[:1])["tasks"]["type"]
        assert scores["expected_calibration_error"] == pytest.approx(0.4)

    def test_period_scores(self):
        # 1451-1500 taken for 1551-1600 is two periods away, although the labels are neighbours; UNK has no date.
        predictions = [[0], [0], [2], [3], [1]]
        references = [[0], [1], [1], [0], [3]]
        scores = scores_of(predictions, references, TASKS[1:])["tasks"]["timeframe"]
        assert scores["within_one_period"] == 0.5
        assert scores["mean_absolute_error_periods"] == pytest.approx((0 + 1 + 2) / 3)
        assert scores["mean_absolute_error_years"] == pytest.approx((0 + 50 + 100) / 3)
        assert "within_one_period" not in scores_of([[0]], [[0]], TASKS[:1])["tasks"]["type"]

    def test_a_million_rows_stay_small(self):
        outcomes = Outcomes(TASKS)
        references = np.zeros((50_000, 2), dtype=np.int64)
        table = np.full((50_000, 4), 0.25)
        for _ in range(2):
            outcomes.add({"type": table, "timeframe": table}, references)
        columns = vars(outcomes.task("type"))
        sizes = [column.nbytes for name, column in columns.items() if name not in ("labels", "scale")]
        assert sum(sizes) == 100_000 * 24


def test_the_metric_loads_from_its_folder_and_takes_batches(random_case):
    probabilities, references = random_case
    predictions = np.stack([probabilities[task].argmax(1) for task in ("type", "timeframe")], axis=1)
    folder = Path(__file__).parents[2] / "semart_hf" / "evaluation" / "art_classification"
    metric = evaluate.load(str(folder), tasks=TASKS)
    for rows in np.array_split(np.arange(199), 7):
        metric.add_batch(predictions=predictions[rows], references=references[rows])
    metric.add(prediction=predictions[199], reference=references[199])
    assert metric.compute() == flatten_scores(scores_of(predictions, references))
    assert metric.compute(predictions=[[0, 1], [1, 1]], references=[[0, 1], [0, -100]])["mean_accuracy"] == 0.75


def test_metrics_of_the_trainers_logits(random_case):
    probabilities, references = random_case
    logits = {task: np.log(table).astype(np.float32) for task, table in probabilities.items()}
    compute = compute_metrics_for(TASKS)
    found = compute(EvalPrediction(predictions=logits, label_ids=references))
    assert found == pytest.approx(flatten_scores(scores_of(probabilities, references)), abs=1e-6)
    logits["timeframe"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite logits for \['timeframe'\]"):
        compute(EvalPrediction(predictions=logits, label_ids=references))
    with pytest.raises(ValueError, match="keys_to_ignore_at_inference"):
        compute(EvalPrediction(predictions=np.zeros((2, 4)), label_ids=np.zeros((2, 2), int)))
    with pytest.raises(ValueError, match="temperature 0"):
        probabilities_of(np.zeros((1, 2)), TASKS[0], 0)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "Got 0 rows without"),
        ([[0, 0]], [[-100, -100]], "without a single known label"),
        ([[0, 0]], [[0, 0], [1, 1]], r"shape \(1,\) and 2 references for 'type', which has 4"),
        ([[0]], [[0]], r"shape \(1, 1\).*label indices"),
        ([[0.5, 0.5]], [[0, 0]], "type float64"),
        ([[9, 0]], [[0, 0]], "Got 9 among the predictions of 'type'"),
        ([[0, 0]], [[0, -1]], "Got -1 among the references of 'timeframe'.*-100 where"),
    ],
)
def test_bad_input(predictions, references, message):
    with pytest.raises(ValueError, match=f"(?is){message}"):
        scores_of(predictions, references)


@pytest.fixture(scope="module")
def tables():
    generator = np.random.default_rng(1)
    references = np.stack([generator.integers(0, 3, 120), generator.integers(0, 4, 120)], axis=1)
    predictions = np.where(generator.random((120, 2)) < 0.7, references, generator.integers(0, 3, (120, 2)))
    references[::11, 0] = -100
    return predictions, references


class Draws:
    def __init__(self, counts):
        self.counts = iter(counts)

    def multinomial(self, _, __, size):
        return np.stack([next(self.counts) for _ in range(size)])


def test_resampled_scores_are_those_of_the_drawn_paintings(tables, monkeypatch):
    predictions, references = tables
    generator = np.random.default_rng(6)
    drawn = [generator.integers(0, 120, 120) for _ in range(8)]
    _, combination = np.unique(np.concatenate([references, predictions], axis=1), axis=0, return_inverse=True)
    counts = [np.bincount(combination[rows], minlength=combination.max() + 1) for rows in drawn]
    monkeypatch.setattr(np.random, "default_rng", lambda _: Draws(counts))
    (resampled,) = resampled_scores([collected(predictions, references)], num_resamples=8)
    for index, rows in enumerate(drawn):
        expected = flatten_scores(score_outcomes(collected(predictions[rows], references[rows])))
        for name, values in resampled.items():
            assert values[index] == pytest.approx(expected[name]), name
    assert {"type_accuracy", "timeframe_within_one_period", "mean_macro_f1", "exact_match"} <= set(resampled)


def test_macro_scores_are_over_the_classes_of_the_whole_split(monkeypatch):
    # Three portraits, right; one landscape, taken for a portrait; one UNK, right. Combinations in sorted order.
    outcomes = collected([[0], [0], [0], [0], [3]], [[0], [0], [0], [1], [3]], TASKS[:1])
    draws = np.array([[3, 1, 1], [5, 0, 0], [0, 5, 0], [4, 0, 1]])
    monkeypatch.setattr(np.random, "default_rng", lambda _: Draws(draws))
    (resampled,) = resampled_scores([outcomes], num_resamples=4)
    # As they are: F1 of 6/7, 0 and 1. Portraits alone: 1, and the two others as they are in the whole split, 0 and 1.
    # Landscapes alone: portraits were answered and none was there, 0. Without landscapes: 1, 0, 1.
    assert resampled["type_macro_f1"] == pytest.approx([(6 / 7 + 0 + 1) / 3, 2 / 3, (0 + 0 + 1) / 3, 2 / 3])
    assert resampled["type_balanced_accuracy"] == pytest.approx([2 / 3] * 4)


def test_the_interval_of_an_accuracy_is_the_binomial_one(tables):
    outcomes = collected(*tables)
    accuracy = outcomes.task("timeframe").correct.mean()
    low, high = bootstrap_intervals(outcomes, num_resamples=4000)["timeframe_accuracy"]
    expected = [binom.ppf(q, 120, accuracy) / 120 for q in (0.025, 0.975)]
    assert [low, high] == pytest.approx(expected, abs=0.0085)
    assert bootstrap_intervals(outcomes, num_resamples=50) == bootstrap_intervals(outcomes, num_resamples=50)
    predictions, references = (table.copy() for table in tables)
    references[:, 0] = -100
    found = bootstrap_intervals(collected(predictions, references), num_resamples=20)
    assert "type_accuracy" not in found
    assert found["mean_accuracy"] == found["timeframe_accuracy"]


def test_memory_grows_with_the_number_of_labels_and_not_with_its_square():
    labels = [f"label {number}" for number in range(400)]
    truth = np.arange(800)[:, None] % 400
    outcomes = collected(np.where(truth % 2, truth, 0), truth, [{"name": "type", "labels": labels}])
    tracemalloc.start()
    intervals = bootstrap_intervals(outcomes, num_resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * 400 * 400 / 4  # a quarter of a matrix of labels for each draw
    assert intervals["type_accuracy"][0] < 401 / 800 < intervals["type_accuracy"][1]
