"""Find labels that are probably wrong: semart-hf audit CATALOGUE --model DIR --output_dir OUT."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from semart_hf.documents.table import Table
from semart_hf.extras import optional
from semart_hf.files import atomic_file, atomic_folder, write_text

from .command import add_reading, catalogue_of, command, load_model, parser_of, print_table, source_of, usable_device

Tasks = Sequence[Mapping[str, Any]]
ByTask = Mapping[str, Any]
MOST_SHOWN = 200
EPILOG = """Under OUT lie audit.csv (all labels, most doubtful first), audit.html (the first of them with pictures),
and the catalogue with suggestions: `semart-hf app --model DIR --catalogue OUT/CATALOGUE --images PICTURES` reviews
it, in the order "labels that the model doubts". Other --field value are fields of the recipe."""


@command("audit")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("audit", EPILOG)
    add = parser.add_argument
    add("catalogue", help="CSV, TSV, JSON lines, Parquet or Excel file, or data by its folder or its name on the Hub")
    add("--model", help="folder or name on the Hub of a model that was not trained on these rows")
    add("--recipe", help="without --model: what is trained on all parts of the rows but one, for each part")
    add("--folds", type=int, default=5, help="how many parts (default: 5)")
    add("--tasks", nargs="+", metavar="TASK", help="with --recipe: its tasks (default: the recipe's, or the usual)")
    add("--output_dir", required=True, type=Path, metavar="OUT", help="a new folder for what is found")
    add("--batch_size", type=int, default=32, help="paintings at a time (default: 32)")
    add("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    add_reading(parser, fetches=False)
    options, fields = parser.parse_known_args(arguments)
    if (options.model is None) == (options.recipe is None):
        parser.error("give either --model, which has not seen these rows, or --recipe, which is trained on parts")
    if options.folds < 2:
        parser.error(f"got --folds {options.folds}: at least 2 are needed")
    if options.model is not None:
        parser.refuse(options, ("folds", "tasks"), "with --model")
    if fields and options.model is not None:
        parser.error(f"unrecognized arguments: {' '.join(fields)}")
    optional("cleanlab", "audit")  # before anything is computed
    kept = options.output_dir.with_name(f".{options.output_dir.name}.folds")  # until all is written
    with atomic_folder(options.output_dir) as folder:
        audit(options, fields, folder, kept)
    shutil.rmtree(kept, ignore_errors=True)
    print("Written:", options.output_dir)


def audit(options: argparse.Namespace, fields: list[str], folder: Path, kept: Path) -> None:
    """Write an audit into the folder; answers about finished parts are in another, from which a killed one goes on."""
    from semart_hf.catalogue.schema import SEMART_TASKS, read_tasks
    from semart_hf.collection.labelled_rows import labelled_rows, with_known_labels
    from semart_hf.data.rows import labels_of
    from semart_hf.evaluation.label_errors import find_label_errors, with_other_labels
    from semart_hf.evaluation.predictions import predict_dataset
    from semart_hf.model.configuration_semart import is_multi_label
    from semart_hf.recipes.recipe import effective_recipe, read_recipe

    catalogue, recipe = catalogue_of(options), {}
    if options.model is not None:
        model, processor = load_model(options.model)
        entries = {task["name"]: task for task in model.config.tasks if not is_multi_label(task)}
        others = [name for name in model.config.task_names if name not in entries]
    else:
        recipe = effective_recipe(read_recipe(options.recipe), fields)
        known = read_tasks(given) if (given := options.tasks or recipe.get("tasks")) else SEMART_TASKS
        others = [task.name for task in known if task.kind == "multi_label" or task.rule or task.column]
        entries = {task.name: task.entry for task in known if task.name not in others}
    if others:
        print(f"Not judged, they have several labels, or derived ones: {', '.join(others)}", file=sys.stderr)
    has_suggestions = any(f"{name}_suggested" in catalogue.columns for name in entries)
    source = source_of(options, catalogue, list(entries.values()), has_suggestions=has_suggestions)
    if absent := [name for name in entries if name not in source.label_columns]:
        print(f"Not judged, the catalogue has no column of them: {', '.join(absent)}", file=sys.stderr)
    tasks: Tasks = [entry for name, entry in entries.items() if name in source.label_columns]
    if not tasks:
        lacks = f"which lacks a column of every task with one label, {list(entries)}"
        raise ValueError(f"Got {options.catalogue}, {lacks}. Name its columns as the tasks, or give --mapping.")
    rows, _, notices = labelled_rows(source, [task["name"] for task in tasks])
    print("".join(f"{line}\n" for line in notices), end="", file=sys.stderr)
    if options.model is None:
        probabilities, tasks = out_of_fold(options, {**recipe, "tasks": tasks}, rows, kept)
    else:
        rows, num_left_out = with_known_labels(rows, tasks)
        if num_left_out:
            print(f"{num_left_out} labels that the model lacks are not judged.", file=sys.stderr)
        how: dict[str, Any] = {"batch_size": options.batch_size, "device": options.device, "show_progress": True}
        answers = predict_dataset(model, processor, rows.select_columns(["image", "text"]), **how)
        probabilities = answers.probabilities(model.config.temperatures)
    judged_names = [task["name"] for task in tasks]
    numbers = labels_of(rows.select_columns(judged_names).to_list(), tasks).numpy()
    references = dict(zip(judged_names, numbers.T, strict=True))
    judged = with_other_labels(references, {name: probabilities[name] for name in references})
    errors = {name: find_label_errors(labels, judged[name]) for name, labels in references.items()}
    ranked = ranked_labels(rows, tasks, probabilities, references, errors)
    summary = [in_words(task, references[task], one) for task, one in errors.items()]
    ranked.to_csv(folder / "audit.csv", index=False)
    write_page(folder / "audit.html", Path(options.catalogue).name, summary, ranked, rows)
    if not has_suggestions:
        places = {number: place for place, number in enumerate(rows["row"][:])}
        write_suggestions(source, folder, tasks, probabilities, places)
    shown = ranked.iloc[:10, :5].astype(str)
    print_table(Table([*shown], shown.to_numpy().tolist(), "Most doubtful labels", num_text_columns=5))
    print("\n".join(summary))


def in_words(task: str, references: Any, errors: Any) -> str:
    """What was found about a task."""
    known = references[references >= 0]
    if len({*known.tolist()}) < 2:
        return f"{task}: not judged, {f'its {len(known):,} labels are all the same' if len(known) else 'no label'}."
    return (
        f"{task}: {int(errors.is_flagged.sum()):,} of {len(known):,} labels are flagged. If all were right, "
        f"about {errors.expected_false_alarms:,.0f} would be flagged all the same; more if the model is overconfident."
    )


def out_of_fold(options: argparse.Namespace, recipe: dict[str, Any], rows: Any, kept: Path) -> tuple[ByTask, Tasks]:
    """Probabilities by task `(rows, labels)` of models that were not trained on the row, and the tasks."""
    import numpy as np

    from semart_hf import register
    from semart_hf.collection.suggestions import begin_or_continue
    from semart_hf.data.loading import Splits
    from semart_hf.data.rows import tasks_of
    from semart_hf.evaluation.predictions import predict_dataset
    from semart_hf.training.building import build_trainer, read_arguments

    register()
    recipe |= {"data": str(options.catalogue), "prepare": False, "streaming": False, "save_strategy": "no"}
    recipe |= {"eval_strategy": "no", "load_best_model_at_end": False, "report_to": "none", "push_to_hub": False}
    _, data, _ = read_arguments({**recipe, "output_dir": str(kept)})
    tasks = tasks_of(rows, data.tasks, min_label_count=data.min_label_count)  # of all rows: the same in each part
    probabilities = {task["name"]: np.zeros((len(rows), len(task["labels"]))) for task in tasks}
    folds = (np.asarray(rows["row_key"][:]) * options.folds).astype(int)
    work = {"recipe": recipe, "folds": options.folds, "rows": rows._fingerprint, "tasks": tasks}
    begin_or_continue(kept, json.loads(json.dumps(work, default=str)))
    for fold in range(options.folds):
        held_out = np.flatnonzero(folds == fold)
        if not len(held_out) or len(held_out) == len(rows):
            sizes = f"{len(rows)} labelled rows for {options.folds} parts, of which one has {len(held_out)}"
            raise ValueError(f"Got {sizes}. Label more rows, or give fewer --folds.")
        path = kept / f"{fold}.npz"
        if path.is_file():
            print(f"Part {fold + 1} of {options.folds}: done before", flush=True)
        else:
            splits = Splits(train=rows.select(np.flatnonzero(folds != fold)))
            splits.tasks = tasks
            with tempfile.TemporaryDirectory() as place:
                model, data, training = read_arguments({**recipe, "output_dir": place})
                trainer = build_trainer(splits, model, data, training, say=lambda _: None)
                trainer.train()
            print(f"Part {fold + 1} of {options.folds}: trained on {len(splits['train'])} rows", flush=True)
            shown = rows.select(held_out).select_columns(["image", "text"])
            how = {"batch_size": options.batch_size, "device": options.device}
            found = predict_dataset(trainer.model, trainer.processing_class, shown, **how).probabilities()
            with atomic_file(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, *(found[task] for task in probabilities))
        with np.load(path) as answers:
            for number, task in enumerate(probabilities):
                probabilities[task][held_out] = answers[f"arr_{number}"]
    return probabilities, tasks


def ranked_labels(rows: Any, tasks: Tasks, probabilities: ByTask, references: ByTask, errors: ByTask) -> Any:
    """A table of all labels, the most doubtful first: its columns are those of audit.csv, rows numbered from 1 on."""
    import numpy as np
    import pandas as pd

    found = []
    for task in tasks:
        name = task["name"]
        places = np.flatnonzero(references[name] >= 0)
        shares = np.asarray(probabilities[name], dtype=float)[places]
        columns = {
            "row": np.asarray(rows["row"][:])[places] + 1,
            "task": name,
            "label": np.asarray(rows[name][:], dtype=object)[places],
            "suggested": np.asarray(task["labels"], dtype=object)[shares.argmax(axis=1)],
            "label_probability": shares[np.arange(len(places)), references[name][places]].round(4),
            "suggested_probability": shares.max(axis=1).round(4),
            "quality": errors[name].quality[places].round(6),
            "is_flagged": errors[name].is_flagged[places],
        }
        found.append(pd.DataFrame(columns, index=places))
    ranked = pd.concat(found).dropna(subset="quality").sort_values("quality", kind="stable")
    ranked.insert(0, "rank", range(1, len(ranked) + 1))
    return ranked


def write_page(path: Path, name: str, summary: list[str], ranked: Any, rows: Any) -> None:
    """A page with the first labels and their pictures."""
    from semart_hf.documents.page import render_page, to_jpeg

    first = ranked.head(MOST_SHOWN)
    entries = first.to_dict("records")
    for entry, row in zip(entries, rows.select(first.index.tolist()), strict=True):
        entry["picture"] = to_jpeg(row["image"])
        entry["text"] = shorten(row["text"] or "", 200)
    write_text(path, render_page("audit.html", title=f"Doubtful labels of {name}", summary=summary, entries=entries))


def write_suggestions(source: Any, folder: Path, tasks: Tasks, probabilities: ByTask, places: Any) -> None:
    """The catalogue with the audit's answers as suggestions, as the review reads them."""
    from semart_hf.collection.sources import added_columns
    from semart_hf.collection.suggestions import NUM_ALTERNATIVES, Answer, Suggester

    names, catalogue = [task["name"] for task in tasks], source.catalogue
    name = catalogue.path.name if Path(catalogue.path).is_file() else "catalogue.csv"
    name = f"suggestions-{name}" if (folder / name).exists() else name  # a catalogue may be called audit.csv

    def answer(number: int) -> Answer:
        if number not in places:
            return Answer(None, "The audit judges labels that a row has.")
        ranked = {}
        for task in tasks:
            pairs = zip(task["labels"], probabilities[task["name"]][places[number]].tolist(), strict=True)
            likeliest = sorted(pairs, key=lambda pair: -pair[1])[: 1 + NUM_ALTERNATIVES]
            ranked[task["name"]] = [{"label": label, "score": score} for label, score in likeliest]
        return Answer(ranked, "")

    suggester = Suggester(source, names)
    additions = (suggester.addition(answer(number), row) for number, row in enumerate(source.rows()))
    catalogue.write(folder / name, added_columns(names), additions)
