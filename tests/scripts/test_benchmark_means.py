"""Each means of speed can be taken away, and the usual way in its place computes the same."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_release import load_script

from semart_hf.data import collator
from semart_hf.data.augmentation import Draw
from semart_hf.data.picture_batch import gather_pictures
from semart_hf.model import modeling_semart
from semart_hf.training import trainer

load_script("benchmark")  # puts the parts within reach of the imports below

from benchmarks.means import MEANS, PicturesOneByOne, do_without  # noqa: E402

PLACES = (
    (modeling_semart, "read_first_token"),
    (modeling_semart, "read_class_token"),
    (trainer.SemArtTrainer, "techniques"),
    (collator, "gather_pictures"),
)


def test_each_means_can_be_switched_off():
    assert [means.name for means in MEANS if not means.is_known()] == []
    assert all(bool(means.off) != bool(means.undo) for means in MEANS)


@pytest.mark.parametrize("means", [means for means in MEANS if means.undo], ids=lambda means: means.name)
def test_what_no_field_switches_off_is_taken_away(means, monkeypatch):
    before = [getattr(module, name) for module, name in PLACES]
    for (module, name), value in zip(PLACES, before, strict=True):
        monkeypatch.setattr(module, name, value)  # so that it is put back afterwards
    do_without(means.name)
    after = [getattr(module, name) for module, name in PLACES]
    assert sum(one is not other for one, other in zip(before, after, strict=True)) == 1


def test_pictures_one_by_one_are_those_of_the_batch():
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    pictures = [Image.fromarray(values).resize((100, 120), Image.Resampling.BICUBIC) for values in coarse]
    draws = [
        Draw(0.8, 0.7, (0.5, 0.5), is_mirrored=True, factors=(1.1, 0.9, 1.2), order=(2, 0, 1)),
        Draw(angle=0.2, erased=(0.25, 0.5, 0.25, 0.25)),
    ]
    options = {"size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "rows": [0, 2], "num_rows": 3}
    singly, together = (make(pictures, draws, **options).finish() for make in (PicturesOneByOne, gather_pictures))
    assert singly.shape == together.shape == (3, 3, 32, 32)
    assert not singly[1].any()
    assert torch.equal(singly[2] == 0, together[2] == 0)
    # Also in the corners: what a rotation brings in from beyond the edges is the mirrored picture in both.
    assert (singly[0] - together[0]).abs().mean() < 0.05
    assert (singly[2] - together[2]).abs().mean() < 0.05
    assert (singly[2] - together[2])[:, :3, :3].abs().mean() < 0.1
