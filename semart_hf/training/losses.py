"""What training minimises: a loss for each task, normalised over everything that one optimiser step sees.

A task's loss is made of parts that combine: weight(label) · Σ_k target_k · −log p_k.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semart_hf.catalogue.timeframe import label_years
from semart_hf.model.output_semart import UNKNOWN_LABEL, whole_rows

LOSS_PARTS = ("cross_entropy", "class_weighted", "logit_adjusted", "ordinal")


def loss_parts(loss: str | Mapping[str, str] | None) -> dict[str, set[str]]:
    """The `LOSS_PARTS` of each task by its name, of a text that joins them by `+`; `default` stands for other tasks.

    Raises:
        ValueError: If a part is unknown.

    Example:
        >>> sorted(loss_parts({"timeframe": "ordinal+logit_adjusted"})["timeframe"])
        ['logit_adjusted', 'ordinal']
    """
    parts = {"default": {"cross_entropy"}}
    for task, text in (loss if isinstance(loss, Mapping) else {"default": loss or "cross_entropy"}).items():
        parts[task] = {part.strip() for part in str(text).split("+")}
        if unknown := sorted(parts[task] - set(LOSS_PARTS)):
            raise ValueError(
                f"The loss of {task} is {str(text)!r}, where {unknown} are unknown. Join some of {list(LOSS_PARTS)} "
                "by +, e.g. ordinal+logit_adjusted."
            )
    return parts


class TaskLoss(nn.Module):
    """The loss of each row for one task, by how often train has each label `(num_labels,)`; see `LearningArguments`.

    `class_weighted` weighs classes by inverse frequency, so that every class weighs the same in total,
    `logit_adjusted` adds the log of each class's frequency to its logit, so that the bare logits treat all classes
    alike, and `ordinal` spreads a period's target over its neighbours.

    Raises:
        ValueError: If `ordinal` is asked of labels that are no periods.

    Source: Menon et al. 2021, Long-tail learning via logit adjustment, equation 10; Diaz & Marathe 2019, Soft labels
        for ordinal regression, equation 1.
    """

    weights: Tensor
    targets: Tensor
    adjustment: Tensor | None

    def __init__(
        self,
        labels: Sequence[str],
        counts: Tensor,
        parts: set[str],
        *,
        label_smoothing: float = 0.0,
        logit_adjustment_tau: float = 1.0,
        ordinal_years: float = 25.0,
    ) -> None:
        super().__init__()
        counts = counts.to(torch.float64)
        targets, weights, adjustment = torch.eye(len(labels), dtype=torch.float64), torch.ones_like(counts), None
        if "ordinal" in parts:
            targets = ordinal_targets(labels, ordinal_years)
        targets = (1 - label_smoothing) * targets + label_smoothing / len(labels)
        if "class_weighted" in parts:
            weights = (counts > 0) * counts.sum() / ((counts > 0).sum().clamp(min=1) * counts.clamp(min=1))
        if "logit_adjusted" in parts:
            # A label that train never has gets the frequency of half a painting: log 0 would forbid it for good.
            frequency = counts.clamp(min=0.5) / counts.sum().clamp(min=1)
            adjustment = (logit_adjustment_tau * frequency.log()).float()
        self.register_buffer("targets", targets.float(), persistent=False)
        self.register_buffer("weights", weights.float(), persistent=False)
        self.register_buffer("adjustment", adjustment, persistent=False)

    def row_weights(self, labels: Tensor) -> Tensor:
        """Weight of each row `(batch,)`; 0 where the label is unknown."""
        return self.weights[labels.clamp(min=0)] * (labels != UNKNOWN_LABEL)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row `(batch,)`, times its weight; 0 where the label is unknown, −100."""
        logits = logits.float()
        if self.adjustment is not None:
            logits = logits + self.adjustment
        losses = -self.targets[labels.clamp(min=0)] * F.log_softmax(logits, dim=-1)
        return losses.sum(-1) * self.row_weights(labels)


