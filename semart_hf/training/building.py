"""A recipe becomes a model, its processor and its trainer."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoTokenizer, DistilBertConfig, PreTrainedTokenizerBase, set_seed

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import with_prepared_pictures
from semart_hf.data.rows import labels_per_task, tasks_of
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.data.training_texts import frozen_text, learn_tokenizer, shards_parameters
from semart_hf.evaluation.results import describe_training_data
from semart_hf.model.configuration_semart import SemArtConfig
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor
from semart_hf.model.towers_semart import most_text_tokens
from semart_hf.recipes.recipe import PRETRAINED_CHOICES, ModelArguments, parse_recipe, with_fields_by_labels

from .arguments import SemArtTrainingArguments
from .head_start import correlate_projections
from .trainer import SemArtTrainer

# Labels that a line names.
_NUM_NAMED = 8


def read_arguments(recipe: Mapping[str, Any]) -> tuple[Any, ...]:
    """The `ModelArguments`, `DataArguments` and `SemArtTrainingArguments` that the fields of a recipe are."""
    return parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), recipe)


def build_trainer(
    splits: Mapping[str, Any],
    model_arguments: ModelArguments,
    data: DataArguments,
    training: SemArtTrainingArguments,
    say: Callable[[str], Any] = print,
) -> SemArtTrainer:
    """The trainer of a recipe, with a new model, on the rows that `load_splits` gives; `say` takes what was chosen."""
    least = data.min_label_count
    tasks = getattr(splits, "tasks", None) or tasks_of(splits["train"], data.tasks, min_label_count=least)
    say("Tasks: " + ", ".join(f"{task['name']} ({len(task['labels'])} labels)" for task in tasks))
    num_labels = labels_per_task(splits["train"], tasks) if training.from_labels else 0
    (model_arguments, data, training), chosen = with_fields_by_labels((model_arguments, data, training), num_labels)
    if chosen:
        say(chosen)
    set_seed(training.seed)
    is_contrastive = training.contrastive_weight > 0
    if model_arguments.init_from is None:
        tokenizer = build_tokenizer(splits["train"], model_arguments, data)
        model = build_model(tasks, model_arguments, tokenizer, contrastive=is_contrastive)
    else:
        model, tokenizer = _start_from(tasks, model_arguments, data, say, contrastive=is_contrastive)
    processor = build_processor(model, tokenizer)
    has_probe = model.probe is not None
    if has_probe and shards_parameters(training):
        raise ValueError("Got FSDP, which shards what a probe reads at once. Launch with DDP, or set probe_share: 0.")
    fitted = [training.head_init != "random", training.contrastive_start != "random", has_probe]
    if sum(fitted) > 1 or (model_arguments.init_from and any(fitted[:2])):
        raise ValueError(
            f"head_init is {training.head_init!r}, probe_share {model.config.probe_share}, init_from "
            f"{model_arguments.init_from} and contrastive_start {training.contrastive_start!r}, which all say what is "
            "fitted before training. Give one of them."
        )
    if training.contrastive_start != "random":
        if not is_contrastive:
            raise ValueError("contrastive_start is 'correlations' with a weight of 0. Leave contrastive_start out.")
        say(correlate_projections(model, processor, splits["train"], training.device))
    model.config.training_data = describe_training_data(data.data)
    train_paintings, remark = with_prepared_pictures(splits, data, processor.image_processor)
    if remark:
        say(remark)
    trained, total = model.num_parameters(only_trainable=True), model.num_parameters()
    say(f"trainable params: {trained:,} || all params: {total:,} || trainable%: {100 * trained / total:.4f}")
    precision = "bf16" if training.bf16 else "fp32"
    say(f"Precision: {precision}. Device: {training.device}, {training.world_size} process(es).")
    collator = ArtCollator(
        processor,
        tasks,
        modality=data.modality,
        augmentation=data,
        image_dropout=data.image_dropout,
        text_dropout=data.text_dropout,
        keeps_tokens=model.config.reads_tokens,
        finishes_pictures=training.device.type == "cpu",
        recognises_copies=is_contrastive,
    )
    collator.frozen_text, remark = frozen_text(model, processor, {**splits, "train": train_paintings}, data, training)
    say(remark)
    trainer = SemArtTrainer(
        model,
        training,
        data_collator=collator,
        processing_class=processor,
        train_dataset=train_paintings,
        eval_dataset=splits.get("validation"),
    )
    trainer.chosen_fields = chosen
    return trainer


def _start_from(
    tasks: list[Any], arguments: ModelArguments, data: DataArguments, say: Callable[[str], Any], *, contrastive: bool
) -> tuple[SemArtForArtClassification, PreTrainedTokenizerBase]:
    """The published model `init_from` with these tasks, and its tokenizer; another architecture is refused."""
    source = str(arguments.init_from)
    chosen = ("frozen_vision_stages", "trainable_text_layers", "fusion_dropout")
    changed = [one.name for one in fields(arguments) if getattr(arguments, one.name) != one.default]
    if given := [name for name in changed if name not in {"init_from", "image_size", *chosen}]:
        raise ValueError(
            f"The recipe has init_from: {source} and {', '.join(given)}, which the model there brings. Allowed beside "
            f"init_from are image_size, {', '.join(chosen)}. Leave out others."
        )
    options = {name: getattr(arguments, name) for name in chosen} | {"contrastive": contrastive}
    try:
        model = SemArtForArtClassification.from_checkpoint(source, tasks, **options, trust_remote_code=False)
    except OSError as error:  # which may name no model
        advice = "Allowed is the folder of a model, or its name on the Hub"
        raise OSError(f"init_from is {source}, from which no model was loaded. {advice}. {error}") from error
    tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=data.max_text_length, trust_remote_code=False)
    cfg = model.config.vision_config.pretrained_cfg
    side = cfg.get("input_size", (3, 224, 224))[-1]
    if arguments.image_size not in (None, side):
        if cfg.get("fixed_input_size"):
            raise ValueError(
                f"image_size is {arguments.image_size}, but the tower of {source} is for {side} alone. Leave it out."
            )
        cfg["input_size"] = [3, arguments.image_size, arguments.image_size]
    known = {task["name"]: task["labels"] for task in SemArtConfig.from_pretrained(source).tasks}
    say(f"Start: {source}, every tensor proved.")
    for task in tasks:
        labels, before = task["labels"], known.pop(task["name"], [])
        new = [label for label in labels if label not in before]
        dropped = [label for label in before if label not in labels]
        kept = f"{len(labels) - len(new)} labels from there"
        say(f"  {task['name']}: {kept}, {len(new)} new{_named(new)}, {len(dropped)} dropped{_named(dropped)}")
    if known:
        say(f"  tasks that are dropped: {', '.join(known)}")
    return model, tokenizer


def _named(labels: list[str]) -> str:
    more = ", …" if len(labels) > _NUM_NAMED else ""
    return f" ({', '.join(labels[:_NUM_NAMED])}{more})" if labels else ""


def build_model(
    tasks: list[Any], arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase, *, contrastive: bool = False
) -> SemArtForArtClassification:
    """The model of a recipe, its pretrained towers proved."""
    options = {**vars(arguments), "contrastive": contrastive}
    del options["init_from"]
    vision, text, sizes = options.pop("vision"), options.pop("text"), options.pop("text_args")
    if text is None:
        known: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        known["max_position_embeddings"] = max(512, tokenizer.model_max_length)
        text = DistilBertConfig(**known | (sizes or {}))
    elif sizes:
        raise ValueError(
            f"text_args is given beside text: {text}, whose sizes are its own. Leave it out, or write text: null."
        )
    options["pretrained"] = PRETRAINED_CHOICES[arguments.pretrained]
    model = SemArtForArtClassification.from_towers(vision, text, tasks, **options)
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(f"Got {len(tokenizer)} tokens, but the text tower embeds {vocab_size}. Use its tokenizer.")
    return model


def build_tokenizer(
    paintings: datasets.Dataset | PaintingStream, model_arguments: ModelArguments, data: DataArguments
) -> PreTrainedTokenizerBase:
    """The text tower's own tokenizer, or one that is learned from the training texts where there is no tower."""
    source, max_length = model_arguments.text, data.max_text_length
    if source is None:
        return learn_tokenizer(column_of(paintings, "text"), vocab_size=data.vocab_size, max_length=max_length)
    if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
        raise ValueError(f"text: {source} has no tokenizer.json. Save it there: tokenizer.save_pretrained(folder).")
    return AutoTokenizer.from_pretrained(source, model_max_length=max_length, trust_remote_code=False)


def build_processor(model: SemArtForArtClassification, tokenizer: PreTrainedTokenizerBase) -> SemArtProcessor:
    """The processor that fits the model; texts are never longer than the text tower has positions for."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, most_text_tokens(model.config.text_config))
    return SemArtProcessor(SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer)
