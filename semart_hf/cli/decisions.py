"""What `semart-hf train … --decisions FILE [--promote]` adds: a review's rows, and a comparison with the start."""

import hashlib
import json
import shutil
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from .command import READING, catalogue_of, load_model, source_of

#: Fields of a recipe that say nothing of a reviewed catalogue.
UNUSED = ("tasks", "text_columns", "follow_links", "max_train_rows", "streaming", "prepared_size")
# Up to which key rows choose the checkpoint.
VALIDATION_END = 0.3


def check_start(init_from: str | None, file: str | None, output_dir: Path, promotes: bool) -> None:
    """Refuse what cannot end well before anything is trained."""
    if file is None:
        raise ValueError("Got --promote without --decisions. Give the decisions whose model may replace its start.")
    if init_from is None:
        raise ValueError("Got --decisions without --init_from. Decisions improve a model: name its folder.")
    if not isinstance(file, str) or not Path(file).is_file():  # `--decisions` without a value is true
        raise ValueError(f"Got the decisions {file}, which are not there. Give CATALOGUE.decisions.sqlite3.")
    if promotes and not Path(init_from).is_dir():
        raise ValueError(f"Got --promote with --init_from {init_from}, which is no folder. Give a folder.")
    if Path(init_from).resolve() == output_dir.resolve():  # which would be replaced before it is compared
        raise ValueError(f"Got {init_from} as --init_from and as --output_dir. Two folders are needed.")


def digest_of_decisions(file: str) -> str:
    """Of the labels that were decided on, by which a training that is continued sees whether they have changed."""
    from semart_hf.collection.review import Review

    decided = [(one["row"], one["task"], one["label"]) for one in Review(Path(file)).decisions()]
    return hashlib.blake2b(json.dumps(decided).encode(), digest_size=8).hexdigest()


def decided_splits(data: Any, init_from: str, file: str, say: Any) -> Any:
    """The splits of a reviewed catalogue; a row stays in its split, whatever is decided, and `test` is held out."""
    from semart_hf.collection import labelled_rows as labelled
    from semart_hf.collection.review import Review
    from semart_hf.data.data_arguments import DataArguments
    from semart_hf.data.loading import Splits
    from semart_hf.model.configuration_semart import SemArtConfig, is_multi_label

    plain = DataArguments(data=data.data)
    if given := [name for name in UNUSED if getattr(data, name) != getattr(plain, name)]:
        allowed = "Tasks are those of --init_from, and the catalogue is read as in its review"
        raise ValueError(f"Got --decisions with {', '.join(given)}. {allowed}. Leave them out.")
    data.prepare = False
    tasks = SemArtConfig.from_pretrained(init_from).tasks
    names = [task["name"] for task in tasks]
    if all(is_multi_label(task) for task in tasks):
        problem = f"whose tasks {names} have several labels each"
        raise ValueError(f"Got --init_from {init_from}, {problem}. Give one that has a task with one label.")
    review = Review(Path(file))
    reading = Namespace(catalogue=data.data, **dict.fromkeys(READING) | review.reading)
    source = source_of(reading, catalogue_of(reading), tasks, has_suggestions=True)
    rows, num_decisions, notices = labelled.labelled_rows(source, names, review)
    for line in notices:
        say(line)
    splits, left_out = Splits(), 0
    borders = {"train": (VALIDATION_END, 1), "validation": (labelled.HELD_OUT_SHARE, VALIDATION_END)}
    borders["test"] = (0, labelled.HELD_OUT_SHARE)
    for name, (low, high) in borders.items():
        splits[name] = rows.select([place for place, key in enumerate(rows["row_key"]) if low <= key < high])
    sizes = {name: len(split) for name, split in splits.items()}
    if not all(sizes.values()):
        divided = f"{len(rows)} rows with a label or a decision, divided by a hash into {sizes}"
        raise ValueError(f"Got {divided}. Each needs some. Decide about more rows.")
    splits.tasks = labelled.tasks_with_new_labels(tasks, splits["train"], data.min_label_count)
    for name in borders:
        splits[name], num_left_out = labelled.with_known_labels(splits[name], splits.tasks)
        left_out += num_left_out
    say(f"Decisions: {num_decisions} of {file}, {sizes['test']} of {len(rows)} rows are held out")
    if left_out:
        say(f"{left_out} labels are left out, which fewer than {data.min_label_count} training rows have.")
    return splits


def compare_with_start(model: Any, processor: Any, init_from: str, rows: Any, training: Any) -> dict[str, Any]:
    """What `compare_outcomes` gives of a trained model and its start, by tasks with one label, on the same rows."""
    import numpy as np

    from semart_hf.evaluation.comparison import compare_outcomes
    from semart_hf.evaluation.outcomes import Outcomes
    from semart_hf.evaluation.predictions import predict_dataset
    from semart_hf.model.configuration_semart import is_multi_label

    start, start_processor = load_model(init_from)
    tasks = [task for task in model.config.tasks if not is_multi_label(task)]
    size = training.per_device_eval_batch_size
    new = predict_dataset(model, processor, rows, batch_size=size)
    old = predict_dataset(start, start_processor, rows.select_columns(["image", "text"]), batch_size=size)
    references = new.references[:, [model.config.label_columns[task["name"]].start for task in tasks]]
    found, answers = new.probabilities(model.config.temperatures), old.probabilities(start.config.temperatures)
    widened = {task["name"]: np.zeros((len(rows), len(task["labels"]))) for task in tasks}  # by the new labels
    for task in tasks:
        places = [task["labels"].index(label) for label in start.config.labels(task["name"])]
        widened[task["name"]][:, places] = answers[task["name"]]
    outcomes = Outcomes(tasks), Outcomes(tasks)
    outcomes[0].add({task["name"]: found[task["name"]] for task in tasks}, references, new.row_ids)
    outcomes[1].add(widened, references, new.row_ids)
    return compare_outcomes(*outcomes, names=("the new model", "its start"))


def reason_against(comparison: dict[str, Any]) -> str | None:
    """Why the first model is worse: its mean accuracy is lower, or a task's is, with a 95 % interval below zero."""
    mean = comparison["mean"]["accuracy"]
    if mean["difference"] < 0:
        return f"its mean accuracy is lower: {mean['first']:.3f} after {mean['second']:.3f}"
    for task, scores in comparison["tasks"].items():
        if "accuracy" in scores and scores["accuracy"]["interval"][1] < 0:
            return f"it is worse on {task}: {scores['accuracy']['in_words']}"
    return None


def promote(new: Path, start: Path) -> Path:
    """Put the new model in the place of its start, of which a copy is kept beside it; gives where."""
    from semart_hf.files import atomic_folder, locked

    kept = start.with_name(f"{start.name}.before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    checkpoints = shutil.ignore_patterns("checkpoint-*")
    with locked(start, "replacing a model"), atomic_folder(start, replace=True) as unfinished:
        shutil.copytree(new, unfinished, ignore=checkpoints, dirs_exist_ok=True)
        with atomic_folder(kept) as former:
            shutil.copytree(start, former, dirs_exist_ok=True)
    return kept


def conclude(comparison: dict[str, Any], new: Path, start: Path, *, promotes: bool) -> None:
    """Print the comparison, and put the new model in its start's place where that is asked for and it is not worse."""
    print("\n".join(comparison["in_words"]))
    if not promotes:
        return
    if against := reason_against(comparison):
        raise ValueError(f"Not promoted: {against}. {start} stays as it was; the new model is in {new}.")
    print(f"Promoted: {start} is the new model. The former one: {promote(new, start.absolute())}")
