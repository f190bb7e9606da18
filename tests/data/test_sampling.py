"""Rows by length: every row once, little padding, a good shuffle, and equal work for all processes."""

import itertools

import pytest
import torch

from semart_hf.data.sampling import LengthSampler, SeededSampler, StepBatchSampler

NUM_ROWS = 3213
LENGTHS = torch.distributions.LogNormal(4.4, 0.7).sample((NUM_ROWS,)).long().clamp(3, 256)


@pytest.fixture(autouse=True, scope="module")
def lengths_of_descriptions():
    torch.manual_seed(0)
    LENGTHS.copy_(torch.distributions.LogNormal(4.4, 0.7).sample((NUM_ROWS,)).long().clamp(3, 256))


def indices(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [index for _, index in sampler]


def padding_of(order, batch_size=32):
    """Padded length of all batches, relative to what is needed."""
    batches = torch.tensor(order[: len(order) // batch_size * batch_size]).view(-1, batch_size)
    return (LENGTHS[batches].amax(1) * batch_size).sum().item() / LENGTHS[batches].sum().item()


def test_every_row_comes_once_in_an_order_of_seed_and_epoch():
    sampler = LengthSampler(NUM_ROWS, 1, LENGTHS, step_size=32)
    first, second = indices(sampler), indices(sampler, epoch=1)
    assert sorted(first) == sorted(second) == list(range(NUM_ROWS))
    assert first != second
    assert indices(sampler) == first
    assert indices(LengthSampler(NUM_ROWS, 2, LENGTHS, step_size=32)) != first
    assert {epoch for epoch, _ in sampler} == {0}


def test_little_of_a_batch_is_padding():
    assert padding_of(indices(SeededSampler(NUM_ROWS, 1))) > 2.0
    assert padding_of(indices(LengthSampler(NUM_ROWS, 1, LENGTHS, step_size=32))) < 1.15


def test_the_shuffle_is_not_hurt():
    sampler = LengthSampler(NUM_ROWS, 1, LENGTHS, step_size=32)
    orders = [torch.tensor(indices(sampler, epoch)) for epoch in range(2)]
    places = torch.arange(NUM_ROWS, dtype=torch.float64)
    for order in orders:
        # Neither the row's number nor its length says when it comes.
        for values in (order, LENGTHS[order]):
            correlation = torch.corrcoef(torch.stack([places, values.double()]))[0, 1]
            assert abs(correlation) < 0.08
    # Two rows that met in one epoch seldom meet in the next, although there are but two windows here.
    company = []
    for order in orders:
        batches = order[:3200].view(-1, 32).tolist()
        company.append({frozenset(pair) for batch in batches for pair in itertools.pairwise(batch)})
    assert len(company[0] & company[1]) < 0.15 * len(company[0])


def test_all_processes_have_equally_much_to_do():
    def batches(process):
        sampler = LengthSampler(NUM_ROWS, 1, LENGTHS, step_size=2 * 8 * 2)
        return list(StepBatchSampler(sampler, 8, num_accumulated=2, num_processes=2, process_index=process))

    ranks = [batches(0), batches(1)]
    longest = torch.tensor(
        [[max(LENGTHS[index].item() for _, index in batch) for batch in rank[:-2]] for rank in ranks]
    )
    assert ((longest[0] - longest[1]).abs() / longest.amax(0)).mean() < 0.06
    seen = sorted(index for rank in ranks for batch in rank for _, index in batch if index >= 0)
    assert seen == list(range(NUM_ROWS))


def test_fewer_rows_than_a_step():
    assert sorted(indices(LengthSampler(5, 1, LENGTHS, step_size=32))) == list(range(5))
