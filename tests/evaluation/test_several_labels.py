import copy

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from sklearn import metrics
from transformers import EvalPrediction

from semart_hf.documents.result_tables import label_table
from semart_hf.evaluation import calibration
from semart_hf.evaluation.comparison import compare_outcomes
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.predictions import Predictions, predict_dataset, predictions_writer, read_predictions
from semart_hf.evaluation.results import write_evaluation
from semart_hf.evaluation.scores import (
    average_precisions,
    bootstrap_intervals,
    check_metric_name,
    compute_metrics_for,
    score_outcomes,
)

SUBJECTS = {"name": "subjects", "kind": "multi_label", "labels": ["angel", "boat", "cat", "dog"]}
SIZE = {"name": "size", "kind": "ordered", "labels": ["small", "medium", "large", "UNK"]}
TASKS = [{"name": "type", "labels": ["a", "b"]}, SUBJECTS, SIZE]


@pytest.fixture(scope="module")
def drawn():
    random = np.random.default_rng(0)
    truth = (random.random((200, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(np.int64)
    logits = (2.0 * truth - 1.5 + random.normal(size=truth.shape)).round(1)  # with equal ones
    return truth, logits


def outcomes_of(truth, logits):
    outcomes = Outcomes([SUBJECTS])
    outcomes.add({"subjects": 1 / (1 + np.exp(-logits))}, truth)
    return outcomes


def test_scores_of_several_labels_equal_scikit_learn(drawn):
    truth, logits = drawn
    scores = score_outcomes(outcomes_of(truth, logits))["tasks"]["subjects"]
    answers, p = (logits >= 0).astype(int), 1 / (1 + np.exp(-logits))
    for kind in ("micro", "macro", "weighted"):
        expected = metrics.f1_score(truth, answers, average=kind, zero_division=np.nan)
        assert scores[f"{kind}_f1"] == pytest.approx(expected), kind
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answers))
    by_label = [metrics.average_precision_score(truth[:, k], p[:, k]) for k in range(3)]
    assert scores["mean_average_precision"] == pytest.approx(np.mean(by_label))  # no painting has a dog
    precisions = [found["average_precision"] for found in scores["per_label"].values()]
    assert precisions == [*map(pytest.approx, by_label), None]
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(truth.ravel(), p.ravel()), rel=1e-5)
    assert scores["brier"] == pytest.approx(((p - truth) ** 2).mean(), rel=1e-5)


def test_cells_that_are_unknown_count_nothing_in_any_draw(drawn):
    truth, logits = drawn
    holes = truth.copy()
    holes[::3, 0], holes[5] = -100, -100
    scores = score_outcomes(outcomes_of(holes, logits))["tasks"]["subjects"]
    known = holes[:, 0] >= 0
    assert scores["num_rows"] == 199
    expected = metrics.average_precision_score(truth[known, 0], logits[known, 0])
    assert scores["per_label"]["angel"]["average_precision"] == pytest.approx(expected)
    right = (((logits >= 0) == truth) | (holes < 0)).all(axis=1)[np.arange(200) != 5]
    assert scores["accuracy"] == pytest.approx(right.mean())
    holes = truth.copy()
    holes[::3, 0] = -100
    counts = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200))
    found = average_precisions(outcomes_of(holes, logits).task("subjects"))(counts)
    for k in range(3):
        known = holes[:, k] >= 0
        expected = metrics.average_precision_score(holes[known, k], logits[known, k], sample_weight=counts[known])
        assert found[k] == pytest.approx(expected)
    assert np.isnan(found[3])


def test_an_answer_of_several_labels_has_a_risk_and_none_at_all_is_no_answer():
    task = {**SUBJECTS, "labels": ["angel", "boat"]}
    found = Outcomes([task])
    p = np.array([[0.9, 0.75], [0.75, 0.25], [0.25, 0.25], [0.5, 0.0]])
    found.add({"subjects": p}, np.array([[1, 1], [1, 1], [0, 0], [1, 0]]))
    outcomes = found.task("subjects")
    assert outcomes.confidences == pytest.approx([0.9 * 0.75, 0.75**2, 0.75**2, 0.5])
    assert [risk for _, risk in calibration.risk_points(outcomes)] == pytest.approx([0, 1 / 3], abs=1e-6)
    assert calibration.thresholds(found, "test", found)["tasks"]["subjects"]["coverage"] == 0.25


