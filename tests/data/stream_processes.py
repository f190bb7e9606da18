"""Run in two processes, as a launcher starts them: trains two epochs on a stream and writes which rows it got.

Arguments: prepared folder, output folder, workers of each process.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from semart_hf.data.sampling import DRAW_KEY
from semart_hf.data.streaming import PaintingStream, stream_loader


class Counter(nn.Module):
    """Notes the rows of each step."""

    accepts_loss_kwargs = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[list[list[int]]] = []

    def forward(self, draws: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(draws.tolist())
        return {"loss": self.weight.square().sum() + 0 * draws.sum()}


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {"draws": torch.tensor([row[DRAW_KEY] for row in rows])}


class StreamingTrainer(Trainer):
    def get_train_dataloader(self):
        workers = self.args.dataloader_num_workers
        return stream_loader(self.train_dataset, collate, self.accelerator, num_workers=workers)


def main() -> None:
    folder, output, workers = sys.argv[1:4]
    arguments = TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        dataloader_num_workers=int(workers),
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
    )
    stream = PaintingStream(
        folder,
        batch_size=4,
        buffer_size=8,
        process_index=arguments.process_index,
        num_processes=arguments.world_size,
    )
    model = Counter()
    trainer = StreamingTrainer(model, arguments, train_dataset=stream)
    trainer.train()
    answer = {"seen": model.seen, "steps": trainer.state.global_step, "epoch": trainer.state.epoch}
    Path(output, f"seen-{arguments.process_index}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
