"""The Hugging Face Trainer with seeded rows, right weight decay and each task's loss and accuracy in the log."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from semart_hf.data.collator import UNKNOWN_LABEL, ArtCollator
from semart_hf.data.sampling import SeededSampler, TrainingPaintings
from semart_hf.data.streaming import PaintingStream, stream_loader
from semart_hf.evaluation.metrics import compute_metrics_for
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor

from .progress import TrainingProgress
from .pushing import start_push


class SemArtTrainer(Trainer):
    """Trains a `SemArtForArtClassification` on paintings.

    Args:
        model: The model.
        args: The arguments.
        processor: Makes the model's inputs; saved with every checkpoint.
        collator: Makes batches.
        train_paintings: Rows to learn from; a stream is divided among the processes here.
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
        train_paintings: Sequence[Mapping[str, Any]] | PaintingStream | None = None,
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
        self.push_in_progress: PushInProgress | None = None
        train_dataset: TrainingPaintings | PaintingStream | None
        if train_paintings is None or isinstance(train_paintings, PaintingStream):
            train_dataset = train_paintings
        else:
            train_dataset = TrainingPaintings(train_paintings, args.seed)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
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

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write a folder that loads by itself: weights, processor, and the code of model, processor and pipeline.

        The library's own version leaves out the pipeline, and adds a pickle of the arguments with the Hub's token.
        """
        if not self.args.should_save:
            return
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        pipeline = ArtClassificationPipeline(model=model, processor=self.processing_class, device=model.device)
        pipeline.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """The commit of the model as it is now, its code, and a card if it has none; `None` on ranks but the first.

        Args:
            commit_message: The commit's.
            blocking: Whether to wait for it; otherwise a future is given.
            token: The user's; `None`: `hub_token`, or the one that is logged in.
            revision: The branch; `None`: `hub_revision`, or main.
            private: Whether a new repository is private; `None`: `hub_private_repo`.
            **card: Further arguments of `create_model_card`.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if not Path(self.args.output_dir, "README.md").exists():
            self.create_model_card(**{"model_name": self.hub_model_id.split("/")[-1], **card})
        self._finish_current_push()
        push = start_push(
            self.args.output_dir,
            self.hub_model_id,
            commit_message or "End of training",
            workspace=self.args.output_dir,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
        )
        return push.result() if blocking else push

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done() and not self.args.hub_always_push:
            return
        name = Path(checkpoint_folder).name
        names = {HubStrategy.CHECKPOINT: "last-checkpoint", HubStrategy.ALL_CHECKPOINTS: name}
        push = start_push(
            checkpoint_folder,
            self.hub_model_id,
            f"Training in progress, {name}",
            workspace=self.args.output_dir,
            checkpoint_name=names.get(self.args.hub_strategy),
            token=self.args.hub_token,
            revision=self.args.hub_revision,
        )
        jobs = [] if self.push_in_progress is None else [job for job in self.push_in_progress.jobs if not job.done()]
        self.push_in_progress = PushInProgress([*jobs, push])

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

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of an epoch on this process; a stream's hold other rows in each process."""
        if not isinstance(self.train_dataset, PaintingStream):
            return super().get_train_dataloader()
        stream = self.train_dataset.divided(
            batch_size=self._train_batch_size,
            process_index=self.args.process_index,
            num_processes=self.args.world_size,
        )
        return stream_loader(
            stream,
            self.data_collator,
            self.accelerator,
            num_workers=self.args.dataloader_num_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            pin_memory=self.args.dataloader_pin_memory,
            drop_last=self.args.dataloader_drop_last,
        )

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Rows of an epoch in all processes."""
        if isinstance(dataloader.dataset, PaintingStream):
            return len(dataloader.dataset) * dataloader.dataset.num_processes
        return super().num_examples(dataloader)

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
