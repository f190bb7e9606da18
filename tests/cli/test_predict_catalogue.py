import json
import random
import shutil
import statistics

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_release import WORDS, run
from tiny_release import read_table as read
from transformers import pipeline
from warm_python import Python, run_python


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A catalogue of 600 texts: three parts, the last of them short."""
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    rows = (f"{number};{' '.join(chance.choices(WORDS, k=8))}\r\n" for number in range(600))
    path.write_text("id;description\r\n" + "".join(rows), encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def calibrated(model, classify, texts, tmp_path_factory):
    """A model that is calibrated for the type, of which half of the answers are accepted, and the school, of all."""
    answers = classify([{"text": row["description"]} for row in read(texts, ";")[:50]], top_k=1)
    least = statistics.median(answer["type"][0]["score"] for answer in answers)
    folder = shutil.copytree(model, tmp_path_factory.mktemp("calibrated") / "model")
    config = json.loads((folder / "config.json").read_text())
    config["confidence_risks"] = {"type": [[0.9999, 0.01], [least, 0.04], [0.2, 0.5]], "school": [[0.0, 0.05]]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def predict(*words):
    run("predict", "--device", "cpu", *words)


def test_a_release_is_written_back_with_the_pipelines_answers(calibrated, release, tmp_path, capsys):
    source, output = release / "semart_test.csv", tmp_path / "out.csv"
    predict(source, "--model", calibrated, "--output", output)
    printed = capsys.readouterr()
    rows = read(output)
    kept = [",".join(line.split("\t")[:9]) for line in output.read_text("cp1252").splitlines()]
    assert kept == [",".join(line.split("\t")) for line in source.read_text("cp1252").splitlines()]
    classify = pipeline("art-classification", model=str(calibrated), device="cpu", trust_remote_code=False)
    for row in rows:
        picture = release / "Images" / row["IMAGE_FILE"]
        painting = {"text": row["DESCRIPTION"] or None, "image": str(picture) if picture.exists() else None}
        for task, answers in classify(painting, top_k=2).items():
            assert row[f"{task}_suggested"] == answers[0]["label"]
            assert float(row[f"{task}_confidence"]) == pytest.approx(answers[0]["score"], abs=2e-4)
            assert row[f"{task}_alternatives"].startswith(f"{answers[1]['label']} ")
    assert {row["type_decision"] for row in rows} == {"known"}
    assert {row["medium_decision"] for row in rows} == {"not calibrated"}
    assert rows[0]["suggestion_problem"] == "there is no file test00.jpg"
    assert "12 of 12 rows answered" in printed.out
    assert "1 were answered by their text alone" in printed.out
    assert f"Pictures: column 'IMAGE_FILE', files in {release / 'Images'}. Text: 'DESCRIPTION'." in printed.err


def test_accepted_suggestions_fill_empty_cells(calibrated, texts, tmp_path):
    rows = read(texts, ";")[:50]
    source = tmp_path / "gaps.csv"
    gaps = ({**row, "type": "", "school": "" if int(row["id"]) % 2 else "Flemish"} for row in rows)
    pd.DataFrame(gaps).to_csv(source, sep=";", index=False)
    predict(source, "--model", calibrated, "--output", tmp_path / "out.csv", "--fill", "--risk", 0.05)
    found = read(tmp_path / "out.csv", ";")
    for row in found:
        is_sure = row["type_decision"] == "accepted"
        assert row["type"] == (row["type_suggested"] if is_sure else "")
        assert row["school_decision"] == ("accepted" if int(row["id"]) % 2 else "known")
        assert row["school"] == (row["school_suggested"] if int(row["id"]) % 2 else "Flemish")
        filled = [name for name in ("type", "school") if row[f"{name}_decision"] == "accepted"]
        assert row["filled_by_suggestion"] == " | ".join(filled)
    by_decision = {name: [float(row["type_confidence"]) for row in found if row["type_decision"] == name]
                   for name in ("accepted", "unsure")}  # fmt: skip
    assert [len(some) for some in by_decision.values()] == [25, 25]
    assert min(by_decision["accepted"]) >= max(by_decision["unsure"])


def test_one_process_two_processes_and_a_killed_one_write_the_same_bytes(model, texts, tmp_path):
    def words(output):
        return ["-m", "semart_hf.cli.predict", texts, "--model", model, "--device", "cpu", "--output", output]

    logs, one, two = tmp_path / "logs", tmp_path / "one.csv", tmp_path / "two.csv"
    done = run_python(*words(one), logs=logs, OMP_NUM_THREADS="1")
    assert "This model carries no calibration" in done.stderr
    # Killed as soon as the first part is there, by the signal that nothing can answer; then two processes go on.
    part = tmp_path / ".two.csv.answers" / "000000.jsonl"
    with Python(*words(two), output=logs / "killed", OMP_NUM_THREADS="1") as process:
        process.wait_until(part.exists)
    assert not two.exists()
    run_python(*words(two), logs=logs, num_processes=2, OMP_NUM_THREADS="1")
    assert two.read_bytes() == one.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "one.csv", "two.csv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.csv", "--output", "out.csv"], "which does not exist"),
        (["texts", "--output", "texts"], "A file is written in its own format to another one"),
        (["texts", "--output", "out.jsonl"], r"Give a name that ends in \.csv"),
        (["texts", "--output", "out.csv", "--image_column", "picture"], "Got the column 'picture', which .* lacks"),
        (["texts", "--output", "out.csv", "--delimiter", "ab"], "Got the delimiter 'ab'"),
        (["texts", "--output", "out.csv", "--sheet", "b"], r"Got --sheet for .*texts\.csv, where it has no effect"),
        (["texts", "--output", "out.csv", "--images", "none"], "Got the folder of pictures none, which is not there"),
        *((["texts", "--output", "out.csv", *odd.split()], "2") for odd in ("--text a", "--risk 1", "--input a.jpg")),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(model, texts, tmp_path, words, message):
    words = [texts if word == "texts" else tmp_path / word if "." in word else word for word in words]
    with pytest.raises(SystemExit, match=message):
        predict(*words, "--model", model)
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_holds_no_text_is_not_filled(model, tmp_path):
    rows = pa.table({"description": ["a view"], "type": pa.array([None], pa.int32())})
    pq.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(SystemExit, match="the column 'type', which holds no text"):
        predict(tmp_path / "a.parquet", "--model", model, "--output", tmp_path / "out.parquet", "--fill")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_prepared_data_and_a_folder_of_pictures_are_answered_as_a_table(model, classify, release, tmp_path, capsys):
    whole = shutil.copytree(release, tmp_path / "release")
    shutil.copy(whole / "semart_val.csv", whole / "semart_train.csv")
    prepared = tmp_path / "prepared"
    run("prepare", "--release", whole, "--output_dir", prepared, "--image_size", 32, "--num_proc", 1)
    capsys.readouterr()
    predict(prepared, "--model", model, "--output", tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv", ",")
    assert "Pictures: its own. Text: 'text'" in capsys.readouterr().err
    assert len(rows) == sum(len(read(path)) for path in whole.glob("semart_*.csv"))
    expected = classify({"text": rows[0]["text"]}, top_k=1)["type"][0]  # its picture is gone
    assert (rows[0]["type_suggested"], rows[0]["split"]) == (expected["label"], "train")
    predict(release / "Images", "--model", model, "--output", tmp_path / "pictures.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "pictures.jsonl").read_text("utf-8").splitlines()]
    assert [answer["image_file"] for answer in answers] == sorted(path.name for path in (release / "Images").iterdir())
    assert {answer["type_decision"] for answer in answers} == {"not calibrated"}
    for word, message in {str(release): "Each of these files is a catalogue", "no/where": "Hub"}.items():
        with pytest.raises(SystemExit, match=message):
            predict(word, "--model", model, "--output", tmp_path / "none.csv")
