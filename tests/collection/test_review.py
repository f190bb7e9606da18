import csv
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warm_python import Python

from semart_hf.collection.labelled_rows import export_decisions
from semart_hf.collection.own_format import open_catalogue
from semart_hf.collection.review import BY_GAIN, ORDERS, begin_review, estimated_accuracy
from semart_hf.collection.review_page import ReviewPage
from semart_hf.collection.sources import Source

TASKS = ["type", "school"]
HEADER = ["image_file", "title", "type"]
HEADER += [f"{task}_{name}" for task in TASKS for name in ("suggested", "confidence", "alternatives", "decision")]
ROWS = [
    ["a.jpg", "A view", "", "landscape", "0.9", "portrait 0.08 | study 0.02", "", "Dutch", "0.3", "Italian 0.2", ""],
    ["b.jpg", "A lady", "portrait", "portrait", "0.8", "landscape 0.2", "known", "French", "0.6", "Dutch 0.4", ""],
    ["c.jpg", "A storm", "genre", "landscape", "0.95", "genre 0.05", "known", "Dutch", "0.7", "French 0.3", ""],
    ["d.jpg", "Unread", "", "", "", "", "", "", "", "", ""],
]


def write(path, rows=ROWS):
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, delimiter=";", lineterminator="\r\n").writerows([HEADER, *rows])
    return source_of(path)


def source_of(path, **options):
    return Source(open_catalogue(path, **options), path.parent, "image_file", ("title",), {"type": "type"})


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "out.csv")


@pytest.fixture
def review(source):
    return begin_review(source, TASKS)


def finish(review, painting, reviewer):
    for suggestion in painting.suggestions:
        if suggestion.state == "open":
            review.decide(painting.row, suggestion.task, suggestion.label, reviewer)


def order_of(review, order, **options):
    rows = []
    while (painting := review.next_painting("ada", order, **options)) is not None:
        rows.append(painting.row)
        wanted = [one for one in painting.suggestions if options.get("task", one.task) == one.task]
        if order == BY_GAIN:
            wanted = [min((one for one in wanted if one.state == "open"), key=lambda one: one.turn)]
        for suggestion in wanted:
            if suggestion.state in ("open", "doubted"):
                review.decide(painting.row, suggestion.task, "x", "ada")
    return rows


def test_a_painting_comes_with_its_suggestions_and_progress_is_counted_by_task(review):
    painting = review.next_painting("ada")
    assert (painting.row, painting.cells["title"]) == (0, "A view")
    school, kind = painting.suggestions[1], painting.suggestions[0]
    assert (kind.label, kind.confidence, kind.known) == ("landscape", 0.9, None)
    assert kind.alternatives == (("portrait", 0.08), ("study", 0.02))
    assert (school.label, school.confidence) == ("Dutch", 0.3)
    review.decide(painting.row, "type", "portrait", "ada")
    review.decide(painting.row, "school", None, "ada")
    progress = review.progress()
    assert [progress["type"][name] for name in ("open", "decided", "skipped", "agreement")] == [0, 1, 0, 0.0]
    assert (progress["school"]["open"], progress["school"]["skipped"]) == (2, 1)
    assert progress["school"]["agreement"] is None
    assert progress["school"]["estimated_accuracy"]["mean"] == pytest.approx(0.65, abs=0.02)  # of 0.6 and 0.7


@pytest.mark.parametrize(
    ("order", "options", "rows"),
    [
        ("least sure first", {}, [0, 1, 2]),  # 0.3, 0.6, 0.7
        ("in the catalogue's order", {"task": "type"}, [0]),
        ("least sure first", {"label": "Dutch"}, [0, 2]),
        # Of school 1.4 wrong answers are expected, of type, which row 0 alone lacks, 0.1.
        ("most expected gain first", {}, [0, 1, 2, 0]),
        ("most expected gain first", {"task": "school"}, [0, 1, 2]),
        ("labels that the model doubts", {}, [2]),  # the catalogue says genre
    ],
)
def test_the_order(review, order, options, rows):
    assert order_of(review, order, **options) == rows


