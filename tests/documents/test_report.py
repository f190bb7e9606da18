"""The report is one file that shows what results.json says, and every link in it leads somewhere."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from semart_hf.documents import figures
from semart_hf.documents.heatmap import overlay
from semart_hf.documents.page_parts import STYLE, explanation_block, facts, number, percent, shade, table
from semart_hf.documents.presentation import draw_figures, explain_examples, write_report
from semart_hf.evaluation.explanations import Explanation
from semart_hf.evaluation.results import collect_outcomes, describe_environment, summarize

VOID = {"meta", "img", "br", "image", "use", "link", "hr", "input"}


class Page(HTMLParser):
    """What a page holds; unbalanced tags are an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.text = [], [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        assert tag != "script"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory, tiny_model, tiny_processor, paintings):
    """Results, page and folder of a whole report; the school of every painting is withheld."""
    folder = tmp_path_factory.mktemp("report")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(figures, "PNG_DPI", 20)  # nobody looks at these
    data = paintings.remove_columns("school").add_column("school", [None] * 10, feature=paintings.features["school"])
    outcomes = collect_outcomes(tiny_model, tiny_processor, data, device="cpu")
    results = {
        "model": "<models>/tiny & small",
        "data": "data",
        "split": "test",
        "environment": describe_environment(),
        **summarize(outcomes, seconds=1.0, num_resamples=50),
        "thresholds": {
            "target_accuracy": 0.95,
            "chosen_on": "test",
            "tasks": {"type": None, "medium": {"min_confidence": 0.5, "coverage": 0.4, "accuracy": 1.0}},
        },
        "comparison": {"second": "other", "in_words": ["tiny & small is better on <type>."]},
    }
    both = outcomes["image+text"]
    files = draw_figures(folder / "figures", results, both)
    examples = explain_examples(tiny_model, tiny_processor, data, both)
    write_report(folder / "report.html", results, both, files, data, examples)
    monkeypatch.undo()
    html = (folder / "report.html").read_text(encoding="utf-8")
    return results, html, folder


def test_it_needs_no_other_file_and_no_network(report):
    page = Page(report[1])
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert "url(" not in report[1]
    assert "@import" not in report[1]


def test_every_link_leads_somewhere_and_ids_are_unique(report):
    page = Page(report[1])
    inner = {link[1:] for link in page.links if link.startswith("#")}
    # The one task without a label has nothing to link to but its own heading.
    assert inner <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_confusion_cells_link_to_as_many_paintings_as_they_count(report):
    html = report[1]
    cells = re.findall(r'<a href="#(cell-type-\d-\d)" title="[^"]*">(\d+)</a>', html)
    assert sum(int(count) for _, count in cells) == 10
    for anchor, count in cells:
        section = html.split(f'id="{anchor}"')[1].split("</section>")[0]
        assert section.count('class="painting"') == min(int(count), 6)


def test_figures_are_written_and_named(report):
    names = {path.name for path in (report[2] / "figures").iterdir()}
    expected = {"confusion_type", "f1_medium", "periods_timeframe", "reliability", "risk_coverage", "modalities"}
    assert {f"{name}.{ending}" for name in expected for ending in ("png", "svg")} <= names
    assert not any("school" in name for name in names)


def test_text_from_outside_is_escaped(report):
    html = report[1]
    assert "<models>" not in html
    assert "View <1>" not in html
    assert "tiny &amp; small is better on &lt;type&gt;." in html
    assert re.search(r"View &lt;\d&gt; &amp; river", html)


def test_it_shows_the_scores_and_marks_the_holes(report):
    results, html, _ = report
    text = " ".join("".join(Page(html).text).split())
    assert f"{100 * results['mean_accuracy']:.1f} % of the answers are right in the mean over 3 tasks" in text
    low, high = results["tasks"]["type"]["intervals"]["macro_f1"]
    macro_f1 = 100 * results["tasks"]["type"]["macro_f1"]
    assert f"{macro_f1:.1f} <small>{100 * low:.1f}–{100 * high:.1f}</small>" in html
    assert "No painting of this split has a known school." in text
    assert "no label" in text
    assert "never reached" in text
    assert "flatters it" in text
    per_label = results["tasks"]["type"]["per_label"]["portrait"]
    cells = [str(per_label["support"]), *(f"{100 * per_label[name]:.1f}" for name in ("precision", "recall", "f1"))]
    assert "<td>portrait</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) in html


def test_four_tasks_are_explained_as_far_as_they_have_answers(report):
    html = report[1]
    why = html.split('id="why"')[1].split("</main>")[0]
    assert why.count('class="why"') == 3
    assert "rightly" in why


def test_parts():
    assert percent(None) == '<span class="hole">no label</span>'
    assert percent(0.5, [0.4, 0.6]) == "50.0 <small>40.0–60.0</small>"
    assert number(None) == "–"
    assert number(1.23456, 2) == "1.23"
    assert '<td class="number">1</td>' in table(("a", "b"), [["x", "1"]])


def luminance(color):
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("paper", "ink", "rules"),
    [
        # What STYLE says by day, by night and on paper: the shade's colour, and the ink of each class of cells.
        ("#fbfaf7", (0, 92, 160), {"slight": 0, "strong": 0, "full": 1}),
        ("#171614", (90, 170, 230), {"slight": 1, "strong": 0, "full": 0}),
    ],
    ids=["day", "night"],
)
def test_every_number_is_read_on_its_shade(paper, ink, rules):
    assert f"--paper: {paper}" in STYLE
    assert f"--shade: {', '.join(map(str, ink))}" in STYLE
    paper_color = np.array([int(paper[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    for share in np.linspace(0.01, 1, 100):
        kind, alpha = re.search(r'class="(\w+)" style="background:rgba\(var\(--shade\),(.*)\)"', shade(share)).groups()
        color = float(alpha) * np.array(ink) / 255 + (1 - float(alpha)) * paper_color
        lighter, darker = sorted((luminance(color), float(rules[kind])), reverse=True)
        # Source: Web Content Accessibility Guidelines 2.2, contrast (minimum), level AA.
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, share


def test_words_that_hardly_matter_stay_faint():
    def block(weight):
        return explanation_block(
            Explanation("type", "portrait", 0.9, None, None, [("lady", weight)], 0, weight), "why"
        )

    assert 'title="+2.00" style="background:rgba(var(--for),0.65)"' in block(2.0)
    assert 'title="−0.02" style="background:rgba(var(--against),0.13)"' in block(-0.02)
    assert "description 0.0." in block(-0.02)


def test_facts_are_escaped_and_wrap():
    assert facts({"<a>": None, "b": "<c>"}) == (
        '<table class="facts"><tbody><tr><th scope="row">&lt;a&gt;</th><td>–</td></tr>'
        '<tr><th scope="row">b</th><td>&lt;c&gt;</td></tr></tbody></table>'
    )


def test_heat_glows_where_it_is_positive():
    picture = np.full((8, 8, 3), 100, dtype=np.uint8)
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[2, 2], heat[5, 5] = 3, -3
    drawn = overlay(picture, heat).astype(int)
    assert drawn[2, 2, 0] - drawn[2, 2, 2] > 100
    assert (drawn[5, 5] == drawn[0, 0]).all()
