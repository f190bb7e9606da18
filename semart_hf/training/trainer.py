"""The Hugging Face Trainer with this model's losses, seeded rows, averaged weights and exact resuming."""

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, EvalPrediction, ProgressCallback, TrainerCallback
from transformers.trainer_utils import IntervalStrategy, PredictionOutput

from semart_hf.data.collator import ArtCollator, PictureBatch
from semart_hf.data.rows import label_counts, labelled_rows_for, rows_for, validation_rows_for
from semart_hf.data.sampling import SeededSampler, StepBatchSampler, TrainingPaintings, process_loader, seeded_batch
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.data.training_texts import learn_idf
from semart_hf.evaluation.scores import check_metric_name, compute_metrics_for
from semart_hf.memory import allowed_cores, freed_memory_kept
from semart_hf.model.linear_semart import lexicons
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.output_semart import UNKNOWN_LABEL, mean_losses, whole_rows
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import Technique, prepare_inputs, select_kernels, useful_techniques

from .arguments import SemArtTrainingArguments
from .callbacks import DivergenceWatch, LogWindow, TrainingProgress
from .head_start import features_of, start_heads
from .losses import ArtLoss, add_l2_penalty, contrastive_sum, parameter_groups
from .resumable_trainer import ResumableTrainer
from .techniques import TRAINING_TECHNIQUES, compile_options, compile_towers


