"""The two towers: where their configurations and weights come from, their stages, and whether weights arrived."""

import difflib
import os
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers import Attention
from timm.models import group_parameters
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, DistilBertConfig, PreTrainedConfig, TimmWrapperConfig
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask
from transformers.models.distilbert.modeling_distilbert import TransformerBlock
from transformers.utils import cached_file

from .configuration_semart import TEXT_FAMILIES

# What of a tower's `pretrained_cfg` its transform depends on, and whose weights it had.
_KEPT_OF_CFG = (
    "architecture", "crop_mode", "crop_pct", "fixed_input_size", "input_size",
    "interpolation", "mean", "std", "tag", "license",
)  # fmt: skip


def vision_stages(tower: Any) -> list[list[str]]:
    """Parameter names of each stage of a timm model without classifier: timm's own coarse parameter groups.

    They are the stem, then a ResNet's layers, an EfficientNet's block stages or a ViT's blocks.
    """
    return list(group_parameters(tower, tower.group_matcher(coarse=True)).values())


def pooled_size(timm_model: Any, pooling: str) -> int:
    """Number of features that `pool_pictures` gives of a picture."""
    size = int(getattr(timm_model, "head_hidden_size", None) or timm_model.num_features)
    if pooling == "last":
        return size
    stages = getattr(timm_model, "feature_info", None)
    if not stages or not hasattr(timm_model, "forward_intermediates"):
        kind = type(timm_model).__name__
        raise ValueError(
            f"Got vision_pooling 'stages' with a {kind}, whose stages timm hides. Set 'last', or take a ResNet."
        )
    return size + 2 * sum(stage["num_chs"] for stage in stages)


def pool_pictures(tower: Any, pixel_values: Tensor, pooling: str) -> Tensor:
    """A vision tower's features of pictures `(batch, pooled_size)`: see `SemArtConfig.vision_pooling`.

    Source: the channels' mean and deviation are a picture's style in Huang & Belongie 2017, Arbitrary style transfer
        in real-time with adaptive instance normalization, section 5.
    """
    output = tower(pixel_values, output_hidden_states=pooling == "stages")
    parts = [output.pooler_output.flatten(1)]
    for hidden in output.hidden_states or ():
        values = hidden.flatten(2).to(torch.promote_types(hidden.dtype, torch.float32))
        variance, mean = torch.var_mean(values, dim=-1, correction=0)
        parts += [mean, (variance + 1e-6).sqrt()]
    return torch.cat([part.to(parts[0].dtype) for part in parts], dim=1)


def frozen_modules(model: nn.Module, parameters: set[int]) -> list[nn.Module]:
    """The modules whose every parameter is one of these, by identity; one without any goes with the one before it."""
    is_frozen, frozen = False, []
    for module in model.modules():
        inside = {id(parameter) for parameter in module.parameters()}
        is_frozen = inside <= parameters if inside else is_frozen
        if is_frozen:
            frozen.append(module)
    return frozen


def frozen_parameters(model: Any) -> set[int]:
    """Identities of the parameters that a model's configuration freezes."""
    config, timm_model = model.config, model.vision_tower.timm_model
    stages = vision_stages(timm_model)
    if not 0 <= config.frozen_vision_stages <= len(stages):
        raise ValueError(
            f"frozen_vision_stages is {config.frozen_vision_stages}, but {config.vision_config.architecture} has "
            f"{len(stages)} stages. Give a number from 0 to {len(stages)}."
        )
    modules = frozen_layers(model.text_tower, config.trainable_text_layers)
    if model.probe is not None:
        if config.trainable_text_layers != 0:
            raise ValueError(
                f"trainable_text_layers is {config.trainable_text_layers} with probe_share {config.probe_share}, but "
                "a probe reads a text tower that does not learn. Set trainable_text_layers: 0, or probe_share: 0."
            )
        modules.append(model.probe)
    frozen = [timm_model.get_parameter(name) for stage in stages[: config.frozen_vision_stages] for name in stage]
    frozen += [parameter for module in modules for parameter in module.parameters()]
    if model.lexicon is not None:
        frozen.append(model.lexicon.idf)
    return {id(parameter) for parameter in frozen}


