import numpy as np
import pytest

from semart_hf.evaluation.label_errors import find_label_errors, with_other_labels

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


def test_a_label_is_doubted_where_the_rows_other_labels_speak_against_it():
    generator = np.random.default_rng(2)
    schools = generator.integers(0, 3, 400)
    media = np.where(schools == 2, 1, 0)  # one school paints on wood
    shares = {"school": np.eye(3)[schools] * 0.7 + 0.1, "medium": np.full((400, 2), 0.5)}  # of media it knows nothing
    media[:5] = 1 - media[:5]
    schools[5] = -100
    found = with_other_labels({"school": schools, "medium": media}, shares)
    for task, own in shares.items():
        assert found[task].shape == own.shape
        assert found[task].sum(axis=1) == pytest.approx(1)
    quality = found["medium"][np.arange(400), media]
    assert sorted(np.argsort(quality)[:5]) == [0, 1, 2, 3, 4]
    assert quality[:5].max() < 0.4 < 0.6 < quality[6:].min()
    assert found["medium"][5] == pytest.approx([0.5, 0.5], abs=0.3)  # it has no school


def test_few_rows_are_judged_by_the_model_alone():
    shares = np.random.default_rng(3).dirichlet([1, 1, 1], size=20)
    found = with_other_labels({"school": np.arange(20) % 3}, {"school": shares})
    assert found["school"] == pytest.approx(shares)
