"""Gradual unfreezing: the new layers learn first, the towers' layers join them from the top, epoch by epoch."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from semart_hf.model.modeling_semart import SemArtForArtClassification

FIELDS = ("frozen_vision_stages", "trainable_text_layers")


class Unfreezing(TrainerCallback):
    """What of a model learns in which epoch; it depends on the epoch alone, so that a checkpoint need not hold it.

    Args:
        model: The model; its configuration says what learns in the first epoch.
        schedule: By the epoch that it begins with, counted from 0, the fields of `FIELDS` that change.
        keeps_graph: Whether every parameter that ever learns must have a gradient from the first step on, as a wrapper
            for several processes needs it. It is then thrown away as long as the parameter is frozen.

    Raises:
        ValueError: If the schedule is malformed, or would freeze again what has learned.
    """

    def __init__(
        self, model: SemArtForArtClassification, schedule: Mapping[str, Mapping[str, Any]], *, keeps_graph: bool
    ) -> None:
        self.model = model
        self.keeps_graph = keeps_graph
        self.held: list[nn.Parameter] = []
        self.phases = self._read(schedule)
        self.trained_at_last = self._trainable_in(self.phases[-1][1])
        self.current: dict[str, Any] | None = None
        self.begin(0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze as in the epoch of the last step, which may be a finished run's."""
        self.begin(max(math.ceil(state.epoch or 0) - 1, 0))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze what learns from this epoch on."""
        epoch = int((state.epoch or 0) + 1e-6)
        if self.begin(epoch) and state.is_world_process_zero and epoch:
            print(f"Epoch {epoch}: unfrozen to {self.current}")

    def begin(self, epoch: int) -> bool:
        """Freeze and unfreeze for an epoch; whether anything changed.

        Args:
            epoch: Counted from 0.
        """
        phase = [fields for start, fields in self.phases if start <= epoch][-1]
        if phase == self.current:
            return False
        self.current = phase
        self._apply(phase)
        if self.keeps_graph:
            learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
            self.held = []
            for name, parameter in self.model.named_parameters():
                if name in self.trained_at_last and name not in learning:
                    parameter.requires_grad_(True)
                    self.held.append(parameter)
        return True

    def drop_held_gradients(self) -> None:
        """Remove the gradients of what is frozen for now, so that neither clipping nor the optimiser sees them."""
        for parameter in self.held:
            parameter.grad = None

    def _read(self, schedule: Mapping[str, Mapping[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
        fields = {name: getattr(self.model.config, name) for name in FIELDS}
        phases = [(0, fields)]
        trained = self._trainable_in(fields)
        epochs: dict[int, Mapping[str, Any]] = {}
        for key, changes in schedule.items():
            if (
                not str(key).isdigit()
                or int(key) < 1
                or not isinstance(changes, Mapping)
                or set(changes) - set(FIELDS)
            ):
                raise ValueError(
                    f"unfreezing has the entry {key}: {changes!r}, but it maps an epoch from 1 on to some of "
                    f"{list(FIELDS)}. Write e.g. unfreezing: {{2: {{frozen_vision_stages: 2}}}}."
                )
            epochs[int(key)] = changes
        for epoch in sorted(epochs):
            fields = {**fields, **epochs[epoch]}
            learning = self._trainable_in(fields)
            if not trained <= learning:
                raise ValueError(
                    f"unfreezing sets {dict(epochs[epoch])} in epoch {epoch}, which freezes what has learned before. "
                    "Freeze less from epoch to epoch."
                )
            trained = learning
            phases.append((epoch, fields))
        self._apply(phases[0][1])
        return phases

    def _trainable_in(self, fields: Mapping[str, Any]) -> set[str]:
        self._apply(fields)
        return {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def _apply(self, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            setattr(self.model.config, name, value)
        self.model.freeze()
