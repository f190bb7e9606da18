"""One training by a recipe, on rows that lie ready, through the Trainer that scripts/train.py uses."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.sources import shown_rows
from semart_hf.evaluation.metrics import score_outcomes
from semart_hf.evaluation.results import collect_outcomes, describe_environment
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_trainer
from semart_hf.training.recipe import ModelArguments, parse_recipe, read_recipe

if TYPE_CHECKING:
    import datasets

    from semart_hf.training.trainer import SemArtTrainer

RECIPES = Path(__file__).resolve().parents[2] / "semart_hf" / "recipes"
# The rows are given: nothing else is read from where they came from.
IN_PROCESS = {"disable_tqdm": True, "report_to": "none", "dataloader_num_workers": 0, "prepare": False}
# Without rows to choose a checkpoint by, the last weights are the result.
WITHOUT_VALIDATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def train_and_score(
    recipe: str, fields: Mapping[str, Any], splits: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """Scores on `test` of a model trained on `train`, by modality, the training's `seconds`, and the `commit`."""
    with trained(recipe, fields, splits, **options) as (trainer, test, about):
        outcomes = collect_outcomes(
            trainer.model, trainer.processing_class, test, batch_size=trainer.args.per_device_eval_batch_size
        )
    return about | {name: brief(score_outcomes(found)) for name, found in outcomes.items()}


@contextlib.contextmanager
def trained(
    recipe: str, fields: Mapping[str, Any], splits: Mapping[str, Any], *, uses_techniques: bool = True
) -> Iterator[tuple[SemArtTrainer, datasets.Dataset, dict[str, Any]]]:
    """The trainer after its training, the test rows as the model is shown them, and the training's seconds and commit.

    `fields` win over the recipe's own. `splits` are `train` and `test`, and `validation` if it is to choose the
    checkpoint. Without `uses_techniques` the trainer's list of techniques is empty. What was written is removed at the
    end of the block.
    """
    with tempfile.TemporaryDirectory() as folder:
        choice = {} if "validation" in splits else WITHOUT_VALIDATION
        wanted = {**read_recipe(RECIPES / recipe), **IN_PROCESS, **choice, **fields, "output_dir": folder}
        model, data, training = parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), wanted)
        # Of the training rows the collator shows what is to be shown.
        rows = {
            name: shown_rows(split, "image+text" if name == "train" else data.modality)
            for name, split in splits.items()
        }
        test = rows.pop("test")
        with contextlib.redirect_stdout(io.StringIO()):  # the Trainer prints its log where it has no progress bar
            trainer = build_trainer(rows, model, data, training, say=lambda _: None)
            if not uses_techniques:
                trainer.techniques = ()
            start = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - start
        yield trainer, test, {"seconds": round(seconds, 1), "commit": describe_environment().get("commit")}


def brief(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy and macro-F1 of each task that has a known label, and their means, of what `score_outcomes` gives.

    Where paintings are dated, their mean absolute error in periods is with them.
    """
    tasks = {
        name: {"accuracy": task["accuracy"], "macro_f1": task["macro_f1"]}
        for name, task in scores["tasks"].items()
        if task["num_rows"]
    }
    found = {"tasks": tasks, "mean_accuracy": scores["mean_accuracy"], "mean_macro_f1": scores["mean_macro_f1"]}
    error = "mean_absolute_error_periods"
    dated = [task[error] for task in scores["tasks"].values() if task.get(error) is not None]
    return found | ({error: dated[0]} if dated else {})
