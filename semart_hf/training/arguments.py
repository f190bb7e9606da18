"""The Trainer's arguments with the defaults that this model needs."""

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .losses import LossSettings

PRECISIONS = ("auto", "bf16", "fp32")
SAMPLINGS = ("shuffled", "balanced")


@dataclass
class SemArtTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments`, whose every field is allowed in a recipe, with this model's defaults.

    Evaluation, saving and the choice of the best checkpoint are on unless a recipe turns them off.
    """

    output_dir: str | None = field(
        default="outputs/model", metadata={"help": "The finished model and its checkpoints."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Whether output_dir may already hold a model, which is then replaced."}
    )
    precision: str = field(
        default="auto",
        metadata={"help": "bf16 or fp32; auto: bf16 where the hardware computes in it.", "choices": list(PRECISIONS)},
    )
    eval_strategy: IntervalStrategy | str = field(default="epoch", metadata={"help": "When validation runs."})
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "When checkpoints are written."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints kept; the best is always among them."}
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Whether the best checkpoint is the result."})
    metric_for_best_model: str | None = field(default="mean_macro_f1", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether a larger metric is better."})
    logging_steps: float = field(default=20, metadata={"help": "Steps between two lines of the log."})
    vision_learning_rate: float | None = field(
        default=None, metadata={"help": "Of the vision tower; null: learning_rate."}
    )
    text_learning_rate: float | None = field(
        default=None, metadata={"help": "Of the text tower; null: learning_rate."}
    )
    layer_decay: float = field(
        default=1.0, metadata={"help": "Factor of the learning rate from a tower's layer to the one below it."}
    )
    loss: dict | str | None = field(  # type: ignore[type-arg]  # the parser takes the bare class only
        default="cross_entropy",
        metadata={
            "help": "Parts joined by + of cross_entropy, class_weighted, effective_number, focal, logit_adjusted, "
            "ordinal (periods); for all tasks, or by task with `default` for the others."
        },
    )
    class_weight_power: float = field(default=1.0, metadata={"help": "Of class_weighted: power of 1 / frequency."})
    effective_number_beta: float = field(default=0.999, metadata={"help": "Of effective_number."})
    focal_gamma: float = field(default=2.0, metadata={"help": "Of focal."})
    logit_adjustment_tau: float = field(
        default=1.0, metadata={"help": "Of logit_adjusted: 1 balances the classes, 0 is plain cross-entropy."}
    )
    ordinal_years: float = field(
        default=25.0, metadata={"help": "Of ordinal: years at which a neighbour's share of the target falls to 1 / e."}
    )
    sampling: str = field(
        default="shuffled",
        metadata={
            "help": "shuffled: every row once an epoch; balanced: rows of rare labels more often.",
            "choices": list(SAMPLINGS),
        },
    )
    mixup: float = field(
        default=0.0, metadata={"help": "Share of training rows whose picture is mixed with another's, without text."}
    )
    mixup_alpha: float = field(default=0.4, metadata={"help": "Of the beta distribution of the mixture's shares."})
    ema_decay: float = field(
        default=0.0, metadata={"help": "Of a moving average of the weights, which is then the result; 0: none."}
    )
    unfreezing: dict | str | None = field(  # type: ignore[type-arg]
        default=None,
        metadata={"help": 'By epoch, what is frozen from it on, e.g. \'{"2": {"frozen_vision_stages": 1}}\'.'},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Validations without a better metric after which training stops."}
    )
    # It would hide a loss that is no number; training stops there instead.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Must stay false."})
    # The collator reads the columns `image` and `text`, which no forward() has by name.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay false."})

    def __post_init__(self) -> None:
        """Choose processor and precision.

        Raises:
            ValueError: If the precision is unknown, or columns were to be removed.
        """
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, but it must be one of {PRECISIONS}.")
        if self.remove_unused_columns:
            raise ValueError(
                "remove_unused_columns is true, but that takes the pictures and texts from the collator. Leave it out."
            )
        self._read_tables()
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling is {self.sampling!r}, but it must be one of {SAMPLINGS}.")
        if not 0 <= self.ema_decay < 1 or self.layer_decay <= 0:
            raise ValueError(
                f"ema_decay is {self.ema_decay} and layer_decay {self.layer_decay}, but they must lie from 0 to below "
                "1, and above 0."
            )
        if not torch.accelerator.is_available():
            # Without it, several processes on a machine without an accelerator train independent models.
            self.use_cpu = True
        if self.precision == "bf16" or (self.precision == "auto" and computes_bf16(self.use_cpu)):
            self.bf16 = True
        super().__post_init__()

    def learning_rates(self) -> dict[str, float]:
        """Learning rate of the vision tower, the text tower and the new layers."""
        rates = {"vision": self.vision_learning_rate, "text": self.text_learning_rate, "new": self.learning_rate}
        return {part: self.learning_rate if rate is None else rate for part, rate in rates.items()}

    def loss_settings(self) -> LossSettings:
        """How the losses are made.

        Raises:
            ValueError: If a part is unknown or a number out of range.
        """
        return LossSettings(
            loss=self.loss or "cross_entropy",
            label_smoothing=self.label_smoothing_factor,
            class_weight_power=self.class_weight_power,
            effective_number_beta=self.effective_number_beta,
            focal_gamma=self.focal_gamma,
            logit_adjustment_tau=self.logit_adjustment_tau,
            ordinal_years=self.ordinal_years,
        )

    def unfreezing_schedule(self) -> dict[str, Any]:
        """What thaws in which epoch.

        Raises:
            ValueError: If it is no table.
        """
        if isinstance(self.unfreezing, str):
            raise ValueError(
                f"unfreezing is {self.unfreezing!r}, but it maps epochs to what is frozen from then on. Write e.g. "
                "unfreezing: {2: {frozen_vision_stages: 2}}."
            )
        return self.unfreezing or {}

    def _read_tables(self) -> None:
        for name in ("loss", "unfreezing"):
            value = getattr(self, name)
            if isinstance(value, str) and value.lstrip().startswith("{"):
                try:
                    setattr(self, name, json.loads(value))
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"{name} is {value!r}, which is not JSON ({error}). Write e.g. '{{\"key\": 1}}'."
                    ) from error
        self.loss_settings()
        self.unfreezing_schedule()


def computes_bf16(use_cpu: bool) -> bool:
    """Whether the hardware has matrix units for bfloat16: a GPU of compute capability 8 or later, or a CPU with AMX.

    Args:
        use_cpu: Whether the CPU is asked about although there may be a GPU.
    """
    if not use_cpu and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported())
