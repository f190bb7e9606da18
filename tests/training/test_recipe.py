from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from semart_hf.data.data_arguments import DataArguments
from semart_hf.recipes.recipe import ModelArguments, effective_recipe, parse_recipe, read_recipe
from semart_hf.training.arguments import SemArtTrainingArguments

RECIPES = sorted((Path(__file__).parents[2] / "semart_hf" / "recipes").glob("*.yaml"))


@dataclass
class Loop:
    learning_rate: float = field(default=0.1)
    epochs: int = field(default=1)
    shuffle: bool = field(default=True)


def write(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_wins_over_the_recipe_and_has_the_same_numbers(tmp_path):
    recipe = read_recipe(write(tmp_path, "data: here\nlearning_rate: 1e-3\nepochs: 5\nshuffle: true\n"))
    recipe = effective_recipe(recipe, ["--epochs", "7", "--shuffle=false", "--data", "007"])
    data, loop = parse_recipe((DataArguments, Loop), recipe)
    assert (data.data, loop.learning_rate, loop.epochs, loop.shuffle) == ("007", 0.001, 7, False)
    words = ["--learning_rate", "1e-3", "--max_steps", "-1", "--crop_scale", "0.5", "1.0", "--shuffle", "true"]
    expected = {"learning_rate": 0.001, "max_steps": -1, "crop_scale": [0.5, 1.0], "shuffle": True}
    assert effective_recipe({}, words) == expected
    template = "{TITLE}. {DESCRIPTION}"
    assert effective_recipe({}, ["--text_columns", template]) == {"text_columns": [template]}


@pytest.mark.parametrize("word", ["1.10", "1e3", "12e4567", "007", "no", "2020-01-01", "1_000", ".5", "+1"])
def test_a_name_that_looks_like_a_number_stays_a_name(word):
    assert effective_recipe({}, ["--data", word]) == {"data": word}


def test_no_without_quotes_is_a_word(tmp_path):
    """YAML 1.1 reads it as false, which is no strategy."""
    text = f"output_dir: {tmp_path}\neval_strategy: no\nsave_strategy: no\nload_best_model_at_end: no\n"
    recipe = read_recipe(write(tmp_path, text))
    for overrides in ([], ["--eval_strategy", "no"]):
        merged = effective_recipe(recipe, overrides)
        written = write(tmp_path, yaml.safe_dump(merged))
        assert yaml.safe_load(written.read_text())["eval_strategy"] == "no"
        (training,) = parse_recipe((SemArtTrainingArguments,), read_recipe(written))
        assert (training.eval_strategy, training.save_strategy) == ("no", "no")
        assert training.load_best_model_at_end is False


def test_lists_and_tables_are_read_and_null_unsets_a_field_from_both_sides(tmp_path):
    recipe = read_recipe(write(tmp_path, "data: x\ncrop_scale: [0.5, 1]\ntext_args: {dim: 32, n_layers: 2}\n"))
    overrides = ["--tasks", "type", "--text_columns", "TITLE", "AUTHOR"]
    overrides += ["--lr_scheduler_kwargs", '{"min_lr_rate": 1e-1}']
    kinds = (ModelArguments, DataArguments, SemArtTrainingArguments)
    model, data, training = parse_recipe(kinds, effective_recipe(recipe, overrides))
    assert (data.crop_scale, data.tasks, data.text_columns) == ([0.5, 1.0], ["type"], ["TITLE", "AUTHOR"])
    assert (model.text_args, training.lr_scheduler_kwargs) == ({"dim": 32, "n_layers": 2}, {"min_lr_rate": 0.1})
    assert parse_recipe(kinds[2:], {"output_dir": None})[0].output_dir == "outputs/model"
    recipe = read_recipe(write(tmp_path, "text: null\ntrainable_text_layers: 2\n"))
    (model,) = parse_recipe((ModelArguments,), effective_recipe(recipe, ["--trainable_text_layers", "null"]))
    assert model.text is None
    assert model.trainable_text_layers is None


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ({"data": "x", "fusion_dimm": 3}, [], r"that do not exist: 'fusion_dimm' \(did you mean 'fusion_dim'\?\)"),
        ({"data": "x"}, ["stray"], "Unexpected 'stray' on the command line"),
        ({"data": "x", "fusion_dim": "wide"}, [], "a value that cannot be read: argument --fusion_dim.*'wide'"),
        ({"data": "x", "pretrained": "maybe"}, [], "argument --pretrained: invalid choice: 'maybe'"),
        ({"data": "x"}, ["--text_args", "{dim"], "text_args is '{dim', which is not a table"),
        ({"data": "x", "text_args": "dim"}, [], "argument --text_args.*invalid dict value: 'dim'"),
        ({}, [], "The recipe names no data"),
        ({"data": "x", "vision": None}, [], "vision is null, but it needs a value. Leave it out"),
        ({"data": "x", "fusion_dim": {"a": 1}}, [], r"fusion_dim is {'a': 1}, but only one value is allowed"),
        ({"data": "x", "tasks": {"a": 1}}, [], r"tasks is {'a': 1}, but only a list of one or more is allowed"),
        ({"data": "x"}, ["--vision", "a", "b"], r"vision is \['a', 'b'\], but only one value is allowed"),
        ({"data": "x", "crop_scale": [1]}, [], r"crop_scale is \[1.0\]. Give two numbers, smallest <= largest"),
        ({"data": "x", "crop_scale": [0, 0]}, [], r"crop_scale is \[0.0, 0.0\], but a number must be above 0"),
        ({"data": "x", "fusion_dim": 0}, [], "fusion_dim is 0, but a number must be 1 or more"),
        ({"data": "x", "vocab_size": 20}, [], "vocab_size is 20, but a number must be 100 or more"),
        ({"data": "x", "image_dropout": float("nan")}, [], "image_dropout is nan, but a number must be from 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(recipe, overrides, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe((ModelArguments, DataArguments), effective_recipe(recipe, overrides))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: 1\na: 2", "more than once"), ("data: [", "valid YAML"), ("- a", "holds list"), ("", "holds NoneType")],
)
def test_a_malformed_recipe_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(write(tmp_path, text))
    with pytest.raises(ValueError, match="There is no recipe"):
        read_recipe(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses(path, tmp_path):
    recipe = {**read_recipe(path), "output_dir": str(tmp_path)}
    model, data, training = parse_recipe((ModelArguments, DataArguments, SemArtTrainingArguments), recipe)
    for arguments in (model, data, training):
        for name, value in recipe.items():
            if hasattr(arguments, name) and isinstance(value, int | float | str | list):
                assert getattr(arguments, name) == value or str(getattr(arguments, name)) == str(value).lower(), name
