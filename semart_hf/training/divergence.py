"""A training that diverges is stopped at the step where it does, before a checkpoint keeps the broken weights."""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class DivergenceWatch(TrainerCallback):
    """Looks at each step's loss and gradient norm, one step late, so that an accelerator is never waited for.

    Before a line of the log, an evaluation or a checkpoint it looks at once, so that a checkpoint has nothing to hold.
    """

    def __init__(self) -> None:
        self.reset()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin without the half step that a run leaves which begins again with a smaller batch."""
        self.reset()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at everything, where a line of the log, an evaluation or a checkpoint follows."""
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self.check()

    on_epoch_end = on_step_end

    def reset(self) -> None:
        """Remove what was taken in."""
        self._rows: list[Tensor] = []
        self._numbers: dict[str, Tensor] = {}
        self._pending: list[tuple[int, dict[str, Tensor], list[Tensor]]] = []

    def add_batch(self, loss: Tensor, rows: Tensor | None) -> None:
        """Take in a batch of the present step.

        Args:
            loss: Its part of the loss, a scalar.
            rows: Indices of its rows `(batch,)`; `None` where they are not known.
        """
        self._numbers["loss"] = self._numbers.get("loss", torch.zeros_like(loss)) + loss.detach()
        if rows is not None:
            self._rows.append(rows)

    def end_step(self, step: int, gradient_norm: Any) -> None:
        """Take in the end of a step.

        Args:
            step: Its number.
            gradient_norm: Of all gradients before clipping; `None` where it is not known.

        Raises:
            ValueError: If the step before this one diverged.
        """
        if isinstance(gradient_norm, Tensor):
            self._numbers["gradient norm"] = gradient_norm.detach()
        self._pending.append((step, self._numbers, self._rows))
        self._rows, self._numbers = [], {}
        while len(self._pending) > 1:
            _check(*self._pending.pop(0))

    def check(self) -> None:
        """Look at everything that was taken in.

        Raises:
            ValueError: If a step diverged.
        """
        while self._pending:
            _check(*self._pending.pop(0))


class DivergedError(ValueError):
    """The loss or the gradient of a step is no finite number."""


def _check(step: int, numbers: dict[str, Tensor], rows: list[Tensor]) -> None:
    values = {
        name: float(number.full_tensor() if hasattr(number, "full_tensor") else number)
        for name, number in numbers.items()
    }
    broken = {name: value for name, value in values.items() if not torch.isfinite(torch.tensor(value))}
    if not broken:
        return
    indices = sorted(int(row) for part in rows for row in part.tolist() if row >= 0)
    what = " and ".join(f"the {name} is {value}" for name, value in broken.items())
    raise DivergedError(
        f"Training diverged at step {step}: {what}. The step's rows of the training data, counted from 0, are "
        f"{indices or 'not known'}. Lower learning_rate or max_grad_norm, raise warmup_steps, or take precision: "
        "fp32; if it diverges at the same rows again, look at their pictures and texts."
    )
