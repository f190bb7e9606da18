"""scripts/prepare_data.py from a release to a dataset folder."""

import json
import subprocess
import sys

import datasets
import pytest
from tiny_release import load_command, write_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("prepare") / "release")


@pytest.fixture(scope="module")
def script():
    return load_command("prepare")


def test_help_answers_at_once():
    command = [sys.executable, "-X", "importtime", "scripts/prepare_data.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--mask_label_words" in done.stdout
    assert "torch" not in done.stderr


def test_a_release_becomes_a_dataset_folder(script, release, tmp_path, capsys):
    output = tmp_path / "out"
    script.main(["--release", str(release), "--output_dir", str(output), "--image_size", "32"])
    said = capsys.readouterr().out
    assert "with a picture" in said
    assert f"datasets.load_dataset({str(output)!r})" in said
    split = datasets.load_dataset(str(output), split="test", cache_dir=str(tmp_path / "cache"))
    assert min(split[1]["image"].size) == 32  # the first row's picture is missing


def test_releases_are_merged_into_one_vocabulary(script, release, tmp_path):
    output = tmp_path / "out"
    twice = ["--release", str(release), "--release", str(release)]
    script.main([*twice, "--output_dir", str(output), "--image_size", "32"])
    split = datasets.load_dataset(str(output), split="validation", cache_dir=str(tmp_path / "cache"))
    once = datasets.load_dataset(str(output), split="test", cache_dir=str(tmp_path / "cache"))
    assert len(set(split["release"])) == 2
    assert split.features["school"] == once.features["school"]
    problems = [json.loads(line) for line in (output / "problems.jsonl").read_text().splitlines()]
    assert "same_picture" in {problem["problem"] for problem in problems}
    assert "repeated_name" not in {problem["problem"] for problem in problems}
    assert {problem["release"] for problem in problems} <= set(split["release"])


def test_a_mapping_reads_another_catalogue(script, tmp_path):
    (tmp_path / "works.csv").write_text(
        "id,name,kind\n" + "".join(f"{number},Work {number},Bildnis\n" for number in range(20))
    )
    (tmp_path / "mapping.yaml").write_text(
        "columns:\n  title: name\n  type:\n    from: kind\n    values: {Bildnis: portrait}\n"
    )
    output = tmp_path / "out"
    script.main(
        [
            *("--release", str(tmp_path / "works.csv"), "--mapping", str(tmp_path / "mapping.yaml")),
            *("--text_columns", "{TITLE}", "--output_dir", str(output), "--min_label_count", "2"),
        ]
    )
    split = datasets.load_dataset(str(output), split="train", cache_dir=str(tmp_path / "cache"))
    assert split.features["type"].names == ["portrait", "UNK"]
    assert split["text"][0].startswith("Work ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--release", "/nowhere", "--output_dir", "out"], "semart-hf prepare: Got the folder /nowhere"),
        (["--release", "RELEASE", "--output_dir", "out", "--image_size", "3"], "semart-hf prepare: Got image_size=3"),
    ],
)
def test_errors_are_told_without_a_traceback(script, release, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        script.main([str(release) if argument == "RELEASE" else argument for argument in arguments])
    assert not list(tmp_path.iterdir())


def test_command_lines_that_contradict_themselves(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--release", "a", "--mapping", "x", "--mapping", "y", "--output_dir", "out"])
    assert "2 mappings for 1 releases" in capsys.readouterr().err