def test_thresholds_have_the_best_f1_and_a_temperature_the_least_log_loss(drawn):
    truth, logits = drawn
    truth = truth.copy()
    truth[:, 2] = 0
    truth[:4, 2] = 1  # too few for a threshold of its own
    found = outcomes_of(truth, logits)
    outcomes = found.task("subjects")
    chosen = calibration.choose_thresholds(outcomes)
    p = outcomes.probabilities
    for k in range(2):
        best = max(metrics.f1_score(truth[:, k], p[:, k] >= t) for t in np.unique(p[:, k]))
        assert metrics.f1_score(truth[:, k], p[:, k] >= chosen[k]) == pytest.approx(best)
    assert chosen[2] == chosen[3]
    best = max(metrics.f1_score(truth.ravel(), p.ravel() >= t) for t in np.unique(p))
    assert metrics.f1_score(truth.ravel(), p.ravel() >= chosen[2]) == pytest.approx(best)
    (task,) = calibration.with_thresholds([SUBJECTS], found)
    assert task == {**SUBJECTS, "thresholds": chosen}
    truth, logits = drawn
    predictions = Predictions([], {"subjects": 3 * logits}, truth, tasks=[SUBJECTS])
    found = calibration.fit_temperatures(predictions)["subjects"]

    def loss(temperature):
        return metrics.log_loss(truth.ravel(), (1 / (1 + np.exp(-3 * logits / temperature))).ravel())

    assert loss(found) < min(loss(found * 1.02), loss(found / 1.02))


def test_all_kinds_together_in_the_trainer_the_bootstrap_and_the_file(drawn, tmp_path):
    truth, subjects = drawn
    random = np.random.default_rng(1)
    references = np.concatenate([random.integers(0, 2, (200, 1)), truth, random.integers(0, 4, (200, 1))], axis=1)
    references[::7, 1:5] = -100
    logits = {"type": random.normal(size=(200, 2)), "subjects": subjects, "size": random.normal(size=(200, 4))}
    predictions = Predictions([f"row {n}" for n in range(200)], logits, references, tasks=TASKS)
    outcomes = Outcomes(TASKS)
    outcomes.add(predictions.probabilities(), references, predictions.row_ids)
    scores = score_outcomes(outcomes)
    by_task = [scores["tasks"][name] for name in ("type", "subjects", "size")]
    assert scores["mean_accuracy"] == pytest.approx(np.mean([found["accuracy"] for found in by_task]))
    intervals = bootstrap_intervals(outcomes, num_resamples=300)
    several = ("subjects_micro_f1", "subjects_macro_f1", "subjects_mean_average_precision")
    for name in ("type_accuracy", *several, "size_within_one_step", "mean_macro_f1"):
        task, _, score = name.partition("_")
        value = scores.get(name) if task == "mean" else scores["tasks"][task][score]
        assert intervals[name][0] < value < intervals[name][1], name
    computed = compute_metrics_for(TASKS)(EvalPrediction(predictions=logits, label_ids=references))
    assert computed["subjects_mean_average_precision"] == by_task[1]["mean_average_precision"]
    check_metric_name("eval_subjects_mean_average_precision", TASKS, compute_metrics_for(TASKS))
    sizes = [{**SIZE, "labels": ["UNK", "small", "large"]}]
    check_metric_name("size_mean_absolute_error_steps", sizes, compute_metrics_for(sizes))
    with predictions_writer(tmp_path / "predictions.parquet", TASKS) as write:
        write(predictions, predictions.probabilities())
    again = read_predictions(tmp_path / "predictions.parquet")
    for name in ("type", "subjects", "size"):
        assert (again.task(name).references == outcomes.task(name).references).all(), name
        assert (again.task(name).predictions == outcomes.task(name).predictions).all(), name


def test_labels_that_are_neither_true_nor_answered_leave_the_means_to_other_tasks():
    both = [Outcomes(TASKS[:2]) for _ in range(2)]
    for outcomes, p in zip(both, (0.1, 0.9), strict=True):
        outcomes.add({"type": [[0.9, 0.1]] * 3, "subjects": np.full((3, 4), p)}, np.zeros((3, 5), dtype=int))
    scores = score_outcomes(both[0])
    assert scores["tasks"]["subjects"]["macro_f1"] is None
    assert (scores["mean_accuracy"], scores["mean_macro_f1"]) == (1, 1)
    for pair in (both, both[::-1]):  # what one of them does not have is not compared
        compared = compare_outcomes(*pair, names=("A", "B"), num_resamples=20)
        assert [*compared["tasks"]["subjects"]] == ["accuracy"]
    alone = outcomes_of(np.zeros((3, 4), dtype=int), np.full((3, 4), -2.0))
    assert score_outcomes(alone)["mean_macro_f1"] == 0


