"""The two towers: where their configurations and weights come from, their stages, and whether weights arrived."""

import copy
import difflib
import os
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.models import group_parameters
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, TimmWrapperConfig
from transformers.utils import cached_file


def vision_stages(tower: Any) -> list[list[str]]:
    """Parameter names of each stage of a timm tower, stem first.

    The stages are timm's own coarse parameter groups, so that a count means the same for every family: the stem, then
    a ResNet's layers, an EfficientNet's block stages or a ViT's blocks. What follows the last block (a final
    convolution or norm) belongs to the last stage.

    Args:
        tower: A timm model without classifier.
    """
    stage_of = group_parameters(tower, tower.group_matcher(coarse=True), reverse=True)
    num_stages = max(stage_of.values()) + 1
    return [[name for name, stage in stage_of.items() if stage == index] for index in range(num_stages)]


def frozen_modules(tower: nn.Module, frozen_parameters: set[str]) -> list[nn.Module]:
    """The top-most modules of a tower in which everything is frozen, for putting them in evaluation mode.

    A module without parameters (dropout, activation, pooling) belongs to the module before it, so that the dropout of
    a frozen stem is switched off with the stem.
    """
    frozen: list[nn.Module] = []
    # Parameters that the root itself holds (a ViT's class token) are of the stem, and so is what follows them.
    previous_is_frozen = all(name in frozen_parameters for name, _ in tower.named_parameters(recurse=False)) and bool(
        frozen_parameters
    )

    def visit(module: nn.Module, prefix: str) -> None:
        nonlocal previous_is_frozen
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            inside = [f"{name}.{parameter}" for parameter, _ in child.named_parameters()]
            if inside:
                previous_is_frozen = all(parameter in frozen_parameters for parameter in inside)
            if previous_is_frozen:
                frozen.append(child)
            elif any(parameter in frozen_parameters for parameter in inside):
                visit(child, f"{name}.")

    visit(tower, "")
    return frozen


def check_frozen_vision_stages(tower: Any, architecture: str, frozen_stages: int) -> None:
    """Compare `frozen_vision_stages` with the tower that it is meant for.

    Raises:
        ValueError: If the tower has fewer stages.
    """
    num_stages = len(vision_stages(tower))
    if not 0 <= frozen_stages <= num_stages:
        raise ValueError(
            f"frozen_vision_stages is {frozen_stages}, but {architecture} has {num_stages} stages (its stem and "
            f"{num_stages - 1} more). Give a number from 0 (nothing frozen) to {num_stages} (all frozen)."
        )


def resolve_vision_config(
    vision: str | os.PathLike[str] | PreTrainedConfig,
    *,
    pretrained: bool,
    image_size: int | None = None,
    crop_pct: float | None = None,
    model_args: dict[str, Any] | None = None,
) -> TimmWrapperConfig:
    """The `timm_wrapper` configuration of a tower, without a classifier.

    Args:
        vision: Hub id, local folder, configuration, or (from scratch only) the name of a timm model.
        pretrained: Whether weights will be loaded from `vision`.
        image_size: Side of the square input in pixels; `None`: the tower's own.
        crop_pct: Share of a picture's sides that the evaluation transform shows; `None`: the tower's own.
        model_args: More arguments of `timm.create_model`, e.g. `{"drop_path_rate": 0.1}`.

    Raises:
        ValueError: If the tower is not known, or the share is none.
    """
    if crop_pct is not None and not 0 < crop_pct <= 1:
        raise ValueError(
            f"crop_pct is {crop_pct}, but it is the share of a picture's sides that is shown: above 0, and 1 for the "
            "whole picture."
        )
    name = os.fspath(vision) if isinstance(vision, str | os.PathLike) else None
    if isinstance(vision, PreTrainedConfig):
        settings = vision.to_dict()
    elif name is not None and (os.path.isdir(name) or "/" in name):
        settings = AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
    elif name is not None and timm.is_model(name):
        if pretrained:
            cfg = timm.get_pretrained_cfg(name)
            tag = f".{cfg.tag}" if cfg.tag and "." not in name else ""
            raise ValueError(
                f"The vision tower {name!r} is a timm name, but pretrained weights come from a Hub id or a local "
                f"folder. Give 'timm/{name}{tag}', or pretrained=False for random weights."
            )
        settings = {
            "architecture": name,
            "pretrained_cfg": timm.get_pretrained_cfg(name, allow_unregistered=False).to_dict(),
        }
    else:
        raise ValueError(_unknown_tower(str(name)))
    architecture = settings.get("architecture")
    if architecture is None or not timm.is_model(architecture):
        raise ValueError(_unknown_tower(str(architecture or name)))
    cfg = dict(settings.get("pretrained_cfg") or timm.get_pretrained_cfg(architecture).to_dict())
    args = {**(settings.get("model_args") or {}), **(model_args or {})}
    native_size = cfg.get("input_size", (3, 224, 224))[-1]
    if image_size is not None and image_size != native_size:
        if cfg.get("fixed_input_size"):
            # Weights trained at another size stay as they are: position embeddings are resampled when the tower runs.
            args.update({"dynamic_img_size": True} if pretrained else {"img_size": image_size})
        cfg["input_size"] = [3, image_size, image_size]
    if crop_pct is not None:
        cfg["crop_pct"] = float(crop_pct)
    if cfg.get("crop_mode") != "squash":  # the processor adds no borders, which few towers ask for: they get crops
        cfg.pop("crop_mode", None)
    keep = (
        "architecture",
        "crop_mode",
        "crop_pct",
        "fixed_input_size",
        "input_size",
        "interpolation",
        "mean",
        "std",
        "tag",
        "license",
    )
    cfg = {key: list(value) if isinstance(value, tuple) else value for key, value in cfg.items() if key in keep}
    return TimmWrapperConfig(
        architecture=architecture, model_args=args or None, pretrained_cfg=cfg, num_labels=0, label_names=[]
    )


