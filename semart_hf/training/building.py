"""The model, its processor and its trainer, as a recipe asks for them and as the training data's labels need them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoTokenizer, DistilBertConfig, PreTrainedTokenizerBase, set_seed

from semart_hf.data.augmentation import Augmentation
from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.frozen_text import frozen_text
from semart_hf.data.labels import tasks_of
from semart_hf.data.sources import with_prepared_pictures
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.evaluation.results import describe_training_data
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .arguments import SemArtTrainingArguments
from .recipe import ModelArguments
from .trainer import SemArtTrainer


def build_trainer(
    splits: Mapping[str, Any],
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    training_arguments: SemArtTrainingArguments,
    say: Callable[[str], Any] = print,
) -> SemArtTrainer:
    """The trainer of a recipe, with a new model; `trainer.processing_class` is the model's processor.

    Args:
        splits: Rows by split as `load_splits` gives them: `train`, and `validation` to validate on.
        model_arguments: The recipe's.
        data_arguments: The recipe's.
        training_arguments: The recipe's.
        say: Takes each line about what was chosen.

    Raises:
        ValueError: If the recipe asks for what the towers or the data cannot do.
    """
    tasks = tasks_of(splits["train"], data_arguments.tasks)
    say("Tasks: " + ", ".join(f"{task['name']} ({len(task['labels'])} labels)" for task in tasks))
    set_seed(training_arguments.seed)
    tokenizer = build_tokenizer(splits["train"], model_arguments, data_arguments)
    model = build_model(tasks, model_arguments, tokenizer)
    model.config.training_data = describe_training_data(data_arguments.data)
    processor = build_processor(model, tokenizer)
    train_paintings, remark = with_prepared_pictures(
        splits, data_arguments, processor.image_processor, seed=training_arguments.seed
    )
    if remark:
        say(remark)
    trained, total = model.num_parameters(only_trainable=True), model.num_parameters()
    say(f"trainable params: {trained:,} || all params: {total:,} || trainable%: {100 * trained / total:.4f}")
    say(
        f"Precision: {'bf16' if training_arguments.bf16 else 'fp32'}. Device: {training_arguments.device}, "
        f"{training_arguments.world_size} process(es)."
    )
    collator = ArtCollator(
        processor,
        tasks,
        modality=data_arguments.modality,
        augmentation=Augmentation(
            crop_scale=tuple(data_arguments.crop_scale),  # type: ignore[arg-type]  # it checks how many there are
            crop_ratio=tuple(data_arguments.crop_ratio),  # type: ignore[arg-type]
            horizontal_flip=data_arguments.horizontal_flip,
            rotation=data_arguments.rotation,
            color_jitter=data_arguments.color_jitter,
            random_erasing=data_arguments.random_erasing,
        ),
        image_dropout=data_arguments.image_dropout,
        text_dropout=data_arguments.text_dropout,
        keeps_tokens=model_arguments.text_lexicon,
        finishes_pictures=training_arguments.device.type == "cpu",
    )
    rows = {**splits, "train": train_paintings}
    collator.frozen_text, remark = frozen_text(
        model, processor, rows, data_arguments, training_arguments, training_arguments.unfreezing_schedule()
    )
    say(remark)
    return SemArtTrainer(
        model,
        training_arguments,
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
    if arguments.text is None:
        sizes: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": max(512, tokenizer.model_max_length),
        }
        text: Any = DistilBertConfig(**sizes | (arguments.text_args or {}))
    elif arguments.text_args:
        raise ValueError(
            f"text_args is given beside text: {arguments.text}, whose sizes are its own. Leave text_args out, or "
            "write text: null to start a DistilBERT of these sizes from scratch."
        )
    else:
        text = arguments.text
    model = SemArtForArtClassification.from_towers(
        arguments.vision,
        text,
        tasks,
        pretrained=arguments.pretrained_towers,
        image_size=arguments.image_size,
        crop_pct=arguments.crop_pct,
        vision_args=arguments.vision_args,
        frozen_vision_stages=arguments.frozen_vision_stages,
        trainable_text_layers=arguments.trainable_text_layers,
        text_pooling=arguments.text_pooling,
        text_lexicon=arguments.text_lexicon,
        fusion_dim=arguments.fusion_dim,
        fusion_dropout=arguments.fusion_dropout,
    )
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens, but the text tower embeds {vocab_size}. Use the tokenizer "
            "that belongs to the text tower."
        )
    return model


def build_tokenizer(
    paintings: datasets.Dataset | PaintingStream, model_arguments: ModelArguments, data_arguments: DataArguments
) -> PreTrainedTokenizerBase:
    """The text tower's own tokenizer, or one that is learned from the training texts where there is no tower to take.

    Raises:
        ValueError: If the text tower's folder or repository has no tokenizer.
    """
    max_length = data_arguments.max_text_length
    if model_arguments.text is None:
        texts = (text for text in column_of(paintings, "text") if text)
        return learn_tokenizer(texts, vocab_size=data_arguments.vocab_size, max_length=max_length)
    source = model_arguments.text
    if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
        raise ValueError(
            f"The text tower {source} has no tokenizer.json. Save the tokenizer beside the weights: "
            "tokenizer.save_pretrained(folder)."
        )
    return AutoTokenizer.from_pretrained(source, model_max_length=max_length, trust_remote_code=False)


def build_processor(model: SemArtForArtClassification, tokenizer: PreTrainedTokenizerBase) -> SemArtProcessor:
    """The processor that fits the model: the vision tower's own transform, the text tower's tokenizer.

    Texts are cut to what the tokenizer says, and never to more than the text tower has positions for.
    """
    positions = model.config.text_config.max_position_embeddings
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return SemArtProcessor(
        image_processor=SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer=tokenizer
    )
