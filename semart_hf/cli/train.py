"""Train a model by a recipe: accelerate launch scripts/train.py RECIPE.yaml [--field value ...]."""

import hashlib
import json
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from semart_hf.data.data_arguments import DataArguments
from semart_hf.files import atomic_folder, full_disk_explained, locked, write_json
from semart_hf.recipes.recipe import LearningArguments, ModelArguments, effective_recipe, parse_recipe, read_recipe

from .command import READING, catalogue_of, command, load_model, parser_of, source_of

#: Fields of a recipe that say nothing of a reviewed catalogue.
UNUSED = ("tasks", "text_columns", "follow_links", "max_train_rows", "streaming", "prepared_size")
FREQUENT_TRAINING_FIELDS = """Fields on the command line win over the recipe's; null unsets one.

training (every field of transformers.TrainingArguments is allowed; these are the usual ones):
  --output_dir, --overwrite_output_dir, --resume_from_checkpoint, --num_train_epochs, --max_steps,
  --per_device_train_batch_size, --per_device_eval_batch_size, --gradient_accumulation_steps, --learning_rate,
  --lr_scheduler_type, --warmup_steps, --weight_decay, --max_grad_norm, --label_smoothing_factor,
  --precision {auto,bf16,fp32}, --seed, --dataloader_num_workers, --eval_strategy, --save_strategy,
  --save_total_limit, --metric_for_best_model, --logging_steps, --report_to, --torch_compile, --auto_find_batch_size

learning from a review (--data is the catalogue with suggestions, --init_from the model):
  --decisions FILE, its decisions join the training rows; --promote, replace the model unless the new one is worse"""


def print_help() -> None:
    parser = parser_of("train", FREQUENT_TRAINING_FIELDS)
    parser.usage = "semart-hf train RECIPE [--field value ...], or accelerate launch -m semart_hf.cli.train RECIPE ..."
    for title, kind in (("model", ModelArguments), ("data", DataArguments), ("learning", LearningArguments)):
        group = parser.add_argument_group(title)
        for field in fields(kind):
            default = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[operator]
            words = f"{field.metadata['help']} [{default}]".replace("%", "%%")
            group.add_argument(f"--{field.name}", metavar="", help=words)
    parser.print_help()


@command("train")
def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    if not words or {"-h", "--help"} & {*words}:
        print_help()
        return
    if words[0].startswith("-"):
        raise ValueError(f"Got {words[0]} in the place of the recipe. Write: semart-hf train RECIPE --field value …")
    recipe = effective_recipe(read_recipe(words[0]), words[1:])  # before imports that take seconds

    from accelerate.utils import broadcast_object_list

    from semart_hf import register
    from semart_hf.training.arguments import SemArtTrainingArguments
    from semart_hf.training.callbacks import end_with_parent
    from semart_hf.training.run_folder import plan_run

    decisions, promotes, _ = (recipe.pop(name, None) for name in ("decisions", "promote", "decisions_digest"))
    model, data, training = parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), recipe)
    output_dir, resume = Path(training.output_dir), training.resume_from_checkpoint
    if decisions or promotes:
        recipe |= fields_of_decisions(decisions, model.init_from, output_dir, promotes)
    end_with_parent()
    register()
    with ExitStack() as stack:
        plan: list[Any] = [None]  # of the first process, for all of them
        if training.process_index == 0:
            try:
                stack.enter_context(locked(output_dir, "training"))
                plan = [plan_run(output_dir, recipe, overwrite=training.overwrite_output_dir, resume=resume)]
            except (ValueError, OSError) as error:
                plan = [error]
        if training.world_size > 1:
            broadcast_object_list(plan)
        if isinstance(plan[0], Exception):
            raise plan[0]
        run(plan[0], model, data, training, promotes=bool(promotes))


def run(plan: Any, model: Any, data: Any, training: Any, *, promotes: bool) -> None:
    """Train as planned, or go on."""
    import transformers

    from semart_hf.data.loading import load_splits
    from semart_hf.training.building import build_trainer
    from semart_hf.training.run_folder import check_continuable

    training.output_dir = str(plan.folder)
    training.hub_model_id = training.hub_model_id or plan.output_dir.name
    transformers.utils.logging.disable_progress_bar()  # of weights that load within a second
    is_main = training.process_index == 0
    say = print if is_main else lambda *_: None
    if plan.checkpoint is not None:
        say(f"Continuing from {plan.checkpoint}")
    try:
        with training.main_process_first(desc="reading the data"):
            if decisions := plan.recipe.get("decisions"):
                splits = decided_splits(data, model.init_from, decisions, say)
            else:
                splits = load_splits(data, seed=training.seed)
        say("Data: " + ", ".join(f"{name} {split.num_rows:,d} paintings" for name, split in splits.items()))
        trainer = build_trainer(splits, model, data, training, say)
        if plan.checkpoint is not None:
            check_continuable(plan.checkpoint, trainer.args)
    finally:  # nothing is left of a run that was refused
        if is_main and plan.folder.is_dir() and not any(plan.folder.iterdir()):
            plan.folder.rmdir()
    with full_disk_explained(plan.output_dir, "The last whole checkpoint is kept. Make room, and start again."):
        if is_main:
            plan.begin()
        trainer.accelerator.wait_for_everyone()
        try:
            spent = trainer.train(resume_from_checkpoint=str(plan.checkpoint) if plan.checkpoint else None).metrics
        except (RuntimeError, MemoryError) as error:
            raise_with_advice(error, trainer.args)
        trainer.accelerator.wait_for_everyone()
        if trainer.is_fsdp_enabled:
            trainer.save_model()  # every process has a part of the weights
        if is_main:
            finish(trainer, splits, data.data, spent, plan, start=decisions and model.init_from, promotes=promotes)
    # A process that ends while threads of its group still run may abort, and takes the others with it.
    trainer.accelerator.end_training()


