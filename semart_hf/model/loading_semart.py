"""Loading with another configuration than the saved one: what may change, and heads whose labels move."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
# Fields that the saved weights were trained with: with others the same weights would compute something else.
_OF_MODEL = ("fusion_dim", "text_pooling", "text_lexicon")
_OF_VISION = ("architecture", "model_args", "pretrained_cfg")
_OF_TEXT = (
    "activation",
    "dim",
    "hidden_dim",
    "max_position_embeddings",
    "n_heads",
    "n_layers",
    "pad_token_id",
    "sinusoidal_pos_embds",
    "vocab_size",
)


def check_overrides(saved: Any, config: Any) -> None:
    """Refuse a configuration by which saved weights would compute something else than they were trained for.

    Args:
        saved: The configuration beside the weights.
        config: The one that they are loaded with.

    Raises:
        ValueError: If a field differs that the weights depend on.
    """
    parts = (
        ("", saved, config, _OF_MODEL),
        ("vision_config.", saved.vision_config, config.vision_config, _OF_VISION),
        ("text_config.", saved.text_config, config.text_config, _OF_TEXT),
    )
    for prefix, before, after, names in parts:
        for name in names:
            old, new = getattr(before, name, None), getattr(after, name, None)
            if old != new:
                raise ValueError(
                    f"Got {prefix}{name}={new!r} for weights that were trained with {old!r}. Allowed to change are "
                    "tasks, task_weights, temperatures, frozen_vision_stages, trainable_text_layers, dropout. Leave "
                    f"{prefix}{name} out, or train a new model with it."
                )


def resolve_configs(config_class: Any, source: Any, config: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The configuration to load saved weights with, which has their tasks; and the wanted tasks.

    Args:
        config_class: Class of the configuration.
        source: Folder or repository of the weights; `None`: the weights are given.
        config: The configuration that `from_pretrained` was given, its place, or `None`.
        options: Other arguments of `from_pretrained`; fields of the configuration are taken out of them.
    """
    hub_options = {name: options[name] for name in _HUB_OPTIONS if name in options}
    names = set(config_class.__annotations__)
    fields = {name: options.pop(name) for name in list(options) if name in names}
    if not isinstance(config, PreTrainedConfig):
        config = config_class.from_pretrained(source if config is None else config, **hub_options, **fields)
    if source is None:
        return config, config.tasks
    saved = config_class.from_pretrained(source, **hub_options)
    check_overrides(saved, config)
    as_saved = copy.deepcopy(config)
    as_saved.set_tasks(saved.tasks)
    return as_saved, config.tasks


@torch.no_grad()
def reorder_heads(model: Any, tasks: list[dict[str, Any]]) -> None:
    """Give a model other tasks: rows of its heads and lexicon follow the names of tasks and labels.

    Rows of new labels are drawn as in a new model.

    Args:
        model: A `SemArtForArtClassification`.
        tasks: The new tasks.

    Raises:
        ValueError: If the heads are quantised, so that they have no rows to move.
    """
    old = {(task["name"], label): index for task in model.config.tasks for index, label in enumerate(task["labels"])}
    columns = {key: column for column, key in enumerate(old)}
    heads = nn.ModuleDict()
    for task in tasks:
        name, labels = task["name"], task["labels"]
        before = dict(model.heads.items()).get(f"head_{name}")
        if before is not None and type(before) is not nn.Linear:
            raise ValueError(
                f"Got other tasks for a model whose heads are of the type {type(before).__name__}, whose rows cannot "
                "be moved. Allowed are the saved tasks. Load it with them, or without quantization."
            )
        like = model.fusion_norm.weight
        head = nn.Linear(model.config.fusion_dim, len(labels), device=like.device, dtype=like.dtype)
        head.weight.normal_(std=model.config.initializer_range)
        head.bias.zero_()
        for row, label in enumerate(labels):
            if before is not None and (name, label) in old:
                head.weight[row] = before.weight[old[name, label]]
                head.bias[row] = before.bias[old[name, label]]
        heads[f"head_{name}"] = head.train(model.training)
    model.heads = heads
    if model.lexicon is not None:
        keys = [(task["name"], label) for task in tasks for label in task["labels"]]
        weight: Tensor = model.lexicon.weight
        moved = weight.new_zeros(len(weight), len(keys))
        for column, key in enumerate(keys):
            if key in columns:
                moved[:, column] = weight[:, columns[key]]
        model.lexicon.weight = nn.Parameter(moved)
    model.config.set_tasks(tasks)
