import base64
import shutil
from unittest import mock

import numpy as np
import pytest
from served_app import called, served
from tiny_release import run

pytest.importorskip("lancedb", reason="no lancedb, which keeps the index: pip install 'semart-hf[search]'")

from semart_hf.search.search_page import SearchPage, label_filter, two_dimensions
from semart_hf.search.vector_index import SearchIndex


@pytest.fixture(scope="module")
def museum(model, release, tmp_path_factory):
    folder = shutil.copytree(release, tmp_path_factory.mktemp("museum") / "museum")
    suggestions = folder / "suggestions.csv"
    words = ["--model", model, "--device", "cpu", "--output"]
    run("predict", folder / "semart_test.csv", *words, suggestions)
    run("index", suggestions, *words, folder / "index")
    return folder


def captions(tab):
    return tab.locator("#wall .caption-label").all_inner_texts()


def test_search_map_and_review_in_a_browser(browser, model, museum, tmp_path):
    words = ["--catalogue", museum / "suggestions.csv", "--index", museum / "index"]
    with served(model, *words, log=tmp_path / "log") as (address, _):
        tab = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        tab.goto(address)
        tab.get_by_role("tab", name="Search").click()
        field, filter_field = (
            tab.locator(f"#{name}").locator("input, textarea").first for name in ("words", "filter")
        )
        field.fill("a view of delft")
        field.press("Enter")
        tab.locator("#wall img").first.wait_for()
        found = SearchIndex(museum / "index")
        assert len(captions(tab)) == 12
        filter_field.fill("schol = 'Dutch'")
        filter_field.press("Enter")
        tab.get_by_text("Did you mean 'SCHOOL'").wait_for()
        filter_field.fill("school = 'Dutch'")
        filter_field.press("Enter")
        dutch = found.search(found.vector_of(0), top_k=99, where="school = 'Dutch'")
        tab.wait_for_function(f"document.querySelectorAll('#wall .caption-label').length == {len(dutch)}")
        titles = {text.split("  ")[-1].split(maxsplit=1)[-1] for text in captions(tab)}
        assert titles == {hit.cells["TITLE"] for hit in dutch}
        tab.locator("#wall .thumbnail-item").first.click()
        tab.locator("#found dl").get_by_text("Dutch", exact=True).wait_for()
        row = int(tab.locator("#found dd").first.inner_text())
        tab.locator("#more").click()
        tab.get_by_text(f"More like row {row}.").wait_for()
        assert len(captions(tab)) == len(dutch) - 1
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.get_by_role("tab", name="Map").click()
        frame = tab.frame_locator("iframe[title='Map of the collection']")
        frame.locator("#legend button").first.wait_for()
        place = frame.locator("#map").evaluate(
            "(canvas, row) => { const box = canvas.getBoundingClientRect(), [x, y] = place(map.rows.indexOf(row));"
            " return [box.x + x, box.y + y]; }",
            5,
        )
        frame.locator("#map").hover(position={"x": place[0], "y": place[1] - frame_top(frame)})
        frame.locator("#card img").wait_for()
        assert "View <5> & river" in frame.locator("#card").inner_text()
        frame.locator("#map").click(position={"x": place[0], "y": place[1] - frame_top(frame)})
        tab.get_by_text("More like row 5.").wait_for()
        tab.get_by_role("button", name="Open in the review").click()
        tab.get_by_text("Write your name above first").wait_for()
        tab.locator("#reviewer input, #reviewer textarea").fill("Ada")
        tab.get_by_role("tab", name="Search").click()
        tab.get_by_role("button", name="Open in the review").click()
        tab.get_by_text("Row 6: which medium?").wait_for()  # the other labels are known
        tab.close()
        programs(address, found, museum)


def frame_top(frame):
    return frame.locator("#map").evaluate("canvas => canvas.getBoundingClientRect().y")


def programs(address, found, museum):
    image = base64.b64encode((museum / "Images" / "test04.jpg").read_bytes()).decode()
    by_words = called(address, "search", {"text": "a view of delft", "where": "type = 'portrait'", "top_k": 3})
    assert len(by_words) == 3
    assert {hit["cells"]["TYPE"] for hit in by_words} == {"portrait"}
    assert len(called(address, "search", {"image": image, "text": "snow"})) == 10
    like = called(address, "search", {"like": 4, "top_k": 2})
    vector = found.vector_of(4)
    assert [hit["row"] for hit in like] == [hit.row for hit in found.search(vector, top_k=3) if hit.row != 4]
    assert called(address, "thumbnail", 4).startswith("data:image/jpeg;base64,")
    assert called(address, "thumbnail", 0) == ""
    with pytest.raises(KeyError):  # an error has no first value
        called(address, "search", {"image": "/etc/passwd"})


def test_two_dimensions_are_the_principal_components():
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(0).standard_normal((60, 9)).astype(np.float32) * np.arange(1, 10, dtype=np.float32)
    points, expected = two_dimensions(vectors), PCA(2).fit_transform(vectors)
    expected = (expected - expected.min(axis=0)) / np.ptp(expected, axis=0)
    for axis in range(2):
        near = [abs(points[:, axis] - one).max() for one in (expected[:, axis], 1 - expected[:, axis])]
        assert min(near) < 1e-4
    assert two_dimensions(np.ones((1, 4), dtype=np.float32)).tolist() == [[0, 0]]


def test_chosen_labels_are_the_catalogues_and_where_it_has_none_the_models(museum):
    found = SearchIndex(museum / "index")
    chosen = {"type": ["portrait", "o'clock"], "medium": ["canvas"], "school": []}
    assert label_filter(found, chosen) == (
        """("TYPE" in ('portrait', 'o''clock') or "TYPE" = '' and "type_suggested" in ('portrait', 'o''clock'))"""
        """ and "medium_suggested" in ('canvas')"""
    )
    assert found.search(found.vector_of(1), where=label_filter(found, {"type": ["portrait"]}))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"image": "/etc/passwd"}, "an image that is no base64"),
        ({"image": "https://example.org/a.jpg"}, "an image that is no base64"),
        ({"image": "bm8gcGljdHVyZQ=="}, "cannot be read"),
        ({"like": 1, "text": "snow"}, "a row to be like and words or a picture"),
        ({"path": "a.jpg"}, r"Allowed is an object with the keys \['text', 'image'"),
        (["text"], "Allowed is an object"),
        ({}, "Got an empty query"),
        ({"like": "4"}, "Got the row '4'"),
        ({"like": 4, "top_k": 1.5}, "top_k is 1.5"),
        ({"text": "view", "where": "a = 'b'"}, "Got the column 'a'"),
        ({"text": ["view"]}, "Got the text"),
        ({"text": "view", "where": 5}, "Got the filter 5"),
    ],
)
def test_programs_are_refused_in_words(model, classify, museum, query, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SearchPage(museum / "index", classify, str(model)).search_json(query)


def test_a_filter_stays_within_its_parentheses(model, classify, museum):
    page = SearchPage(museum / "index", classify, str(model))
    chosen = [["canvas"] if task == "medium" else [] for task in page.index.tasks]
    message, *_ = page.search("view", None, "type = 'a') or (type = 'b'", None, *chosen)
    assert "at character 11 of the filter" in message
    with mock.patch.object(page, "_query", side_effect=MemoryError):
        assert page.search("view", None, "", None, *chosen)[0] == "<p>MemoryError</p>"
