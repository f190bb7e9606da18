"""The Trainer's arguments with the defaults that this model needs."""
# ruff: noqa: RUF009 (`described` gives a field)

import os
from dataclasses import dataclass

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from semart_hf.data.data_arguments import described
from semart_hf.model.techniques_semart import PRECISIONS, computes_bf16
from semart_hf.recipes.recipe import LearningArguments

from .argument_fields import check_fields
from .losses import loss_parts

# Words in the names of metrics of which less is better.
_SMALLER_IS_BETTER = ("loss", "error", "brier")


@dataclass
class SemArtTrainingArguments(LearningArguments, TrainingArguments):
    """`transformers.TrainingArguments`, whose every field is obeyed or refused by name, with this model's defaults.

    docs/recipes.md says what each field does here.

    Raises:
        ValueError: If a field has a value that is not obeyed.

    Example:
        >>> SemArtTrainingArguments(output_dir="outputs/model", precision="fp32").bf16
        False
    """

    output_dir: str | None = described("outputs/model", "The finished model and its checkpoints.")
    overwrite_output_dir: bool = described(
        False, "Whether output_dir may already hold a model, which is then replaced."
    )
    precision: str = described(
        "auto", "bf16 or fp32; auto: bf16 where the hardware computes in it.", choices=list(PRECISIONS)
    )
    bf16: bool | None = described(None, "The same as precision; null: precision decides.")
    eval_strategy: IntervalStrategy | str = described("epoch", "When validation runs.")
    save_strategy: SaveStrategy | str = described("epoch", "When checkpoints are written.")
    save_total_limit: int | None = described(2, "Checkpoints kept; the best is always among them.")
    load_best_model_at_end: bool = described(True, "Whether the best checkpoint is the result.")
    metric_for_best_model: str | None = described("mean_macro_f1", "What best means.")
    greater_is_better: bool | None = described(
        None, "Whether a larger metric is better. null: as the metric's name says."
    )
    logging_steps: float = described(20, "Steps between two lines of the log.")
    dataloader_persistent_workers: bool = described(True, "Whether training's workers live as long as the run.")
    # Parameters that a batch does not use get a zero gradient from the model: nothing has to be searched for.
    ddp_find_unused_parameters: bool | None = described(False, "Should stay false.")
    logging_nan_inf_filter: bool = described(False, "Must stay false.")
    # The collator reads the columns `image` and `text`, which no forward() has by name.
    remove_unused_columns: bool = described(False, "Must stay false.")

    def __post_init__(self) -> None:
        """Refuse what is not obeyed, and choose processor and precision."""
        self.output_dir = self.output_dir or "outputs/model"
        check_fields(self)
        loss_parts(self.loss)
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
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if launched not in ("no", "bf16"):
            raise ValueError(
                f"The launcher asks for mixed precision {launched!r}, but this model is trained in bf16 or fp32. "
                "Launch with --mixed_precision bf16, or no, and set precision in the recipe."
            )
        asked = {
            "precision": None if self.precision == "auto" else self.precision,
            "bf16": None if self.bf16 is None else "bf16" if self.bf16 else "fp32",
            "the launcher's --mixed_precision": None if launched == "no" else launched,
        }
        asked = {name: precision for name, precision in asked.items() if precision is not None}
        if len({*asked.values()}) > 1:
            raise ValueError(f"Got different precisions: {asked}. One is allowed. Leave the others out.")
        if asked:
            return "bf16" in asked.values()
        return computes_bf16("cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu")

    def learning_rates(self) -> dict[str, float]:
        """Learning rate of the vision tower, the text tower, the new layers and the lexicon."""
        vision, text = self.vision_learning_rate, self.text_learning_rate
        return {
            "vision": self.learning_rate if vision is None else vision,
            "text": self.learning_rate if text is None else text,
            "new": self.learning_rate,
            "lexicon": self.lexicon_learning_rate,
        }
