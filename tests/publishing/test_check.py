import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semart_hf.documents.paths import without_folders
from semart_hf.publishing import check
from semart_hf.publishing.model_repository import CardChoices, assemble_repository, read_results
from semart_hf.publishing.private_content import find_private_content

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "semart_hf" / "templates" / "model_card.md"


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
    assert "no token" in check.check_private_content(repository)
    assert "all finite" in check.check_weights(repository)
    assert "0 results" in check.check_card(repository / "README.md")


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
def test_what_is_left_of_weights_is_searched_all_the_same(repository, length):
    path = repository / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])

    assert find_private_content(repository) == []
    with pytest.raises(check.CheckError, match=r"because of its weights"):
        check.check_weights(repository)


def test_a_card_without_an_entry_is_named(repository):
    edit(repository / "README.md", "library_name: transformers\n", "")
    with pytest.raises(check.CheckError, match=r"Got metadata without library_name\. Needed are license"):
        check.check_card(repository / "README.md")


def test_a_card_that_is_no_yaml_is_named(repository):
    (repository / "README.md").write_text("---\n- a list\n---\n# Title\n")
    with pytest.raises(check.CheckError, match="Got metadata that cannot be read"):
        check.check_card(repository / "README.md")


def test_private_content_is_named(repository, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "atelier-7")
    monkeypatch.setattr("semart_hf.publishing.private_content.get_token", lambda: "secretCanary")
    (repository / "results.json").write_text('{"data": "/home/anna/semart"}')
    (repository / "log.txt").write_text("trained on atelier-7 with hf_Canary0123456789abcdef")
    (repository / "notes.txt").write_text("secretCanary")
    (repository / "training_args.bin").write_bytes(b"\x80\x04")
    weights = load_file(repository / "model.safetensors")
    save_file(weights, repository / "model.safetensors", metadata={"format": "pt", "from": "C:\\Users\\anna\\run"})

    found = find_private_content(repository)

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
    with pytest.raises(check.CheckError, match=r"because of its private content\. Got 6: log\.txt holds"):
        check.check_private_content(repository)


def test_a_folder_of_this_machine_is_private(repository):
    (repository / "notes.md").write_text("made from /srv/atelier/run")

    assert find_private_content(repository) == []
    (found,) = find_private_content(repository, [Path("/srv/atelier/run")])
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
    with pytest.raises(ValueError, match=r"without \['num_rows'\]\. Allowed is the results\.json of `semart-hf ev"):
        read_results(tmp_path / "results.json", "anna/delft")
    with pytest.raises(ValueError, match="cannot be read"):
        read_results(tmp_path / "absent.json", "anna/delft")


def test_the_part_that_does_not_load_is_named():
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
    assert np.isnan(check.largest_difference(answer(float("nan")), answer(0.5)))
    assert check.largest_difference(answer(0.5), []) == float("inf")
    assert check.largest_difference([{"school": []}], answer(0.5)) == float("inf")
    with pytest.raises(
        check.CheckError, match=r"because of its scores\. Got scores .* by up to 0\.0001\. Allowed are"
    ):
        list(check.compare({"classes": {}, "answers": answer(0.2501)}, answer(0.25), "delft"))
    with pytest.raises(check.CheckError, match=r"because of its scores\. .* by up to nan"):
        list(check.compare({"classes": {}, "answers": answer(float("nan"))}, answer(0.25), "delft"))


def test_an_example_that_prints_something_else_is_refused(repository, saved_model, monkeypatch):
    def ask(order):
        expected = check.score_paintings(*saved_model, order["paintings"])
        return {"classes": {}, "answers": expected, "printed": "another answer"}

    monkeypatch.setattr(check, "ask_clean_process", ask)
    with pytest.raises(check.CheckError, match=r"example of the card\. Got the output\nanother answer\nwhere"):
        list(check.check_repository(repository, *saved_model, "anna/delft"))


@pytest.mark.parametrize("name", ["thesis.txt", "checkpoint-7/model.safetensors.bak", "figures/mine.svg"])
def test_nothing_but_an_earlier_repository_is_replaced(saved_model, assembled, tmp_path, name):
    folder = Path(shutil.copytree(assembled, tmp_path / "delft"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"which holds {name}\. Replaced is nothing but an earlier repository"):
        assemble_repository(*saved_model, folder, "anna/delft", choices=CardChoices(TEMPLATE))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (folder / name).unlink()
    assemble_repository(*saved_model, folder, "anna/delft", choices=CardChoices(TEMPLATE))
    assert {path.name for path in tmp_path.iterdir()} == {"delft"}


def test_an_earlier_repository_stays_when_the_new_one_fails(saved_model, repository, tmp_path):
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="cannot be read"):
        assemble_repository(
            *saved_model, repository, "anna/delft", choices=CardChoices(TEMPLATE), results=[tmp_path / "absent.json"]
        )
    with pytest.raises(ValueError, match=r"absent\.md"):
        assemble_repository(*saved_model, repository, "anna/delft", choices=CardChoices(tmp_path / "absent.md"))
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_a_prepared_dataset_needs_data_and_card(tmp_path):
    with pytest.raises(check.CheckError, match=r"without data/\*\.parquet\. Allowed is the folder of a prepared"):
        list(check.check_dataset(tmp_path))
