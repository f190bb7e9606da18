"""The Trainer's arguments with the defaults that this model needs."""

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from semart_hf.model.techniques_semart import PRECISIONS, computes_bf16

from .argument_fields import check_fields
from .losses import LossSettings
from .recipe import LearningArguments

# Words in the names of metrics of which less is better.
_SMALLER_IS_BETTER = ("loss", "error", "brier")


@dataclass
class SemArtTrainingArguments(LearningArguments, TrainingArguments):
    """`transformers.TrainingArguments`, whose every field is obeyed or refused by name, with this model's defaults.

    Evaluation, saving and the choice of the best checkpoint are on unless a recipe turns them off. docs/recipes.md
    says what each field does here.

    Example:
        >>> SemArtTrainingArguments(output_dir="outputs/model", precision="fp32").bf16
        False
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
    bf16: bool | None = field(default=None, metadata={"help": "The same as precision; null: precision decides."})
    eval_strategy: IntervalStrategy | str = field(default="epoch", metadata={"help": "When validation runs."})
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "When checkpoints are written."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints kept; the best is always among them."}
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Whether the best checkpoint is the result."})
    metric_for_best_model: str | None = field(default="mean_macro_f1", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(
        default=None, metadata={"help": "Whether a larger metric is better. null: as the metric's name says."}
    )
    logging_steps: float = field(default=20, metadata={"help": "Steps between two lines of the log."})
    dataloader_persistent_workers: bool = field(
        default=True, metadata={"help": "Whether training's workers live as long as the run."}
    )
    # Parameters that a batch does not use get a zero gradient from the model: nothing has to be searched for.
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "Should stay false."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Must stay false."})
    # The collator reads the columns `image` and `text`, which no forward() has by name.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay false."})

    def __post_init__(self) -> None:
        """Choose processor and precision.

        Raises:
            ValueError: If a field has a value that is not obeyed.
        """
        self.output_dir = self.output_dir or "outputs/model"
        check_fields(self)
        self.loss_settings()
        self.unfreezing_schedule()
        if not torch.accelerator.is_available():
            # Without it, several processes on a machine without an accelerator train independent models.
            self.use_cpu = True
        self.bf16 = self._chooses_bf16()
        object.__setattr__(self, "report_to", self.__dict__["report_to"] or "none")
        if self.greater_is_better is None:
            self.greater_is_better = not any(
                word in (self.metric_for_best_model or "loss") for word in _SMALLER_IS_BETTER
            )
        self.dataloader_persistent_workers &= self.dataloader_num_workers > 0
        super().__post_init__()

    def _chooses_bf16(self) -> bool:
        """Whether training computes in bfloat16, by `precision`, `bf16` and the launcher, which must agree."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, but it must be one of {PRECISIONS}. Choose one.")
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if launched not in ("no", "bf16"):
            raise ValueError(
                f"The launcher asks for mixed precision {launched!r}, but this model is trained in bf16 or fp32. "
                "Launch with --mixed_precision bf16, or no, and set precision in the recipe."
            )
        asked = {"precision": None if self.precision == "auto" else self.precision == "bf16", "bf16": self.bf16}
        asked["the launcher's --mixed_precision"] = True if launched == "bf16" else None
        answers = {name: answer for name, answer in asked.items() if answer is not None}
        if len(set(answers.values())) > 1:
            precisions = {name: "bf16" if answer else "fp32" for name, answer in answers.items()}
            raise ValueError(f"Got different precisions: {precisions}. One is allowed. Leave the others out.")
        if answers:
            return next(iter(answers.values()))
        return computes_bf16("cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu")

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
            logit_adjustment_tau=self.logit_adjustment_tau,
            ordinal_years=self.ordinal_years,
        )

    def unfreezing_schedule(self) -> dict[str, Any]:
        """By epoch, what is frozen from then on.

        Raises:
            ValueError: If it is no table.
        """
        schedule = {} if self.unfreezing is None else self.unfreezing
        if not isinstance(schedule, dict) or not all(isinstance(fields, dict) for fields in schedule.values()):
            raise ValueError(
                f"unfreezing is {self.unfreezing!r}, but it maps epochs to what is frozen from then on. Write e.g. "
                "unfreezing: {2: {frozen_vision_stages: 2}}."
            )
        return schedule
