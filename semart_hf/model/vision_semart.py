"""A vision tower's last block that answers for the class token alone."""

from typing import Any

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


class ClassTokenBlock(Block):
    """A ViT's block that answers for the first token alone: `(batch, tokens, dim)` becomes `(batch, 1, dim)`.

    Behind the last block only the class token is read. The other tokens serve as keys and values, which need no
    projection of their own: `q · (W x + b)` is `(q W) · x + q · b`, and the values are formed of the attended mean.
    The numbers are those of `Block` but for rounding; parameters and their names are the same. Dropout draws one mask
    for the one query, which for it has the distribution that it has in the whole block.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The first token's state `(batch, 1, dim)` after this block."""
        is_masked = any(value is not None and value is not False for value in (*args, *kwargs.values()))
        if is_masked or not _reads_plainly(self.attn, x):
            whole: Tensor = super().forward(x, *args, **kwargs)
            return whole[:, :1]
        first = x[:, :1]
        first = first + self.drop_path1(self.ls1(self._attend(self.norm1(x))))
        answer: Tensor = first + self.drop_path2(self.ls2(self.mlp(self.norm2(first))))
        return answer

    def _attend(self, tokens: Tensor) -> Tensor:
        attention = self.attn
        num_heads, head_size = attention.num_heads, attention.head_dim
        size = num_heads * head_size
        weight = attention.qkv.weight
        bias = weight.new_zeros(3 * size) if attention.qkv.bias is None else attention.qkv.bias
        query = nn.functional.linear(tokens[:, 0], weight[:size], bias[:size])
        query = query.unflatten(-1, (num_heads, head_size)) * attention.scale
        key_weight = weight[size : 2 * size].unflatten(0, (num_heads, head_size))
        # The key's bias adds the same number to all scores of a query, which softmax takes away again.
        scores = torch.einsum("bhs,hsd->bhd", query, key_weight) @ tokens.transpose(1, 2)
        weights = attention.attn_drop(scores.softmax(-1))
        value_weight = weight[2 * size :].unflatten(0, (num_heads, head_size))
        mixed = torch.einsum("bhd,hsd->bhs", weights @ tokens, value_weight)
        # Dropout leaves weights that do not add up to 1.
        mixed = mixed + weights.sum(-1, keepdim=True) * bias[2 * size :].view(num_heads, head_size)
        attended: Tensor = attention.proj_drop(attention.proj(mixed.flatten(1).unsqueeze(1)))
        return attended


def _reads_plainly(attention: Attention, tokens: Tensor) -> bool:
    """Whether queries, keys and values are one matrix's product: no adapter, no quantisation, not kept elsewhere."""
    qkv = attention.qkv
    return (
        type(qkv) is nn.Linear
        and qkv.weight.device == tokens.device
        and qkv.weight.is_floating_point()
        and not hasattr(qkv, "_hf_hook")
    )


def read_class_token(tower: nn.Module) -> None:
    """Turn a ViT's last block into a `ClassTokenBlock`, where the class token is all that is read of it.

    Other towers, and ViTs whose attention has more parts than projections and a softmax, stay as they are.
    """
    if type(tower) is not VisionTransformer or tower.global_pool != "token" or tower.attn_pool is not None:
        return
    if not tower.blocks or type(tower.blocks[-1]) is not Block or type(tower.blocks[-1].attn) is not Attention:
        return
    attention = tower.blocks[-1].attn
    extra = [getattr(attention, name, None) for name in ("q_norm", "k_norm", "norm", "gate")]
    if all(part is None or type(part) is nn.Identity for part in extra):
        tower.blocks[-1].__class__ = ClassTokenBlock
