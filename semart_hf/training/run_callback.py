"""What happens around the steps of a run: epochs are told to the sampler, layers thaw, weights are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .averaging import WeightAverage

if TYPE_CHECKING:
    from .trainer import SemArtTrainer

CURVES = "training_curves.png"


class RunCallback(TrainerCallback):
    """The part of `SemArtTrainer` that is bound to moments of the loop and not to what the loop does.

    Args:
        trainer: The trainer whose run it is.
    """

    def __init__(self, trainer: SemArtTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the average, or continue what a checkpoint holds."""
        trainer = self.trainer
        # A run that begins anew with a smaller batch leaves half a step behind.
        trainer.window.reset()
        trainer.watch.reset()
        if trainer.args.ema_decay and trainer.average is None:
            trainer.average = WeightAverage(trainer.model, trainer.args.ema_decay)
        trainer.load_progress()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the sampler which epoch begins, and unfreeze what is to learn from it on.

        The data loader's own `set_epoch` does not reach a sampler below a resumed run's skipping batch sampler.
        """
        epoch = int((state.epoch or 0) + 1e-6)
        trainer = self.trainer
        trainer.is_epoch_over = False
        if trainer.train_sampler is not None:
            trainer.train_sampler.set_epoch(epoch)
        if trainer.unfreezing.begin(epoch) and state.is_world_process_zero and epoch:
            print(f"Epoch {epoch}: unfrozen to {trainer.unfreezing.current}")

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember that what follows belongs to the epoch and not to its last step."""
        self.trainer.is_epoch_over = True

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the new weights into the average."""
        if self.trainer.average is not None:
            self.trainer.average.update(state.global_step + 1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the averaged weights in the model, and draw the learning curves."""
        trainer = self.trainer
        is_best_loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if trainer.average is not None and not is_best_loaded:
            trainer.average.exchange()
        trainer.average = None
        if args.should_save:
            from semart_hf.documents.curves import draw_curves

            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            draw_curves(state.log_history, trainer.task_names, Path(args.output_dir, CURVES))
