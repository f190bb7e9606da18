"""Runs of a proof: trainings by a recipe, each in a process of its own, kept as they end, and not repeated."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import torch
import transformers

from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_paintings, shown_rows
from semart_hf.evaluation.results import ceilings_of, collect_outcomes, describe_environment
from semart_hf.evaluation.retrieval import retrieval_scores
from semart_hf.evaluation.scores import score_outcomes
from semart_hf.recipes.recipe import RECIPES, ModelArguments, parse_recipe, read_recipe
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_trainer
from semart_hf.training.callbacks import end_with_parent
from semart_hf.training.trainer import SemArtTrainer

Run = Mapping[str, Any]
# The rows are given: nothing else is read from where they came from.
IN_PROCESS = {"disable_tqdm": True, "report_to": "none", "dataloader_num_workers": 0, "prepare": False}
# Without rows to choose a checkpoint by, the last weights are the result.
WITHOUT_VALIDATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def execute(proof: Any, options: argparse.Namespace, kept: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The results of a proof, as far as known at first and after each run.

    Args:
        proof: A module with `plan`: what the results hold beside the runs, which is all that these depend on but for
            setting, seed and `about`, and the arguments of its `run_one` for each; with `summarise`; and with
            `part_of` where `options` have the `parts` that are to be run.
        kept: Results of an earlier call, whose runs are not repeated.
    """
    common, tasks = proof.plan(options)
    settings = [task.get("setting") for task in tasks]
    about = {task.get("setting"): task.get("about") for task in tasks}
    runs = list(kept_runs(common, kept, options.renew, about))
    done = set(map(key_of, runs))
    asked = getattr(options, "parts", None)
    missing = [task for task in tasks if key_of(task) not in done]
    missing = [task for task in missing if asked is None or proof.part_of(task["setting"]) in asked]
    if runs:
        yield {**common, "runs": runs, "summary": proof.summarise(runs)}
    for number, run in enumerate(run_each(proof.run_one, missing, options.processes), 1):
        runs = sorted([*runs, run], key=lambda run: (settings.index(run.get("setting")), run["seed"]))
        print(f"{number} of {len(missing)}: {words_of(run)}, {run['seconds']:.0f} s", flush=True)
        yield {**common, "runs": runs, "summary": proof.summarise(runs)}


def kept_runs(
    common: Mapping[str, Any], kept: Mapping[str, Any], renew: bool, about: Mapping[Any, Any] | None = None
) -> Sequence[Run]:
    """Earlier runs that today's would be equal to; with `renew` those of this commit alone.

    Of runs that say what they are `about`, those are left out that are about something else by now.
    """
    runs: Sequence[Run] = kept.get("runs", [])
    # What the data reach follows from their sizes and the program that paints them, whose name may change.
    asked = {name: value for name, value in json.loads(json.dumps(common)).items() if name != "ceilings"}
    is_same = all(kept.get(name) == value for name, value in asked.items())
    runs = [run for run in runs if "about" not in run or run["about"] == (about or {}).get(run["setting"])]
    if renew:
        commit = describe_environment()["commit"]
        return [run for run in runs if is_same and run["commit"] == commit]
    if runs and not is_same:
        raise ValueError(
            f"The file of results holds a run ({words_of(runs[0])}) by another recipe than today's, or on other data. "
            "Train all again by --renew, or move the file away."
        )
    return runs


def key_of(run: Run) -> tuple[Any, ...]:
    return run.get("setting"), run["seed"]


def words_of(run: Run) -> str:
    return ", ".join(f"{name} {run[name]}" for name in ("setting", "seed") if name in run)


def run_each(
    run_one: Callable[..., dict[str, Any]], tasks: Sequence[Mapping[str, Any]], processes: int
) -> Iterator[dict[str, Any]]:
    """What a function gives for each of its tasks, as they end; where one fails, the others are still done."""
    failed = []
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(run_apart, run_one, task, processes) for task in tasks]
        try:
            for future in as_completed(futures):
                if error := future.exception():
                    failed.append(error)
                else:
                    yield future.result()
        finally:
            for future in futures:
                future.cancel()
    if failed:
        raise failed[0]


def run_apart(run_one: Callable[..., dict[str, Any]], task: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """What a function gives for a task, with its key, from a process of its own, with the memory of no other."""
    start = {"mp_context": get_context("spawn"), "initializer": begin_run, "initargs": (processes,)}
    try:
        with ProcessPoolExecutor(1, **start) as process:
            found = process.submit(run_one, **task).result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"The process of the run ({words_of(task)}) ended without a result; what it printed is above. The same "
            "command goes on with what is missing."
        ) from error
    return {name: task[name] for name in ("setting", "seed") if name in task} | found


