"""What training minimises, by losses and a penalty, and how fast each part of the model learns."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from accelerate.utils import gather, reduce
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from semart_hf.catalogue.schema import Scale, scale_of
from semart_hf.data.collator import are_copies
from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.linear_semart import Lexicon
from semart_hf.model.output_semart import UNKNOWN_LABEL

LOSS_PARTS = ("cross_entropy", "class_weighted", "logit_adjusted", "ordinal")
# At which a neighbouring period's share of an ordinal target has fallen to 1 / e; a period of SemArt has 50.
ORDINAL_YEARS = 25.0
# Parts of the model by the beginning of a parameter's name; every other parameter is new.
PREFIXES = {"vision": "vision_tower.", "text": "text_tower.", "new": "", "lexicon": "lexicon."}


def loss_parts(loss: str | Mapping[str, str] | None) -> dict[str, set[str]]:
    """The `LOSS_PARTS` of each task by its name, of texts that join them by `+`; `default` is of all others."""
    parts = {"default": {"cross_entropy"}}
    for task, text in (loss if isinstance(loss, Mapping) else {"default": loss or "cross_entropy"}).items():
        parts[task] = {part.strip() for part in str(text).split("+")}
        if unknown := sorted(parts[task] - set(LOSS_PARTS)):
            raise ValueError(
                f"The loss of {task} is {str(text)!r}, where {unknown} are unknown. Join some of {LOSS_PARTS} by +."
            )
    return parts


class TaskLoss(nn.Module):
    """The loss of each row for one task, by how often train has each label `(num_labels,)`; see `LearningArguments`.

    `class_weighted` lets every class weigh the same in total, `logit_adjusted` adds the log of each class's frequency
    to its logit, so that the bare logits treat all classes alike, and `ordinal` spreads an ordered label's target over
    its neighbours: by `ORDINAL_YEARS`, or half the median distance of neighbours where labels are no periods.

    Source: Menon et al. 2021, Long-tail learning via logit adjustment, equation 10; Diaz & Marathe 2019, Soft labels
        for ordinal regression, equation 1.
    """

    weights: Tensor
    targets: Tensor | None
    adjustment: Tensor | None

    def __init__(
        self, task: Any, counts: Tensor, parts: set[str], label_smoothing: float = 0, logit_adjustment_tau: float = 1
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        targets, scale = None, scale_of(task)
        if "ordinal" in parts:
            if scale is None:
                raise ValueError(
                    f"The ordinal loss needs labels with an order, got {list(task['labels'])[:5]} of the task "
                    f"{task.get('name')}. Set its kind: ordered."
                )
            is_dated = scale.unit == "years" and scale.step == "period"
            targets = ordinal_targets(scale, ORDINAL_YEARS if is_dated else scale.gap / 2)
            targets = ((1 - label_smoothing) * targets + label_smoothing / len(targets)).float()
        weights = torch.ones(counts.shape)
        if "class_weighted" in parts:  # 0 for a class that train lacks
            known, is_there = counts.double(), counts > 0
            weights = is_there * known.sum(0) / (is_there.sum(0).clamp(min=1) * known.clamp(min=1))
        logs = log_frequencies(counts)
        shift = logs if logs.ndim == 1 else logs[1] - logs[0]  # of several labels: present, absent
        adjustment = logit_adjustment_tau * shift if "logit_adjusted" in parts else None
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("weights", weights.float(), persistent=False)
        self.register_buffer("adjustment", adjustment, persistent=False)

    def label_weights(self, labels: Tensor) -> Tensor:
        """Weights of the labels `(batch, columns)`; 0 where they are unknown, −100."""
        return self.weights[labels.clamp(min=0)] * (labels != UNKNOWN_LABEL)

    def _label_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses of the labels `(batch, columns)`, before they are weighed."""
        numbers = labels[:, 0].clamp(min=0)
        if self.targets is not None:  # already smoothed
            return F.cross_entropy(logits, self.targets[numbers], reduction="none").unsqueeze(1)
        return F.cross_entropy(logits, numbers, label_smoothing=self.label_smoothing, reduction="none").unsqueeze(1)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row `(batch,)`, times its weight."""
        logits = logits.float() if self.adjustment is None else logits.float() + self.adjustment
        return (self._label_losses(logits, labels) * self.label_weights(labels)).sum(-1)


class MultiLabelLoss(TaskLoss):
    """Mean binary cross-entropy of a row's known labels, each of two classes `(2, num_labels)`: absent, present."""

    def label_weights(self, labels: Tensor) -> Tensor:
        """Weights of the labels `(batch, columns)`, of each row 1 in sum without `class_weighted`."""
        absent, present = self.weights
        return torch.where(labels > 0, present, absent) * (labels != UNKNOWN_LABEL) / labels.shape[1]

    def _label_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = (1 - self.label_smoothing) * labels.clamp(min=0) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")


