"""Figures say what the outcomes say: the numbers in them are read back from the drawing."""

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt

from semart_hf.documents import chart_style
from semart_hf.documents import evaluation_charts as charts
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import per_label_scores

TASKS = [
    {"name": "type", "labels": ["portrait", "UNK", "landscape"]},
    {"name": "timeframe", "labels": ["1401-1450", "1451-1500", "1501-1550", "UNK"]},
]


@pytest.fixture(scope="module")
def outcomes():
    """Five paintings; the fifth has no type."""
    collected = Outcomes(TASKS)
    types = np.array([[0.9, 0.1, 0], [0.2, 0.1, 0.7], [0.6, 0.1, 0.3], [0.1, 0.8, 0.1], [1, 0, 0]])
    times = np.eye(4)[[0, 1, 0, 2, 3]]
    references = np.array([[0, 0], [2, 0], [2, 2], [1, 2], [-100, 2]])
    collected.add({"type": types, "timeframe": times}, references)
    return collected


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion(outcomes):
    figure = charts.draw_confusion(outcomes.task("type"), "type")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["portrait", "landscape", "UNK"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["portrait (1)", "landscape (2)", "UNK (1)"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert texts_of(figure) == ["100%\n1", "50%\n1", "50%\n1", "100%\n1"]


def test_a_large_confusion_matrix_writes_the_shares_that_matter():
    collected = Outcomes([{"name": "school", "labels": [f"school {number}" for number in range(25)]}])
    collected.add([[0]] * 19 + [[1]], [[0]] * 20)
    assert texts_of(charts.draw_confusion(collected.task("school"), "school")) == ["95%\n19", "1"]


def test_f1_bars():
    scores = per_label_scores(np.array([[3, 0], [4, 0], [3, 1]]), ["portrait", "landscape"])
    figure = charts.draw_f1_bars(scores, "type")
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([6 / 7, 0])
    assert texts_of(figure) == ["0.86", "no painting"]


def test_period_errors(outcomes):
    figure = charts.draw_period_errors(outcomes.task("timeframe"), "timeframe")
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in figure.axes[0].patches}
    # Right, one too late, two too early, right; the fifth was answered UNK and has no date.
    assert heights == {-3: 0, -2: 0.25, -1: 0, 0: 0.5, 1: 0.25, 2: 0, 3: 0}
    assert figure.axes[0].get_ylabel() == "share of 4 dated paintings"


def test_far_periods_are_joined():
    labels = [f"{start}-{start + 49}" for start in range(1001, 1951, 50)]
    collected = Outcomes([{"name": "timeframe", "labels": labels}])
    collected.add([[0], [18], [1]], [[18], [0], [1]])
    axes = charts.draw_period_errors(collected.task("timeframe"), "timeframe").axes[0]
    assert axes.get_xticklabels()[0].get_text() == "−6 or\nmore"
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([1 / 3, *[0] * 5, 1 / 3, *[0] * 5, 1 / 3])


def test_reliability_has_a_line_a_stage(outcomes):
    figure = charts.draw_reliability(dict.fromkeys(("before", "after"), outcomes.task("type")), "type")
    diagonal, before, _ = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(before.get_xydata(), [[0.6, 0], [0.7, 1], [0.8, 1], [0.9, 1]], atol=1e-6)


def test_risk_coverage_says_when_the_target_is_never_reached(outcomes):
    wrong = Outcomes(TASKS[:1])
    wrong.add({"type": [[0.9, 0.1, 0]]}, [[2]])
    # The three most confident of four are right; the fourth, 0.6 sure, is wrong.
    found = [texts_of(charts.draw_risk_coverage(each.task("type"), "type")) for each in (outcomes, wrong)]
    assert found == [["95% right: 75% of answers,\nconfidence ≥ 0.70"], ["never 95% right"]]


def test_a_task_without_labels_says_so(outcomes):
    nothing = outcomes.task("type").select(np.array([4]))
    for figure in (charts.draw_risk_coverage(nothing, "type"), charts.draw_reliability({"before": nothing}, "type")):
        assert "no labelled painting" in texts_of(figure)


def test_modalities():
    scored = {"tasks": {"type": {"accuracy": 0.8}, "school": {"accuracy": None}}, "mean_accuracy": 0.8}
    both = scored | {"ceiling": {"type": 0.9, "mean": 0.95}}
    figure = charts.draw_modalities({"image+text": both, "image": scored})
    assert texts_of(figure) == ["80"] * 4
    assert all(text.get_position()[0] < 0.8 for text in figure.axes[0].texts)  # clear of the ceiling's line
    ceilings = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata())]
    assert ceilings == [0.9, 0.95]


def test_equal_figures_are_equal_files(outcomes, tmp_path, monkeypatch):
    monkeypatch.setattr(chart_style, "PNG_DPI", 30)
    paths = []
    for name in ("one", "two"):
        figure = charts.draw_confusion(outcomes.task("type"), "type")
        paths.append(chart_style.save_chart(figure, tmp_path / name))
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert [path.suffix for path in paths[0]] == [".png", ".svg"]


def test_ink_follows_day_and_night_and_a_chart_has_no_background(outcomes):
    svg = chart_style.svg_of(
        charts.draw_f1_bars(per_label_scores(np.array([[3, 0], [4, 0], [3, 1]]), ["a<b", "c"]), "type")
    )
    assert "prefers-color-scheme: dark" in svg
    assert "currentColor" in svg
    assert chart_style.INK not in svg
    assert "fill: #ffffff" not in svg
    assert "a&lt;b (4)" in svg  # text stays text
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    assert 10 * 362 / width >= 10  # at 390 pixels, 28 of them margins, type of 10 points has 10 pixels or more


def test_labels_are_no_formulas_and_many_fit():
    labels = [r"$\frac$ <b>", "from $10 to $20", *(f"label {number}" for number in range(300)), "UNK"]
    found = Outcomes([{"name": "type", "labels": labels}])
    found.add([[number] for number in range(300)], [[number] for number in range(300)])
    figure = charts.draw_confusion(found.task("type"), "$_$")
    assert max(figure.get_size_inches()) <= charts.LARGEST_SIDE
    svg = chart_style.svg_of(figure)
    assert "from $10 to $20 (1)" in svg
    assert "$_$" in svg
