"""The Hugging Face Trainer with this model's losses, seeded rows, averaged weights and exact resuming."""

import difflib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, EvalPrediction
from transformers.trainer_callback import ProgressCallback

from semart_hf.data.collator import ArtCollator
from semart_hf.data.labels import label_counts
from semart_hf.data.picture_batch import PictureBatch
from semart_hf.data.process_loader import process_loader
from semart_hf.data.sampling import LengthSampler, SeededSampler, StepBatchSampler, TrainingPaintings
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.evaluation.metrics import compute_metrics_for
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import Technique, prepare_inputs, select_kernels, useful_techniques

from .arguments import SemArtTrainingArguments
from .compiling import compile_towers
from .divergence import DivergenceWatch
from .lexicon import add_l2_penalty, learn_idf
from .log_window import LogWindow
from .losses import ArtLoss, labels_of_whole_rows
from .parameter_groups import decayed_parameters, groups_table, parameter_groups
from .preemption import PreemptionCallback
from .progress import TrainingProgress
from .resumable_trainer import ResumableTrainer
from .run_callback import RunCallback
from .techniques import TRAINING_TECHNIQUES, KeptMemory
from .unfreezing import Unfreezing

# Fields of training's loader that the library would apply to that of validation too.
_EVALUATION_LOADING = {
    "dataloader_drop_last": False,
    "dataloader_persistent_workers": False,
    "train_sampling_strategy": "random",
}


