import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from rounding import rounding
from tiny_release import TASKS, load_command, write_release

from semart_hf.model.configuration_semart import SemArtConfig

predict = load_command("predict")
NAMES = [task["name"] for task in TASKS]


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


def test_a_folder_and_a_picture_become_json_lines(model, classify, pictures, tmp_path, capsys):
    output = tmp_path / "deep" / "answers.jsonl"
    run("--model", model, "--input", pictures, pictures / "test03.jpg", "--output", output, "--top_k", 2)
    lines = read_lines(output)
    numbers = [*range(1, 12), 3]
    assert [line["image"] for line in lines] == [str(pictures / f"test{row:02d}.jpg") for row in numbers]
    assert [line["text"] for line in lines] == ["a view of delft" if row == 3 else None for row in numbers]
    assert capsys.readouterr().out.splitlines()[-1] == f"12 of 12 paintings answered in {output}, 0 failed"
    expected = classify({"image": str(pictures / "test03.jpg"), "text": "a view of delft"}, top_k=2)
    assert list(lines[2]["predictions"]) == NAMES
    for task, ranked in expected.items():
        answer = lines[2]["predictions"][task]
        assert [guess["label"] for guess in answer] == [guess["label"] for guess in ranked]
        bound = rounding(1024, layers=20)  # 20 layers of at most 1,024 terms
        assert [guess["score"] for guess in answer] == pytest.approx([guess["score"] for guess in ranked], abs=bound)


def test_a_bad_file_has_its_error_in_its_own_line_and_row(model, mixed, tmp_path, capsys):
    output, names = tmp_path / "answers.jsonl", ["a.jpg", "b.jpg", "c.png", "d.jpg", "e.TIF", "f.png"]
    run("--model", model, "--input", mixed, "--output", output, "--batch_size", 1)
    lines = read_lines(output)
    assert [line["image"] for line in lines] == [str(mixed / name) for name in names]
    assert ["error" in line for line in lines] == [False, True, False, True, False, True]
    assert all(set(line) == {"image", "text", "error" if "error" in line else "predictions"} for line in lines)
    assert re.search(r"^(?!Painting).*b\.jpg.*truncated", lines[1]["error"])
    assert "PostScript" in lines[3]["error"]
    assert [list(line["predictions"]) for line in lines[::2]] == [NAMES] * 3
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 6 paintings answered in {output}, 3 failed"
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []
    run("--model", model, "--input", mixed, "--batch_size", 4)
    shown = capsys.readouterr().out
    assert all(word in shown for word in (*names, "truncated"))
    assert shown.splitlines()[-1] == "3 of 6 paintings answered, 3 failed"


def test_where_nothing_can_be_answered_the_command_fails(model, mixed, tmp_path):
    for path in mixed.glob("[ace].*"):
        path.unlink()
    output = tmp_path / "answers.jsonl"
    with pytest.raises(SystemExit, match=rf"predict: None of 3 paintings was answered; see each error in {output}"):
        run("--model", model, "--input", mixed, "--output", output)
    assert ["error" in line for line in read_lines(output)] == [True] * 3
    with pytest.raises(SystemExit, match=r"semart-hf predict: .*b\.jpg.*Fetch it again"):
        run("--model", model, "--input", mixed / "b.jpg")


