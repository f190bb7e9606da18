"""The batches of one process, whose rows are already its own, and which no other randomness depends on."""

import contextlib
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import Dataset

from .sampling import DRAW_KEY

# Where the CPU computes, a worker takes what the model's threads leave: they wait for each other at the end of every
# operation. Not the least priority of all, 19: on a machine that others keep busy a worker must still get on.
_NICENESS = 15


@contextlib.contextmanager
def random_state_kept(seed: Sequence[int] | None = None) -> Iterator[None]:
    """A block after which the global generators of Python, NumPy and torch's CPU are as before; `seed` starts them."""
    state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        if seed is not None:
            drawn = int(np.random.SeedSequence([number % 2**32 for number in seed]).generate_state(1)[0])
            random.seed(drawn)
            np.random.seed(drawn)
            torch.default_generator.manual_seed(drawn)  # torch.manual_seed would seed accelerators as well
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.random.set_rng_state(state[2])


def seeded_batch(collator: Callable[[Sequence[Mapping[str, Any]]], Any], rows: Sequence[Mapping[str, Any]]) -> Any:
    """The batch of any collator, whose global random generators start from the draw of its first row."""
    with random_state_kept(rows[0][DRAW_KEY]):
        return collator(rows)


def process_loader(
    rows: Dataset[Any], accelerator: Accelerator, *, seed: int = 0, pin_memory: bool = False, **options: Any
) -> DataLoaderShard:
    """A process's batches on its device, of rows that are its alone; `accelerator.prepare` would divide them again.

    The workers have a seed: what they take from torch's global generator depends on where a run was resumed.
    """
    device = accelerator.device.type
    is_pinned = pin_memory and torch.accelerator.is_available() and device != "cpu"
    loader = DataLoaderShard(
        rows,
        device=accelerator.device,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=is_pinned,
        worker_init_fn=partial(_begin_worker, _end_of(os.getpid()), _NICENESS if device == "cpu" else 0),
        _non_blocking=is_pinned,
        **options,
    )
    accelerator._dataloaders.append(loader)  # gradient accumulation asks them whether the epoch ends
    return loader


@cache
def _end_of(process: int) -> Any:
    """A byte that the workers of a process read: whether it ends. Set before `multiprocessing` terminates them."""
    ends = multiprocessing.RawValue("b", 0)
    Finalize(None, setattr, args=(ends, "value", 1), exitpriority=1)
    return ends


def _begin_worker(parent_ends: Any, niceness: int, worker: int) -> None:
    if niceness and hasattr(os, "nice"):
        with contextlib.suppress(OSError):  # a system may refuse, and the worker works on as it is
            os.nice(niceness)

    # Clusters send SIGTERM to every process: a worker that obeyed would take away the data of the last step. But one
    # that always ignored it would never end, and its parent waits for it.
    def terminate(number: int, frame: FrameType | None) -> None:
        if parent_ends.value:
            os._exit(0)  # torch takes any other end of a worker for a fault

    signal.signal(signal.SIGTERM, terminate)
