"""Scores by task and over all tasks, nested as in results.json, their intervals, and the Trainer's `compute_metrics`.

A score that cannot be computed is None: no row with a known label, or no probabilities where one is needed.

Intervals are of draws of paintings with replacement: multinomial counts for the distinct combinations of truths and
predictions, the same distribution at a fraction of the cost. Macro scores are means over the classes of the whole
split in every draw. A class that a draw lacks keeps its score on the whole split: to leave it out, or to count it as
0, would move all draws to one side.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from transformers import EvalPrediction

from semart_hf.catalogue.schema import UNKNOWN
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .outcomes import Outcomes, SeveralOutcomes, TaskOutcomes, probabilities_of

FloatArray = npt.NDArray[np.float64]

NUM_CALIBRATION_BINS = 15
NUM_RESAMPLES = 1000
LABEL_SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")


def score_several(outcomes: SeveralOutcomes) -> dict[str, Any]:
    """Every score of a task with several labels over the rows of which a label is known.

    `accuracy` is the share of paintings whose every known label is right, as in scikit-learn. F1 is that of the labels
    over their thresholds. Log loss, Brier score and calibration are of all known pairs of a painting and a label.
    """
    known, num_rows = outcomes.known(), int(outcomes.is_known.sum())
    names = ("accuracy", "macro_f1", "weighted_f1", "micro_f1", "mean_average_precision")
    if not num_rows:
        return {"num_rows": 0, **dict.fromkeys(names)}
    counts, precisions = class_counts(known), average_precisions(known)(np.ones(num_rows))
    found = {name: values for name, values in mean_class_scores(counts[None]).items() if name in names}
    ratios = {name: ratio(*map(np.sum, pair)) for name, pair in row_scores(known).items()}
    found |= ratios | {"mean_average_precision": nan_mean(precisions)}
    values = {name: float(np.squeeze(found[name])) for name in names}
    scores: Any = {"num_rows": num_rows} | {name: None if np.isnan(value) else value for name, value in values.items()}
    if known.has_probabilities:
        is_known = known.references != UNKNOWN_LABEL
        truth, p = known.references[is_known] == 1, known.probabilities[is_known].astype(np.float64)
        likelihood = np.clip(np.where(truth, p, 1 - p), np.finfo(np.float64).eps, 1)
        scores |= {"log_loss": float(-np.log(likelihood).mean()), "brier": float(((p - truth) ** 2).mean())}
        scores["expected_calibration_error"] = calibration_error(p, truth)
    means = [None if np.isnan(precision) else precision for precision in precisions.tolist()]
    scores["per_label"] = _per_label(known, counts, average_precision=means, threshold=known.thresholds.tolist())
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
        found = np.full(outcomes.num_labels, np.nan)
        found[occurs] = ratio(np.nansum(drawn * has * precision, axis=1), right[:, -1])
        return found

    return precisions


def score_task(outcomes: TaskOutcomes | SeveralOutcomes) -> dict[str, Any]:
    """Every score of one task over the rows whose label is known.

    `without_unk` repeats the label scores over the rows whose true label is not `UNK`, which the literature scores as
    a class. `only_label` is there where all rows have one label: such scores say little.
    """
    if isinstance(outcomes, SeveralOutcomes):
        return score_several(outcomes)
    known = outcomes.known()
    scores = _label_scores(known)
    if not scores["num_rows"]:
        return scores
    if known.has_probabilities:
        scores |= {
            "top_3_accuracy": float((known.ranks < 3).mean()),
            "log_loss": float(known.losses.mean(dtype=np.float64)),
            "brier": float(known.brier.mean(dtype=np.float64)),  # Brier's own (1950): between 0 and 2
            "expected_calibration_error": calibration_error(known.confidences, known.correct),
        }
    for name, (numerators, denominators) in row_scores(known).items():
        if name != "accuracy":
            scores[name] = float(numerators.sum() / denominators.sum()) if denominators.any() else None
    if UNKNOWN in known.labels:
        scores["without_unk"] = _label_scores(known.select(known.references != known.labels.index(UNKNOWN)))
    if known.labels:
        scores["per_label"] = _per_label(known, class_counts(known))
        present = np.unique(known.references)
        if len(present) == 1:
            scores["only_label"] = known.labels[present[0]]
    return scores


def _per_label(known: TaskOutcomes | SeveralOutcomes, counts: npt.NDArray[Any], **more: list[Any]) -> dict[str, Any]:
    """By label its precision, recall, F1 and support, and further columns."""
    precision, recall, f1 = (np.nan_to_num(found).tolist() for found in class_scores(counts))
    columns = {"precision": precision, "recall": recall, "f1": f1, "support": counts[1].tolist(), **more}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return dict(zip(known.labels, rows, strict=True))


def _label_scores(known: TaskOutcomes) -> dict[str, Any]:
    if not (num_rows := len(known.references)):
        return {"num_rows": 0, **dict.fromkeys(LABEL_SCORES)}
    found = {"accuracy": known.correct.mean(), **mean_class_scores(class_counts(known)[None])}
    return {"num_rows": num_rows, **{name: float(np.squeeze(found[name])) for name in LABEL_SCORES}}


def confusion_counts(outcomes: TaskOutcomes) -> npt.NDArray[np.int64]:
    """How often each label (row) was taken for each label (column): (num_labels, num_labels), known rows only."""
    known, size = outcomes.known(), outcomes.num_labels
    cells = known.references.astype(np.int64) * size + known.predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def class_counts(outcomes: TaskOutcomes | SeveralOutcomes) -> npt.NDArray[np.int64]:
    """Right answers, true labels and answers of each class (3, num_labels), known ones only."""
    return np.asarray(_class_indicators(outcomes).sum(axis=0), dtype=np.int64).reshape(3, -1)


def class_scores(counts: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 of class counts (..., 3, num_labels); NaN for a class that does not occur."""
    right, true, answered = np.moveaxis(counts, -2, 0)
    return ratio(right, answered), ratio(right, true), ratio(2 * right, true + answered)


