"""The contrastive loss: a picture finds its text among those of a batch, on all devices, and a text its picture."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from semart_hf.data.copies import are_copies


def contrastive_sum(image: Tensor, text: Tensor, scale: Tensor, is_pair: Tensor, keys: Tensor | None = None) -> Tensor:
    """Sum over this process's pairs of the cross-entropy of finding each other, the mean of both ways; a scalar.

    Candidates are the rows `is_pair (batch,)` in all processes, without copies of the pair's picture and equal texts,
    which would be right as well (`pair_keys`). Features are `(batch, dim)`, of whose cosines `scale` is a factor.

    Source: Radford et al. 2021, Learning transferable visual models from natural language supervision, figure 3.
    """
    vectors = F.normalize(torch.stack((image, text)).float(), dim=-1).transpose(0, 1)
    keys = torch.zeros(len(image), 0, dtype=torch.uint8) if keys is None else keys
    about = torch.cat((is_pair.to(torch.uint8).unsqueeze(1), keys.to(is_pair.device)), dim=1)
    others, others_about, first = vectors, about, 0
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        sizes = torch.zeros(distributed.get_world_size(), dtype=torch.long, device=image.device)
        sizes[distributed.get_rank()] = len(image)
        distributed.all_reduce(sizes)
        most = int(sizes.max())  # every process gives as many rows
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
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        distributed.all_reduce(summed)
        return summed.chunk(distributed.get_world_size())[distributed.get_rank()]