class ArtLoss(nn.Module):
    """The losses of all tasks: of each the sum of its rows' losses over that of their weights, both in the whole step.

    So the division into processes and batches does not change it. `settings` are numbers of `TaskLoss`.
    """

    task_weights: Tensor
    losses: Any  # a ModuleList of TaskLoss and MultiLabelLoss, one a task

    def __init__(
        self, tasks: Any, counts: Mapping[str, Tensor], loss: Any = None, task_weights: Any = None, **settings: float
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
        return torch.stack([loss.label_weights(labels[:, columns]).sum() for loss, columns in parts])

    def sums(self, logits: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the rows' weighted losses for each task `(num_tasks,)`."""
        parts = zip(self.task_names, self.losses, self.columns, strict=True)
        return torch.stack([loss(logits[name], labels[:, columns]).sum() for name, loss, columns in parts])

    def total(self, sums: Tensor, weight_sums: Tensor) -> Tensor:
        """This batch's part of the step's loss: its `sums`, by the `weight_sums` of the step in all processes."""
        means = sums / torch.where(weight_sums > 0, weight_sums, torch.ones_like(weight_sums))
        # The same mean as the model's own loss: over all tasks, where a step without any label of one counts 0 for it.
        return (self.task_weights * means).sum() / self.task_weights.sum()


def log_frequencies(counts: Tensor) -> Tensor:
    """Logarithms of the frequencies `counts.shape` of classes on the first axis."""
    # A label that train never has gets the frequency of half a painting: log 0 would forbid it for good.
    counts = counts.to(torch.float64)
    return (counts.clamp(min=0.5) / counts.sum(0).clamp(min=1)).log().float()


def ordinal_targets(scale: Scale, distance: float) -> Tensor:
    """Target distributions `(num_labels, num_labels)`, which fall to 1 / e at a distance; `UNK` is alone."""
    places = torch.from_numpy(scale.positions)
    shares = torch.exp(-(places[:, None] - places[None, :]).abs() / distance)
    shares = torch.where(shares.isnan(), torch.eye(len(places), dtype=torch.float64), shares)
    return shares / shares.sum(-1, keepdim=True)


def contrastive_sum(image: Tensor, text: Tensor, scale: Tensor, is_pair: Tensor, keys: Tensor | None = None) -> Tensor:
    """Sum over this process's pairs of the cross-entropy of finding each other, the mean of both ways; a scalar.

    Candidates are the rows `is_pair (batch,)` of all processes, but copies of the pair, which would be right as well.

    Source: Radford et al. 2021, Learning transferable visual models from natural language supervision, figure 3.
    """
    vectors = F.normalize(torch.stack((image, text)).float(), dim=-1).transpose(0, 1)
    keys = torch.zeros(len(image), 0, dtype=torch.uint8) if keys is None else keys
    about = torch.cat((is_pair.to(torch.uint8).unsqueeze(1), keys.to(is_pair.device)), dim=1)
    others, others_about, first = vectors, about, 0
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        most = int(reduce(torch.tensor(len(image), device=image.device), "max"))  # every process gives as many rows
        others = _GatheredRows.apply(F.pad(vectors, (0, 0, 0, 0, 0, most - len(vectors))))
        others_about = _GatheredRows.apply(F.pad(about, (0, 0, 0, most - len(about))))
        first = distributed.get_rank() * most
    own = torch.arange(first, first + len(image), device=image.device)
    is_left_out = ~others_about[:, 0].bool() | are_copies(about[:, 1:], others_about[:, 1:])
    is_left_out[torch.arange(len(image)), own] = False
    ways = ((vectors[:, 0], others[:, 1]), (vectors[:, 1], others[:, 0]))
    losses = [
        F.cross_entropy((scale * a @ b.T).masked_fill(is_left_out, -torch.inf), own, reduction="none") for a, b in ways
    ]
    return (torch.stack(losses).mean(0) * is_pair).sum()


class _GatheredRows(torch.autograd.Function):
    """Rows of all processes one after the other; gradients return to the process whose rows they are."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        return gather(rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return reduce(gradient, "sum").chunk(distributed.get_world_size())[distributed.get_rank()]


def parameter_groups(
    model: nn.Module, *, learning_rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups with `params`, `lr`, `weight_decay` and a `name`, which hold every parameter that learns once.

    Weight decay applies to matrices and kernels, but for what a timm tower itself exempts.
    """
    exempt = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()
    }
    members: dict[tuple[str, bool], list[nn.Parameter]] = {kind: [] for kind in product(PREFIXES, (True, False))}
    for name, parameter in model.named_parameters():
        part = next((part for part, prefix in PREFIXES.items() if prefix and name.startswith(prefix)), "new")
        is_decayed = parameter.ndim > 1 and name not in exempt and "position_embeddings" not in name
        if parameter.requires_grad:
            members[part, is_decayed].append(parameter)
    return [
        {"params": some, "lr": learning_rates[part], "weight_decay": weight_decay if is_decayed else 0.0, "name": part}
        for (part, is_decayed), some in members.items()
        if some
    ]


def add_l2_penalty(lexicon: Lexicon, optimizer: torch.optim.Optimizer, penalty: float, num_rows: int) -> None:
    """Let every step of the optimiser also minimise the mean over the training rows of penalty · Σ weight²."""

    # Unlike AdamW's decay, it shrinks a weight as far as the rows that have its token allow. It joins the gradient
    # after all that divides or reduces the loss, so that processes and accumulation do not change it.
    @torch.no_grad()
    def add_to_gradient(*_: Any) -> None:
        if lexicon.weight.grad is not None:
            lexicon.weight.grad.add_(lexicon.weight, alpha=2 * penalty / num_rows)

    optimizer.register_step_pre_hook(add_to_gradient)
