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


def check_inputs(inputs: dict[str, Tensor], config: Any) -> int:
    """Number of rows of a batch; a `ValueError` where it has none, lacks tokens, or shapes that disagree."""
    if not set(inputs) - {"labels"}:
        raise ValueError("The batch has neither pixel_values nor input_ids. Give pictures, texts or both.")
    if "text_hidden" in inputs and "input_ids" not in inputs and config.reads_tokens:
        raise ValueError("Got text_hidden alone, but this model's lexicon reads the tokens. Give input_ids too.")
    sizes = {name: tensor.shape[0] for name, tensor in inputs.items()}
    rows, *others = sizes.values()
    if any(size != rows for size in others):
        raise ValueError(f"The inputs have different numbers of rows: {sizes}. Give one row a painting in each.")
    num_columns = config.num_label_columns
    if "labels" in inputs and inputs["labels"].shape[1:] != (num_columns,):
        raise ValueError(
            f"labels has shape {tuple(inputs['labels'].shape)}, but it must be (batch, {num_columns}): a column for "
            f"each of {config.task_names}, or for each of a task's several labels. Put −100 where one is unknown."
        )
    return rows


def fill_absent(features: Tensor, is_present: Tensor | None, absent: Tensor) -> Tensor:
    """A row of `features` for each row that `is_present (batch,)`, and the vector `absent` for each other one."""
    if is_present is None:  # distributed processes wait for the gradient of every parameter
        return features + absent.to(features) * 0.0 if torch.is_grad_enabled() else features
    rows = absent.to(features.dtype).expand(len(is_present), -1).clone()
    rows[is_present] = features
    return rows


def whole_rows(inputs: Mapping[str, Any], batch: int) -> Tensor:
    """Which rows have a picture and a text in the model's inputs `(batch,)`."""
    is_whole = torch.tensor(True)
    for modality, names in (("image", ("pixel_values",)), ("text", ("input_ids", "text_hidden"))):
        is_given = any(inputs.get(name) is not None for name in names)
        is_present = inputs.get(f"has_{modality}")
        is_whole = is_whole & (is_given if is_present is None else is_present)
    return is_whole.expand(batch)


def mean_losses(
    logits: Mapping[str, Tensor], labels: Tensor | None, config: Any
) -> tuple[Tensor | None, dict[str, Tensor] | None]:
    """Weighted mean of the tasks' losses, a scalar, and each of them by task name; none without labels."""
    if labels is None:
        return None, None
    losses, task_weights = {}, config.task_weights or {}
    for task, columns in zip(config.tasks, config.label_columns.values(), strict=True):
        values, targets = logits[task["name"]].float(), labels[:, columns]
        is_known = targets != UNKNOWN_LABEL
        if is_multi_label(task):
            each = F.binary_cross_entropy_with_logits(values, targets.clamp(min=0).float(), reduction="none")
            total = (each * is_known).sum()
        else:
            total = F.cross_entropy(values, targets[:, 0], ignore_index=UNKNOWN_LABEL, reduction="sum")
        # No known label: 0 with a graph, where a mean would be 0 / 0.
        losses[task["name"]] = total / is_known.sum().clamp(min=1)
    weights = [float(task_weights.get(name, 1.0)) for name in losses]
    weighted = [weight * loss for weight, loss in zip(weights, losses.values(), strict=True)]
    return torch.stack(weighted).sum() / sum(weights), losses
