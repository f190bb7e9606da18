"""Bootstrap intervals against drawing paintings one by one."""

import numpy as np
import pytest
from scipy.stats import binom

from semart_hf.evaluation import intervals
from semart_hf.evaluation.intervals import bootstrap_intervals, p_value_words, resampled_scores
from semart_hf.evaluation.metrics import flatten_scores, score_outcomes
from semart_hf.evaluation.outcomes import Outcomes

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


def test_resampled_scores_are_those_of_the_drawn_paintings(tables, monkeypatch):
    predictions, references = tables
    generator = np.random.default_rng(6)
    drawn = [generator.integers(0, 120, 120) for _ in range(8)]
    _, combination = np.unique(np.concatenate([references, predictions], axis=1), axis=0, return_inverse=True)

    def counts_of_drawn(counts, num_resamples, seed):
        return (np.bincount(combination[rows], minlength=len(counts)) for rows in drawn)

    monkeypatch.setattr(intervals, "_draws", counts_of_drawn)
    (resampled,) = resampled_scores([outcomes_of(predictions, references)], num_resamples=8)
    for index, rows in enumerate(drawn):
        expected = flatten_scores(score_outcomes(outcomes_of(predictions[rows], references[rows])))
        for name, values in resampled.items():
            assert values[index] == pytest.approx(expected[name]), name
    assert {"type_accuracy", "timeframe_within_one_period", "mean_macro_f1", "exact_match"} <= set(resampled)


def test_the_interval_of_an_accuracy_is_the_binomial_one(tables):
    outcomes = outcomes_of(*tables)
    accuracy = outcomes.of("timeframe").correct.mean()
    low, high = bootstrap_intervals(outcomes, num_resamples=4000)["timeframe_accuracy"]
    expected = [binom.ppf(q, 120, accuracy) / 120 for q in (0.025, 0.975)]
    assert [low, high] == pytest.approx(expected, abs=0.0085)


def test_scores_of_a_draw_are_the_scores_of_its_paintings(tables):
    # A draw from a single painting can only be that painting, again and again.
    predictions, references = (np.repeat(table[1:2], 5, axis=0) for table in tables)
    (resampled,) = resampled_scores([outcomes_of(predictions, references)], num_resamples=3)
    expected = flatten_scores(score_outcomes(outcomes_of(predictions, references)))
    for name, values in resampled.items():
        if not np.isnan(values).any():
            assert values.tolist() == [expected[name]] * 3
    assert resampled["type_accuracy"].tolist() == [float(predictions[0, 0] == references[0, 0])] * 3


def test_the_seed_decides(tables):
    outcomes = outcomes_of(*tables)
    once, again = (bootstrap_intervals(outcomes, num_resamples=50, seed=1) for _ in range(2))
    assert once == again
    assert bootstrap_intervals(outcomes, num_resamples=50, seed=2) != once


def test_a_task_without_labels_has_no_interval(tables):
    predictions, references = (table.copy() for table in tables)
    references[:, 0] = -100
    found = bootstrap_intervals(outcomes_of(predictions, references), num_resamples=20)
    assert "type_accuracy" not in found
    assert found["mean_accuracy"] == found["timeframe_accuracy"]


@pytest.mark.parametrize(("p", "words"), [(0.0001, "p < 0.001"), (0.0314, "p = 0.031"), (1.0, "p = 1")])
def test_p_values_in_words(p, words):
    assert p_value_words(p) == words
