"""A moving average of the weights: it is evaluated, saved and chosen, while the weights themselves go on learning."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerState, TrainingArguments

LEARNED_WEIGHTS = "learned_weights.safetensors"


class WeightAverage(TrainerCallback):
    """A moving average of a model's parameters and of its floating-point buffers (BatchNorm's statistics).

    A checkpoint's model file holds the average; `save_learned` writes the weights that learn beside it. A step leaves
    `decay` of the average, an early one less, so that the start is forgotten.

    Source: Tarvainen & Valpola 2017, Mean teachers are better role models, section 2; the warm-up is TensorFlow's
        `ExponentialMovingAverage` with `num_updates`.
    """

    _learned: dict[str, Tensor]
    _average: dict[str, Tensor]

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.end()

    def begin(self, model: nn.Module) -> None:
        """Begin an average of a model with its weights as they are now."""
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._learned = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        self._average = {name: tensor.detach().clone() for name, tensor in self._learned.items()}

    def on_train_begin(self, *_: Any, model: nn.Module, **kwargs: Any) -> None:
        """Begin an average, unless a checkpoint's was loaded."""
        if not self._average:
            self.begin(model)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """Leave the averaged weights in the model, unless those of the best checkpoint were loaded."""
        if not args.load_best_model_at_end or state.best_model_checkpoint is None:
            self._exchange()
        self.end()

    def end(self) -> None:
        """Keep nothing of the model."""
        self._learned, self._average = {}, {}

    @torch.no_grad()
    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """Take the new weights into the average."""
        step = state.global_step + 1
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(self._average.values()), list(self._learned.values()), 0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model has the averaged weights; outside of training they are its own."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def save_learned(self, folder: Path) -> None:
        """Write the weights that learn."""
        learned = {name: tensor.detach().cpu().contiguous() for name, tensor in self._learned.items()}
        save_file(learned, folder / LEARNED_WEIGHTS)

    @torch.no_grad()
    def load_learned(self, folder: Path, model: nn.Module) -> None:
        """Make a model's present weights the average, and those that `save_learned` wrote the weights that learn."""
        self.begin(model)
        learned = load_file(folder / LEARNED_WEIGHTS)
        if different := sorted(learned.keys() ^ self._learned.keys()):
            raise ValueError(
                f"The checkpoint's learned weights differ from the model's in {len(different)} tensors, first "
                f"{different[0]!r}. Resume with the recipe that the checkpoint was made with."
            )
        for name, tensor in self._learned.items():
            tensor.copy_(learned[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        """Put the average into the model and the model's weights in its place; a second call puts them back."""
        for name, tensor in self._learned.items():
            # Copies and not new storage: optimisers, compiled graphs and distributed buffers hold on to the tensors.
            kept = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(kept)
