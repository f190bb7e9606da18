import io

import pytest
from datasets import load_dataset, load_dataset_builder
from huggingface_hub import DatasetCard
from page_reader import Page
from PIL import Image
from release_builder import encoded, painting, row, write_release

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.schema import Problem
from semart_hf.documents.data_report import finding_table, write_data_report, write_dataset_card
from semart_hf.documents.page import to_jpeg
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings

HOSTILE = "<script>alert('&')</script>: |*_`\"{{x}}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """48 paintings with a hostile label, a leak and a truncated picture."""
    folder = tmp_path_factory.mktemp("report")
    pictures = {f"{number}.jpg": encoded(painting(number)) for number in range(46)}
    large = encoded(painting(99, (300, 360)), quality=95)
    pictures |= {"leak.jpg": pictures["3.jpg"], "cut.jpg": large[: len(large) // 2]}
    train = [row(name, school=HOSTILE if number % 2 else "Dutch") for number, name in enumerate(list(pictures)[:44])]
    train[5]["TITLE"] = HOSTILE
    rows = {"train": [*train, row("cut.jpg", description=HOSTILE)]}
    rows["test"] = [row("44.jpg"), row("45.jpg", author=HOSTILE), row("leak.jpg")]
    release = write_release(folder / "release", rows, pictures)
    options = PreparationOptions(image_size=48, rows_per_shard=10, min_label_count=2)
    prepare_paintings(read_rows(release), folder / "prepared", options, num_proc=1)
    return folder / "prepared"


@pytest.fixture(scope="module")
def report(prepared):
    return Page(write_data_report(prepared).read_text(encoding="utf-8"))


def test_findings_without_a_split_count_among_all_and_thumbnails_are_small():
    problems = {"empty_description": {"train": 64, "test": 8}, "unmapped_value": {"all": 21}}
    table = finding_table({"rows": {"train": {}, "test": {}}, "problems": problems})
    assert table.rows == [["empty_description", 64, 8, 72], ["unmapped_value", 0, 0, 21]]
    picture = Image.open(io.BytesIO(to_jpeg(encoded(painting(0, (600, 800)), "PNG"))))
    assert (picture.format, picture.size) == ("JPEG", (108, 144))
    assert to_jpeg(b"no picture") is None


def test_every_part_is_there_with_forty_paintings_and_what_the_catalogue_has_stays_text(report):
    assert report.text.count("<script>") >= 3  # labels below paintings, a title, the findings' examples
    headings = ["48 paintings", "Splits", "Labels", "Texts that give the answer", "Pictures", "Findings"]
    headings += ["Copies and leakage", "How it was made"]
    assert [heading for heading in headings if heading not in report.text] == []
    assert report.count("painting") == 40 + 2
    assert report.text.count("leaked picture") == 3  # in the sentence, below the picture, among the findings
    assert "truncated picture" in report.text


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"IMAGE_FILE": ""}, "this is a dataset of texts"),
        ({"DESCRIPTION": "", "TECHNIQUE": "", "AUTHOR": "", "SCHOOL": ""}, "this is a dataset of pictures"),
    ],
)
def test_a_dataset_of_one_kind_has_a_report_too(tmp_path, cells, words):
    release = write_release(tmp_path / "release", {"train": [row("0.jpg") | cells]}, {"0.jpg": encoded(painting(0))})
    prepare_paintings(read_rows(release), tmp_path / "out", PreparationOptions(min_label_count=1), num_proc=1)
    with (tmp_path / "out" / "problems.jsonl").open("a") as file:  # of rows that come to splits when they are read
        file.write(Problem(3, None, None, "malformed_row", "too few", "dropped").as_json() + "\n")
    page = Page(write_data_report(tmp_path / "out").read_text(encoding="utf-8"))
    assert words in page.text
    assert "1rows left out" in page.text
    assert "None" not in page.text


def test_a_folder_without_a_prepared_dataset_is_refused(tmp_path):
    for write in (write_data_report, write_dataset_card):
        with pytest.raises(ValueError, match=r"holds no prepared dataset.*--output_dir of `semart-hf prepare`"):
            write(tmp_path)


def test_the_card_is_read_by_datasets_and_keeps_hostile_labels(prepared, tmp_path):
    card = DatasetCard(write_dataset_card(prepared).read_text(encoding="utf-8"))
    (info,) = [card.data.to_dict()["dataset_info"]]
    assert [split["num_examples"] for split in info["splits"]] == [45, 3]
    builder = load_dataset_builder(str(prepared), cache_dir=str(tmp_path))  # from the card alone
    assert builder.info.splits["train"].num_examples == 45
    assert builder.info.features["medium"].names == ["canvas", "UNK"]
    paintings = load_dataset(str(prepared), cache_dir=str(tmp_path))
    assert (len(paintings["train"]), len(paintings["test"])) == (45, 3)
    assert HOSTILE in paintings["train"].features["school"].names
    assert "&lt;script>" in card.text
    assert "{{x}}" in card.text
