import pytest
import torch

from semart_hf.data.sampling import DRAW_KEY, PLACEHOLDER, SeededSampler, StepBatchSampler, TrainingPaintings

NUM_ROWS = 3213
RANDOM = torch.Generator().manual_seed(0)
LENGTHS = torch.empty(NUM_ROWS).log_normal_(4.4, 0.7, generator=RANDOM).long().clamp(3, 256)  # as of descriptions


def indices(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [index for _, index in sampler]


def padding_of(order, batch_size=32):
    """Padded length of all batches, relative to what is needed."""
    batches = torch.tensor(order[: len(order) // batch_size * batch_size]).view(-1, batch_size)
    return (LENGTHS[batches].amax(1) * batch_size).sum().item() / LENGTHS[batches].sum().item()


def test_every_row_comes_once_in_an_order_of_seed_and_epoch_with_little_padding():
    sampler = SeededSampler(NUM_ROWS, 1, lengths=LENGTHS.tolist(), step_size=32)
    first, second = indices(sampler), indices(sampler, epoch=1)
    assert sorted(first) == sorted(second) == list(range(NUM_ROWS))
    assert first != second
    assert indices(sampler) == first
    assert indices(SeededSampler(NUM_ROWS, 2, lengths=LENGTHS.tolist(), step_size=32)) != first
    assert {epoch for epoch, _ in sampler} == {0}
    assert sorted(indices(SeededSampler(5, 1, lengths=LENGTHS[:5].tolist(), step_size=32))) == list(range(5))
    assert padding_of(indices(SeededSampler(NUM_ROWS, 1))) > 2.0
    assert padding_of(indices(SeededSampler(NUM_ROWS, 1, lengths=LENGTHS.tolist(), step_size=32))) < 1.15


def test_all_processes_have_equally_much_to_do_and_one_without_a_row_a_placeholder():
    def batches(process):
        sampler = SeededSampler(NUM_ROWS, 1, lengths=LENGTHS.tolist(), step_size=2 * 8 * 2)
        return list(StepBatchSampler(sampler, 8, num_accumulated=2, num_processes=2, process_index=process))

    ranks = [batches(0), batches(1)]
    longest = torch.tensor([[max(LENGTHS[index] for _, index in batch) for batch in rank[:-2]] for rank in ranks])
    assert ((longest[0] - longest[1]).abs() / longest.amax(0)).mean() < 0.06
    seen = sorted(index for rank in ranks for batch in rank for _, index in batch if index >= 0)
    assert seen == list(range(NUM_ROWS))
    samplers = [StepBatchSampler(SeededSampler(9, 0), 4, num_processes=2, process_index=n) for n in (0, 1)]
    batches = [list(sampler) for sampler in samplers]
    assert [len(batch) for batch in batches[0]] == [4, 1]
    assert batches[1][1] == [(0, PLACEHOLDER)] or batches[0][1] == [(0, PLACEHOLDER)]
    nothing = {"image": None, "text": None, DRAW_KEY: (0, 0, PLACEHOLDER)}
    assert TrainingPaintings([{"type": 1}] * 9, seed=0)[0, PLACEHOLDER] == nothing


@pytest.mark.parametrize(("processes", "accumulated", "size"), [(1, 1, 8), (2, 1, 4), (1, 4, 2), (2, 2, 2), (4, 2, 1)])
def test_steps_see_the_same_rows_however_they_are_divided(processes, accumulated, size):
    steps = [[] for _ in range(3)]
    for process in range(processes):
        sampler = SeededSampler(19, seed=5)
        share = {"num_accumulated": accumulated, "num_processes": processes, "process_index": process}
        batches = StepBatchSampler(sampler, size, **share)
        dealt = list(batches)
        assert len(dealt) == len(batches)
        for number, batch in enumerate(dealt):
            steps[number // accumulated] += [index for _, index in batch if index != PLACEHOLDER]
            assert len(batch) <= size
    order = [index for _, index in SeededSampler(19, seed=5)]
    assert [sorted(step) for step in steps] == [sorted(order[:8]), sorted(order[8:16]), sorted(order[16:])]
