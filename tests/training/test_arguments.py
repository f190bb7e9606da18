import doctest
import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import render_docs
import torch
from small_trainer import make_trainer
from transformers import TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.streaming import PaintingStream
from semart_hf.recipes import recipe
from semart_hf.recipes.recipe import LearningArguments, ModelArguments, read_recipe
from semart_hf.training import arguments, losses
from semart_hf.training.arguments import NOTES, REFUSED, SemArtTrainingArguments, field_rows
from semart_hf.training.trainer import SemArtTrainer

# ruff: noqa: SIM905  a list of them has a line for each
# Fields that do what the documentation of transformers says.
OBEYED = frozenset(
    """
    per_device_train_batch_size per_device_eval_batch_size num_train_epochs max_steps gradient_accumulation_steps
    learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon
    max_grad_norm optim_args tf32 torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps
    auto_find_batch_size activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
    gradient_checkpointing_kwargs logging_strategy logging_first_step log_on_each_node log_level log_level_replica
    disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id eval_steps
    eval_delay eval_on_start eval_use_gather_object eval_accumulation_steps save_steps save_on_each_node
    save_only_model push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push
    hub_revision ignore_data_skip restore_callback_states_from_checkpoint full_determinism seed data_seed
    dataloader_pin_memory dataloader_prefetch_factor dataloader_multiprocessing_context ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config skip_memory_metrics
    resume_from_checkpoint local_rank
    """.split()
)
# Fields that say where data lies, how it is read and kept, and for how long; not what is learned.
OPERATION = {
    "prepared_size", "streaming", "epoch_length", "shuffle_buffer", "tasks", "max_train_rows",
    "follow_links", "cache_frozen_text", "text_cache_dtype", "text_cache_dir", "early_stopping_patience",
    "keep_freed_memory", "prepare",
}  # fmt: skip


def make(tmp_path, **options):
    return SemArtTrainingArguments(output_dir=str(tmp_path), **{"report_to": "none", **options})


def test_every_field_of_the_library_is_in_one_table_and_those_obeyed_keep_their_defaults(tmp_path):
    treated = {name: treatment for name, treatment, _ in field_rows() if treatment != "as in transformers"}
    tables = [*OBEYED, *treated]
    assert treated.keys() >= {*NOTES, *REFUSED}
    assert sorted(tables) == sorted(field.name for field in fields(TrainingArguments))
    assert [name for name, _, _ in field_rows()] == [field.name for field in fields(TrainingArguments)]
    library = TrainingArguments(output_dir=str(tmp_path), use_cpu=not torch.accelerator.is_available())
    ours = make(tmp_path)
    assert {name: getattr(ours, name) for name in OBEYED} == {name: getattr(library, name) for name in OBEYED}


def test_every_field_of_ours_is_in_a_recipe_and_the_page_of_recipes_is_up_to_date():
    recipes = [read_recipe(path) for path in recipe.RECIPES.glob("*.yaml")]
    recipes += [fields for one in recipes for fields in one.get("from_labels", {}).values()]
    used = {name for one in recipes for name in one}
    own = {f.name for kind in (ModelArguments, DataArguments, LearningArguments) for f in fields(kind)}
    assert own - used == OPERATION
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert render_docs.with_recipes(page) == page


NO_EVALUATION = {"eval_strategy": "no", "load_best_model_at_end": False}
# Most of these would train on with a negative number, uphill or without an effect.
NEVER_NEGATIVE = (
    *("learning_rate", "vision_learning_rate", "text_learning_rate", "lexicon_learning_rate", "lexicon_penalty"),
    *("weight_decay", "max_grad_norm", "logging_steps", "save_steps", "eval_steps", "adam_beta1", "adam_epsilon"),
    *("dataloader_num_workers", "save_total_limit", "early_stopping_patience", "warmup_steps"),
)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_field_without_effect_is_refused_by_name(tmp_path, name):
    allowed, advice = REFUSED[name]
    other = {"no": "all", None: {"key": 1}}.get(allowed, not allowed) if allowed != [] else ["inputs"]
    with pytest.raises(ValueError, match=rf"^{name} is .* is allowed here\. ") as raised:
        make(tmp_path, **{name: other})
    assert advice in str(raised.value)
    make(tmp_path, **{name: allowed})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim": "lomo"}, r"optim is 'lomo', which makes parameter groups .* Choose among \['adamw_torch'"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0, but a number must be 1 or more"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0 and max_steps -1, which would have no step"),
        ({"prediction_loss_only": True}, "prediction_loss_only is true, but validations are compared by mean_mac"),
        ({**NO_EVALUATION, "do_eval": True}, "do_eval is true, but eval_strat"),
        ({**NO_EVALUATION, "early_stopping_patience": 2}, "early_stopping_patience is 2, but eval_strategy is no"),
        ({"precision": "fp8"}, "precision is 'fp8', but it must be one of"),
        ({"head_init": "linear"}, "head_init is 'linear', but it must be one of"),
        ({"contrastive_start": "correlation"}, "contrastive_start is 'correlation', but it must be one of"),
        ({"bf16": False, "precision": "bf16"}, r"Got different precisions: {'precision': 'bf16', 'bf16': 'fp32'}"),
        ({"bf16": True, "precision": "fp32"}, "Got different precisions"),
        ({"loss": {"type": 3}}, "The loss of type is '3'"),
        *(({name: -1.0}, f"{name} is -1.0, but a number must be") for name in NEVER_NEGATIVE),
        *(({name: math.nan}, f"{name} is nan, but a number must be") for name in NEVER_NEGATIVE),
        ({"ema_decay": 1.0}, "ema_decay is 1.0, but a number must be from 0 to below 1"),
    ],
)
def test_what_would_end_a_run_later_is_refused_at_the_start(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)


