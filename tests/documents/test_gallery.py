"""The gallery shows the most confident errors first, and some paintings of every cell."""

import numpy as np
import pytest

from semart_hf.documents import gallery
from semart_hf.documents.gallery import choose_paintings
from semart_hf.evaluation.outcomes import Outcomes

TASKS = [{"name": "type", "labels": ["portrait", "landscape"]}]


@pytest.fixture
def outcomes():
    """Rows 0 to 9 are portraits, taken for landscapes with growing confidence from row 4 on; row 10 is unlabelled."""
    wrong = np.array([0.1, 0.2, 0.3, 0.4, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
    collected = Outcomes(TASKS)
    collected.add({"type": np.stack([1 - wrong, wrong], axis=1)}, [[0]] * 10 + [[-100]])
    return collected


def test_the_most_confident_errors_come_first(outcomes):
    assert choose_paintings(outcomes).errors == {"type": [9, 8, 7, 6, 5, 4]}


def test_cells_hold_their_most_confident_paintings_and_count_them_all(outcomes, monkeypatch):
    monkeypatch.setattr(gallery, "PAINTINGS_PER_CELL", 3)
    chosen = choose_paintings(outcomes)
    assert chosen.cells == {("type", 0, 1): [9, 8, 7], ("type", 0, 0): [0, 1, 2]}
    assert chosen.counts == {("type", 0, 1): 6, ("type", 0, 0): 4}
    assert chosen.rows == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_errors_are_kept_when_there_are_too_many(outcomes, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_PAINTINGS", 7)
    chosen = choose_paintings(outcomes)
    assert chosen.errors["type"] == [9, 8, 7, 6, 5, 4]
    assert chosen.cells["type", 0, 0] == [0]


def test_every_cell_has_a_painting_before_any_has_two(monkeypatch):
    monkeypatch.setattr(gallery, "MAX_PAINTINGS", 5)
    monkeypatch.setattr(gallery, "ERRORS_PER_TASK", 1)
    collected = Outcomes([TASKS[0], {"name": "school", "labels": ["Dutch", "French"]}])
    types, schools = np.tile([0.2, 0.8], (9, 1)), np.tile([0.9, 0.1], (9, 1))
    types[8], schools[8] = [0.6, 0.4], [0.3, 0.7]
    collected.add({"type": types, "school": schools}, [[0, 0]] * 9)
    chosen = choose_paintings(collected)
    assert chosen.errors == {"type": [0], "school": [8]}
    assert {cell: len(rows) for cell, rows in chosen.cells.items()} == {
        ("type", 0, 1): 4,
        ("school", 0, 1): 1,
        ("type", 0, 0): 1,
        ("school", 0, 0): 4,
    }
