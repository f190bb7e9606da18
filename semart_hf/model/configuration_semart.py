"""Configuration of the SemArt model: two towers, their fusion, what is frozen, and the ordered tasks."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

#: A painting has one label of a task; one of labels that have an order; or several.
KINDS = ("categorical", "ordered", "multi_label")
# What a task may have since format 1.2 beside its kind, and the kind that has it.
_KIND_BY_KEY = {"positions": "ordered", "unit": "ordered", "thresholds": "multi_label", "separator": "multi_label"}

# Families of text towers by their model_type, and where in a tower its layers are.
TEXT_FAMILIES = {
    "distilbert": "transformer.layer",
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
    "modernbert": "layers",
}


@strict
class SemArtConfig(PreTrainedConfig):
    """Everything that rebuilds a `SemArtForArtClassification` without its weights.

    The order of the tasks is that of the columns of `labels (batch, num_label_columns)`; `id2label` numbers the labels
    of all tasks, as `task: label` where there are several.

    Args:
        vision_config: The timm tower (`timm_wrapper`).
        text_config: The text tower, of one of `TEXT_FAMILIES`.
        tasks: `[{"name": "type", "labels": ["landscape", …]}, …]`; a label's position is its class index. Of labels
            that data has in a column of another name, or that a rule derives from it, also `column` and `rule`. `kind`
            is one of `KINDS`. An `ordered` task may have `positions`, a number or `None` for each label, on a scale in
            `unit`; a `multi_label` task may have `thresholds`, the probability of each label from which it is an
            answer (0.5 where absent), and the `separator` of labels in a cell of text.
        task_weights: Weight of each task's loss by task name; 1 where it is not named.
        fusion_dim: Size of each projection and of the fused features.
        vision_pooling: `last` is what the vision tower pools itself; `stages` adds the mean and the standard deviation
            over the picture of what each of its stages gives (colour, line and texture, beside the subject).
        text_pooling: `first` reads the first token's hidden state, `mean` averages over the text's tokens.
        text_lexicon: Whether a linear model on token counts (`Lexicon`) stands beside the text tower.
        probe_share: Weight from 0 to 1 of a `Probe`'s logits, beside those of the network; 0: there is none.
        network_image_size: Side in pixels to which pictures are scaled for the network where a probe sees larger ones;
            `None`: as they come.
        contrastive: Whether vectors of picture and text are trained to find each other, with a learned scale.
        frozen_vision_stages: Number of leading stages (see `vision_stages`) of the vision tower that do not learn.
        trainable_text_layers: Number of last text layers that learn; `None`: all, and the embeddings.
        temperatures: What each task's logits are divided by where probabilities are formed; 1 where it is not named.
        confidence_risks: For each task points `[confidence, share]`, measured where it was calibrated: the share of
            wrong answers among those that are at least so sure; confidences fall, shares rise.
        training_data: `{"name": str, "is_painted_miniature": bool}`; `None`: not recorded.
        format_version: `MAJOR.MINOR`; a newer major version is refused. Since 1.1 the lexicon's `rarities` are `idf`;
            tasks with a kind and `vision_pooling` by stages are of 1.2, a probe of 1.3.

    Raises:
        ValueError: If the tasks are malformed, a tower is of another family, or the format is too new.
    """

    model_type = "semart"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="timm_wrapper"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="distilbert"),
    }
    # Whether `pipeline` loads its class from beside the weights; not where the package registers its own.
    loads_saved_pipeline: ClassVar[bool] = True
    # The Trainer gathers every output of an evaluation step that is not named here.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "task_losses", "features", "image_features", "text_features", "logit_scale",
    ]  # fmt: skip

    vision_config: Any = None
    text_config: Any = None
    tasks: list[dict[str, Any]] | None = None
    task_weights: dict[str, float | int] | None = None
    fusion_dim: int = 512
    fusion_dropout: float | int = 0.1
    vision_pooling: str = "last"
    text_pooling: str = "first"
    text_lexicon: bool = False
    probe_share: float | int = 0.0
    network_image_size: int | None = None
    contrastive: bool = False
    frozen_vision_stages: int = 0
    trainable_text_layers: int | None = 1
    temperatures: dict[str, float | int] | None = None
    confidence_risks: dict[str, list[list[float]]] | None = None
    training_data: dict[str, Any] | None = None
    initializer_range: float = 0.02
    format_version: str = "1.1"

    def __post_init__(self, **kwargs: Any) -> None:
        """Check what the field types cannot say."""
        if not self.loads_saved_pipeline:
            kwargs.pop("custom_pipelines", None)
        kwargs.pop("learns_task_weights", None)  # of format 1.0; it changed only how tasks were weighed in training
        super().__post_init__(**kwargs)
        if self.format_version.split(".")[0] not in ("0", "1"):
            raise ValueError(
                f"This model's configuration has format_version {self.format_version!r}, but this code reads versions "
                "up to 1.x. Upgrade with `pip install -U semart-hf`, or load it with `trust_remote_code=True` where "
                "semart_hf is not imported."
            )
        if (found := self.vision_config.model_type) != "timm_wrapper":
            raise ValueError(f"vision_config has model_type {found!r}, but it must be 'timm_wrapper'. Give another.")
        found, is_decoder = self.text_config.model_type, getattr(self.text_config, "is_decoder", False)
        if found not in TEXT_FAMILIES or is_decoder:
            raise ValueError(
                f"text_config has model_type {found!r}{' and is_decoder=True' if is_decoder else ''}, but it must be "
                f"an encoder of {', '.join(TEXT_FAMILIES)}. Choose 'distilbert/distilbert-base-uncased', say."
            )
        for name, allowed in {"vision_pooling": ("last", "stages"), "text_pooling": ("first", "mean")}.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {value!r}. Allowed are {' and '.join(map(repr, allowed))}. Give one.")
        if not 0 <= self.probe_share <= 1:
            raise ValueError(f"probe_share is {self.probe_share}. Allowed is a number from 0 to 1. Give one.")
        if self.probe_share and self.format_version in ("1.0", "1.1", "1.2"):
            self.format_version = "1.3"
        self.set_tasks(self.tasks)
        for name in ("task_weights", "temperatures", "confidence_risks"):
            if unknown := sorted(set(getattr(self, name) or {}) - set(self.task_names)):
                raise ValueError(f"{name} names {unknown}, but the tasks are {self.task_names}. Name these.")
        if not all(0 < value < math.inf for value in (self.temperatures or {}).values()):
            raise ValueError(f"temperatures are {self.temperatures}. Allowed are numbers above 0. Give these.")
        weights = [(self.task_weights or {}).get(name, 1.0) for name in self.task_names]
        if weights and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
            advice = "Allowed are numbers from 0, at least one above it. Correct them."
            raise ValueError(f"task_weights are {self.task_weights}. {advice}")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration of a dict, with the fields of `kwargs` in their place and checked as these are."""
        own = {name for name in cls.__annotations__ if name not in cls.sub_configs_defaults}
        overrides = {name: kwargs.pop(name) for name in list(kwargs) if name in own}
        return super().from_dict({**config_dict, **overrides}, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds, where `pipeline` finds its class, to load it from beside the weights."""
        ours = {"impl": "pipeline_semart.ArtClassificationPipeline", "pt": ["AutoModel"], "type": "multimodal"}
        return {**super().to_dict(), "custom_pipelines": {"art-classification": ours}}

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order of the label columns."""
        return [task["name"] for task in self.tasks or []]

    def set_tasks(self, tasks: list[dict[str, Any]] | None) -> None:
        """Take other tasks, and number their labels again; a `ValueError` if they are malformed."""
        _check_tasks(tasks or [])
        self.tasks = tasks
        has_kinds = any(set(task) & {"kind", *_KIND_BY_KEY} for task in tasks or [])
        if self.format_version in ("1.0", "1.1") and (has_kinds or self.vision_pooling != "last"):
            self.format_version = "1.2"
        has_several = len(tasks or []) > 1
        names = ((task["name"], label) for task in tasks or [] for label in task["labels"])
        labels = [f"{task}: {label}" if has_several else label for task, label in names]
        self.id2label = dict(enumerate(labels))
        self.label2id = {label: index for index, label in enumerate(labels)}

    @property
    def reads_tokens(self) -> bool:
        """Whether a text's tokens are read beside what the text tower makes of them."""
        return self.text_lexicon or self.probe_share > 0

    @property
    def label_columns(self) -> dict[str, slice]:
        """The columns of `labels` by task name: one for a single label, one (0, 1) a label for several."""
        return label_columns(self.tasks or [])

    @property
    def num_label_columns(self) -> int:
        """Number of columns of `labels`."""
        return max((columns.stop for columns in self.label_columns.values()), default=0)

    @property
    def training_notice(self) -> str | None:
        """What to print beside every answer of a model that has seen no real painting; `None` for all others."""
        if not (self.training_data or {}).get("is_painted_miniature"):
            return None
        return (
            "This model was trained on the painted miniature alone: small pictures drawn by a program. It has never "
            "seen a real painting, so about real paintings its answers are guesses, however confident."
        )

    def labels(self, task: str) -> list[str]:
        """Labels of one task, in the order of its logits; a `ValueError` if the model has no such task."""
        if task in self.task_names:
            return list((self.tasks or [])[self.task_names.index(task)]["labels"])
        raise ValueError(f"Unknown task {task!r}: this model's tasks are {self.task_names}. Name one of them.")


def label_columns(tasks: Iterable[Mapping[str, Any]]) -> dict[str, slice]:
    """The columns of `labels` by task name: see `SemArtConfig.label_columns`."""
    columns: dict[str, slice] = {}
    stop = 0
    for task in tasks:
        start, stop = stop, stop + (len(task["labels"]) if is_multi_label(task) else 1)
        columns[task["name"]] = slice(start, stop)
    return columns


def is_multi_label(task: Mapping[str, Any]) -> bool:
    """Whether a painting has several labels of a task."""
    return task.get("kind") == "multi_label"


def _check_tasks(tasks: list[dict[str, Any]]) -> None:
    example = "tasks=[{'name': 'type', 'labels': ['landscape', 'portrait']}]"
    for task in tasks:
        is_known = {"name", "labels"} <= set(task) <= {"name", "labels", "column", "rule", "kind", *_KIND_BY_KEY}
        if not is_known or not isinstance(task["name"], str) or not task["name"].isidentifier():
            raise ValueError(f"A task must have a 'name' (an identifier) and 'labels', got {task!r}. Write {example}.")
        if not all(isinstance(task.get(key), str | None) for key in ("column", "rule", "unit", "separator")):
            raise ValueError(f"Got {task!r}. Its column, rule, unit and separator must be words. Correct it.")
        name, labels = task["name"], task["labels"]
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"The labels of task {name!r} must be a list of names, got {labels!r}. Write {example}.")
        _check_kind(task)
    groups = {f"labels of task {task['name']!r}": task["labels"] for task in tasks}
    for kind, names in {"tasks": [task["name"] for task in tasks], **groups}.items():
        if doubled := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"The {kind} have {doubled} more than once. Give each name once.")


def _check_kind(task: dict[str, Any]) -> None:
    name, kind, num_labels = task["name"], task.get("kind", KINDS[0]), len(task["labels"])
    if kind not in KINDS:
        raise ValueError(f"Got the kind {kind!r} of task {name!r}. Allowed are {list(KINDS)}. Choose one.")
    for key, owner in _KIND_BY_KEY.items():
        if key in task and kind != owner:
            raise ValueError(f"Got {key} for task {name!r} of kind {kind!r}. Only {owner!r} has them. Leave them out.")
    ranges = {"positions": (-math.inf, math.inf, "or null"), "thresholds": (0, 1, "from 0 to 1")}
    for key, (least, most, words) in ranges.items():
        numbers = task.get(key, [0.5] * num_labels)
        known = [number for number in numbers if number is not None or key == "thresholds"]
        are_right = all(isinstance(one, int | float) and math.isfinite(one) and least <= one <= most for one in known)
        if len(numbers) != num_labels or not are_right:
            raise ValueError(
                f"The {key} of task {name!r} must be a number for each of {num_labels} labels, {words}, got "
                f"{numbers!r}. Correct them."
            )


# Saved models carry the code that loads them.
SemArtConfig.register_for_auto_class()
