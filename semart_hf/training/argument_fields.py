"""What each field of `transformers.TrainingArguments` does here: as there, differently, or refused by name."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from semart_hf.data.data_arguments import check_values

#: Fields that are obeyed, and what is different here.
NOTES = {
    "output_dir": "`outputs/model` where a recipe names none.",
    "optim": "All optimisers but those that make their own parameter groups (GaLore, APOLLO, LOMO, AdaLOMO).",
    "label_smoothing_factor": "A part of this package's loss, so that it combines with the others.",
    "bf16": "null: `precision` decides. true is `precision: bf16`, false is `precision: fp32`.",
    "logging_steps": "The default is 20.",
    "eval_strategy": "The default is `epoch`.",
    "prediction_loss_only": "Needs `load_best_model_at_end: false` or `metric_for_best_model: loss`.",
    "save_strategy": "The default is `epoch`.",
    "save_total_limit": "The default is 2; the best checkpoint is always among them.",
    "load_best_model_at_end": "The default is true.",
    "metric_for_best_model": "The default is `mean_macro_f1`. A metric that validation lacks is refused.",
    "greater_is_better": "null: false for losses, errors and Brier scores, true for every other metric.",
    "use_cpu": "true where there is no accelerator: several processes would otherwise train independent models.",
    "dataloader_drop_last": "Of training alone: validation reads every row. An epoch without a step is refused.",
    "dataloader_num_workers": "At most the machine's cores, unless rows are streamed; the batches are the same.",
    "dataloader_persistent_workers": "The default is true. Of training alone.",
    "ddp_find_unused_parameters": "The default is false: what a batch does not use gets a gradient of zero.",
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
    "enable_jit_checkpoint": (False, "SIGTERM always saves a checkpoint here. Leave it out."),
    "accelerator_config": (None, "This package divides rows among processes itself. Leave it out."),
    "parallelism_config": (None, "Models of this size are not split by layers. Launch with DDP or FSDP."),
    "dataloader_in_order": (True, "A run whose batches come in any order cannot be resumed exactly. Leave it out."),
    "remove_unused_columns": (False, "It would take pictures and texts from the collator. Leave it out."),
    "label_names": (None, "The labels are the columns that tasks names. Set tasks."),
    "deepspeed": (None, "Parameter groups and checkpoints are those of DDP and FSDP. Launch with one of these."),
}
_OWN_GROUPS = ("galore", "apollo", "lomo")


def check_fields(arguments: TrainingArguments) -> None:
    """Refuse every value that would have no effect, or end the run later."""
    for name, (allowed, advice) in REFUSED.items():
        value = getattr(arguments, name)
        is_off = not value and allowed in (None, False, [], "no")
        if not (value == allowed or is_off or _is_filled_in(name, value)):
            raise ValueError(f"{name} is {value!r}, but only {_yaml(allowed)} is allowed here. {advice}")
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    if any(kind in optimizer for kind in _OWN_GROUPS):
        others = [choice.value for choice in OptimizerNames if not any(kind in choice.value for kind in _OWN_GROUPS)]
        raise ValueError(
            f"optim is {optimizer!r}, which makes parameter groups of its own, but here each part of the model has a "
            f"learning rate of its own. Choose among {others}."
        )
    check_values(arguments)
    if arguments.max_steps == 0 or (
        arguments.max_steps < 0 and arguments.num_train_epochs <= 0 and arguments.head_init == "random"
    ):
        raise ValueError(
            f"num_train_epochs is {arguments.num_train_epochs} and max_steps {arguments.max_steps}, which would have "
            "no step. Set max_steps above 0, or leave it out and set num_train_epochs above 0."
        )
    strategy = str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))
    metric = str(arguments.metric_for_best_model or "loss").removeprefix("eval_")
    patience = getattr(arguments, "early_stopping_patience", None)
    is_compared = arguments.load_best_model_at_end or patience is not None
    if arguments.prediction_loss_only and is_compared and metric != "loss":
        raise ValueError(
            f"prediction_loss_only is true, but checkpoints are compared by {metric}, which needs the predictions. "
            "Set metric_for_best_model: loss, or leave prediction_loss_only out."
        )
    if strategy == "no" and (arguments.do_eval or patience is not None):
        asked = "do_eval is true" if arguments.do_eval else f"early_stopping_patience is {patience}"
        raise ValueError(f"{asked}, but eval_strategy is no. Set eval_strategy: epoch, or steps.")


def field_rows() -> Iterator[tuple[str, str, str]]:
    """Name, treatment and remark of every field of `TrainingArguments`, in its order."""
    for field in fields(TrainingArguments):
        if field.name in REFUSED:
            allowed, advice = REFUSED[field.name]
            yield field.name, f"only `{_yaml(allowed)}`", advice
        else:
            remark = NOTES.get(field.name, "")
            yield field.name, "obeyed" if remark else "as in transformers", remark


def _is_filled_in(name: str, value: Any) -> bool:
    """Whether transformers has already put its defaults in the place of a field that was left out."""
    return (name == "label_names" and value == ["labels"]) or (name == "accelerator_config" and value == type(value)())


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower()
