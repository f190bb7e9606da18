"""Train a model by a recipe: accelerate launch scripts/train.py RECIPE.yaml [--field value ...]."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import command

if TYPE_CHECKING:
    from semart_hf.training.arguments import SemArtTrainingArguments

PACKAGE = Path(__file__).resolve().parents[1]
FREQUENT_TRAINING_FIELDS = """
training (every field of transformers.TrainingArguments is allowed; these are the usual ones):
  --output_dir, --overwrite_output_dir, --resume_from_checkpoint, --num_train_epochs, --max_steps,
  --per_device_train_batch_size, --per_device_eval_batch_size, --gradient_accumulation_steps, --learning_rate,
  --lr_scheduler_type, --warmup_steps, --weight_decay, --max_grad_norm, --label_smoothing_factor,
  --precision {auto,bf16,fp32}, --seed, --dataloader_num_workers, --eval_strategy, --save_strategy,
  --save_total_limit, --metric_for_best_model, --logging_steps, --report_to, --torch_compile, --auto_find_batch_size"""


# A thread that waits for others does not keep its core busy, which a data loader's worker can then have: before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@command("train")
def main(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print_help()
        return
    train(words)


def print_help() -> None:
    from semart_hf.training.recipe import DataArguments, LearningArguments, ModelArguments

    parser = argparse.ArgumentParser(
        prog="semart-hf train",
        usage="semart-hf train RECIPE [--field value ...], or accelerate launch -m semart_hf.cli.train RECIPE ...",
        description="Train a model by a recipe. Fields on the command line win over the recipe's; null unsets one.",
        epilog=FREQUENT_TRAINING_FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = (("model", ModelArguments), ("data", DataArguments), ("learning", LearningArguments))
    for title, arguments_class in groups:
        group = parser.add_argument_group(title)
        for field in fields(arguments_class):
            default = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[operator]
            group.add_argument(
                f"--{field.name}", metavar="", help=f"{field.metadata['help']} [{default}]".replace("%", "%%")
            )
    parser.print_help()


def train(words: list[str]) -> None:
    """Everything from the recipe to the finished folder."""
    from semart_hf import register
    from semart_hf.training.arguments import SemArtTrainingArguments
    from semart_hf.training.preemption import end_with_parent
    from semart_hf.training.recipe import DataArguments, ModelArguments, parse_recipe, read_recipe

    model_arguments, data_arguments, training_arguments = parse_recipe(
        (ModelArguments, DataArguments, SemArtTrainingArguments), read_recipe(words[0]), words[1:]
    )
    end_with_parent()
    register()
    checkpoint = begin(training_arguments, words)

    import transformers

    from semart_hf.training.building import build_trainer
    from semart_hf.training.memory import is_out_of_memory, memory_advice
    from semart_hf.training.sources import load_splits

    transformers.utils.logging.disable_progress_bar()  # of weights that load within a second
    say = print if training_arguments.process_index == 0 else lambda *_: None
    with training_arguments.main_process_first(desc="reading the data"):
        splits = load_splits(data_arguments, seed=training_arguments.seed)
    say("Data: " + ", ".join(f"{name} {split.num_rows:,d} paintings" for name, split in splits.items()))
    trainer = build_trainer(splits, model_arguments, data_arguments, training_arguments, say)
    try:
        spent = trainer.train(resume_from_checkpoint=checkpoint).metrics
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ValueError(memory_advice(error, training_arguments)) from error
        raise
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        trainer.save_model()  # every process has a part of the weights
    if trainer.is_world_process_zero():
        finish(trainer, splits, data_arguments.data, spent)
    # A process that ends while threads of its group still run may abort, and takes the others with it.
    trainer.accelerator.end_training()


def begin(arguments: SemArtTrainingArguments, words: list[str]) -> str | None:
    """The checkpoint that the run continues from, the same in all processes; `None` where it begins.

    Raises:
        ValueError: If the output folder holds something else.
    """
    from accelerate.utils import broadcast_object_list

    from semart_hf.training.recipe import effective_recipe, read_recipe
    from semart_hf.training.run_folder import begin_run

    decision: list[Any] = [None]
    if arguments.process_index == 0:
        checkpoint = begin_run(
            Path(str(arguments.output_dir)),
            effective_recipe(read_recipe(words[0]), words[1:]),
            overwrite=arguments.overwrite_output_dir,
            resume=arguments.resume_from_checkpoint,
        )
        if checkpoint is not None:
            print(f"Continuing from {checkpoint}")
        decision = [None if checkpoint is None else str(checkpoint)]
    if arguments.world_size > 1:
        broadcast_object_list(decision)
    return decision[0]


def finish(trainer: Any, splits: dict[str, Any], data: str, spent: dict[str, float]) -> None:
    """Write the finished folder: model, code, processor and results, beside the recipe and the learning curves."""
    from semart_hf.evaluation.cost import peak_memory
    from semart_hf.evaluation.results import ceilings_of, describe_environment, evaluate_model
    from semart_hf.files import write_json
    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.publishing.repository import write_repository
    from semart_hf.training.steady_speed import steady_speed

    memory = peak_memory(trainer.args.device)
    folder, processor = Path(trainer.args.output_dir), trainer.processing_class
    if trainer.is_fsdp_enabled:
        model = SemArtForArtClassification.from_pretrained(folder).to(trainer.args.device)
    else:
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        write_repository(model, processor, folder)
    split = next((name for name in ("test", "validation") if name in splits), "train")
    scores = evaluate_model(
        model,
        processor,
        splits[split],
        ceilings=ceilings_of(data),
        batch_size=trainer.args.per_device_eval_batch_size,
        show_progress=True,
    )
    speed = steady_speed(trainer.state.log_history) or spent["train_samples_per_second"]
    training = {
        "paintings": splits["train"].num_rows,
        "epochs": trainer.state.epoch,
        "seconds": round(spent["train_runtime"], 1),
        "paintings_per_second": round(spent["train_samples_per_second"], 1),
        "processes": trainer.args.world_size,
        # Of the training alone, where the two above also count validation and checkpoints.
        "steady_paintings_per_second": round(speed, 1),
        "seconds_per_epoch": round(splits["train"].num_rows / speed, 2),
        "peak_memory_bytes": memory,
    }
    results = {
        "model": str(folder),
        "data": data,
        "split": split,
        "environment": describe_environment(),
        "training": training,
        **scores,
    }
    write_json(folder / "results.json", results)
    print(f"{split}: mean accuracy {scores['mean_accuracy']:.3f}, mean macro-F1 {scores['mean_macro_f1']:.3f}")
    print(f"Model, processor, code and results: {folder}")
    if trainer.args.push_to_hub:
        print(f"Published: {publish(trainer, model, processor)}")


def publish(trainer: Any, model: Any, processor: Any) -> str:
    """Address of the commit that holds the finished model with its card, results and licence."""
    from semart_hf.publishing.model_repository import CardChoices, assemble_repository

    folder = Path(trainer.args.output_dir)
    with tempfile.TemporaryDirectory(dir=folder, prefix="_publish-") as made:
        repository = assemble_repository(
            model.cpu(),
            processor,
            Path(made, "repository"),
            trainer.hub_model_id,
            choices=CardChoices(PACKAGE / "templates" / "model_card.md"),
            results=[folder / "results.json"],
            recipe=folder / "recipe.yaml",
        )
        return str(trainer.push_folder(repository).commit_url)


if __name__ == "__main__":
    main()
