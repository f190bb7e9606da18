"""What the model says of a batch of paintings."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class SemArtOutput(ModelOutput):
    """What the model says of a batch of paintings.

    Args:
        loss: Weighted mean of the task losses, a scalar; `None` without labels.
        logits: `(batch, num_labels)` by task name.
        task_losses: Mean cross-entropy over the rows whose label is known, a scalar by task name.
        features: Fused representation `(batch, fusion_dim)` that all heads read.
        task_log_variances: Learned uncertainty of each task `(num_tasks,)` in training, where the configuration asks
            for it.
    """

    loss: Tensor | None = None
    logits: dict[str, Tensor] | None = None
    task_losses: dict[str, Tensor] | None = None
    features: Tensor | None = None
    task_log_variances: Tensor | None = None
