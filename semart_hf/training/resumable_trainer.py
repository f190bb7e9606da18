"""A Trainer that can be killed at any step: a checkpoint is whole or known not to be, and resuming changes nothing."""

import logging
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import HubStrategy, SaveStrategy, rotate_checkpoints
from transformers.utils import PushInProgress

from semart_hf.data.sampling import random_state_kept
from semart_hf.files import full_disk_explained, locked, read_json, write_json
from semart_hf.model.pipeline_semart import save_repository
from semart_hf.publishing.pushing import list_files, list_model_files, start_push

from . import run_folder
from .arguments import SemArtTrainingArguments
from .callbacks import LogWindow, PreemptionCallback, WeightAverage

logger = logging.getLogger(__name__)

# Of an optimiser's group, what follows from the arguments.
_OF_ARGUMENTS = ("initial_lr", "weight_decay", "betas", "eps")


class ResumableTrainer(Trainer, TrainerCallback):
    """Writes checkpoints with all that a run goes on with, each a repository that loads by itself, and pushes them."""

    args: SemArtTrainingArguments
    push_in_progress: PushInProgress | None = None
    resumed_from: Path | None = None

    def __init__(
        self, *, args: SemArtTrainingArguments, window: LogWindow, callbacks: list[TrainerCallback], **options: Any
    ) -> None:
        self.window = window
        self.average, self.preemption = WeightAverage(), PreemptionCallback()
        own = [window, self.preemption, self.average, self]  # which restores a checkpoint
        super().__init__(args=args, callbacks=[*own, *callbacks], **options)
        # States of callbacks, such as early stopping's count, are a part of what a run's future depends on.
        args.restore_callback_states_from_checkpoint = True
        causes = [f"{name}: true" for name in ("save_only_model", "ignore_data_skip") if getattr(args, name)]
        causes += ["save_strategy: no"] if args.save_strategy == SaveStrategy.NO else []
        if self.train_dataset is not None and causes and self.is_world_process_zero():
            logger.warning("With %s, this run cannot be continued exactly if it is interrupted.", ", ".join(causes))

    @property
    def output_dir(self) -> Path:
        """Where the run writes."""
        return Path(self.args.output_dir or ".")

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, alone in `output_dir`, from the last whole checkpoint with `resume_from_checkpoint=True`."""
        with locked(self.output_dir, "training") if self.is_world_process_zero() else nullcontext():
            self.resumed_from, self._earlier_seconds = None, 0.0
            if resume_from_checkpoint not in (None, False):
                self.resumed_from = run_folder.requested_checkpoint(self.output_dir, resume_from_checkpoint)
                run_folder.check_continuable(self.resumed_from, self.args)
            try:
                with full_disk_explained(self.output_dir, "The last whole checkpoint is kept. Make room and resume."):
                    return super().train(self.resumed_from and str(self.resumed_from), *args, **kwargs)
            finally:
                self.preemption.stop_listening()  # SIGTERM ends the process again
                for loader in self.accelerator._dataloaders:
                    # Ends its workers at once; the garbage collector waits 5 s for each.
                    loader.base_dataloader._iterator = None
                self.average.end()

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, num_train_epochs: int, resume: str | None, trial: Any
    ) -> tuple[int, int]:
        """The position to begin from; a run that was over when it was killed is at its end."""
        position = super()._init_training_state(max_steps, steps_per_epoch, num_train_epochs, resume, trial)
        if resume is None:
            return position
        best = run_folder.recorded_best_checkpoint(Path(resume))
        self.state.best_model_checkpoint = str(best) if best is not None and best.is_dir() else None
        has_stopped = self.state.global_step >= max_steps
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState):  # one that the checkpoint's run did not have
                self.state.stateful_callbacks.setdefault(type(callback).__name__, callback.state())
            if isinstance(callback, EarlyStoppingCallback):
                patience = self.args.early_stopping_patience
                callback.early_stopping_patience = patience or callback.early_stopping_patience
                has_stopped |= callback.early_stopping_patience_counter >= callback.early_stopping_patience
        if has_stopped:
            self._load_rng_state(resume)
            return num_train_epochs, 0
        return position

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load both states, with the rates and numbers that the arguments name now, also where they were others."""
        chosen = [dict(group) for group in self.optimizer.param_groups]
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
            groups, schedule = self.optimizer.param_groups, self.lr_scheduler
            if lacking := sorted({*chosen[0]} - {*groups[0]}):
                raise ValueError(f"its optimizer has no {lacking}")
        except ValueError as error:
            problem = f"Got {checkpoint}, of a run with another optimizer, or in which other parts learn ({error})"
            raise ValueError(f"{problem}. Resume with what it was made with, or begin again.") from error
        for group, own in zip(groups, chosen, strict=True):
            group.update({name: own[name] for name in _OF_ARGUMENTS if name in own})
        if isinstance(schedule, LambdaLR):
            schedule.base_lrs = [group["initial_lr"] for group in groups]
            for group, share in zip(groups, schedule.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * share(schedule.last_epoch)
            schedule._last_lr = [group["lr"] for group in groups]

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Begin the average, or continue it and the log of the checkpoint that the run resumes from."""
        self._began, self._save_is_due, self._last_step = time.time(), False, -1
        folder = None if self.resumed_from is None else self.resumed_from / run_folder.RESUME
        if self.args.ema_decay:
            self.average.begin(self.model, folder)
        if folder and (progress := read_json(folder / f"progress-{self.args.process_index}.json")):
            self._tr_loss.fill_(progress["loss"])
            self._total_loss_scalar = progress["total_loss"]
            self._globalstep_last_logged = progress["last_logged"]
            self._earlier_seconds = progress["seconds"]
            self.window.load_state_dict(progress["window"], self.args.device)

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        if skip_scheduler and self.resumed_from is not None:
            return {}  # eval_on_start: a run starts once
        return super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate; neither its time nor what it draws counts in training."""
        start = time.perf_counter()
        with random_state_kept():
            metrics = super().evaluate(*args, **kwargs)
        self.window.began += time.perf_counter() - start
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write what loads by itself, averaged weights and code; the library adds a pickle with the Hub's token."""
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            with self.average.applied():
                save_repository(model, self.processing_class, output_dir or self.output_dir, state_dict=state_dict)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # A checkpoint of the last step of an epoch, or of the run, waits for what else happens then (validation, above
        # all): a run that resumes from it does not do it again.
        is_last_step = self.state.global_step >= self.state.max_steps or float(self.state.epoch or 0).is_integer()
        is_epoch_over = self._last_step == self.state.global_step
        self._last_step = self.state.global_step
        if is_epoch_over:
            self.control.should_save |= self._save_is_due
            self._save_is_due = False
        elif self.control.should_save and is_last_step:
            self._save_is_due, self.control.should_save = True, False
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint that is known to be whole before an older one is deleted or anything is pushed."""
        checkpoint = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save and checkpoint.is_dir():  # which was not written to its end, or is trained again
            shutil.rmtree(checkpoint)
        self.accelerator.wait_for_everyone()
        limit, is_pushed = self.args.save_total_limit, self.args.push_to_hub
        self.args.save_total_limit, self.args.push_to_hub = None, False
        try:
            super()._save_checkpoint(model, trial)
            self._save_progress(checkpoint / run_folder.RESUME)
        except Exception:
            if self.args.should_save:
                shutil.rmtree(checkpoint, ignore_errors=True)  # a full disk needs the room
            raise
        finally:
            self.args.save_total_limit, self.args.push_to_hub = limit, is_pushed
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            run_folder.mark_whole(checkpoint)
            if is_pushed:
                self._push_from_checkpoint(str(checkpoint))
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(checkpoint.parent), save_total_limit=limit, best_model_checkpoint=best)
        self.accelerator.wait_for_everyone()

    def _save_progress(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self.args.should_save:
            self.average.save_learned(folder)
        progress = {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "seconds": self._earlier_seconds + time.time() - self._began,
            "window": self.window.state_dict(),
        }
        write_json(folder / f"progress-{self.args.process_index}.json", progress)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        """The run's figures, of all its parts together where it was resumed."""
        self._initial_global_step = 0
        return super()._finalize_training(trial, num_train_samples, start_time - self._earlier_seconds)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """The commit of the model as it is now, its code, and a card if it has none; `None` on ranks but the first."""
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if not (self.output_dir / "README.md").exists():
            self.create_model_card(**{"model_name": self.hub_model_id.split("/")[-1], **card})
        self._finish_current_push()
        files, message = list_model_files(self.output_dir), commit_message or "End of training"
        push = self._start_push(files, message, token=token, revision=revision)
        return push.result() if blocking else push

    def push_folder(self, folder: Path, commit_message: str = "End of training") -> CommitInfo:
        """The commit of every file of a folder with a model; for the first process alone."""
        self._finish_current_push()
        return self._start_push(list_files(folder), commit_message).result()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done() and not self.args.hub_always_push:
            return
        folder = Path(checkpoint_folder)
        files = list_model_files(folder)
        places = {HubStrategy.CHECKPOINT: "last-checkpoint", HubStrategy.ALL_CHECKPOINTS: folder.name}
        if place := places.get(self.args.hub_strategy):
            files |= {f"{place}/{name}": path for name, path in list_files(folder).items()}
        push = self._start_push(files, f"Training in progress, {folder.name}")
        jobs = self.push_in_progress.jobs if self.push_in_progress else []
        self.push_in_progress = PushInProgress([*(job for job in jobs if not job.done()), push])

    def _start_push(self, files: Mapping[str, Path], message: str, **options: Any) -> "Future[CommitInfo]":
        for name, own in {"token": self.args.hub_token, "revision": self.args.hub_revision}.items():
            options[name] = options.get(name) or own
        return start_push(files, self.hub_model_id, message, workspace=self.output_dir, **options)
