import csv
from types import SimpleNamespace

import psutil
import pytest

from semart_hf.collection import suggestions
from semart_hf.collection.own_format import Row, open_catalogue
from semart_hf.collection.sources import Source, find_source
from semart_hf.collection.suggestions import Suggester
from semart_hf.files import _acquired

TASKS = ["type", "school"]
SOURCE = Source(None, None, "image", ("note",), {"type": "Type"})


def classify(paintings):
    """Answers that a text gives: `portrait` with the confidence that it holds."""

    def answer(text):
        ranked = [{"label": "portrait", "score": float(text)}, {"label": "still", "score": 0.125}]
        return dict.fromkeys(TASKS, ranked)

    texts = [painting["text"] for painting in paintings]
    return [{"error": "no picture"} if text == "bad" else answer(text) for text in texts]


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make(path, num_rows, note="0.75"):
    rows = (f"{number},,{note if number % 7 else 'bad'},{'' if number % 3 else 'genre'}" for number in range(num_rows))
    path.write_text("id,image,note,Type\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(path, output, answer=classify, *, fill=False):
    source = SOURCE._replace(catalogue=open_catalogue(path), images=path.parent)
    alone = SimpleNamespace(process_index=0, num_processes=1, wait_for_everyone=lambda: None)
    return Suggester(source, TASKS, {"type": 0.5}, ["Type"] * fill).suggest(output, answer, {"model": "m"}, alone)


def answered_and_failed(counts):
    return counts["answered"], counts["failed"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["ID", "Image_File", "TITLE", "DESCRIPTION", "TYPE"], ("Image_File", ("DESCRIPTION",), {"type": "TYPE"})),
        (["filename", "title", "artist", "image_url"], ("filename", ("title",), {})),
        (["painting_code", "painting_description", "support"], (None, ("painting_description",), {})),
    ],
)
def test_obvious_names_are_found(columns, expected):
    catalogue = SimpleNamespace(columns=columns, path="a.csv")
    assert find_source(catalogue, TASKS)[2:5] == expected
    preferred = "image_url" if "image_url" in columns else expected[0]
    assert find_source(catalogue, TASKS, fetch_pictures=True).image_column == preferred  # pictures are fetched


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"none of which is obviously a picture or a text\. Name them: --image_column"),
        ({"text_columns": ["a"]}, "has the column 'type_decision' already"),
        ({"text_columns": ["text"]}, r"the column 'text', which a\.csv lacks. Allowed are \['a', 'type_decision'\]"),
    ],
)
def test_a_catalogue_without_an_obvious_column_and_one_with_suggestions_are_refused(options, message):
    catalogue = SimpleNamespace(columns=["a", "type_decision"], path="a.csv")
    with pytest.raises(ValueError, match=message):
        find_source(catalogue, TASKS, **options)


def test_rows_say_what_is_suggested_how_surely_and_what_to_do_with_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,image,note,Type\n1,,0.75,\n2,,0.25,\n3,,0.75,genre\n4,,bad,\n5,none.jpg,0.75,\n6,,,\n7,8\n")
    counts = run(path, tmp_path / "out.csv", fill=True)
    assert answered_and_failed(counts) == (4, 3)
    assert [counts[f"type {name}"] for name in suggestions.DECISIONS] == [1, 2, 1, 0]
    rows = read(tmp_path / "out.csv")
    assert [row["type_suggested"] for row in rows] == ["portrait", "portrait", "portrait", "", "portrait", "", ""]
    assert [row["type_confidence"] for row in rows][:3] == ["0.75", "0.25", "0.75"]
    assert rows[0]["type_alternatives"] == "still 0.12"
    assert [row["type_decision"] for row in rows][:3] == ["accepted", "unsure", "known"]
    assert [row["school_decision"] for row in rows][:3] == ["not calibrated"] * 3
    assert [row["Type"] for row in rows][:4] == ["portrait", "", "genre", ""]
    assert [row["filled_by_suggestion"] for row in rows][:3] == ["Type", "", ""]
    labels = [SOURCE.label(row, "type") for row in open_catalogue(tmp_path / "out.csv").rows()]
    assert labels[:3] == [None, None, "genre"]
    assert SOURCE.label(Row({"Type": "genre", "filled_by_suggestion": "Work Type | Medium"}), "type") == "genre"
    assert SOURCE.label(Row({"Type": "genre", "filled_by_suggestion": "Type School"}), "type") is None  # earlier
    assert [row["suggestion_problem"] for row in rows] == [
        "", "", "", "no picture", "there is no file none.jpg", "The row has neither a picture nor a text.",
        "Line 8 has 2 cells, the header has 4.",
    ]  # fmt: skip


