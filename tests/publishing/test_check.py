import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from release_builder import contents
from safetensors.numpy import load_file, save_file
from saved_results import SAVED_MODEL

from semart_hf.publishing import check
from semart_hf.publishing.check import find_private_content
from semart_hf.publishing.clean_process import load_parts
from semart_hf.publishing.repositories import assemble_repository, read_results, without_folders


@pytest.fixture(scope="module")
def assembled(saved_model, tmp_path_factory) -> Path:
    return assemble_repository(*saved_model, tmp_path_factory.mktemp("assembled") / "delft", "anna/delft")


@pytest.fixture
def repository(assembled, tmp_path) -> Path:
    return Path(shutil.copytree(assembled, tmp_path / "delft"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(value):
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.bias, value)
    with pytest.raises(check.CheckError, match=r"because of its weights\. Got NaN or infinity in bias"):
        check.check_weights(model)


def test_private_content_is_named(repository, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "atelier-7")
    monkeypatch.setattr("semart_hf.publishing.check.get_token", lambda: "secretCanary")
    (repository / "results.json").write_text('{"data": "/home/anna/semart"}')
    (repository / "log.txt").write_text("trained on atelier-7 with hf_Canary0123456789abcdef")
    (repository / "notes.txt").write_text("secretCanary")
    (repository / "training_args.BIN").write_bytes(b"\x80\x04")
    weights = load_file(repository / "model.safetensors")
    save_file(weights, repository / "model.safetensors", metadata={"format": "pt", "from": "C:\\Users\\anna\\run"})
    found = find_private_content(repository)
    names = ["log.txt", "log.txt", "model.safetensors", "notes.txt", "results.json", "training_args.BIN"]
    assert [sentence.split()[0] for sentence in found] == names
    assert "the name of this machine, 'atelier-7'" in found[0]
    assert "'/home/anna'" in found[4]
    assert "is a pickle" in found[5]
    assert not any("Canary" in sentence for sentence in found)
    with pytest.raises(check.CheckError, match=r"because of its private content\. Got 6: log\.txt holds"):
        check.check_private_content(repository)


@pytest.mark.parametrize("length", [0, 5, 60])
def test_what_is_left_of_weights_is_searched_all_the_same(repository, length):
    path = repository / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert find_private_content(repository) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/anna/semart/", "semart"),
        ("../shared/data/semart", "semart"),
        ("~/semart", "semart"),
        ("C:\\data\\semart", "semart"),
        ("anna/delft", "anna/delft"),
        ("outputs/demo/release", "outputs/demo/release"),
        ({"data": ["/tmp/a b"], "n": 3, "none": None}, {"data": ["a b"], "n": 3, "none": None}),
        ("image+text", "image+text"),
    ],
)
def test_paths_that_lead_outside_are_cut(value, expected):
    assert without_folders(value) == expected


def test_what_is_no_results_file_is_refused(tmp_path):
    path = tmp_path / "results.json"
    for content, message in [("{}", "without num_rows and tasks"), ("[]", "cannot be read"), ("{", "cannot be read")]:
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"{message}.* Allowed is the results\.json that `semart-hf evaluate`"):
            read_results(path, "anna/delft")


def test_the_part_that_does_not_load_is_named_and_cut_weights_do_not(tmp_path, repository):
    shutil.copy(SAVED_MODEL / "config.json", tmp_path)
    answer = load_parts({"source": str(tmp_path), "paintings": []})
    assert "model.safetensors" in answer["error"]
    with pytest.raises(check.CheckError, match=r"because of its model\. Got OSError.* from delft"):
        list(check.compare(answer, [], "delft"))
    weights = repository / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    answer = load_parts({"source": str(repository), "paintings": []})
    with pytest.raises(check.CheckError, match=r"because of its model\. Got SafetensorError"):
        list(check.compare(answer, [], "delft"))


def test_other_scores_are_refused():
    def answer(score):
        return [{"type": [{"label": "portrait", "score": score}, {"label": "UNK", "score": 1 - score}]}]

    assert check.largest_difference(answer(0.25), answer(0.25)) == 0
    assert check.largest_difference(answer(0.25), answer(0.5)) == 0.25
    assert check.largest_difference(answer(0.5), []) == float("inf")
    assert check.largest_difference([{"school": []}], answer(0.5)) == float("inf")
    for score, difference in ((0.2501, r"0\.0001"), (float("nan"), "nan")):
        with pytest.raises(check.CheckError, match=rf"because of its scores\. .* by up to {difference}\. Allowed are"):
            list(check.compare({"classes": {}, "answers": answer(score)}, answer(0.25), "delft"))


@pytest.mark.parametrize("revision", [None, "main"])
def test_the_clean_process_gets_no_cache_and_a_token_for_the_hub_alone(monkeypatch, revision):
    given = {}

    def run(command, **options):
        given.update(options["env"])
        given["fresh"] = list(Path(options["env"]["HF_HOME"]).iterdir()) == []
        return subprocess.CompletedProcess(command, 0, stdout='a library prints\n{"failed": "config"}\n')

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub")
    monkeypatch.setattr(subprocess, "run", run)
    assert check.ask_clean_process({"source": "anna/delft", "revision": revision}) == {"failed": "config"}
    assert given["fresh"]
    assert not {"HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE"} & set(given)
    expected = ("http://hub", "1", None) if revision is None else ("http://hub", None, "mine")
    assert (given["HF_ENDPOINT"], given.get("HF_HUB_OFFLINE"), given.get("HF_TOKEN")) == expected


def test_a_process_that_gives_no_answer_is_reported(monkeypatch):
    ended = subprocess.CompletedProcess([], 137, stdout="", stderr="Killed")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: ended)
    with pytest.raises(check.CheckError, match=r"its process\. Got exit status 137 .*: Killed\. It must end with 0"):
        check.ask_clean_process({"source": "anna/delft"})

    def run(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(check.CheckError, match=r"because of its process\. Got no answer in 900 s"):
        check.ask_clean_process({"source": "anna/delft"})


@pytest.mark.parametrize("name", ["thesis.txt", "checkpoint-7/model.safetensors.bak", "figures/mine.svg"])
def test_nothing_but_an_earlier_repository_is_replaced(saved_model, repository, tmp_path, name):
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("mine")
    before = contents(repository)
    with pytest.raises(ValueError, match=rf"which holds {name}\. Only an earlier repository"):
        assemble_repository(*saved_model, repository, "anna/delft")
    assert contents(repository) == before
    (repository / name).unlink()
    assemble_repository(*saved_model, repository, "anna/delft")
    assert {path.name for path in tmp_path.iterdir()} == {"delft"}


def test_an_earlier_repository_stays_when_the_new_one_fails_and_a_folder_is_private(saved_model, repository, tmp_path):
    before = contents(repository)
    with pytest.raises(ValueError, match=r"absent\.jpg"):
        assemble_repository(*saved_model, repository, "anna/delft", picture=tmp_path / "absent.jpg")
    assert contents(repository) == before
    (repository / "notes.md").write_text("made from /srv/atelier/run")
    assert find_private_content(repository) == []
    found = find_private_content(repository, "/srv/atelier/run")
    assert found == ["notes.md holds a folder of this machine, '/srv/atelier/run'"]


def test_a_prepared_dataset_needs_data_and_card(tmp_path):
    with pytest.raises(check.CheckError, match=r"without data/\*\.parquet\. Allowed is what `semart-hf prepare`"):
        list(check.check_dataset(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(check.CheckError, match=r"without README\.md"):
        list(check.check_dataset(tmp_path))
