"""The rows of an optimiser step: how they are dealt out."""

import pytest
from PIL import Image

from semart_hf.data.sampling import PLACEHOLDER, SeededSampler, StepBatchSampler, TrainingPaintings


def rows(number):
    return [{"image": Image.new("RGB", (8, 8), (row, 0, 0)), "text": "a", "type": row % 3} for row in range(number)]


@pytest.mark.parametrize(("processes", "accumulated", "size"), [(1, 1, 8), (2, 1, 4), (1, 4, 2), (2, 2, 2), (4, 2, 1)])
def test_steps_see_the_same_rows_however_they_are_divided(processes, accumulated, size):
    steps = [[] for _ in range(3)]
    for process in range(processes):
        sampler = SeededSampler(19, seed=5)
        batches = StepBatchSampler(
            sampler, size, num_accumulated=accumulated, num_processes=processes, process_index=process
        )
        dealt = list(batches)
        assert len(dealt) == len(batches)
        for number, batch in enumerate(dealt):
            steps[number // accumulated] += [index for _, index in batch if index != PLACEHOLDER]
            assert len(batch) <= size
    order = [index for _, index in SeededSampler(19, seed=5)]
    assert [sorted(step) for step in steps] == [sorted(order[:8]), sorted(order[8:16]), sorted(order[16:])]


def test_a_process_without_a_row_gets_a_placeholder():
    batches = [
        list(StepBatchSampler(SeededSampler(9, 0), 4, num_processes=2, process_index=process)) for process in (0, 1)
    ]
    assert [len(batch) for batch in batches[0]] == [4, 1]
    assert batches[1][1] == [(0, PLACEHOLDER)] or batches[0][1] == [(0, PLACEHOLDER)]
    row = TrainingPaintings(rows(9), seed=0)[0, PLACEHOLDER]
    assert row["image"] is None
    assert "type" not in row
