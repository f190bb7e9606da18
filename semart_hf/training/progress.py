"""What a training run shows while it runs: a progress bar with the loss and the speed, and a line for each log."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback


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
        elif "train_runtime" in logs:
            line = (
                f"trained for {logs['train_runtime']:.0f} s: {logs['train_samples_per_second']:.1f} rows/s with "
                f"validation, mean loss {logs['train_loss']:.3f}"
            )
        else:
            return
        self.training_bar.write(line)

    def _accuracies(self, logs: Mapping[str, Any], prefix: str = "") -> str:
        accuracies = {task: logs.get(f"{prefix}{task}_accuracy") for task in self.tasks}
        return ", ".join(f"{task} {value:.3f}" for task, value in accuracies.items() if value is not None)