class SemArtTrainer(ResumableTrainer):
    """Trains a `SemArtForArtClassification` on paintings.

    Args:
        model: The model.
        args: The arguments.
        processor: Makes the model's inputs; saved with every checkpoint.
        collator: Makes batches.
        train_paintings: Rows to learn from; a stream is divided among the processes here.
        eval_paintings: Rows to validate on.
        **options: Further arguments of `transformers.Trainer`.

    Raises:
        ValueError: If the arguments ask for what these data or these processes cannot do.
    """

    model: SemArtForArtClassification
    args: SemArtTrainingArguments
    optimizer: torch.optim.Optimizer | None
    # What speeds up its steps, where it serves; a benchmark sets another list.
    techniques: Sequence[Technique] = TRAINING_TECHNIQUES

    def __init__(
        self,
        model: SemArtForArtClassification,
        args: SemArtTrainingArguments,
        *,
        processor: SemArtProcessor,
        collator: ArtCollator,
        train_paintings: Sequence[Mapping[str, Any]] | PaintingStream | None = None,
        eval_paintings: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        self.task_names = model.config.task_names
        self.train_sampler: SeededSampler | None = None
        self.window = LogWindow(self.task_names)
        self.watch = DivergenceWatch()
        self._num_parameters: int | None = None
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
        # The loss below is already divided by everything that a step sees, in all processes and batches.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        # Label smoothing is a part of the loss below.
        self.label_smoother = None
        if args.ema_decay and self.is_fsdp_enabled:
            raise ValueError(
                f"ema_decay is {args.ema_decay}, but averaged weights cannot be saved where FSDP shards them. Set "
                "ema_decay: 0, or launch with DDP."
            )
        if not self.is_fsdp_enabled:  # it compiles what it shards
            compile_towers(model, self.accelerator)
        self.loss = ArtLoss(
            model.config.tasks,
            label_counts(getattr(train_dataset, "paintings", train_dataset), model.config.tasks or []),
            args.loss_settings(),
            model.config.task_weights,
        ).to(args.device)
        self.unfreezing = Unfreezing(model, args.unfreezing_schedule(), keeps_graph=args.world_size > 1)
        if model.lexicon is not None and train_paintings is not None:
            learn_idf(model.lexicon, processor, train_paintings)
        if args.load_best_model_at_end:
            self._check_metric_name()
        self.add_callback(RunCallback(self))
        self.preemption = PreemptionCallback()
        self.add_callback(self.preemption)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(TrainingProgress(self.task_names))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; however it ends, SIGTERM then ends the process again."""
        memory = KeptMemory()
        is_kept = self.args.keep_freed_memory and self.args.device.type == "cpu" and memory.apply()
        try:
            return super().train(*args, **kwargs)
        finally:
            if is_kept:
                memory.undo()
            self.preemption.stop_listening()

    # ---- What learns, and how fast

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay applies to: see `decayed_parameters`."""
        return decayed_parameters(model)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser, with a group for each part and kind of parameter: see `parameter_groups`."""
        if self.optimizer is None:
            groups = parameter_groups(
                self.model,
                [name for name, _ in self.model.named_parameters() if name in self.unfreezing.trained_at_last],
                learning_rates=self.args.learning_rates(),
                weight_decay=self.args.weight_decay,
            )
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer_class(groups, **options)
            if self.model.lexicon is not None and self.train_dataset is not None:
                num_rows = len(self.train_dataset)
                add_l2_penalty(self.model.lexicon, self.optimizer, self.args.lexicon_penalty, num_rows)
            if self.is_world_process_zero() and not self.args.disable_tqdm:
                print(groups_table(groups))
        return self.optimizer

    # ---- The loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs on the device, which finishes pictures that came as bytes."""
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if isinstance(prepared.get("pixel_values"), PictureBatch):
            prepared["pixel_values"] = prepared["pixel_values"].to(self.args.device).finish()
        return prepare_inputs(prepared, self._useful_techniques())

    def _useful_techniques(self) -> tuple[Technique, ...]:
        if self.is_fsdp_enabled:  # it shards tensors of the usual order alone
            return ()
        return useful_techniques(self.model, bf16=bool(self.args.bf16), techniques=self.techniques)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's part of the step's loss in training, the model's own mean cross-entropy in validation."""
        inputs = dict(inputs)
        rows = inputs.pop("row_index", None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        labels = inputs.pop("labels")
        weight_alone = self.args.modality_loss
        outputs = model(**inputs, each_alone=weight_alone > 0)
        sums = self.loss.sums(outputs["logits"], labels)
        own_weights = self.loss.weight_sums(labels)
        weights = num_items_in_batch if isinstance(num_items_in_batch, Tensor) else own_weights
        loss = self.loss.total(sums, weights)
        if weight_alone:
            # What pictures tell is otherwise learned as far only as the texts have not told it yet, and the reverse.
            whole = labels_of_whole_rows(inputs, labels)
            alone = torch.stack([self.loss.sums(logits, whole) for logits in outputs["alone_logits"].values()]).sum(0)
            loss = loss + weight_alone * self.loss.total(alone, weights)
        self.window.add(outputs["logits"], labels, sums, own_weights)
        self.watch.add_batch(loss, rows)
        # Distributed processes average their gradients, but these parts of the loss add up.
        loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Forward and backward of a batch; what is frozen for now keeps no gradient."""
        with select_kernels(self._useful_techniques()):
            loss = super().training_step(*args, **kwargs)
        self.unfreezing.drop_held_gradients()
        return loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Loss, logits and labels of a batch."""
        with select_kernels(self._useful_techniques()):
            return super().prediction_step(*args, **kwargs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """The library's estimate for a batch; it would count the model's parameters anew in every step."""
        if self._num_parameters is None:
            self._num_parameters = self.model.num_parameters(exclude_embeddings=True)
        pictures = inputs.get(self.model.main_input_name)
        return 0 if pictures is None else 6 * pictures.numel() * self._num_parameters

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of the next step; the time that they are waited for is remembered for the log."""
        start = self.window.start()
        samples, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.window.waited += time.perf_counter() - start
        return samples, num_items

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor | None:
        """Weight of the labels of each task in the whole step `(num_tasks,)`: all batches, all processes."""
        if not batch_samples or "labels" not in batch_samples[0]:
            return None
        weights = torch.zeros(len(self.task_names), device=device)
        for batch in batch_samples:
            weights += self.loss.weight_sums(batch["labels"].to(device))
        reduced: Tensor = self.accelerator.reduce(weights, "sum")
        return reduced

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.watch.end_step(self.state.global_step + 1, grad_norm)
        return grad_norm

    # ---- The log, validation and checkpoints

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with each task's mean loss and accuracy over the training rows since the last line."""
        if self.window.sums is not None and "loss" in logs:
            sums = self.accelerator.reduce(self.window.sums, "sum")
            logs.update(self.window.scores(sums, self.args.world_size))
            self.window.reset()
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate; the time that it takes does not count in the speed of training."""
        start = time.perf_counter()
        metrics = super().evaluate(*args, **kwargs)
        self.window.leave_out(time.perf_counter() - start)
        return metrics

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Predict with the averaged weights, where there are some."""
        with self.averaged():
            return super().evaluation_loop(*args, **kwargs)

    def _check_metric_name(self) -> None:
        """Refuse a metric that no validation will have, before the first epoch is spent.

        Raises:
            ValueError: If the metric is unknown.
        """
        tasks = self.model.config.tasks or []
        size = max(len(task["labels"]) for task in tasks)
        logits = {task["name"]: np.eye(size, len(task["labels"])) for task in tasks}
        labels = np.stack([np.arange(size) % len(task["labels"]) for task in tasks], axis=1)
        known = {"loss", *self.compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))}
        name = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            raise ValueError(
                f"metric_for_best_model is {name!r}, which validation does not compute. "
                f"{'Did you mean ' + ', '.join(close) + '? ' if close else ''}There are, by task, e.g. type_accuracy "
                "and type_macro_f1, and over the tasks mean_accuracy, mean_macro_f1 and loss."
            )

    # ---- The data

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of an epoch on this process: see `StepBatchSampler`; of a stream each process reads its own."""
        if isinstance(self.train_dataset, PaintingStream):
            return self._stream_loader(self.train_dataset)
        dataset = self.train_dataset
        if not isinstance(dataset, TrainingPaintings):
            raise ValueError("Training needs rows to learn from, got none. Give SemArtTrainer train_paintings.")
        self.train_sampler = self._row_order(dataset)
        batches = StepBatchSampler(
            self.train_sampler,
            self._train_batch_size,
            num_accumulated=self.args.gradient_accumulation_steps,
            num_processes=self.args.world_size,
            process_index=self.args.process_index,
            drop_last=self.args.dataloader_drop_last,
        )
        self._check_steps(len(batches), len(dataset))
        return self._loader(dataset, batch_sampler=batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The batches of every row in order, whatever training leaves out; their workers end when they are read."""
        with self._loading_for_evaluation():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """The batches of every row in their order: see `get_eval_dataloader`."""
        with self._loading_for_evaluation():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _loading_for_evaluation(self) -> Iterator[None]:
        kept = {name: getattr(self.args, name) for name in _EVALUATION_LOADING}
        for name, value in _EVALUATION_LOADING.items():
            setattr(self.args, name, value)
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self.args, name, value)

    def _check_steps(self, num_batches: int, num_rows: int) -> None:
        if not num_batches:
            raise ValueError(
                f"dataloader_drop_last is true, but the {num_rows} rows of an epoch on this process are less than one "
                f"step: per_device_train_batch_size is {self._train_batch_size}, gradient_accumulation_steps "
                f"{self.args.gradient_accumulation_steps}, and there are {self.args.world_size} process(es). Set "
                "dataloader_drop_last: false, or a smaller per_device_train_batch_size."
            )

    def _stream_loader(self, train_stream: PaintingStream) -> DataLoader[Any]:
        if self.args.train_sampling_strategy != "random":
            raise ValueError(
                f"train_sampling_strategy is {self.args.train_sampling_strategy!r}, but a stream's rows come shuffled "
                "as they are read. Set train_sampling_strategy: random, or streaming: false."
            )
        stream = train_stream.divided(
            batch_size=self._train_batch_size,
            process_index=self.args.process_index,
            num_processes=self.args.world_size,
        )
        rest = 0 if self.args.dataloader_drop_last else stream.batch_size - 1
        self._check_steps((len(stream) + rest) // stream.batch_size, len(stream))
        return self._loader(stream, batch_size=stream.batch_size, drop_last=self.args.dataloader_drop_last)

    def _loader(self, rows: Any, **options: Any) -> DataLoader[Any]:
        num_workers = self.args.dataloader_num_workers
        if not isinstance(rows, PaintingStream):  # whose order depends on their number
            # More workers than cores take memory and gain nothing; the batches are the same. One core has other work
            # in any case where the model computes on the CPU.
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or num_workers
            num_workers = min(num_workers, max(1, cores - (self.args.device.type == "cpu")))
        return process_loader(
            rows,
            self.accelerator,
            collate_fn=self.data_collator,
            num_workers=num_workers,
            # Workers of each epoch's own would have to begin while those of the last one still hold their memory.
            persistent_workers=num_workers > 0 and self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context if num_workers else None,
            pin_memory=self.args.dataloader_pin_memory,
            **options,
        )

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Rows of an epoch in all processes."""
        if isinstance(dataloader.dataset, PaintingStream):
            return len(dataloader.dataset) * dataloader.dataset.num_processes
        return super().num_examples(dataloader)

    def _row_order(self, dataset: TrainingPaintings) -> SeededSampler:
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        if self.args.train_sampling_strategy == "group_by_length":
            lengths = list(column_of(dataset.paintings, self.args.length_column_name))
            lengths = lengths or [len(text or "") for text in column_of(dataset.paintings, "text")]
            rows = self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
            return LengthSampler(len(dataset), seed, lengths, step_size=rows)
        return SeededSampler(len(dataset), seed, is_shuffled=self.args.train_sampling_strategy == "random")
