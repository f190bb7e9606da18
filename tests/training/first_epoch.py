"""One process of trainings whose losses are compared: first_epoch.py RELEASE OUTPUT_DIR SIZExACCUMULATED ..."""

import json
import os
import sys
from pathlib import Path

import datasets
import torch
from accelerate import DistributedType, PartialState

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.labels import tasks_of
from semart_hf.data.loading import load_paintings
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_model, build_processor, build_tokenizer
from semart_hf.training.recipe import ModelArguments, parse_recipe
from semart_hf.training.trainer import SemArtTrainer

# An uneven last step: 43 rows are one step of 32 and one of 11. Few rows have a text: in most batches of 8 one process
# has none.
NUM_ROWS = 43
ROWS_WITH_TEXT = range(0, NUM_ROWS, 11)


def main(release: str, output_dir: str, *divisions: str) -> None:
    for division in divisions:
        train(release, Path(output_dir, division), *map(int, division.split("x")))
    PartialState().destroy_process_group()


def train(release: str, output_dir: Path, size: int, accumulated: int) -> None:
    (arguments,) = parse_recipe(
        (SemArtTrainingArguments,),
        {
            "output_dir": str(output_dir),
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulated,
            "num_train_epochs": 1,
            "precision": "fp32",
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "loss": {"default": "class_weighted", "timeframe": "ordinal+logit_adjusted"},
            "modality_loss": 0.5,
            "disable_tqdm": True,
        },
    )
    if "ACCELERATE_USE_FSDP" in os.environ:
        # accelerate shards on accelerators only, though torch shards on CPUs as well.
        arguments.distributed_state._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    train = load_paintings(release, min_label_count=3)["train"].select(range(NUM_ROWS))
    train = train.cast_column("image", datasets.Image(decode=False))
    rows = [{**row, "text": row["text"] if index in ROWS_WITH_TEXT else None} for index, row in enumerate(train)]
    data = DataArguments(data=release, vocab_size=300, max_text_length=32)
    model_arguments = ModelArguments(
        # Statistics of BatchNorm are those of a process's own batch; LayerNorm has none.
        vision="test_vit",
        text=None,
        text_args={"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0},
        pretrained="false",
        image_size=64,
        fusion_dim=32,
        fusion_dropout=0.0,
        trainable_text_layers=None,
        text_lexicon=True,
    )
    tasks = tasks_of(train, data.tasks)
    tokenizer = build_tokenizer(train, model_arguments, data)
    torch.manual_seed(0)
    model = build_model(tasks, model_arguments, tokenizer)
    processor = build_processor(model, tokenizer)
    trainer = SemArtTrainer(
        model, arguments, processing_class=processor, data_collator=ArtCollator(processor, tasks), train_dataset=rows
    )
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        lines = [line for line in trainer.state.log_history if "loss" in line]
        run = {"world_size": arguments.world_size, "is_sharded": trainer.is_fsdp_enabled, "steps": lines}
        (output_dir / "losses.json").write_text(json.dumps(run), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
