"""A batch of paintings: what goes into the model, what comes out, and the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .configuration_semart import is_multi_label

UNKNOWN_LABEL = -100


@dataclass
class SemArtOutput(ModelOutput):
    """The model's output.

    Args:
        loss: Weighted mean of the task losses, a scalar; `None` without labels.
        logits: `(batch, num_labels)` by task name.
        task_losses: Mean cross-entropy over the rows whose label is known, a scalar by task name; of a task with
            several labels the mean binary cross-entropy over its known labels.
        features: Fused representation `(batch, fusion_dim)` that all heads read.
        alone_logits: With `each_alone`, `logits` of each modality (`image`, `text`); undefined in rows without it.
        image_features: What `get_image_features` gives `(batch, fusion_dim)`; in rows without a picture, undefined.
        text_features: Texts, likewise.
        logit_scale: Of a contrastive model, what cosines of the two are multiplied by `(1,)`.
    """

    loss: Tensor | None = None
    logits: dict[str, Tensor] | None = None
    task_losses: dict[str, Tensor] | None = None
    features: Tensor | None = None
    alone_logits: dict[str, dict[str, Tensor]] | None = None
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    logit_scale: Tensor | None = None


def check_inputs(
    pixel_values: Tensor | None, texts: Tensor | None, labels: Tensor | None, columns: Mapping[str, slice]
) -> int:
    """Number of rows of a batch; a `ValueError` where it has none, or numbers of rows or label columns disagree."""
    if pixel_values is None and texts is None:
        raise ValueError("The batch has neither pixel_values nor input_ids. Give pictures, texts or both.")
    inputs = {"pixel_values": pixel_values, "input_ids": texts, "labels": labels}
    sizes = {name: tensor.shape[0] for name, tensor in inputs.items() if tensor is not None}
    rows = next(iter(sizes.values()))
    if any(size != rows for size in sizes.values()):
        raise ValueError(f"The inputs have different numbers of rows: {sizes}. Give one row a painting in each.")
    num_columns = max((part.stop for part in columns.values()), default=0)
    if labels is not None and labels.shape[1:] != (num_columns,):
        several = ", and one (0 or 1) for each label of a task with several" if num_columns > len(columns) else ""
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}, but it must be (batch, {num_columns}): a column for each of "
            f"{list(columns)}{several}. Put −100 where a label is unknown."
        )
    return rows


def check_texts(input_ids: Tensor | None, text_hidden: Tensor | None, *, reads_tokens: bool) -> Tensor | None:
    """The texts in the form that the text tower reads; a `ValueError` if they are given in the wrong one."""
    if text_hidden is not None and input_ids is None and reads_tokens:
        raise ValueError("Got text_hidden alone, but this model's lexicon reads the tokens. Give input_ids too.")
    if text_hidden is not None and input_ids is not None and not reads_tokens:
        raise ValueError("Got input_ids and text_hidden, but a text has one form. Leave one of the two out.")
    return input_ids if text_hidden is None else text_hidden


def fill_absent(features: Tensor, is_present: Tensor | None, absent: Tensor) -> Tensor:
    """A row of `features` for each row that `is_present (batch,)`, and the vector `absent` for each other one."""
    if is_present is None:
        return features
    rows = absent.to(features.dtype).expand(len(is_present), -1).clone()
    rows[is_present] = features
    return rows


def whole_rows(inputs: Mapping[str, Any], batch: int) -> Tensor:
    """Which rows have a picture and a text in the model's inputs `(batch,)`."""
    parts = ((inputs.get("has_image"), ("pixel_values",)), (inputs.get("has_text"), ("input_ids", "text_hidden")))
    is_whole = torch.ones(batch, dtype=torch.bool)
    for is_present, names in parts:
        if is_present is not None:
            is_whole = is_whole.to(is_present.device) & is_present
        elif all(inputs.get(name) is None for name in names):
            is_whole = torch.zeros_like(is_whole)
    return is_whole


def mean_losses(
    logits: Mapping[str, Tensor], labels: Tensor | None, config: Any
) -> tuple[Tensor | None, dict[str, Tensor] | None]:
    """Weighted mean of the tasks' losses, a scalar, and each of them by task name; none without labels."""
    if labels is None:
        return None, None
    losses, task_weights, columns = {}, config.task_weights, config.label_columns
    for task, (name, task_logits) in zip(config.tasks, logits.items(), strict=True):
        targets = labels[:, columns[name]]
        is_known = targets != UNKNOWN_LABEL
        if is_multi_label(task):
            losses_by_label = F.binary_cross_entropy_with_logits(
                task_logits.float(), targets.clamp(min=0).float(), reduction="none"
            )
            total = (losses_by_label * is_known).sum()
        else:
            total = F.cross_entropy(task_logits.float(), targets[:, 0], ignore_index=UNKNOWN_LABEL, reduction="sum")
        # No known label: 0 with a graph, where a mean would be 0 / 0.
        losses[name] = total / is_known.sum().clamp(min=1)
    weights = [float((task_weights or {}).get(name, 1.0)) for name in losses]
    weighted = [weight * loss for weight, loss in zip(weights, losses.values(), strict=True)]
    return torch.stack(weighted).sum() / sum(weights), losses
