import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semart_hf.documents.paths import without_folders
from semart_hf.publishing import check
from semart_hf.publishing.model_repository import CardChoices, assemble_repository, read_results
from semart_hf.publishing.traces import find_traces

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "semart_hf" / "templates" / "model_card.md"
NUM_CODE = len({*(CHECKOUT / "semart_hf" / "model").glob("*_semart.py")})


@pytest.fixture(scope="module")
def assembled(saved_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assembled") / "delft"
    return assemble_repository(*saved_model, folder, "anna/delft", choices=CardChoices(TEMPLATE))


@pytest.fixture
def repository(assembled, tmp_path) -> Path:
    return Path(shutil.copytree(assembled, tmp_path / "repository"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_whole_repository_passes_each_part(repository):
    assert check.check_files(repository).startswith(f"{NUM_CODE + 7} files")
    assert "no token" in check.check_traces(repository)
    assert "all finite" in check.check_weights(repository)
    assert f"{NUM_CODE} files" in check.check_code(repository)
    assert "0 results" in check.check_card(repository / "README.md")


def test_a_missing_file_is_named(repository):
    (repository / "tokenizer.json").unlink()
    (repository / "model.safetensors").unlink()

    with pytest.raises(check.CheckError, match=r"because of its files\. Got no tokenizer\.json, model\.safetensors"):
        check.check_files(repository)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(repository, value):
    weights = load_file(repository / "model.safetensors")
    weights["fusion.bias"][3] = value
    save_file(weights, repository / "model.safetensors")

    with pytest.raises(check.CheckError, match=r"because of its weights\. Got NaN or infinity in 'fusion\.bias'"):
        check.check_weights(repository)


def test_damaged_weights_are_named(repository):
    path = repository / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(check.CheckError, match=r"Got model\.safetensors, which cannot be read"):
        check.check_weights(repository)


@pytest.mark.parametrize("length", [0, 5, 60])
def test_what_is_left_of_weights_is_searched_for_traces_all_the_same(repository, length):
    path = repository / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])

    assert find_traces(repository) == []
    with pytest.raises(check.CheckError, match=r"because of its weights"):
        check.check_weights(repository)


def test_a_configuration_that_is_no_json_is_named(repository):
    (repository / "config.json").write_text("{")
    with pytest.raises(check.CheckError, match=r"because of its code\. Got a configuration that is no JSON"):
        check.check_code(repository)


def test_code_that_the_loader_cannot_follow_is_named(repository):
    (repository / "towers_semart.py").unlink()
    with pytest.raises(check.CheckError, match=r"Got modeling_semart\.SemArtForArtClassification for AutoModel"):
        check.check_code(repository)


def test_code_that_nothing_needs_is_named(repository):
    (repository / "notes.py").write_text("print('hello')")
    with pytest.raises(check.CheckError, match=r"Got \['notes\.py'\], which no class of the repository imports"):
        check.check_code(repository)


def test_a_class_without_code_is_named(repository):
    config = json.loads((repository / "config.json").read_text())
    del config["custom_pipelines"]
    (repository / "config.json").write_text(json.dumps(config))
    with pytest.raises(check.CheckError, match=r"Got no code for \['art-classification'\]"):
        check.check_code(repository)


def test_a_card_without_an_entry_is_named(repository):
    edit(repository / "README.md", "library_name: transformers\n", "")
    with pytest.raises(check.CheckError, match=r"Got metadata without library_name\. Needed are license"):
        check.check_card(repository / "README.md")


def test_a_card_that_is_no_yaml_is_named(repository):
    (repository / "README.md").write_text("---\n- a list\n---\n# Title\n")
    with pytest.raises(check.CheckError, match="Got metadata that cannot be read"):
        check.check_card(repository / "README.md")


def test_traces_of_the_machine_are_named(repository, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "atelier-7")
    monkeypatch.setattr("semart_hf.publishing.traces.get_token", lambda: "secretCanary")
    (repository / "results.json").write_text('{"data": "/home/anna/semart"}')
    (repository / "log.txt").write_text("trained on atelier-7 with hf_Canary0123456789abcdef")
    (repository / "notes.txt").write_text("secretCanary")
    (repository / "training_args.bin").write_bytes(b"\x80\x04")
    weights = load_file(repository / "model.safetensors")
    save_file(weights, repository / "model.safetensors", metadata={"format": "pt", "from": "C:\\Users\\anna\\run"})

    found = find_traces(repository)

    assert [sentence.split()[0] for sentence in found] == [
        "log.txt",
        "log.txt",
        "model.safetensors",
        "notes.txt",
        "results.json",
        "training_args.bin",
    ]
    assert "the name of this machine, 'atelier-7'" in found[0]
    assert "'/home/anna'" in found[4]
    assert "is a pickle" in found[5]
    assert not any("Canary" in sentence for sentence in found)
    with pytest.raises(check.CheckError, match=r"because of its traces\. Got 6: log\.txt holds"):
        check.check_traces(repository)


def test_a_folder_of_this_machine_is_a_trace(repository):
    (repository / "notes.md").write_text("made from /srv/atelier/run")

    assert find_traces(repository) == []
    (found,) = find_traces(repository, [Path("/srv/atelier/run")])
    assert found == "notes.md holds a folder of this machine, '/srv/atelier/run'"


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


def test_published_results_name_the_repository(results_file):
    published = read_results(results_file, "anna/delft")

    assert (published["model"], published["data"]) == ("anna/delft", "semart")


def test_what_are_no_results_is_refused(tmp_path):
    (tmp_path / "results.json").write_text('{"tasks": {}}')
    with pytest.raises(ValueError, match=r"without \['num_rows'\]\. Allowed is the results\.json of scripts/evaluate"):
        read_results(tmp_path / "results.json", "anna/delft")
    with pytest.raises(ValueError, match="cannot be read"):
        read_results(tmp_path / "absent.json", "anna/delft")


def test_the_part_that_a_stranger_cannot_load_is_named():
    seen = {"failed": "image processor", "error": "OSError: gone", "traceback": "…"}
    with pytest.raises(
        check.CheckError, match=r"because of its image processor\. Got OSError: gone from delft"
    ) as error:
        list(check.compare(seen, [], "delft"))
    assert error.value.part == "image processor"


def test_other_scores_are_refused():
    def answer(score):
        return [{"type": [{"label": "portrait", "score": score}, {"label": "UNK", "score": 1 - score}]}]

    assert check.largest_difference(answer(0.25), answer(0.25)) == 0
    assert check.largest_difference(answer(0.25), answer(0.5)) == 0.25
    assert check.largest_difference(answer(float("nan")), answer(0.5)) == float("inf")
    assert check.largest_difference(answer(0.5), []) == float("inf")
    assert check.largest_difference([{"school": []}], answer(0.5)) == float("inf")
    with pytest.raises(
        check.CheckError, match=r"because of its scores\. Got scores .* by up to 0\.0001\. Allowed are"
    ):
        list(check.compare({"classes": {}, "answers": answer(0.2501)}, answer(0.25), "delft"))


def test_an_example_that_prints_something_else_is_refused():
    assert check.compare_example("type  0.50\n", "type  0.50") == "prints what the card shows"
    with pytest.raises(check.CheckError, match=r"where the card shows\n0\.51"):
        check.compare_example("0.50", "0.51")


def test_a_folder_with_something_else_is_not_replaced(saved_model, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than an assembled repository"):
        assemble_repository(*saved_model, tmp_path, "anna/delft", choices=CardChoices(TEMPLATE))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_prepared_dataset_needs_data_and_card(tmp_path):
    with pytest.raises(check.CheckError, match=r"without data/\*\.parquet\. Allowed is the folder of a prepared"):
        list(check.check_dataset(tmp_path))
