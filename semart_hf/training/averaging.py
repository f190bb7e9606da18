"""A moving average of the weights: it is evaluated, saved and chosen, while the weights themselves go on learning."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """A moving average of a model's parameters and of its floating-point buffers (BatchNorm's statistics).

    Args:
        model: The model as it is now; the average starts there.
        decay: What a step leaves of the average, below 1. Early steps leave less, so that the start is forgotten.

    Source: Tarvainen & Valpola 2017, Mean teachers are better role models, section 2; the warm-up is TensorFlow's
        `ExponentialMovingAverage` with `num_updates`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._learned = {
            name: tensor
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if tensor.is_floating_point()
        }
        self._average = {name: tensor.detach().clone() for name, tensor in self._learned.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an optimiser step.

        Args:
            step: Number of optimiser steps so far, the first is 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(self._average.values()), list(self._learned.values()), 0)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average into the model and the model's weights in its place; a second call puts them back."""
        for name, tensor in self._learned.items():
            # Copies and not new storage: optimisers, compiled graphs and distributed buffers hold on to the tensors.
            kept = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model has the averaged weights."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def learned_state(self) -> dict[str, Tensor]:
        """The weights that learn, by name, on the CPU; for a checkpoint whose model file holds the average."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self._learned.items()}

    @torch.no_grad()
    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Make the model's present weights the average, and these the weights that learn.

        Raises:
            ValueError: If the names differ.
        """
        if set(state) != set(self._learned):
            different = sorted(set(state) ^ set(self._learned))
            raise ValueError(
                f"The checkpoint's learned weights differ from the model's in {len(different)} tensors, first "
                f"{different[0]!r}. Resume with the recipe that the checkpoint was made with."
            )
        for name, tensor in self._learned.items():
            self._average[name].copy_(tensor)
            tensor.copy_(state[name])