def raise_with_advice(error: RuntimeError | MemoryError, training: Any) -> NoReturn:
    from accelerate.utils.memory import should_reduce_batch_size

    if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
        raise error
    size, accumulated = training.per_device_train_batch_size, training.gradient_accumulation_steps
    change = "The batch size cannot be smaller: take a smaller image_size or max_text_length"
    if size > 1:
        fields = f"per_device_train_batch_size: {size // 2} with gradient_accumulation_steps: {2 * accumulated}"
        change = f"Take {fields}, which trains on the same steps"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(
        f"Out of memory with per_device_train_batch_size {size} ({first_line}). {change}; or auto_find_batch_size: "
        "true, precision: bf16, gradient_checkpointing: true. What is trained so far lies in the last checkpoint."
    ) from error


def finish(trainer: Any, splits: Any, data: str, spent: Any, plan: Any, *, start: str | None, promotes: bool) -> None:
    """Write the finished folder, with results and curves; a model of decisions is compared with its `start`."""
    from semart_hf.documents.charts import draw_curves
    from semart_hf.evaluation.calibration import with_thresholds
    from semart_hf.evaluation.predictions import predict_dataset
    from semart_hf.evaluation.results import ceilings_of, evaluate_model
    from semart_hf.model.configuration_semart import is_multi_label
    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.pipeline_semart import save_repository
    from semart_hf.training.run_folder import CURVES, RESULTS

    training = summary(trainer, splits["train"].num_rows, spent)
    folder, processor = plan.folder, trainer.processing_class
    if trainer.is_fsdp_enabled:
        model = SemArtForArtClassification.from_pretrained(folder).to(trainer.args.device)
    else:
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if several := [task["name"] for task in model.config.tasks if is_multi_label(task)]:
        if rows := splits.get("validation"):
            found = predict_dataset(model, processor, rows, batch_size=trainer.args.per_device_eval_batch_size)
            model.config.set_tasks(with_thresholds(model.config.tasks, found.outcomes()))
        else:
            print(f"There are no validation paintings: each label of {', '.join(several)} is an answer from 50 % on.")
    if several or not trainer.is_fsdp_enabled:
        # Beside the folder, and moved there with the configuration last: the folder never holds half of a model.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            written = save_repository(model, processor, Path(place, "model"))
            for path in sorted(written.iterdir(), key=lambda path: (path.name == "config.json", path.name)):
                path.replace(folder / path.name)
    draw_curves(trainer.state.log_history, trainer.task_names, folder / CURVES)
    split = next((name for name in ("test", "validation") if name in splits), "train")
    options: dict[str, Any] = {"ceilings": ceilings_of(data), "batch_size": trainer.args.per_device_eval_batch_size}
    scores = evaluate_model(model, processor, splits[split], show_progress=True, **options)
    about: dict[str, Any] = {"model": str(plan.output_dir), "data": data, "split": split}
    if start:
        about["comparison_with_start"] = compare_with_start(model, processor, start, splits[split], trainer.args)
    write_json(folder / RESULTS, {**about, "training": training, **scores})
    kept = plan.finish()
    trainer.args.output_dir = str(plan.output_dir)
    print(f"{split}: mean accuracy {scores['mean_accuracy']:.3f}, mean macro-F1 {scores['mean_macro_f1']:.3f}")
    print(f"Model, processor, code and results: {plan.output_dir}")
    if start:
        conclude(about["comparison_with_start"], plan.output_dir, Path(start), promotes=promotes)
    if kept:
        print(f"No run wrote these, so they stay there: {', '.join(kept)}")
    if trainer.args.push_to_hub:
        print(f"Published: {publish(trainer, model, processor)}")


