import json

import pytest
import torch
from small_recipe import small_recipe

from semart_hf.cli import train
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.rows import labels_per_task
from semart_hf.recipes.recipe import ModelArguments, effective_recipe, with_fields_by_labels
from semart_hf.training.arguments import SemArtTrainingArguments

TABLE = {"10": {"fusion_dim": 7, "num_train_epochs": 2}, "200": {"num_train_epochs": 5, "crop_scale": [0.5, 1]}}


def chosen(num_labels, table=TABLE):
    training = SemArtTrainingArguments(from_labels=table, num_train_epochs=1)
    found = with_fields_by_labels((ModelArguments(), DataArguments(data="here"), training), num_labels)
    assert training.num_train_epochs == 1  # the caller's stay
    return found


@pytest.mark.parametrize(
    ("num_labels", "fields"),
    [(9, (512, 1, [1.0, 1.0])), (10, (7, 2, [1.0, 1.0])), (199, (7, 2, [1.0, 1.0])), (1200, (7, 5, [0.5, 1.0]))],
)
def test_the_fields_are_those_of_the_largest_number_that_is_reached(num_labels, fields):
    (model, data, training), sentence = chosen(num_labels)
    assert (model.fusion_dim, training.num_train_epochs, list(data.crop_scale)) == fields
    assert sentence.startswith(f"{num_labels:,d} labels a task")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"many": {}}, "from_labels has many"),
        ({"10": 3}, "from_labels has 10: 3"),
        ({"10": {"text_columns": ["TITLE"]}}, "fields other than"),
        ({"10": {"fusion_dims": 3}}, "did you mean 'fusion_dim'"),
        ({"10": {"fusion_dropout": "much"}}, "cannot be read"),
        ({"10": {"save_strategy": "no"}}, "from_labels has 10: {'save_strategy': 'no'}, with which the recipe is ref"),
    ],
)
def test_entries_are_checked_whether_they_are_chosen_or_not(table, message):
    with pytest.raises(ValueError, match=message):
        chosen(0, table)


def test_what_follows_from_a_field_follows_and_the_recipe_is_checked_as_a_whole():
    fields = {"metric_for_best_model": "loss", "eval_strategy": "steps", "dataloader_num_workers": 2}
    table = {5: fields, 9: {"save_steps": 3}}
    training = SemArtTrainingArguments(load_best_model_at_end=False, logging_steps=7, from_labels=table)
    training.output_dir = "elsewhere"
    (_, _, found), _ = with_fields_by_labels((ModelArguments(), DataArguments(data="here"), training), 9)
    assert (found.greater_is_better, found.eval_steps, found.save_steps) == (False, 7, 3)
    assert (found.dataloader_persistent_workers, found.output_dir) == (True, "elsewhere")


def test_labels_are_counted_over_tasks_and_the_command_line_wins():
    tasks = [{"name": "type", "labels": ["a", "b"]}, {"name": "tags", "labels": ["x", "y"], "kind": "multi_label"}]
    rows = [{"type": "a", "tags": ["x"]}, {"type": None, "tags": []}, {"type": "b", "tags": None}]
    assert labels_per_task(rows, tasks) == 2
    recipe = effective_recipe({"from_labels": TABLE}, ["--num_train_epochs", "3"])
    assert recipe["from_labels"] == {"10": {"fusion_dim": 7}, "200": {"crop_scale": [0.5, 1]}}


def test_a_run_tells_what_was_chosen(small_release, tmp_path, capsys):
    network = {"probe_share": 0.5, "text_pooling": "mean", "head_init": "random", "num_train_epochs": 1}
    fields = {"text_lexicon": True, "trainable_text_layers": 0, "head_init": "logistic_regression"}
    fields |= {"num_train_epochs": 0, "fusion_dim": 64, "from_labels": {"10": network, "9000": {"fusion_dim": 8}}}
    fields |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    path = tmp_path / "recipe.yaml"
    path.write_text(small_recipe(data=small_release, **fields))
    train.main([str(path), "--output_dir", str(tmp_path / "model")])
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    sentence = results["training"]["chosen"]
    assert sentence.endswith("labels a task: of the recipe's fields, those from 10 on")
    assert sentence in capsys.readouterr().out
    assert json.loads((tmp_path / "model" / "config.json").read_text())["probe_share"] == 0.5
    assert results["training"]["epochs"] == 1
    assert torch.isfinite(torch.tensor(results["mean_accuracy"]))