class SemArtTrainer(ResumableTrainer):
    """Trains a `SemArtForArtClassification` on paintings; arguments are those of `transformers.Trainer`.

    Args:
        data_collator: `None` takes an `ArtCollator` that varies nothing.
        train_dataset: Rows with `image`, `text` and a column for each task: a `datasets.Dataset`, a list of dicts, or
            a `PaintingStream`, which is divided among the processes here. Labels are names or of a `ClassLabel`, and
            are matched to the model's by name.
        eval_dataset: Rows to validate on, or several sets by name.
        compute_metrics: Of validation; `None` takes the measures of this package.

    Raises:
        ValueError: If the arguments ask for what these data or these processes cannot do.
        TypeError: If something is no `SemArtTrainingArguments`, no processor or no rows.
    """

    model: SemArtForArtClassification
    optimizer: torch.optim.Optimizer | None
    compute_metrics: Any
    # What speeds up its steps, where it serves; a benchmark sets another list.
    techniques: Sequence[Technique] = TRAINING_TECHNIQUES
    head_start_seconds = 0.0
    chosen_fields: str | None = None  # by the number of labels

    def __init__(
        self,
        model: SemArtForArtClassification | None = None,
        args: SemArtTrainingArguments | None = None,
        data_collator: Callable[[Any], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: SemArtProcessor | None = None,
        model_init: Callable[..., SemArtForArtClassification] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **options: Any,
    ) -> None:
        args = SemArtTrainingArguments() if args is None else args
        processor = getattr(data_collator, "processor", None) if processing_class is None else processing_class
        has_model = (model is None) != (model_init is None)
        if not isinstance(args, SemArtTrainingArguments) or processor is None or not has_model:
            given = ", ".join(type(part).__name__ for part in (model, model_init, args, processor))
            raise TypeError(
                f"Got model, model_init, args and processing_class of the types {given}, but a SemArtTrainer takes "
                "either a model or model_init, SemArtTrainingArguments, and the model's SemArtProcessor. Give these."
            )
        if options.get("compute_loss_func") is not None:
            raise ValueError("Got compute_loss_func, but the losses are those of args.loss. Set it instead.")
        self.model_init = model_init
        # A model that model_init makes says what the labels are; each run begins with another.
        config = (self.call_model_init() if model is None else model).config
        if config.contrastive != (args.contrastive_weight > 0):
            raise ValueError(
                f"contrastive_weight is {args.contrastive_weight}, but the model has contrastive={config.contrastive}."
                " Give a weight above 0 for True and 0 for False, or load the model with the other."
            )
        self.tasks, self.task_names = list(config.tasks or []), config.task_names
        self.watch = DivergenceWatch()
        train_rows = None if train_dataset is None else labelled_rows_for(train_dataset, self.tasks, split="training")
        if train_rows is not None and not isinstance(train_rows, PaintingStream):
            train_rows = TrainingPaintings(train_rows, args.seed)
        eval_rows = validation_rows_for(eval_dataset, self.tasks)
        metrics = compute_metrics or compute_metrics_for(self.tasks)
        # Before the Trainer itself begins, which makes folders and repositories.
        self.args, self.train_dataset, self._train_batch_size = args, train_rows, args.train_batch_size
        if train_rows is not None:
            rows, batches = self._own_batches()
            if not len(DataLoader(rows, **batches)):
                step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                problem = f"This run would have no step: {len(train_rows)} training rows, {step} in a whole step"
                raise ValueError(f"{problem}. Set dataloader_drop_last: false, or a smaller batch.")
        if args.eval_strategy != IntervalStrategy.NO and compute_metrics is None and eval_rows is not None:
            sets = eval_rows if isinstance(eval_rows, dict) else ()
            check_metric_name(str(args.metric_for_best_model), self.tasks, metrics, sets)
        if data_collator is None:
            data_collator = ArtCollator(
                processor,
                self.tasks,
                keeps_tokens=config.reads_tokens,
                finishes_pictures=args.device.type == "cpu",
                recognises_copies=config.contrastive,
            )
        super().__init__(
            model=model,
            args=args,
            window=LogWindow(self.tasks),
            data_collator=data_collator,
            train_dataset=train_rows,
            eval_dataset=eval_rows,
            processing_class=processor,
            model_init=model_init,
            compute_metrics=metrics,
            callbacks=[self.watch, *(callbacks or [])],
            **options,
        )
        # The loss below is already divided by everything that a step sees, in all processes and batches; label
        # smoothing is a part of it.
        self.model_accepts_loss_kwargs, self.loss_is_scaled_for_ga, self.label_smoother = True, True, None
        if args.ema_decay and self.is_fsdp_enabled:
            raise ValueError("FSDP shards averaged weights, which are not saved. Set ema_decay: 0 or launch with DDP.")
        self._compiling = None if self.is_fsdp_enabled else compile_options(self.accelerator)  # it compiles its shards
        self._begin_with(self.model)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(TrainingProgress(self.task_names))

    def _begin_with(self, model: SemArtForArtClassification) -> None:
        """Make what depends on the model: its losses, and what its lexicon reads."""
        self._begun_with = model
        if self._compiling:
            compile_towers(model, self._compiling)
        rows = getattr(self.train_dataset, "paintings", self.train_dataset)
        self.loss = ArtLoss(
            self.tasks,
            label_counts([] if rows is None else rows, self.tasks),
            self.args.loss,
            model.config.task_weights,
            label_smoothing=self.args.label_smoothing_factor,
            logit_adjustment_tau=self.args.logit_adjustment_tau,
        ).to(self.args.device)
        for lexicon in lexicons(model) if rows is not None else ():
            learn_idf(lexicon, self.processing_class, rows)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        if self.model is not self._begun_with and not self.is_fsdp_enabled:  # model_init made another
            self._begin_with(self.model)
        with freed_memory_kept(self.args.keep_freed_memory and self.args.device.type == "cpu"):
            if self.resumed_from is None and (self.args.head_init != "random" or self.model.probe is not None):
                self._regress()
            return super()._inner_training_loop(*args, **kwargs)

    def _regress(self) -> None:
        """Let the heads start as regressions, or a probe be of some; each process reads all rows."""
        start, rows = time.perf_counter(), getattr(self.train_dataset, "paintings", self.train_dataset)
        size, precision = self.args.per_device_eval_batch_size, "bf16" if self.args.bf16 else "fp32"
        found = features_of(self.model, self.data_collator, rows, batch_size=size, precision=precision)
        start_heads(self.model, found, self.loss)
        if self.is_world_process_zero():
            fitted = "The heads start as" if self.model.probe is None else "The probe is of"
            print(f"{fitted} logistic regressions on the towers' features of {len(found.labels):,d} paintings")
        self.head_start_seconds = time.perf_counter() - start

    def hyperparameter_search(self, *args: Any, **options: Any) -> Any:
        """Search values; without `compute_objective` those with the best `metric_for_best_model`."""
        if len(args) < 2 and options.get("compute_objective") is None:
            metric, best = self.args.metric_for_best_model, "maximize" if self.args.greater_is_better else "minimize"
            if (given := options.setdefault("direction", best)) != best:
                problem = f"Got direction={given!r}, but {metric} is to {best}"
                raise ValueError(f"{problem}. Leave it out, or give compute_objective.")
            options["compute_objective"] = itemgetter("eval_" + str(metric).removeprefix("eval_"))
        return super().hyperparameter_search(*args, **options)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser, with a group for each part and kind of parameter: see `parameter_groups`."""
        if self.optimizer is None:
            rates, decay = self.args.learning_rates(), self.args.weight_decay
            groups = parameter_groups(self.model, learning_rates=rates, weight_decay=decay)
            chosen = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = chosen[0](groups, **chosen[1])
            if self.model.lexicon is not None and self.train_dataset is not None:
                add_l2_penalty(self.model.lexicon, self.optimizer, self.args.lexicon_penalty, len(self.train_dataset))
        return self.optimizer

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs on the device, which finishes pictures that came as bytes."""
        if isinstance(pictures := inputs.get("pixel_values"), PictureBatch):
            inputs = {**inputs, "pixel_values": send_to_device(pictures, self.args.device).finish()}
        return prepare_inputs(super()._prepare_inputs(inputs), self._useful_techniques())

    def _useful_techniques(self) -> tuple[Technique, ...]:
        chosen = () if self.is_fsdp_enabled else self.techniques  # it shards tensors of the usual order alone
        return useful_techniques(self.model, bf16=bool(self.args.bf16), techniques=chosen)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's part of the step's loss in training, the model's own mean cross-entropy in validation."""
        inputs = dict(inputs)
        rows, keys = inputs.pop("row_index", None), inputs.pop("pair_keys", None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        labels = inputs.pop("labels")
        weight_alone = self.args.modality_loss
        outputs = model(**inputs, each_alone=weight_alone > 0)
        sums = self.loss.sums(outputs["logits"], labels)
        own_weights = self.loss.weight_sums(labels)
        is_pair = whole_rows(inputs, len(labels)).to(labels.device)
        own_pairs = is_pair.sum().unsqueeze(0)
        step = num_items_in_batch if isinstance(num_items_in_batch, Tensor) else torch.cat((own_weights, own_pairs))
        weights, num_pairs = step[:-1], step[-1].clamp(min=1)
        loss = self.loss.total(sums, weights)
        if weight_alone:
            # Otherwise each modality learns only what the other does not already predict.
            whole = labels.masked_fill(~is_pair.unsqueeze(1), UNKNOWN_LABEL)
            alone = torch.stack([self.loss.sums(logits, whole) for logits in outputs["alone_logits"].values()]).sum(0)
            loss = loss + weight_alone * self.loss.total(alone, weights)
        if self.args.contrastive_weight:
            image, text, scale = (outputs[name] for name in ("image_features", "text_features", "logit_scale"))
            found = contrastive_sum(image, text, scale, is_pair, keys)
            loss = loss + self.args.contrastive_weight * found / num_pairs
        self.window.add(outputs["logits"], labels, sums, own_weights)
        self.watch.add_batch(loss, rows)
        # Distributed processes average their gradients, but these parts of the loss add up.
        loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Forward and backward of a batch."""
        with select_kernels(self._useful_techniques()):
            return super().training_step(*args, **kwargs)

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Loss, logits and labels of a batch."""
        with select_kernels(self._useful_techniques()):
            return super().prediction_step(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Predict by the averaged weights, if any; the loss is of all rows: a batch may have no label of a task."""
        with self.average.applied():
            found = super().evaluation_loop(*args, **kwargs)
        are_logits = isinstance(found.predictions, Mapping) and self.preprocess_logits_for_metrics is None
        if are_logits and found.label_ids is not None:
            logits = {task: torch.from_numpy(found.predictions[task]) for task in self.task_names}
            loss: Any = mean_losses(logits, torch.from_numpy(found.label_ids), self.model.config)[0]
            found.metrics[f"{kwargs.get('metric_key_prefix', 'eval')}_loss"] = loss.item()
        return found

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """0: the library's estimate knows no second modality, and costs time in every step."""
        return 0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The batches of the next step; the time that they are waited for is kept for the log."""
        start = time.perf_counter()
        self.window.began = min(self.window.began, start)
        found = super().get_batch_samples(*args, **kwargs)
        self.window.waited += time.perf_counter() - start
        return found

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor | None:
        """Weight of each task's labels and number of pairs of a step `(num_tasks + 1,)`, in all processes."""
        if not batch_samples or "labels" not in batch_samples[0]:
            return None
        weights = [self.loss.weight_sums(batch["labels"].to(device)) for batch in batch_samples]
        pairs = [whole_rows(batch, len(batch["labels"])).sum().to(device) for batch in batch_samples]
        weighed = torch.cat((torch.stack(weights).sum(0), torch.stack(pairs).sum(0, keepdim=True)))
        return self.accelerator.reduce(weighed, "sum")

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.watch.end_step(self.state.global_step + 1, grad_norm)
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with each task's mean loss and accuracy over the training rows since the last line."""
        if self.window.sums is not None and "loss" in logs:
            sums = self.accelerator.reduce(self.window.sums, "sum")
            logs.update(self.window.scores(sums, self.args.world_size))
            self.window.reset()
        super().log(logs, start_time)

    def _own_batches(self) -> tuple[Any, dict[str, Any]]:
        """The training rows as this process reads them, and how a loader makes the batches of an epoch of them."""
        rows, args = self.train_dataset, self.args
        size, strategy = self._train_batch_size, args.train_sampling_strategy
        if isinstance(rows, PaintingStream):
            if strategy != "random":
                raise ValueError(
                    f"train_sampling_strategy is {strategy!r}, but a stream's rows come shuffled. Set it to random."
                )
            own = rows.divided(batch_size=size, process_index=args.process_index, num_processes=args.world_size)
            return own, {"batch_size": size, "drop_last": args.dataloader_drop_last}
        if not isinstance(rows, TrainingPaintings):  # none, or some that were put in its place
            raise ValueError("Training needs rows to learn from, got none. Give SemArtTrainer a train_dataset.")
        seed = args.seed if args.data_seed is None else args.data_seed
        order = SeededSampler(len(rows), seed, is_shuffled=strategy == "random")
        if strategy == "group_by_length":
            lengths = list(column_of(rows.paintings, args.length_column_name))
            order.lengths = lengths or [len(text or "") for text in column_of(rows.paintings, "text")]
            order.step_size = size * args.gradient_accumulation_steps * args.world_size
        batches = StepBatchSampler(
            order,
            size,
            num_accumulated=args.gradient_accumulation_steps,
            num_processes=args.world_size,
            process_index=args.process_index,
            drop_last=args.dataloader_drop_last,
        )
        return rows, {"batch_sampler": batches}

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of an epoch on this process: see `StepBatchSampler`; of a stream each process reads its own."""
        rows, batches = self._own_batches()
        num_workers = self.args.dataloader_num_workers
        if not isinstance(rows, PaintingStream):  # whose order depends on their number
            # More workers than cores take memory and gain nothing; the batches are the same. One core has other work
            # in any case where the model computes on the CPU.
            num_workers = min(num_workers, max(1, allowed_cores() - (self.args.device.type == "cpu")))
        return process_loader(
            rows,
            self.accelerator,
            collate_fn=partial(seeded_batch, self.data_collator),
            seed=self.args.seed,
            num_workers=num_workers,
            persistent_workers=num_workers > 0 and self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context if num_workers else None,
            pin_memory=self.args.dataloader_pin_memory,
            **batches,
        )

    def _get_dataloader(self, dataset: Any, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """The batches of every row of a validation set in order, whatever training leaves out."""
        arguments = self.args
        self.args = copy(arguments)
        # What is said of training's loader, the library would apply here too.
        own = {"dataloader_drop_last": False, "dataloader_persistent_workers": False}
        self.args.__dict__.update(own, train_sampling_strategy="random")
        try:
            return super()._get_dataloader(rows_for(dataset, self.tasks), *args, **kwargs)
        finally:
            self.args = arguments

    def predict(self, test_dataset: Any, *args: Any, **kwargs: Any) -> PredictionOutput:
        """Logits by task; loss and scores where some row has a label."""
        rows, scoring = rows_for(test_dataset, self.tasks), self.compute_metrics
        has_labels = any(counts.any() for counts in label_counts(rows, self.tasks).values())
        self.compute_metrics = scoring if has_labels else None
        try:
            found = super().predict(rows, *args, **kwargs)
        finally:
            self.compute_metrics = scoring
        kept = {name: value for name, value in found.metrics.items() if has_labels or not name.endswith("_loss")}
        return found._replace(metrics=kept)

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Rows of an epoch in all processes."""
        if isinstance(dataloader.dataset, PaintingStream):
            return len(dataloader.dataset) * dataloader.dataset.num_processes
        return super().num_examples(dataloader)
