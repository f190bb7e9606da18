"""Two processes, as a launcher starts them: each trains on its part of a stream and writes which rows it got.

Arguments: prepared folder, output folder, workers of each process, epochs.
"""

import json
import os
import sys
from pathlib import Path

import torch
from small_trainer import STEPS_ALONE
from transformers import DistilBertConfig

from semart_hf.data.collator import ArtCollator
from semart_hf.data.rows import tasks_of
from semart_hf.data.sampling import DRAW_KEY
from semart_hf.data.streaming import PaintingStream
from semart_hf.data.training_texts import learn_tokenizer
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_processor
from semart_hf.training.trainer import SemArtTrainer


class NotingCollator(ArtCollator):
    """Batches that tell the numbers of their rows' draws."""

    def __call__(self, rows):
        return {**super().__call__(rows), "draws": torch.tensor([row[DRAW_KEY] for row in rows])}


class NotingTrainer(SemArtTrainer):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen = []

    def compute_loss(self, model, inputs, *args, **options):
        self.seen.append(inputs.pop("draws").tolist())
        return super().compute_loss(model, inputs, *args, **options)


def stream_trainer(prepared, output, **options) -> NotingTrainer:
    usual = {"report_to": "none", "disable_tqdm": True, "per_device_train_batch_size": 4, "num_train_epochs": 2}
    options = {**usual, **STEPS_ALONE, "ddp_find_unused_parameters": True, **options}
    arguments = SemArtTrainingArguments(str(output), **options)
    stream = PaintingStream(prepared, buffer_size=8, seed=arguments.seed)
    tasks = tasks_of(stream, ["type", "school"])
    tokenizer = learn_tokenizer((row["text"] for row in stream), vocab_size=100, max_length=16)
    text = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    torch.manual_seed(0)
    sizes = {"pretrained": False, "image_size": 32, "fusion_dim": 8}
    model = SemArtForArtClassification.from_towers("test_resnet", text, tasks, **sizes)
    processor = build_processor(model, tokenizer)
    return NotingTrainer(
        model,
        arguments,
        processing_class=processor,
        data_collator=NotingCollator(processor, tasks, text_dropout=0.2),
        train_dataset=stream,
    )


def main() -> None:
    prepared, output, workers, epochs = sys.argv[1:]
    trainer = stream_trainer(prepared, output, dataloader_num_workers=int(workers), num_train_epochs=int(epochs))
    spent = trainer.train()
    answer = {
        "seen": trainer.seen,
        "steps": trainer.state.global_step,
        "epoch": trainer.state.epoch,
        "rows": round(spent.metrics["train_samples_per_second"] * spent.metrics["train_runtime"]),
    }
    Path(output, f"seen-{os.environ['RANK']}.json").write_text(json.dumps(answer))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
