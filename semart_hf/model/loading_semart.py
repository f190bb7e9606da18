"""Loading with another configuration than the saved one: what may change, and heads whose labels move."""

import copy
import hashlib
from operator import attrgetter
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedConfig

from .towers_semart import check_arrived, computed_with

# Tensors with a row (0) or a column (1) for each label of all tasks; those of all heads are one.
_LABEL_AXES = {
    **dict.fromkeys(("heads.weight", "heads.bias", "probe.absent_image", "probe.absent_text"), 0),
    **dict.fromkeys(("lexicon.weight", "probe.lexicon.weight"), 1),
    **{f"probe.{name}_projection.{kind}": 0 for name in ("vision", "text") for kind in ("weight", "bias")},
}
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
# Fields that the saved weights were trained with: with others the same weights would compute something else.
_TRAINED_WITH = (
    "fusion_dim", "vision_pooling", "text_pooling", "text_lexicon", "probe_share", "network_image_size",
    "vision_config.architecture", "vision_config.model_args", "vision_config.pretrained_cfg",
)  # fmt: skip


def resolve_configs(config_class: Any, source: Any, config: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The configuration with the saved tasks, and the wanted tasks; its fields leave `from_pretrained`'s `options`."""
    hub_options = {name: options[name] for name in HUB_OPTIONS if name in options}
    fields = {name: options.pop(name) for name in list(options) if name in config_class.__annotations__}
    if not isinstance(config, PreTrainedConfig):
        config = config_class.from_pretrained(source if config is None else config, **hub_options, **fields)
    if source is None:
        return config, config.tasks
    saved = config_class.from_pretrained(source, **hub_options)
    old_fields, new_fields = _trained_with(saved), _trained_with(config)
    for name, old in old_fields.items():
        if old != (new := new_fields.get(name)):
            raise ValueError(
                f"Got {name}={new!r} for weights that were trained with {old!r}. Allowed to change are tasks, "
                "task_weights, temperatures, confidence_risks, frozen_vision_stages, trainable_text_layers, dropout. "
                f"Leave {name} out, or train a new model with it."
            )
    as_saved = copy.deepcopy(config)
    as_saved.set_tasks(saved.tasks)
    return as_saved, config.tasks


def _trained_with(config: Any) -> dict[str, Any]:
    text = {f"text_config.{name}": value for name, value in computed_with(config.text_config).items()}
    return {name: attrgetter(name)(config) for name in _TRAINED_WITH} | text


@torch.no_grad()
def reorder_heads(model: Any, tasks: list[dict[str, Any]]) -> None:
    """Give a model other tasks: rows of heads and lexicon follow their labels, new ones are as in a new model."""
    if tasks == model.config.tasks:
        return
    if kinds := {type(head).__name__ for head in model.heads.values() if type(head) is not nn.Linear}:
        raise ValueError(f"Got other tasks for heads of the types {kinds}, whose rows stay. Load it with its own.")
    old_tasks = model.config.tasks
    model.config.set_tasks(tasks)  # or a ValueError
    old, labels = _by_label(model.state_dict(), old_tasks), _labels(tasks)
    tensors = {}
    for name, axis in _LABEL_AXES.items():
        row = old.get(f"{name} of {_labels(old_tasks)[0]}")
        if row is not None:
            std = model.config.initializer_range if name == "heads.weight" else 0.0
            rows = [old.get(f"{name} of {label}") for label in labels]
            new = [torch.empty_like(row).normal_(std=std) if one is None else one for one in rows]
            tensors[name] = torch.stack(new, dim=axis)
    sizes = [len(task["labels"]) for task in tasks]
    weights, biases = (tensors.pop(f"heads.{kind}").split(sizes) for kind in ("weight", "bias"))
    model.heads = nn.ModuleDict()
    for task, weight, bias in zip(tasks, weights, biases, strict=True):
        head = nn.Linear(weight.shape[1], len(weight), device="meta").train(model.training)
        head.weight, head.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        model.heads[f"head_{task['name']}"] = head
    for name, values in tensors.items():
        path, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(path), own_name, nn.Parameter(values))
    model.freeze()  # what is new of a probe, too


def verify_start(model: Any, path: str) -> None:
    """Refuse a model of which a tensor is not in `model.safetensors`, or differs from it."""
    saved, wanted = load_file(path), model.state_dict()
    if "lexicon.rarities" in saved:  # of format 1.0
        saved["lexicon.idf"] = saved["lexicon.rarities"]
    if "logit_scale" not in saved:  # a start that was not contrastive
        wanted.pop("logit_scale", None)
    check_arrived(path, wanted, saved)


def _labels(tasks: list[dict[str, Any]]) -> list[str]:
    return [f"{task['name']}: {label}" for task in tasks for label in task["labels"]]


def _by_label(state: dict[str, Tensor], tasks: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The tensors by name; of those that have a row for each label each row, as `NAME of TASK: LABEL`."""
    found = dict(state)
    for kind in ("weight", "bias"):
        found[f"heads.{kind}"] = torch.cat([found.pop(f"heads.head_{task['name']}.{kind}") for task in tasks])
    for name in found.keys() & _LABEL_AXES.keys():
        rows = found.pop(name).unbind(_LABEL_AXES[name])
        found |= {f"{name} of {label}": row for label, row in zip(_labels(tasks), rows, strict=True)}
    return found


def digest_of_weights(model: Any) -> str:
    """Of the bytes of a model's tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
