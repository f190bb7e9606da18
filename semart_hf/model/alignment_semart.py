"""The space in which pictures and texts find each other."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init


class Alignment(nn.Module):
    """Features of pictures and texts in one space, and the learned scale of their cosines.

    The fusion reads the features as they were before, so that the tasks need not agree with the search on a space.

    Args:
        dim: Size of the features, before and after.

    Source: Radford et al. 2021, Learning transferable visual models from natural language supervision, section 2.3.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Drawing no numbers, they leave all others of a new model as they are without them.
        self.image = nn.Parameter(torch.eye(dim))
        self.text = nn.Parameter(torch.eye(dim))
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))  # FSDP shards no scalars

    def reset(self) -> None:
        """Begin with the features as they are."""
        init.eye_(self.image)
        init.eye_(self.text)
        init.constant_(self.logit_scale, math.log(1 / 0.07))

    def align(self, features: Tensor, modality: str) -> Tensor:
        """Aligned features `(batch, dim)` of one modality, `image` or `text`."""
        return F.linear(features, getattr(self, modality))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Aligned features `(batch, dim)`, and the scale `(1,)`."""
        return self.align(image, "image"), self.align(text, "text"), self.logit_scale.exp().clamp(max=100)
