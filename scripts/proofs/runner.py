"""Runs of a proof: each in a process of its own, kept as they end, and not repeated by the next call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from benchmarks.guarded import end_with_parent

Run = Mapping[str, Any]
KEYS = ("setting", "seed")


@dataclass(frozen=True)
class Plan:
    """What a proof runs, and what it says of it.

    Args:
        common: What the results hold beside the runs.
        tasks: Arguments of `run_one` by name; those of `KEYS` say which run it is.
        run_one: A module's function: what one run gives.
        summarise: The summary of the runs, as far as they are known.
        values_of: What a run depends on, from its key and the `common` of its results.
        order: Settings in the order of the results.
    """

    common: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    run_one: Callable[..., dict[str, Any]]
    summarise: Callable[[Sequence[Run]], dict[str, Any]]
    values_of: Callable[[Run, Mapping[str, Any]], Any]
    order: Sequence[str] = ()

    def place(self, run: Run) -> tuple[int, int]:
        """The place of a run in the results."""
        setting = self.order.index(run["setting"]) if "setting" in run else 0
        return setting, run["seed"]


def execute(
    plan: Plan, kept: Mapping[str, Any], *, processes: int = 1, renew: bool = False
) -> Iterator[dict[str, Any]]:
    """The results, as far as known at first and after each run; see `kept_runs` and `run_each`.

    Runs of an earlier call (`kept`) are not repeated. So many `processes` at a time share the cores.
    """
    start = time.perf_counter()
    runs = list(kept_runs(plan, kept, renew))
    done = {key_of(run) for run in runs}
    tasks = [task for task in plan.tasks if key_of(task) not in done]

    def results() -> dict[str, Any]:
        seconds = kept.get("seconds", 0) + round(time.perf_counter() - start)
        return {"seconds": seconds, **plan.common, "runs": runs, "summary": plan.summarise(runs)}

    if runs:
        yield results()
    for number, run in enumerate(run_each(plan.run_one, tasks, processes), 1):
        runs = sorted([*runs, run], key=plan.place)
        print(f"{number} of {len(tasks)}: {words_of(run)}, {run['seconds']:.0f} s", flush=True)
        yield results()


def kept_runs(plan: Plan, kept: Mapping[str, Any], renew: bool) -> Iterator[Run]:
    """Earlier runs that today's would be equal to.

    Raises:
        ValueError: If there are others, and they are not to be left out by `renew`.
    """
    for run in kept.get("runs", []):
        is_known = "setting" not in run or run["setting"] in plan.order
        if is_known and plan.values_of(run, kept) == plan.values_of(run, plan.common):
            yield run
        elif renew:
            print(f"Left out, since its recipe or data has changed: {words_of(run)}", flush=True)
        else:
            raise ValueError(
                f"The file of results holds a run ({words_of(run)}) by another recipe than today's, or on other data. "
                "Name another file by --json, or leave such runs out by --renew."
            )


def key_of(run: Run) -> tuple[Any, ...]:
    """What tells a run from the others."""
    return tuple(run.get(name) for name in KEYS)


def words_of(run: Run) -> str:
    """A run's key in words."""
    return ", ".join(f"{name} {run[name]}" for name in KEYS if name in run)


def run_each(
    run_one: Callable[..., dict[str, Any]], tasks: Sequence[Mapping[str, Any]], processes: int
) -> Iterator[dict[str, Any]]:
    """What a function gives for each of its tasks, as they end, each from a process of its own.

    So none finds the memory of another. Where one fails, the others are still done.
    """
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(run_apart, run_one, task, processes) for task in tasks]
        try:
            done = list[Any]()
            for future in as_completed(futures):
                done.append(future)
                if future.exception() is None:
                    yield future.result()
            for future in done:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def run_apart(run_one: Callable[..., dict[str, Any]], task: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """What a function gives for a task, with its key, from a process of its own.

    Raises:
        ChildProcessError: If the process ended without a result.
    """
    key = {name: task[name] for name in KEYS if name in task}
    try:
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=begin_run, initargs=(processes,)
        ) as process:
            return {**key, **process.submit(run_one, **task).result()}
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"The process of the run ({words_of(task)}) ended without a result; what it printed is above. The same "
            "command goes on with what is missing."
        ) from error


def begin_run(processes: int) -> None:
    """Let this process compute on its part of the cores, print errors alone, and end with its parent."""
    import logging

    import datasets
    import psutil
    import torch
    import transformers

    end_with_parent()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("semart_hf").setLevel(logging.ERROR)
    torch.set_num_threads(max(1, (psutil.cpu_count(logical=False) or 1) // processes))


def mean_and_deviation(values: Sequence[float]) -> dict[str, float]:
    """`mean` and `deviation`: the standard deviation of one run's score, 0 where there is one run alone."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation}


def score_figures(runs: Sequence[Run], score: str) -> dict[str, dict[str, float]]:
    """Mean and deviation of a score (`accuracy` or `macro_f1`) by task that all runs know, and of the tasks' mean."""
    tasks = [task for task in runs[0]["tasks"] if all(task in run["tasks"] for run in runs)]
    return {
        **{task: mean_and_deviation([run["tasks"][task][score] for run in runs]) for task in tasks},
        "mean": mean_and_deviation([run[f"mean_{score}"] for run in runs]),
    }
