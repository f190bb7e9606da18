"""Scores by task and over all tasks as in results.json, their intervals, and the Trainer's `compute_metrics`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from transformers import EvalPrediction

from semart_hf.catalogue.schema import UNKNOWN
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes, SeveralOutcomes, TaskOutcomes
from .predictions import Predictions

FloatArray = npt.NDArray[np.float64]
# From how often each row is drawn (..., rows) to scores of each draw, NaN where nothing is counted.
DrawnScores = Callable[[npt.NDArray[Any]], dict[str, FloatArray]]

NUM_CALIBRATION_BINS = 15
NUM_RESAMPLES = 1000
LARGEST_TABLE = 1 << 20  # of numbers that are drawn at a time
LABEL_SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")
SCORES_OF_SEVERAL = ("accuracy", "macro_f1", "weighted_f1", "micro_f1", "mean_average_precision")


def score_task(outcomes: TaskOutcomes | SeveralOutcomes) -> dict[str, Any]:
    """Every score of one task over the rows of which a label is known; None for one that cannot be computed.

    Of a task with several labels `accuracy` is the share of paintings whose every known label is right, as in
    scikit-learn, and log loss, Brier score and calibration are of all known pairs of a painting and a label.
    `without_unk` repeats the label scores over the rows whose true label is not `UNK`, which the literature scores as
    a class. `only_label` is there where all rows have one label: such scores say little.
    """
    known, has_several = outcomes.known(), isinstance(outcomes, SeveralOutcomes)
    scores = _mean_scores(known)
    if not scores["num_rows"]:
        return scores
    if known.has_probabilities and has_several:
        is_known = known.references != UNKNOWN_LABEL
        truth, p = known.references[is_known] == 1, known.probabilities[is_known].astype(np.float64)
        losses = -np.log(np.clip(np.where(truth, p, 1 - p), np.finfo(np.float64).eps, 1))
        scores |= {"log_loss": float(losses.mean()), "brier": float(((p - truth) ** 2).mean())}
        scores["expected_calibration_error"] = calibration_error(p, truth)
    elif known.has_probabilities:
        scores |= {
            "top_3_accuracy": float((known.ranks < 3).mean()),
            "log_loss": float(known.losses.mean(dtype=np.float64)),
            "brier": float(known.brier.mean(dtype=np.float64)),  # Brier's own (1950): between 0 and 2
            "expected_calibration_error": calibration_error(known.confidences, known.correct),
        }
    if UNKNOWN in known.labels and not has_several:
        named = _mean_scores(known.select(known.references != known.labels.index(UNKNOWN)))
        scores["without_unk"] = {name: named[name] for name in ("num_rows", *LABEL_SCORES)}
    scores["per_label"] = _per_label(known)
    if not has_several and len(present := np.unique(known.references)) == 1:
        scores["only_label"] = known.labels[present[0]]
    return scores


def _mean_scores(known: TaskOutcomes | SeveralOutcomes) -> dict[str, Any]:
    once = np.ones(len(known.references), dtype=np.int64)
    names = SCORES_OF_SEVERAL if isinstance(known, SeveralOutcomes) else LABEL_SCORES
    values = {name: float(value) for name, value in mean_scores(known, once)(once).items()} if len(once) else {}
    found = {name: None if np.isnan(value) else value for name, value in values.items()}
    return {"num_rows": len(once), **dict.fromkeys(names), **found}


def _per_label(known: TaskOutcomes | SeveralOutcomes) -> dict[str, Any]:
    """By label its precision, recall, F1 and support; of several also average precision and threshold."""
    found = label_scores(known)(np.ones(len(known.references), dtype=np.int64))
    columns = {name: np.nan_to_num(found[name]).tolist() for name in ("precision", "recall", "f1")}
    columns["support"] = found["support"].astype(np.int64).tolist()
    if isinstance(known, SeveralOutcomes):
        precisions = found["average_precision"].tolist()
        columns["average_precision"] = [None if np.isnan(value) else value for value in precisions]
        columns["threshold"] = known.thresholds.tolist()
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return dict(zip(known.labels, rows, strict=True))


def mean_scores(outcomes: TaskOutcomes | SeveralOutcomes, counts: npt.NDArray[Any]) -> DrawnScores:
    """The scores of one task that have an interval, over rows of which the whole split has `counts` (rows,).

    Macro scores are means over the labels that occur in the whole split, as truth or as answer: scikit-learn's
    default. One that a draw lacks keeps its score on the whole split: to leave it out, or to count it as 0, would
    move all draws to one side.
    """
    sums, by_label = row_scores(outcomes), label_scores(outcomes)
    whole = by_label(counts)

    def scores(drawn: npt.NDArray[Any]) -> dict[str, FloatArray]:
        found = {name: ratio(drawn @ counted, drawn @ of_all) for name, (counted, of_all) in sums.items()}
        labels = {name: np.where(np.isnan(values), whole[name], values) for name, values in by_label(drawn).items()}
        f1, support = labels["f1"], labels["support"]
        weighted = ratio(np.nansum(f1 * support, axis=-1), support.sum(axis=-1))
        found |= {"macro_f1": nan_mean(f1), "weighted_f1": weighted}
        if "average_precision" in labels:
            return found | {"mean_average_precision": nan_mean(labels["average_precision"])}
        return found | {"balanced_accuracy": nan_mean(labels["recall"])}

    return scores


def label_scores(outcomes: TaskOutcomes | SeveralOutcomes) -> DrawnScores:
    """Precision, recall, F1 and support of each label (..., num_labels); of several also average precision."""
    precisions = average_precisions(outcomes) if isinstance(outcomes, SeveralOutcomes) else None
    if isinstance(outcomes, SeveralOutcomes):
        tables = outcomes.references == 1, outcomes.predictions & (outcomes.references != UNKNOWN_LABEL)
        has, is_answer = (sparse.csr_array(table, dtype=float) for table in tables)
    else:
        rows, shape = np.flatnonzero(outcomes.is_known), (len(outcomes.references), len(outcomes.labels))
        columns = outcomes.references[rows], outcomes.predictions[rows]
        has, is_answer = (sparse.csr_array((np.ones(len(rows)), (rows, column)), shape) for column in columns)
    indicators = sparse.hstack([has * is_answer, has, is_answer], format="csr")

    def scores(drawn: npt.NDArray[Any]) -> dict[str, FloatArray]:
        right, true, answered = np.split(drawn @ indicators, 3, axis=-1)
        found = {"precision": ratio(right, answered), "recall": ratio(right, true)}
        found |= {"f1": ratio(2 * right, true + answered), "support": true}
        if precisions is not None:
            found["average_precision"] = np.apply_along_axis(precisions, -1, drawn)
        return found

    return scores


def average_precisions(outcomes: SeveralOutcomes) -> Callable[[npt.NDArray[Any]], FloatArray]:
    """From how often each row is drawn (rows,) to the average precision of each label (num_labels,), NaN without it.

    Source: as `sklearn.metrics.average_precision_score`: the precision at each threshold by the recall it adds.
    """
    occurs = (outcomes.references == 1).any(axis=0)  # of thousands of labels a split has few
    tables = outcomes.references[:, occurs].T, outcomes.probabilities[:, occurs].T
    order = np.argsort(-tables[1], axis=1, kind="stable")
    truth, p = (np.take_along_axis(table, order, axis=1) for table in tables)
    is_last = np.append(np.diff(p) != 0, np.ones((len(p), 1), dtype=bool), axis=1)  # of equal probabilities
    last = np.minimum.accumulate(np.where(is_last, np.arange(p.shape[1]), p.shape[1])[:, ::-1], axis=1)[:, ::-1]
    is_known, has = truth != UNKNOWN_LABEL, truth == 1

    def precisions(counts: npt.NDArray[Any]) -> FloatArray:
        drawn = counts[order] * is_known
        right = np.cumsum(drawn * has, axis=1)
        precision = np.take_along_axis(ratio(right, np.cumsum(drawn, axis=1)), last, axis=1)
        found = np.full(len(outcomes.labels), np.nan)
        found[occurs] = ratio(np.nansum(drawn * has * precision, axis=1), right[:, -1])
        return found

    return precisions


def confusion_counts(outcomes: TaskOutcomes) -> npt.NDArray[np.int64]:
    """How often each label (row) was taken for each label (column): (num_labels, num_labels), known rows only."""
    known, size = outcomes.known(), len(outcomes.labels)
    cells = known.references.astype(np.int64) * size + known.predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def ratio(numerators: Any, denominators: Any) -> FloatArray:
    """NaN where nothing is counted."""
    result = np.full(np.broadcast(numerators, denominators).shape, np.nan)
    np.divide(numerators, denominators, out=result, where=np.greater(denominators, 0))
    return result


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is there; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def calibration_bins(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """`count`, mean `confidence` and `accuracy` of each confidence bin that holds a painting, from low to high."""
    bins = np.minimum((confidences * NUM_CALIBRATION_BINS).astype(np.int64), NUM_CALIBRATION_BINS - 1)
    by_bin = pd.DataFrame({"confidence": confidences, "accuracy": correct}, dtype=np.float64).groupby(bins)
    return by_bin.mean().assign(count=by_bin.size())


def calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equally wide bins.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3; 15 bins by its section 5.
    """
    bins = calibration_bins(confidences, correct)
    return float(np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["count"]))


