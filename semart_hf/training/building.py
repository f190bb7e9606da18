"""A recipe becomes a model, its processor and its trainer; and a search for a recipe's best values."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from transformers import (
    AutoTokenizer,
    DistilBertConfig,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_splits, with_prepared_pictures
from semart_hf.data.rows import labels_per_task, tasks_of
from semart_hf.data.streaming import PaintingStream, column_of
from semart_hf.data.training_texts import frozen_text, learn_tokenizer, shards_parameters
from semart_hf.evaluation.results import describe_training_data
from semart_hf.evaluation.scores import check_metric_name, compute_metrics_for
from semart_hf.model.configuration_semart import SemArtConfig
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor
from semart_hf.model.towers_semart import most_text_tokens
from semart_hf.recipes.recipe import (
    PRETRAINED_CHOICES,
    ModelArguments,
    parse_recipe,
    read_recipe,
    with_fields_by_labels,
)

from .arguments import SemArtTrainingArguments
from .head_start import correlate_projections
from .trainer import SemArtTrainer

if TYPE_CHECKING:
    import optuna

# Labels that a line names.
_NUM_NAMED = 8
STUDY = "study.sqlite3"
ALLOWED_RANGES = "{low: 1e-4, high: 1e-2, log: true}, {low: 0, high: 3}, or a list of values"


def build_trainer(
    splits: Mapping[str, Any],
    model_arguments: ModelArguments,
    data: DataArguments,
    training: SemArtTrainingArguments,
    say: Callable[[str], Any] = print,
) -> SemArtTrainer:
    """The trainer of a recipe, with a new model, on the rows that `load_splits` gives; `say` takes what was chosen."""
    least = data.min_label_count
    tasks = getattr(splits, "tasks", None) or tasks_of(splits["train"], data.tasks, min_label_count=least)
    say("Tasks: " + ", ".join(f"{task['name']} ({len(task['labels'])} labels)" for task in tasks))
    num_labels = labels_per_task(splits["train"], tasks) if training.from_labels else 0
    (model_arguments, data, training), chosen = with_fields_by_labels((model_arguments, data, training), num_labels)
    if chosen:
        say(chosen)
    set_seed(training.seed)
    is_contrastive = training.contrastive_weight > 0
    if model_arguments.init_from is None:
        tokenizer = build_tokenizer(splits["train"], model_arguments, data)
        model = build_model(tasks, model_arguments, tokenizer, contrastive=is_contrastive)
    else:
        model, tokenizer = _start_from(tasks, model_arguments, data, say, contrastive=is_contrastive)
    processor = build_processor(model, tokenizer)
    has_probe = model.probe is not None
    if has_probe and shards_parameters(training):
        raise ValueError("Got FSDP, which shards what a probe reads at once. Launch with DDP, or set probe_share: 0.")
    fitted = [training.head_init != "random", training.contrastive_start != "random", has_probe]
    if sum(fitted) > 1 or (model_arguments.init_from and any(fitted[:2])):
        raise ValueError(
            f"head_init is {training.head_init!r}, probe_share {model.config.probe_share}, init_from "
            f"{model_arguments.init_from} and contrastive_start {training.contrastive_start!r}, which all say what is "
            "fitted before training. Give one of them."
        )
    if training.contrastive_start != "random":
        if not is_contrastive:
            raise ValueError("contrastive_start is 'correlations' with a weight of 0. Leave contrastive_start out.")
        say(correlate_projections(model, processor, splits["train"], training.device))
    model.config.training_data = describe_training_data(data.data)
    train_paintings, remark = with_prepared_pictures(splits, data, processor.image_processor)
    if remark:
        say(remark)
    trained, total = model.num_parameters(only_trainable=True), model.num_parameters()
    say(f"trainable params: {trained:,} || all params: {total:,} || trainable%: {100 * trained / total:.4f}")
    precision = "bf16" if training.bf16 else "fp32"
    say(f"Precision: {precision}. Device: {training.device}, {training.world_size} process(es).")
    collator = ArtCollator(
        processor,
        tasks,
        modality=data.modality,
        augmentation=data,
        image_dropout=data.image_dropout,
        text_dropout=data.text_dropout,
        keeps_tokens=model.config.reads_tokens,
        finishes_pictures=training.device.type == "cpu",
        recognises_copies=is_contrastive,
    )
    collator.frozen_text, remark = frozen_text(model, processor, {**splits, "train": train_paintings}, data, training)
    say(remark)
    trainer = SemArtTrainer(
        model,
        training,
        processing_class=processor,
        data_collator=collator,
        train_dataset=train_paintings,
        eval_dataset=splits.get("validation"),
    )
    trainer.chosen_fields = chosen
    return trainer


def _start_from(
    tasks: list[Any], arguments: ModelArguments, data: DataArguments, say: Callable[[str], Any], *, contrastive: bool
) -> tuple[SemArtForArtClassification, PreTrainedTokenizerBase]:
    """The published model `init_from` with these tasks, and its tokenizer; another architecture is refused."""
    source = str(arguments.init_from)
    chosen = ("frozen_vision_stages", "trainable_text_layers", "fusion_dropout")
    allowed = {"init_from", "image_size", *chosen}
    changed = [one.name for one in fields(arguments) if getattr(arguments, one.name) != one.default]
    if given := [name for name in changed if name not in allowed]:
        raise ValueError(
            f"The recipe has init_from: {source} and {', '.join(given)}, which the model there brings. Allowed beside "
            f"init_from are image_size, {', '.join(chosen)}. Leave out others."
        )
    options = {name: getattr(arguments, name) for name in chosen} | {"contrastive": contrastive}
    model = SemArtForArtClassification.from_checkpoint(source, tasks, **options, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=data.max_text_length, trust_remote_code=False)
    cfg = model.config.vision_config.pretrained_cfg
    side = cfg.get("input_size", (3, 224, 224))[-1]
    if arguments.image_size not in (None, side):
        if cfg.get("fixed_input_size"):
            raise ValueError(
                f"image_size is {arguments.image_size}, but the tower of {source} is for {side} alone. Leave it out."
            )
        cfg["input_size"] = [3, arguments.image_size, arguments.image_size]
    known = {task["name"]: task["labels"] for task in SemArtConfig.from_pretrained(source).tasks}
    say(f"Start: {source}, every tensor proved.")
    for task in tasks:
        labels, before = task["labels"], known.pop(task["name"], [])
        new = [label for label in labels if label not in before]
        dropped = [label for label in before if label not in labels]
        kept = f"{len(labels) - len(new)} labels from there"
        say(f"  {task['name']}: {kept}, {len(new)} new{_named(new)}, {len(dropped)} dropped{_named(dropped)}")
    if known:
        say(f"  tasks that are dropped: {', '.join(known)}")
    return model, tokenizer


def _named(labels: list[str]) -> str:
    more = ", …" if len(labels) > _NUM_NAMED else ""
    return f" ({', '.join(labels[:_NUM_NAMED])}{more})" if labels else ""


def build_model(
    tasks: list[Any], arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase, *, contrastive: bool = False
) -> SemArtForArtClassification:
    """The model of a recipe, its pretrained towers proved."""
    options = {**vars(arguments), "contrastive": contrastive}
    del options["init_from"]
    vision, text, sizes = options.pop("vision"), options.pop("text"), options.pop("text_args")
    if text is None:
        known: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        known["max_position_embeddings"] = max(512, tokenizer.model_max_length)
        text = DistilBertConfig(**known | (sizes or {}))
    elif sizes:
        raise ValueError(
            f"text_args is given beside text: {text}, whose sizes are its own. Leave it out, or write text: null."
        )
    options["pretrained"] = PRETRAINED_CHOICES[arguments.pretrained]
    model = SemArtForArtClassification.from_towers(vision, text, tasks, **options)
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(f"Got {len(tokenizer)} tokens, but the text tower embeds {vocab_size}. Use its tokenizer.")
    return model


def build_tokenizer(
    paintings: datasets.Dataset | PaintingStream, model_arguments: ModelArguments, data: DataArguments
) -> PreTrainedTokenizerBase:
    """The text tower's own tokenizer, or one that is learned from the training texts where there is no tower."""
    source, max_length = model_arguments.text, data.max_text_length
    if source is None:
        return learn_tokenizer(column_of(paintings, "text"), vocab_size=data.vocab_size, max_length=max_length)
    if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
        raise ValueError(f"text: {source} has no tokenizer.json. Save it there: tokenizer.save_pretrained(folder).")
    return AutoTokenizer.from_pretrained(source, model_max_length=max_length, trust_remote_code=False)


