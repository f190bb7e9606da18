"""A Trainer that can be killed at any step: a checkpoint is whole or known not to be, and resuming changes nothing."""

import json
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn
from transformers.trainer_utils import rotate_checkpoints

from .averaging import WeightAverage
from .checkpoints import mark_whole, remove_checkpoint, write_atomically
from .divergence import DivergenceWatch
from .log_window import LogWindow
from .publishing_trainer import PublishingTrainer

# What resuming needs beside the library's own files lies in this folder of a checkpoint.
RESUME = "resume"
LEARNED_WEIGHTS = "learned_weights.safetensors"


class ResumableTrainer(PublishingTrainer):
    """Saves all that a run is made of: also the moving average of its weights and the log's unfinished line."""

    window: LogWindow
    watch: DivergenceWatch
    average: WeightAverage | None = None
    is_epoch_over = False
    resumed_from: Path | None = None
    _save_is_due = False
    _earlier_seconds = 0.0
    _began = 0.0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model as it is evaluated: with the averaged weights, where there are some."""
        with self.averaged():
            super().save_model(output_dir, _internal_call)

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which the model has the averaged weights, where there are some."""
        return nullcontext() if self.average is None else self.average.applied()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self.watch.check()
        # A checkpoint of an epoch's last step waits for what else happens when the epoch ends (validation, above all):
        # a run that resumes from it begins with the next epoch.
        if self.is_epoch_over:
            self.control.should_save |= self._save_is_due
            self._save_is_due = False
        elif self.control.should_save and float(self.state.epoch or 0.0).is_integer():
            self._save_is_due, self.control.should_save = True, False
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint that is known to be whole before an older one is deleted or anything is pushed."""
        checkpoint = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save:
            remove_checkpoint(checkpoint)
        self.accelerator.wait_for_everyone()
        limit, is_pushed = self.args.save_total_limit, self.args.push_to_hub
        self.args.save_total_limit, self.args.push_to_hub = None, False
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit, self.args.push_to_hub = limit, is_pushed
        self._save_progress(checkpoint / RESUME)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_whole(checkpoint)
            if is_pushed:
                self._push_from_checkpoint(str(checkpoint))
            rotate_checkpoints(
                output_dir=str(checkpoint.parent),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def _save_progress(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self.average is not None and self.args.should_save:
            save_file(self.average.learned_state(), folder / LEARNED_WEIGHTS)
        progress = {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "seconds": self._earlier_seconds + time.time() - self._began,
            "window": self.window.state(),
        }
        write_atomically(folder / f"progress-{self.args.process_index}.json", progress)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.resumed_from = Path(resume_from_checkpoint)
        learned = self.resumed_from / RESUME / LEARNED_WEIGHTS
        if bool(self.args.ema_decay) != learned.is_file():
            raise ValueError(
                f"ema_decay is {self.args.ema_decay}, but {resume_from_checkpoint} was written "
                f"{'with' if learned.is_file() else 'without'} averaged weights. Resume with the recipe that it was "
                "made with."
            )
        if self.args.ema_decay:
            self.average = WeightAverage(self.model, self.args.ema_decay)
            self.average.load_learned_state(load_file(learned))

    def load_progress(self) -> None:
        """Continue the log of the checkpoint that the run resumes from, so that its next line is the same."""
        self._began = time.time()
        if self.resumed_from is None:
            return
        path = self.resumed_from / RESUME / f"progress-{self.args.process_index}.json"
        if path.is_file():
            progress = json.loads(path.read_text(encoding="utf-8"))
            self._tr_loss.fill_(progress["loss"])
            self._total_loss_scalar = progress["total_loss"]
            self._globalstep_last_logged = progress["last_logged"]
            self._earlier_seconds = progress["seconds"]
            self.window.load(progress["window"], self.args.device)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        """The run's figures, of all its parts together where it was resumed."""
        self.watch.check()
        self._initial_global_step = 0
        return super()._finalize_training(trial, num_train_samples, start_time - self._earlier_seconds)
