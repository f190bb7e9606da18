import csv

import pandas as pd
import pytest

from semart_hf.collection.labelled_rows import export_decisions
from semart_hf.collection.own_format import Row, open_catalogue
from semart_hf.collection.review import begin_review
from semart_hf.collection.review_page import ReviewPage
from semart_hf.collection.sources import Source, joined, separators_of
from semart_hf.collection.suggestions import Answer, Suggester, in_one_cell

SUBJECTS = {"name": "subjects", "kind": "multi_label", "labels": ["boat", "river", "tree"]}
SUBJECTS |= {"thresholds": [0.5, 0.3, 1]}
TASKS = [{"name": "type", "labels": ["landscape", "portrait"]}, SUBJECTS]
SOURCE = Source(None, None, None, ("title",), {"subjects": "subjects"}, {"subjects": ";"})
READER = ("Ada", "in the catalogue's order", "", "")


def answer(boat, river, tree, portrait=0.75):
    found = {"type": [("portrait", portrait), ("landscape", 1 - portrait)]}
    found["subjects"] = sorted([("boat", boat), ("river", river), ("tree", tree)], key=lambda pair: -pair[1])
    return {task: [{"label": label, "score": score} for label, score in ranked] for task, ranked in found.items()}


def test_an_answer_of_several_labels_becomes_one_cell():
    found = in_one_cell(answer(0.75, 0.5, 0.9), TASKS)
    assert found["type"] == answer(0, 0, 0)["type"]
    best, *others = found["subjects"]
    assert best == {"label": "boat; river", "score": pytest.approx(0.75 * 0.5 * 0.1)}
    assert others == [{"label": "tree", "score": 0.9}]
    assert in_one_cell(answer(0.25, 0.25, 0.25), TASKS)["subjects"][0] == {"label": "", "score": 0.75**3}
    assert separators_of([SUBJECTS | {"separator": "|"}, TASKS[0]]) == {"subjects": "|"}
    assert (joined(["a", "b"], "|"), joined(["a", "b"], ",")) == ("a|b", "a, b")


@pytest.mark.parametrize(
    ("scores", "decision", "filled"),
    [
        ((0.9, 0.9, 0.0), "accepted", {"subjects": "boat; river"}),
        ((0.6, 0.6, 0.0), "unsure", {}),
        ((0.0, 0.0, 0.0), "unsure", {}),  # surely none of them, which is no cell's content
    ],
)
def test_accepted_labels_are_filled_in_together(scores, decision, filled):
    row = Row({"title": "a view", "subjects": None})
    found = Answer(in_one_cell(answer(*scores), TASKS), "")
    addition = Suggester(SOURCE, ["subjects"], {"subjects": 0.8}, ["subjects"]).addition(found, row)
    assert addition.added[3] == decision
    assert dict(addition.filled) == filled


@pytest.fixture
def page(tmp_path):
    """Three rows: the second has the suggested labels as a list in another order, the third none suggested."""
    path = tmp_path / "suggested.csv"
    names = ["title", "subjects", *(f"subjects_{name}" for name in ("suggested", "confidence", "alternatives"))]
    rows = [["first", "", "boat; river", "0.6", "tree 0.20", "unsure"]]
    rows += [["second", "['river', 'boat']", "boat; river", "0.9", "", "known"]]
    rows += [["third", "", "", "0.4", "tree 0.30 | boat 0.10", "unsure"]]
    table = pd.DataFrame(rows, columns=[*names, "subjects_decision"]).assign(own_confidence="&eacute;cole")
    table.to_csv(path, index=False)
    source = SOURCE._replace(catalogue=open_catalogue(path), images=tmp_path, image_column="title")
    return ReviewPage(begin_review(source, ["subjects"]), source, {"subjects": SUBJECTS["labels"]}, str)


def offered(shown):
    return shown[0], [text for text, _ in shown[5]], shown[6]


def test_labels_are_toggled_and_accepted_together(page, tmp_path):
    shown = page.next(*READER)
    assert offered(shown) == (0, ["1  ☑ boat", "2  ☑ river", "3  ☐ tree  20%"], "boat; river")
    assert "Chosen: <b>boat; river</b>" in shown[4]
    assert shown[3] == "<dl><dt>title<dd>first<dt>own_confidence<dd>école</dl>"  # no cell that predict wrote
    assert "The picture cannot be shown: there is no file first" in shown[-2]
    without = page.choose(0, "subjects", "boat; river", "boat", *READER)
    assert offered(without) == (0, ["1  ☐ boat", "2  ☑ river", "3  ☐ tree  20%"], "river")
    assert offered(page.choose(0, "subjects", "river", "boat", *READER)) == offered(shown)
    assert offered(page.choose(0, "subjects", "river", "bridge", *READER))[2] == "river; bridge"
    assert "Choose a label" in page.choose(0, "subjects", "river", None, *READER)[-2]
    third = page.decide(0, "subjects", "river; bridge", *READER)
    assert offered(third) == (2, ["1  ☐ tree  30%", "2  ☐ boat  10%"], "")
    with pytest.raises(ValueError, match="Choose a label"):
        page.decide(2, "subjects", "", *READER)
    page.decide(2, "subjects", "tree", *READER)
    decisions = [(one["row"], one["label"], one["is_new"]) for one in page.review.decisions()]
    assert decisions == [(0, "river; bridge", 1), (2, "tree", 0)]
    assert [page.review.painting(row).suggestions[0].state for row in range(3)] == ["decided", "known", "decided"]
    output = tmp_path / "reviewed.csv"
    assert export_decisions(page.review, page.source, output) == 2
    with output.open(encoding="utf-8", newline="") as file:
        assert [row["subjects"] for row in csv.DictReader(file)] == ["river; bridge", "['river', 'boat']", "tree"]
    assert [SOURCE.label(row, "subjects") for row in page.source.rows()] == [None, "river; boat", None]