def build_processor(model: SemArtForArtClassification, tokenizer: PreTrainedTokenizerBase) -> SemArtProcessor:
    """The processor that fits the model; texts are never longer than the text tower has positions for."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, most_text_tokens(model.config.text_config))
    return SemArtProcessor(SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer)


def read_ranges(name_or_path: str | Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges of a search by field, `ALLOWED_RANGES` of a YAML file, each checked with the recipe at its ends."""
    ranges = read_recipe(name_or_path)
    for name, values in ranges.items():
        ends = values
        if isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
            ends = [values["low"], values["high"]]
            is_order = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
            if not is_order or ends[0] >= ends[1] or (values.get("log") and ends[0] <= 0):
                ends = []
        if not isinstance(ends, list) or not ends:
            raise ValueError(
                f"{name_or_path} has {name}: {values!r}, but a range is {ALLOWED_RANGES}; low is below high, and "
                "above 0 where log is true. Correct the line."
            )
        for value in ends:
            _arguments({**recipe, name: value})
    return ranges


def tune(
    recipe: Mapping[str, Any], ranges: Mapping[str, Any], folder: Path, num_trials: int, say: Callable[[str], Any]
) -> optuna.Study:
    """The study, when it has `num_trials` trials, each measured by its best validation, with those of before.

    A trial ends early where the median of the others was better. One that fails is kept with its reason.
    """
    import optuna

    training = _arguments(recipe)[2]
    if training.world_size > 1:
        raise ValueError(f"Got {training.world_size} processes, but a search trains in one. Leave out the launcher.")
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{folder / STUDY}"
    direction: Any = "maximize" if training.greater_is_better else "minimize"
    study = optuna.create_study(storage=storage, study_name="search", direction=direction, load_if_exists=True)
    _continue(study, {"recipe": dict(recipe), "ranges": dict(ranges)}, folder, training.seed)

    def objective(trial: optuna.Trial) -> float:
        fields = {name: _suggested(trial, name, values) for name, values in ranges.items()}
        try:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                return _best_of({**recipe, **fields, "output_dir": place}, trial)
        except KeyboardInterrupt:
            study.enqueue_trial(fields)  # optuna takes it for failed
            raise

    def tell(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        result = f"failed: {trial.user_attrs.get('reason')}"
        if trial.state != optuna.trial.TrialState.FAIL:
            is_pruned = trial.state == optuna.trial.TrialState.PRUNED
            result = "given up" if is_pruned else f"{training.metric_for_best_model} {trial.value:.4f}"
        say(f"Trial {trial.number + 1}: {result} ({in_words(trial.params)})")

    states = optuna.trial.TrialState
    is_done = [one.state in (states.COMPLETE, states.PRUNED) or "reason" in one.user_attrs for one in study.trials]
    num_left = max(0, num_trials - sum(is_done))
    study.optimize(objective, num_left, catch=_TrainingFailedError, callbacks=[tell], gc_after_trial=True)
    return study


def best_recipe(study: optuna.Study, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the values of the best trial."""
    import optuna

    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        reasons = {trial.user_attrs.get("reason", trial.state.name) for trial in study.trials}
        raise ValueError(f"None of the trials was completed: {' '.join(sorted(reasons))} Search other ranges.")
    return {**recipe, **study.best_params}


def in_words(fields: Mapping[str, Any]) -> str:
    """`learning_rate 0.00112, loss cross_entropy`: a trial's values."""
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in fields.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _arguments(recipe: Mapping[str, Any]) -> Any:
    alone = {"save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True, "push_to_hub": False}
    return parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), {**recipe, **alone})


def _continue(study: optuna.Study, about: dict[str, Any], folder: Path, seed: int) -> None:
    """Refuse another search's study; what a killed process was trying is tried again."""
    import optuna

    about = json.loads(json.dumps(about))  # as the study's file gives it back
    if any(study.user_attrs.get(name, value) != value for name, value in about.items()):
        raise ValueError(f"Got another recipe or other ranges than the study in {folder}. Give its or another one.")
    for name, value in about.items():
        study.set_user_attr(name, value)
    # Of the same seed, it would try the first values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _suggested(trial: optuna.Trial, name: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high = values["low"], values["high"]
    suggest: Any = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
    return suggest(name, low, high, log=bool(values.get("log")))


def _best_of(recipe: Mapping[str, Any], trial: optuna.Trial) -> float:
    model, data, training = _arguments(recipe)
    splits = load_splits(data, seed=training.seed)
    tasks = splits.tasks or []
    check_metric_name(str(training.metric_for_best_model), tasks, compute_metrics_for(tasks))
    watch = _Watch(trial, training)
    trainer = None
    try:
        trainer = build_trainer(splits, model, data, training, lambda _: None)
        trainer.add_callback(watch)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    except (RuntimeError, ValueError, MemoryError) as error:  # of these values: refused, diverging, too large
        trial.set_user_attr("reason", (str(error).strip() or type(error).__name__).splitlines()[0])
        raise _TrainingFailedError from error
    finally:
        if trainer is not None:
            trainer.accelerator.free_memory()
    if not watch.values:
        raise ValueError(f"No validation gave {training.metric_for_best_model}. Set a validation split to have one.")
    return max(watch.values) if training.greater_is_better else min(watch.values)


class _TrainingFailedError(Exception):
    """A training that was refused or broke off."""


class _Watch(TrainerCallback):
    """Keeps each validation's metric, and ends a trial that the study gives up."""

    def __init__(self, trial: optuna.Trial, training: SemArtTrainingArguments) -> None:
        self.trial, self.training = trial, training
        self.values: list[float] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        import optuna

        name = "eval_" + str(self.training.metric_for_best_model).removeprefix("eval_")
        if name not in metrics:
            return
        self.values.append(metrics[name])
        self.trial.report(metrics[name], len(self.values))
        if self.trial.should_prune():
            raise optuna.TrialPruned
