"""What would end a run late is refused before its first step, and before anything is written."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import EvalPrediction

from .arguments import SemArtTrainingArguments


def check_metric_name(
    args: SemArtTrainingArguments,
    tasks: Sequence[Mapping[str, Any]],
    compute_metrics: Callable[[EvalPrediction], Mapping[str, Any]],
    validation_sets: Iterable[str] = (),
) -> None:
    """Refuse a `metric_for_best_model` that no validation will have.

    Args:
        args: The run's.
        tasks: `[{"name", "labels"}, …]`.
        compute_metrics: Computes the metrics.
        validation_sets: Their names, if there are several.

    Raises:
        ValueError: If the metric is unknown.
    """
    size = max(len(task["labels"]) for task in tasks)
    logits = {task["name"]: np.eye(size, len(task["labels"])) for task in tasks}
    labels = np.stack([np.arange(size) % len(task["labels"]) for task in tasks], axis=1)
    known = {"loss", *compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
    known = {f"{name}_{metric}" for name in validation_sets for metric in known} or known
    name = (args.metric_for_best_model or "loss").removeprefix("eval_")
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise ValueError(
        f"metric_for_best_model is {name!r}, which validation does not compute. "
        f"{'Did you mean ' + ', '.join(close) + '? ' if close else ''}There are, by task, e.g. type_accuracy and "
        "type_macro_f1, and over the tasks mean_accuracy, mean_macro_f1 and loss; with several validation sets each "
        "has its set's name before it. Set one of them."
    )


def check_num_steps(args: SemArtTrainingArguments, num_batches: int, num_rows: int) -> None:
    """Refuse a run without a step.

    Args:
        args: The run's.
        num_batches: Of an epoch on this process.
        num_rows: Of an epoch.

    Raises:
        ValueError: If an epoch has no batch, or there is no epoch.
    """
    if num_batches and (args.max_steps > 0 or (args.max_steps < 0 and args.num_train_epochs > 0)):
        return
    raise ValueError(
        f"This run would have no step: {num_rows} training rows, per_device_train_batch_size "
        f"{args.per_device_train_batch_size}, gradient_accumulation_steps {args.gradient_accumulation_steps}, "
        f"{args.world_size} process(es), dataloader_drop_last {args.dataloader_drop_last}, max_steps "
        f"{args.max_steps}, num_train_epochs {args.num_train_epochs}. Set dataloader_drop_last: false or a smaller "
        "per_device_train_batch_size, and max_steps or num_train_epochs above 0."
    )
