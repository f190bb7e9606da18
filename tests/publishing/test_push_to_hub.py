import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from PIL import Image
from saved_results import SAVED_MODEL

from semart_hf.cli.push import main


@pytest.fixture(autouse=True)
def silent_hub(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the Hub was asked")

    for name in ("create_repo", "create_commit", "repo_info", "whoami"):
        monkeypatch.setattr(HfApi, name, refuse)


def test_without_push_everything_is_made_and_checked_and_nothing_is_sent(results, results_file, tmp_path, capsys):
    model = Path(shutil.copytree(SAVED_MODEL, tmp_path / "trained"))
    training = {"training": {"seconds": 369.4, "processes": 1}, "environment": {"gpu": "A GPU", "cores": 8}}
    (model / "results.json").write_text(json.dumps({**results, **training}))
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(picture)
    (results_file.parent / "figures").mkdir()
    for name in ("confusion_type", "f1_type"):
        Image.new("RGBA", (8, 8)).save(results_file.parent / "figures" / f"{name}.png")
    folder, card = tmp_path / "hub" / "delft", tmp_path / "cards" / "of delft.md"
    words = ["--model", model, "--repo_id", "anna/delft", "--results", results_file, "--output_dir", folder]
    words += ["--space", "anna/demo", "--private", "--example", picture, "--example_text", "A view of Delft"]
    main([*map(str, words), "--card", str(card)])
    shown = capsys.readouterr().out
    parts = re.findall(r"^  ([a-z][a-z ]*?)  +\S", shown, flags=re.MULTILINE)
    loaded = ["config", "model", "tokenizer", "image processor", "processor", "pipeline"]
    assert parts == ["private content", "weights", *loaded, "scores"]
    for name in ("SemArtForArtClassification", "SemArtProcessor", "DistilBertTokenizer", "ArtClassificationPipeline"):
        assert f"{name}, loaded without the package" in shown
    assert "anna/delft (private model)" in shown
    assert re.search(r" 133,212  model\.safetensors", shown)
    assert "anna/demo (private space): " in shown
    assert shown.endswith("Nothing was sent. Add --push to publish.\n")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith("_semart.py")} == {
        *["LICENSE", "README.md", "config.json", "example.jpg", "figures/confusion_type.png", "model.safetensors"],
        *["processor_config.json", "results.json", "tokenizer.json", "tokenizer_config.json"],
    }
    published = json.loads((folder / "results.json").read_text())
    assert (published["model"], published["data"]) == ("anna/delft", "semart")
    assert published["training"]["seconds"] == 369.4
    page = (folder / "README.md").read_text()
    assert "- seconds: 369.4\n- processes: 1\n- trained on: A GPU, 8 cores\n" in page
    assert card.read_text() == page.replace("(figures/", "(of%20delft/")
    assert [path.name for path in (tmp_path / "cards" / "of delft").iterdir()] == ["confusion_type.png"]
    assert not [path for path in folder.rglob("*.*") if str(tmp_path).encode() in path.read_bytes()]


def test_what_fails_the_check_is_not_sent_and_the_model_is_not_replaced(tmp_path):
    words = ["--model", str(SAVED_MODEL), "--repo_id", "anna/delft", "--output_dir", str(tmp_path / "hub" / "delft")]
    with pytest.raises(SystemExit, match=r"because of its private content\. Got 1: README\.md holds a path"):
        main([*words, "--data_name", "the paintings of /home/anna/semart", "--push"])
    model = Path(shutil.copytree(SAVED_MODEL, tmp_path / "model"))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(SystemExit, match="as --model and as --output_dir"):
        main(["--model", str(model), "--repo_id", "anna/delft", "--output_dir", str(model)])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


@pytest.mark.parametrize("repo_id", ["delft", "anna/delft/more", "anna/de lft", "anna/", "anna/a--b", "anna/a.git"])
@pytest.mark.parametrize("option", ["--repo_id", "--space"])
def test_a_name_that_the_hub_refuses_is_refused_before(option, repo_id, capsys):
    with pytest.raises(SystemExit):
        main(["--model", "absent", "--repo_id", "anna/delft", option, repo_id])
    assert re.search(rf"argument {option}: Got the repository '{repo_id}'.*Give USER/NAME", capsys.readouterr().err)


def test_a_dataset_is_private_unless_it_is_made_public(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    (tmp_path / "README.md").write_text("---\nlicense: other\nconfigs:\n- config_name: default\n---\n# Paintings\n")
    words = ["--dataset", str(tmp_path), "--repo_id", "anna/paintings"]
    main(words)
    private = capsys.readouterr().out
    main([*words, "--no-private"])
    assert "anna/paintings (private dataset): 2 files" in private
    assert "non-commercial research only" in private
    assert "anna/paintings (public dataset): 2 files" in capsys.readouterr().out
