"""Which parameters learn how fast: one optimiser group for each part of the model and kind of parameter."""

from collections.abc import Mapping
from typing import Any

from torch import nn

# Parts of the model by the beginning of a parameter's name; every other parameter is new.
PREFIXES = {"vision": "vision_tower.", "text": "text_tower.", "new": "", "lexicon": "lexicon."}


def decayed_parameters(model: nn.Module) -> list[str]:
    """Names of the matrices and kernels, which weight decay applies to, but for what a timm tower itself exempts."""
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


def parameter_groups(
    model: nn.Module, *, learning_rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups with `params`, `lr`, `weight_decay` and a `name`, which hold every parameter that learns once.

    Each part of `PREFIXES` has its learning rate; what is not one of `decayed_parameters` has no weight decay.
    """
    decayed = set(decayed_parameters(model))
    members: dict[tuple[str, bool], list[nn.Parameter]] = {
        (part, is_decayed): [] for part in PREFIXES for is_decayed in (True, False)
    }
    for name, parameter in model.named_parameters():
        part = next((part for part, prefix in PREFIXES.items() if prefix and name.startswith(prefix)), "new")
        if parameter.requires_grad:
            members[part, name in decayed].append(parameter)
    return [
        {"params": some, "lr": learning_rates[part], "weight_decay": weight_decay if is_decayed else 0.0, "name": part}
        for (part, is_decayed), some in members.items()
        if some
    ]
