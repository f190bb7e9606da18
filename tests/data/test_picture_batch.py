import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvF

from semart_hf.data.collator import Draw, change_colors, draw, gather_pictures
from semart_hf.data.data_arguments import Augmentation

# Values from 0 to 1; a pixel's place in a picture of about 40 pixels is the sum of 3 terms, and a wrong place shows by
# as much as neighbours differ.
ROUNDING = rounding(3, layers=3, size=40)
PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}
CROPPED = {"crop_scale": (0.5, 1.0), "crop_ratio": (0.75, 1.3333), "horizontal_flip": 0.5, "color_jitter": 0.3}
EVERYTHING = Augmentation(**CROPPED, rotation=20, random_erasing=0.5)


def picture(height=40, width=40, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def values(image):
    return tvF.pil_to_tensor(image) / 255


def finish(images, draws, size, **options):
    return gather_pictures(images, draws, size=size, **{**PLAIN, **options}).finish()


@pytest.mark.parametrize(
    ("numbers", "size", "expected"),
    [
        (Draw(), 40, lambda values: values),
        (Draw(is_mirrored=True), 40, tvF.horizontal_flip),
        (Draw(width=0.5, height=0.5, center=(0.25, 0.75)), 20, lambda values: values[:, 20:40, 0:20]),
    ],
    ids=["unchanged", "mirrored", "cut out"],
)
def test_pictures_that_are_not_resized_keep_their_pixels(numbers, size, expected):
    assert torch.allclose(finish([picture()], [numbers], size)[0], expected(values(picture())), atol=ROUNDING)


def test_rotation_and_crop_equal_torchvisions_and_beyond_its_edges_a_picture_is_mirrored():
    expected = tvF.rotate(values(picture()), 30, interpolation=tvF.InterpolationMode.BILINEAR)
    middle = (slice(None), slice(12, 28), slice(12, 28))
    found = finish([picture()], [Draw(angle=math.radians(30))], 40)[0]
    assert torch.allclose(found[middle], expected[middle], atol=1e-3)
    numbers = Draw(width=0.9, height=0.6, center=(0.5, 0.5))
    image = picture(100, 80)
    expected = tvF.resized_crop(values(image), 20, 4, 60, 72, [64, 64], antialias=False)
    found = finish([image], [numbers], 64)[0]
    # The crop's edge shows what lies beyond it, where torchvision repeats the last pixel.
    assert torch.allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-3)
    image = picture(30, 30)
    wide = values(image)
    mirrored = torch.cat([wide.flip(2), wide, wide.flip(2)], dim=2)
    mirrored = torch.cat([mirrored.flip(1), mirrored, mirrored.flip(1)], dim=1)
    expected = tvF.rotate(mirrored, 25, interpolation=tvF.InterpolationMode.BILINEAR)[:, 30:60, 30:60]
    found = finish([image], [Draw(angle=math.radians(25))], 30)[0]
    assert torch.allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_colors_equal_torchvisions_in_every_order(order):
    factors = (1.3, 0.6, 1.4)
    changes = [tvF.adjust_brightness, tvF.adjust_contrast, tvF.adjust_saturation]
    expected = values(picture())
    for kind in order:
        expected = changes[kind](expected, factors[kind])
    found = finish([picture()], [Draw(factors=factors, order=order)], 40)[0]
    assert torch.allclose(found, expected, atol=ROUNDING)


def test_large_pictures_are_reduced_with_a_filter():
    stripes = np.zeros((400, 400, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = finish([Image.fromarray(stripes)], [Draw(angle=math.radians(7))], 50)[0]
    assert found.mean().item() == pytest.approx(0.5, abs=0.02)
    assert found.std().item() < 0.06


@pytest.mark.parametrize("center", [(0.5, 0.5), (0.4977, 0.4923), (0.493, 0.503)])
def test_large_pictures_are_as_sharp_as_if_resized_once(center):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((130, 130), Image.Resampling.BICUBIC)
    edges = [130 * (part + sign * 0.485) for sign in (-1, 1) for part in center]
    expected = values(image.resize((64, 64), Image.Resampling.BILINEAR, box=tuple(edges)))
    found = finish([image], [Draw(width=0.97, height=0.97, center=center)], 64)[0]
    assert found.std() > 0.98 * expected.std()
    assert (found - expected).abs().mean() < 0.02


def test_pictures_are_normalised_erased_pickled_and_zeros_where_there_is_none():
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    numbers = Draw(erased=(0.25, 0.5, 0.5, 0.25))
    found = finish([picture()], [numbers], 40, mean=mean, std=std)[0]
    expected = tvF.normalize(values(picture()), mean, std)
    expected[:, 10:30, 20:30] = 0.0
    assert torch.allclose(found, expected, atol=ROUNDING)
    images = [picture(seed=row) for row in range(3)]
    found = finish([None, images[0], None, images[1]], [None, Draw(), None, Draw()], 40)
    assert not found[[0, 2]].any()
    assert torch.allclose(found[1], values(images[0]), atol=ROUNDING)
    assert torch.allclose(found[3], values(images[1]), atol=ROUNDING)
    batch = gather_pictures([picture()], [Draw(factors=(1.1, 1.0, 1.0))], size=40, **PLAIN)
    copied = pickle.loads(pickle.dumps(batch))  # noqa: S301
    assert copied.stack.dtype == torch.uint8
    assert torch.equal(copied.finish(), batch.finish())


def test_a_whole_batch_at_once_equals_picture_by_picture():
    images = [picture(40 + 7 * row, 60 - 4 * row, row) for row in range(6)]
    draws = [draw(EVERYTHING, np.random.default_rng([0, row]), (i.height, i.width)) for row, i in enumerate(images)]
    batch = gather_pictures(images, draws, size=32, **PLAIN)
    assert batch.is_reflected
    at_once = batch.sample(slice(0, 6))
    single = torch.cat([batch.sample(slice(row, row + 1)) for row in range(6)])
    assert torch.allclose(at_once, single, atol=2 * 255 * ROUNDING)  # of 255, and up to 80 pixels
    change_colors(at_once, batch.colors)
    for row in range(6):
        alone = single[row : row + 1].clone()
        change_colors(alone, batch.colors[row : row + 1])
        assert torch.allclose(at_once[row], alone[0], atol=2 * 2 * 255 * ROUNDING)


def test_the_pixels_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    image = picture(60, 48, seed=3)
    crop = v2.RandomResizedCrop(24, scale=(0.5, 1.0), ratio=(0.75, 1.3333))
    transform = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ColorJitter(0.3, 0.3, 0.3)])
    expected = torch.stack([transform(values(image)) for _ in range(500)])
    draws = [draw(Augmentation(**CROPPED), np.random.default_rng([5, row]), (60, 48)) for row in range(500)]
    found = finish([image] * 500, draws, 24)
    # The mean over 500 pictures that vary by 0.2 is known to 0.009; the largest of 1,728 errors is 4 times that.
    assert (found.mean(0) - expected.mean(0)).abs().max() < 0.06
    assert (found.std(0) - expected.std(0)).abs().max() < 0.05
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.01)