def test_a_picture_never_lies_outside_its_folder_and_an_odd_name_costs_its_row_alone(tmp_path):
    source = SOURCE._replace(images=tmp_path)
    with pytest.raises(ValueError, match="pictures lie inside their folder"):
        source.painting(Row({"image": "../a.jpg"}))
    row = Row({"image": "https://museum.example/a.jpg", "note": None})
    with pytest.raises(ValueError, match="predict and index fetch it with --fetch_pictures"):
        source.painting(row)
    assert source.painting(Row({"note": "caf&eacute; &c."}))[0] == {"text": "café &c."}
    painting, problem = source._replace(fetch=str.encode).painting(row)
    painting["image"].seek(0)
    assert (painting["image"].read(), problem) == (b"https://museum.example/a.jpg", None)
    path = tmp_path / "a.csv"
    path.write_bytes("id,image,note,Type\n1,é.jpg,0.75,\n2,".encode() + b"\xff\x07.jpg,,\n")
    assert answered_and_failed(run(path, tmp_path / "out.csv")) == (1, 1)
    assert "there is no file \ufffd .jpg" in (tmp_path / "out.csv").read_text("utf-8", errors="replace")


def test_a_row_whose_picture_cannot_be_read_is_answered_by_its_text(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"broken")

    def classify_images(paintings):
        return [{"error": "Painting 0: broken"} if "image" in one else classify([one])[0] for one in paintings]

    path = tmp_path / "a.csv"
    path.write_text("id,image,note,Type\n1,a.jpg,0.75,\n2,a.jpg,,\n")
    assert answered_and_failed(run(path, tmp_path / "out.csv", classify_images)) == (1, 1)
    rows = read(tmp_path / "out.csv")
    assert [row["type_suggested"] for row in rows] == ["portrait", ""]
    assert [row["suggestion_problem"] for row in rows] == ["broken", "broken"]


def test_a_killed_run_continues_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(suggestions, "PART_ROWS", 10)
    path = make(tmp_path / "a.csv", 57)
    run(path, tmp_path / "undisturbed.csv")
    asked = []

    def killed(paintings):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(len(paintings))
        return classify(paintings)

    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out.csv", killed)
    assert not (tmp_path / "out.csv").exists()
    again = []
    run(path, tmp_path / "out.csv", lambda paintings: again.append(len(paintings)) or classify(paintings))
    assert (asked, again) == ([10, 10, 10], [10, 10, 7])
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "out.csv", "undisturbed.csv"]


def test_answers_of_other_work_are_not_continued_and_two_runs_do_not_write_one_output(tmp_path, monkeypatch):
    monkeypatch.setattr(suggestions, "PART_ROWS", 10)
    monkeypatch.setattr("semart_hf.files.LOCK_SECONDS", 0.1)
    path = make(tmp_path / "a.csv", 20)
    folder = tmp_path / ".out.csv.answers"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"model": "another"}')
    (folder / "000000.jsonl").write_text("nonsense")
    refused = pytest.raises(ValueError, match="Another process is at work")
    with _acquired(tmp_path / "..out.csv.answers.lock", tmp_path, 0), refused:
        run(path, tmp_path / "out.csv")
    assert answered_and_failed(run(path, tmp_path / "out.csv")) == (17, 3)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    path = make(tmp_path / "a.csv", 200_000, note="0.75" + "0" * 200)
    process, held = psutil.Process(), []

    def watched(paintings):
        held.append(process.memory_info().rss)
        return classify(paintings)

    counts = run(path, tmp_path / "out.csv", watched)
    held.append(process.memory_info().rss)
    assert counts["answered"] == 200_000 - -(-200_000 // 7)
    assert max(held) - held[5] < path.stat().st_size / 2