def summary(trainer: Any, num_rows: int, spent: dict[str, float]) -> dict[str, Any]:
    from semart_hf.evaluation.cost import peak_memory, steady_speed

    speed = steady_speed(trainer.state.log_history) or spent["train_samples_per_second"]
    return {
        "paintings": num_rows,
        "epochs": trainer.state.epoch,
        "seconds": round(spent["train_runtime"] + trainer.head_start_seconds, 1),
        "paintings_per_second": round(spent["train_samples_per_second"], 1),
        "processes": trainer.args.world_size,
        # Of the training alone, where the two above also count validation and checkpoints.
        "steady_paintings_per_second": round(speed, 1),
        "seconds_per_epoch": round(len(trainer.train_dataset) / speed, 2) if speed else None,
        "peak_memory_bytes": peak_memory(trainer.args.device),
        **({"chosen": trainer.chosen_fields} if trainer.chosen_fields else {}),
    }


def publish(trainer: Any, model: Any, processor: Any) -> str:
    """Address of the commit that holds the finished model with its card, results and licence."""
    from semart_hf.publishing.repositories import assemble_repository

    folder = Path(trainer.args.output_dir)
    files: dict[str, Any] = {"results": [folder / "results.json"], "recipe": read_recipe(folder)}
    with tempfile.TemporaryDirectory(dir=folder, prefix="_publish-") as made:
        repository = assemble_repository(model.cpu(), processor, Path(made, "new"), trainer.hub_model_id, **files)
        return str(trainer.push_folder(repository).commit_url)


def fields_of_decisions(file: str | None, init_from: str | None, output_dir: Path, promotes: bool) -> dict[str, str]:
    """What the recipe keeps of decisions, with a digest that changes with a label; what cannot end well is refused."""
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
    from semart_hf.collection.review import Review

    decided = [(one["row"], one["task"], one["label"]) for one in Review(Path(file)).decisions()]
    digest = hashlib.blake2b(json.dumps(decided).encode(), digest_size=8).hexdigest()
    return {"decisions": file, "decisions_digest": digest}


def decided_splits(data: Any, init_from: str, file: str, say: Any) -> Any:
    """The splits of a reviewed catalogue; a row stays in its split, whatever is decided, and `test` is held out."""
    from semart_hf.collection import labelled_rows as labelled
    from semart_hf.collection.review import Review
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
    keys, limits = rows["row_key"][:], labelled.SPLIT_KEYS.items()
    places = {name: [row for row, key in enumerate(keys) if low <= key < high] for name, (low, high) in limits}
    sizes = {name: len(found) for name, found in places.items()}
    if not all(sizes.values()):
        divided = f"{len(rows)} rows with a label or a decision, divided by a hash into {sizes}"
        raise ValueError(f"Got {divided}. Each needs some. Decide about more rows.")
    tasks = labelled.tasks_with_new_labels(tasks, rows.select(places["train"]), data.min_label_count)
    rows, left_out = labelled.with_known_labels(rows, tasks)
    splits = Splits({name: rows.select(found) for name, found in places.items()})
    splits.tasks = tasks
    say(f"Decisions: {num_decisions} of {file}, {sizes['test']} of {len(rows)} rows are held out")
    if left_out:
        say(f"{left_out} labels are left out, which fewer than {data.min_label_count} training rows have.")
    return splits


def compare_with_start(model: Any, processor: Any, init_from: str, rows: Any, training: Any) -> dict[str, Any]:
    """What `compare_outcomes` gives of a trained model and its start, by tasks with one label, on the same rows."""
    import numpy as np

    from semart_hf.evaluation.comparison import compare_outcomes
    from semart_hf.evaluation.predictions import predict_dataset
    from semart_hf.model.configuration_semart import is_multi_label

    start, start_processor = load_model(init_from)
    tasks = [task for task in model.config.tasks if not is_multi_label(task)]
    size = training.per_device_eval_batch_size
    new = predict_dataset(model, processor, rows, batch_size=size)
    old = predict_dataset(start, start_processor, rows.select_columns(["image", "text"]), batch_size=size)
    references = new.references[:, [model.config.label_columns[task["name"]].start for task in tasks]]
    logits = {task["name"]: np.full((len(rows), len(task["labels"])), -np.inf) for task in tasks}  # of new labels
    for task in tasks:
        places = [task["labels"].index(label) for label in start.config.labels(task["name"])]
        logits[task["name"]][:, places] = old.logits[task["name"]]
    widened = replace(old, tasks=tasks, references=references, row_ids=new.row_ids, logits=logits)
    first = replace(new, tasks=tasks, references=references).outcomes(model.config.temperatures)
    second = widened.outcomes(start.config.temperatures)
    return compare_outcomes(first, second, names=("the new model", "its start"))


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
    kept = start.with_name(f"{start.name}.before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    with locked(start, "replacing a model"), atomic_folder(start, replace=True) as unfinished:
        shutil.copytree(new, unfinished, ignore=shutil.ignore_patterns("checkpoint-*"), dirs_exist_ok=True)
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


if __name__ == "__main__":
    main()
