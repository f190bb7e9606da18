"""Loading with another configuration than the saved one: what may change, and heads whose labels move."""

import copy
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
# Fields that the saved weights were trained with: with others the same weights would compute something else.
_TRAINED_WITH = (
    *("fusion_dim", "text_pooling", "text_lexicon"),
    *("vision_config.architecture", "vision_config.model_args", "vision_config.pretrained_cfg"),
    *("text_config.activation", "text_config.dim", "text_config.hidden_dim", "text_config.max_position_embeddings"),
    *("text_config.n_heads", "text_config.n_layers", "text_config.pad_token_id", "text_config.sinusoidal_pos_embds"),
    "text_config.vocab_size",
)


def resolve_configs(config_class: Any, source: Any, config: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The configuration to load saved weights with, which has their tasks; and the wanted tasks.

    The arguments are those of `from_pretrained`; fields of the configuration are taken out of its `options`.
    """
    hub_options = {name: options[name] for name in _HUB_OPTIONS if name in options}
    names = set(config_class.__annotations__)
    fields = {name: options.pop(name) for name in list(options) if name in names}
    if not isinstance(config, PreTrainedConfig):
        config = config_class.from_pretrained(source if config is None else config, **hub_options, **fields)
    if source is None:
        return config, config.tasks
    saved = config_class.from_pretrained(source, **hub_options)
    for name in _TRAINED_WITH:
        old, new = (attrgetter(name)(one) for one in (saved, config))
        if old != new:
            raise ValueError(
                f"Got {name}={new!r} for weights that were trained with {old!r}. Allowed to change are tasks, "
                "task_weights, temperatures, confidence_risks, frozen_vision_stages, trainable_text_layers, dropout. "
                f"Leave {name} out, or train a new model with it."
            )
    as_saved = copy.deepcopy(config)
    as_saved.set_tasks(saved.tasks)
    return as_saved, config.tasks


@torch.no_grad()
def reorder_heads(model: Any, tasks: list[dict[str, Any]]) -> None:
    """Give a model other tasks: rows of its heads and lexicon follow the names of tasks and labels.

    Rows of new labels are drawn as in a new model.
    """
    old = {(task["name"], label): row for task in model.config.tasks for row, label in enumerate(task["labels"])}
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
