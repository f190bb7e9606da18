"""What looks on at a training's steps: averaged weights, the watch for divergence, SIGTERM, and the log."""

import ctypes
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import reduce
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import ProgressCallback, TrainerCallback

from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL

LEARNED_WEIGHTS = "learned_weights.safetensors"


class WeightAverage(TrainerCallback):
    """A moving average of a model's parameters and of its floating-point buffers (BatchNorm's statistics).

    A checkpoint's model file holds the average; `save_learned` writes the weights that learn beside it.

    Source: Tarvainen & Valpola 2017, Mean teachers are better role models, section 2; the warm-up is TensorFlow's
        `ExponentialMovingAverage` with `num_updates`.
    """

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """Keep nothing of the model."""
        self._learned: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def begin(self, model: nn.Module, folder: Path | None = None) -> None:
        """Begin an average with a model's weights; those that learn are what `save_learned` wrote into `folder`."""
        if self._average:  # a run that begins again with a smaller batch goes on with its average
            return
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._learned = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        self._average = {name: tensor.detach().clone() for name, tensor in self._learned.items()}
        if folder is not None and (folder / LEARNED_WEIGHTS).is_file():
            learned = load_file(folder / LEARNED_WEIGHTS)
            if different := sorted(learned.keys() ^ self._learned.keys()):
                problem = f"The checkpoint differs in {len(different)} tensors, first {different[0]!r}"
                raise ValueError(f"{problem}. Resume with its recipe.")
            for name, tensor in self._learned.items():
                tensor.copy_(learned[name])

    def on_train_end(self, args: Any, state: Any, *_: Any, **kwargs: Any) -> None:
        """Leave the averaged weights in the model, unless those of the best checkpoint were loaded."""
        if not args.load_best_model_at_end or state.best_model_checkpoint is None:
            self._exchange()
        self.end()

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, *_: Any, **kwargs: Any) -> None:
        """Take the new weights into the average."""
        if not self._average:
            return
        step = state.global_step + 1
        decay = min(args.ema_decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(self._average.values()), list(self._learned.values()), 0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model has the averaged weights; outside of training they are its own."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def save_learned(self, folder: Path) -> None:
        """Write the weights that learn."""
        if learned := {name: tensor.detach().cpu().contiguous() for name, tensor in self._learned.items()}:
            save_file(learned, folder / LEARNED_WEIGHTS)

    @torch.no_grad()
    def _exchange(self) -> None:
        """Put the average into the model and the model's weights in its place; a second call puts them back."""
        for name, tensor in self._learned.items():
            # Copies and not new storage: optimisers, compiled graphs and distributed buffers hold on to the tensors.
            kept = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(kept)


class DivergenceWatch(TrainerCallback):
    """Looks at each step's loss and gradient norm, one step late where no checkpoint follows: no accelerator waits."""

    def __init__(self) -> None:
        self.on_train_begin()

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Forget all steps: a run that begins again with a smaller batch leaves half of one."""
        self._batches: list[tuple[Tensor, Tensor | None]] = []
        self._pending: tuple[int, dict[str, Any], list[Tensor]] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at everything, where a line of the log, an evaluation or a checkpoint follows."""
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self.check()

    on_epoch_end = on_step_end

    def add_batch(self, loss: Tensor, rows: Tensor | None) -> None:
        """Take in a batch of the present step: its part of the loss, and its rows' indices `(batch,)` if known."""
        self._batches.append((loss.detach(), rows))

    def end_step(self, step: int, gradient_norm: Any) -> None:
        """Take in the end of a step, with the norm of all gradients before clipping, and check the one before."""
        numbers = {"loss": sum(loss for loss, _ in self._batches), "gradient norm": gradient_norm}
        rows = [rows for _, rows in self._batches if rows is not None]
        self._batches = []
        self.check()
        self._pending = (step, numbers, rows)

    def check(self) -> None:
        """Raise a `ValueError` if the last step that was taken in diverged."""
        if self._pending is None:
            return
        (step, numbers, rows), self._pending = self._pending, None
        whole = {name: one.full_tensor() if hasattr(one, "full_tensor") else one or 0 for name, one in numbers.items()}
        if broken := [f"the {name} is {float(one)}" for name, one in whole.items() if not math.isfinite(float(one))]:
            indices = sorted(int(row) for part in rows for row in part.tolist() if row >= 0)
            raise ValueError(
                f"Training diverged at step {step}: {' and '.join(broken)}. The step's rows of the training data, "
                f"counted from 0, are {indices or 'not known'}. Lower learning_rate or max_grad_norm, raise "
                "warmup_steps, or take precision: fp32; of rows where it diverges again, look at picture and text."
            )


#: Exit status of a training that saved itself and can go on: EX_TEMPFAIL of sysexits.h, "try again later".
PREEMPTED_STATUS = 75
# Processes agree on stopping only every so many steps: to ask each other costs more than a small step itself.
STEPS_BETWEEN_AGREEMENTS = 8


class PreemptionCallback(TrainerCallback):
    """Ends training with a checkpoint at the next step after SIGTERM, in all processes at the same step."""

    is_asked = False
    is_agreed = False
    _previous: Any = None

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Listen to the signal, where Python lets it: in the main thread."""
        if self._previous is None and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "is_asked", True))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint if the signal came to any process."""
        self.is_agreed = self.is_asked
        if args.world_size > 1:
            is_due = state.global_step % STEPS_BETWEEN_AGREEMENTS == 0
            self.is_agreed = is_due and bool(reduce(torch.tensor(float(self.is_asked), device=args.device), "max"))
        control.should_save |= self.is_agreed

    def on_save(self, args: Any, state: Any, *_: Any, **kwargs: Any) -> None:
        """End the process with `PREEMPTED_STATUS` if the checkpoint was written for the signal's sake."""
        if self.is_agreed:
            if state.is_world_process_zero:
                written = "the checkpoint is written. The same command continues from it."
                print(f"SIGTERM at step {state.global_step}: {written}", file=sys.stderr)
            raise SystemExit(PREEMPTED_STATUS)

    def stop_listening(self) -> None:
        """Leave the signal to whoever listened before."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None


def end_with_parent() -> None:
    """Let Linux send this process SIGTERM when its parent ends: `accelerate launch` does not pass on what it gets."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # 1 is PR_SET_PDEATHSIG of linux/prctl.h


class LogWindow(TrainerCallback):
    """Sums over this process's rows since the log's last line; of several labels a row is correct where all are."""

    def __init__(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        columns = label_columns(tasks)
        self.tasks = [(task["name"], columns[task["name"]], is_multi_label(task)) for task in tasks]
        self.reset()

    def reset(self, *_: Any, **kwargs: Any) -> None:
        """Begin a new window; its clock starts with the next batch that is waited for."""
        # Rows of the matrix: weighted losses, their weights, correct predictions, known labels. A column a task.
        self.sums: Tensor | None = None
        self.rows = 0
        self.waited = 0.0
        self.began = math.inf

    on_train_begin = reset  # a run that begins again with a smaller batch leaves half a step

    @torch.no_grad()
    def add(self, logits: Mapping[str, Tensor], labels: Tensor, losses: Tensor, weights: Tensor) -> None:
        """Take in a batch, with the sums of its weighted losses and of their weights for each task `(num_tasks,)`."""
        known, correct = [], []
        for task, columns, has_several in self.tasks:
            truth = labels[:, columns]
            answers = (logits[task] >= 0).long() if has_several else logits[task].argmax(-1, keepdim=True)
            is_known = truth != UNKNOWN_LABEL
            known.append(is_known.any(-1).sum())
            correct.append((((answers == truth) | ~is_known).all(-1) & is_known.any(-1)).sum())
        sums = torch.stack([losses.float(), weights.float(), torch.stack(correct).float(), torch.stack(known).float()])
        self.sums = sums if self.sums is None else self.sums + sums
        self.rows += len(labels)

    def scores(self, sums: Tensor, num_processes: int) -> dict[str, float]:
        """Loss and accuracy of each task, rows a second and the share of time waited for data, by all sums."""
        losses, weights, correct, known = sums.tolist()
        scores = {}
        for column, (task, *_) in enumerate(self.tasks):
            scores[f"{task}_loss"] = losses[column] / weights[column] if weights[column] else 0.0
            scores[f"{task}_accuracy"] = correct[column] / max(known[column], 1)
        seconds = max(time.perf_counter() - self.began, 1e-9)
        return {**scores, "rows_per_second": self.rows * num_processes / seconds, "data_wait": self.waited / seconds}

    def state_dict(self) -> dict[str, Any]:
        """The window as JSON, so that a resumed run writes the same next line of the log."""
        return {"sums": None if self.sums is None else self.sums.tolist(), "rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue the window of a checkpoint."""
        self.reset()
        self.sums = None if state["sums"] is None else torch.tensor(state["sums"], device=device)
        self.rows = state["rows"]


class TrainingProgress(ProgressCallback):
    """The Trainer's progress bars, with lines that a person reads instead of a dictionary of forty numbers."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tasks

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line, and put loss and speed into the bar."""
        if not state.is_world_process_zero or self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            speed = f"{logs.get('rows_per_second', 0.0):.0f} rows/s, {logs.get('data_wait', 0.0):.0%} waiting for data"
            self.training_bar.set_postfix_str(f"loss {logs['loss']:.3f}, {speed}")
            line = f"step {state.global_step}: loss {logs['loss']:.3f}; accuracy {self._accuracies(logs)}"
            self.training_bar.write(line)
        elif "eval_loss" in logs:
            line = f"epoch {logs['epoch']:.4g}, validation: loss {logs['eval_loss']:.3f}"
            if {"eval_mean_accuracy", "eval_mean_macro_f1"} <= {*logs}:  # not by every compute_metrics
                means = f"{logs['eval_mean_accuracy']:.3f}, mean macro-F1 {logs['eval_mean_macro_f1']:.3f}"
                line += f"; accuracy {self._accuracies(logs, 'eval_')}; mean accuracy {means}"
            self.training_bar.write(line)
        elif "train_runtime" in logs and state.global_step:
            speed = f"{logs['train_samples_per_second']:.1f} rows/s with validation"
            line = f"trained for {logs['train_runtime']:.0f} s: {speed}, mean loss {logs['train_loss']:.3f}"
            self.training_bar.write(line)

    def _accuracies(self, logs: Mapping[str, Any], prefix: str = "") -> str:
        names = {task: f"{prefix}{task}_accuracy" for task in self.tasks}
        return ", ".join(f"{task} {logs[name]:.3f}" for task, name in names.items() if name in logs)
