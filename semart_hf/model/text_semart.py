"""The text tower behind one contract for its families: layers, pooling, frozen parts; one has a faster last layer."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, DistilBertConfig, PreTrainedConfig
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask
from transformers.models.distilbert.modeling_distilbert import TransformerBlock

from .configuration_semart import TEXT_FAMILIES

# What a text tower's numbers depend on beside its weights; each family has some of them.
_COMPUTED_WITH = (
    *("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "pad_token_id"),
    *("max_position_embeddings", "sinusoidal_pos_embds", "type_vocab_size", "rope_parameters"),
    *("activation", "hidden_act", "hidden_activation", "hidden_dim", "intermediate_size"),
    *("layer_norm_eps", "norm_eps", "norm_bias", "attention_bias", "mlp_bias", "layer_types", "local_attention"),
)


class FirstTokenBlock(TransformerBlock):
    """A DistilBERT layer that computes the first token alone: `(batch, tokens, dim)` becomes `(batch, 1, dim)`.

    The numbers, parameters and their names are those of `TransformerBlock`. One query needs no keys: `q · (W h + b)`
    is `(q W) · h + q · b`, and the values are computed from the attended mean.
    """

    def __init__(self, block: TransformerBlock, config: DistilBertConfig) -> None:
        with torch.device("meta"):  # neither memory nor random numbers for parts that are replaced
            super().__init__(config)
        for name, part in block.named_children():
            self.add_module(name, part)
        self.train(block.training)

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **kwargs: Any) -> Tensor:
        """The first token's hidden state `(batch, 1, dim)` after this layer."""
        if attention_mask is not None and (not isinstance(attention_mask, Tensor) or attention_mask.ndim != 4):
            # Masks of flash and flex attention have forms of their own, which those kernels alone can read.
            whole: Tensor = super().forward(hidden_states, attention_mask, **kwargs)
            return whole[:, :1]
        first = hidden_states[:, :1]
        mask = None if attention_mask is None else attention_mask[:, 0, :1]
        attended = self.sa_layer_norm(self._attend(first, hidden_states, mask) + first)
        output: Tensor = self.output_layer_norm(self.ffn(attended) + attended)
        return output

    def _attend(self, first: Tensor, hidden: Tensor, mask: Tensor | None) -> Tensor:
        attention = self.attention
        num_heads, head_size = attention.n_heads, attention.attention_head_size
        query = attention.q_lin(first).unflatten(-1, (num_heads, head_size)).squeeze(1) * head_size**-0.5
        key, value = attention.k_lin, attention.v_lin
        has_plain_weights = _is_plain(key, hidden) and _is_plain(value, hidden)
        if has_plain_weights:
            key_weight, key_bias = key.weight.unflatten(0, (num_heads, -1)), key.bias.view(num_heads, -1)
            scores = torch.einsum("bhs,hsd->bhd", query, key_weight) @ hidden.transpose(1, 2)
            scores = scores + (query * key_bias).sum(-1, keepdim=True)
        else:
            keys = key(hidden).unflatten(-1, (num_heads, head_size))
            scores = torch.einsum("bhs,bths->bht", query, keys)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores + mask
        weights = attention.dropout(scores.softmax(-1)).to(hidden.dtype)
        if has_plain_weights:
            value_weight, value_bias = value.weight.unflatten(0, (num_heads, -1)), value.bias.view(num_heads, -1)
            mixed = torch.einsum("bhd,hsd->bhs", weights @ hidden, value_weight)
            # Dropout leaves weights that do not add up to 1.
            mixed = mixed + weights.sum(-1, keepdim=True) * value_bias
        else:
            mixed = torch.einsum("bht,bths->bhs", weights, value(hidden).unflatten(-1, (num_heads, head_size)))
        attended: Tensor = attention.out_lin(mixed.flatten(1).unsqueeze(1))
        return attended


def _is_plain(linear: nn.Module, hidden: Tensor) -> bool:
    """Whether a layer is its weight and bias and nothing more: no adapter, no quantisation, not kept elsewhere."""
    return (
        type(linear) is nn.Linear
        and linear.bias is not None
        and linear.weight.device == hidden.device
        and linear.weight.is_floating_point()
        and not hasattr(linear, "_hf_hook")
    )


def build_text_tower(config: PreTrainedConfig, pooling: str) -> Any:
    """A tower with random weights; where the first token is all that is read, a DistilBERT computes it alone."""
    tower = AutoModel.from_config(config, **text_options(config))
    layers = text_layers(tower)
    if pooling == "first" and config.model_type == "distilbert" and len(layers):
        layers[-1] = FirstTokenBlock(layers[-1], config)
    return tower


def text_options(config: PreTrainedConfig) -> dict[str, Any]:
    """What a tower's class is given beside its configuration: no layer for what is not read."""
    return {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}


def text_layers(tower: Any) -> nn.ModuleList:
    """The layers of a text tower, in their order."""
    layers: nn.ModuleList = tower.get_submodule(TEXT_FAMILIES[tower.config.model_type])
    return layers


def computed_with(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of a text tower's configuration that its hidden states depend on, by its family's own names."""
    names = {config.attribute_map.get(name, name) for name in _COMPUTED_WITH if hasattr(config, name)}
    return {name: getattr(config, name) for name in sorted(names)}


def most_text_tokens(config: PreTrainedConfig) -> int:
    """How many tokens a text may have; RoBERTa counts its positions from behind the number of its padding."""
    first = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
    return int(config.max_position_embeddings) - first


def frozen_layers(tower: Any, num_trainable: int | None) -> list[nn.Module]:
    """Embeddings and layers of a text tower that do not learn, where its last `num_trainable` do (`None`: all)."""
    layers = list(text_layers(tower))
    if num_trainable is None:
        return []
    if not 0 <= num_trainable <= len(layers):
        raise ValueError(
            f"trainable_text_layers is {num_trainable}, but the text tower has {len(layers)} layers. Give a number "
            f"from 0 to {len(layers)}, or None to train the whole text tower with its embeddings."
        )
    last = [tower.final_norm] if num_trainable == 0 and hasattr(tower, "final_norm") else []
    return [tower.embeddings, *layers[: len(layers) - num_trainable], *last]


def run_layers(tower: Any, hidden: Tensor, attention_mask: Tensor | None, start: int, stop: int) -> Tensor:
    """Hidden states `(batch, tokens, dim)` after a text tower's layers `start:stop`, of those before them."""
    if start >= stop:
        return hidden
    layers: list[Any] = list(text_layers(tower))
    options = {"config": tower.config, "inputs_embeds": hidden, "attention_mask": attention_mask}
    if tower.config.model_type != "modernbert":
        mask = create_bidirectional_mask(**options)
        for layer in layers[start:stop]:
            hidden = layer(hidden, mask)
        return hidden
    masks = {
        "full_attention": create_bidirectional_mask,
        "sliding_attention": create_bidirectional_sliding_window_mask,
    }
    numbers = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
    shared = {  # by kind of attention: the mask, and the positions' angles
        kind: (masks[kind](**options), tower.rotary_emb(hidden, numbers, kind))
        for kind in {layer.attention_type for layer in layers[start:stop]}
    }
    for layer in layers[start:stop]:
        mask, angles = shared[layer.attention_type]
        hidden = layer(hidden, mask, position_embeddings=angles)
    return tower.final_norm(hidden) if stop == len(layers) else hidden


def pool_tokens(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """One vector a text `(batch, dim)`: the first token's (`pooling="first"`), or the mean over the tokens."""
    if pooling == "first":
        return hidden[:, 0]
    if attention_mask is None:
        return hidden.mean(1)
    weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
