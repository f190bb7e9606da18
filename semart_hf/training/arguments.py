"""The Trainer's arguments with the defaults that this model needs."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from semart_hf.model.speed_semart import PRECISIONS, computes_bf16

from .losses import LossSettings
from .recipe import SAMPLINGS, LearningArguments


@dataclass
class SemArtTrainingArguments(LearningArguments, TrainingArguments):
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
    # Parameters that a batch does not use get a zero gradient from the model: nothing has to be searched for.
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "Should stay false."})
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
        if not 0 <= self.modality_loss < math.inf:
            raise ValueError(
                f"modality_loss is {self.modality_loss}, but it is a weight beside 1: give 0 or more, e.g. 0.5."
            )
        if not torch.accelerator.is_available():
            # Without it, several processes on a machine without an accelerator train independent models.
            self.use_cpu = True
        device = "cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu"
        if self.precision == "bf16" or (self.precision == "auto" and computes_bf16(device)):
            self.bf16 = True
        super().__post_init__()

    def learning_rates(self) -> dict[str, float]:
        """Learning rate of the vision tower, the text tower, the new layers and the lexicon."""
        rates = {
            "vision": self.vision_learning_rate,
            "text": self.text_learning_rate,
            "new": self.learning_rate,
            "lexicon": self.lexicon_learning_rate,
        }
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