def resolve_text_config(text: str | os.PathLike[str] | PreTrainedConfig) -> PreTrainedConfig:
    """The DistilBERT configuration behind a Hub id, a local folder or a configuration.

    Raises:
        ValueError: If it is not a DistilBERT.
    """
    config = text if isinstance(text, PreTrainedConfig) else AutoConfig.from_pretrained(text, trust_remote_code=False)
    if config.model_type != "distilbert":
        raise ValueError(
            f"The text tower {text if isinstance(text, str) else type(text).__name__!r} has model_type "
            f"{config.model_type!r}, but it must be 'distilbert'. Give for example "
            "text='distilbert/distilbert-base-uncased', or a local folder of that form."
        )
    config = copy.deepcopy(config)
    # A source saved in half precision is trained in full: its stored type would build a tower unlike its neighbours.
    config.dtype = None
    return config


def build_vision_tower(config: TimmWrapperConfig) -> nn.Module:
    """A vision tower with timm's own random initialisation.

    `AutoModel.from_config` fills a timm tower with normal(0, 0.02), which loses the scheme that the family trains
    with (He initialisation, zero-initialised last norms); this takes that scheme from a model that timm built.
    """
    tower = AutoModel.from_config(config)
    fresh = timm.create_model(config.architecture, pretrained=False, num_classes=0, **(config.model_args or {}))
    tower.timm_model.load_state_dict(fresh.state_dict())
    return tower


def read_pictures(tower: Any, pixel_values: Tensor) -> Tensor:
    """The vision tower's features of pictures `(batch, dim)`.

    Raises:
        ValueError: If the tower is offloaded: timm's towers are called in ways that do not bring their weights back.
    """
    if tower.device.type == "meta" and not pixel_values.is_meta:
        raise ValueError(
            "The vision tower is offloaded, where it cannot be called. Allowed is a device; the text tower may be "
            "offloaded. Give the vision tower a device in device_map ('vision_tower': 'cpu'), or give more max_memory."
        )
    features: Tensor = tower(pixel_values=pixel_values).pooler_output.flatten(1)
    return features


def load_tower(source: str | os.PathLike[str], config: PreTrainedConfig) -> nn.Module:
    """A tower with the weights of `source`, in float32 and with no tensor missing.

    Raises:
        ValueError: If `source` lacks a tensor of the tower, or has one of another shape.
    """
    tower, info = AutoModel.from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        trust_remote_code=False,
    )
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise ValueError(
            f"{os.fspath(source)!r} lacks {len(missing)} tensors of the tower, for example {missing[0]!r}. Give a "
            "source whose weights are of this architecture, or pretrained=False for random weights."
        )
    return tower


def verify_tower(tower: nn.Module, source: str | os.PathLike[str]) -> int:
    """Number of tensors of a tower that equal, value for value, the tensors in the source's safetensors files.

    The files are read again, past every loading rule, because a tower that silently lost its weights still trains.

    Args:
        tower: The tower inside the finished model.
        source: Hub id or local folder that its weights came from.

    Raises:
        ValueError: If a tensor is not in the source or differs from it.
    """
    expected = tower.state_dict()
    found: dict[str, str] = {}
    path = cached_file(source, "model.safetensors")
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
            name = key.removeprefix("distilbert.")
            name = name if name in expected else f"timm_model.{name}"
            if name in expected:
                found[name] = key
        missing = sorted(set(expected) - set(found))
        different = [
            name
            for name, key in found.items()
            if not torch.equal(expected[name].cpu(), file.get_tensor(key).to(expected[name].dtype))
        ]
    if missing or different:
        raise ValueError(
            f"The pretrained weights of {os.fspath(source)!r} did not arrive: of the tower's {len(expected)} tensors, "
            f"{len(missing)} are not in its model.safetensors and {len(different)} differ (first: "
            f"{(missing + different)[0]!r}). Load the tower from a repository whose model.safetensors is complete, or "
            "choose pretrained=False."
        )
    return len(found)


def _unknown_tower(name: str) -> str:
    close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    return (
        f"Unknown vision tower {name!r}: it is neither a Hub id, nor a local folder, nor a timm model of timm "
        f"{timm.__version__}.{hint} Give for example 'timm/resnet18.a1_in1k', or list names with timm.list_models()."
    )