@pytest.mark.parametrize(
    ("bf16", "precision", "expected"),
    [(False, "auto", False), (True, "auto", True), (None, "bf16", True), (None, "fp32", False), (None, "auto", True)],
)
def test_the_precision_is_the_one_that_was_asked_for(tmp_path, multiplies_in_bf16, bf16, precision, expected):
    found = make(tmp_path, bf16=bf16, precision=precision)
    assert found.bf16 is expected
    assert replace(found).bf16 is SemArtTrainingArguments(**found.to_dict()).bf16 is expected


def test_the_launchers_precision_is_obeyed_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert make(tmp_path).bf16
    with pytest.raises(ValueError, match=r"Got different precisions: .*the launcher's --mixed_precision"):
        make(tmp_path, precision="fp32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ValueError, match="The launcher asks for mixed precision 'fp16'"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("metric", "is_better"),
    [("mean_macro_f1", True), ("loss", False), ("eval_type_log_loss", False), ("type_brier", False)],
)
def test_which_metric_is_better_is_said_by_its_name(tmp_path, metric, is_better):
    assert make(tmp_path, metric_for_best_model=metric).greater_is_better is is_better
    assert make(tmp_path, metric_for_best_model=metric, greater_is_better=True).greater_is_better


def first_rows(trainer):
    return next(iter(trainer.get_train_dataloader()))["row_index"].tolist()


def test_rows_come_in_the_order_that_is_asked_for(parts, tmp_path):
    assert first_rows(make_trainer(parts, tmp_path, train_sampling_strategy="sequential")) == list(range(8))
    assert first_rows(make_trainer(parts, tmp_path)) != list(range(8))
    splits, *rest = parts
    train = splits["train"].select(range(64)).add_column("words", [row * 7 % 64 for row in range(64)])
    texts = [len(text or "") for text in train["text"]]
    for column, lengths in (("length", texts), ("words", train["words"][:])):
        options = {"train_sampling_strategy": "group_by_length", "length_column_name": column, "num_rows": 64}
        trainer = make_trainer(({**splits, "train": train}, *rest), tmp_path, **options)
        rows = [batch["row_index"].tolist() for batch in trainer.get_train_dataloader()]
        generator = torch.Generator().manual_seed(trainer.args.seed * 1_000_003)
        order = get_length_grouped_indices(lengths, 8, generator=generator)
        assert [row for batch in rows for row in batch] == order
    arguments, stream = SimpleNamespace(train_sampling_strategy="sequential"), PaintingStream.__new__(PaintingStream)
    with pytest.raises(ValueError, match="train_sampling_strategy is 'sequential', but a stream's rows come shuffled"):
        SemArtTrainer._own_batches(SimpleNamespace(args=arguments, train_dataset=stream, _train_batch_size=8))


def test_an_epoch_without_a_step_is_refused_and_validation_reads_every_row(parts, tmp_path):
    with pytest.raises(ValueError, match=r"no step: 32 training rows, .* Set dataloader_drop_last: false"):
        make_trainer(parts, tmp_path, max_steps=5, per_device_train_batch_size=40, dataloader_drop_last=True)
    trainer = make_trainer(parts, tmp_path, dataloader_drop_last=True, per_device_eval_batch_size=100)
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader()) == len(parts[0]["validation"])
    trainer = make_trainer(parts, tmp_path, train_sampling_strategy="group_by_length", per_device_eval_batch_size=5)
    labels = torch.cat([batch["labels"][:, 0] for batch in trainer.get_eval_dataloader()])
    assert labels.tolist() == [-100 if label is None else label for label in parts[0]["validation"]["type"]]
    assert trainer.args.train_sampling_strategy == "group_by_length"
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader(trainer.train_dataset)) == 32


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"])
def test_every_usual_optimiser_takes_the_groups(parts, tmp_path, optim):
    trainer = make_trainer(parts, tmp_path, optim=optim, vision_learning_rate=1e-4, text_learning_rate=5e-5)
    groups = trainer.create_optimizer().param_groups
    assert [group["name"] for group in groups] == ["vision", "vision", "text", "text", "new", "new"]
    assert [group["lr"] for group in groups] == [1e-4, 1e-4, 5e-5, 5e-5, 3e-3, 3e-3]
    learning = sum(parameter.requires_grad for parameter in trainer.model.parameters())
    assert sum(len(group["params"]) for group in groups) == learning


@pytest.mark.parametrize("lives_on", [True, False])
def test_workers_live_as_long_as_is_asked_for(parts, tmp_path, lives_on):
    options = {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "fork"}
    trainer = make_trainer(parts, tmp_path, dataloader_persistent_workers=lives_on, **options)
    loader = trainer.get_train_dataloader()
    assert loader.persistent_workers is lives_on
    assert loader.multiprocessing_context.get_start_method() == "fork"
    assert not trainer.get_eval_dataloader().persistent_workers


@pytest.mark.parametrize("module", [arguments, losses, recipe])
def test_the_examples_are_right(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(module).failed == 0
