from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torchvision.transforms import ColorJitter, RandomErasing, RandomResizedCrop

from semart_hf.data.collator import Draw, draw
from semart_hf.data.data_arguments import Augmentation

NUMBER = 1200


def draws(augmentation, size=(40, 60), number=NUMBER):
    return [draw(augmentation, np.random.default_rng([1, 2, row]), size) for row in range(number)]


def assert_same_distribution(found, expected):
    """Two samples of one distribution differ so much once in a thousand times (Kolmogorov and Smirnov)."""
    values = np.sort(np.concatenate([found, expected]))
    ranks = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (found, expected)]
    assert np.abs(ranks[0] - ranks[1]).max() < 1.95 * np.sqrt(1 / len(found) + 1 / len(expected))


@pytest.mark.parametrize(("size", "width", "height"), [((40, 80), 0.5, 1.0), ((90, 30), 1.0, 1 / 3)])
def test_without_a_random_crop_the_centre_is_kept(size, width, height):
    (found,) = draws(Augmentation(), size=size, number=1)
    assert (found.width, found.height, found.center) == (width, pytest.approx(height), (0.5, 0.5))


@pytest.mark.parametrize("size", [(300, 300), (300, 450), (900, 300)])
def test_crops_are_distributed_as_torchvisions(size):
    torch.manual_seed(0)
    scale, ratio = (0.3, 1.0), (0.75, 1.3333)
    picture = torch.zeros(3, *size)
    reference = np.array([RandomResizedCrop.get_params(picture, scale, ratio) for _ in range(NUMBER)])
    found = draws(Augmentation(crop_scale=scale, crop_ratio=ratio), size=size)
    heights, widths = np.array([d.height * size[0] for d in found]), np.array([d.width * size[1] for d in found])
    tops = np.array([d.center[1] * size[0] for d in found]) - heights / 2
    lefts = np.array([d.center[0] * size[1] for d in found]) - widths / 2
    for ours, theirs in zip((tops, lefts, heights, widths), reference.T, strict=True):
        assert_same_distribution(np.round(ours), theirs)
    for start, length, side in ((tops, heights, size[0]), (lefts, widths, size[1])):
        assert -1e-9 <= start.min() <= (start + length).max() <= side + 1e-9


def test_colours_rectangles_mirrors_and_rotations_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    found = draws(Augmentation(color_jitter=0.2))
    reference = [ColorJitter.get_params([0.8, 1.2], [0.8, 1.2], [0.8, 1.2], None) for _ in range(NUMBER)]
    for kind in range(3):
        assert_same_distribution([d.factors[kind] for d in found], [params[1 + kind] for params in reference])
    orders = Counter(d.order for d in found)
    assert orders == pytest.approx(dict.fromkeys(permutations(range(3)), NUMBER / 6), abs=0.03 * NUMBER)
    torch.manual_seed(0)
    picture = torch.zeros(3, 200, 200)
    chances = ((0.02, 0.33), (0.3, 3.3), [0.0])
    reference = np.array([RandomErasing.get_params(picture, *chances)[:4] for _ in range(NUMBER)])
    found = np.array([d.erased for d in draws(Augmentation(random_erasing=1.0))]) * 200
    for ours, theirs in zip(found.T, reference.T, strict=True):
        assert_same_distribution(np.round(ours), theirs)
    rates = [d.erased is not None for d in draws(Augmentation(random_erasing=0.25))]
    assert np.mean(rates) == pytest.approx(0.25, abs=0.045)
    found = draws(Augmentation(horizontal_flip=0.3, rotation=15))
    assert np.mean([d.is_mirrored for d in found]) == pytest.approx(0.3, abs=0.045)
    angles = np.rad2deg([d.angle for d in found])
    assert_same_distribution(angles, np.random.default_rng(0).uniform(-15, 15, NUMBER))
    augmentation = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5, rotation=10, random_erasing=0.5)
    size = (40, 60)
    assert draws(augmentation, size, 3)[2] == draw(augmentation, np.random.default_rng([1, 2, 2]), size)
    assert draws(augmentation, size, 3)[2] != draw(augmentation, np.random.default_rng([1, 3, 2]), size)
    (found,) = draws(Augmentation(), size=(40, 40), number=1)
    assert replace(found, order=(0, 1, 2)) == Draw()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_scale": (0.9, 0.5)}, "crop_scale is"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio is"),
        ({"horizontal_flip": 1.5}, "horizontal_flip is 1.5, but a number must be from 0 to 1"),
        ({"rotation": 270}, "rotation is 270"),
        ({"color_jitter": 1.0}, "color_jitter is 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
