"""A search by optuna for a recipe's best values: each trial is a training, and the study goes on from its file."""

import gc
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from transformers import IntervalStrategy, PrinterCallback, TrainerCallback

from semart_hf.data.loading import load_splits
from semart_hf.evaluation.scores import check_metric_name, compute_metrics_for
from semart_hf.recipes.recipe import read_recipe, with_fields

from .arguments import SemArtTrainingArguments
from .building import build_trainer, read_arguments

ALLOWED_RANGES = "{low: 1e-4, high: 1e-2, log: true}, {low: 0, high: 3}, or a list of values"


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
            _arguments(with_fields(recipe, {name: value}))
    return ranges


def tune(
    recipe: Mapping[str, Any], ranges: Mapping[str, Any], folder: Path, num_trials: int, say: Callable[[str], Any]
) -> optuna.Study:
    """The study, when it has `num_trials` trials, each measured by its best validation, with those of before.

    A trial ends early where the median of the others was better. One that fails is kept with its reason.
    """
    training = _arguments(recipe)[2]
    if training.world_size > 1:
        raise ValueError(f"Got {training.world_size} processes, but a search trains in one. Leave out the launcher.")
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{folder / 'study.sqlite3'}"
    direction: Any = "maximize" if training.greater_is_better else "minimize"
    study = optuna.create_study(storage=storage, study_name="search", direction=direction, load_if_exists=True)
    _continue(study, {"recipe": dict(recipe), "ranges": dict(ranges)}, folder, training.seed)
    space = {name: _distribution(values) for name, values in ranges.items()}
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    is_done = [trial.state in ended or "reason" in trial.user_attrs for trial in study.trials]
    for _ in range(num_trials - sum(is_done)):
        trial = study.ask(space)
        try:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                value = _best_of(with_fields(recipe, {**trial.params, "output_dir": place}), trial)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            result = "given up"
        except Exception:  # unforeseen: unlike one that was interrupted, it is not tried again
            study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            study.tell(trial, value, TrialState.FAIL if value is None else None)
            metric = training.metric_for_best_model
            result = f"failed: {trial.user_attrs['reason']}" if value is None else f"{metric} {value:.4f}"
        params = trial.params.items()
        shown = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in params]
        say(f"Trial {trial.number + 1}: {result} ({', '.join(shown)})")
        gc.collect()  # a model refers to itself
    return study


def best_recipe(study: optuna.Study, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the values of the best trial."""
    if not study.get_trials(states=[TrialState.COMPLETE]):
        reasons = {trial.user_attrs.get("reason", trial.state.name) for trial in study.trials}
        raise ValueError(f"None of the trials was completed: {' '.join(sorted(reasons))} Search other ranges.")
    return with_fields(recipe, study.best_params)


def _arguments(recipe: Mapping[str, Any]) -> Any:
    alone = {"save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True, "push_to_hub": False}
    return read_arguments(with_fields(recipe, alone))


def _continue(study: optuna.Study, about: dict[str, Any], folder: Path, seed: int) -> None:
    """Refuse another search's study; what a killed process was trying is tried again."""
    about = json.loads(json.dumps(about))  # as the study's file gives it back
    if any(study.user_attrs.get(name, value) != value for name, value in about.items()):
        raise ValueError(f"Got another recipe or other ranges than the study in {folder}. Give its or another one.")
    for name, value in about.items():
        study.set_user_attr(name, value)
    # Of the same seed, it would try the first values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _distribution(values: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution(values)
    kind: Any = IntDistribution if all(isinstance(values[end], int) for end in ("low", "high")) else FloatDistribution
    return kind(values["low"], values["high"], log=bool(values.get("log")))


def _best_of(recipe: Mapping[str, Any], trial: optuna.Trial) -> float | None:
    """The metric of a trial's best validation; `None` where the training failed, for the trial's `reason`."""
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
        if trainer.args.eval_strategy != IntervalStrategy.NO:
            trainer.train()
    except (RuntimeError, ValueError, MemoryError) as error:  # of these values: refused, diverging, too large
        trial.set_user_attr("reason", (str(error).strip() or type(error).__name__).splitlines()[0])
        return None
    finally:
        if trainer is not None:
            trainer.accelerator.free_memory()
    if not watch.values:
        advice = "Set eval_strategy: epoch, or steps so few that a trial has them."
        raise ValueError(f"No validation gave {training.metric_for_best_model}, which a search compares. {advice}")
    return max(watch.values) if training.greater_is_better else min(watch.values)


class _Watch(TrainerCallback):
    """Keeps each validation's metric, and ends a trial that the study gives up."""

    def __init__(self, trial: optuna.Trial, training: SemArtTrainingArguments) -> None:
        self.trial, self.training = trial, training
        self.values: list[float] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        value = metrics["eval_" + str(self.training.metric_for_best_model).removeprefix("eval_")]
        self.values.append(value)
        self.trial.report(value, len(self.values))
        if self.trial.should_prune():
            raise optuna.TrialPruned
