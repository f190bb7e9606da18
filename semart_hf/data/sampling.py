"""The order of training rows, the numbers that all randomness of a row is drawn from, and a process's batches."""

import contextlib
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

# Under this key a training row carries (seed, epoch, index): all its randomness is drawn from these three numbers.
DRAW_KEY = "draw of semart_hf"
# The index of a row that is no painting: a process gets it that the last step of an epoch has no row for.
PLACEHOLDER = -1
# Where the CPU computes, a worker takes what the model's threads leave: they wait for each other at the end of every
# operation. Not the least priority of all, 19: on a machine that others keep busy a worker must still get on.
_NICENESS = 15


@dataclass(eq=False)
class TrainingPaintings(Dataset[dict[str, Any]]):
    """Rows with the numbers of their draw, for the keys `(epoch, index)` that `SeededSampler` gives."""

    paintings: Sequence[Mapping[str, Any]]
    seed: int

    def __len__(self) -> int:
        return len(self.paintings)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        row = {"image": None, "text": None} if index == PLACEHOLDER else self.paintings[index]
        return {**row, DRAW_KEY: (self.seed, epoch, index)}


@dataclass(eq=False)
class SeededSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)`, each row once, in an order that depends on seed and epoch alone, resumed or not."""

    num_rows: int
    seed: int
    is_shuffled: bool = True
    lengths: Sequence[int] | None = None  # of the texts, by which rows are sorted within windows of many steps
    step_size: int = 1  # rows of a step, of all processes and accumulated batches together
    epoch: int = field(default=0, init=False)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration orders."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order: Iterable[int] = range(self.num_rows)
        if self.lengths is not None:
            order = get_length_grouped_indices(self.lengths, self.step_size, generator=generator)
        elif self.is_shuffled:
            order = torch.randperm(self.num_rows, generator=generator).tolist()
        for index in order:
            yield epoch, index


@dataclass(eq=False)
class StepBatchSampler(Sampler[list[tuple[int, int]]]):
    """One process's batches of an order that all processes share: an optimiser step takes its next rows.

    Those of the last step are dealt out evenly; a process for which none is left gets a placeholder without content.
    """

    sampler: SeededSampler
    batch_size: int  # of one process
    num_accumulated: int = 1  # batches of a step
    num_processes: int = 1
    process_index: int = 0
    drop_last: bool = False  # an incomplete last step

    def __post_init__(self) -> None:
        self.rows_per_batch = self.batch_size * self.num_processes
        self.rows_per_step = self.rows_per_batch * self.num_accumulated

    def __len__(self) -> int:
        steps, rest = divmod(len(self.sampler), self.rows_per_step)
        return steps * self.num_accumulated + (0 if self.drop_last else -(-rest // self.rows_per_batch))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, keys = self.sampler.epoch, iter(self.sampler)
        while step := list(islice(keys, self.rows_per_step)):
            if self.drop_last and len(step) < self.rows_per_step:
                return
            num_parts = -(-len(step) // self.rows_per_batch) * self.num_processes
            for part in range(self.process_index, num_parts, self.num_processes):
                rows = step[part * len(step) // num_parts : (part + 1) * len(step) // num_parts]
                yield rows or [(epoch, PLACEHOLDER)]


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """A block after which the global generators of Python, NumPy and torch's CPU are as before."""
    state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.random.set_rng_state(state[2])


def seeded_batch(collator: Callable[[Any], Any], rows: Sequence[Mapping[str, Any]]) -> Any:
    """The batch of any collator, whose global random generators start from the draw of its first row."""
    seed = int(np.random.SeedSequence([number % 2**32 for number in rows[0][DRAW_KEY]]).generate_state(1)[0])
    with random_state_kept():
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed accelerators as well
        return collator(rows)


def process_loader(
    rows: Dataset[Any], accelerator: Accelerator, *, seed: int = 0, pin_memory: bool = False, **options: Any
) -> DataLoaderShard:
    """A process's batches on its device, of rows that are its alone; `accelerator.prepare` would divide them again."""
    device = accelerator.device.type
    is_pinned = pin_memory and torch.accelerator.is_available() and device != "cpu"
    loader = DataLoaderShard(
        rows,
        device=accelerator.device,
        # What workers take from torch's global generator would depend on where a run was resumed.
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
    with contextlib.suppress(OSError, AttributeError):  # a system may refuse, and the worker works on as it is
        os.nice(niceness)

    # Clusters send SIGTERM to every process: a worker that obeyed would take away the data of the last step. But one
    # that always ignored it would never end, and its parent waits for it.
    def terminate(*_: Any) -> None:
        if parent_ends.value:
            os._exit(0)  # torch takes any other end of a worker for a fault

    signal.signal(signal.SIGTERM, terminate)
