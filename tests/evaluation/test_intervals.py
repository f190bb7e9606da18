"""Bootstrap intervals against drawing paintings one by one."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import binom

from semart_hf.evaluation.intervals import bootstrap_intervals, resampled_scores
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import flatten_scores, score_outcomes

TASKS = [
    {"name": "type", "labels": ["portrait", "landscape", "UNK"]},
    {"name": "timeframe", "labels": ["1401-1450", "1451-1500", "1551-1600", "UNK"]},
]


def outcomes_of(predictions, references):
    outcomes = Outcomes(TASKS)
    outcomes.add(predictions, references)
    return outcomes


@pytest.fixture(scope="module")
def tables():
    generator = np.random.default_rng(1)
    references = np.stack([generator.integers(0, 3, 120), generator.integers(0, 4, 120)], axis=1)
    predictions = np.where(generator.random((120, 2)) < 0.7, references, generator.integers(0, 3, (120, 2)))
    references[::11, 0] = -100
    return predictions, references


class Draws:
    """A generator whose draws are given."""

    def __init__(self, counts):
        self.counts = iter(counts)

    def multinomial(self, *_):
        return next(self.counts)


def test_resampled_scores_are_those_of_the_drawn_paintings(tables, monkeypatch):
    predictions, references = tables
    generator = np.random.default_rng(6)
    drawn = [generator.integers(0, 120, 120) for _ in range(8)]
    _, combination = np.unique(np.concatenate([references, predictions], axis=1), axis=0, return_inverse=True)
    counts = [np.bincount(combination[rows], minlength=combination.max() + 1) for rows in drawn]
    monkeypatch.setattr(np.random, "default_rng", lambda _: Draws(counts))
    (resampled,) = resampled_scores([outcomes_of(predictions, references)], num_resamples=8)
    for index, rows in enumerate(drawn):
        expected = flatten_scores(score_outcomes(outcomes_of(predictions[rows], references[rows])))
        for name, values in resampled.items():
            assert values[index] == pytest.approx(expected[name]), name
    assert {"type_accuracy", "timeframe_within_one_period", "mean_macro_f1", "exact_match"} <= set(resampled)


def test_macro_scores_are_over_the_classes_of_the_whole_split(monkeypatch):
    # Three portraits, right; one landscape, taken for a portrait; one UNK, right. Combinations in sorted order.
    outcomes = Outcomes(TASKS[:1])
    outcomes.add([[0], [0], [0], [0], [2]], [[0], [0], [0], [1], [2]])
    draws = np.array([[3, 1, 1], [5, 0, 0], [0, 5, 0], [4, 0, 1]])
    monkeypatch.setattr(np.random, "default_rng", lambda _: Draws(draws))
    (resampled,) = resampled_scores([outcomes], num_resamples=4)
    # As they are: F1 of 6/7, 0 and 1. Portraits alone: 1, and the two others as they are in the whole split, 0 and 1.
    # Landscapes alone: portraits were answered and none was there, 0. Without landscapes: 1, 0, 1.
    assert resampled["type_macro_f1"] == pytest.approx([(6 / 7 + 0 + 1) / 3, 2 / 3, (0 + 0 + 1) / 3, 2 / 3])
    assert resampled["type_balanced_accuracy"] == pytest.approx([2 / 3] * 4)


def test_with_many_rare_classes_the_estimate_lies_within_its_interval():
    # 200 paintings of one class, 3 of 100 wrong, and 30 classes of one painting each, of which every third is right.
    labels = [f"label {number}" for number in range(31)]
    references = np.concatenate([np.zeros(200, dtype=int), np.arange(1, 31)])
    predictions = np.where(np.arange(230) < 200, references, np.where(references % 3 == 0, references, 0))
    predictions[:6] = 1
    outcomes = Outcomes([{"name": "school", "labels": labels}])
    outcomes.add(predictions[:, None], references[:, None])
    (resampled,) = resampled_scores([outcomes], num_resamples=500)
    scores = score_outcomes(outcomes)["tasks"]["school"]
    for name in ("macro_f1", "balanced_accuracy"):
        low, high = np.percentile(resampled[f"school_{name}"], [2.5, 97.5])
        share_below = (resampled[f"school_{name}"] < scores[name]).mean()
        assert low < scores[name] < high or low == high == pytest.approx(scores[name], abs=0.01), name
        assert 0.1 < share_below < 0.9, name


def test_the_interval_of_an_accuracy_is_the_binomial_one(tables):
    outcomes = outcomes_of(*tables)
    accuracy = outcomes.task("timeframe").correct.mean()
    low, high = bootstrap_intervals(outcomes, num_resamples=4000)["timeframe_accuracy"]
    expected = [binom.ppf(q, 120, accuracy) / 120 for q in (0.025, 0.975)]
    assert [low, high] == pytest.approx(expected, abs=0.0085)


def test_the_seed_decides(tables):
    outcomes = outcomes_of(*tables)
    once, again, other = (bootstrap_intervals(outcomes, num_resamples=50, seed=seed) for seed in (1, 1, 2))
    assert once == again != other


def test_a_task_without_labels_has_no_interval(tables):
    predictions, references = (table.copy() for table in tables)
    references[:, 0] = -100
    found = bootstrap_intervals(outcomes_of(predictions, references), num_resamples=20)
    assert "type_accuracy" not in found
    assert found["mean_accuracy"] == found["timeframe_accuracy"]


def test_memory_grows_with_the_number_of_labels_and_not_with_its_square():
    labels = [f"label {number}" for number in range(400)]
    outcomes = Outcomes([{"name": "type", "labels": labels}])
    truth = np.arange(800)[:, None] % 400
    outcomes.add(np.where(truth % 2, truth, 0), truth)
    tracemalloc.start()
    intervals = bootstrap_intervals(outcomes, num_resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * 400 * 400 / 4  # a quarter of a matrix of labels for each draw
    assert intervals["type_accuracy"][0] < 401 / 800 < intervals["type_accuracy"][1]
