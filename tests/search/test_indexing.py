import time
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import PartialState
from PIL import Image
from release_builder import encoded

from semart_hf.collection.own_format import open_catalogue
from semart_hf.collection.sources import find_source

pytest.importorskip("lancedb", reason="no lancedb, which keeps the index: pip install 'semart-hf[search]'")

from semart_hf.search import vector_index
from semart_hf.search.indexing import describe_index, index_catalogue
from semart_hf.search.search_page import map_page
from semart_hf.search.vector_index import SearchIndex

SUBJECTS = [["dog", "boat"], ["dog"], []]
TASKS = [{"name": "subjects", "labels": ["dog", "boat"], "kind": "multi_label"}, {"name": "type", "labels": ["a"]}]


def embed(paintings):
    found = []
    for painting in paintings:
        number = int(painting["text"])
        vector = np.array([float("image" in painting), number, 1], dtype=np.float32)
        answer = {"type": [{"label": "a", "score": 0.7}]}
        answer["subjects"] = [{"label": label, "score": 0.8} for label in SUBJECTS[number]]
        found.append({"answer": answer, "vector": vector / np.linalg.norm(vector), "thumbnail": None})
    return found


def made_index(folder, fetch=None, num_rows=3):
    """The index of a catalogue of some rows, and how many rows were added, removed and kept."""
    path = folder / "a.csv"
    lines = "".join(f"{number},https://example.org/{number}.jpg,caf&eacute;\n" for number in range(num_rows))
    path.write_text("text,url,title\n" + lines, encoding="utf-8")
    source = find_source(open_catalogue(path), [], fetch_pictures=fetch is not None)._replace(fetch=fetch)
    config = SimpleNamespace(tasks=TASKS, fusion_dim=3)
    model = SimpleNamespace(config=config, state_dict=lambda: {"weight": torch.zeros(1)})
    about = describe_index(source, model, "model")
    counts, problems, _ = index_catalogue(source, str(folder / "index"), embed, about, PartialState(cpu=True))
    return SearchIndex(folder / "index"), [counts[name] for name in ("added", "removed", "kept")], problems


def test_of_several_labels_a_filter_asks_for_one(tmp_path):
    index, counts, problems = made_index(tmp_path)
    assert (counts, problems) == ([3, 0, 0], [])

    def rows(where):
        return sorted(hit.row for hit in index.search(index.vector_of(0), where=where))

    assert rows("subjects = 'dog'") == [0, 1]
    assert rows("subjects_suggested = 'boat'") == [0]
    assert rows("subjects = '' and title = 'café'") == [2]
    assert rows("type = 'a' and not subjects_confidence > 0.5") == [2]
    by_row = {hit.row: hit.labels for hit in index.hits([0, 1, 2])}
    assert {row: labels["subjects"][0] for row, labels in by_row.items()} == dict(enumerate(SUBJECTS))
    assert by_row[0]["type"] == (["a"], pytest.approx(0.7))
    for labels in (r'["dog, boat", "dog", "\u2013"]', '["a"]'):
        assert f'"labels": {labels}' in map_page(index)


def test_a_picture_that_could_not_be_fetched_is_tried_again_by_the_next_run(tmp_path):
    asked = []

    def fetch(url):
        asked.append(url)
        if url.endswith("1.jpg") and len(asked) < 4:
            raise OSError("The server is busy.")
        return encoded(Image.new("RGB", (8, 8)))

    index, counts, _ = made_index(tmp_path, fetch)
    assert counts == [3, 0, 0]
    assert index.hits([1])[0].problem == "The server is busy."
    assert [index.vector_of(row)[0] > 0 for row in range(3)] == [True, False, True]
    index, counts, _ = made_index(tmp_path, fetch)
    assert counts == [1, 0, 2]
    assert index.vector_of(1)[0] > 0
    assert len(index) == 3
    assert made_index(tmp_path, fetch)[1] == [0, 0, 3]
    assert len(asked) == 4


def test_what_is_searched_while_an_index_is_brought_up_to_date_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_index, "timedelta", lambda **_: timedelta(seconds=0.5))  # instead of a day
    before, *_ = made_index(tmp_path)
    time.sleep(0.6)
    assert made_index(tmp_path, num_rows=2)[1] == [0, 1, 2]
    versions = [found["version"] for found in vector_index.open_paintings(before.address).list_versions()]
    assert before.about["version"] in versions
    assert sorted(hit.row for hit in before.search(before.vector_of(0))) == [0, 1, 2]
