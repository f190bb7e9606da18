"""What training minimises: a loss for each task, normalised over everything that one optimiser step sees.

A task's loss is made of parts that combine: weight(label) · Σ_k target_k · −log p_k.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semart_hf.catalogue.schema import Scale, scale_of
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL, whole_rows

LOSS_PARTS = ("cross_entropy", "class_weighted", "logit_adjusted", "ordinal")
# At which a neighbouring period's share of an ordinal target has fallen to 1 / e; a period of SemArt has 50.
ORDINAL_YEARS = 25.0


def loss_parts(loss: str | Mapping[str, str] | None) -> dict[str, set[str]]:
    """The `LOSS_PARTS` of each task by its name, of a text that joins them by `+`; `default` stands for other tasks.

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
    alike, and `ordinal` spreads an ordered label's target over its neighbours: by `ORDINAL_YEARS`, or half the median
    distance of neighbours where labels are no periods.

    Source: Menon et al. 2021, Long-tail learning via logit adjustment, equation 10; Diaz & Marathe 2019, Soft labels
        for ordinal regression, equation 1.
    """

    weights: Tensor
    targets: Tensor | None
    adjustment: Tensor | None

    def __init__(
        self,
        task: Mapping[str, Any],
        counts: Tensor,
        parts: set[str],
        *,
        label_smoothing: float = 0.0,
        logit_adjustment_tau: float = 1.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        targets, scale = None, scale_of(task)
        if "ordinal" in parts:
            if scale is None:
                raise ValueError(
                    f"The ordinal loss needs labels with an order, got {list(task['labels'])[:5]} of the task "
                    f"{task.get('name')}. Set its kind: ordered, or choose another loss for this task."
                )
            is_dated = scale.unit == "years" and scale.step == "period"
            targets = ordinal_targets(scale, ORDINAL_YEARS if is_dated else scale.gap / 2)
            targets = ((1 - label_smoothing) * targets + label_smoothing / len(targets)).float()
        weights = class_weights(counts) if "class_weighted" in parts else torch.ones(counts.shape)
        prior = logit_adjustment_tau * self.prior(counts) if "logit_adjusted" in parts else None
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("adjustment", prior, persistent=False)

    def prior(self, counts: Tensor) -> Tensor:
        """What `logit_adjusted` adds to the logits `(num_labels,)`."""
        return log_frequencies(counts)

    def label_weights(self, labels: Tensor) -> Tensor:
        """Weights of the labels `(batch, columns)`; 0 where they are unknown, −100."""
        return self.weights[labels.clamp(min=0)] * (labels != UNKNOWN_LABEL)

    def label_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses of the labels `(batch, columns)`, before they are weighed."""
        numbers, smoothing = labels[:, 0].clamp(min=0), self.label_smoothing
        if self.targets is None:
            losses = F.cross_entropy(logits, numbers, label_smoothing=smoothing, reduction="none")
        else:
            losses = F.cross_entropy(logits, self.targets[numbers], reduction="none")
        return losses.unsqueeze(1)

    def row_weights(self, labels: Tensor) -> Tensor:
        """Weight of each row `(batch,)`."""
        return self.label_weights(labels).sum(-1)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row `(batch,)`, times its weight."""
        logits = logits.float() if self.adjustment is None else logits.float() + self.adjustment
        return (self.label_losses(logits, labels) * self.label_weights(labels)).sum(-1)


class MultiLabelLoss(TaskLoss):
    """The loss of each row for a task with several labels: the mean binary cross-entropy over its known labels.

    The classes of each label are its absence and its presence: `counts` and weights are `(2, num_labels)`.
    """

    def prior(self, counts: Tensor) -> Tensor:
        """The log odds of each label's presence `(num_labels,)`."""
        absent, present = log_frequencies(counts)
        return present - absent

    def label_weights(self, labels: Tensor) -> Tensor:
        """Weights of the labels `(batch, num_labels)`, whose sum is a row's mean; 0 where they are unknown."""
        absent, present = self.weights
        return torch.where(labels > 0, present, absent) * (labels != UNKNOWN_LABEL) / labels.shape[1]

    def label_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses of the labels `(batch, num_labels)`, before they are weighed."""
        targets = (1 - self.label_smoothing) * labels.clamp(min=0) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")


class ArtLoss(nn.Module):
    """The losses of all tasks, and their sum over everything that one optimiser step sees.

    A task's loss is the sum of its rows' losses over the sum of their weights in the whole step, so that the division
    into processes and batches does not change it. `settings` are numbers of `TaskLoss`.
    """

    task_weights: Tensor
    losses: Any  # a ModuleList of TaskLoss and MultiLabelLoss, one a task

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
        parts = loss_parts(loss)
        if unknown := sorted(set(parts) - {"default", *self.task_names}):
            raise ValueError(f"loss names {unknown}, but the tasks are {self.task_names}. Name these, or default.")
        self.losses = nn.ModuleList(
            (MultiLabelLoss if is_multi_label(task) else TaskLoss)(
                task, counts[task["name"]], parts.get(task["name"], parts["default"]), **settings
            )
            for task in tasks
        )
        self.columns = list(label_columns(tasks).values())
        weights = [float((task_weights or {}).get(name, 1.0)) for name in self.task_names]
        self.register_buffer("task_weights", torch.tensor(weights), persistent=False)

    def weight_sums(self, labels: Tensor) -> Tensor:
        """Sum of the rows' weights for each task `(num_tasks,)`, by the labels `(batch, num_label_columns)`."""
        parts = zip(self.losses, self.columns, strict=True)
        return torch.stack([loss.row_weights(labels[:, columns]).sum() for loss, columns in parts])

    def sums(self, logits: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the rows' weighted losses for each task `(num_tasks,)`."""
        parts = zip(self.task_names, self.losses, self.columns, strict=True)
        return torch.stack([loss(logits[name], labels[:, columns]).sum() for name, loss, columns in parts])

    def total(self, sums: Tensor, weight_sums: Tensor) -> Tensor:
        """This batch's part of the step's loss: its `sums`, by the `weight_sums` of the step in all processes."""
        means = sums / torch.where(weight_sums > 0, weight_sums, torch.ones_like(weight_sums))
        # The same mean as the model's own loss: over all tasks, where a step without any label of one counts 0 for it.
        return (self.task_weights * means).sum() / self.task_weights.sum()


def labels_of_whole_rows(inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
    """The labels `(batch, num_label_columns)`, −100 too where the model's inputs lack a row's picture or its text."""
    is_whole = whole_rows(inputs, len(labels)).to(labels.device)
    return labels.masked_fill(~is_whole.unsqueeze(1), UNKNOWN_LABEL)


def class_weights(counts: Tensor) -> Tensor:
    """Weights by inverse frequency `counts.shape`, over classes on the first axis; 0 for a class that train lacks."""
    counts, is_there = counts.to(torch.float64), counts > 0
    weights = is_there * counts.sum(0) / (is_there.sum(0).clamp(min=1) * counts.clamp(min=1))
    return weights.float()


def log_frequencies(counts: Tensor) -> Tensor:
    """Logarithms of the frequencies `counts.shape` of classes on the first axis."""
    # A label that train never has gets the frequency of half a painting: log 0 would forbid it for good.
    counts = counts.to(torch.float64)
    return (counts.clamp(min=0.5) / counts.sum(0).clamp(min=1)).log().float()


def ordinal_targets(scale: Scale, distance: float) -> Tensor:
    """Target distributions `(num_labels, num_labels)`: a label's share falls with its distance from the true one.

    At the `distance`, in the scale's unit, the share has fallen to 1 / e. A label without a place such as `UNK` has
    itself alone as its target, and no other label gives it a share.
    """
    places = torch.from_numpy(scale.positions)
    shares = torch.exp(-(places[:, None] - places[None, :]).abs() / distance)
    shares = torch.where(shares.isnan(), torch.eye(len(places), dtype=torch.float64), shares)
    return shares / shares.sum(-1, keepdim=True)
