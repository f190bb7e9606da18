"""Doubtful labels: cleanlab's own answers, also where a vocabulary has labels that no row has."""

import numpy as np
import pytest

from semart_hf.evaluation.label_errors import find_label_errors

pytest.importorskip("cleanlab", reason="no cleanlab: pip install 'semart-hf[audit]'")


def catalogue_with_errors(share, seed=0):
    """Labels of 400 rows, some replaced, and probabilities of a model that is right for most; label 1 is absent."""
    generator = np.random.default_rng(seed)
    truth = generator.choice([0, 2, 3], size=400)
    shares = generator.dirichlet([0.3] * 4, size=400) * 0.3
    shares[np.arange(400), truth] += 0.7
    replaced = generator.random(400) < share
    given = np.where(replaced, np.select([truth == 0, truth == 2], [2, 3], 0), truth)
    return given, shares, replaced


def test_replaced_labels_come_first_and_are_flagged():
    given, shares, replaced = catalogue_with_errors(0.05)
    given[:10] = -100
    found = find_label_errors(given, shares)
    assert np.isnan(found.quality[:10]).all()
    assert not found.is_flagged[:10].any()
    wrong = replaced & (given >= 0)
    first = np.argsort(found.quality)[: wrong.sum()]
    assert wrong[first].all()
    assert wrong[found.is_flagged].all()
    assert found.is_flagged.sum() >= 0.7 * wrong.sum()  # confident learning leaves an example of each pair of labels
    one = int(np.flatnonzero(wrong)[0])
    known = shares[one] / np.delete(shares[one], 1).sum()  # without the label that no row has
    assert found.quality[one] == pytest.approx(known[given[one]])


def test_expected_false_alarms_are_those_of_a_catalogue_without_errors():
    generator = np.random.default_rng(1)
    shares = generator.dirichlet([0.4] * 3, size=3000)
    right = np.array([generator.choice(3, p=row) for row in shares])  # as the probabilities have it
    found = find_label_errors(right, shares)
    assert found.is_flagged.sum() > 100
    assert found.expected_false_alarms == pytest.approx(found.is_flagged.sum(), rel=0.1)
    wrong = np.where(generator.random(3000) < 0.2, (right + 1) % 3, right)
    assert find_label_errors(wrong, shares).expected_false_alarms == found.expected_false_alarms
    clean, shares, _ = catalogue_with_errors(0.0)
    assert not find_label_errors(clean, shares).is_flagged.any()
    assert find_label_errors([0, 0], [[0.2, 0.8]] * 2).expected_false_alarms == 0.0
