import numpy as np
import pytest
from scipy.stats import binom

from semart_hf.evaluation.comparison import bootstrap_p, check_same_rows, compare_outcomes, holm, in_words, mcnemar
from semart_hf.evaluation.outcomes import Outcomes

TASKS = [{"name": "type", "labels": ["portrait", "landscape", "UNK"]}]


def outcomes_of(predictions, references, tasks=TASKS):
    outcomes = Outcomes(tasks)
    outcomes.add(np.asarray(predictions).reshape(-1, 1), np.asarray(references).reshape(-1, 1))
    return outcomes


@pytest.fixture(scope="module")
def pair():
    """The first is wrong on 10 of 100 paintings, the second on 30, 5 of them the same; 3 more are unlabelled."""
    references = np.zeros(103, dtype=int)
    references[100:] = -100
    first, second = np.zeros(103, dtype=int), np.zeros(103, dtype=int)
    first[:10] = 1
    second[5:35] = 1
    return outcomes_of(first, references), outcomes_of(second, references)


def test_mcnemar_is_the_binomial_test_on_the_discordant_and_the_difference_has_a_paired_interval(pair):
    result = mcnemar(*pair, "type")
    assert (result["only_first"], result["only_second"]) == (25, 5)
    assert result["p"] == pytest.approx(2 * binom.cdf(5, 30, 0.5))
    entry = compare_outcomes(*pair, names=("ViT-Tiny", "ResNet18"))["tasks"]["type"]["accuracy"]
    assert (entry["first"], entry["second"]) == (0.9, 0.7)
    assert entry["difference"] == pytest.approx(0.2)
    # Paired, the standard error is sqrt(0.25 + 0.05 - 0.2 ** 2) / sqrt(100) = 5.1 points; unpaired it were 5.5.
    assert entry["interval"] == pytest.approx([0.1, 0.3], abs=0.025)
    assert entry["is_significant"]
    assert entry["in_words"].startswith("ViT-Tiny is better on type by 20.0 points, 95 % interval ")
    entry = compare_outcomes(pair[0], pair[0], names=("A", "B"))["tasks"]["type"]["accuracy"]
    assert entry["interval"] == [0, 0]
    assert not entry["is_significant"]
    assert entry["in_words"] == "A and B are level on type, 95 % interval 0.0 to 0.0, McNemar p = 1."


def test_the_bootstrap_p_counts_the_draws_beyond_zero_and_holm_corrects_for_the_number_of_tests(pair):
    assert bootstrap_p(np.array([0.1] * 97 + [-0.1] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-0.1] * 99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1
    assert bootstrap_p(np.array([0.1] * 9 + [np.nan] * 90)) == pytest.approx(2 / 10)
    entry = compare_outcomes(*pair, names=("A", "B"))["tasks"]["type"]["accuracy"]
    assert 2 / 1001 <= entry["bootstrap_p"] < 0.01  # 3.9 standard errors
    # Holm's own procedure: 3 x 0.01, 2 x 0.02, and the last not below the one before it.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


LEVEL = "No significant difference on school: B is ahead by 0.3 points, 95 % interval −1.2 to 1.8."


@pytest.mark.parametrize(
    ("difference", "interval", "sentence"),
    [
        (0.021, [0.004, 0.039], "A is better on school by 2.1 points, 95 % interval 0.4 to 3.9."),
        (-0.021, [-0.039, -0.004], "B is better on school by 2.1 points, 95 % interval 0.4 to 3.9."),
        (-0.003, [-0.018, 0.012], LEVEL),
    ],
)
def test_sentences(difference, interval, sentence):
    entry = {"difference": difference, "interval": interval, "is_significant": interval[0] > 0 or interval[1] < 0}
    assert in_words(entry, ("A", "B"), "school") == sentence


def test_other_paintings_are_refused(pair):
    first, _ = pair
    with pytest.raises(ValueError, match="of A and B, of other paintings or in another order: 103 and 2"):
        compare_outcomes(first, outcomes_of([0, 0], [0, 0]), names=("A", "B"))
    with pytest.raises(ValueError, match="true type differs in 103 of 103"):
        compare_outcomes(first, outcomes_of([0] * 103, [1] * 103), names=("A", "B"))
    for name, labels, message in (
        ("type", ["portrait", "still-life", "UNK"], r"type labels differ: \['landscape', 'still-life'\]"),
        ("school", ["Dutch"], r"the tasks \['type'\] and \['school'\]"),
    ):
        other = outcomes_of([0] * 103, [0] * 103, [{"name": name, "labels": labels}])
        with pytest.raises(ValueError, match=message):
            compare_outcomes(first, other, names=("A", "B"))


def test_other_truths_and_kinds_of_several_labels_are_refused():
    task = {"name": "subjects", "labels": ["boat", "cat"]}
    several, others = (Outcomes([{**task, "kind": "multi_label"}]) for _ in range(2))
    several.add([[1, 0], [0, 1], [1, 1]], [[1, 0], [0, 1], [1, 1]])
    others.add([[1, 0], [0, 1], [1, 1]], [[1, 0], [1, 0], [1, 1]])
    one = outcomes_of([0, 1, 1], [0, 1, 1], [task])
    with pytest.raises(ValueError, match="true subjects differs in 1 of 3 paintings"):
        check_same_rows(several, others, ("A", "B"))
    with pytest.raises(ValueError, match="one alone has several labels of subjects"):
        check_same_rows(several, one, ("A", "B"))
