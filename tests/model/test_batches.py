"""Batches that are answered side by side keep the order of their rows, and end when nobody asks any more."""

import itertools
import threading
import time

import pytest
import torch

from semart_hf.model.pipeline_semart import answer_side_by_side


def test_answers_keep_the_order_of_the_rows():
    def answer(rows):
        time.sleep(0.02 if rows[0] % 2 else 0.001)  # later batches are done before earlier ones
        return [10 * row for row in rows]

    answers = answer_side_by_side(answer, range(23), batch_size=3, num_threads=3)
    assert list(answers) == [10 * row for row in range(23)]


def test_each_thread_has_its_share_of_the_cores_and_later_threads_have_all():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        shares = set(answer_side_by_side(lambda _: [torch.get_num_threads()], range(6), batch_size=1, num_threads=2))
        assert shares == {2}
        assert torch.get_num_threads() == 4
        seen = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [4]
    finally:
        torch.set_num_threads(before)


def test_few_batches_are_read_ahead_and_none_once_nobody_asks():
    read = []
    rows = (read.append(row) or row for row in itertools.count())
    answers = answer_side_by_side(lambda rows: rows, rows, batch_size=2, num_threads=2)
    assert [next(answers) for _ in range(4)] == [0, 1, 2, 3]
    assert len(read) <= 2 * (2 + 3)
    answers.close()
    read_then = len(read)
    time.sleep(0.05)
    assert len(read) == read_then


def test_an_error_is_raised_where_its_batch_is_asked_for():
    def answer(rows):
        if 5 in rows:
            raise ValueError("row 5 is broken")
        return rows

    answers = answer_side_by_side(answer, range(10), batch_size=2, num_threads=2)
    assert [next(answers) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="row 5 is broken"):
        next(answers)
