"""A training that diverges is stopped at the step where it does, before a checkpoint keeps the broken weights."""

from typing import Any

import torch
from torch import Tensor


class DivergenceWatch:
    """Looks at each step's loss and gradient norm, one step late, so that an accelerator is never waited for.

    A checkpoint or an evaluation asks at once.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was taken in."""
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
