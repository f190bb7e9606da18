"""scripts/predict.py from files to a table, or to JSON lines."""

import json

import pytest
from rounding import rounding
from tiny_release import TASKS, load_command, save_tiny_model, write_release
from transformers import pipeline

predict = load_command("predict")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("predict") / "model")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eleven pictures, one of them with its text beside it, and a file that is no picture."""
    folder = write_release(tmp_path_factory.mktemp("predict") / "release") / "Images"
    (folder / "test03.txt").write_text("a view of delft", encoding="utf-8")
    (folder / "notes.md").write_text("not a picture")
    for path in folder.glob("val*"):
        path.unlink()
    return folder


def run(*arguments):
    predict.main([str(argument) for argument in ("--device", "cpu", *arguments)])


def test_a_folder_becomes_json_lines(model, pictures, tmp_path):
    output = tmp_path / "deep" / "answers.jsonl"
    run("--model", model, "--input", pictures, "--output", output, "--top_k", 2)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["image"] for line in lines] == [str(pictures / f"test{row:02d}.jpg") for row in range(1, 12)]
    assert [line["text"] for line in lines if line["text"]] == ["a view of delft"]
    classify = pipeline("art-classification", model=str(model), device="cpu")
    expected = classify({"image": str(pictures / "test03.jpg"), "text": "a view of delft"}, top_k=2)
    assert list(lines[2]["predictions"]) == [task["name"] for task in TASKS]
    for task, ranked in expected.items():
        answer = lines[2]["predictions"][task]
        assert [guess["label"] for guess in answer] == [guess["label"] for guess in ranked]
        assert [guess["score"] for guess in answer] == pytest.approx(
            [guess["score"] for guess in ranked], abs=rounding(1024, layers=20)
        )


def test_one_picture_becomes_a_table(model, pictures, capsys):
    run("--model", model, "--input", pictures / "test03.jpg", "--text", "a river and a mill")
    shown = capsys.readouterr().out
    assert "test03.jpg" in shown
    assert all(task["name"] in shown for task in TASKS)
    classify = pipeline("art-classification", model=str(model), device="cpu")
    expected = classify({"image": str(pictures / "test03.jpg"), "text": "a river and a mill"}, top_k=1)
    assert f"{expected['type'][0]['label']} {expected['type'][0]['score']:.0%}" in shown


def test_a_text_alone(model, capsys):
    run("--model", model, "--text", "[red]a lady[/red] with a river")
    assert "[red]a lady[/red]" in capsys.readouterr().out


def test_unsure_below_the_least_confidence(model, tmp_path):
    output = tmp_path / "answers.jsonl"
    run("--model", model, "--text", "a lady", "--output", output, "--min_confidence", 1)
    answer = json.loads(output.read_text())["predictions"]["school"]
    assert answer[0] == {"label": "unsure", "score": answer[1]["score"]}


def test_pictures_are_found_with_the_texts_beside_them(pictures):
    found = predict.find_paintings(pictures, None)
    assert len(found) == 11
    assert found[2] == {"image": str(pictures / "test03.jpg"), "text": "a view of delft"}
    assert predict.find_paintings(pictures / "test03.jpg", "given")[0]["text"] == "given"


def test_bad_input(pictures, tmp_path, capsys):
    with pytest.raises(ValueError, match="nowhere, which does not exist"):
        predict.find_paintings(pictures / "nowhere", None)
    with pytest.raises(ValueError, match="without a picture"):
        predict.find_paintings(tmp_path, None)
    with pytest.raises(ValueError, match=r"Got --text for the folder.*monet\.txt beside monet\.jpg"):
        predict.find_paintings(pictures, "one text")
    with pytest.raises(SystemExit):
        predict.parse_arguments(["--model", "m"])
    assert "nothing to classify" in capsys.readouterr().err


def test_explanations_are_a_page_of_its_own(model, pictures, tmp_path):
    path = tmp_path / "deep" / "why.html"
    run("--model", model, "--input", pictures / "test03.jpg", "--text", "a <b>view</b> of delft", "--explain", path)
    html = path.read_text(encoding="utf-8")
    assert html.count("<h3>") == len(TASKS)
    assert "orange words spoke for the answer" in html
    # The painting once, and a glow for each task; the text is shown, not obeyed.
    assert html.count("data:image/jpeg;base64,") == 1
    assert html.count("data:image/png;base64,") == len(TASKS)
    assert "<b>view</b>" not in html
    assert "&lt;b&gt;view&lt;/b&gt;" in html
    assert "http" not in html.replace("data:image", "")
