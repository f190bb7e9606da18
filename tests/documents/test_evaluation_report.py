import io
import re

import numpy as np
import pytest
from page_reader import Page
from PIL import Image

from semart_hf.documents import charts, evaluation_report
from semart_hf.documents.page import render_page
from semart_hf.documents.table import signed
from semart_hf.evaluation.explanations import Explanation
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.results import collect_outcomes, describe_environment, summarize
from semart_hf.model.pictures_semart import PictureError, load_picture
from semart_hf.model.pipeline_semart import ArtClassificationPipeline


@pytest.fixture(scope="module")
def report(tmp_path_factory, tiny_model, tiny_processor, paintings):
    """Results, page and folder of a whole report; the school of every painting is withheld."""
    folder = tmp_path_factory.mktemp("report")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(charts, "PNG_DPI", 20)  # nobody looks at these
    data = paintings.remove_columns("school").add_column("school", [None] * 10, feature=paintings.features["school"])
    outcomes = collect_outcomes(tiny_model, tiny_processor, data, device="cpu")
    outcomes["image+text"].unreadable = {"00003-<b>.jpg": "it is truncated"}
    sure = {"type": None, "medium": {"min_confidence": 0.5, "coverage": 0.4, "accuracy": 1.0}}
    results = {
        **{"model": "<models>/tiny & small", "data": "data", "split": "test", "environment": describe_environment()},
        **summarize(outcomes, seconds=1.0),
        "training_data": {"name": "mini", "is_painted_miniature": True},
        "thresholds": {"target_accuracy": 0.95, "chosen_on": "test", "tasks": sure},
        "comparison": {"second": "other", "in_words": ["tiny & small is better on <type>."]},
    }
    both = outcomes["image+text"]
    examples = evaluation_report.explain_examples(tiny_model, tiny_processor, data, both)
    path = evaluation_report.write_evaluation_report(folder, results, both, data, explanations=examples)
    monkeypatch.undo()
    return results, path.read_text(encoding="utf-8"), folder


def test_cells_link_to_as_many_paintings_as_they_count_and_figures_and_explanations_are_there(report):
    html = report[1]
    cells = re.findall(r'<a href="#(cell-type-\d-\d)" title="[^"]*">(\d+)</a>', html)
    assert sum(int(count) for _, count in cells) == 10
    for anchor, count in cells:
        section = html.split(f'id="{anchor}"')[1].split("</section>")[0]
        assert section.count('class="painting"') == min(int(count), 6)
    why = report[1].split('id="why"')[1].split("</main>")[0]
    assert why.count('class="words"') == 3
    names = {path.name for path in (report[2] / "figures").iterdir()}
    kinds = ("confusion", "reliability", "risk_coverage")
    assert {f"{kind}_type.{ending}" for kind in kinds for ending in ("png", "svg")} <= names
    assert not any("school" in name for name in names)


def test_of_too_many_labels_no_matrix_is_made(report, tiny_model, tiny_processor, paintings, tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "PNG_DPI", 20)
    monkeypatch.setattr(evaluation_report, "MOST_MATRIX_LABELS", 3)
    outcomes = collect_outcomes(tiny_model, tiny_processor, paintings, device="cpu")["image+text"]
    html = evaluation_report.write_evaluation_report(tmp_path, report[0], outcomes, paintings).read_text("utf-8")
    assert not re.search("cell-(school|timeframe)-", html)
    assert html.count("has 4 labels. A confusion matrix is drawn of 3 at most.") == 1  # no school is known in results
    assert html.count("Most confident errors") == 3
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"confusion_type", "reliability_timeframe"} < names
    assert "confusion_timeframe" not in names


def test_it_shows_the_scores_marks_what_is_missing_and_escapes_text_from_outside(report):
    results, html, _ = report
    text = " ".join(Page(html).text.split())
    assert f"{100 * results['mean_accuracy']:.1f} % of the answers are right in the mean over 3 tasks" in text
    low, high = results["tasks"]["type"]["intervals"]["macro_f1"]
    macro_f1 = 100 * results["tasks"]["type"]["macro_f1"]
    assert f"{macro_f1:.1f} <small>{100 * low:.1f}–{100 * high:.1f}</small>" in html
    for words in ("No painting of this split has a known school.", "no label", "never reached", "flatters it"):
        assert words in text
    per_label = results["tasks"]["type"]["per_label"]["portrait"]
    cells = [str(per_label["support"]), *(f"{100 * per_label[name]:.1f}" for name in ("precision", "recall", "f1"))]
    assert "<td>portrait</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) in html
    assert "1 picture could not be read: 00003-<b>.jpg. These paintings were judged by their text" in text
    assert "trained on the painted miniature: its figures say nothing of real paintings" in text
    assert "<models>" not in html
    assert "View <1>" not in html
    assert "tiny &amp; small is better on &lt;type&gt;." in html
    assert re.search(r"View &lt;\d&gt; &amp; river", html)


