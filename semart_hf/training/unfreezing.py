"""Gradual unfreezing: the new layers learn first, the towers' layers join them from the top, epoch by epoch."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerState, TrainingArguments

from semart_hf.model.modeling_semart import SemArtForArtClassification

from .arguments import UNFREEZING_FIELDS


class Unfreezing(TrainerCallback):
    """What of a model learns in which epoch; it depends on the epoch alone, so that a checkpoint need not hold it.

    With `keeps_graph` every parameter that ever learns has a gradient from the first step on, as a wrapper for several
    processes needs it, which is thrown away as long as the parameter is frozen.

    Raises:
        ValueError: If the schedule would freeze again what has learned.
    """

    def __init__(
        self, model: SemArtForArtClassification, schedule: Mapping[int, Mapping[str, Any]], *, keeps_graph: bool
    ) -> None:
        self.model = model
        self.keeps_graph = keeps_graph
        self.held: list[nn.Parameter] = []
        self.phases = {0: {name: getattr(model.config, name) for name in UNFREEZING_FIELDS}}
        # Without a schedule learns what the model was given with, such as adapters that were put into it.
        self.trained_at_last = self._apply(self.phases[0]) if schedule else self._learning()
        for epoch, changes in schedule.items():
            self.phases[epoch] = {**list(self.phases.values())[-1], **changes}
            learning = self._apply(self.phases[epoch])
            if not self.trained_at_last <= learning:
                raise ValueError(
                    f"unfreezing sets {changes} in epoch {epoch}, which freezes what has learned before. Freeze less "
                    "from epoch to epoch."
                )
            self.trained_at_last = learning
        self.current: dict[str, Any] | None = None if schedule else self.phases[0]
        self.begin(0)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """Freeze as in the epoch of the last step, which may be a finished run's."""
        self.begin(max(math.ceil(state.epoch or 0) - 1, 0))

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """Unfreeze what learns from this epoch on."""
        epoch = int((state.epoch or 0) + 1e-6)
        if self.begin(epoch) and state.is_world_process_zero and epoch:
            print(f"Epoch {epoch}: unfrozen to {self.current}")

    def begin(self, epoch: int) -> bool:
        """Freeze and unfreeze for an epoch, counted from 0; whether anything changed."""
        phase = [fields for start, fields in self.phases.items() if start <= epoch][-1]
        if phase == self.current:
            return False
        self.current = phase
        learning = self._apply(phase)
        if self.keeps_graph:
            later = self.trained_at_last - learning
            self.held = [parameter for name, parameter in self.model.named_parameters() if name in later]
            for parameter in self.held:
                parameter.requires_grad_(True)
        return True

    def drop_held_gradients(self) -> None:
        """Remove the gradients of what is frozen for now, so that neither clipping nor the optimiser sees them."""
        for parameter in self.held:
            parameter.grad = None

    def _apply(self, fields: Mapping[str, Any]) -> set[str]:
        """Freeze by fields of the configuration; names of what learns."""
        for name, value in fields.items():
            setattr(self.model.config, name, value)
        self.model.freeze()
        return self._learning()

    def _learning(self) -> set[str]:
        return {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