def test_at_random_is_another_order_and_doubted_labels_do_not_count_as_open(tmp_path):
    rows = [[f"{n}.jpg", "", "", "study", f"0.{n + 100}", "", "", "", "", "", ""] for n in range(50)]
    review = begin_review(write(tmp_path / "many.csv", rows), TASKS)
    found = order_of(review, "at random")
    assert sorted(found) == list(range(50))
    assert found != list(range(50))
    rows = [[f"{n}.jpg", "", "genre", "study", "0.9", "", "known", "", "", "", ""] for n in range(30)]
    rows += [[f"{n}.jpg", "", "", "study", "0.95", "", "", "", "", "", ""] for n in range(30, 40)]
    review = begin_review(write(tmp_path / "doubted.csv", rows), TASKS)
    for row in range(30):
        review.decide(row, "type", "genre", "ada")
    progress = review.progress()["type"]
    assert (progress["decided"], progress["agreement"]) == (30, 0.0)
    assert progress["estimated_accuracy"]["mean"] == pytest.approx(0.95, abs=0.02)


def test_two_people_never_get_the_same_painting(review):
    ada, ben = review.next_painting("ada"), review.next_painting("ben")
    assert (ada.row, ben.row) == (0, 1)
    assert review.next_painting("ada").row == 0  # until it is finished
    with pytest.raises(ValueError, match="ada is looking at"):
        review.decide(0, "type", "study", "ben")
    finish(review, ada, "ada")
    with pytest.raises(ValueError, match="is decided already"):
        review.decide(0, "type", "study", "ada")
    assert review.next_painting("ada").row == 2
    finish(review, ben, "ben")
    assert review.next_painting("ben") is None  # the last one is ada's


def test_undone_decisions_are_kept_but_do_not_count(review):
    finish(review, review.next_painting("ada"), "ada")
    assert review.undo("ben") is None
    painting, task = review.undo("ada")
    assert (painting.row, task) == (0, "school")
    assert [decision["task"] for decision in review.decisions()] == ["type"]
    review.decide(0, "school", "Flemish", "ada", is_new=True)
    decisions = {decision["task"]: decision for decision in review.decisions()}
    school = [decisions["school"][name] for name in ("label", "is_new", "suggested", "confidence")]
    assert school == ["Flemish", 1, "Dutch", 0.3]


def test_what_was_skipped_comes_once_more_and_is_left_when_it_is_skipped_again(review):
    order = "what was skipped"
    first = review.next_painting("ada")
    for suggestion in first.suggestions:
        review.decide(first.row, suggestion.task, None, "ada")
    assert review.next_painting("ada").row != first.row
    again = review.next_painting("ada", order)
    assert (again.row, {one.state for one in again.suggestions}) == (first.row, {"skipped"})
    review.decide(first.row, "type", "portrait", "ada")
    review.decide(first.row, "school", None, "ada")
    assert review.next_painting("ada", order) is None
    assert review.progress()["school"]["skipped"] == 1
    assert [(decision["task"], decision["label"]) for decision in review.decisions()] == [("type", "portrait")]


def test_the_estimate_covers_the_truth_though_the_least_sure_were_decided_first():
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        confidences = np.sort(generator.random(400))
        is_right = generator.random(400) < confidences**2  # the model is too sure
        estimate = estimated_accuracy(confidences[::2], is_right[::2], confidences[1::2])
        covered += estimate["low"] <= is_right[1::2].mean() <= estimate["high"]
    assert covered > 160  # 95 % of the expected share, and what 200 rows scatter around it
    assert estimated_accuracy([], [], []) is None


def test_an_export_has_the_decisions_and_every_other_byte(review, source, tmp_path):
    review.decide(0, "type", "study", "ada")
    review.decide(2, "type", "genre", "ben")
    output = tmp_path / "reviewed.csv"
    assert export_decisions(review, source, output) == 2
    before = source.catalogue.path.read_bytes().decode().split("\r\n")
    after = output.read_bytes().decode().split("\r\n")
    new = [f"{task}_decided{what}" for task in TASKS for what in ("", "_by", "_at")]
    assert after[0] == ";".join([before[0], *new])
    assert after[1].startswith("a.jpg;A view;study;landscape;")  # the empty cell is filled
    assert after[2] == before[2] + ";;;;;;"
    assert after[3].startswith(before[3] + ";genre;ben;2")
    changes = list(csv.DictReader((tmp_path / "reviewed.csv.changes.csv").open()))
    assert [(line["row"], line["before"], line["after"]) for line in changes] == [("1", "", "study")]


