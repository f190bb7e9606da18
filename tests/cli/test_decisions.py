import json
import shutil
from contextlib import nullcontext

import pytest
from tiny_release import read_table, run
from transformers import AutoModel

from semart_hf.cli.train import conclude, decided_splits, promote, reason_against
from semart_hf.collection.labelled_rows import labelled_rows
from semart_hf.collection.own_format import open_catalogue
from semart_hf.collection.review import Review, begin_review
from semart_hf.collection.sources import find_source
from semart_hf.data.data_arguments import DataArguments
from semart_hf.training.trainer import SemArtTrainer

TASKS = ["type", "school", "timeframe", "medium"]


@pytest.fixture(scope="module")
def reviewed(model, small_release, tmp_path_factory):
    """70 rows with suggestions and decisions: the medium of every row, and a type against the file."""
    folder = shutil.copytree(small_release, tmp_path_factory.mktemp("reviewed") / "release")
    run("predict", folder / "semart_train.csv", "--model", model, "--output", folder / "out.csv", "--device", "cpu")
    source = find_source(open_catalogue(folder / "out.csv"), TASKS, has_suggestions=True)
    review = begin_review(source, TASKS)
    for row in range(70):
        review.decide(row, "medium", "wood" if row % 2 else "canvas", "ada")
    review.decide(1, "type", "decided by ada", "ada")
    return folder


def named(row):
    return (row["image"] or {}).get("path"), row["text"]


def splits_of(folder, model, **fields):
    file = folder / "out.csv.decisions.sqlite3"
    return decided_splits(DataArguments(data=str(folder / "out.csv"), **fields), str(model), file, print)


def test_decisions_join_the_rows_and_some_rows_are_held_out_for_good(reviewed, model, tmp_path):
    splits = splits_of(reviewed, model, min_label_count=3)
    rows = read_table(reviewed / "semart_train.csv")
    numbers = {name: list(split["row"]) for name, split in splits.items()}
    assert sorted(row for rows in numbers.values() for row in rows) == list(range(70))
    assert 5 <= len(numbers["test"]) <= 25
    for split in splits.values():
        assert list(split["medium"]) == ["wood" if row % 2 else "canvas" for row in split["row"]]
        assert [row["school"] for row in split] == [rows[row["row"]]["SCHOOL"] or None for row in split]
        types = {row["row"]: row["type"] for row in split}
        if 1 in types:
            assert types.pop(1) == "decided by ada"  # over the file's
        assert types == {row: rows[row]["TYPE"] for row in types}
    found = {task["name"]: task["labels"] for task in splits.tasks}
    assert found["type"][-1] == "UNK"
    assert {"portrait", "landscape"} < set(found["type"]) - {"decided by ada"}  # once is not often enough
    # The order of the rows changes nothing about which are held out.
    other = shutil.copytree(reviewed, tmp_path / "other")
    lines = (other / "out.csv").read_bytes().splitlines(keepends=True)
    (other / "out.csv").write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
    keys, reading = [], {"images": reviewed / "Images", "has_suggestions": True}
    for folder in (reviewed, other):
        rows, *_ = labelled_rows(find_source(open_catalogue(folder / "out.csv"), TASKS, **reading), TASKS)
        keys.append({named(row): row["row_key"] for row in rows})
    assert keys[0] == keys[1]
    assert {named(row) for row in splits["test"]} == {name for name, key in keys[0].items() if key < 0.2}
    with pytest.raises(ValueError, match="about another version of it"):
        splits_of(other, model)
    with pytest.raises(SystemExit, match=r"out\.csv\.decisions\.sqlite3 are about what it holds now"):
        run("predict", reviewed / "semart_train.csv", "--model", model, "--output", reviewed / "out.csv")


def test_the_command_compares_with_the_start_and_promotes(reviewed, model, tmp_path, capsys, monkeypatch):
    # One epoch of a small model may end better or worse: here it is not worse.
    monkeypatch.setattr("semart_hf.cli.train.reason_against", lambda comparison: None)
    start = shutil.copytree(model, tmp_path / "start")
    before = (start / "model.safetensors").read_bytes()
    words = ["finetune", "--init_from", start, "--data", reviewed / "out.csv", "--output_dir", tmp_path / "new"]
    words += ["--decisions", reviewed / "out.csv.decisions.sqlite3", "--num_train_epochs", "1", "--promote"]
    run("train", *words)
    comparison = json.loads((tmp_path / "new" / "results.json").read_text())["comparison_with_start"]
    assert "Promoted: " in capsys.readouterr().out
    assert set(comparison["tasks"]) == set(TASKS)
    low, high = comparison["mean"]["accuracy"]["interval"]
    assert low <= comparison["mean"]["accuracy"]["difference"] <= high
    (kept,) = tmp_path.glob("start.before-*")
    assert (kept / "model.safetensors").read_bytes() == before
    assert (start / "model.safetensors").read_bytes() == (tmp_path / "new" / "model.safetensors").read_bytes()
    assert len(AutoModel.from_pretrained(tmp_path / "new").config.tasks[0]["labels"]) > 3


