"""Runs of a proof: trainings by a recipe, each in a process of its own, kept as they end, and not repeated."""

import contextlib
import io
import json
import logging
import os
import tempfile
import time
from argparse import Namespace as Options
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

from semart_hf.data.loading import load_paintings, shown_rows
from semart_hf.evaluation.results import ceilings_of, collect_outcomes, describe_environment
from semart_hf.evaluation.retrieval import retrieval_scores
from semart_hf.evaluation.scores import score_outcomes
from semart_hf.files import read_json, write_json
from semart_hf.recipes.recipe import RECIPES, read_recipe
from semart_hf.training.building import build_trainer, read_arguments
from semart_hf.training.callbacks import end_with_parent
from semart_hf.training.trainer import SemArtTrainer

Run = Mapping[str, Any]
# The rows are given: nothing else is read from where they came from.
IN_PROCESS = {"disable_tqdm": True, "report_to": "none", "dataloader_num_workers": 0, "prepare": False}
# Without a split `validation` to choose a checkpoint by, the last weights are the result.
WITHOUT_VALIDATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def execute(proof: Any, options: Options, path: Path) -> None:
    """Do what a file of results does not hold of a proof's runs, and write it after each.

    A proof is a module with `run_one`, `summarise`, and `plan`: what the results hold beside the runs, on which these
    depend as on setting, seed and `about`, and the arguments of each run. Its `part_of` says a setting's part.
    """
    common, tasks = proof.plan(options)
    results = {"part": options.part, "environment": describe_environment(), **common}
    runs = kept_runs(common, tasks, read_json(path) or {})
    if runs:
        write_json(path, results | {"runs": runs, "summary": proof.summarise(runs)})
    settings = [task.get("setting") for task in tasks]
    done, asked = {*map(words_of, runs)}, getattr(options, "parts", None)
    missing = [task for task in tasks if words_of(task) not in done]
    missing = [task for task in missing if asked is None or proof.part_of(task["setting"]) in asked]
    for number, run in enumerate(run_each(proof.run_one, missing, options.processes), 1):
        runs.append(run)
        runs.sort(key=lambda run: (settings.index(run.get("setting")), run["seed"]))
        print(f"{number} of {len(missing)}: {words_of(run)}, {run['seconds']:.0f} s", flush=True)
        write_json(path, results | {"runs": runs, "summary": proof.summarise(runs)})


def kept_runs(common: Run, tasks: Sequence[Run], kept: Run) -> list[Run]:
    """Earlier runs that today's would be equal to, without those that were `about` something else."""
    # As a file of results has it, in which a number that is a key is a text.
    about = json.loads(json.dumps({task.get("setting"): task.get("about") for task in tasks}))
    runs = [run for run in kept.get("runs", []) if "about" not in run or run["about"] == about.get(run["setting"])]
    for name, value in json.loads(json.dumps(common)).items():
        # What the data reach follows from their sizes and the program that paints them, whose name may change.
        if runs and name != "ceilings" and kept.get(name) != value:
            raise ValueError(
                f"The file of results holds a run ({words_of(runs[0])}) by another recipe than today's, or on other "
                f"data: {name} is not the same. Move the file away to train all again."
            )
    return runs


def words_of(run: Run) -> str:
    return ", ".join(f"{name} {run[name]}" for name in ("setting", "seed") if name in run)


def tasks_of(settings: Mapping[str, Run], seeds: Sequence[int], release: Path) -> list[dict[str, Any]]:
    """The arguments of `run_one` for all settings, by their fields, seed by seed."""
    shared = [{"seed": seed, "release": release} for seed in seeds]
    return [{"setting": name, "fields": fields, **own} for own in shared for name, fields in settings.items()]


def run_each(run_one: Callable[..., dict[str, Any]], tasks: Sequence[Run], processes: int) -> Iterator[dict[str, Any]]:
    """What a function gives for each of its tasks, as they end; where one fails, the others are still done."""
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(run_apart, run_one, task, processes) for task in tasks]
        try:
            for future in as_completed(futures):
                if not future.exception():
                    yield future.result()
        finally:
            threads.shutdown(cancel_futures=True)
    for future in futures:
        future.result()  # raises what failed


def run_apart(run_one: Callable[..., dict[str, Any]], task: Run, processes: int) -> dict[str, Any]:
    """What `run_here` gives, from a process of its own, with the memory of no other."""
    # The threads of numpy and scipy spin while they wait: beside other processes they would hold up one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(num_threads(processes)))
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), begin_run, (processes,)) as process:
            return process.submit(run_here, run_one, task).result()
    except BrokenProcessPool as error:
        problem = f"The process of the run ({words_of(task)}) ended without a result, see above"
        raise ChildProcessError(f"{problem}. The same command goes on with what is missing.") from error


