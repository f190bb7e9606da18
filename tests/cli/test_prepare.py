from collections import Counter

import datasets
import pytest
from PIL import Image
from release_builder import contents, problems_of
from tiny_release import load_command

script = load_command("prepare")


def test_a_dataset_is_made_at_an_address_too_and_of_several_releases(release, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    words = ["--release", str(release), "--image_size", "32", "--output_dir"]
    script.main([*words, str(tmp_path / "here")])
    assert "with a picture" in capsys.readouterr().out
    split = datasets.load_dataset(str(tmp_path / "here"), split="test")
    assert min(split[1]["image"].size) == 32  # the first row's picture is missing
    script.main([*words, (tmp_path / "there").as_uri()])
    assert f"datasets.load_dataset('file://{tmp_path}/there')" in capsys.readouterr().out
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    with pytest.raises(SystemExit, match="where something lies already"):
        script.main([*words, (tmp_path / "there").as_uri()])
    script.main(["--release", str(release), *words, str(tmp_path / "twice")])
    splits = datasets.load_dataset(str(tmp_path / "twice"))
    assert len(set(splits["validation"]["release"])) == 2
    assert splits["validation"].features["school"] == splits["test"].features["school"]
    problems = problems_of(tmp_path / "twice")
    found = {problem["problem"] for problem in problems}
    assert "same_picture" in found
    assert {problem["release"] for problem in problems} <= set(splits["validation"]["release"])


def test_a_catalogue_of_techniques_alone_has_media_and_says_what_cannot_be_learned(tmp_path, capsys):
    rows = "".join(f"Work {number},{'oil on canvas' if number % 2 else 'fresco'}\n" for number in range(20))
    (tmp_path / "works.csv").write_text("name,material\n" + rows)
    (tmp_path / "mapping.yaml").write_text("columns: {title: name, technique: material}\n")
    command = ["--release", str(tmp_path / "works.csv"), "--text_columns", "TITLE", "--min_label_count", "2"]
    output = tmp_path / "my data"
    script.main([*command, "--mapping", str(tmp_path / "mapping.yaml"), "--output_dir", str(output)])
    printed = capsys.readouterr().out
    assert "type: 0 labels 0 times; 20 rows without: nothing to learn\n" in printed
    assert "medium: 2 labels 20 times; 0 rows without\n" in printed
    assert f"semart-hf train semart-text_only --data '{output}' --output_dir OUT\n" in printed


@pytest.mark.parametrize(
    ("pictures", "texts", "expected"),
    [(9, 9, "semart-efficientnet_b0"), (9, 0, "semart-image_only"), (0, 9, "semart-text_only")],
)
def test_the_training_that_is_named_shows_what_there_is(pictures, texts, expected):
    rows, texts = {"train": {"with_picture": pictures}}, {"train": {"texts": texts}}
    assert script.recipe_for({"rows": rows, "named_labels": texts}) == expected


def test_labels_that_are_all_too_rare_are_named():
    counts = {"train": {"UNK": 3, "unknown": 5}, "test": {"UNK": 1, "unknown": 0}}
    rare = "rare ones (UNK, see --min_label_count); 5 rows without"
    assert script.labels_in_words(counts) == f"0 labels 0 times, 4 {rare}: nothing to learn"
    assert script.labels_in_words({"test": {"a": 7}}) == "1 label 7 times; 0 rows without: nothing to learn"
    counts["train"]["portrait"] = 12
    assert script.labels_in_words(counts) == f"1 label 12 times, 4 {rare}"
    several = {"train": {"boat": 12, "sea": 9, "unknown": 5}}
    assert script.labels_in_words(several, has_several=True) == "2 labels 21 times; 5 rows without"


@pytest.fixture
def foreign(tmp_path):
    """A catalogue in cp1250 with semicolons, whose pictures are links."""
    names = [f"{number}.jpg" for number in range(4)]
    dates = ["um 1655", "165?", "1660", "120 v. Chr."]
    rows = [f"{name};Pejzaż z łąką;portrait;{date}" for name, date in zip(names, dates, strict=True)]
    text = "\n".join(["datei;titel;gattung;datum", *rows])
    (tmp_path / "works.csv").write_bytes(f"{text}\n".encode("cp1250"))
    mapping = "columns: {image_file: datei, title: titel, type: gattung, timeframe: {from: datum, as: half_century}}\n"
    (tmp_path / "mapping.yaml").write_text(mapping)
    (tmp_path / "store").mkdir()
    (tmp_path / "Images").mkdir()
    for name in names:
        Image.new("RGB", (60, 80), (50, 100, 10 * int(name[0]))).save(tmp_path / "store" / name)
        (tmp_path / "Images" / name).symlink_to(tmp_path / "store" / name)
    release = ["--release", str(tmp_path / "works.csv"), "--mapping", str(tmp_path / "mapping.yaml")]
    return [*release, "--image_size", "32"]


def findings_of(folder):
    return Counter(problem["problem"] for problem in problems_of(folder))


def test_links_encoding_and_dates_of_a_foreign_catalogue(foreign, tmp_path, capsys):
    output = ["--output_dir", str(tmp_path / "out"), "--text_columns", "TITLE", "--min_label_count", "1"]
    refused = r"(?s)0 readable pictures for 4 rows.*a link that leads outside.*--follow_links"
    with pytest.raises(SystemExit, match=refused):
        script.main([*foreign, *output])
    assert not (tmp_path / "out").exists()
    script.main([*foreign, *output, "--follow_links"])
    found = findings_of(tmp_path / "out")
    assert (found["improbable_text"], found["uncertain_date"]) == (1, 2)
    assert "improbable_text" in capsys.readouterr().out
    said = [*foreign, "--follow_links", "--encoding", "cp1250", "--delimiter", "semicolon"]
    script.main([*said, "--output_dir", str(tmp_path / "again"), "--text_columns", "TITLE", "--min_label_count", "1"])
    assert "improbable_text" not in findings_of(tmp_path / "again")
    split = datasets.load_dataset(str(tmp_path / "again"), split="train", cache_dir=str(tmp_path / "cache"))
    assert split["title"][0] == "Pejzaż z łąką"
    assert split.features["timeframe"].names == ["1651-1700", "UNK"]
    script.main([*foreign, *output[2:], "--output_dir", str(tmp_path / "few"), "--min_pictures", "0"])
    assert findings_of(tmp_path / "few")["linked_picture"] == 4


def test_mappings_are_found_by_name(foreign, tmp_path):
    with pytest.raises(SystemExit, match=r"mapping louvre, but .* the names are \['met', 'nga', 'wikiart'\]"):
        script.main(["--release", foreign[1], "--mapping", "louvre", "--output_dir", str(tmp_path / "out")])
    missing = r"with the columns \['Classification'\], but they are not in works\.csv: the header"
    with pytest.raises(SystemExit, match=missing):
        script.main(["--release", foreign[1], "--mapping", "met", "--output_dir", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("/nowhere", "semart-hf prepare: Got the folder /nowhere"),
        ("RELEASE --image_size 3", "semart-hf prepare: Got image_size=3"),
        ("/nowhere --mapping x --mapping y", "2 mappings for 1 releases"),
        ("/nowhere --num_proc 0", "got --num_proc 0: give"),
        ("/nowhere --min_pictures nan", "got --min_pictures nan: give"),
    ],
)
def test_errors_are_shown_without_a_traceback(release, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        script.main(["--output_dir", "out", "--release", *arguments.replace("RELEASE", str(release)).split()])
    assert message in f"{raised.value} {capsys.readouterr().err}"
    assert not list(tmp_path.iterdir())
