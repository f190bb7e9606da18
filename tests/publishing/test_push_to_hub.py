import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from PIL import Image

from semart_hf.publishing.check import CheckError, ask_clean_process
from semart_hf.publishing.clean_process import load_parts
from semart_hf.publishing.upload import Destination

CHECKOUT = Path(__file__).resolve().parents[2]
SAVED_MODEL = CHECKOUT / "tests" / "formats" / "1.0"


@pytest.fixture(scope="module")
def script():
    return importlib.import_module("semart_hf.cli.push")


@pytest.fixture
def silent_hub(monkeypatch):
    """Whoever asks the Hub fails."""

    def refuse(*arguments, **options):
        raise AssertionError("the Hub was asked")

    for name in ("create_repo", "create_commit", "repo_info", "whoami"):
        monkeypatch.setattr(HfApi, name, refuse)


def test_without_push_everything_is_made_and_checked_and_nothing_is_sent(
    script, silent_hub, results, results_file, tmp_path, capsys
):
    model = Path(shutil.copytree(SAVED_MODEL, tmp_path / "trained"))
    of_training = {
        **results,
        "training": {"seconds": 369.4, "processes": 1},
        "environment": {"gpu": "A GPU", "cores": 8},
    }
    (model / "results.json").write_text(json.dumps(of_training))
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(picture)
    (results_file.parent / "figures").mkdir()
    for name in ("confusion_type", "f1_type"):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(results_file.parent / "figures" / f"{name}.png")

    script.main(
        [
            *["--model", str(model), "--repo_id", "anna/delft", "--results", str(results_file)],
            *["--output_dir", str(tmp_path / "hub" / "delft"), "--space", "anna/demo", "--private"],
            *[
                "--example",
                str(picture),
                "--example_text",
                "A view of Delft",
                "--card",
                str(tmp_path / "cards" / "delft.md"),
            ],
        ]
    )

    said = capsys.readouterr().out
    parts = re.findall(r"^  ([a-z][a-z ]*?)  +\S", said, flags=re.MULTILINE)
    assert parts == [
        *["private content", "weights", "card", "config", "model", "tokenizer", "image processor"],
        *["processor", "pipeline", "scores", "example"],
    ]
    assert "anna/delft (private model)" in said
    assert re.search(r" 133,212  model\.safetensors", said)
    assert "anna/demo (private space): " in said
    assert said.endswith("Nothing was sent. Add --push to publish.\n")
    folder = tmp_path / "hub" / "delft"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith("_semart.py")} == {
        *["LICENSE", "README.md", "config.json", "example.jpg", "figures/confusion_type.png", "model.safetensors"],
        *["processor_config.json", "results.json", "tokenizer.json", "tokenizer_config.json"],
    }
    published = json.loads((folder / "results.json").read_text())
    assert (published["data"], published["training"]["seconds"]) == ("semart", 369.4)
    card = (folder / "README.md").read_text()
    assert "- seconds: 369.4\n- processes: 1\n- trained on: A GPU, 8 cores\n" in card
    assert (tmp_path / "cards" / "delft.md").read_text() == card.replace("(figures/", "(delft/")
    assert [path.name for path in (tmp_path / "cards" / "delft").iterdir()] == ["confusion_type.png"]
    with Image.open(tmp_path / "cards" / "delft" / "confusion_type.png") as figure:
        assert figure.convert("RGBA").getpixel((0, 0))[3] == 0  # no background: read by day and by night
    assert not [path for path in folder.rglob("*.*") if str(tmp_path).encode() in path.read_bytes()]


def test_what_fails_the_check_is_not_sent(script, silent_hub, tmp_path):
    words = ["--model", str(SAVED_MODEL), "--repo_id", "anna/delft", "--output_dir", str(tmp_path / "hub" / "delft")]

    with pytest.raises(SystemExit, match=r"because of its private content\. Got 1: README\.md holds a path"):
        script.main([*words, "--data_name", "the paintings of /home/anna/semart", "--push"])


def test_a_part_that_does_not_load_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "semart"}')

    seen = load_parts({"source": str(tmp_path), "paintings": []})

    assert seen["failed"] == "model"
    assert "model.safetensors" in seen["error"]


@pytest.mark.parametrize("offline", [True, False])
def test_the_clean_process_has_neither_token_nor_cache_of_this_user(monkeypatch, offline):
    def run(command, env, cwd, **options):
        seen.update(env)
        seen["HF_HOME is fresh"] = env["HF_HOME"] == cwd and not list(Path(cwd).iterdir())
        return subprocess.CompletedProcess(command, 0, stdout='noise\n{"failed": "config"}\n')

    seen: dict = {}
    mine = {
        "HF_TOKEN": "hf_Canary0123456789abcdef",
        "HUGGING_FACE_HUB_TOKEN": "hf_old",
        "HF_HUB_CACHE": "/mine",
        "HF_ENDPOINT": "http://hub",
    }
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "run", run)

    assert ask_clean_process({"source": "anna/delft"}, offline=offline) == {"failed": "config"}
    assert seen["HF_HOME is fresh"]
    assert not {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE"} & set(seen)
    assert (seen["HF_ENDPOINT"], seen.get("HF_HUB_OFFLINE")) == ("http://hub", "1" if offline else None)
    ask_clean_process({"source": "anna/delft"}, offline=offline, token="hf_other")
    assert seen["HF_TOKEN"] == "hf_other"


def test_a_process_that_ends_without_an_answer_is_reported(monkeypatch):
    ended = subprocess.CompletedProcess([], 137, stdout="", stderr="Killed")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: ended)

    with pytest.raises(
        CheckError, match=r"because of its process\. Got exit status 137 .*: Killed\. It must end with 0"
    ):
        ask_clean_process({"source": "anna/delft"})


def test_a_process_that_gives_no_answer_is_reported(monkeypatch):
    def run(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)

    with pytest.raises(CheckError, match=r"because of its process\. Got no answer in 900 s"):
        ask_clean_process({"source": "anna/delft"})


def test_the_model_is_not_replaced_by_its_repository(script, tmp_path):
    model = Path(shutil.copytree(SAVED_MODEL, tmp_path / "trained"))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(SystemExit, match="as --model and as --output_dir"):
        script.main(["--model", str(model), "--repo_id", "anna/delft", "--output_dir", str(model)])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


@pytest.mark.parametrize("repo_id", ["delft", "anna/delft/more", "anna/de lft", "anna/"])
def test_a_name_that_the_hub_refuses_is_refused_before(script, repo_id):
    with pytest.raises(SystemExit, match=r"semart-hf push: Got the repository '.*Give "):
        script.main(["--model", "absent", "--repo_id", repo_id])


def test_a_destination_says_what_it_is():
    assert str(Destination("anna/delft", private=True, revision="wip")) == "anna/delft (private model, branch wip)"


def test_a_dataset_is_private_unless_said_otherwise(script, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    (tmp_path / "README.md").write_text("---\nlicense: other\nconfigs:\n- config_name: default\n---\n# Paintings\n")

    script.main(["--dataset", str(tmp_path), "--repo_id", "anna/paintings"])
    private = capsys.readouterr().out
    script.main(["--dataset", str(tmp_path), "--repo_id", "anna/paintings", "--no-private"])

    assert "anna/paintings (private dataset): 2 files" in private
    assert "non-commercial research only" in private
    assert "anna/paintings (public dataset): 2 files" in capsys.readouterr().out


def test_either_a_model_or_a_dataset(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--repo_id", "anna/delft"])
    assert "one of the arguments --model --dataset is required" in capsys.readouterr().err
