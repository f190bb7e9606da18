"""Several trainings, each in a process of its own, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Task = tuple[Path, str, int, Mapping[str, Any], int]
"""Folder of the release, setting, seed, fields of the recipe that win over its own, and how many share the cores."""
TrainOne = Callable[[Task], dict[str, Any]]


def train_each(train_one: TrainOne, tasks: Sequence[Task], processes: int) -> Iterator[dict[str, Any]]:
    """What `train_one` gives for each of its tasks, as they end, each from a process of its own.

    So none finds the memory of another. Where one fails, the others are still done.

    Args:
        train_one: A module's function.
        tasks: Its arguments.
        processes: Trainings at a time.

    Raises:
        ChildProcessError: If a process ended without a result.
    """
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(_train_apart, train_one, task) for task in tasks]
        try:
            failures = []
            for future in as_completed(futures):
                if future.exception() is None:
                    yield future.result()
                else:
                    failures.append(future)
            if failures:
                failures[0].result()
        finally:
            for future in futures:
                future.cancel()


def share_cores(processes: int) -> None:
    """Let this process compute on its part of the cores, and without progress bars."""
    import datasets
    import psutil
    import torch
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(max(1, (psutil.cpu_count(logical=False) or 1) // processes))


def _train_apart(train_one: TrainOne, task: Task) -> dict[str, Any]:
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(train_one, task).result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"The process of '{task[1]}', seed {task[2]}, ended without a result; what it said is above. The same "
            "command goes on with what is missing."
        ) from error
