"""Batches that are answered side by side on a CPU."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Answer = TypeVar("Answer")


def answer_side_by_side(
    answer: Callable[[list[Any]], list[Answer]], rows: Iterable[Any], *, batch_size: int, num_threads: int
) -> Iterator[Answer]:
    """The answers to rows, in their order, while `num_threads` batches at a time are worked on.

    Each thread computes a batch of its own with its share of the cores. Where one batch has all cores, they wait for
    each other after every layer, and all of them for the pictures of the next batch. One thread is the caller's own,
    and reads nothing ahead.

    Args:
        answer: Gives as many answers as it gets rows; called in the threads.
        rows: Read in this thread, few batches ahead.
        batch_size: Rows of a batch.
        num_threads: How many batches at a time.
    """
    cores = torch.get_num_threads()
    remaining = iter(rows)
    batches = iter(lambda: list(itertools.islice(remaining, batch_size)), [])
    if num_threads == 1:
        for batch in batches:
            yield from answer(batch)
        return
    waiting: deque[Future[list[Answer]]] = deque()
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(max(1, cores // num_threads),))
    try:
        for batch in batches:
            waiting.append(pool.submit(answer, batch))
            if len(waiting) > num_threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what a thread sets is where every later one begins
