"""The order of training rows, and the numbers that all randomness of a row is drawn from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

# Under this key a training row carries (seed, epoch, index): all its randomness is drawn from these three numbers.
DRAW_KEY = "draw"
# The index of a row that is no painting: a process gets it that the last step of an epoch has no row for.
PLACEHOLDER = -1


@dataclass(eq=False)
class TrainingPaintings(Dataset[dict[str, Any]]):
    """Rows with the numbers of their draw, for the keys `(epoch, index)` that `SeededSampler` gives."""

    paintings: Sequence[Mapping[str, Any]]
    seed: int

    def __len__(self) -> int:
        return len(self.paintings)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        if index == PLACEHOLDER:
            return {"image": None, "text": None, DRAW_KEY: (self.seed, epoch, 0)}
        return {**self.paintings[index], DRAW_KEY: (self.seed, epoch, index)}


@dataclass(eq=False)
class SeededSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` in an order that depends on the seed and the epoch alone; every row comes once an epoch.

    Workers that prefetch, and a resumed run, so draw the same augmentation as an uninterrupted run.
    """

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

    What is left for the last step is dealt out evenly, every row once; a process for which nothing is left gets a
    placeholder without picture, text and labels.
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
            num_batches = -(-len(step) // self.rows_per_batch)
            num_parts = num_batches * self.num_processes
            for batch in range(num_batches):
                part = batch * self.num_processes + self.process_index
                rows = step[part * len(step) // num_parts : (part + 1) * len(step) // num_parts]
                yield rows or [(epoch, PLACEHOLDER)]
