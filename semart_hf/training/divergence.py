"""A training that diverges is stopped at the step where it does, before a checkpoint keeps the broken weights."""

import math
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class DivergedError(ValueError):
    """The loss or the gradient of a step is no finite number."""


class DivergenceWatch(TrainerCallback):
    """Looks at each step's loss and gradient norm, one step late, so that an accelerator is never waited for.

    Before a line of the log, an evaluation or a checkpoint it looks at once, so that a checkpoint has nothing to hold.
    """

    def __init__(self) -> None:
        self.on_train_begin()

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Forget all steps: a run that begins again with a smaller batch leaves half of one."""
        self._batches: list[tuple[Tensor, Tensor | None]] = []
        self._pending: list[tuple[int, dict[str, Any], list[Tensor]]] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at everything, where a line of the log, an evaluation or a checkpoint follows."""
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self.check()

    on_epoch_end = on_step_end

    def add_batch(self, loss: Tensor, rows: Tensor | None) -> None:
        """Take in a batch of the present step: its part of the loss, and its rows' indices `(batch,)` if known."""
        self._batches.append((loss.detach(), rows))

    def end_step(self, step: int, gradient_norm: Any) -> None:
        """Take in the end of a step, with the norm of all gradients before clipping, and check the one before."""
        numbers = {"loss": sum(loss for loss, _ in self._batches), "gradient norm": gradient_norm}
        self._pending.append((step, numbers, [rows for _, rows in self._batches if rows is not None]))
        self._batches = []
        self.check(but_the_last=1)

    def check(self, but_the_last: int = 0) -> None:
        """Raise a `DivergedError` if a step that was taken in diverged."""
        while len(self._pending) > but_the_last:
            step, numbers, rows = self._pending.pop(0)
            values = {
                name: float(number.full_tensor() if hasattr(number, "full_tensor") else number or 0)
                for name, number in numbers.items()
            }
            if broken := [f"the {name} is {value}" for name, value in values.items() if not math.isfinite(value)]:
                indices = sorted(int(row) for part in rows for row in part.tolist() if row >= 0)
                raise DivergedError(
                    f"Training diverged at step {step}: {' and '.join(broken)}. The step's rows of the training data, "
                    f"counted from 0, are {indices or 'not known'}. Lower learning_rate or max_grad_norm, raise "
                    "warmup_steps, or take precision: fp32; if it diverges at the same rows again, look at their "
                    "pictures and texts."
                )
