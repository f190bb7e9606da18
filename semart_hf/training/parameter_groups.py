"""Which parameters learn how fast: one optimiser group for each part of the model, layer and kind of parameter."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.towers_semart import vision_stages

PARTS = ("vision", "text", "new", "lexicon")
_TIMM = "vision_tower.timm_model."
_LAYER = "text_tower.transformer.layer."


def decayed_parameters(model: nn.Module) -> list[str]:
    """Names of the parameters that weight decay applies to: matrices and kernels.

    Biases, every norm (timm's BatchNorm included), the learned absence vectors and uncertainties, and what a timm
    tower itself exempts (class token, position embeddings) are left alone.
    """
    exempt = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()
    }
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name not in exempt and "position_embeddings" not in name
    ]


def layer_depths(model: SemArtForArtClassification) -> dict[str, tuple[str, int]]:
    """Part of `PARTS` and distance from its top of each parameter by name; the top layer has distance 0.

    A vision tower's layers are its stages, the text tower's are its embeddings and its Transformer layers. What was
    not in a tower is new, and all of distance 0.
    """
    stages = vision_stages(model.vision_tower.timm_model)
    stage_of = {f"{_TIMM}{name}": len(stages) - 1 - index for index, stage in enumerate(stages) for name in stage}
    num_layers = model.config.text_config.n_layers
    depths = {}
    for name, _ in model.named_parameters():
        if name in stage_of:
            depths[name] = ("vision", stage_of[name])
        elif name.startswith(_LAYER):
            depths[name] = ("text", num_layers - 1 - int(name[len(_LAYER) :].split(".")[0]))
        elif name.startswith("text_tower."):
            depths[name] = ("text", num_layers)
        elif name.startswith("lexicon."):
            depths[name] = ("lexicon", 0)
        else:
            depths[name] = ("new", 0)
    return depths


def parameter_groups(
    model: SemArtForArtClassification,
    names: Iterable[str],
    *,
    learning_rates: Mapping[str, float],
    layer_decay: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Optimiser groups with `params`, `lr`, `weight_decay` and a `name`, which hold every named parameter once.

    Args:
        model: The model.
        names: The parameters that learn.
        learning_rates: Largest learning rate of each of `PARTS`.
        layer_decay: Factor of the learning rate from a tower's layer to the one below it; 1 leaves all alike.
        weight_decay: Of matrices and kernels; everything else has none.
    """
    parameters = dict(model.named_parameters())
    depths, decayed = layer_depths(model), set(decayed_parameters(model))
    groups: dict[tuple[int, int, bool], dict[str, Any]] = {}
    for name in names:
        part, depth = depths[name]
        # Without layer decay one group a part is enough: fewer groups are fewer kernels.
        depth = depth if layer_decay != 1 else 0
        key = (PARTS.index(part), depth, name in decayed)
        if key not in groups:
            where = f"{part}, {depth} below the top" if depth else part
            groups[key] = {
                "params": [],
                "lr": learning_rates[part] * layer_decay**depth,
                "weight_decay": weight_decay if name in decayed else 0.0,
                "name": where,
            }
        groups[key]["params"].append(parameters[name])
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], key[1], not key[2]))]


def groups_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The groups as lines of text: what they hold, how fast it learns, and whether it decays."""
    lines = [f"{'learns':<26}{'tensors':>8}{'parameters':>13}{'learning rate':>15}{'weight decay':>14}"]
    for group in groups:
        size = sum(parameter.numel() for parameter in group["params"])
        # Schedulers lower `lr` from the first step on; what it rises to is kept beside it.
        rate = group.get("initial_lr", group["lr"])
        lines.append(
            f"{group['name']:<26}{len(group['params']):>8,d}{size:>13,d}{rate:>15.3g}{group['weight_decay']:>14.3g}"
        )
    return "\n".join(lines)