@pytest.mark.parametrize(
    ("cell", "decision", "order", "known", "exported"),
    [
        ("landscape", "accepted", "least sure first", None, "study"),  # filled in, no label that was known
        ("genre", "unsure", "labels that the model doubts", "genre", "genre"),  # somebody wrote it since
    ],
)
def test_what_was_filled_in_is_replaced_and_a_label_stays(tmp_path, cell, decision, order, known, exported):
    row = ["a.jpg", "A view", cell, "landscape", "0.9", "", decision, "", "", "", ""]
    source = write(tmp_path / "a.csv", [row])
    review = begin_review(source, TASKS)
    assert review.next_painting("ada", order).suggestions[0].known == known
    review.decide(0, "type", "study", "ada")
    export_decisions(review, source, tmp_path / "reviewed.csv")
    row = (tmp_path / "reviewed.csv").read_text().splitlines()[1]
    assert row.startswith(f"a.jpg;A view;{exported};landscape;")


def test_a_review_goes_on_and_refuses_another_catalogue(review, source, tmp_path):
    review.decide(0, "type", "study", "ada")
    assert [d["label"] for d in begin_review(source, TASKS).decisions()] == ["study"]
    export_decisions(review, source, tmp_path / "reviewed.csv")
    with pytest.raises(ValueError, match="it is an export"):
        begin_review(source_of(tmp_path / "reviewed.csv"), TASKS)
    write(source.catalogue.path, ROWS[:2])
    with pytest.raises(ValueError, match="another version of it"):
        begin_review(source_of(source.catalogue.path), TASKS)
    with pytest.raises(ValueError, match="no column like medium_suggested"):
        begin_review(source_of(source.catalogue.path), ["medium"])
    with pytest.raises(ValueError, match="about another version of it"):
        export_decisions(review, source, tmp_path / "reviewed.csv")
    review.path = review.path.with_name("absent") / "nowhere.sqlite3"
    with pytest.raises(OSError, match="cannot be read or written"):
        review.decide(0, "type", "study", "ada")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda review: review.next_painting("ada", "best first"), f"Allowed are {list(ORDERS)[:1]}"[:-1]),
        (lambda review: review.next_painting("ada", task="size"), "Allowed are"),
        (lambda review: review.decide(0, "size", "large", "ada"), "nothing to decide"),
        (lambda review: review.decide(1, "type", "study", "ada"), "nothing to decide"),
        (lambda review: review.painting(99), "no suggestion to review"),
    ],
)
def test_what_is_refused(review, call, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        call(review)


DECIDE = """
import sys
from pathlib import Path
from semart_hf.collection.review import Review
review = Review(Path(sys.argv[1]))
while (painting := review.next_painting(sys.argv[2])) is not None:
    for suggestion in painting.suggestions:
        review.decide(painting.row, suggestion.task, "x", sys.argv[2])
        print(painting.row, flush=True)
"""


def test_what_a_killed_process_was_told_is_kept(tmp_path):
    rows = [[f"{n}.jpg", "", "", "study", "0.5", "", "", "Dutch", "0.5", "", ""] for n in range(400)]
    review = begin_review(write(tmp_path / "many.csv", rows), TASKS)
    with ExitStack() as stack:
        people = [Python("-c", DECIDE, review.path, name, output=tmp_path / name) for name in ("ada", "ben", "cleo")]
        ada, *_ = [stack.enter_context(process) for process in people]
        ada.wait_until(lambda: len((tmp_path / "ada").read_text().splitlines()) > 20)
        ada.signal(9)
        ada.process.join()
        confirmed = (tmp_path / "ada").read_text().splitlines()
        decided = [decision for decision in review.decisions() if decision["reviewer"] == "ada"]
        assert len(confirmed) <= len(decided) <= len(confirmed) + 1
    everything = [(decision["row"], decision["task"]) for decision in review.decisions()]
    assert len(everything) == len(set(everything))  # nobody decided what another had


def test_many_rows_are_no_slower_at_the_end(tmp_path):
    rows = [[f"{n}.jpg", "", "", "study", f"{n / 20000:.5f}", "", "", "", "", "", ""] for n in range(20_000)]
    review = begin_review(write(tmp_path / "many.csv", rows), TASKS)
    with review._connected() as connection:
        for order, _ in ORDERS.values():
            tables = "suggestion AS open CROSS JOIN painting USING (row)"
            query = f"SELECT open.row FROM {tables} WHERE open.state = 'open' AND leased_until < 9 ORDER BY {order}"
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query} LIMIT 1").fetchall()
            assert not any("TEMP B-TREE" in step[-1] for step in plan), plan  # nothing is sorted for one painting
        held = "painting CROSS JOIN suggestion AS open USING (row) WHERE +open.state = 'open' AND reviewer = 'a'"
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT open.row FROM {held} LIMIT 1")
        assert any("SEARCH open USING PRIMARY KEY" in step[-1] for step in plan)
    barrier = threading.Barrier(2)
    found = []

    def ask(reviewer):
        barrier.wait()
        for _ in range(20):
            painting = review.next_painting(reviewer)
            found.append(painting.row)
            review.decide(painting.row, "type", "study", reviewer)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ("ada", "ben")))
    assert sorted(found) == list(range(40))


