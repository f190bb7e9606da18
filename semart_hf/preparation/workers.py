"""Shards are worked on by several processes, with one progress bar over their rows."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from .shards import Shard

#: What is done with a shard: it gets the shard and a function to call after each row.
ShardTask = Callable[[Shard, Callable[[], None]], None]

# Rows done by all workers together; set in each worker as it starts.
_rows_done: Any = None


def map_shards(task: ShardTask, shards: Iterable[Shard], *, num_rows: int, num_proc: int, title: str) -> None:
    """Do `task` for each shard.

    Few shards are held at a time, however many there are. With one process the work is done in this one.

    Raises:
        RuntimeError: A process died, as it does when memory runs out.
    """
    with tqdm(total=num_rows, unit="row", desc=title, smoothing=0.1) as bar:
        if num_proc == 1:
            for shard in shards:
                task(shard, bar.update)
        else:
            _map_in_processes(task, iter(shards), num_proc, bar)


def _map_in_processes(task: ShardTask, shards: Iterator[Shard], num_proc: int, bar: "tqdm[Any]") -> None:
    # A forked process has what this one has imported; elsewhere than on Linux system libraries do not bear forking.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    rows_done = context.Value("q", 0)
    executor = ProcessPoolExecutor(num_proc, context, _start_worker, (rows_done, os.getpid()))
    try:
        running: set[Future[None]] = set()
        is_more = True
        while is_more or running:
            while is_more and len(running) < 2 * num_proc:
                shard = next(shards, None)
                is_more = shard is not None
                if shard is not None:
                    running.add(executor.submit(_run, task, shard))
            done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            bar.update(rows_done.value - bar.n)
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"Got a worker process that died at row {rows_done.value:,} or so, as happens when memory runs out. What "
            "is done is kept: run the same command again, with a smaller --num_proc if memory is short."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker(rows_done: Any, parent: int) -> None:
    global _rows_done
    _rows_done = rows_done
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process once its parent has ended: a killed parent cannot tell it, and it would wait for ever."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _run(task: ShardTask, shard: Shard) -> None:
    def count_row() -> None:
        with _rows_done.get_lock():
            _rows_done.value += 1

    task(shard, count_row)
