"""The model, its processor and its trainer, as a recipe asks for them and as the training data's labels need them."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoTokenizer, DistilBertConfig, PreTrainedTokenizerBase, set_seed

from semart_hf.data.augmentation import Augmentation
from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.frozen_text import frozen_text
from semart_hf.data.loading import with_prepared_pictures
from semart_hf.data.rows import tasks_of
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.evaluation.results import describe_training_data
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .arguments import SemArtTrainingArguments
from .recipe import PRETRAINED_CHOICES, ModelArguments
from .trainer import SemArtTrainer


def build_trainer(
    splits: Mapping[str, Any],
    model_arguments: ModelArguments,
    data: DataArguments,
    training: SemArtTrainingArguments,
    say: Callable[[str], Any] = print,
) -> SemArtTrainer:
    """The trainer of a recipe, with a new model, on the rows that `load_splits` gives; `say` takes what was chosen.

    Raises:
        ValueError: If the recipe asks for what the towers or the data cannot do.
    """
    tasks = getattr(splits, "tasks", None)
    tasks = tasks or tasks_of(splits["train"], data.tasks, min_label_count=data.min_label_count)
    say("Tasks: " + ", ".join(f"{task['name']} ({len(task['labels'])} labels)" for task in tasks))
    set_seed(training.seed)
    tokenizer = build_tokenizer(splits["train"], model_arguments, data)
    model = build_model(tasks, model_arguments, tokenizer)
    model.config.training_data = describe_training_data(data.data)
    processor = build_processor(model, tokenizer)
    train_paintings, remark = with_prepared_pictures(splits, data, processor.image_processor, seed=training.seed)
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
        augmentation=Augmentation(**{field.name: getattr(data, field.name) for field in fields(Augmentation)}),
        image_dropout=data.image_dropout,
        text_dropout=data.text_dropout,
        keeps_tokens=model_arguments.text_lexicon,
        finishes_pictures=training.device.type == "cpu",
    )
    collator.frozen_text, remark = frozen_text(
        model, processor, {**splits, "train": train_paintings}, data, training, training.unfreezing_schedule()
    )
    say(remark)
    return SemArtTrainer(
        model,
        training,
        processing_class=processor,
        data_collator=collator,
        train_dataset=train_paintings,
        eval_dataset=splits.get("validation"),
    )


def build_model(
    tasks: list[dict[str, Any]], arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase
) -> SemArtForArtClassification:
    """The model of a recipe, its pretrained towers proved.

    Raises:
        ValueError: If a tower is unknown, or the tokenizer knows tokens that the text tower does not.
    """
    options = dict(vars(arguments))
    vision, text, sizes = options.pop("vision"), options.pop("text"), options.pop("text_args")
    if text is None:
        known: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        known["max_position_embeddings"] = max(512, tokenizer.model_max_length)
        text = DistilBertConfig(**known | (sizes or {}))
    elif sizes:
        raise ValueError(
            f"text_args is given beside text: {text}, whose sizes are its own. Leave text_args out, or write text: "
            "null to start a DistilBERT of these sizes from scratch."
        )
    options["pretrained"] = PRETRAINED_CHOICES[arguments.pretrained]
    model = SemArtForArtClassification.from_towers(vision, text, tasks, **options)
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens, but the text tower embeds {vocab_size}. Use the tokenizer "
            "that belongs to the text tower."
        )
    return model


def build_tokenizer(
    paintings: datasets.Dataset | PaintingStream, model_arguments: ModelArguments, data: DataArguments
) -> PreTrainedTokenizerBase:
    """The text tower's own tokenizer, or one that is learned from the training texts where there is no tower to take.

    Raises:
        ValueError: If the text tower's folder or repository has no tokenizer.
    """
    source, max_length = model_arguments.text, data.max_text_length
    if source is None:
        return learn_tokenizer(column_of(paintings, "text"), vocab_size=data.vocab_size, max_length=max_length)
    if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
        raise ValueError(
            f"The text tower {source} has no tokenizer.json. Save the tokenizer beside the weights: "
            "tokenizer.save_pretrained(folder)."
        )
    return AutoTokenizer.from_pretrained(source, model_max_length=max_length, trust_remote_code=False)


def build_processor(model: SemArtForArtClassification, tokenizer: PreTrainedTokenizerBase) -> SemArtProcessor:
    """The processor that fits the model; texts are never longer than the text tower has positions for."""
    positions = model.config.text_config.max_position_embeddings
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return SemArtProcessor(SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer)
