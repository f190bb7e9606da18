"""The order of training rows, and the numbers that all randomness of a row is drawn from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

# Under this key a training row carries (seed, epoch, index): all its randomness is drawn from these three numbers.
DRAW_KEY = "draw"


# Under this key a row carries the painting whose picture is mixed into its own, and its own picture's share.
MIXED_KEY = "mixed"
# The index of a row that is no painting: it keeps a process company that the last step of an epoch has no row for.
PLACEHOLDER = -1


class TrainingPaintings(Dataset[dict[str, Any]]):
    """Rows of a dataset with the numbers of their draw, for the keys `(epoch, index)` that `SeededSampler` gives.

    Args:
        paintings: A `datasets.Dataset`, or any sequence of rows.
        seed: Seed of augmentation and modality dropout.
        mixup: Probability that another painting's picture is mixed into a row's own. Such a row is shown without its
            text, which would tell the one painting's labels while the loss asks for both.
        mixup_alpha: Both parameters of the beta distribution of the own picture's share.

    Raises:
        ValueError: If the probability or the parameter is out of range.

    Source: Zhang et al. 2018, mixup: Beyond empirical risk minimization, section 2.
    """

    def __init__(
        self, paintings: Sequence[Mapping[str, Any]], seed: int, *, mixup: float = 0.0, mixup_alpha: float = 0.4
    ) -> None:
        if not 0 <= mixup <= 1 or mixup_alpha <= 0:
            raise ValueError(
                f"mixup is {mixup} and mixup_alpha {mixup_alpha}, but they are a probability from 0 to 1 and a "
                "positive number. Change them in the recipe."
            )
        self.paintings = paintings
        self.seed = seed
        self.mixup = mixup
        self.mixup_alpha = mixup_alpha

    def __len__(self) -> int:
        return len(self.paintings)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        draw = (self.seed, epoch, index)
        if index == PLACEHOLDER:
            return {"image": None, "text": None, DRAW_KEY: (self.seed, epoch, 0)}
        row = {**self.paintings[index], DRAW_KEY: draw}
        if self.mixup:
            random = np.random.default_rng((*draw, 1))
            if random.random() < self.mixup:
                partner = int(random.integers(len(self.paintings)))
                share = float(random.beta(self.mixup_alpha, self.mixup_alpha))
                row[MIXED_KEY] = {**self.paintings[partner], DRAW_KEY: (*draw, 2)}, share
        return row


class SeededSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` in an order that depends on the seed and the epoch alone.

    The epoch travels with the index, so that workers which prefetch, and a resumed run which skips batches, draw the
    same augmentation as an uninterrupted run.

    Args:
        num_rows: Number of training rows.
        seed: Seed of the order; the same in every process.
        weights: How often each row is drawn, with replacement, relative to the others `(num_rows,)`; `None`: every
            row comes once an epoch.
    """

    def __init__(self, num_rows: int, seed: int, weights: torch.Tensor | None = None) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration orders."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        epoch = self.epoch
        if self.weights is None:
            order = torch.randperm(self.num_rows, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.num_rows, replacement=True, generator=generator)
        for index in order.tolist():
            yield epoch, index


class LengthSampler(SeededSampler):
    """An order in which the rows of an optimiser step are of similar length, so that little of a batch is padding.

    Within shuffled windows of many steps the rows are sorted by length and cut into steps; then the steps are
    shuffled. So every row comes once an epoch, in other company each time, and short texts come no sooner than long
    ones. All processes take their part of the same step, and have equally much to do.

    Args:
        num_rows: Number of training rows.
        seed: Seed of the order; the same in every process.
        lengths: Of each row's text `(num_rows,)`, in any unit.
        step_size: Rows of a step, of all processes and accumulated batches together.
        steps_per_window: Steps whose rows are sorted together: more give less padding and less mixing.
    """

    def __init__(
        self, num_rows: int, seed: int, lengths: torch.Tensor, *, step_size: int, steps_per_window: int = 50
    ) -> None:
        super().__init__(num_rows, seed)
        self.lengths = lengths
        self.step_size = step_size
        self.steps_per_window = steps_per_window

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.num_rows, generator=generator)
        num_steps = self.num_rows // self.step_size
        whole_steps, rest = order[: num_steps * self.step_size], order[num_steps * self.step_size :]
        windows = whole_steps.split(self.steps_per_window * self.step_size)
        by_length = [window[self.lengths[window].argsort(stable=True)] for window in windows]
        steps = torch.cat([*by_length, order[:0]]).view(num_steps, self.step_size)
        steps = steps[torch.randperm(num_steps, generator=generator)]
        for index in [*steps.flatten().tolist(), *rest.tolist()]:
            yield epoch, index


class StepBatchSampler(Sampler[list[tuple[int, int]]]):
    """One process's batches of an order that all processes share: an optimiser step takes its next rows.

    Which rows a step sees depends on its total number of rows alone, not on how they are divided into processes and
    accumulated batches. What is left for the last step is dealt out evenly, every row once; a process for which
    nothing is left gets a placeholder without picture, text and labels.

    Args:
        sampler: The order of the keys.
        batch_size: Rows of a batch of one process.
        num_accumulated: Batches that a process accumulates for one step.
        num_processes: How many share the order.
        process_index: Which one this is.
        drop_last: Whether an incomplete last step is left out.
    """

    def __init__(
        self,
        sampler: SeededSampler,
        batch_size: int,
        *,
        num_accumulated: int = 1,
        num_processes: int = 1,
        process_index: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.num_accumulated = num_accumulated
        self.num_processes = num_processes
        self.process_index = process_index
        self.drop_last = drop_last

    def __len__(self) -> int:
        steps, rest = divmod(len(self.sampler), self._rows_per_batch * self.num_accumulated)
        rest = 0 if self.drop_last else rest
        return steps * self.num_accumulated + -(-rest // self._rows_per_batch)

    @property
    def _rows_per_batch(self) -> int:
        return self.batch_size * self.num_processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step: list[tuple[int, int]] = []
        epoch = self.sampler.epoch
        for key in self.sampler:
            step.append(key)
            if len(step) == self._rows_per_batch * self.num_accumulated:
                yield from self._batches(step, epoch)
                step = []
        if step and not self.drop_last:
            yield from self._batches(step, epoch)

    def _batches(self, step: list[tuple[int, int]], epoch: int) -> Iterator[list[tuple[int, int]]]:
        num_batches = -(-len(step) // self._rows_per_batch)
        num_parts = num_batches * self.num_processes
        for batch in range(num_batches):
            part = batch * self.num_processes + self.process_index
            rows = step[part * len(step) // num_parts : (part + 1) * len(step) // num_parts]
            yield rows or [(epoch, PLACEHOLDER)]


def balancing_weights(labels: Mapping[str, Sequence[int | None]], num_labels: Mapping[str, int]) -> torch.Tensor:
    """Weights `(num_rows,)` by which the labels of each task are drawn about equally often.

    A row weighs the mean over the tasks of its label's inverse frequency; where a task's label is unknown it weighs 1.

    Args:
        labels: Each task's column of the training rows, `None` or −100 where unknown.
        num_labels: Size of each task's vocabulary.
    """
    total = torch.zeros(len(next(iter(labels.values()))), dtype=torch.float64)
    for task, column in labels.items():
        known = torch.tensor([-100 if label is None else label for label in column])
        counts = torch.bincount(known[known >= 0], minlength=num_labels[task]).double()
        inverse = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))
        total += torch.where(known >= 0, inverse[known.clamp(min=0)], 1.0)
    return total / len(labels)