def begin_run(processes: int) -> None:
    """Let this process compute on its part of the cores, print errors alone, and end with its parent."""
    end_with_parent()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("semart_hf").setLevel(logging.ERROR)
    torch.set_num_threads(max(1, (psutil.cpu_count(logical=False) or 1) // processes))


def train_on_release(
    setting: str, seed: int, release: Path, recipe: str, fields: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """What `train_and_score` gives for a setting, which changes `fields` of a recipe, on a release's paintings."""
    return train_and_score(recipe, {"data": str(release), "seed": seed, **fields}, load_paintings(release), **options)


def train_and_score(
    recipe: str,
    fields: Mapping[str, Any],
    splits: Mapping[str, Any],
    *,
    uses_techniques: bool = True,
    step_by_step: bool = False,
) -> dict[str, Any]:
    """A training's `seconds` and `commit`, and its scores on `test` by modality.

    Args:
        fields: They win over the recipe's own.
        splits: `train` and `test`, and `validation` if it is to choose the checkpoint.
        uses_techniques: Whether the trainer's list of techniques is its own, or empty.
        step_by_step: Whether the `losses` of its steps are given in place of scores; then nothing is validated.
    """
    with tempfile.TemporaryDirectory() as folder:
        chooses = "validation" in splits and not step_by_step
        wanted = {**({} if chooses else WITHOUT_VALIDATION), **fields, "output_dir": folder}
        rows = {name: split for name, split in splits.items() if chooses or name != "validation"}
        trainer, rows, seconds = trained(recipe, wanted, rows, uses_techniques=uses_techniques)
        test, about = rows["test"], {"seconds": seconds, "commit": describe_environment().get("commit")}
        if step_by_step:
            return {**about, "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line]}
        batch_size = trainer.args.per_device_eval_batch_size
        vectors: list[Any] = []
        options = {"batch_size": batch_size, "on_batch": lambda batch: vectors.append(batch.vectors)}
        outcomes = collect_outcomes(trainer.model, trainer.processing_class, test, **options)
    if trainer.model.config.contrastive:
        image, text = np.concatenate(vectors, axis=1)
        search: Any = dict(ceilings_of(fields["data"]) or {}).get("search", {})
        about["retrieval"] = retrieval_scores(image, text, list(test["text"]), ceilings=search.get("test"))
    return about | {name: brief(score_outcomes(found)) for name, found in outcomes.items()}


def trained(
    recipe: str, fields: Mapping[str, Any], splits: Mapping[str, Any], *, uses_techniques: bool = True
) -> tuple[SemArtTrainer, dict[str, Any], float]:
    """The trainer after its training, the rows of each split as they are shown, and the seconds that it took."""
    wanted = {**read_recipe(RECIPES / recipe), **IN_PROCESS, **fields}
    model, data, training = parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), wanted)
    # Of the training rows the collator shows what is to be shown.
    shown = {
        name: shown_rows(split, "image+text" if name == "train" else data.modality) for name, split in splits.items()
    }
    with contextlib.redirect_stdout(io.StringIO()):  # the Trainer prints its log where it has no progress bar
        learned = {name: rows for name, rows in shown.items() if name != "test"}
        trainer = build_trainer(learned, model, data, training, say=lambda _: None)
        if not uses_techniques:
            trainer.techniques = ()
        start = time.perf_counter()
        trainer.train()
    return trainer, shown, round(time.perf_counter() - start, 1)


def brief(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy and macro-F1 of each task with a known label, their means, and of dates the mean error in periods."""
    tasks = {
        name: {"accuracy": task["accuracy"], "macro_f1": task["macro_f1"]}
        for name, task in scores["tasks"].items()
        if task["num_rows"]
    }
    found = {"tasks": tasks, "mean_accuracy": scores["mean_accuracy"], "mean_macro_f1": scores["mean_macro_f1"]}
    error = "mean_absolute_error_periods"
    dated = [task[error] for task in scores["tasks"].values() if task.get(error) is not None]
    return found | ({error: dated[0]} if dated else {})


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """`mean` and `deviation`: the standard deviation of one run's score, 0 where there is one run alone."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation}


def by_task(scores: Run, score: str) -> dict[str, float]:
    """A score (`accuracy` or `macro_f1`) by task, and the tasks' `mean`."""
    return {**{task: found[score] for task, found in scores["tasks"].items()}, "mean": scores[f"mean_{score}"]}


def score_figures(runs: Sequence[Run], score: str) -> dict[str, dict[str, float]]:
    """Mean and deviation of what `by_task` gives, of the tasks that all runs know."""
    found = [by_task(run, score) for run in runs]
    tasks = [task for task in found[0] if all(task in one for one in found)]
    return {task: mean_and_deviation([one[task] for one in found]) for task in tasks}
