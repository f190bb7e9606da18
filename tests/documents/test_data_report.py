import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from release_builder import encoded, painting, row, write_release

from semart_hf.catalogue.release import read_rows
from semart_hf.documents.report_elements import Exhibit, bars, heat_map, histogram, page, scatter, sheet, table
from semart_hf.documents.report_source import rows_at, thumbnail
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings

HOSTILE = "<script>alert('&')</script>"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """48 paintings with a hostile label, a leak and a truncated picture."""
    folder = tmp_path_factory.mktemp("report")
    pictures = {f"{number}.jpg": encoded(painting(number)) for number in range(46)}
    large = encoded(painting(99, (300, 360)), quality=95)
    pictures |= {"leak.jpg": pictures["3.jpg"], "cut.jpg": large[: len(large) // 2]}
    train = [row(name, school=HOSTILE if number % 2 else "Dutch") for number, name in enumerate(list(pictures)[:44])]
    train[5]["TITLE"] = HOSTILE
    rows = {
        "train": [*train, row("cut.jpg", description=HOSTILE)],
        "test": [row("44.jpg"), row("45.jpg", author=HOSTILE), row("leak.jpg")],
    }
    release = write_release(folder / "release", rows, pictures)
    options = PreparationOptions(image_size=48, rows_per_shard=10, min_label_count=2)
    prepare_paintings(read_rows(release), folder / "prepared", options, num_proc=1)
    return folder / "prepared"


@pytest.fixture(scope="module")
def report(prepared):
    return Page((prepared / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_needs_no_other_file(report):
    assert report.open == []
    for tag, attributes in report.tags:
        assert tag not in ("script", "link", "iframe", "object"), tag
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    content = "".join(str(attributes) for _, attributes in report.tags)
    assert set(re.findall(r"https?://[^'\"]+", content)) == {"http://www.w3.org/2000/svg"}


def test_what_the_catalogue_says_stays_text(report):
    assert report.text.count("<script>") >= 3  # a label, a title, and the findings' examples


def test_every_part_is_there(report):
    for heading in (
        "48 paintings",
        "Paintings",
        "Splits",
        "Labels",
        "Schools through time",
        "Painters and techniques",
        "Texts",
        "Texts that give the answer",
        "Pictures",
        "Findings",
        "Copies and leakage",
        "Rejected pictures",
        "How it was made",
    ):
        assert heading in report.text, heading


def test_forty_paintings_are_shown_and_the_leak_and_the_rejected_one(report):
    pictures = [attributes for tag, attributes in report.tags if tag == "img"]
    assert len(pictures) == 40 + 2 + 1
    assert report.text.count("leaked picture") == 1
    assert "the file ends before the picture does" in report.text


def test_rows_are_read_from_their_groups(prepared):
    files = sorted((prepared / "data").glob("train-*.parquet"))
    found = dict(rows_at(files, [44, 0, 11, 12, 12]))
    assert list(found) == [0, 11, 12, 44]
    assert [row["image_file"] for row in found.values()] == ["0.jpg", "11.jpg", "12.jpg", "cut.jpg"]
    assert found[44]["image"] is None


def test_a_dataset_without_pictures_has_a_report_too(tmp_path):
    release = write_release(tmp_path / "release", {"train": [row(""), row("", school="", timeframe="")]}, {})
    prepare_paintings(read_rows(release), tmp_path / "out", PreparationOptions(min_label_count=1), num_proc=1)
    text = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "this is a dataset of texts" in text
    assert "Rejected pictures" not in text


def test_a_dataset_without_texts_has_a_report_too(tmp_path):
    rows = [row("0.jpg", description="", technique="", author="", school="")]
    release = write_release(tmp_path / "release", {"train": rows}, {"0.jpg": encoded(painting(0))})
    prepare_paintings(read_rows(release), tmp_path / "out", PreparationOptions(min_label_count=1), num_proc=1)
    text = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "this is a dataset of pictures" in text


def test_bars_are_shares_of_their_split():
    drawing = bars({"train": {"a": 30, "b": 10}, "test": {"a": 1, "b": 3}}, ["a", "b"], width=400)
    lengths = [float(length) for length in re.findall(r'<rect [^>]*width="([\d.]+)"', drawing)]
    assert lengths == pytest.approx([lengths[0], lengths[0] / 3, lengths[0] / 3, lengths[0]], abs=0.1)
    assert "30 · 1" in drawing
    assert "10 · 3" in drawing


def test_bars_of_nothing():
    assert "<svg" in bars({"train": {}}, ["a"])
    assert "<svg" in bars({}, [])


def test_a_heat_map_shows_its_counts():
    drawing = heat_map(
        {("Dutch", "1601-1650"): 1200, ("Dutch", "1651-1700"): 3}, ["Dutch"], ["1601-1650", "1651-1700"]
    )
    assert "1,200" in drawing
    assert "rgba(140,47,27,1.000)" in drawing
    assert "rgba(140,47,27,0.050)" in drawing


def test_histogram_and_scatter():
    drawing = histogram([1, 4, 2], 16, "tokens", {16: "limit", 999: "far"})
    assert "limit" in drawing
    assert "far" not in drawing
    assert histogram([], 16, "tokens").startswith("<svg")
    assert scatter([(100, 50), (300, 900)], "width", "height").count("<circle") == 2


def test_tables_and_sheets_escape_what_they_show():
    assert "&lt;b&gt;" in table(["name", "number"], [["<b>", 1234]])
    assert '<td class="number">1,234</td>' in table(["name", "number"], [["<b>", 1234]])
    shown = sheet([Exhibit(None, '"><b>', ("<i>",), "<u>", "<s>")])
    assert not re.search(r"<[bus]>", shown)
    assert "<title>&lt;b&gt;</title>" in page("<b>", "")


def test_thumbnails_are_small_jpegs():
    content = thumbnail(encoded(painting(0, (600, 800)), "PNG"))
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.size) == ("JPEG", (180, 240))
    assert thumbnail(None) is None
