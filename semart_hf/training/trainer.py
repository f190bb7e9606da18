"""The Hugging Face Trainer with seeded rows, right weight decay and each task's loss and accuracy in the log."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback

from semart_hf.data.collator import UNKNOWN_LABEL, ArtCollator
from semart_hf.data.sampling import SeededSampler, TrainingPaintings
from semart_hf.evaluation.metrics import compute_metrics_for
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .progress import TrainingProgress


class SemArtTrainer(Trainer):
    """Trains a `SemArtForArtClassification` on paintings.

    Args:
        model: The model.
        args: The arguments.
        processor: Makes the model's inputs; saved with every checkpoint.
        collator: Makes batches.
        train_paintings: Rows to learn from.
        eval_paintings: Rows to validate on.
        **options: Further arguments of `transformers.Trainer`.
    """

    def __init__(
        self,
        model: SemArtForArtClassification,
        args: TrainingArguments,
        *,
        processor: SemArtProcessor,
        collator: ArtCollator,
        train_paintings: Sequence[Mapping[str, Any]] | None = None,
        eval_paintings: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        self.task_names = model.config.task_names
        self.train_sampler: SeededSampler | None = None
        # What happened since the last line of the log: sums over tasks, rows, seconds waited for data, and the start.
        self._task_sums: Tensor | None = None
        self._rows = 0
        self._waited = 0.0
        self._since: float | None = None
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=None if train_paintings is None else TrainingPaintings(train_paintings, args.seed),
            eval_dataset=eval_paintings,
            processing_class=processor,
            compute_metrics=compute_metrics_for(model.config.tasks),
            **options,
        )
        self.add_callback(_EpochCallback(self))
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(TrainingProgress(self.task_names))

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay applies to: matrices and kernels.

        Biases, every norm (timm's BatchNorm included), the learned absence vectors, and what a timm tower itself
        exempts (class token, position embeddings) are left alone.
        """
        exempt = {
            f"{prefix}.{name}"
            for prefix, module in model.named_modules()
            if hasattr(module, "no_weight_decay")
            for name in module.no_weight_decay()
        }
        return [
            name
            for name, parameter in model.named_parameters()
            if parameter.ndim > 1 and name not in exempt and "position_embeddings" not in name
        ]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The model's loss; what it says of each task is remembered for the next line of the log."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            self._remember(outputs, inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with each task's mean loss and accuracy over the training rows since the last line."""
        if self._task_sums is not None and "loss" in logs:
            losses, correct, known, batches = self.accelerator.reduce(self._task_sums, "sum").tolist()
            for column, task in enumerate(self.task_names):
                logs[f"{task}_loss"] = losses[column] / max(batches[column], 1)
                logs[f"{task}_accuracy"] = correct[column] / max(known[column], 1)
            seconds = max(time.perf_counter() - (self._since or 0.0), 1e-9)
            logs["rows_per_second"] = self._rows * self.args.world_size / seconds
            logs["data_wait"] = self._waited / seconds
            self._reset_sums()
        super().log(logs, start_time)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of the next step; the time that they are waited for is remembered for the log."""
        start = time.perf_counter()
        if self._since is None:
            self._since = start
        samples, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._waited += time.perf_counter() - start
        return samples, num_items

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate; the time that it takes does not count in the speed of training."""
        start = time.perf_counter()
        metrics = super().evaluate(*args, **kwargs)
        if self._since is not None:
            self._since += time.perf_counter() - start
        return metrics

    def _reset_sums(self) -> None:
        self._task_sums, self._rows, self._waited, self._since = None, 0, 0.0, None

    @torch.no_grad()
    def _remember(self, outputs: Mapping[str, Any], labels: Tensor) -> None:
        is_known = labels != UNKNOWN_LABEL
        predictions = torch.stack([outputs["logits"][task].argmax(-1) for task in self.task_names], dim=1)
        losses = torch.stack([outputs["task_losses"][task].detach().float() for task in self.task_names])
        sums = torch.stack(
            [
                losses,
                ((predictions == labels) & is_known).sum(0).float(),
                is_known.sum(0).float(),
                is_known.any(0).float(),
            ]
        )
        self._task_sums = sums if self._task_sums is None else self._task_sums + sums
        self._rows += len(labels)

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        self.train_sampler = SeededSampler(len(dataset), self.args.data_seed or self.args.seed)
        return self.train_sampler


class _EpochCallback(TrainerCallback):
    """Tells the sampler which epoch begins.

    The data loader's own `set_epoch` does not reach a sampler below a resumed run's skipping batch sampler in several
    processes.
    """

    def __init__(self, trainer: SemArtTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.trainer.train_sampler is not None:
            self.trainer.train_sampler.set_epoch(int((state.epoch or 0) + 1e-6))
