"""The order of training rows, and the numbers that all randomness of a row is drawn from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

# Under this key a training row carries (seed, epoch, index): all its randomness is drawn from these three numbers.
DRAW_KEY = "draw"


class TrainingPaintings(Dataset[dict[str, Any]]):
    """Rows of a dataset with the numbers of their draw, for the keys `(epoch, index)` that `SeededSampler` gives.

    Args:
        paintings: A `datasets.Dataset`, or any sequence of rows.
        seed: Seed of augmentation and modality dropout.
    """

    def __init__(self, paintings: Sequence[Mapping[str, Any]], seed: int) -> None:
        self.paintings = paintings
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paintings)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        return {**self.paintings[index], DRAW_KEY: (self.seed, epoch, index)}


class SeededSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` in an order that depends on the seed and the epoch alone.

    The epoch travels with the index, so that workers which prefetch, and a resumed run which skips batches, draw the
    same augmentation as an uninterrupted run.

    Args:
        num_rows: Number of training rows.
        seed: Seed of the order; the same in every process.
    """

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration orders."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        epoch = self.epoch
        for index in torch.randperm(self.num_rows, generator=generator).tolist():
            yield epoch, index
