"""Tables and sentences of one results.json, for the report, the model's card and the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from semart_hf.catalogue.schema import UNKNOWN

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
_MODALITIES = {
    "image+text": "picture and text",
    "image": "picture alone",
    "text": "text alone",
    "image+masked text": "picture, and text without label words",
    "masked text": "text without label words",
}


def score_table(results: Mapping[str, Any], columns: Sequence[str] = tuple(_NAMES)) -> Table:
    """A row a task and the mean, with 95 % intervals, and accuracy without `UNK` last."""
    rows: list[list[Cell | str | int]] = []
    for task, scores in results["tasks"].items():
        missing, spans = NOT_MEASURED if scores["num_rows"] else "no label", scores.get("intervals", {})
        cells = [
            percent(scores.get(name), spans.get(name), missing)
            if "%" in _NAMES[name]
            else number(scores.get(name), missing=missing)
            for name in columns
        ]
        without_unknown = scores.get("without_unk", {}).get("accuracy")
        rows.append([task, scores["num_rows"], *cells, percent(without_unknown, missing=missing)])
    spans = results.get("intervals", {})
    means = {
        name: percent(results.get(f"mean_{name}"), spans.get(f"mean_{name}")) for name in ("accuracy", "macro_f1")
    }
    header = ["task", "paintings", *(_NAMES[name] for name in columns), f"accuracy without {UNKNOWN} %"]
    return Table(header, rows, total=["mean", "", *(means.get(name, "") for name in columns), ""])


def modality_table(results: Mapping[str, Any]) -> Table:
    """Accuracy of each task by what the model was shown, with the best reachable below where it is known."""
    tasks = list(results["tasks"])
    rows: list[list[Cell | str]] = []
    for modality, scored in results.get("modalities", {}).items():
        found = [scored["tasks"].get(task, {}) for task in tasks]
        cells = [percent(scores.get("accuracy"), scores.get("intervals", {}).get("accuracy")) for scores in found]
        mean = percent(scored.get("mean_accuracy"), scored.get("intervals", {}).get("mean_accuracy"))
        rows.append([modality_words(modality), *cells, mean])
        if "ceiling" in scored:
            rows.append(["– best reachable", *(percent(scored["ceiling"].get(task)) for task in (*tasks, "mean"))])
    return Table(["accuracy %, shown", *tasks, "mean"], rows)


def retrieval_table(retrieval: Mapping[str, Any]) -> Table:
    """Recall and median rank of both ways of search, and below them chance, the best reachable and the published."""
    names = [name for name in retrieval["text_to_image"] if name.startswith("recall_at_")]
    rows: list[list[Cell | str]] = []
    for way, words in (("text_to_image", "a picture by its text"), ("image_to_text", "a text by its picture")):
        found = retrieval[way]
        spans, rank = found["intervals"], found["intervals"]["median_rank"]
        middle = Cell(f"{found['median_rank']:g}", f"{rank[0]:g}–{rank[1]:g}")
        rows.append([words, *(percent(found[name], spans[name]) for name in names), middle])
        others = {"by chance": found["chance"], "best reachable": found.get("ceiling")}
        others["best published, on SemArt"] = retrieval.get("published", {}).get(way)
        for kind, scores in others.items():
            if scores:
                median = f"{scores['median_rank']:g}" if "median_rank" in scores else DASH
                rows.append([f"– {kind}", *(percent(scores.get(name), missing=DASH) for name in names), median])
    recalls = [f"within the first {name.removeprefix('recall_at_')} %" for name in names]
    return Table([f"among {retrieval['num_rows']:,} paintings", *recalls, "median rank"], rows)


def retrieval_words(retrieval: Mapping[str, Any]) -> str:
    """How search was measured, and whose the published figure is."""
    words = (
        "Found among the paintings that have a picture and a text; others with an equal text do not count as wrong."
    )
    return words + (f" Published: {retrieval['published']['source']}." if "published" in retrieval else "")


def modality_words(modality: str) -> str:
    """What a modality of results.json is called in documents."""
    return _MODALITIES.get(modality, modality)


def label_table(per_label: Mapping[str, Mapping[str, float]]) -> Table:
    """Support, precision, recall and F1 of each label; of several labels also average precision and threshold."""
    scores = {
        "precision": "precision %",
        "recall": "recall %",
        "f1": "F1 %",
        "average_precision": "average precision %",
    }
    shown = [name for name in scores if any(name in found for found in per_label.values())]
    has_thresholds = "average_precision" in shown
    threshold = (lambda found: [number(found["threshold"])]) if has_thresholds else (lambda found: [])
    frequent = {*sorted(per_label, key=lambda label: -per_label[label]["support"])[:MOST_ROWS]}
    rows: list[list[Cell | str | int]] = [
        [label, int(found["support"]), *(percent(found[name], missing=DASH) for name in shown), *threshold(found)]
        for label, found in per_label.items()
        if label in frequent
    ]
    note = f"The {MOST_ROWS} labels with the most paintings, of {len(per_label):,}; results.json has all."
    header = ["label", "paintings", *(scores[name] for name in shown), *["threshold"] * has_thresholds]
    return Table(header, rows, notes=[note] if len(per_label) > MOST_ROWS else [])


def several_words(task: str, scores: Mapping[str, Any]) -> str | None:
    """What a task with several labels reaches; `None` for others."""
    if scores.get("mean_average_precision") is None:
        return None
    names = ("mean_average_precision", "micro_f1", "macro_f1", "accuracy")
    mean, micro, macro, accuracy = (percent(scores[name]).text for name in names)
    return (
        f"{task}, of which a painting has several: mean average precision {mean} %, micro F1 {micro} %, macro F1 "
        f"{macro} %; for {accuracy} % of the paintings every label is right, the accuracy of the tables."
    )


def distance_words(scores: Mapping[str, Any]) -> str | None:
    """How far the answers of an ordered task are off; `None` for others."""
    step = next((name.removeprefix("within_one_") for name in scores if name.startswith("within_one_")), None)
    if step is None:
        return None
    error = f"mean_absolute_error_{step}s"
    if scores[f"within_one_{step}"] is None or scores.get(error) is None:
        return f"No painting has a {'date' if step == 'period' else 'label with a place'} to measure from."
    units = {name.removeprefix("mean_absolute_error_"): scores[name] for name in scores if name.startswith(error[:20])}
    others = [f", {value:.0f} {unit}" for unit, value in units.items() if unit != f"{step}s" and value is not None]
    verb = "are dated to" if step == "period" else "get"
    return (
        f"{percent(scores[f'within_one_{step}']).text} % {verb} the right {step} or the one beside it. The mean error "
        f"is {scores[error]:.2f} {step}s{''.join(others)}."
    )


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
    return [
        words
        for find in (unreadable_words, unseen_words, calibration_words, training_words)
        if (words := find(results))
    ]


def unseen_words(results: Mapping[str, Any]) -> str:
    """Which share of the rows has a value that train has, and the mean accuracy on the others; empty if not asked."""
    found = results.get("unseen")
    if not found:
        return ""
    by, num_rows = found["by"], results["num_rows"]
    words = (
        f"Of {num_rows:,} paintings, {found['num_seen']:,} ({found['num_seen'] / num_rows * 100:.1f} %) have a known"
    )
    words = f"{words} {by}: one that is in train; {found['num_without']:,} have no {by}."
    if "mean_accuracy" not in found:
        return f"{words} None with an unseen {by} has a label to score."
    span = found["intervals"]["mean_accuracy"]
    return (
        f"{words} On the {found['num_rows']:,} with an unseen {by} the mean accuracy is "
        f"{found['mean_accuracy'] * 100:.1f} % (95 % interval {span[0] * 100:.1f} to {span[1] * 100:.1f})."
    )


def unreadable_words(results: Mapping[str, Any]) -> str:
    """Which pictures could not be read; empty where all could."""
    found = results.get("unreadable_pictures") or []
    if not found:
        return ""
    names = ", ".join(entry["row_id"] for entry in found[:5]) + (" and others" if len(found) > 5 else "")
    return (
        f"{len(found):,} picture{'s' * (len(found) > 1)} could not be read: {names}. These paintings were judged by "
        "their text; without one they are left out of the scores. results.json says what is wrong with each."
    )


def calibration_words(results: Mapping[str, Any]) -> str:
    """What to know of temperatures that were fitted on the split that is scored; empty for all others."""
    if results.get("calibration", {}).get("fitted_on") != results.get("split"):
        return ""
    return (
        f"The temperatures were fitted on {results['split']}, the split that is scored here, which flatters the log "
        "loss and the calibration error; fit them on another: --calibrate validation."
    )


def training_words(results: Mapping[str, Any]) -> str:
    """What to know of a model that has seen the painted miniature alone; empty for all others."""
    if not (results.get("training_data") or {}).get("is_painted_miniature"):
        return ""
    return (
        "This model was trained on the painted miniature: its figures say nothing of real paintings, which it has "
        "never seen."
    )


def single_label_words(task: str, scores: Mapping[str, Any]) -> str:
    """What to know about the scores of a task with a single true label; empty where it has several."""
    if "only_label" not in scores:
        return ""
    return (
        f"Every painting with a known {task} is {scores['only_label']}: these scores do not say whether the model "
        "tells the labels apart."
    )