def test_errors_in_steps_and_units_by_hand():
    sizes = {**SIZE, "labels": ["10", "20", "50", "UNK"], "positions": [10, 20, 50, None], "unit": "cm"}
    outcomes = Outcomes([sizes])
    outcomes.add([[0], [2], [1], [3], [0]], [[0], [0], [2], [0], [3]])
    scores = score_outcomes(outcomes)["tasks"]["size"]
    assert scores["within_one_step"] == 2 / 4  # UNK is no neighbour, and no truth to measure from
    assert scores["mean_absolute_error_steps"] == pytest.approx((0 + 2 + 1) / 3)
    assert scores["mean_absolute_error_cm"] == pytest.approx((0 + 40 + 30) / 3)
    words = Outcomes([SIZE])
    words.add([[0], [2]], [[1], [0]])
    scores = score_outcomes(words)["tasks"]["size"]
    assert scores["mean_absolute_error_steps"] == 1.5
    assert not any("units" in name or name.endswith("_None") for name in scores)


def test_twenty_thousand_labels_are_scored_kept_and_shown(tmp_path):
    task = {"name": "author", "labels": [f"painter {number}" for number in range(20_000)]}
    outcomes = Outcomes([task])
    outcomes.add([[number] for number in range(19_000, 19_100)], [[number] for number in range(19_001, 19_101)])
    scores = score_outcomes(outcomes)["tasks"]["author"]
    assert scores["accuracy"] == 0
    check_metric_name("author_accuracy", [task], compute_metrics_for([task]))
    table = label_table(scores["per_label"])
    assert len(table.rows) == 500
    assert {f"painter {number}" for number in range(19_001, 19_101)} < {row[0] for row in table.rows}
    assert table.notes == ["The 500 labels with the most paintings, of 20,000; results.json has all."]
    logits = np.random.default_rng(0).normal(size=(8, 20_000)).astype(np.float32)
    path, ones = tmp_path / "predictions.parquet", np.ones((8, 1), int)
    batch = Predictions(["a"] * 8, {"author": logits}, ones, [task])
    with predictions_writer(path, [task]) as write:
        write(batch, batch.probabilities())
    assert path.stat().st_size < 3 * logits.nbytes
    expected = Outcomes([task])
    expected.add(batch.probabilities(), batch.references)
    assert read_predictions(path).task("author").losses == pytest.approx(expected.task("author").losses, abs=1e-5)


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        (np.full((1, 4), 2), np.zeros((1, 4)), "from 0 to 1, and -100"),
        (np.zeros((1, 4), dtype=int), np.zeros((1, 3)), "which has 4 labels"),
    ],
)
def test_tables_that_do_not_fit_are_refused(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        Outcomes([SUBJECTS]).add({"subjects": predictions}, references)


def test_a_calibration_is_that_of_the_scored_probabilities(tiny_model, tiny_processor, paintings, tmp_path):
    model = copy.deepcopy(tiny_model)
    first, *others = model.config.tasks
    model.config.set_tasks([{**first, "kind": "multi_label"}, *others])
    rows = [{**row, "type": [first["labels"][row["type"]]]} for row in paintings.remove_columns("image")]
    features = {name: kind for name, kind in paintings.features.items() if name != "image"}
    texts = Dataset.from_list(rows, features=Features({**features, "type": List(Value("string"))}))
    about = dict.fromkeys(("model", "data", "split"), "tiny")
    options = {"about": about, "calibration": ("tiny", texts), "device": "cpu"}
    _, both, _ = write_evaluation(tmp_path, model, tiny_processor, texts, **options)
    fitted, found = model.config.temperatures, model.config.tasks[0]["thresholds"]
    # Calibrated on the split that is scored: the thresholds are the best ones of the probabilities that are scored.
    assert found == calibration.choose_thresholds(both.task("type"))
    logits = predict_dataset(model, tiny_processor, texts, device="cpu").logits
    pairs = np.stack([np.zeros(30), logits["type"].ravel()], axis=1)
    assert fitted["type"] == calibration.fit_temperature(pairs, both.task("type").references.ravel())
    known = both.task("school").is_known
    school = both.task("school").references[known]
    assert fitted["school"] == calibration.fit_temperature(logits["school"][known], school)