def row_scores(outcomes: TaskOutcomes | SeveralOutcomes) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """By name the scores that are one sum over the rows (rows,) divided by another: accuracy, and those of periods.

    Distances are counted in years, because a period too rare for the vocabulary still lies between its neighbours.
    A dated truth that was answered `UNK` is wrong within one period, and left out of the errors.
    """
    is_known = outcomes.is_known
    scores: dict[str, Any] = {"accuracy": (outcomes.correct, is_known)}
    if isinstance(outcomes, SeveralOutcomes):
        true, answered = outcomes.references == 1, outcomes.predictions & (outcomes.references != UNKNOWN_LABEL)
        scores["micro_f1"] = 2 * (true & answered).sum(axis=1), true.sum(axis=1) + answered.sum(axis=1)
    elif (scale := outcomes.scale) is not None:
        true, answers = outcomes.references * is_known, outcomes.predictions
        in_steps = np.abs(scale.steps[answers] - np.where(is_known, scale.steps[true], np.nan))
        in_units = np.abs(scale.positions[answers] - scale.positions[true])
        has_place, is_placed = is_known & ~np.isnan(scale.steps[true]), ~np.isnan(in_steps)
        # Half a step of slack keeps one period one period where lengths differ by a year.
        scores[f"within_one_{scale.step}"] = (has_place & (in_steps < 1.5), has_place)
        scores[f"mean_absolute_error_{scale.step}s"] = (np.where(is_placed, in_steps, 0), is_placed)
        if scale.unit:
            scores[f"mean_absolute_error_{scale.unit}"] = (np.where(is_placed, in_units, 0), is_placed)
    return scores


