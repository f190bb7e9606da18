import pytest
import yaml
from small_recipe import small_recipe
from small_trainer import make_model, make_trainer, parts_of
from warm_python import Python, run_python

from semart_hf.cli.tune import main
from semart_hf.recipes.recipe import read_recipe
from semart_hf.training import tuning
from semart_hf.training.tuning import best_recipe, read_ranges, tune

optuna = pytest.importorskip("optuna")

SEARCH = """
learning_rate: {low: 1.0e-6, high: 1.0e-1, log: true}
frozen_vision_stages: {low: 0, high: 3}
loss: [cross_entropy, logit_adjusted]
"""


@pytest.fixture(scope="module")
def folder(small_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    fields = {"num_train_epochs": 2, "max_train_rows": 32, "per_device_train_batch_size": 16, "precision": "fp32"}
    (folder / "recipe.yaml").write_text(small_recipe(data=small_release, **fields))
    (folder / "search.yaml").write_text(SEARCH)
    return folder


def words_of(folder, trials):
    words = ["-m", "semart_hf.cli", "tune", folder / "recipe.yaml", "--search", folder / "search.yaml"]
    return [*words, "--trials", trials, "--output_dir", folder]


def trials_of(folder):
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.sqlite3'}").trials


def test_a_search_that_was_killed_goes_on_and_ends_with_its_best_recipe(folder):
    def has_begun():
        return (folder / "study.sqlite3").exists() and "Trial 2" in (folder / "log").read_text()

    with Python(*words_of(folder, 4), output=folder / "log") as killed:
        killed.wait_until(has_begun)
        killed.signal(9)
        killed.process.join()
    before = [trial.params for trial in trials_of(folder) if trial.value is not None]
    run_python(*words_of(folder, 4), logs=folder)
    finished = [trial for trial in trials_of(folder) if trial.value is not None or trial.state.name == "PRUNED"]
    assert len(finished) == 4
    assert [trial.params for trial in finished][: len(before)] == before
    complete = [trial for trial in finished if trial.state.name == "COMPLETE"]
    best = max(complete, key=lambda trial: trial.value)
    recipe = read_recipe(folder / "best.yaml")
    assert {name: recipe[name] for name in best.params} == best.params
    assert recipe["fusion_dim"] == 32
    assert "learning_rate" in (folder / "search.svg").read_text()
    assert len({str(trial.params) for trial in finished}) == 4  # what was tried before is not tried again
    tried = len(trials_of(folder))
    run_python(*words_of(folder, 3), logs=folder)  # nothing is left to do
    assert len(trials_of(folder)) == tried


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("learning_rate: {low: 1, high: 0.1}", "low is below high"),
        ("learning_rate: {low: 0, high: 0.1, log: true}", "above 0 where log is true"),
        ("learning_rate: {smallest: 1}", "a range is"),
        ("learnin_rate: [1, 2]", "did you mean 'learning_rate'"),
        ("frozen_vision_stages: [deep]", "frozen_vision_stages"),
        ("loss: []", "a range is"),
    ],
)
def test_ranges_are_checked_before_anything_begins(folder, tmp_path, search, message):
    (tmp_path / "search.yaml").write_text(search)
    words = ["--search", str(tmp_path / "search.yaml"), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=message):
        main([str(folder / "recipe.yaml"), *words])
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_folder_is_refused_and_the_ranges_of_the_package_suit_its_recipes(folder, tmp_path):
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert not tune(recipe, {"learning_rate": [1e-3]}, tmp_path, 0, print).trials
    with pytest.raises(ValueError, match="another recipe or other ranges"):
        tune(recipe, {"learning_rate": [1e-2]}, tmp_path, 0, print)
    never = recipe | {"eval_strategy": "no"}
    with pytest.raises(ValueError, match=r"No validation gave mean_macro_f1, .*Set eval_strategy: epoch"):
        tune(never, {"learning_rate": [1e-3]}, tmp_path / "never", 1, print)
    recipe = read_recipe(folder / "recipe.yaml")
    assert "learning_rate" in read_ranges("search/default", recipe)


def test_what_an_interrupted_search_was_trying_is_tried_again(folder, tmp_path, monkeypatch):
    tried = []

    def interrupted(recipe, trial):
        tried.append(recipe["learning_rate"])
        if len(tried) == 1:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(tuning, "_best_of", interrupted)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"from_labels": {"1": {"learning_rate": 9.0}}}
    search = recipe, {"learning_rate": {"low": 1e-5, "high": 1e-2}}
    with pytest.raises(KeyboardInterrupt):
        tune(*search, tmp_path, 1, print)
    study = tune(*search, tmp_path, 1, print)
    assert (study.best_value, best_recipe(study, recipe)["from_labels"]) == (0.5, {"1": {}})
    assert len(tried) == 2
    assert tried[0] == tried[1]


def test_the_trainers_own_search_works(small_release, tmp_path):
    parts = parts_of(small_release)
    options = {"num_train_epochs": 1, "save_strategy": "no", "load_best_model_at_end": False}
    options |= {"metric_for_best_model": "loss", "model_init": lambda trial=None: make_model(parts)}
    trainer = make_trainer(parts, tmp_path, **options)
    space = {"learning_rate": [1e-9, 1e-2], "logit_adjustment_tau": [0.25], "ema_decay": [0.5]}
    first = trainer.model
    best = trainer.hyperparameter_search(
        lambda trial: {name: trial.suggest_categorical(name, values) for name, values in space.items()},
        n_trials=2,
        sampler=optuna.samplers.GridSampler(space),
    )
    assert best.hyperparameters == {"learning_rate": 1e-2, "logit_adjustment_tau": 0.25, "ema_decay": 0.5}
    assert trainer.objective == trainer.state.log_history[-2]["eval_loss"]
    assert (trainer.args.logit_adjustment_tau, trainer.args.ema_decay, trainer.model is first) == (0.25, 0.5, False)
    with pytest.raises(ValueError, match="Got direction='maximize', but loss is to minimize"):
        trainer.hyperparameter_search(direction="maximize")
    assert trainer.args.learning_rate in {group["initial_lr"] for group in trainer.optimizer.param_groups}