def resolve_vision_config(
    vision: str | os.PathLike[str] | PreTrainedConfig,
    pretrained: bool,
    image_size: int | None = None,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
) -> TimmWrapperConfig:
    """The `timm_wrapper` configuration of a tower without classifier; see `SemArtForArtClassification.from_towers`."""
    if crop_pct is not None and not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct is {crop_pct}, but it is the share of a picture's sides: above 0, at most 1.")
    if crop_mode not in (None, "center", "squash"):
        raise ValueError(f"crop_mode is {crop_mode!r}. Allowed are 'center' and 'squash'. Give one.")
    name = os.fspath(vision) if isinstance(vision, str | os.PathLike) else str(vision)
    config: Any = vision if isinstance(vision, PreTrainedConfig) else None
    if config is None and (os.path.isdir(name) or "/" in name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    settings: dict[str, Any] = {"architecture": name} if config is None else config.to_dict()
    architecture = str(settings.get("architecture") or name)
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ValueError(
            f"Unknown vision tower {architecture!r}: it is neither a Hub id, nor a local folder, nor a timm model of "
            f"timm {timm.__version__}.{hint} Give for example 'timm/resnet18.a1_in1k'."
        )
    cfg = settings.get("pretrained_cfg") or timm.get_pretrained_cfg(architecture, allow_unregistered=False).to_dict()
    if pretrained and config is None:
        tag = f".{cfg['tag']}" if cfg.get("tag") and "." not in name else ""
        raise ValueError(
            f"The vision tower {name!r} is a timm name, but pretrained weights come from a Hub id or a local "
            f"folder. Give 'timm/{name}{tag}', or pretrained=False for random weights."
        )
    cfg = {
        key: list(value) if isinstance(value, tuple) else value for key, value in cfg.items() if key in _KEPT_OF_CFG
    }
    args = dict(settings.get("model_args") or {})
    if image_size not in (None, cfg.get("input_size", (3, 224, 224))[-1]):
        if cfg.get("fixed_input_size"):
            # Weights trained at another size stay as they are: position embeddings are resampled when the tower runs.
            args.update({"dynamic_img_size": True} if pretrained else {"img_size": image_size})
        cfg["input_size"] = [3, image_size, image_size]
    if crop_pct is not None:
        cfg["crop_pct"] = float(crop_pct)
    own_mode = cfg.pop("crop_mode", None)
    if (crop_mode or own_mode) == "squash":  # the processor adds no borders, which few towers ask for: they get crops
        cfg["crop_mode"] = "squash"
    return TimmWrapperConfig(
        architecture=architecture, model_args=args or None, pretrained_cfg=cfg, num_labels=0, label_names=[]
    )


def fill_tower(tower: Any, source: Any) -> None:
    """Give a tower the verified weights of `source`; a vision tower without one, those of timm for a new tower."""
    if source is None:
        AutoModel.from_config(tower.config)  # draws the numbers that saved figures were drawn after
        args = tower.config.model_args or {}
        fresh = timm.create_model(tower.config.architecture, pretrained=False, num_classes=0, **args)
        tower.timm_model.load_state_dict(fresh.state_dict())
        return
    saved = saved_weights(tower, source)
    tower.load_state_dict(saved, strict=False)  # a source often has heads, too
    check_arrived(source, tower.state_dict(), saved)


def saved_weights(tower: nn.Module, source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a source's `model.safetensors`, by the tower's names: the first BERT checkpoints have others."""
    state, saved = tower.state_dict(), {}
    for key, value in load_file(cached_file(source, "model.safetensors")).items():
        name = key.removeprefix(f"{getattr(tower, 'base_model_prefix', '')}.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        saved[name if name in state else f"timm_model.{name}"] = value
    return saved


def check_arrived(source: Any, wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """A `ValueError` where a wanted tensor is not among the saved ones, or differs from them."""
    missing = [name for name in wanted if name not in saved]
    found = [name for name in wanted if name in saved]
    different = [name for name in found if not torch.equal(wanted[name].cpu(), saved[name].to(wanted[name].dtype))]
    if missing or different:
        raise ValueError(
            f"The weights of {os.fspath(source)!r} did not arrive: of {len(wanted)} tensors, {len(missing)} are not "
            f"in its model.safetensors and {len(different)} differ (first: {[*missing, *different][0]!r}). Choose a "
            "source that is complete."
        )


# What a text tower's numbers depend on beside its weights; each family has some of them.
_COMPUTED_WITH = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "pad_token_id",
    "max_position_embeddings", "sinusoidal_pos_embds", "type_vocab_size", "rope_parameters",
    "activation", "hidden_act", "hidden_activation", "hidden_dim", "intermediate_size",
    "layer_norm_eps", "norm_eps", "norm_bias", "attention_bias", "mlp_bias", "layer_types", "local_attention",
)  # fmt: skip


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
        attention, first = self.attention, hidden_states[:, :1]
        linears = (attention.k_lin, attention.v_lin)
        # Masks of flash and flex attention have forms of their own, which those kernels alone can read.
        is_usual_mask = attention_mask is None or (isinstance(attention_mask, Tensor) and attention_mask.ndim == 4)
        if not (is_usual_mask and all(_is_plain(linear, hidden_states) for linear in linears)):
            return super().forward(hidden_states, attention_mask, **kwargs)[:, :1]
        num_heads, head_size = attention.n_heads, attention.attention_head_size
        (key_weight, key_bias), (value_weight, value_bias) = (
            (linear.weight.unflatten(0, (num_heads, -1)), linear.bias.view(num_heads, -1)) for linear in linears
        )
        query = attention.q_lin(first).unflatten(-1, (num_heads, head_size)).squeeze(1) * head_size**-0.5
        scores = torch.einsum("bhs,hsd->bhd", query, key_weight) @ hidden_states.transpose(1, 2)
        scores = scores + (query * key_bias).sum(-1, keepdim=True)
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask[:, 0, :1], torch.finfo(scores.dtype).min)
        elif attention_mask is not None:
            scores = scores + attention_mask[:, 0, :1]
        weights = attention.dropout(scores.softmax(-1)).to(hidden_states.dtype)
        mixed = torch.einsum("bhd,hsd->bhs", weights @ hidden_states, value_weight)
        # Dropout leaves weights that do not add up to 1.
        mixed = mixed + weights.sum(-1, keepdim=True) * value_bias
        attended = self.sa_layer_norm(attention.out_lin(mixed.flatten(1).unsqueeze(1)) + first)
        return self.output_layer_norm(self.ffn(attended) + attended)


def _is_plain(linear: nn.Module, hidden: Tensor) -> bool:
    """Whether a layer is its weight and bias and nothing more: no adapter, no quantisation, not kept elsewhere."""
    return (
        type(linear) is nn.Linear
        and linear.bias is not None
        and linear.weight.device == hidden.device
        and linear.weight.is_floating_point()
        and not hasattr(linear, "_hf_hook")
    )


class ClassTokenBlock(nn.Module):
    """A ViT's last block that computes the class token alone: `(batch, tokens, dim)` becomes `(batch, 1, dim)`.

    The numbers, parameters and their names are those of timm's `Block`.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        for name, part in block.named_children():
            self.add_module(name, part)
        self.train(block.training)

    def forward(self, x: Tensor) -> Tensor:
        """The first token's state `(batch, 1, dim)` after this block."""
        own: Any = self
        attention = own.attn
        parts = attention.qkv(own.norm1(x)).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        query, key = attention.q_norm(query[:, :, :1]), attention.k_norm(key)
        dropout = attention.attn_drop.p if attention.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)
        first = x[:, :1] + own.drop_path1(own.ls1(attention.proj_drop(attention.proj(attention.norm(mixed)))))
        state: Tensor = first + own.drop_path2(own.ls2(own.mlp(own.norm2(first))))
        return state


def read_class_token(vit: Any) -> None:
    """Let a timm ViT's last block compute the class token alone, where that is all that is read of it."""
    if type(vit) is VisionTransformer and vit.global_pool == "token" and vit.attn_pool is None and len(vit.blocks):
        last = vit.blocks[-1]
        if type(last) is Block and type(last.attn) is Attention and last.attn.gate is None:
            vit.blocks[-1] = ClassTokenBlock(last)


def build_vision_tower(config: PreTrainedConfig, pooling: str) -> Any:
    """A tower with random weights, for a way of pooling."""
    tower = AutoModel.from_config(config)
    if pooling == "last":
        read_class_token(tower.timm_model)
    return tower


def build_text_tower(config: PreTrainedConfig, pooling: str) -> Any:
    """A tower with random weights; where the first token is all that is read, a DistilBERT computes it alone."""
    # No layer for what is not read.
    options = {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}
    tower = AutoModel.from_config(config, **options)
    layers = text_layers(tower)
    if pooling == "first" and config.model_type == "distilbert" and len(layers):
        layers[-1] = FirstTokenBlock(layers[-1], config)
    return tower


def text_layers(tower: Any) -> nn.ModuleList:
    """The layers of a text tower, in their order."""
    return tower.get_submodule(TEXT_FAMILIES[tower.config.model_type])


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
            f"trainable_text_layers is {num_trainable}, but the text tower has {len(layers)} layers. Give 0 to "
            f"{len(layers)}, or None for the whole tower with its embeddings."
        )
    last = [tower.final_norm] if num_trainable == 0 and hasattr(tower, "final_norm") else []
    return [tower.embeddings, *layers[: len(layers) - num_trainable], *last]


