"""Run by `accelerate launch`: evaluates, trains a few steps, evaluates again; rank 0 writes the metrics of both.

Arguments: model folder, release folder, output folder.
"""

import json
import sys
from pathlib import Path

import datasets
from transformers import AutoModel, AutoProcessor

import semart_hf  # noqa: F401
from semart_hf.data.collator import ArtCollator
from semart_hf.data.loading import load_paintings
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.trainer import SemArtTrainer


def make_trainer(model_folder, release, output_dir):
    options = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "max_steps": 3, "precision": "fp32"}
    alone = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
    arguments = SemArtTrainingArguments(str(output_dir), **options, **alone)
    model = AutoModel.from_pretrained(model_folder)
    processor = AutoProcessor.from_pretrained(model_folder)
    splits = load_paintings(release, tasks=model.config.tasks)
    splits = {name: split.cast_column("image", datasets.Image(decode=False)) for name, split in splits.items()}
    return SemArtTrainer(
        model,
        arguments,
        processing_class=processor,
        # Half of the rows lose a modality, so that a process may meet a batch without any text or picture.
        data_collator=ArtCollator(processor, model.config.tasks, image_dropout=0.45, text_dropout=0.45),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
    )


def main() -> None:
    trainer = make_trainer(*sys.argv[1:4])
    metrics = [trainer.evaluate()]
    trainer.train()
    metrics.append(trainer.evaluate())
    if trainer.args.process_index == 0:
        metrics[0]["world_size"] = trainer.args.world_size
        Path(trainer.args.output_dir, "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main()