def explanation(**fields):
    words = [("<b>", 1.0), ("weak", 0.01), ("against", -0.5), ("cut", None)]
    given = {"task": "type", "label": "portrait", "probability": 0.876, "picture": None, "heat": None}
    given |= {"seen": (0, 0, 1, 1), "words": words, "picture_total": 0.0, "text_total": 0.51}
    return Explanation(**{**given, **fields})


def page_of(*explanations):
    entry = {"name": "one", "error": "", "shown": evaluation_report.shown_explanation(0, explanations)}
    return render_page("explanations.html", title="Why", notice=None, entries=[entry])


def test_words_are_marked_by_what_they_weigh_and_the_overlay_glows_where_the_heat_is():
    html = page_of(explanation())
    assert '<mark title="+1.00" style="background:rgba(var(--for),0.65)">&lt;b&gt;</mark>' in html
    assert '<mark title="−0.50" style="background:rgba(var(--against),0.33)">against</mark>' in html
    assert ">weak<" not in html
    assert '<span class="unread">cut</span>' in html
    assert "type: portrait, 88% sure" in html
    assert "In log odds: description +0.5." in html
    assert signed(-0.01, 1) == "0.0"
    heat = np.full((20, 20), -1.0, dtype=np.float32)
    heat[5, 5] = 2.0
    alpha = np.asarray(Image.open(io.BytesIO(evaluation_report.overlay_png(heat))))[..., 3]
    assert alpha[5, 5] == round(0.85 * 255)
    assert alpha.sum() == alpha[5, 5]


def test_a_painting_is_embedded_once_at_its_own_proportions(paintings):
    picture = paintings[0]["image"]
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[10:20, 10:20] = 1
    seen = (0.25, 0, 0.75, 1)
    html = page_of(*(explanation(task=task, picture=picture, heat=heat, seen=seen) for task in ("type", "school")))
    assert html.count("data:image/jpeg") == 1
    assert html.count("data:image/png") == 2
    assert html.count('<use href="#painting-0"/>') == 3
    width, height = (int(side) for side in re.search(r'viewBox="0 0 (\d+) (\d+)"', html).groups())
    assert (width, height) == (280, 320)  # 70 x 80 pixels
    assert '<image x="70.0" y="0" width="140.0" height="320" preserveAspectRatio="none"' in html
    Page(html)


def test_explanations_of_a_broken_picture_cost_the_others_nothing(tiny_model, tiny_processor, paintings):
    classify = ArtClassificationPipeline(model=tiny_model, processor=tiny_processor, device="cpu", precision="fp32")
    good = {"image": paintings[0]["image"], "text": "a view of delft"}
    page = Page(evaluation_report.explanation_page(classify, [("<bad>", {"image": b"none"}), ("good", good)]))
    assert "<bad>" in page.text
    with pytest.raises(PictureError) as error:
        load_picture(b"none")
    assert str(error.value) in page.text
    answer = classify(good, top_k=1)
    for task, (guess,) in answer.items():
        assert f"{task}: {guess['label']}, {guess['score']:.0%} sure" in page.text


@pytest.mark.parametrize(
    ("largest", "cells"),
    [
        (1000, {("type", 0, 1): [9, 8, 7], ("type", 0, 0): [0, 1, 2]}),
        (4, {("type", 0, 1): [9, 8], ("type", 0, 0): [0, 1]}),
        (1, {("type", 0, 1): [9]}),  # the errors' cell first
    ],
)
def test_errors_and_cells_show_their_most_confident_paintings(monkeypatch, largest, cells):
    # Rows 0 to 9 are portraits, taken for landscapes with growing confidence from row 4 on; row 10 is unlabelled.
    wrong = np.array([0.1, 0.2, 0.3, 0.4, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
    chosen_from = Outcomes([{"name": "type", "labels": ["portrait", "landscape"]}])
    chosen_from.add({"type": np.stack([1 - wrong, wrong], axis=1)}, [[0]] * 10 + [[-100]])
    monkeypatch.setattr(evaluation_report, "PAINTINGS_PER_CELL", 3)
    monkeypatch.setattr(evaluation_report, "MAX_PAINTINGS", largest)
    assert evaluation_report.choose_paintings(chosen_from) == ({"type": [9, 8, 7, 6, 5, 4]}, cells)
