import json
import shutil

import pandas as pd
import pytest
from release_builder import contents
from rounding import rounding
from tiny_release import TASKS, load_command, save_tiny_model, write_release
from transformers import pipeline

from semart_hf.data.loading import load_paintings
from semart_hf.files import _acquired

ROUNDING = rounding(1024, layers=20, size=8)  # 20 layers of at most 1,024 terms, logits of at most 8


@pytest.fixture(scope="module")
def evaluated(model, release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    run(model, release, folder, report=True)
    return folder


def run(model, release, output, *more, report=False):
    words = ["--model", model, "--data", release, "--output_dir", output, "--device", "cpu", *more]
    load_command("evaluate").main([str(word) for word in (*words, *([] if report else ["--no_report"]))])
    return json.loads((output / "results.json").read_text())


def test_results_follow_the_schema_and_a_truncated_picture_is_judged_by_its_text_and_named(model, tmp_path, capsys):
    release = write_release(tmp_path / "release")
    picture = release / "Images" / "test03.jpg"
    picture.write_bytes(picture.read_bytes()[:700])
    ceiling = {"image+text": {"type": 0.9, "school": 0.8, "timeframe": 0.7, "medium": 0.95, "mean": 0.84}}
    (release / "ceiling.json").write_text(json.dumps(ceiling))
    results = run(model, release, tmp_path / "out")
    first = ["model", "data", "split", "num_rows", "seconds", "environment", "tasks", "mean_accuracy", "mean_macro_f1"]
    assert list(results)[: len(first)] == first
    assert [results[name] for name in first[:4]] == [str(model), str(release), "test", 12]
    assert list(results["tasks"]) == ["type", "school", "timeframe", "medium"]
    for scores in results["tasks"].values():
        assert list(scores)[:4] == ["num_rows", "accuracy", "macro_f1", "weighted_f1"]
        assert scores["num_rows"] == 12
        assert 0 <= scores["accuracy"] <= 1
    assert list(results["modalities"]) == ["image+text", "image", "text"]
    assert results["modalities"]["image+text"]["ceiling"] == ceiling["image+text"]
    assert results["modalities"]["image+text"]["mean_accuracy"] == results["mean_accuracy"]
    # Four Flemish paintings: a school that the model calls UNK, which is scored, and left out beside it.
    assert results["tasks"]["school"]["per_label"]["UNK"]["support"] == 4
    assert results["tasks"]["school"]["without_unk"]["num_rows"] == 8
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 picture could not be read: test03.jpg." in shown
    assert "'test03.jpg'" in results["unreadable_pictures"][0]["error"]  # without its folder: results are published
    assert f"{100 * results['mean_accuracy']:.1f}" in shown
    assert "best reachable" in shown


def test_calibration_is_stored_and_used(release, tmp_path, capsys):
    folder = save_tiny_model(tmp_path / "model")
    before = run(folder, release, tmp_path / "before")
    assert "calibration" not in before
    after = run(folder, release, tmp_path / "after", "--calibrate", "val")
    calibration = after["calibration"]
    stored = json.loads((folder / "config.json").read_text())["temperatures"]
    assert stored == {task: round(value, 4) for task, value in calibration["temperatures"].items()}
    assert set(stored) == {"type", "school", "timeframe", "medium"}
    risks = json.loads((folder / "config.json").read_text())["confidence_risks"]
    assert set(risks) == set(stored)
    for points in risks.values():
        confidences, shares = zip(*points, strict=True)
        assert sorted(confidences, reverse=True) == list(confidences)
        assert sorted(shares) == list(shares)
    for task, scores in before["tasks"].items():
        assert calibration["before"][task]["log_loss"] == pytest.approx(scores["log_loss"], abs=ROUNDING)
        assert calibration["after"][task]["log_loss"] == after["tasks"][task]["log_loss"]
        assert scores["accuracy"] == after["tasks"][task]["accuracy"]
    # Random heads are far too sure: the logits must be flattened, and that helps on the other split too.
    assert max(stored.values()) > 1
    assert sum(s["log_loss"] for s in after["tasks"].values()) < sum(s["log_loss"] for s in before["tasks"].values())
    assert after["thresholds"]["chosen_on"] == calibration["fitted_on"] == "validation"
    # The pipeline divides by the same temperatures as the predictions that were written.
    frame = pd.read_parquet(tmp_path / "after" / "predictions.parquet")
    image = release / "Images" / "test03.jpg"
    answers = pipeline("art-classification", model=str(folder), device="cpu")(
        {"image": str(image), "text": load_paintings(release, tasks=TASKS)["test"][3]["text"]}, top_k=None
    )
    for task, ranked in answers.items():
        expected = frame[f"{task}_probabilities"][3]
        assert {guess["label"]: guess["score"] for guess in ranked} == pytest.approx(expected, abs=ROUNDING)
    run(folder, release, tmp_path / "after", "--calibrate", "test")
    assert "fitted on test, the split that is scored here, which flatters" in " ".join(capsys.readouterr().out.split())


def test_two_models_are_compared_in_words(model, release, evaluated, tmp_path, capsys):
    comparison = run(model, release, tmp_path / "two", "--compare", evaluated)["comparison"]
    assert comparison["tasks"]["type"]["accuracy"]["difference"] == 0
    assert "are level on school" in capsys.readouterr().out
    for content in ("[]", '{"name": "mine"}'):  # of another program: the folder's name stands for the model's
        (tmp_path / "two" / "results.json").write_text(content)
        comparison = run(model, release, tmp_path / "three", "--compare", tmp_path / "two")["comparison"]
        assert comparison["second"] == "two"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "train"], r"the split 'train'.*\['validation', 'test'\].*--split"),
        (["--split", "validation", "--compare", "EVALUATED"], "other paintings"),
        (["--compare", "nowhere"], r"nowhere.predictions\.parquet, which is no predictions\.parquet"),
        (["--compare", "OUT"], "as --compare and as --output_dir"),
        (["--output_dir", "MODEL"], "Only an earlier evaluation is replaced"),
        (["--map_labels", "MAP", "--compare", "EVALUATED"], "true school differs in 4 of 12"),
        (["--model", "FEWER", "--compare", "EVALUATED"], r"the tasks \['type'\] and \['type', 'school'"),
        (["--model", "someone/model", "--calibrate", "val"], r"Got the model someone/model.*hf download"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_computation(model, release, evaluated, tmp_path, words, message):
    (tmp_path / "map.json").write_text('{"school": {"Dutch": "Italian"}}')
    folders = {"EVALUATED": evaluated, "OUT": tmp_path / "out", "MODEL": model, "MAP": tmp_path / "map.json"}
    if "FEWER" in words:
        folders["FEWER"] = save_tiny_model(tmp_path / "fewer", [{"name": "type", "labels": ["portrait", "landscape"]}])
    with pytest.raises(SystemExit, match=message):
        run(model, release, tmp_path / "out", *(folders.get(word, word) for word in words))
    assert not (tmp_path / "out").exists()


def test_a_single_label_is_marked(model, tmp_path, capsys):
    release = write_release(tmp_path / "release", schools=("Dutch",))
    results = run(model, release, tmp_path / "out", report=True)
    assert results["tasks"]["school"]["only_label"] == "Dutch"
    assert "only_label" not in results["tasks"]["type"]
    words = "Every painting with a known school is Dutch: these scores do not say"
    assert words in " ".join(capsys.readouterr().out.split())
    assert words in (tmp_path / "out" / "report.html").read_text()


def test_labels_are_mapped_or_left_out_and_their_words_masked_on_request(model, tmp_path):
    release = write_release(tmp_path / "release", num_rows=24, schools=("Dutch", "Korean"))
    (tmp_path / "map.json").write_text('{"school": {"Korean": "Italian"}}')
    mapped = run(model, release, tmp_path / "out", "--map_labels", tmp_path / "map.json")
    assert mapped["tasks"]["school"]["per_label"]["Italian"]["support"] == 12
    common = run(model, release, tmp_path / "out", "--common_labels", "--mask_label_words")
    assert common["tasks"]["school"]["num_rows"] == 12
    assert list(common["modalities"])[3:] == ["image+masked text", "masked text"]


def test_an_evaluation_that_fails_leaves_nothing_and_calibrates_nothing(release, tmp_path, monkeypatch):
    folder = save_tiny_model(tmp_path / "model")
    config = (folder / "config.json").read_bytes()
    data = shutil.copytree(release, tmp_path / "data")
    header, _, row, *_ = (data / "semart_val.csv").read_text("cp1252").splitlines()
    (data / "semart_val.csv").write_text(f"{header}\n{row}\n", "cp1252")
    with pytest.raises(SystemExit, match="with 1 paintings, in which no task has two different labels"):
        run(folder, data, tmp_path / "out", "--calibrate", "val")
    assert not (tmp_path / "out").exists()
    run(folder, release, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr("semart_hf.evaluation.scores.bootstrap_intervals", lambda *_, **__: 1 / 0)
    for output in ("out", "new"):
        with pytest.raises(ZeroDivisionError):
            run(folder, release, tmp_path / output, "--calibrate", "val")
    assert (folder / "config.json").read_bytes() == config
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "model", "out"]


@pytest.mark.parametrize("name", ["", "results.json", "report.html", "predictions.parquet"])
def test_what_is_no_evaluation_is_not_overwritten(model, release, tmp_path, name):
    place = tmp_path / "out" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    message = f"out, which holds {name}. Only an earlier evaluation is replaced" if name else "out, which is a file"
    with pytest.raises(SystemExit, match=message):
        run(model, release, tmp_path / "out")
    assert place.read_text() == "mine"


def test_a_new_evaluation_takes_the_place_of_an_old_one_and_of_nothing_else(model, release, evaluated, tmp_path):
    assert {"report.html", "figures/confusion_type.png"} <= contents(evaluated).keys()
    output = shutil.copytree(evaluated, tmp_path / "out")
    (output / "figures" / "mine.png").write_text("mine")
    with pytest.raises(SystemExit, match=r"which holds figures/mine\.png"):
        run(model, release, output)
    (output / "figures" / "mine.png").unlink()
    run(model, release, output)  # without a report
    assert list(contents(output)) == ["predictions.parquet", "results.json"]


def test_two_evaluations_into_one_folder_are_refused(model, release, tmp_path, monkeypatch):
    monkeypatch.setattr("semart_hf.files.LOCK_SECONDS", 0.1)
    refused = pytest.raises(SystemExit, match=r"Another process is at work in .*out: ")
    with _acquired(tmp_path / ".out.lock", tmp_path, 0), refused:
        run(model, release, tmp_path / "out")


@pytest.mark.parametrize(("name", "kind"), [("model/recipe.yaml", "YAML"), ("release/ceiling.json", "JSON")])
def test_a_broken_file_beside_model_or_data_is_named(tmp_path, name, kind):
    save_tiny_model(tmp_path / "model")
    write_release(tmp_path / "release")
    (tmp_path / name).write_text("{[")
    with pytest.raises(SystemExit, match=rf"{name}, which is no {kind}"):
        run(tmp_path / "model", tmp_path / "release", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_run_whose_pictures_are_gone_stops(model, tmp_path, split):
    release = write_release(tmp_path / "release")
    for picture in (release / "Images").glob(f"{split}*"):
        picture.rename(picture.with_suffix(".png"))
    with pytest.raises(SystemExit, match=r"0 of 12 \w+ pictures can be read(.|\n)*01.jpg, but \w+01.png"):
        run(model, release, tmp_path / "out", *(["--calibrate", "val"] if split == "val" else []))
    assert not (tmp_path / "out").exists()


def test_what_has_no_label_is_refused(model, tmp_path):
    release = write_release(tmp_path / "release")
    table = pd.read_csv(release / "semart_test.csv", sep="\t", encoding="cp1252")
    table = table.assign(TYPE="", SCHOOL="", TIMEFRAME="", TECHNIQUE="")
    table.to_csv(release / "semart_test.csv", sep="\t", index=False)
    with pytest.raises(SystemExit, match="12 paintings without a known label of"):
        run(model, release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_paintings_by_authors_that_train_has_not_seen(model, tmp_path, capsys):
    release = write_release(tmp_path / "release")
    test = pd.read_csv(release / "semart_test.csv", sep="\t", encoding="cp1252", dtype=str, keep_default_na=False)
    with pytest.raises(SystemExit, match=r"no train split with that column"):
        run(model, release, tmp_path / "none", "--unseen_by", "author")
    train = pd.read_csv(release / "semart_val.csv", sep="\t", encoding="cp1252", dtype=str, keep_default_na=False)
    train.to_csv(release / "semart_train.csv", sep="\t", encoding="cp1252", index=False, quoting=1)
    test["AUTHOR"] = ["Vermeer,  JOHANNES"] * 5 + ["HALS, Frans"] * 6 + [""]
    test.to_csv(release / "semart_test.csv", sep="\t", encoding="cp1252", index=False, quoting=1)
    results = run(model, release, tmp_path / "out", "--unseen_by", "author")
    unseen = results["unseen"]
    assert [unseen[key] for key in ("by", "num_seen", "num_without", "num_rows")] == ["author", 5, 1, 6]
    answers = pd.read_parquet(tmp_path / "out" / "predictions.parquet").iloc[5:11]
    for task in results["tasks"]:
        right = answers[f"{task}_true"] == answers[f"{task}_predicted"]
        assert unseen["tasks"][task]["accuracy"] == pytest.approx(right.mean())
    shown = " ".join(capsys.readouterr().out.split())
    assert "5 (41.7 %) have a known author" in shown
    assert "What train has not seen" in shown
    unseen = run(model, release, tmp_path / "school", "--unseen_by", "school")["unseen"]
    assert unseen["num_seen"] == test["SCHOOL"].isin(train["SCHOOL"]).sum()
    assert "unseen" not in run(model, release, tmp_path / "plain")
    with pytest.raises(SystemExit, match=r"Got --unseen_by painter\. The data has"):
        run(model, release, tmp_path / "wrong", "--unseen_by", "painter")
