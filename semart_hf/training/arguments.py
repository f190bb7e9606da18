"""The Trainer's arguments: this model's defaults, and what each field of `transformers` does here."""
# ruff: noqa: RUF009 (`described` gives a field)

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames

from semart_hf.data.data_arguments import check_values, described
from semart_hf.model.techniques_semart import PRECISIONS, computes_bf16
from semart_hf.recipes.recipe import LearningArguments

from .losses import loss_parts

# Words in the names of metrics of which less is better.
_SMALLER_IS_BETTER = ("loss", "error", "brier")
#: Fields that are obeyed, and what is different here beside their defaults.
NOTES = {
    "optim": "All optimisers but those that make their own parameter groups (GaLore, APOLLO, LOMO, AdaLOMO).",
    "label_smoothing_factor": "A part of this package's loss, so that it combines with the others.",
    "prediction_loss_only": "Needs `metric_for_best_model: loss` where validation runs.",
    "use_cpu": "true where there is no accelerator: several processes would otherwise train independent models.",
    "dataloader_drop_last": "Of training alone: validation reads every row. An epoch without a step is refused.",
    "dataloader_num_workers": "At most the machine's cores, unless rows are streamed; the batches are the same.",
    "train_sampling_strategy": "Streamed data take `random` alone.",
    "length_column_name": "Without such a column, `group_by_length` takes the lengths of the texts.",
    "do_train": "Training is what the command does; true changes nothing.",
    "do_eval": "`eval_strategy` says whether validation runs; true needs one that is not `no`.",
    "do_predict": "The test split is always evaluated at the end; true changes nothing.",
}
#: Fields of which one value is allowed: that value, why, and what to write instead of another.
REFUSED: dict[str, tuple[Any, str]] = {
    "fp16": (False, "These towers are trained in bfloat16 or float32. Set precision: bf16, or fp32."),
    "bf16_full_eval": (False, "Validation computes as training does. Set precision: bf16."),
    "fp16_full_eval": (False, "Validation computes as training does. Set precision: bf16."),
    "average_tokens_across_devices": (True, "A step's loss is that of its rows in all processes. Leave it out."),
    "optim_target_modules": (None, "It belongs to optimisers that make their own parameter groups. Leave it out."),
    "use_liger_kernel": (False, "It has no kernels for these towers. Set torch_compile: true to compile them."),
    "liger_kernel_config": (None, "Liger has no kernels for these towers. Set torch_compile: true to compile them."),
    "use_cache": (False, "It is for models that generate text. Leave it out."),
    "neftune_noise_alpha": (None, "Frozen text layers are read from a cache, which has no noise. Set text_dropout."),
    "logging_nan_inf_filter": (False, "It would hide a loss that is no number; training stops there. Leave it out."),
    "include_num_input_tokens_seen": ("no", "It would count pixels; the log has rows_per_second. Leave it out."),
    "eval_do_concat_batches": (True, "The metrics are those of the whole split. Leave it out."),
    "include_for_metrics": ([], "The metrics need logits and labels alone. Leave it out."),
    "batch_eval_metrics": (False, "Macro scores are no means of batches. Set eval_accumulation_steps to save memory."),
    "debug": ([], "It reads no masks. A training that diverges names the step and its rows. Leave it out."),
    "enable_jit_checkpoint": (False, "SIGTERM always saves a checkpoint here. Leave it out."),
    "accelerator_config": (None, "This package divides rows among processes itself. Leave it out."),
    "parallelism_config": (None, "Models of this size are not split by layers. Launch with DDP or FSDP."),
    "dataloader_in_order": (True, "A run whose batches come in any order cannot be resumed exactly. Leave it out."),
    "remove_unused_columns": (False, "It would take pictures and texts from the collator. Leave it out."),
    "label_names": (None, "The labels are the columns that tasks names. Set tasks."),
    "deepspeed": (None, "Parameter groups and checkpoints are those of DDP and FSDP. Launch with one of these."),
}
_ACCELERATOR = vars(AcceleratorConfig())
_OWN_GROUPS = ("galore", "apollo", "lomo")


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
    overwrite_output_dir: bool = described(False, "Whether a model that output_dir holds is replaced.")
    precision: str = described("auto", "auto: bf16 where the hardware computes in it.", choices=list(PRECISIONS))
    bf16: bool | None = described(None, "The same as precision; null: precision decides.")
    eval_strategy: IntervalStrategy | str = described("epoch", "When validation runs.")
    save_strategy: SaveStrategy | str = described("epoch", "When checkpoints are written.")
    save_total_limit: int | None = described(2, "Checkpoints kept; the best is always among them.")
    load_best_model_at_end: bool = described(True, "Whether the best checkpoint is the result.")
    metric_for_best_model: str | None = described("mean_macro_f1", "What best means; validation must have it.")
    greater_is_better: bool | None = described(None, "null: false for losses, errors and Brier scores, else true.")
    logging_steps: float = described(20, "Steps between two lines of the log.")
    dataloader_persistent_workers: bool = described(True, "Whether training's workers live as long as the run.")
    # Parameters that a batch does not use get a zero gradient from the model: nothing has to be searched for.
    ddp_find_unused_parameters: bool | None = described(False, "Should stay false.")
    logging_nan_inf_filter: bool = described(False, "Must stay false.")
    # The collator reads the columns `image` and `text`, which no forward() has by name.
    remove_unused_columns: bool = described(False, "Must stay false.")

    def __post_init__(self) -> None:
        self.output_dir = os.path.expanduser(self.output_dir or "outputs/model")
        given = dict(vars(self))
        self.metric_for_best_model = self.metric_for_best_model or "loss"
        _check_fields(self)
        loss_parts(self.loss)
        if not torch.accelerator.is_available():
            # Without it, several processes on a machine without an accelerator train independent models.
            self.use_cpu = True
        self.bf16 = self._chooses_bf16()
        object.__setattr__(self, "report_to", self.__dict__["report_to"] or "none")
        if self.greater_is_better is None:
            self.greater_is_better = not any(word in self.metric_for_best_model for word in _SMALLER_IS_BETTER)
        self.dataloader_persistent_workers &= self.dataloader_num_workers > 0
        super().__post_init__()
        # Fields that follow from others, as they were given.
        self.left_open = {name: value for name, value in given.items() if value != vars(self)[name]}

    def _chooses_bf16(self) -> bool:
        """Whether training computes in bfloat16, by `precision`, `bf16` and the launcher, which must agree."""
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if launched not in ("no", "bf16"):
            raise ValueError(
                f"The launcher asks for mixed precision {launched!r}. Launch with --mixed_precision bf16, or no."
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
        towers = {"vision": self.vision_learning_rate, "text": self.text_learning_rate}
        rates = {part: self.learning_rate if rate is None else rate for part, rate in towers.items()}
        return {**rates, "new": self.learning_rate, "lexicon": self.lexicon_learning_rate}


def _check_fields(arguments: SemArtTrainingArguments) -> None:
    """Refuse every value that would have no effect, or end the run later."""
    for name, (allowed, advice) in REFUSED.items():
        value = getattr(arguments, name)
        is_off = not value and allowed in (None, False, [], "no")
        if isinstance(value, dict | AcceleratorConfig) and name == "accelerator_config":
            # What transformers has put in the place of one that was left out.
            is_off = {**_ACCELERATOR, **(value if isinstance(value, dict) else vars(value))} == _ACCELERATOR
        if not (value == allowed or is_off):
            raise ValueError(f"{name} is {value!r}, but only {_yaml(allowed)} is allowed here. {advice}")
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    if any(kind in optimizer for kind in _OWN_GROUPS):
        others = [choice.value for choice in OptimizerNames if not any(kind in choice.value for kind in _OWN_GROUPS)]
        raise ValueError(
            f"optim is {optimizer!r}, which makes parameter groups of its own, but here each part of the model "
            f"has a learning rate of its own. Choose among {others}."
        )
    check_values(arguments)
    has_no_epoch = arguments.num_train_epochs <= 0 and arguments.head_init == "random"
    if arguments.max_steps == 0 or (arguments.max_steps < 0 and has_no_epoch):
        raise ValueError(
            f"num_train_epochs is {arguments.num_train_epochs} and max_steps {arguments.max_steps}, which would have "
            "no step. Set max_steps above 0, or leave it out and set num_train_epochs above 0."
        )
    metric, patience = str(arguments.metric_for_best_model), arguments.early_stopping_patience
    has_no_validation = arguments.eval_strategy == IntervalStrategy.NO
    if arguments.prediction_loss_only and not has_no_validation and metric.removeprefix("eval_") != "loss":
        raise ValueError(
            f"prediction_loss_only is true, but validations are compared by {metric}. Set metric_for_best_model: loss."
        )
    if has_no_validation and (arguments.do_eval or patience is not None):
        asked = "do_eval is true" if arguments.do_eval else f"early_stopping_patience is {patience}"
        raise ValueError(f"{asked}, but eval_strategy is no. Set eval_strategy: epoch, or steps.")


def field_rows() -> Iterator[tuple[str, str, str]]:
    """Name, treatment and remark of every field of `TrainingArguments`, in its order."""
    for field in fields(TrainingArguments):
        if field.name in REFUSED:
            allowed, advice = REFUSED[field.name]
            yield field.name, f"only `{_yaml(allowed)}`", advice
            continue
        remark = NOTES.get(field.name, "")
        if field.name in SemArtTrainingArguments.__annotations__:
            own = SemArtTrainingArguments.__dataclass_fields__[field.name]
            remark = f"{own.metadata['help']} The default is `{_yaml(own.default)}`."
        yield field.name, "obeyed" if remark else "as in transformers", remark


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower()
