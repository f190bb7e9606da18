import errno
import json
import shutil

import pytest
import yaml
from release_builder import contents
from small_recipe import small_recipe
from small_trainer import make_trainer

from semart_hf.cli import train
from semart_hf.files import _acquired
from semart_hf.model import pipeline_semart
from semart_hf.training import run_folder
from semart_hf.training.resumable_trainer import ResumableTrainer
from semart_hf.training.run_folder import RunPlan, checkpoints_of, mark_whole, plan_run, remove_own

FIELDS = {"vision": "test_vit", "prepare": False, "max_train_rows": 12, "max_steps": 3, "disable_tqdm": True}
FIELDS |= {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": False}
FIELDS["per_device_train_batch_size"] = 4
EVERY_STEP = ["--eval_strategy", "steps", "--eval_steps", "1"]


@pytest.fixture(scope="module")
def command(small_release, tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.write_text(small_recipe(data=small_release, **FIELDS))
    return lambda folder, *words: train.main([str(recipe), "--output_dir", str(folder), *words])


class Killed(BaseException):
    pass


def killed(monkeypatch, step, command, *words):
    """Give a command that is killed where it would save this step."""
    real = ResumableTrainer._save_checkpoint

    def save(self, *args):
        if self.state.global_step == step:
            raise Killed
        real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableTrainer, "_save_checkpoint", save)
        with pytest.raises(Killed):
            command(*words)


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    """A finished run's folder, with somebody's own files in it."""
    folder = tmp_path_factory.mktemp("runs") / "model"
    command(folder)
    files = {"config.json", "model.safetensors", "results.json", "recipe.yaml", "training_curves.png"}
    assert files <= contents(folder).keys()
    for name in ("my_notes.txt", "checkpoint-3/also_mine.txt", "README.md"):
        (folder / name).write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "/nowhere/SemArt"], "/nowhere/SemArt"),
        (["--vision", "resnet_18"], "Unknown vision tower 'resnet_18'"),
        (["--tasks", "type", "style"], "Got the task style, with labels in the column 'style'. Allowed are"),
        (["--learning_rat", "1"], r"'learning_rat' \(did you mean 'learning_rate'\?\)"),
        (["--loss", "focl"], "focl"),
        (["--metric_for_best_model", "typo", "--load_best_model_at_end", "true", *EVERY_STEP], "typo"),
        (["--per_device_train_batch_size", "99", "--dataloader_drop_last", "true"], "would have no step"),
        (["--resume_from_checkpoint", "/nowhere/checkpoint-3"], "/nowhere/checkpoint-3"),
        (["--max_steps", "0"], "would have no step"),
    ],
)
def test_nothing_is_touched_before_everything_was_checked(command, finished, tmp_path, words, message):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(SystemExit, match=message):
        command(finished, "--overwrite_output_dir", "true", *words)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert sorted(path.name for path in finished.parent.iterdir()) == ["model"]
    with pytest.raises(SystemExit, match=message):
        command(tmp_path / "runs" / "new", *words)
    assert not contents(tmp_path)
    assert not (tmp_path / "runs" / "new").exists()


