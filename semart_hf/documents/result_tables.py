"""Tables and sentences of one results.json, for the report, the model's card and the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from semart_hf.catalogue.schema import UNKNOWN
from semart_hf.evaluation.retrieval import DEPTHS, WAYS

from .table import DASH, NOT_MEASURED, Cell, Table, number, percent

_NAMES = {
    "accuracy": "accuracy %",
    "balanced_accuracy": "balanced %",
    "macro_f1": "macro F1 %",
    "weighted_f1": "weighted F1 %",
    "top_3_accuracy": "top 3 %",
    "log_loss": "log loss",
    "brier": "Brier",
    "expected_calibration_error": "calibration error",
}
SHORT = ("accuracy", "macro_f1", "weighted_f1")
#: Of a table of labels.
MOST_ROWS = 500
MINIATURE_NOTICE = (
    "This model was trained on the painted miniature: its figures say nothing of real paintings, which it has never "
    "seen."
)
#: What the views of results.json are called in documents.
VIEWS = {
    "image+text": "picture and text",
    "image": "picture alone",
    "text": "text alone",
    "image+masked text": "picture, and text without label words",
    "masked text": "text without label words",
}


def score_cell(scores: Mapping[str, Any], name: str, missing: str = NOT_MEASURED) -> Cell:
    """A score in percent with its interval."""
    return percent(scores.get(name), scores.get("intervals", {}).get(name), missing)


def score_table(results: Mapping[str, Any], columns: Sequence[str] = tuple(_NAMES)) -> Table:
    """A row a task and the mean, with 95 % intervals, and accuracy without `UNK` last."""
    rows: list[list[Cell | str | int]] = []
    for task, scores in results["tasks"].items():
        missing = NOT_MEASURED if scores["num_rows"] else "no label"
        cells = [
            score_cell(scores, name, missing) if "%" in _NAMES[name] else number(scores.get(name), missing=missing)
            for name in columns
        ]
        rows.append([task, scores["num_rows"], *cells, score_cell(scores.get("without_unk", {}), "accuracy", missing)])
    means = {name: score_cell(results, f"mean_{name}") for name in ("accuracy", "macro_f1")}
    header = ["task", "paintings", *(_NAMES[name] for name in columns), f"accuracy without {UNKNOWN} %"]
    return Table(header, rows, total=["mean", "", *(means.get(name, "") for name in columns), ""])


def modality_table(results: Mapping[str, Any]) -> Table:
    """Accuracy of each task by what the model was shown, with the best reachable below where it is known."""
    tasks, rows = list(results["tasks"]), list[list[Cell | str]]()
    for modality, scored in results.get("modalities", {}).items():
        cells = [score_cell(scored["tasks"].get(task, {}), "accuracy") for task in tasks]
        rows.append([VIEWS[modality], *cells, score_cell(scored, "mean_accuracy")])
        if "ceiling" in scored:
            rows.append(["– best reachable", *(percent(scored["ceiling"].get(task)) for task in (*tasks, "mean"))])
    return Table(["accuracy %, shown", *tasks, "mean"], rows)


def retrieval_table(retrieval: Mapping[str, Any]) -> Table:
    """Recall and median rank of both ways of search, and below them chance, the best reachable and the published."""
    names, rows = [f"recall_at_{depth}" for depth in DEPTHS], list[list[Cell | str]]()
    for way, words in zip(WAYS, ("a picture by its text", "a text by its picture"), strict=True):
        found = retrieval[way]
        low, high = found["intervals"]["median_rank"]
        middle = Cell(f"{found['median_rank']:g}", f"{low:g}–{high:g}")
        rows.append([words, *(score_cell(found, name) for name in names), middle])
        others = {"by chance": found["chance"], "best reachable": found.get("ceiling")}
        others["best published, on SemArt"] = retrieval.get("published", {}).get(way)
        for kind, scores in others.items():
            if scores:
                median = f"{scores['median_rank']:g}" if "median_rank" in scores else DASH
                rows.append([f"– {kind}", *(percent(scores.get(name), missing=DASH) for name in names), median])
    recalls = [f"within the first {depth} %" for depth in DEPTHS]
    return Table([f"among {retrieval['num_rows']:,} paintings", *recalls, "median rank"], rows)


def retrieval_words(retrieval: Mapping[str, Any]) -> str:
    """How search was measured, and whose the published figure is."""
    words = (
        "Found among the paintings that have a picture and a text; others with an equal text do not count as wrong."
    )
    return words + (f" Published: {retrieval['published']['source']}." if "published" in retrieval else "")


def label_table(per_label: Mapping[str, Mapping[str, float]]) -> Table:
    """Support, precision, recall and F1 of each label; of several labels also average precision and threshold."""
    columns = {"precision": "precision %", "recall": "recall %", "f1": "F1 %"}
    if any("threshold" in found for found in per_label.values()):
        columns |= {"average_precision": "average precision %", "threshold": "threshold"}
    frequent = {*sorted(per_label, key=lambda label: -per_label[label]["support"])[:MOST_ROWS]}
    rows = list[list[Cell | str | int]]()
    for label in [label for label in per_label if label in frequent]:
        one = per_label[label]
        cells = [number(one[name]) if name == "threshold" else percent(one[name], missing=DASH) for name in columns]
        rows.append([label, int(one["support"]), *cells])
    note = f"The {MOST_ROWS} labels with the most paintings, of {len(per_label):,}; results.json has all."
    return Table(["label", "paintings", *columns.values()], rows, notes=[note] * (len(per_label) > MOST_ROWS))


def task_notes(task: str, scores: Mapping[str, Any]) -> list[str]:
    """What to know of one task's scores: a single true label, several labels a painting, how far dates are off."""
    if not scores["num_rows"]:
        return [f"No painting has a known {task}; it is left out of the mean."]
    notes = []
    if "only_label" in scores:
        notes.append(
            f"Every painting with a known {task} is {scores['only_label']}: these scores do not say whether the model "
            "tells the labels apart."
        )
    if scores.get("mean_average_precision") is not None:
        names = ("mean_average_precision", "micro_f1", "macro_f1", "accuracy")
        mean, micro, macro, accuracy = (percent(scores[name]).text for name in names)
        notes.append(
            f"{task}, of which a painting has several: mean average precision {mean} %, micro F1 {micro} %, macro F1 "
            f"{macro} %; for {accuracy} % of the paintings every label is right, the accuracy of the tables."
        )
    if step := next((name.removeprefix("within_one_") for name in scores if name.startswith("within_one_")), None):
        notes.append(f"{task}: {_distance_words(step, scores)}")
    return notes