def mean_class_scores(counts: npt.NDArray[Any]) -> dict[str, FloatArray]:
    """Means over the classes (draws,) of the class counts (draws, 3, num_labels) of draws from a split.

    The last draw is the whole split: a class that another draw lacks has its score there. The labels that count are
    the ones that occur, as truth or as answer: scikit-learn's default.
    """
    _, recall, f1 = (np.where(np.isnan(scores), scores[-1:], scores) for scores in class_scores(counts))
    support = counts[:, 1]
    return {
        "balanced_accuracy": nan_mean(recall.T),
        "macro_f1": nan_mean(f1.T),
        "weighted_f1": ratio(np.nansum(f1 * support, axis=1), support.sum(axis=1)),
    }


def ratio(numerators: npt.NDArray[Any], denominators: npt.NDArray[Any]) -> FloatArray:
    """NaN where nothing is counted."""
    result = np.full(np.broadcast(numerators, denominators).shape, np.nan)
    np.divide(numerators, denominators, out=result, where=denominators > 0)
    return result


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is there; NaN where nothing is."""
    return ratio(np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0))


def calibration_bins(
    confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the paintings in each confidence bin that holds any, from low to high."""
    bins = np.minimum((confidences * NUM_CALIBRATION_BINS).astype(np.int64), NUM_CALIBRATION_BINS - 1)
    found = []
    for chosen in (bins == index for index in np.unique(bins)):
        confidence, accuracy = confidences[chosen].mean(dtype=np.float64), correct[chosen].mean()
        found.append({"count": int(chosen.sum()), "confidence": float(confidence), "accuracy": float(accuracy)})
    return found


def calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equally wide bins.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3; 15 bins by its section 5.
    """
    bins = calibration_bins(confidences, correct)
    return float(sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(confidences))


def row_scores(outcomes: TaskOutcomes | SeveralOutcomes) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """By name the scores that are one sum over the rows (rows,) divided by another: accuracy, and those of periods.

    Distances are counted in years, because a period too rare for the vocabulary still lies between its neighbours.
    A dated truth that was answered `UNK` is wrong within one period, and left out of the errors.
    """
    is_known = outcomes.is_known
    if isinstance(outcomes, SeveralOutcomes):
        true, answered = outcomes.references == 1, outcomes.predictions & (outcomes.references != UNKNOWN_LABEL)
        in_both = 2 * (true & answered).sum(axis=1)
        micro = (in_both, true.sum(axis=1) + answered.sum(axis=1))
        return {"accuracy": (is_known & outcomes.correct, is_known), "micro_f1": micro}
    scores: dict[str, Any] = {"accuracy": (is_known & outcomes.correct, is_known)}
    scale = outcomes.scale
    if scale is not None:
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

    Means are over the tasks that have a known label; `exact_match` is over the rows where every task has one.
    """
    tasks = {name: score_task(outcomes.task(name)) for name in outcomes.task_names}
    scored = [scores for scores in tasks.values() if scores["num_rows"]]
    if not scored:
        raise ValueError(
            f"Got {outcomes.num_rows} rows without a single known label for {outcomes.task_names}. At least one is "
            "needed to score. Evaluate a labelled split, or call predict instead."
        )
    is_right, is_known = exact_matches(outcomes)
    return {
        "num_rows": outcomes.num_rows,
        "tasks": tasks,
        "mean_accuracy": float(np.mean([scores["accuracy"] for scores in scored])),
        "mean_macro_f1": float(np.mean([scores["macro_f1"] for scores in scored])),
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
    names = [task["name"] for task in tasks]

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        if not isinstance(logits, Mapping):
            raise ValueError(
                f"Got predictions of type {type(logits).__name__}. A mapping from task to logits is needed. List the "
                "model's other outputs in config.keys_to_ignore_at_inference."
            )
        broken = [name for name in names if not np.isfinite(logits[name]).all()]
        if broken:
            raise ValueError(
                f"Got NaN or infinite logits for {broken}. Finite numbers are needed to score. The training has "
                "diverged: lower the learning rate, or look for broken pictures in the data."
            )
        outcomes = Outcomes(tasks)
        num_columns = max(part.stop for part in label_columns(tasks).values())
        references = np.asarray(prediction.label_ids).reshape(-1, num_columns)
        outcomes.add({task["name"]: probabilities_of(logits[task["name"]], task) for task in tasks}, references)
        return flatten_scores(score_outcomes(outcomes))

    return compute_metrics


def check_metric_name(
    metric: str,
    tasks: Sequence[Mapping[str, Any]],
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]],
    validation_sets: Iterable[str] = (),
) -> None:
    """Raise ValueError for a `metric_for_best_model` that no validation will have."""
    size = min(8, max(len(task["labels"]) for task in tasks))
    logits = {task["name"]: np.eye(size, len(task["labels"])) for task in tasks}
    columns = [
        np.eye(size, len(task["labels"]), dtype=np.int64)
        if is_multi_label(task)
        else np.arange(size)[:, None] % len(task["labels"])
        for task in tasks
    ]
    labels = np.concatenate(columns, axis=1)
    known = {"loss", *compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
    known = {f"{name}_{metric}" for name in validation_sets for metric in known} or known
    name = metric.removeprefix("eval_")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ValueError(
            f"metric_for_best_model is {name!r}, which validation does not compute. "
            f"{'Did you mean ' + ', '.join(close) + '? ' if close else ''}There are, by task, e.g. type_accuracy and "
            "type_macro_f1, and over the tasks mean_accuracy, mean_macro_f1 and loss; with several validation sets "
            "each has its set's name before it. Set one of them."
        )


def bootstrap_intervals(
    outcomes: Outcomes, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals `[low, high]` by the flat names of scores, such as `type_accuracy`; none for a score of None.

    Source: percentile bootstrap, Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    (resampled,) = resampled_scores([outcomes], num_resamples=num_resamples, seed=seed)
    return {name: interval_of(values) for name, values in resampled.items() if not np.isnan(values).all()}


def scores_with_intervals(outcomes: Outcomes, *, num_resamples: int = NUM_RESAMPLES) -> dict[str, Any]:
    """What `score_outcomes` gives, with the `intervals` of each task's scores and of those over all tasks."""
    scores = score_outcomes(outcomes)
    intervals = bootstrap_intervals(outcomes, num_resamples=num_resamples)
    for task, found in scores["tasks"].items():
        spans = {name: intervals[f"{task}_{name}"] for name in found if f"{task}_{name}" in intervals}
        found |= {"intervals": spans} if spans else {}
    return scores | {"intervals": {name: intervals[name] for name in scores if name in intervals}}


def interval_of(values: npt.NDArray[np.float64]) -> list[float]:
    """The middle 95 % of resampled values; NaN is left out."""
    return list(map(float, np.nanpercentile(values, [2.5, 97.5])))


def resampled_scores(
    models: list[Outcomes], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[dict[str, npt.NDArray[np.float64]]]:
    """For each model its scores (num_resamples,) by flat name; all models see the same draws of the same paintings."""
    names = models[0].task_names
    distinct, counts = models, np.ones(models[0].num_rows, dtype=np.int64)
    if models[0].single() == names:  # of several labels hardly two rows are equal
        columns = [models[0].task(name).references for name in names]
        columns += [model.task(name).predictions for model in models for name in names]
        combinations, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
        references, *predictions = np.split(combinations, len(models) + 1, axis=1)
        distinct = [Outcomes(model.tasks) for model in models]
        for outcomes, answers in zip(distinct, predictions, strict=True):
            outcomes.add(answers, references)
    # By flat name the scores that are one sum over the rows divided by another.
    ratios = [{"exact_match": exact_matches(outcomes)} for outcomes in distinct]
    for found, outcomes in zip(ratios, distinct, strict=True):
        for name in names:
            found |= {f"{name}_{score}": pair for score, pair in row_scores(outcomes.task(name)).items()}
    parts = [sparse.csr_array(np.stack(pair, axis=1, dtype=float)) for found in ratios for pair in found.values()]
    for indicators in (_class_indicators(outcomes.task(name)) for outcomes in distinct for name in names):
        occurs = np.append(True, np.asarray(np.reshape(indicators.sum(axis=0), (3, -1)).any(axis=0))[1:])
        parts.append(indicators[:, np.tile(occurs, 3)])  # of thousands of labels a split has few
    table = sparse.hstack(parts).T.tocsr()
    sums = np.empty((num_resamples + 1, table.shape[0]))
    generator = np.random.default_rng(seed)
    several = [name for name in names if name not in models[0].single()]
    by_label = [(name, average_precisions(one.task(name)), list[Any]()) for one in distinct for name in several]
    # One draw at a time: all of them together would not fit for a million paintings. The last is the whole split.
    for at in range(num_resamples + 1):
        drawn = generator.multinomial(counts.sum(), counts / counts.sum()) if at < num_resamples else counts
        sums[at] = table @ drawn
        for _, precisions, drawn_precisions in by_label:
            drawn_precisions.append(precisions(drawn))
    pieces = iter(np.split(sums, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1))
    scores = [{name: ratio(*next(pieces)[:-1].T) for name in found} for found in ratios]
    for place, (name, _, values) in enumerate(by_label):
        whole = np.where(np.isnan(values), values[-1], values)[:-1]
        scores[place // len(several)][f"{name}_mean_average_precision"] = nan_mean(whole.T)
    for resampled in scores:
        for name in names:
            by_class = mean_class_scores(next(pieces).reshape(num_resamples + 1, 3, -1))
            resampled |= {f"{name}_{score}": values[:-1] for score, values in by_class.items()}
        for score in ("accuracy", "macro_f1"):
            resampled[f"mean_{score}"] = nan_mean(np.stack([resampled[f"{name}_{score}"] for name in names]))
    return scores


def _class_indicators(outcomes: TaskOutcomes | SeveralOutcomes) -> sparse.csr_array:
    """What each row adds to the class counts: (rows, 3 * num_labels)."""
    if isinstance(outcomes, SeveralOutcomes):
        has, is_answer = outcomes.references == 1, outcomes.predictions & (outcomes.references != UNKNOWN_LABEL)
        return sparse.csr_array(np.concatenate([has & is_answer, has, is_answer], axis=1)).astype(float)
    known, rows, size = outcomes.known(), np.flatnonzero(outcomes.is_known), outcomes.num_labels
    true, answered, is_right = known.references.astype(np.int64), known.predictions.astype(np.int64), known.correct
    rows = np.concatenate([rows[is_right], rows, rows])
    columns = np.concatenate([true[is_right], size + true, 2 * size + answered])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(outcomes.references), 3 * size))
