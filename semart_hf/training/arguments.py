"""The Trainer's arguments with the defaults that this model needs."""

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

PRECISIONS = ("auto", "bf16", "fp32")


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
        if not torch.accelerator.is_available():
            # Without it, several processes on a machine without an accelerator train independent models.
            self.use_cpu = True
        if self.precision == "bf16" or (self.precision == "auto" and computes_bf16(self.use_cpu)):
            self.bf16 = True
        super().__post_init__()


def computes_bf16(use_cpu: bool) -> bool:
    """Whether the hardware has matrix units for bfloat16: a GPU of compute capability 8 or later, or a CPU with AMX.

    Args:
        use_cpu: Whether the CPU is asked about although there may be a GPU.
    """
    if not use_cpu and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported())
