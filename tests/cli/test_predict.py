"""semart-hf predict from files to a table, or to JSON lines; what cannot be read costs only its own answer."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from rounding import rounding
from tiny_release import TASKS, load_command, save_tiny_model, write_release
from transformers import pipeline

from semart_hf.model.configuration_semart import SemArtConfig

predict = load_command("predict")
NAMES = [task["name"] for task in TASKS]


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


@pytest.fixture
def mixed(tmp_path):
    """Three good pictures among broken ones and among files that are no paintings."""
    folder = tmp_path / "mixed"
    for place in (folder, folder / "__MACOSX", folder / ".ipynb_checkpoints"):
        place.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    for name in ("a.jpg", "c.png", "e.TIF", "b.jpg"):
        Image.fromarray(noise).save(folder / name)
    whole = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "d.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (folder / "f.png").write_bytes(b"")
    for name in ("__MACOSX/._a.jpg", "._a.jpg", ".hidden.jpg", ".ipynb_checkpoints/a-checkpoint.jpg"):
        (folder / name).write_bytes(whole)
    for name in ("Thumbs.db", "book.pdf", "drawing.eps", ".DS_Store"):
        (folder / name).write_bytes(b"none of ours")
    return folder


def run(*arguments):
    predict.main([str(argument) for argument in ("--device", "cpu", *arguments)])


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_becomes_json_lines(model, pictures, tmp_path, capsys):
    output = tmp_path / "deep" / "answers.jsonl"
    run("--model", model, "--input", pictures, "--output", output, "--top_k", 2)
    lines = read_lines(output)
    assert [line["image"] for line in lines] == [str(pictures / f"test{row:02d}.jpg") for row in range(1, 12)]
    assert [line["text"] for line in lines if line["text"]] == ["a view of delft"]
    assert capsys.readouterr().out.splitlines()[-1] == f"11 of 11 paintings answered in {output}, 0 failed"
    classify = pipeline("art-classification", model=str(model), device="cpu")
    expected = classify({"image": str(pictures / "test03.jpg"), "text": "a view of delft"}, top_k=2)
    assert list(lines[2]["predictions"]) == NAMES
    for task, ranked in expected.items():
        answer = lines[2]["predictions"][task]
        assert [guess["label"] for guess in answer] == [guess["label"] for guess in ranked]
        bound = rounding(1024, layers=20)  # 20 layers of at most 1,024 terms
        assert [guess["score"] for guess in answer] == pytest.approx([guess["score"] for guess in ranked], abs=bound)


def test_several_pictures_are_answered_in_their_order(model, pictures, tmp_path):
    given = [pictures / "test05.jpg", pictures / "test03.jpg"]
    run("--model", model, "--input", *given, "--output", tmp_path / "answers.jsonl")
    lines = read_lines(tmp_path / "answers.jsonl")
    assert [line["image"] for line in lines] == [str(path) for path in given]
    assert [line["text"] for line in lines] == [None, "a view of delft"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bad_file_has_its_error_in_its_own_line(model, mixed, tmp_path, capsys, batch_size):
    output = tmp_path / "answers.jsonl"
    run("--model", model, "--input", mixed, "--output", output, "--batch_size", batch_size)
    lines = read_lines(output)
    names = ["a.jpg", "b.jpg", "c.png", "d.jpg", "e.TIF", "f.png"]
    assert [line["image"] for line in lines] == [str(mixed / name) for name in names]
    assert ["error" in line for line in lines] == [False, True, False, True, False, True]
    assert all(set(line) == {"image", "text", "error" if "error" in line else "predictions"} for line in lines)
    assert "b.jpg" in lines[1]["error"]
    assert "truncated" in lines[1]["error"]
    assert "PostScript" in lines[3]["error"]
    assert [list(line["predictions"]) for line in lines[::2]] == [NAMES] * 3
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 6 paintings answered in {output}, 3 failed"
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_a_bad_file_has_its_error_in_its_own_row(model, mixed, capsys):
    run("--model", model, "--input", mixed)
    shown = capsys.readouterr().out
    for name in ("a.jpg", "b.jpg", "c.png", "d.jpg", "e.TIF", "f.png"):
        assert name in shown
    assert "truncated" in shown
    assert shown.splitlines()[-1] == "3 of 6 paintings answered, 3 failed"


def test_where_nothing_can_be_answered_the_command_fails(model, mixed, tmp_path):
    for path in mixed.glob("[ace].*"):
        path.unlink()
    output = tmp_path / "answers.jsonl"
    with pytest.raises(SystemExit, match=rf"semart-hf predict: None of 3 paintings was answered; {output} says why"):
        run("--model", model, "--input", mixed, "--output", output)
    assert ["error" in line for line in read_lines(output)] == [True] * 3
    with pytest.raises(SystemExit, match=r"semart-hf predict: .*b\.jpg.*Fetch it again"):
        run("--model", model, "--input", mixed / "b.jpg")


@pytest.mark.parametrize(
    "content",
    [
        "Ein Früchtestück, ein Maß Öl".encode("cp1252"),
        "Ein Früchtestück, ein Maß Öl".encode("utf-16"),
        "Ein Früchtestück, ein Maß Öl".encode("utf-8-sig"),
        "Ein Früchtestück, ein Maß Öl\r\n".encode(),
    ],
    ids=["cp1252", "utf-16", "byte order mark", "utf-8"],
)
@pytest.mark.parametrize("ending", [".txt", ".TXT"])
def test_texts_beside_pictures_are_read_in_the_encodings_of_museums(tmp_path, content, ending):
    (tmp_path / f"a{ending}").write_bytes(content)
    assert predict.with_text_beside(tmp_path / "a.jpg")["text"] == "Ein Früchtestück, ein Maß Öl"


def test_a_text_that_is_none_is_named_in_its_own_line(model, pictures, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / name).write_bytes((pictures / "test03.jpg").read_bytes())
    (folder / "b.txt").write_bytes(b"%PDF-1.7 a document" + bytes(range(256)))
    (folder / "c.txt").write_text("  \n")
    run("--model", model, "--input", folder, "--output", tmp_path / "out.jsonl")
    first, second, third = read_lines(tmp_path / "out.jsonl")
    assert str(folder / "b.txt") in second["error"]
    assert first["predictions"] == third["predictions"]
    assert third["text"] is None


def test_one_picture_becomes_a_table(model, pictures, capsys):
    run("--model", model, "--input", pictures / "test03.jpg", "--text", "a river and a mill")
    shown = capsys.readouterr().out
    assert "test03.jpg" in shown
    assert all(name in shown for name in NAMES)
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


def test_a_model_of_the_miniature_says_what_it_has_seen(model, tmp_path, capsys):
    run("--model", model, "--text", "a lady")
    assert "miniature" not in capsys.readouterr().err
    seen = tmp_path / "model"
    seen.mkdir()
    for path in model.iterdir():
        (seen / path.name).write_bytes(path.read_bytes())
    config = SemArtConfig.from_pretrained(model)
    config.training_data = {"name": "the miniature", "is_painted_miniature": True}
    config.save_pretrained(seen)
    run("--model", seen, "--text", "a lady")
    assert config.training_notice in capsys.readouterr().err


def test_bad_input(pictures, tmp_path, capsys):
    with pytest.raises(ValueError, match="nowhere, which does not exist"):
        predict.find_paintings([pictures / "nowhere"], None)
    with pytest.raises(ValueError, match="without a picture"):
        predict.find_paintings([tmp_path], None)
    with pytest.raises(ValueError, match=r"Got --text for the folder.*monet\.txt beside monet\.jpg"):
        predict.find_paintings([pictures], "one text")
    with pytest.raises(ValueError, match="Got --text for 2 pictures"):
        predict.find_paintings([pictures / "test03.jpg"] * 2, "one text")
    with pytest.raises(SystemExit):
        predict.parse_arguments(["--model", "m"])
    assert "nothing to classify" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--output", ".", "which is a folder"),
        ("--output", "test03.jpg", "which is read as a painting"),
        ("--explain", "test03.txt", "which is read as a painting"),
    ],
)
def test_what_is_read_is_not_written_over(pictures, option, name, message):
    before = (pictures / "test03.jpg").read_bytes()
    with pytest.raises(SystemExit, match=message):
        run("--model", "not looked at", "--input", pictures, option, pictures / name)
    assert (pictures / "test03.jpg").read_bytes() == before
    assert (pictures / "test03.txt").read_text() == "a view of delft"


def test_a_device_that_is_not_there_is_named(model):
    with pytest.raises(SystemExit, match=r"semart-hf predict: Got the device 'tpux'.*Correct --device"):
        predict.main(["--model", str(model), "--text", "a", "--device", "tpux"])


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


def test_a_name_that_is_no_utf8_costs_no_painting_its_answer(model, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / "a.png")
    names = ["a.png", os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"d\xfe.png")]
    try:
        (folder / names[1]).write_bytes((folder / "a.png").read_bytes())
        (folder / names[2]).write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")

    predict.main(["--model", str(model), "--input", str(folder), "--output", str(tmp_path / "out.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [os.path.basename(line["image"]) for line in lines] == names
    assert ["predictions" in line for line in lines] == [True, True, False]

    predict.main(["--model", str(model), "--input", str(folder)])
    assert "caf\\udce9.png" in capsys.readouterr().out
    predict.main(["--model", str(model), "--input", str(folder), "--explain", str(tmp_path / "why.html")])
    assert "caf\\udce9.png" in (tmp_path / "why.html").read_text("utf-8")