def test_a_training_is_not_continued_with_other_decisions(reviewed, model, tmp_path, monkeypatch):
    folder = shutil.copytree(reviewed, tmp_path / "release")
    words = ["finetune", "--init_from", model, "--data", folder / "out.csv", "--output_dir", tmp_path / "new"]
    words += ["--decisions", folder / "out.csv.decisions.sqlite3"]
    with monkeypatch.context() as patched:
        patched.setattr(SemArtTrainer, "train", interrupted)
        with pytest.raises(SystemExit, match="interrupted"):
            run("train", *words)
    review = Review(folder / "out.csv.decisions.sqlite3")
    found = []
    monkeypatch.setattr("semart_hf.cli.train.run", lambda plan, *_, **__: found.append(plan.recipe["decisions"]))
    refused = pytest.raises(SystemExit, match=r"unfinished run of another recipe: \{'decisions_digest'")
    for label, end in (("decided by ada", nullcontext()), ("study", refused)):  # the same once more, and another
        review.undo("ada")
        review.decide(1, "type", label, "ada")
        with end:
            run("train", *words)
    run("train", tmp_path / "new", "--output_dir", tmp_path / "other")  # by its recipe
    assert found == [str(folder / "out.csv.decisions.sqlite3")] * 2


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_worse_model_is_refused_and_the_former_one_is_kept(tmp_path, monkeypatch):
    for name in ("start", "new"):
        (tmp_path / name / "checkpoint-1").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(name)

    def comparison(difference, interval):
        scores = {"first": 0.5 + difference, "second": 0.5, "difference": difference, "interval": interval}
        scores["in_words"] = "words"
        level = {**scores, "difference": 0.0, "interval": [-0.1, 0.1]}
        return {"mean": {"accuracy": level}, "tasks": {"type": {"accuracy": scores}}, "in_words": ["words"]}

    worse = comparison(-0.2, [-0.3, -0.1])
    with pytest.raises(ValueError, match="Not promoted: it is worse on type"):
        conclude(worse, tmp_path / "new", tmp_path / "start", promotes=True)
    lower = comparison(0.0, [-0.1, 0.1])
    lower["mean"]["accuracy"] |= {"difference": -0.01, "first": 0.49}
    assert "mean accuracy is lower: 0.490 after 0.500" in reason_against(lower)
    assert (tmp_path / "start" / "config.json").read_text() == "start"
    assert reason_against(comparison(-0.05, [-0.1, 0.02])) is None
    with monkeypatch.context() as patched:  # killed before the exchange: nothing looks like a former model
        patched.setattr(shutil, "copytree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            promote(tmp_path / "new", tmp_path / "start")
    assert [path.name for path in tmp_path.glob("start.before*")] == []
    assert (tmp_path / "start" / "config.json").read_text() == "start"
    kept = promote(tmp_path / "new", tmp_path / "start")
    assert [(path / "config.json").read_text() for path in (kept, tmp_path / "start")] == ["start", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "start", kept.name]
    assert not (tmp_path / "start" / "checkpoint-1").exists()


def test_a_start_with_nothing_to_compare_is_refused(reviewed, model, tmp_path):
    start = shutil.copytree(model, tmp_path / "start")
    config = json.loads((start / "config.json").read_text())
    config["tasks"] = [{**task, "kind": "multi_label"} for task in config["tasks"]]
    (start / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="have several labels each"):
        splits_of(reviewed, start)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--promote"], "--promote without --decisions"),
        (["--decisions", "x.sqlite3", "--init_from", "null"], "without --init_from"),
        (["--decisions", "x.sqlite3", "--init_from", "m"], "which are not there"),
        (["--decisions", "--init_from", "m"], "decisions True, which are not there"),
        (["--decisions", "FILE", "--init_from", "OUT"], "as --init_from and as --output_dir"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_at_once(tmp_path, words, message):
    folders = {"OUT": tmp_path / "o", "FILE": __file__}
    words = [folders.get(word, word) for word in ["--output_dir", "OUT", *words]]
    with pytest.raises(SystemExit, match=message):
        run("train", "finetune", "--data", "x", *words)
    assert not (tmp_path / "o").exists()
