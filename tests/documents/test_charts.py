import re

import numpy as np
import pytest

from semart_hf.documents import charts
from semart_hf.evaluation.outcomes import Outcomes

TASKS = [{"name": "type", "labels": ["portrait", "landscape", "UNK"]}]


@pytest.fixture(scope="module")
def outcomes():
    collected = Outcomes(TASKS)
    types = np.array([[0.9, 0, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [1, 0, 0]])
    collected.add({"type": types}, np.array([[0], [1], [1], [2], [-100]]))
    return collected.task("type")


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_of_few_labels_and_of_many_is_an_equal_file(outcomes, tmp_path, monkeypatch):
    figure = charts.draw_confusion(outcomes, "type")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["portrait", "landscape", "UNK"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["portrait (1)", "landscape (2)", "UNK (1)"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert texts_of(figure) == ["100%\n1", "50%\n1", "50%\n1", "100%\n1"]
    collected = Outcomes([{"name": "school", "labels": [f"school {number}" for number in range(25)]}])
    collected.add([[0]] * 19 + [[1]], [[0]] * 20)
    assert texts_of(charts.draw_confusion(collected.task("school"), "school")) == ["95%\n19", "1"]
    monkeypatch.setattr(charts, "PNG_DPI", 30)
    for name in ("one", "two"):
        charts.save_chart(charts.draw_confusion(outcomes, "type"), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_labels_are_no_formulas_and_many_fit(monkeypatch):
    monkeypatch.setattr(charts, "LARGEST_SIDE", 8.0)
    labels = [r"$\frac$ <b>", "from $10 to $20", *(f"label {number}" for number in range(68)), "UNK"]
    found = Outcomes([{"name": "type", "labels": labels}])
    found.add([[number] for number in range(70)], [[number] for number in range(70)])
    figure = charts.draw_confusion(found.task("type"), "$_$")
    assert max(figure.get_size_inches()) == charts.LARGEST_SIDE
    svg = charts.svg_of(figure)
    assert "from $10 to $20 (1)" in svg
    assert r"$\frac$ &lt;b&gt; (1)" in svg
    assert "$_$" in svg


def test_reliability_risk_and_coverage(outcomes):
    figure = charts.draw_reliability(dict.fromkeys(("before", "after"), outcomes), "type")
    diagonal, before, _ = figure.axes[0].lines
    assert figure.axes[0].get_legend_handles_labels()[1] == [f"{one}: error 0.300" for one in ("before", "after")]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(before.get_xydata(), [[0.6, 0], [0.7, 1], [0.8, 1], [0.9, 1]], atol=1e-6)
    wrong = Outcomes(TASKS)
    wrong.add({"type": [[0.9, 0.1, 0]]}, [[1]])
    # The three most confident of four are right; the fourth, 0.6 sure, is wrong.
    found = [texts_of(charts.draw_risk_coverage(each, "type")) for each in (outcomes, wrong.task("type"))]
    assert found == [["95% right: 75% of answers,\nconfidence ≥ 0.70"], ["never 95% right"]]


def test_bars_are_shares_and_ink_follows_day_and_night():
    figure = charts.draw_label_shares({"train": {"a": 30, "b": 10}, "test": {"a": 1, "b": 3}}, ["a", "b"])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.75, 0.25, 0.25, 0.75])
    assert [text.get_text().strip() for text in axes.texts] == ["30 · 1", "10 · 3"]
    svg = charts.svg_of(charts.draw_label_shares({"train": {"a<b": 4, "c": 1}}, ["a<b", "c"]))
    assert "prefers-color-scheme: dark" in svg
    assert "currentColor" in svg
    assert charts.INK not in svg
    assert "fill: #ffffff" not in svg
    assert "a&lt;b" in svg  # text stays text
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    assert 10 * 362 / width >= 10  # at 390 pixels, 28 of them margins, type of 10 points has 10 pixels or more
