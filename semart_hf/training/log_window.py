"""The log of a training: each task's loss and accuracy since its last line, where the time went, and its lines."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback

from semart_hf.model.configuration_semart import is_multi_label, label_columns
from semart_hf.model.output_semart import UNKNOWN_LABEL


class LogWindow(TrainerCallback):
    """Sums over this process's training rows since the last line of the log, for each of the tasks.

    Of a task with several labels a row is correct where all of them are, at the probability 0.5.
    """

    def __init__(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        self.tasks = [task["name"] for task in tasks]
        columns = label_columns(tasks)
        self.parts = [(task["name"], columns[task["name"]], is_multi_label(task)) for task in tasks]
        self.reset()

    def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
        """Begin a new window: a run that begins again with a smaller batch leaves half a step."""
        self.reset()

    def reset(self) -> None:
        """Begin a new window; its clock starts with the next `start`."""
        # Rows of the matrix: weighted losses, their weights, correct predictions, known labels. A column a task.
        self.sums: Tensor | None = None
        self.rows = 0
        self.waited = 0.0
        self.began: float | None = None

    def start(self) -> float:
        """The time now, from which on a new window counts."""
        now = time.perf_counter()
        self.began = now if self.began is None else self.began
        return now

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was not spent on training."""
        if self.began is not None:
            self.began += seconds

    @torch.no_grad()
    def add(self, logits: Mapping[str, Tensor], labels: Tensor, losses: Tensor, weights: Tensor) -> None:
        """Take in a batch, with the sums of its weighted losses and of their weights for each task `(num_tasks,)`."""
        known, correct = [], []
        for task, columns, has_several in self.parts:
            truth = labels[:, columns]
            answers = (logits[task] >= 0).long() if has_several else logits[task].argmax(-1, keepdim=True)
            is_known = truth != UNKNOWN_LABEL
            known.append(is_known.any(-1).sum())
            correct.append((((answers == truth) | ~is_known).all(-1) & is_known.any(-1)).sum())
        sums = torch.stack(
            [losses.float(), weights.float(), *(torch.stack(part).float() for part in (correct, known))]
        )
        self.sums = sums if self.sums is None else self.sums + sums
        self.rows += len(labels)

    def scores(self, sums: Tensor, num_processes: int) -> dict[str, float]:
        """Loss and accuracy of each task, rows a second and the share of time waited for data, by all sums."""
        losses, weights, correct, known = sums.tolist()
        scores = {}
        for column, task in enumerate(self.tasks):
            scores[f"{task}_loss"] = losses[column] / weights[column] if weights[column] else 0.0
            scores[f"{task}_accuracy"] = correct[column] / max(known[column], 1)
        seconds = max(time.perf_counter() - (self.began or 0.0), 1e-9)
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

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line, and put loss and speed into the bar."""
        if not state.is_world_process_zero or self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            self.training_bar.set_postfix_str(
                f"loss {logs['loss']:.3f}, {logs.get('rows_per_second', 0.0):.0f} rows/s, "
                f"{logs.get('data_wait', 0.0):.0%} waiting for data"
            )
            line = f"step {state.global_step}: loss {logs['loss']:.3f}; accuracy {self._accuracies(logs)}"
        elif "eval_loss" in logs:
            line = f"epoch {logs['epoch']:.4g}, validation: loss {logs['eval_loss']:.3f}"
            if "eval_mean_accuracy" in logs:  # not with prediction_loss_only
                line += (
                    f"; accuracy {self._accuracies(logs, 'eval_')}; mean accuracy {logs['eval_mean_accuracy']:.3f}, "
                    f"mean macro-F1 {logs['eval_mean_macro_f1']:.3f}"
                )
        elif "train_runtime" in logs and state.global_step:
            line = (
                f"trained for {logs['train_runtime']:.0f} s: {logs['train_samples_per_second']:.1f} rows/s with "
                f"validation, mean loss {logs['train_loss']:.3f}"
            )
        else:
            return
        self.training_bar.write(line)

    def _accuracies(self, logs: Mapping[str, Any], prefix: str = "") -> str:
        names = {task: f"{prefix}{task}_accuracy" for task in self.tasks}
        return ", ".join(f"{task} {logs[name]:.3f}" for task, name in names.items() if name in logs)
