"""Augmentation: what leaves a picture as it is, geometry by values, distributions, and seeds."""

import numpy as np
import pytest
import torch
from torchvision.transforms import ColorJitter
from torchvision.transforms.v2 import functional as tvF

from semart_hf.data.augmentation import Augmentation, Draw, augment, draw, jitter_colors, resample

STILL = Draw(1.0, 1.0, (0.0, 0.0), False, 0.0, (1.0, 1.0, 1.0), None)


def picture(height=40, width=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(3, 8, 8, generator=generator)
    return (tvF.resize(small, [height, width]) * 255).to(torch.uint8)


def draws(augmentation, size=(40, 60), number=4000):
    return [draw(augmentation, np.random.default_rng([1, 2, row]), size) for row in range(number)]


def test_nothing_asked_changes_nothing():
    image = picture()
    output = augment([image], [np.random.default_rng(0)], Augmentation(), size=40, mean=[0.0] * 3, std=[1.0] * 3)
    assert torch.allclose(output[0], image / 255, atol=1e-6)


def test_without_a_random_crop_the_centre_is_kept():
    image = picture(40, 80)
    output = augment([image], [np.random.default_rng(0)], Augmentation(), size=40, mean=[0.0] * 3, std=[1.0] * 3)
    assert torch.allclose(output[0], image[:, :, 20:60] / 255, atol=1e-5)


def test_mirroring_equals_a_flip():
    image = picture()
    mirrored = Draw(1.0, 1.0, (0.0, 0.0), True, 0.0, (1.0, 1.0, 1.0), None)
    output = resample([image], [mirrored], 40)
    assert torch.allclose(output[0], tvF.horizontal_flip(image) / 255, atol=1e-5)


def test_rotation_equals_torchvisions():
    image = picture()
    turned = Draw(1.0, 1.0, (0.0, 0.0), False, np.deg2rad(30), (1.0, 1.0, 1.0), None)
    expected = tvF.rotate(image / 255, 30, interpolation=tvF.InterpolationMode.BILINEAR)
    middle = (slice(None), slice(12, 28), slice(12, 28))
    assert torch.allclose(resample([image], [turned], 40)[0][middle], expected[middle], atol=1e-3)


def test_a_crop_equals_cutting_out():
    image = picture(40, 40)
    quarter = Draw(0.5, 0.5, (-0.5, 0.5), False, 0.0, (1.0, 1.0, 1.0), None)
    assert torch.allclose(resample([image], [quarter], 20)[0], image[:, 20:40, 0:20] / 255, atol=1e-5)


def test_color_jitter_equals_torchvisions_factors():
    image = picture() / 255
    factors = (1.2, 0.7, 1.3)
    expected = tvF.adjust_saturation(tvF.adjust_contrast(tvF.adjust_brightness(image, 1.2), 0.7), 1.3)
    found = jitter_colors(image[None].clone(), [Draw(1.0, 1.0, (0.0, 0.0), False, 0.0, factors, None)])
    assert torch.allclose(found[0], expected, atol=1e-3)


def test_draws_have_the_stated_distributions():
    augmentation = Augmentation(
        crop_scale=(0.4, 1.0), horizontal_flip=0.3, rotation=15, color_jitter=0.2, random_erasing=0.25
    )
    found = draws(augmentation, size=(50, 50))
    areas = np.array([d.width * d.height for d in found])
    assert areas.min() >= 0.4
    assert areas.max() <= 1.0
    assert np.mean(areas) == pytest.approx(0.7, abs=0.01)
    assert np.mean([d.is_mirrored for d in found]) == pytest.approx(0.3, abs=0.03)
    angles = np.rad2deg([d.angle for d in found])
    assert np.abs(angles).max() <= 15
    assert np.std(angles) == pytest.approx(15 / np.sqrt(3), abs=0.3)
    factors = np.array([d.factors for d in found])
    assert factors.min() >= 0.8
    assert factors.max() <= 1.2
    reference = [ColorJitter.get_params([0.8, 1.2], None, None, None)[1] for _ in range(4000)]
    assert np.std(factors[:, 0]) == pytest.approx(np.std(reference), abs=0.006)
    assert np.mean([d.erased is not None for d in found]) == pytest.approx(0.25, abs=0.03)
    erased = np.array([d.erased[2] * d.erased[3] for d in found if d.erased])
    assert erased.min() > 0.0
    assert erased.max() <= 0.2 + 1e-9


def test_crops_stay_inside_and_keep_their_aspect_ratio():
    for d in draws(Augmentation(crop_scale=(0.3, 1.0), crop_ratio=(0.75, 1.33)), size=(40, 120), number=500):
        assert abs(d.center[0]) + d.width <= 1 + 1e-9
        assert abs(d.center[1]) + d.height <= 1 + 1e-9
        assert 0.74 <= (d.width * 120) / (d.height * 40) <= 1.34


def test_a_picture_depends_on_its_own_seed_alone():
    augmentation = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5, rotation=10, random_erasing=0.5)
    images = [picture(seed=row) for row in range(3)]
    settings = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    together = augment(images, [np.random.default_rng([0, 1, row]) for row in range(3)], augmentation, **settings)
    alone = augment(images[2:], [np.random.default_rng([0, 1, 2])], augmentation, **settings)
    other_epoch = augment(images[2:], [np.random.default_rng([0, 2, 2])], augmentation, **settings)
    assert torch.equal(together[2], alone[0])
    assert not torch.equal(alone, other_epoch)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_scale": (0.9, 0.5)}, "crop_scale is"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio is"),
        ({"horizontal_flip": 1.5}, "horizontal_flip is 1.5, but it is a probability"),
        ({"rotation": 270}, "rotation is 270"),
        ({"color_jitter": 1.0}, "color_jitter 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
