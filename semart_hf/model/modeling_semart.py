"""The SemArt model: two towers, fused features, one head a task, one loss."""

import copy
import math
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import cached_file, can_return_tuple, logging

from .configuration_semart import SemArtConfig
from .linear_semart import Lexicon, Probe
from .loading_semart import HUB_OPTIONS, reorder_heads, resolve_configs, verify_start
from .output_semart import SemArtOutput, check_inputs, fill_absent, mean_losses
from .techniques_semart import evaluation_mode, without_autocast
from .towers_semart import (
    build_text_tower,
    build_vision_tower,
    fill_tower,
    frozen_modules,
    frozen_parameters,
    pool_pictures,
    pool_tokens,
    pooled_size,
    resolve_vision_config,
    run_layers,
)


class SemArtForArtClassification(PreTrainedModel):
    """Type, school, timeframe and medium of paintings from their pictures and descriptions.

    Each tower's features are projected to `fusion_dim`; a learned vector stands in for what a painting lacks. A linear
    head for each task reads the fused features: the sum of the two vectors and of one hidden layer over both.
    """

    config_class = SemArtConfig
    base_model_prefix = "semart"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = ("TimmWrapperModel", "TransformerBlock", "FirstTokenBlock")
    _keep_in_fp32_modules = ("fusion", "fusion_norm", "heads")  # nor are these quantised
    # With it, the Trainer would no longer divide the loss by the number of accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: SemArtConfig) -> None:
        super().__init__(config)
        if not config.tasks:
            raise ValueError("Got no task. Give the config tasks=[{'name': 'type', 'labels': ['a', 'b']}], or more.")
        self.vision_tower = build_vision_tower(config.vision_config, config.vision_pooling)
        self.text_tower = build_text_tower(config.text_config, config.text_pooling)
        vision_dim = pooled_size(self.vision_tower.timm_model, config.vision_pooling)
        self.vision_projection = nn.Linear(vision_dim, config.fusion_dim)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.fusion_dim)
        self.absent_image = nn.Parameter(torch.zeros(config.fusion_dim))
        self.absent_text = nn.Parameter(torch.zeros(config.fusion_dim))
        self.fusion_norm = nn.LayerNorm(2 * config.fusion_dim)
        self.fusion = nn.Linear(2 * config.fusion_dim, config.fusion_dim)
        self.fusion_dropout = nn.Dropout(config.fusion_dropout)
        # The prefix keeps a task named like a method of nn.Module ("type") from shadowing it.
        self.heads = nn.ModuleDict(
            {f"head_{task['name']}": nn.Linear(config.fusion_dim, len(task["labels"])) for task in config.tasks}
        )
        self.lexicon = Lexicon(config.text_config.vocab_size, config.num_labels) if config.text_lexicon else None
        self.probe = Probe(config, config.num_labels) if config.probe_share else None
        if config.contrastive:
            self.logit_scale = nn.Parameter(torch.zeros(1))  # FSDP shards no scalars
        self.post_init()
        self.freeze()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SemArtForArtClassification):
            init.normal_(module.absent_image, std=self.config.initializer_range)
            init.normal_(module.absent_text, std=self.config.initializer_range)
            if self.config.contrastive:
                init.constant_(module.logit_scale, math.log(1 / 0.07))
        elif isinstance(module, Lexicon | Probe):
            for parameter in module.parameters(recurse=False):
                init.zeros_(parameter)

    @classmethod
    def from_towers(
        cls,
        vision: str | os.PathLike[str] | PreTrainedConfig,
        text: str | os.PathLike[str] | PreTrainedConfig,
        tasks: list[dict[str, Any]],
        *,
        pretrained: bool | str = True,
        image_size: int | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        **config_fields: Any,
    ) -> "SemArtForArtClassification":
        """A new model around two towers; the only door by which pretrained tower weights enter.

        Args:
            vision: Hub id or local folder of a timm model (`timm/resnet18.a1_in1k`); with random weights also a timm
                name (`resnet18`) or a configuration.
            text: Hub id or local folder of one of `TEXT_FAMILIES` (`distilbert/distilbert-base-uncased`), or its
                configuration.
            tasks: As in `SemArtConfig`.
            pretrained: `True` loads both towers' weights and verifies them, `"vision"` or `"text"` that tower's alone,
                `False` none: the others start from their family's own random initialisation.
            image_size: Side of the square input in pixels; `None`: the tower's own.
            crop_pct: Share of a picture's sides that is shown; `None`: the tower's own.
            crop_mode: `center` cuts its middle, `squash` shows it whole, made square; `None`: the tower's own.
            **config_fields: Of `SemArtConfig`.

        Raises:
            ValueError: If a field or tower is unknown, a tower is of another family, or its weights did not arrive.
        """
        if pretrained not in (True, False, "vision", "text"):
            raise ValueError(f"pretrained is {pretrained!r}. Allowed are True, False, 'vision', 'text'. Give one.")
        allowed = [field.name for field in fields(SemArtConfig)]
        if unknown := sorted({*config_fields} - {*allowed}):
            raise ValueError(f"Got the fields {unknown}. Allowed are {allowed}. Correct the name.")
        loaded = {name: source for name, source in (("vision", vision), ("text", text)) if pretrained in (True, name)}
        for name, source in loaded.items():
            if isinstance(source, PreTrainedConfig):
                raise ValueError(f"Got a configuration as {name} tower, which has no weights. Give a folder.")
        vision_config = resolve_vision_config(vision, "vision" in loaded, image_size, crop_pct, crop_mode)
        is_config = isinstance(text, PreTrainedConfig)
        config: Any = copy.deepcopy(text) if is_config else AutoConfig.from_pretrained(text, trust_remote_code=False)
        config.dtype = None  # a source that was saved in half precision is trained in full
        model = cls(SemArtConfig(vision_config=vision_config, text_config=config, tasks=tasks, **config_fields))
        fill_tower(model.vision_tower, loaded.get("vision"))
        if "text" in loaded:
            fill_tower(model.text_tower, text)
        if model.probe is not None:
            model.probe.vision_tower.load_state_dict(model.vision_tower.state_dict())
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """The saved model, with its frozen parts frozen again; with other `tasks`, see `reorder_heads`.

        Raises:
            ValueError: If a field is overridden with which the saved weights would compute something else.
        """
        config, tasks = resolve_configs(cls.config_class, pretrained_model_name_or_path, config, kwargs)
        if config.format_version == "1.0":
            kwargs.setdefault("key_mapping", {"lexicon.rarities": "lexicon.idf"})
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        reorder_heads(model, tasks)
        model.freeze()
        return loaded

    @classmethod
    def from_checkpoint(
        cls, model: str | os.PathLike[str], tasks: list[dict[str, Any]], **options: Any
    ) -> "SemArtForArtClassification":
        """A published model as the start of another, proved tensor by tensor.

        Towers, fusion and lexicon are its own. Of each task that both have, the rows of labels that both have are its
        own too; other labels and tasks start as in a new model. Its calibration is left behind.

        Args:
            model: Hub id or local folder.
            tasks: As in `SemArtConfig`.
            **options: Of `from_pretrained`, e.g. `frozen_vision_stages`.

        Raises:
            ValueError: If a tensor did not arrive, or an option asks for what the weights cannot do.
        """
        forgotten = dict.fromkeys(("task_weights", "temperatures", "confidence_risks"))
        hub_options = {name: options[name] for name in HUB_OPTIONS if name in options}
        saved, _ = PreTrainedConfig.get_config_dict(model, **hub_options)
        if (kind := saved.get("model_type")) != cls.config_class.model_type:
            raise ValueError(f"Got {model}, of the model type {kind!r}. A start is a SemArt model. Give one.")
        try:
            started = cls.from_pretrained(model, dtype=torch.float32, **forgotten, **options)
            verify_start(started, cached_file(model, "model.safetensors", **hub_options))
        except SafetensorError as error:
            raise ValueError(f"The weights of {model} are damaged ({error}). Fetch them again.") from error
        reorder_heads(started, tasks)
        return started

    def freeze(self) -> None:
        """Freeze what the configuration says, and unfreeze the rest; a quantised model is frozen as a whole.

        Raises:
            ValueError: If the configuration asks for more stages or layers than the towers have.
        """
        frozen = frozen_parameters(self)
        self._frozen_modules = frozen_modules(self, frozen)
        can_learn = not getattr(self, "is_quantized", False)
        for one in self.parameters():
            one.requires_grad_(can_learn and one.is_floating_point() and id(one) not in frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SemArtForArtClassification":
        """Set training mode, except in frozen modules, and in BatchNorm layers whose parameters do not learn."""
        super().train(mode)
        for module in getattr(self, "_frozen_modules", ()):
            module.eval()
        # Adapters, and whoever freezes parameters by hand, would leave weights with statistics of another model.
        for module in self.modules():
            own = list(module.parameters()) if hasattr(module, "running_mean") else []
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        has_image: Tensor | None = None,
        has_text: Tensor | None = None,
        labels: Tensor | None = None,
        text_hidden: Tensor | None = None,
        text_depth: int | None = None,
        each_alone: bool = False,
    ) -> SemArtOutput:
        """Logits `(batch, num_labels)` of each task, and with labels the loss; with `return_dict=False` as a tuple.

        Args:
            pixel_values: Normalised pictures `(batch, 3, height, width)`; `None`: no painting of the batch has one.
            input_ids: Token ids `(batch, tokens)`; `None`: no painting of the batch has a text.
            attention_mask: `(batch, tokens)`, 0 at padding; `None`: no padding.
            has_image: `(batch,)`, `False` where a row's picture is a placeholder; `None`: all are real.
            has_text: `(batch,)`, likewise for texts.
            labels: `(batch, config.num_label_columns)` class indices in the order of `config.tasks`, and 0 or 1 for
                each label of a task with several (`config.label_columns`); −100 is unknown.
            text_hidden: `(batch, tokens, dim)` of `encode_frozen_text`; of `input_ids` beside it, a lexicon reads.
            text_depth: How many of the text tower's layers `text_hidden` has passed; `None`: all that are frozen.
            each_alone: Whether the output has `alone_logits`.

        Raises:
            ValueError: If the batch has neither pictures nor texts, lacks tokens, or shapes disagree.
        """
        inputs = {"pixel_values": pixel_values, "input_ids": input_ids, "text_hidden": text_hidden, "labels": labels}
        batch = check_inputs({name: value for name, value in inputs.items() if value is not None}, self.config)
        image = self.encode_images(pixel_values, has_image, batch)
        pooled_texts = self.pool_texts(input_ids, attention_mask, has_text, text_hidden, text_depth)
        text = self.project_texts(pooled_texts, has_text, batch)
        with without_autocast(image.device):
            features, all_logits = self._fuse(image, text)
            if each_alone:
                _, by_image = self._fuse(image, self.absent_text.expand_as(image))
                _, by_text = self._fuse(self.absent_image.expand_as(text), text)
        tokens = input_ids, attention_mask if text_hidden is None else None  # beside hidden states, the mask is theirs
        if self.lexicon is not None:
            added = self.lexicon(*tokens, has_text)
            all_logits = all_logits + added
            if each_alone:
                by_text = by_text + added
        if self.probe is not None and not self.training:
            of_image, of_text = self.probe(pixel_values, has_image, pooled_texts, has_text, tokens)
            share: Any = self.config.probe_share if pixel_values is not None else 1.0  # of a text it answers alone
            if has_image is not None:
                share = torch.where(has_image.unsqueeze(1), share, 1.0).to(of_image.dtype)
            all_logits = share * (of_image + of_text) + (1 - share) * all_logits
            if each_alone:
                by_image = share * (of_image + self.probe.absent_text) + (1 - share) * by_image
                by_text = (self.probe.absent_image + of_text).expand_as(by_text)
        logits = self._by_task(all_logits)
        loss, task_losses = mean_losses(logits, labels, self.config)
        alone = {"image": self._by_task(by_image), "text": self._by_task(by_text)} if each_alone else None
        scale = self.logit_scale.exp().clamp(max=100) if self.config.contrastive else None  # as in CLIP
        return SemArtOutput(loss, logits, task_losses, features, alone, image, text, scale)

    def get_image_features(self, pixel_values: Tensor, normalize: bool = False) -> Tensor:
        """Vectors of pictures `(batch, fusion_dim)` in the space that texts share; of unit length with `normalize`."""
        if self.vision_tower.device.type == "meta" and not pixel_values.is_meta:
            raise ValueError(
                "The vision tower is offloaded, where it cannot be called. Allowed is a device; the text tower may be "
                "offloaded. Give the vision tower a device in device_map ('vision_tower': 'cpu'), or more max_memory."
            )
        if (size := self.config.network_image_size) is not None:
            pixel_values = F.interpolate(pixel_values, (size, size), mode="bilinear", align_corners=False)
        pooled = pool_pictures(self.vision_tower, pixel_values, self.config.vision_pooling)
        features: Tensor = self.vision_projection(pooled)
        return F.normalize(features.float(), dim=-1) if normalize else features

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, normalize: bool = False
    ) -> Tensor:
        """Vectors of texts `(batch, fusion_dim)`, by the text tower alone; of unit length with `normalize`."""
        features: Tensor = self.text_projection(self.pool_texts(input_ids, attention_mask))
        return F.normalize(features.float(), dim=-1) if normalize else features

    def encode_images(self, pixel_values: Tensor | None, has_image: Tensor | None, batch: int) -> Tensor:
        """Projected vision features `(batch, fusion_dim)`; the learned vector where a row has no picture."""
        if pixel_values is None or (has_image is not None and not has_image.any()):
            return self._absent(self.absent_image, batch, self._blank_image, self.vision_tower, self.vision_projection)
        # Placeholder pictures never enter the tower: they would count in the statistics of its BatchNorm layers.
        present = pixel_values if has_image is None else pixel_values[has_image]
        return fill_absent(self.get_image_features(present), has_image, self.absent_image)

    def project_texts(self, pooled: Tensor | None, has_text: Tensor | None, batch: int) -> Tensor:
        """Projected text features `(batch, fusion_dim)`; the learned vector where a row has no text."""
        if pooled is None:
            return self._absent(self.absent_text, batch, self._blank_text, self.text_tower, self.text_projection)
        return fill_absent(self.text_projection(pooled), has_text, self.absent_text)

    def pool_texts(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        has_text: Tensor | None = None,
        text_hidden: Tensor | None = None,
        text_depth: int | None = None,
    ) -> Tensor | None:
        """Pooled features of the rows that have a text `(rows, hidden_size)`; `None` where none has."""
        texts = input_ids if text_hidden is None else text_hidden
        if texts is None or (has_text is not None and not has_text.any()):
            return None
        if has_text is not None:
            texts = texts[has_text]
            attention_mask = None if attention_mask is None else attention_mask[has_text]
        if text_hidden is None:
            hidden = self.text_tower(input_ids=texts, attention_mask=attention_mask).last_hidden_state
        else:
            start = self.num_frozen_text_layers if text_depth is None else text_depth
            stop = self.config.text_config.num_hidden_layers
            hidden = run_layers(self.text_tower, texts.to(self.dtype), attention_mask, start, stop)
        return pool_tokens(hidden, attention_mask, self.config.text_pooling)

    def _fuse(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(batch, fusion_dim)`, and the logits of all tasks side by side."""
        image, text = (part.to(self.fusion_norm.weight.dtype) for part in (image, text))
        # The two modalities are nearly independent evidence, which adds up; the hidden layer learns their interaction.
        features = image + text + F.gelu(self.fusion(self.fusion_norm(torch.cat((image, text), dim=-1))))
        dropped = self.fusion_dropout(features)
        return features, torch.cat([self.heads[f"head_{name}"](dropped) for name in self.config.task_names], dim=1)

    def _by_task(self, logits: Tensor) -> dict[str, Tensor]:
        sizes = [len(task["labels"]) for task in self.config.tasks or []]
        return dict(zip(self.config.task_names, logits.split(sizes, dim=1), strict=True))

    @property
    def num_frozen_text_layers(self) -> int:
        """How many of the text tower's layers do not learn, counted from the first."""
        trainable = self.config.trainable_text_layers
        return 0 if trainable is None else self.config.text_config.num_hidden_layers - trainable

    @torch.no_grad()
    def encode_frozen_text(self, input_ids: Tensor, attention_mask: Tensor | None, depth: int) -> Tensor:
        """`text_hidden` after `depth` layers `(batch, tokens, dim)`; after all of them pooled `(batch, 1, dim)`."""
        hidden = run_layers(self.text_tower, self.text_tower.embeddings(input_ids), attention_mask, 0, depth)
        if depth < self.config.text_config.num_hidden_layers:
            return hidden
        return pool_tokens(hidden, attention_mask, self.config.text_pooling).unsqueeze(1)

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's word embeddings, for what wraps a model in shards."""
        return self.text_tower.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace them, as `resize_token_embeddings` does."""
        self.text_tower.set_input_embeddings(value)

    # Distributed processes wait for the gradient of every parameter: what a batch does not use gives zeros. Where the
    # parameters are sharded, all processes must even run the same modules to put the shards together.

    def _blank_image(self) -> Tensor:
        pixel_values = self.absent_image.new_zeros(1, *self.config.vision_config.pretrained_cfg["input_size"])
        with evaluation_mode(self.vision_tower):  # it does not count in the statistics of BatchNorm
            return self.get_image_features(pixel_values)

    def _blank_text(self) -> Tensor:
        return self.get_text_features(torch.zeros(1, 1, dtype=torch.long, device=self.absent_text.device))

    def _absent(self, vector: Tensor, batch: int, placeholder: Callable[[], Tensor], *unused: nn.Module) -> Tensor:
        features = vector.expand(batch, -1)
        if any(hasattr(parameter, "full_tensor") for parameter in self.text_tower.parameters()):  # sharded
            return features + placeholder().to(features.dtype) * 0.0
        if not self.training:
            return features
        parameters = [parameter for module in unused for parameter in module.parameters() if parameter.requires_grad]
        return features + sum((parameter.sum() for parameter in parameters), vector.new_zeros(())) * 0.0

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        function = kwargs.get("gradient_checkpointing_func")
        if enable and getattr(function, "keywords", {}).get("use_reentrant"):
            raise ValueError("Got use_reentrant=True, with which nothing behind frozen parts learns. Leave it out.")
        super()._set_gradient_checkpointing(enable=enable, **kwargs)
        has_statistics = any(hasattr(module, "running_mean") for module in self.vision_tower.modules())
        if enable and has_statistics:  # a batch would count twice
            remark = "Gradient checkpointing leaves out the vision tower, which has BatchNorm layers."
            logging.get_logger(__name__).warning(remark)
        self.vision_tower.timm_model.set_grad_checkpointing(enable and not has_statistics)


SemArtForArtClassification.register_for_auto_class("AutoModel")