def test_an_earlier_skip_takes_no_decision_back(review):
    review.decide(0, "type", None, "ada")
    review.next_painting("ada", task="school")
    review.decide(1, "school", None, "ada")  # she has gone on to another painting
    review.decide(0, "type", "portrait", "ben")
    assert [(d["row"], d["label"]) for d in review.decisions()] == [(0, "portrait")]
    assert review.undo("ada")[1] == "school"
    assert review.undo("ada") is None
    assert [d["reviewer"] for d in review.decisions()] == ["ben"]


def test_undo_takes_no_painting_from_whoever_looks_at_it(review):
    review.decide(0, "type", "portrait", "ada")
    assert review.next_painting("ada", label="Dutch", task="school").row == 0
    review.decide(2, "school", "Dutch", "ada")
    assert review.next_painting("ben").row == 0
    review.undo("ada")
    with pytest.raises(ValueError, match="which ben is looking at now"):
        review.undo("ada")


def test_labels_that_look_like_lists_and_bytes_that_are_no_text(tmp_path):
    row = ["a.jpg", "A \udce9", "", "oil", "0.5", "oil |\ncanvas 0.30 | panel, 3 | 4 parts 0.20", "", "", "", "", ""]
    write(tmp_path / "odd.csv", [row])
    source = source_of(tmp_path / "odd.csv", encoding="utf-8")
    page = ReviewPage(begin_review(source, TASKS), source, {"type": ["oil |\ncanvas"]}, str)
    painting = page.review.next_painting("ada")
    assert painting.suggestions[0].alternatives == (("oil |\ncanvas", 0.3), ("panel, 3 | 4 parts", 0.2))
    painting.cells["title"].encode()
    page.keep(0, "type", "oil |\ncanvas", "ada")
    assert [(one["label"], one["is_new"]) for one in page.review.decisions()] == [("oil |\ncanvas", 0)]


def test_a_workbook_is_exported_twice(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    pd.DataFrame(ROWS, columns=HEADER).to_excel(tmp_path / "out.xlsx", index=False)
    source = source_of(tmp_path / "out.xlsx")
    review = begin_review(source, TASKS)
    review.decide(0, "type", "study", "ada")
    export_decisions(review, source, tmp_path / "one.xlsx")
    assert len((tmp_path / "one.xlsx.changes.csv").read_text().splitlines()) == 2
    review.undo("ada")
    export_decisions(review, source, tmp_path / "two.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "two.xlsx").active
    assert [cell.value for cell in sheet[1]].count("type_decided") == 1
    assert [cell.value for cell in sheet[2]][2] in (None, "")


def test_a_column_that_holds_no_text_is_not_filled(tmp_path):
    columns = {name: [row[place] or None for row in ROWS] for place, name in enumerate(HEADER)}
    table = pa.table({**columns, "type": pa.nulls(len(ROWS))})
    pq.write_table(table, tmp_path / "out.parquet")
    source = source_of(tmp_path / "out.parquet")
    review = begin_review(source, TASKS)
    review.decide(0, "type", "study", "ada")
    assert export_decisions(review, source, tmp_path / "reviewed.parquet") == 1
    found = pq.read_table(tmp_path / "reviewed.parquet")
    assert found["type_decided"][0].as_py() == "study"
    assert found["type"].null_count == len(ROWS)