def _distance_words(step: str, scores: Mapping[str, Any]) -> str:
    """How far the answers of an ordered task are off."""
    errors = {name: error for name, error in scores.items() if name.startswith("mean_absolute_error_")}
    error = errors.pop(f"mean_absolute_error_{step}s", None)
    if scores[f"within_one_{step}"] is None or error is None:
        return f"No painting has a {'date' if step == 'period' else 'label with a place'} to measure from."
    units = {name.removeprefix("mean_absolute_error_"): value for name, value in errors.items() if value is not None}
    others = "".join(f", {value:.0f} {unit}" for unit, value in units.items())
    verb = "are dated to" if step == "period" else "get"
    near = percent(scores[f"within_one_{step}"]).text
    return f"{near} % {verb} the right {step} or the one beside it. The mean error is {error:.2f} {step}s{others}."


def calibration_table(calibration: Mapping[str, Any]) -> Table:
    """The temperature of each task, and what it changed."""
    columns = [(when, name) for name in ("log_loss", "expected_calibration_error") for when in ("before", "after")]
    rows = [
        [task, number(temperature, 2), *(number(calibration[when].get(task, {}).get(name)) for when, name in columns)]
        for task, temperature in calibration["temperatures"].items()
    ]
    return Table(["task", "temperature", "log loss before", "after", "calibration error before", "after"], rows)


def threshold_table(thresholds: Mapping[str, Any]) -> Table:
    """The lowest confidence at which so many answers are right, and what it gives on the scored split."""
    rows = [
        [task, "never reached", "–", "–"]
        if found is None
        else [task, number(found["min_confidence"]), percent(found["coverage"]), percent(found["accuracy"])]
        for task, found in thresholds["tasks"].items()
    ]
    return Table(["task", "min_confidence", "answered %", "of these right %"], rows)


def result_notes(results: Mapping[str, Any]) -> list[str]:
    """What to know of the results: pictures that could not be read, what flatters them, and a miniature's model."""
    is_miniature = (results.get("training_data") or {}).get("is_painted_miniature")
    notes = [unreadable_words(results), unseen_words(results), MINIATURE_NOTICE if is_miniature else ""]
    if (split := results.get("split")) == results.get("calibration", {}).get("fitted_on", ""):
        notes.append(
            f"The temperatures were fitted on {split}, the split that is scored here, which flatters the log loss and "
            "the calibration error; fit them on another: --calibrate validation."
        )
    return [note for note in notes if note]


def unseen_words(results: Mapping[str, Any]) -> str:
    """Which share of the rows has a value that train has, and the mean accuracy on the others; empty if not asked."""
    if not (found := results.get("unseen")):
        return ""
    by, num_rows, seen = found["by"], results["num_rows"], found["num_seen"]
    words = (
        f"Of {num_rows:,} paintings, {seen:,} ({percent(seen / num_rows)} %) have a known {by}: one that is in train; "
        f"{found['num_without']:,} have no {by}."
    )
    if "mean_accuracy" not in found:
        return f"{words} None with an unseen {by} has a label to score."
    mean = score_cell(found, "mean_accuracy")
    return (
        f"{words} On the {found['num_rows']:,} with an unseen {by} the mean accuracy is {mean.text} % (95 % interval "
        f"{mean.small})."
    )


def unreadable_words(results: Mapping[str, Any]) -> str:
    """Which pictures could not be read; empty where all could."""
    if not (found := results.get("unreadable_pictures")):
        return ""
    names = ", ".join(entry["row_id"] for entry in found[:5]) + (" and others" if len(found) > 5 else "")
    return (
        f"{len(found):,} picture{'s' * (len(found) > 1)} could not be read: {names}. These paintings were judged by "
        "their text; without one they are left out of the scores. results.json says what is wrong with each."
    )
