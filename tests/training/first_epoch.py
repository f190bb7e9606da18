"""One process of trainings whose losses are compared: first_epoch.py RELEASE OUTPUT_DIR SIZExACCUMULATED[x1] ...

With `x1` pictures and texts learn to find each other, too.
"""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState
from small_trainer import DRY_TEXT, STEPS_ALONE, make_model, parts_of

from semart_hf.data.collator import ArtCollator
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_processor
from semart_hf.training.trainer import SemArtTrainer

FIELDS = {"fusion_dropout": 0.0, "frozen_vision_stages": 0, "trainable_text_layers": None, "text_lexicon": True}
TASKS = ["type", "school", "timeframe", "medium", {"name": "subjects", "kind": "multi_label"}]
# An uneven last step: 43 rows are one step of 32 and one of 11. Few rows have a text: in most batches of 8 one process
# has none.
NUM_ROWS = 43
ROWS_WITH_TEXT = range(0, NUM_ROWS, 11)


def main(release: str, output_dir: str, *divisions: str) -> None:
    torch.set_num_threads(1)
    for division in divisions:
        train(release, Path(output_dir, division), *map(int, division.split("x")))
    PartialState().wait_for_everyone()  # a process that another one still talks to may not end
    PartialState().destroy_process_group()


def train(release: str, output_dir: Path, size: int, accumulated: int, contrastive: int = 0) -> None:
    losses = {"loss": {"default": "class_weighted", "timeframe": "ordinal+logit_adjusted"}, "modality_loss": 0.5}
    sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated}
    steps = {"num_train_epochs": 1, "precision": "fp32", "learning_rate": 3e-3, "logging_steps": 1}
    options = {**losses, **sizes, **steps, **STEPS_ALONE, "contrastive_weight": contrastive, "disable_tqdm": True}
    arguments = SemArtTrainingArguments(str(output_dir), **options)
    if "ACCELERATE_USE_FSDP" in os.environ:
        # accelerate shards on accelerators only, though torch shards on CPUs as well.
        arguments.distributed_state._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    # Statistics of BatchNorm are those of a process's own batch; a ViT's LayerNorm has none.
    splits, tasks, *_ = parts = parts_of(release, TASKS, vision="test_vit", text_args=DRY_TEXT, **FIELDS)
    train = splits["train"].select(range(NUM_ROWS))
    rows = [{**row, "text": row["text"] if index in ROWS_WITH_TEXT else None} for index, row in enumerate(train)]
    model = make_model(parts)
    if contrastive:
        model.config.contrastive, model.logit_scale = True, torch.nn.Parameter(torch.ones(1))
    processor = build_processor(model, parts[3])
    options = {"processing_class": processor, "data_collator": ArtCollator(processor, tasks)}
    trainer = SemArtTrainer(model, arguments, train_dataset=rows, **options)
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        lines = [line for line in trainer.state.log_history if "loss" in line]
        run = {"world_size": arguments.world_size, "is_sharded": trainer.is_fsdp_enabled, "steps": lines}
        (output_dir / "losses.json").write_text(json.dumps(run), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