def begin_run(processes: int) -> None:
    """Let this process compute on its part of the cores, print errors alone, and end with its parent."""
    end_with_parent()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("semart_hf").setLevel(logging.ERROR)
    torch.set_num_threads(num_threads(processes))


def num_threads(processes: int) -> int:
    return max(1, (psutil.cpu_count(logical=False) or 1) // processes)


def run_here(run_one: Callable[..., dict[str, Any]], task: Run) -> dict[str, Any]:
    """What a function gives for a task, with its key, the commit, and the seconds that it took or counted itself."""
    begin, begin_processor = time.perf_counter(), time.process_time()
    found = run_one(**task)
    return {
        **{name: task[name] for name in ("setting", "seed") if name in task},
        "seconds": round(time.perf_counter() - begin, 1),
        "processor_seconds": round(time.process_time() - begin_processor, 1),
        "commit": describe_environment().get("commit"),
        **found,
    }


def train_and_score(recipe: str, data: Path, seed: int, fields: Run, splits: Run | None = None) -> dict[str, Any]:
    """A training's `seconds`, and its scores on `test` by modality; `fields` win over the recipe's own."""
    chosen = {"data": str(data), "seed": seed, **fields}
    trainer, rows, seconds = trained(recipe, chosen, load_paintings(data) if splits is None else splits)
    return {"seconds": seconds, **scores_of(trainer, rows["test"], data)}


def trained(recipe: str, fields: Run, splits: Run, uses_techniques: bool = True) -> tuple[SemArtTrainer, Run, float]:
    """The trainer after its training, the rows of each split as they are shown, and the seconds that it took."""
    without = {} if "validation" in splits else WITHOUT_VALIDATION
    wanted = {**read_recipe(RECIPES / recipe), **IN_PROCESS, **without, **fields}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # for the Trainer's log
        model, data, training = read_arguments({**wanted, "output_dir": folder})
        # Of the training rows the collator shows what is to be shown.
        shown = {
            name: shown_rows(split, "image+text" if name == "train" else data.modality)
            for name, split in splits.items()
        }
        learned = {name: rows for name, rows in shown.items() if name != "test"}
        trainer = build_trainer(learned, model, data, training, say=lambda _: None)
        if not uses_techniques:
            trainer.techniques = ()
        start = time.perf_counter()
        trainer.train()
        return trainer, shown, round(time.perf_counter() - start, 1)


def scores_of(trainer: SemArtTrainer, test: datasets.Dataset, data: Path) -> dict[str, Any]:
    """Scores of the tasks by modality, and of search where the model is contrastive."""
    batches: list[Any] = []
    model, size = trainer.model, trainer.args.per_device_eval_batch_size
    outcomes = collect_outcomes(model, trainer.processing_class, test, batch_size=size, on_batch=batches.append)
    found = {name: brief(score_outcomes(one)) for name, one in outcomes.items()}
    if model.config.contrastive:
        image, text = np.concatenate([batch.vectors for batch in batches], axis=1)
        search: Any = dict(ceilings_of(data) or {}).get("search", {})
        found["retrieval"] = retrieval_scores(image, text, list(test["text"]), ceilings=search.get("test"))
    return found


def brief(scores: Run) -> dict[str, Any]:
    """Accuracy and macro-F1 of each task with a known label, their means, and of dates the mean error in periods."""
    error = "mean_absolute_error_periods"
    known = {name: task for name, task in scores["tasks"].items() if task["num_rows"]}
    dated = [task[error] for task in known.values() if task.get(error) is not None]
    return {
        "tasks": {name: {score: task[score] for score in ("accuracy", "macro_f1")} for name, task in known.items()},
        **{name: scores[name] for name in ("mean_accuracy", "mean_macro_f1")},
        **({error: dated[0]} if dated else {}),
    }


def by_setting(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        found.setdefault(run["setting"], {})[run["seed"]] = run
    return found


def by_task(scores: Run, score: str) -> dict[str, float]:
    """A score (`accuracy` or `macro_f1`) by task, and the tasks' `mean`."""
    return {**{task: found[score] for task, found in scores["tasks"].items()}, "mean": scores[f"mean_{score}"]}


def gains(ours: Mapping[int, Run], theirs: Mapping[int, Run], score: str) -> list[float]:
    """How much better a score of picture and text is in one setting than in another, seed by seed."""
    pairs = [(run["image+text"], theirs[seed]["image+text"]) for seed, run in ours.items() if seed in theirs]
    return [our[score] - their[score] for our, their in pairs]


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """`mean` and `deviation`: the standard deviation of one run's score, 0 where there is one run alone."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation}


def figures(found: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and deviation of all that each has."""
    names = [name for name in found[0] if all(name in one for one in found)]
    return {name: mean_and_deviation([one[name] for one in found]) for name in names}
