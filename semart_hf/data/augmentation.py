"""Training pictures `(batch, 3, size, size)` from pictures of any size: one affine resampling, colour jitter, erasing.

Every random number of a picture comes from a generator that is seeded by (seed, epoch, row), so that a picture's
augmentation depends neither on workers nor on batch size, order or what ran before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. Each field's default leaves the picture as a centred crop of itself.

    Args:
        crop_scale: Smallest and largest share of the picture's area that a random crop keeps.
        crop_ratio: Smallest and largest aspect ratio of the crop, relative to the picture's own.
        horizontal_flip: Probability of mirroring.
        rotation: Largest rotation to either side, in degrees.
        color_jitter: Largest relative change of brightness, contrast and saturation.
        random_erasing: Probability of replacing a rectangle of 2 to 20 % of the area by the mean colour.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: float = 0.0
    rotation: float = 0.0
    color_jitter: float = 0.0
    random_erasing: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale is {self.crop_scale}, but it must be 0 < smallest <= largest <= 1.")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ValueError(
                f"crop_ratio is {self.crop_ratio}, but it must be 0 < smallest <= largest, e.g. (0.75, 1.33)."
            )
        for name in ("horizontal_flip", "random_erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but it is a probability: give a number from 0 to 1."
                )
        if not 0 <= self.rotation <= 180 or not 0 <= self.color_jitter < 1:
            raise ValueError(
                f"rotation is {self.rotation} and color_jitter {self.color_jitter}, but they must be 0 to 180 degrees "
                "and 0 to below 1."
            )


@dataclass(frozen=True)
class Draw:
    """The random numbers of one picture.

    Args:
        width: Half the crop's width in the picture's normalised coordinates (1 is the whole width).
        height: Half the crop's height, likewise.
        center: The crop's centre `(x, y)` in normalised coordinates, −1 to 1.
        is_mirrored: Whether the picture is mirrored.
        angle: Rotation in radians.
        factors: Factors of brightness, contrast and saturation.
        erased: Rectangle `(top, left, height, width)` in fractions of the output, or `None`.
    """

    width: float
    height: float
    center: tuple[float, float]
    is_mirrored: bool
    angle: float
    factors: tuple[float, float, float]
    erased: tuple[float, float, float, float] | None


def draw(augmentation: Augmentation, generator: np.random.Generator, picture_size: tuple[int, int]) -> Draw:
    """The random numbers for one picture.

    As in torchvision's `RandomResizedCrop` an area share and a log-uniform aspect ratio are drawn, and clipped to what
    fits in the picture. With `crop_scale=(1, 1)` it is the largest centred crop, as in evaluation.

    Args:
        augmentation: The ranges.
        generator: Source of randomness of this picture alone.
        picture_size: Height and width in pixels.
    """
    picture_height, picture_width = picture_size
    uniform = generator.random(10)
    scale = augmentation.crop_scale[0] + uniform[0] * (augmentation.crop_scale[1] - augmentation.crop_scale[0])
    log_low, log_high = (math.log(ratio) for ratio in augmentation.crop_ratio)
    ratio = math.exp(log_low + uniform[1] * (log_high - log_low))
    area = scale * picture_height * picture_width
    width = min(math.sqrt(area * ratio), picture_width, picture_height * ratio)
    height = min(width / ratio, picture_height)
    half_width, half_height = width / picture_width, height / picture_height
    erased = None
    if uniform[8] < augmentation.random_erasing:
        share, aspect = 0.02 + 0.18 * generator.random(), math.exp(generator.uniform(math.log(0.3), math.log(3.3)))
        erased_height, erased_width = min(1.0, math.sqrt(share * aspect)), min(1.0, math.sqrt(share / aspect))
        erased = (
            generator.random() * (1 - erased_height),
            generator.random() * (1 - erased_width),
            erased_height,
            erased_width,
        )
    is_centred = augmentation.crop_scale == (1.0, 1.0)
    jitter = 1 + augmentation.color_jitter * (2 * uniform[5:8] - 1)
    return Draw(
        width=half_width,
        height=half_height,
        center=(
            0.0 if is_centred else (2 * uniform[2] - 1) * (1 - half_width),
            0.0 if is_centred else (2 * uniform[3] - 1) * (1 - half_height),
        ),
        is_mirrored=bool(uniform[4] < augmentation.horizontal_flip),
        angle=math.radians(augmentation.rotation) * (2 * uniform[9] - 1),
        factors=(float(jitter[0]), float(jitter[1]), float(jitter[2])),
        erased=erased,
    )


def resample(pictures: Sequence[Tensor], draws: Sequence[Draw], size: int) -> Tensor:
    """Cropped, mirrored and rotated pictures `(batch, 3, size, size)` in 0…1: one bilinear resampling for each.

    Args:
        pictures: `(3, height, width)` of uint8 each.
        draws: One for each picture.
        size: Side of the output in pixels.
    """
    output = torch.empty(len(pictures), 3, size, size)
    for row, (picture, numbers) in enumerate(zip(pictures, draws, strict=True)):
        cosine, sine = math.cos(numbers.angle), math.sin(numbers.angle)
        mirror = -1.0 if numbers.is_mirrored else 1.0
        # Output coordinates are rotated in the crop's own square, then scaled to the crop and moved to its place.
        theta = torch.tensor(
            [
                [mirror * cosine * numbers.width, -mirror * sine * numbers.width, numbers.center[0]],
                [sine * numbers.height, cosine * numbers.height, numbers.center[1]],
            ],
            dtype=torch.float32,
        )
        grid = F.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
        source = picture[None].float().div_(255)
        output[row] = F.grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    return output


def jitter_colors(pictures: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Pictures `(batch, 3, size, size)` in 0…1 with brightness, contrast and saturation changed, in this order.

    Source: torchvision's `ColorJitter`, each factor as there, on the whole batch at once.
    """
    factors = torch.tensor([numbers.factors for numbers in draws], dtype=pictures.dtype)[:, :, None, None, None]
    gray_weights = pictures.new_tensor([0.2989, 0.587, 0.114])[None, :, None, None]
    pictures = (pictures * factors[:, 0]).clamp_(0, 1)
    mean = (pictures * gray_weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pictures = torch.lerp(mean, pictures, factors[:, 1]).clamp_(0, 1)
    gray = (pictures * gray_weights).sum(1, keepdim=True)
    return torch.lerp(gray, pictures, factors[:, 2]).clamp_(0, 1)


def augment(
    pictures: Sequence[Tensor],
    generators: Sequence[np.random.Generator],
    augmentation: Augmentation,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Normalised, augmented pictures `(batch, 3, size, size)`.

    Args:
        pictures: `(3, height, width)` of uint8 each.
        generators: One for each picture, seeded by what identifies the draw.
        augmentation: The ranges.
        size: Side of the output in pixels.
        mean: Channel means that the tower was trained with.
        std: Channel standard deviations, likewise.
    """
    draws = [
        draw(augmentation, generator, (picture.shape[1], picture.shape[2]))
        for picture, generator in zip(pictures, generators, strict=True)
    ]
    output = resample(pictures, draws, size)
    if augmentation.color_jitter > 0:
        output = jitter_colors(output, draws)
    output.sub_(torch.tensor(mean)[None, :, None, None]).div_(torch.tensor(std)[None, :, None, None])
    for row, numbers in enumerate(draws):
        if numbers.erased is not None:
            top, left, height, width = (round(fraction * size) for fraction in numbers.erased)
            output[row, :, top : top + height, left : left + width] = 0.0
    return output
