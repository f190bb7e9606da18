"""The rows of an optimiser step: how they are dealt out, balanced and mixed."""

import pytest
import timm
import torch
from PIL import Image
from rounding import rounding

from semart_hf.data.collator import ArtCollator
from semart_hf.data.sampling import (
    MIXED_KEY,
    PLACEHOLDER,
    SeededSampler,
    StepBatchSampler,
    TrainingPaintings,
    balancing_weights,
)
from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.processing_semart import SemArtProcessor


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


def test_rare_labels_are_drawn_about_as_often_as_frequent_ones():
    labels = {"type": [0] * 90 + [1] * 10, "school": [None] * 100}
    weights = balancing_weights(labels, {"type": 3, "school": 2})
    # By hand: (100 / (2 * 90) + 1) / 2 and (100 / (2 * 10) + 1) / 2.
    assert weights[0].item() == pytest.approx((100 / 180 + 1) / 2)
    assert weights[-1].item() == pytest.approx(3.0)
    sampler = SeededSampler(100, 1, balancing_weights({"type": labels["type"]}, {"type": 3}))
    drawn = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        drawn += [index for _, index in sampler]
    assert sum(index >= 90 for index in drawn) / len(drawn) == pytest.approx(0.5, abs=0.03)
    assert list(sampler) == list(sampler)


def test_mixed_pictures_and_labels_have_the_same_shares():
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict()
    tokenizer = learn_tokenizer(["a"], max_length=8)
    processor = SemArtProcessor(SemArtImageProcessor.from_timm(cfg, 32), tokenizer)
    paintings = TrainingPaintings(rows(12), seed=2, mixup=0.5, mixup_alpha=1.0)
    keys = [(0, index) for index in range(12)]
    batch = ArtCollator(processor, [{"name": "type", "labels": ["a", "b", "c"]}])([paintings[key] for key in keys])
    plain = ArtCollator(processor, [{"name": "type", "labels": ["a", "b", "c"]}])(
        [TrainingPaintings(rows(12), seed=2)[key] for key in keys]
    )
    mixed = [place for place, key in enumerate(keys) if MIXED_KEY in paintings[key]]
    assert 2 <= len(mixed) <= 10
    assert batch["has_text"].tolist() == [place not in mixed for place in range(12)]
    for place, key in enumerate(keys):
        row, share = paintings[key], batch["label_share"][place].item()
        own, blended = plain["pixel_values"][place], batch["pixel_values"][place]
        if place not in mixed:
            assert share == 1.0
            assert torch.allclose(blended, own, atol=rounding(2, size=5))
            continue
        partner, drawn = row[MIXED_KEY]
        assert share == pytest.approx(drawn)
        other = plain["pixel_values"][int(partner["image"].getpixel((0, 0))[0])]
        assert torch.allclose(blended, share * own + (1 - share) * other, atol=rounding(2, size=5))
        assert batch["mixed_labels"][place].item() == partner["type"]
    assert batch["row_index"].tolist() == list(range(12))