def test_texts_beside_pictures_are_read_in_their_encoding_and_one_that_is_none_is_named(model, pictures, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"):
        (folder / name).write_bytes((pictures / "test03.jpg").read_bytes())
    (folder / "b.txt").write_bytes(b"%PDF-1.7 a document" + bytes(range(256)))
    (folder / "c.txt").write_text("  \n")
    (folder / "d.TXT").write_bytes("Ein Früchtestück, ein Maß Öl\r\n".encode("cp1252"))
    (folder / "e.txt").write_bytes("Ein Früchtestück, ein Maß Öl\r\n".encode("utf-16"))
    run("--model", model, "--input", folder, "--output", tmp_path / "out.jsonl")
    first, second, third, *texts = read_lines(tmp_path / "out.jsonl")
    assert str(folder / "b.txt") in second["error"]
    assert first["predictions"] == third["predictions"]
    assert third["text"] is None
    assert {line["text"] for line in texts} == {"Ein Früchtestück, ein Maß Öl"}


def test_one_painting_becomes_a_table_and_is_unsure_below_the_least_confidence(model, classify, capsys, tmp_path):
    text = "[red]a lady[/red] with a river"
    run("--model", model, "--text", text)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[red]a lady[/red]", *NAMES))
    expected = classify({"text": text}, top_k=1)
    assert f"{expected['type'][0]['label']} {expected['type'][0]['score']:.0%}" in shown
    run("--model", model, "--text", "a lady", "--min_confidence", 1)
    assert capsys.readouterr().out.count("unsure ") == len(TASKS)
    run("--model", model, "--text", "a lady")
    assert "miniature" not in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"top_k is 0\. Allowed is"):
        run("--model", model, "--text", "a lady", "--top_k", 0)
    seen = shutil.copytree(model, tmp_path / "model")
    config = SemArtConfig.from_pretrained(model)
    config.training_data = {"name": "the miniature", "is_painted_miniature": True}
    config.save_pretrained(seen)
    run("--model", seen, "--text", "a lady")
    assert config.training_notice in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "nowhere"], "nowhere, which does not exist"),
        (["--input", "empty"], "without a picture"),
        (["--input", "pictures", "--text", "one"], r"Got --text for the folder.*monet\.txt beside monet\.jpg"),
        (["--input", "a.jpg", "b.jpg", "--text", "one"], "Got --text for 2 pictures"),
        (["--input", "pictures", "--output", "pictures"], "which is a folder"),
        (["--input", "pictures", "--output", "pictures/test03.jpg"], "which is read as a painting"),
        (["--input", "pictures", "--explain", "pictures/test03.txt"], "which is read as a painting"),
        (["--text", "one", "--explain", "out", "--output", "out"], "Two files are needed"),
        ([], "nothing to classify"),
        (["--text", "one", "--fill", "--images", "pictures"], "got --fill, --images without a catalogue"),
        (["a.csv", "--output", "b.csv", "--top_k", "2"], "got --top_k with a catalogue, which has no effect"),
        (["a.csv"], "a catalogue needs --output"),
        (["a.JPG"], r"got the picture a\.JPG as a catalogue: give it with --input"),
        (["--text", "one", "--output", "pictures/notes.md/out"], r"in \S+notes\.md, where this user cannot write"),
        (
            ["--text", "one", "--model", "anna/absent"],
            r"Got the model anna/absent\. Allowed is the folder of a trained",
        ),
        (["--text", "one"], r"Got the model absent, which has no config\.json\. Allowed"),  # no name on the Hub
        (["--text", "one", "--model", "empty"], r"Got the model empty, which has no config\.json\. Allowed"),
        (["--text", "one", "--device", "tpux"], "argument --device: Got the device 'tpux'"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_written(pictures, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").symlink_to(pictures)
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    with pytest.raises(SystemExit) as raised:
        predict.main(["--model", "absent", *words])
    assert re.search(message, f"{raised.value} {capsys.readouterr().err}")
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before


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
    run("--model", model, "--input", folder, "--output", tmp_path / "out.jsonl")
    lines = read_lines(tmp_path / "out.jsonl")
    assert [os.path.basename(line["image"]) for line in lines] == names
    assert ["predictions" in line for line in lines] == [True, True, False]
    run("--model", model, "--input", folder, "--explain", tmp_path / "why.html")
    assert "caf\\udce9.png" in capsys.readouterr().out
    assert "caf\\udce9.png" in (tmp_path / "why.html").read_text("utf-8")