class ArtLoss(nn.Module):
    """The losses of all tasks, and their sum over everything that one optimiser step sees.

    A task's loss is the sum of its rows' losses over the sum of their weights in the whole step, so that the division
    into processes and batches does not change it. `settings` are numbers of `TaskLoss`.

    Raises:
        ValueError: If a loss names a task that is not trained.
    """

    task_weights: Tensor
    losses: Any  # a ModuleList of TaskLoss, one a task

    def __init__(
        self,
        tasks: Sequence[Mapping[str, Any]],
        counts: Mapping[str, Tensor],
        loss: str | Mapping[str, str] | None = None,
        task_weights: Mapping[str, float] | None = None,
        **settings: float,
    ) -> None:
        super().__init__()
        self.task_names = [task["name"] for task in tasks]
        if several := [task["name"] for task in tasks if task.get("kind") == "multi_label"]:
            raise ValueError(
                f"Got the tasks {several} of the kind multi_label, which the trainer does not learn yet. Leave them "
                "out of tasks."
            )
        parts = loss_parts(loss)
        if unknown := sorted(set(parts) - {"default", *self.task_names}):
            raise ValueError(f"loss names {unknown}, but the tasks are {self.task_names}. Name these, or default.")
        self.losses = nn.ModuleList(
            TaskLoss(task["labels"], counts[task["name"]], parts.get(task["name"], parts["default"]), **settings)
            for task in tasks
        )
        weights = [float((task_weights or {}).get(name, 1.0)) for name in self.task_names]
        self.register_buffer("task_weights", torch.tensor(weights), persistent=False)

    def weight_sums(self, labels: Tensor) -> Tensor:
        """Sum of the rows' weights for each task `(num_tasks,)`, by the labels `(batch, num_tasks)`."""
        columns = zip(self.losses, labels.unbind(1), strict=True)
        return torch.stack([loss.row_weights(column).sum() for loss, column in columns])

    def sums(self, logits: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the rows' weighted losses for each task `(num_tasks,)`."""
        columns = zip(self.task_names, self.losses, labels.unbind(1), strict=True)
        return torch.stack([loss(logits[name], column).sum() for name, loss, column in columns])

    def total(self, sums: Tensor, weight_sums: Tensor) -> Tensor:
        """This batch's part of the step's loss: its `sums`, by the `weight_sums` of the step in all processes."""
        means = sums / torch.where(weight_sums > 0, weight_sums, torch.ones_like(weight_sums))
        # The same mean as the model's own loss: over all tasks, where a step without any label of one counts 0 for it.
        return (self.task_weights * means).sum() / self.task_weights.sum()


def labels_of_whole_rows(inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
    """The labels `(batch, num_tasks)`, −100 too where the model's inputs lack a row's picture or its text."""
    is_whole = whole_rows(inputs, len(labels)).to(labels.device)
    return labels.masked_fill(~is_whole.unsqueeze(1), UNKNOWN_LABEL)


def ordinal_targets(labels: Sequence[str], years: float) -> Tensor:
    """Target distributions `(num_labels, num_labels)`: a period's share falls with its distance from the true one.

    `UNK` has no place in time: its target is itself alone, and no period gives it a share.

    Raises:
        ValueError: If the labels are no periods such as `1501-1550`.
    """
    spans = label_years(labels)
    if spans is None:
        raise ValueError(
            f"The ordinal loss needs labels that are periods such as 1501-1550, got {list(labels)[:5]}. Choose "
            "another loss for this task."
        )
    middles = torch.from_numpy(spans.mean(axis=1))
    shares = torch.exp(-(middles[:, None] - middles[None, :]).abs() / years)
    shares = torch.where(shares.isnan(), torch.eye(len(labels), dtype=torch.float64), shares)
    return shares / shares.sum(-1, keepdim=True)