def test_a_new_run_takes_the_place_of_the_old_one_when_it_is_finished(command, finished, monkeypatch, capsys):
    before = (finished / "model.safetensors").read_bytes()
    words = ["--overwrite_output_dir", "true", "--seed", "7"]
    killed(monkeypatch, 3, command, finished, *words)
    assert (finished / "model.safetensors").read_bytes() == before
    assert (finished / "my_notes.txt").read_text() == "mine"
    new = finished.with_name(".model.new")
    assert [path.name for path in checkpoints_of(new)] == ["checkpoint-2", "checkpoint-1"]
    with monkeypatch.context() as patch:
        patch.setattr(run_folder.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):  # after everything is in its place
            command(finished, *words)
    assert f"Continuing from {new / 'checkpoint-2'}" in capsys.readouterr().out
    command(finished, *words)
    assert (finished / "model.safetensors").read_bytes() != before
    assert yaml.safe_load((finished / "recipe.yaml").read_text())["seed"] == 7
    assert json.loads((finished / "results.json").read_text())["model"] == str(finished)
    assert {"my_notes.txt", "README.md", "checkpoint-3/also_mine.txt"} <= contents(finished).keys()
    assert [path.name for path in finished.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("point", ["recipe", "model", "results"])
def test_a_full_disk_is_one_sentence(command, tmp_path, monkeypatch, point):
    def fail(*args, **kwargs):
        for place in args[2:]:  # the model's, where half of it is by then
            place.mkdir(exist_ok=True)
            (place / "config.json").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    points = {"recipe": (run_folder, "write_recipe"), "model": (pipeline_semart, "save_repository")}
    owner, name = points.get(point, (train, "write_json"))
    folder = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(SystemExit, match=r"disk is full \(\d+ MiB free\): .*The last whole checkpoint is kept"):
            command(folder)
    assert not list(tmp_path.rglob("*.unfinished"))
    assert (folder / "config.json").exists() == (point == "results")
    command(folder)
    assert json.loads((folder / "results.json").read_text())["training"]["epochs"] == 1


def test_two_runs_in_one_folder_are_refused(command, parts, tmp_path, monkeypatch):
    monkeypatch.setattr("semart_hf.files.LOCK_SECONDS", 0.1)
    folder = tmp_path / "model"
    with _acquired(tmp_path / ".model.lock", tmp_path, 0):
        with pytest.raises(SystemExit, match=r"Another process is at work in .*model: "):
            command(folder)
        assert not folder.exists()
        with pytest.raises(ValueError, match="Another process is at work"):
            make_trainer(parts, folder, max_steps=1).train()


@pytest.fixture
def folder(tmp_path):
    checkpoint = tmp_path / "run" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    mark_whole(checkpoint)
    return tmp_path / "run"


def test_the_same_recipe_continues_another_is_refused_and_a_finished_model_is_kept(folder):
    (folder / "recipe.yaml").write_text("data: a\nseed: 1\n")
    recipe = {"data": "a", "seed": 1}
    assert plan_run(folder, recipe).checkpoint == folder / "checkpoint-2"
    may_overwrite = plan_run(folder, {**recipe, "overwrite_output_dir": True}, overwrite=True)
    assert (may_overwrite.folder, may_overwrite.checkpoint) == (folder, folder / "checkpoint-2")
    other = r"unfinished run of another recipe: \{'seed': '1 then, 2 now'\}.*same recipe"
    with pytest.raises(ValueError, match=other):
        plan_run(folder, {**recipe, "seed": 2})
    resumed = plan_run(folder, {**recipe, "seed": 2}, resume=True)
    assert (resumed.folder, resumed.checkpoint) == (folder, folder / "checkpoint-2")
    assert plan_run(folder, {**recipe, "seed": 2}, overwrite=True).folder == folder.with_name(".run.new")
    elsewhere = folder.parent / "elsewhere"
    assert plan_run(elsewhere, recipe, resume=str(folder / "checkpoint-2")).folder == elsewhere
    (folder / "recipe.yaml").write_bytes(b"data: [cut")
    with pytest.raises(ValueError, match="unfinished run of another recipe"):
        plan_run(folder, recipe)
    (folder / "recipe.yaml").write_text("data: a\n")
    (folder / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"already holds .*Give another --output_dir"):
        plan_run(folder, {"data": "a"})
    other = shutil.copytree(folder / "checkpoint-2", folder.parent / "other" / "checkpoint-2")
    with pytest.raises(ValueError, match=r"already holds"):
        plan_run(folder, {"data": "a"}, resume=str(other))
    assert plan_run(folder, {"data": "a", "overwrite_output_dir": True}, overwrite=True).checkpoint is None
    assert (folder / "results.json").is_file()


def test_what_is_no_model_is_not_replaced_and_what_is_left_of_a_replacement_is_named(tmp_path):
    (tmp_path / "thesis.docx").write_text("")
    with pytest.raises(ValueError, match=r"\['thesis.docx'\], which is no model, so it is not replaced"):
        plan_run(tmp_path, {}, overwrite=True)
    with pytest.raises(ValueError, match="is a file, but a run writes a folder"):
        plan_run(tmp_path / "thesis.docx", {})
    remove_own(tmp_path)
    assert (tmp_path / "thesis.docx").exists()
    for name in ("run", ".run.new", ".run.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(name)
    with pytest.raises(ValueError, match=r"\.run\.old, which is left of an earlier replacement"):
        RunPlan(tmp_path / "run", tmp_path / ".run.new", {}).finish()
    assert [(tmp_path / name / "results.json").read_text() for name in ("run", ".run.new")] == ["run", ".run.new"]