def score_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    """Scores as nested in results.json: `num_rows`, `tasks`, `mean_accuracy`, `mean_macro_f1` and `exact_match`.

    Means are over the tasks that have a known label; several labels of which none is true or answered have no F1 (0
    where no other task has one). `exact_match` is over the rows where every task has a label.
    """
    tasks = {name: score_task(outcomes.task(name)) for name in outcomes.task_names}
    scored = [scores for scores in tasks.values() if scores["num_rows"]]
    if not scored:
        raise ValueError(
            f"Got {outcomes.num_rows} rows without a single known label for {outcomes.task_names}. At least one is "
            "needed to score. Evaluate a labelled split, or call predict instead."
        )
    is_right, is_known = exact_matches(outcomes)
    macro_f1 = [scores["macro_f1"] for scores in scored if scores["macro_f1"] is not None]
    return {
        "num_rows": outcomes.num_rows,
        "tasks": tasks,
        "mean_accuracy": float(np.mean([scores["accuracy"] for scores in scored])),
        "mean_macro_f1": float(np.mean(macro_f1 or [0.0])),
        "exact_match": float(is_right.sum() / is_known.sum()) if is_known.any() else None,
    }


def exact_matches(outcomes: Outcomes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which paintings (rows,) have every label known and right, and which have every label known."""
    columns = [outcomes.task(name) for name in outcomes.task_names]
    is_known = np.all([column.is_known for column in columns], axis=0)
    return np.all([column.correct for column in columns], axis=0) & is_known, is_known


def flatten_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Nested scores as `{task}_{score}` and `mean_*`; holes and per-label scores are left out."""
    flat = {f"{task}_{name}": value for task, found in scores["tasks"].items() for name, value in found.items()}
    return {name: value for name, value in (flat | dict(scores)).items() if isinstance(value, int | float)}


def compute_metrics_for(tasks: Sequence[Mapping[str, Any]]) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for the Trainer and a model's `config.tasks`: `type_accuracy`, `mean_accuracy` and so on."""

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        if not isinstance(logits, Mapping):
            got = f"Got predictions of type {type(logits).__name__}, where a mapping from task to logits is needed"
            raise ValueError(f"{got}. List the model's other outputs in config.keys_to_ignore_at_inference.")
        if broken := [task["name"] for task in tasks if not np.isfinite(logits[task["name"]]).all()]:
            raise ValueError(
                f"Got NaN or infinite logits for {broken}. Finite numbers are needed to score. The training has "
                "diverged: lower the learning rate, or look for broken pictures in the data."
            )
        references = np.asarray(prediction.label_ids).reshape(len(prediction.label_ids), -1)
        return flatten_scores(score_outcomes(Predictions([], dict(logits), references, tasks).outcomes()))

    return compute_metrics


def check_metric_name(
    metric: str,
    tasks: Sequence[Mapping[str, Any]],
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]],
    validation_sets: Iterable[str] = (),
) -> None:
    """Raise ValueError for a `metric_for_best_model` that no validation will have."""
    moduli = [[2] * len(task["labels"]) if is_multi_label(task) else [len(task["labels"])] for task in tasks]
    labels = np.arange(8)[:, None] % np.concatenate(moduli)  # whatever a task has, some row has a label of it
    logits = {task["name"]: np.eye(8, len(task["labels"])) for task in tasks}
    known = {"loss", *compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
    known = {f"{name}_{metric}" for name in validation_sets for metric in known} or known
    if (name := metric.removeprefix("eval_")) not in known:
        raise ValueError(
            f"metric_for_best_model is {name!r}, which validation does not compute. Allowed are {sorted(known)}. Set "
            "one of them."
        )


def bootstrap_intervals(outcomes: Outcomes, *, num_resamples: int = NUM_RESAMPLES) -> dict[str, list[float]]:
    """95 % intervals `[low, high]` by the flat names of scores, such as `type_accuracy`; none for a score of None.

    Source: percentile bootstrap, Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    (resampled,) = resampled_scores([outcomes], num_resamples=num_resamples)
    return {name: interval_of(values) for name, values in resampled.items() if not np.isnan(values).all()}


def scores_with_intervals(outcomes: Outcomes) -> dict[str, Any]:
    """What `score_outcomes` gives, with the `intervals` of each task's scores and of those over all tasks."""
    scores, intervals = score_outcomes(outcomes), bootstrap_intervals(outcomes)
    for task, found in scores["tasks"].items():
        spans = {name: intervals[f"{task}_{name}"] for name in found if f"{task}_{name}" in intervals}
        found |= {"intervals": spans} if spans else {}
    return scores | {"intervals": {name: intervals[name] for name in scores if name in intervals}}


def interval_of(values: npt.NDArray[np.float64]) -> list[float]:
    """The middle 95 % of resampled values; NaN is left out."""
    return list(map(float, np.nanpercentile(values, [2.5, 97.5])))


def resampled_scores(models: list[Outcomes], *, num_resamples: int = NUM_RESAMPLES) -> list[dict[str, FloatArray]]:
    """For each model its scores (num_resamples,) by flat name; all models see the same draws of the same paintings.

    Drawn with replacement, as multinomial counts of the distinct combinations of truths and predictions: the same
    distribution at a fraction of the cost.
    """
    names = models[0].task_names
    distinct, counts = models, np.ones(models[0].num_rows, dtype=np.int64)
    if models[0].single() == names:  # of several labels hardly two rows are equal
        columns = [models[0].task(name).references for name in names]
        columns += [model.task(name).predictions for model in models for name in names]
        rows = pd.DataFrame(np.stack(columns, axis=1)).reset_index().groupby([*range(len(columns))])["index"]
        distinct, counts = [model.select(rows.first().to_numpy()) for model in models], rows.size().to_numpy()
    scorers, generator = [_flat_scores(outcomes, counts) for outcomes in distinct], np.random.default_rng(0)
    # As many draws at a time as fit: one, for a million paintings.
    size = max(1, LARGEST_TABLE // (len(counts) + sum(len(task["labels"]) for task in models[0].tasks)))
    sizes = (min(size, num_resamples - start) for start in range(0, num_resamples, size))
    draws = (generator.multinomial(counts.sum(), counts / counts.sum(), size) for size in sizes)
    found = zip(*([scores(drawn) for scores in scorers] for drawn in draws), strict=True)
    return [{name: np.concatenate([one[name] for one in scores]) for name in scores[0]} for scores in found]


def _flat_scores(outcomes: Outcomes, counts: npt.NDArray[Any]) -> DrawnScores:
    """All that `mean_scores` gives by task, the means over the tasks, and `exact_match`."""
    by_task = {name: mean_scores(outcomes.task(name), counts) for name in outcomes.task_names}
    is_right, is_known = exact_matches(outcomes)

    def scores(drawn: npt.NDArray[Any]) -> dict[str, FloatArray]:
        found = {f"{task}_{name}": value for task, of in by_task.items() for name, value in of(drawn).items()}
        for score in ("accuracy", "macro_f1"):
            found[f"mean_{score}"] = nan_mean(np.stack([found[f"{task}_{score}"] for task in by_task], axis=-1))
        return found | {"exact_match": ratio(drawn @ is_right, drawn @ is_known)}

    return scores
