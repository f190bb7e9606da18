"""Loading with another configuration than the saved one: what may change, and heads whose labels move."""

import copy
from operator import attrgetter
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig

from .text_semart import computed_with

# Tensors with a row (0) or a column (1) for each label of all tasks.
_LABEL_AXES = {
    **dict.fromkeys(("lexicon.weight", "probe.lexicon.weight"), 1),
    **{f"probe.{name}_projection.{kind}": 0 for name in ("vision", "text") for kind in ("weight", "bias")},
    **dict.fromkeys(("probe.absent_image", "probe.absent_text"), 0),
}
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
# Fields that the saved weights were trained with: with others the same weights would compute something else.
_TRAINED_WITH = (
    *("fusion_dim", "vision_pooling", "text_pooling", "text_lexicon", "probe_share", "network_image_size"),
    *("vision_config.architecture", "vision_config.model_args", "vision_config.pretrained_cfg"),
)


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
    for head in model.heads.values():
        if type(head) is not nn.Linear:
            raise ValueError(
                f"Got other tasks for a model whose heads are of the type {type(head).__name__}, whose rows cannot "
                "be moved. Allowed are the saved tasks. Load it with them, or without quantization."
            )
    old = {key: row for row, key in enumerate(_label_keys(model.config.tasks))}
    keys = _label_keys(tasks)
    rows = torch.tensor([row for row, key in enumerate(keys) if key in old], dtype=torch.long)
    old_rows = torch.tensor([old[key] for key in keys if key in old], dtype=torch.long)
    heads = list(model.heads.values())
    weight, bias = (torch.cat([getattr(head, name) for head in heads]) for name in ("weight", "bias"))
    new_weight = weight.new_empty(len(keys), weight.shape[1]).normal_(std=model.config.initializer_range)
    new_bias = bias.new_zeros(len(keys))
    new_weight[rows], new_bias[rows] = weight[old_rows], bias[old_rows]
    sizes = [len(task["labels"]) for task in tasks]
    model.heads = nn.ModuleDict()
    for task, head_weight, head_bias in zip(tasks, new_weight.split(sizes), new_bias.split(sizes), strict=True):
        head = nn.Linear(weight.shape[1], len(task["labels"]), device="meta").train(model.training)
        head.weight, head.bias = nn.Parameter(head_weight.clone()), nn.Parameter(head_bias.clone())
        model.heads[f"head_{task['name']}"] = head
    state = model.state_dict()
    for name, axis in _LABEL_AXES.items():
        if name in state:
            old_values = state[name].index_select(axis, old_rows)
            shape = [len(keys) if place == axis else size for place, size in enumerate(old_values.shape)]
            values = old_values.new_zeros(shape).index_copy_(axis, rows, old_values)
            path, _, own_name = name.rpartition(".")
            setattr(model.get_submodule(path), own_name, nn.Parameter(values))
    model.config.set_tasks(tasks)


@torch.no_grad()
def verify_start(model: Any, path: str, saved_tasks: list[dict[str, Any]]) -> None:
    """Refuse a model of which a tensor is not in `model.safetensors`, or differs from it: rows by task and label."""
    new_rows = {key: row for row, key in enumerate(_label_keys(model.config.tasks))}
    pairs = [(row, new_rows[key]) for row, key in enumerate(_label_keys(saved_tasks)) if key in new_rows]
    old_rows, rows = ([pair[place] for pair in pairs] for place in (0, 1))
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    names = {f"heads.head_{task['name']}.{kind}" for task in model.config.tasks for kind in ("weight", "bias")}
    missing, different = set(state) - names, []
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
        heads = {f"heads.head_{task['name']}.{kind}" for task in saved_tasks for kind in ("weight", "bias")}
        if absent := sorted(heads - keys):
            raise ValueError(f"The weights of {path} lack {absent[0]!r}. Take a model whose file is whole.")

        def saved(name: str) -> torch.Tensor:
            return file.get_tensor(name)

        for kind in ("weight", "bias"):
            old = torch.cat([saved(f"heads.head_{task['name']}.{kind}") for task in saved_tasks])
            new = torch.cat([state[f"heads.head_{task['name']}.{kind}"] for task in model.config.tasks])
            if not torch.equal(new[rows], old[old_rows].to(new.dtype)):
                different.append(f"heads.{kind}")
        if "logit_scale" not in keys:  # a start that was not contrastive
            missing.discard("logit_scale")
        for name in sorted(missing):
            key = "lexicon.rarities" if name == "lexicon.idf" and name not in keys else name
            if key in keys:
                missing.remove(name)
                old, new = saved(key), state[name]
                if (axis := _LABEL_AXES.get(name)) is not None:
                    pairs_of = ((old, old_rows), (new, rows))
                    old, new = (values.index_select(axis, torch.tensor(places)) for values, places in pairs_of)
                if not torch.equal(new, old.to(new.dtype)):
                    different.append(name)
    if missing or different:
        raise ValueError(
            f"The weights of {path} did not arrive: {len(missing)} tensors are not in it and {len(different)} differ "
            f"(first: {[*sorted(missing), *different][0]!r}). Take a model whose model.safetensors is complete."
        )


def _label_keys(tasks: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(task["name"], label) for task in tasks for label in task["labels"]]