def run_layers(tower: Any, hidden: Tensor, attention_mask: Tensor | None, start: int, stop: int) -> Tensor:
    """Hidden states `(batch, tokens, dim)` after a text tower's layers `start:stop`, of those before them."""
    if start >= stop:
        return hidden
    layers: list[Any] = list(text_layers(tower))
    masks: dict[Any, Any] = {"sliding_attention": create_bidirectional_sliding_window_mask}
    options = {"config": tower.config, "inputs_embeds": hidden, "attention_mask": attention_mask}
    shared: dict[Any, dict[str, Any]] = {}  # what layers of one kind of attention have in common; ModernBERT has two
    for kind in {getattr(layer, "attention_type", None) for layer in layers[start:stop]}:
        shared[kind] = {"attention_mask": masks.get(kind, create_bidirectional_mask)(**options)}
        if kind is not None:
            numbers = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
            shared[kind]["position_embeddings"] = tower.rotary_emb(hidden, numbers, kind)
    for layer in layers[start:stop]:
        hidden = layer(hidden, **shared[getattr(layer, "attention_type", None)])
    return tower.final_norm(hidden) if stop == len(layers) and hasattr(tower, "final_norm") else hidden


def pool_tokens(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """One vector a text `(batch, dim)`: the first token's (`pooling="first"`), or the mean over the tokens."""
    if pooling == "first":
        return hidden[:, 0]
    if attention_mask is None:
        return hidden.mean(1)
    weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
