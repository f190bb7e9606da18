"""How training pictures are varied, and the random numbers of each.

Every random number of a picture comes from a generator that is seeded by (seed, epoch, row), so that a picture's
augmentation depends neither on workers nor on batch size, order or what ran before. `picture_batch` carries them out.
"""

import math
from dataclasses import dataclass

import numpy as np

# As in torchvision: so often a crop or a rectangle that does not fit is drawn again.
_NUM_ATTEMPTS = 10
# Source: the defaults of torchvision's RandomErasing, which are those of Zhong et al. 2017, section 4.
_ERASED_SHARE = (0.02, 0.33)
_ERASED_RATIO = (0.3, 3.3)


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. Each field's default leaves the picture as a centred crop of itself.

    Args:
        crop_scale: Smallest and largest share of the picture's area that a random crop keeps.
        crop_ratio: Smallest and largest aspect ratio of the crop, its width to its height, before it is made square.
        horizontal_flip: Probability of mirroring.
        rotation: Largest rotation to either side, in degrees.
        color_jitter: Largest relative change of brightness, contrast and saturation.
        random_erasing: Probability of replacing a rectangle of 2 to 33 % of the area by the mean colour.
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
    """The random numbers of one picture. Each field's default leaves the picture as it is.

    Args:
        width: The crop's width as a share of the picture's.
        height: The crop's height, likewise.
        center: The crop's centre `(x, y)` as shares of the picture's width and height.
        is_mirrored: Whether the picture is mirrored.
        angle: Rotation in radians.
        factors: Factors of brightness, contrast and saturation.
        order: In which order these are changed: a permutation of 0, 1, 2.
        erased: Rectangle `(top, left, height, width)` in fractions of the output, or `None`.
    """

    width: float = 1.0
    height: float = 1.0
    center: tuple[float, float] = (0.5, 0.5)
    is_mirrored: bool = False
    angle: float = 0.0
    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: tuple[int, int, int] = (0, 1, 2)
    erased: tuple[float, float, float, float] | None = None


def draw(augmentation: Augmentation, generator: np.random.Generator, picture_size: tuple[int, int]) -> Draw:
    """The random numbers for one picture, distributed as those of torchvision's transforms.

    Args:
        augmentation: The ranges.
        generator: Source of randomness of this picture alone.
        picture_size: Height and width in pixels.
    """
    picture_height, picture_width = picture_size
    width, height, left, top = _draw_crop(augmentation, generator, picture_width, picture_height)
    uniform = generator.random(6)
    jitter = 1 + augmentation.color_jitter * (2 * uniform[2:5] - 1)
    first, second, third = generator.permutation(3).tolist()
    return Draw(
        width=width / picture_width,
        height=height / picture_height,
        center=((left + width / 2) / picture_width, (top + height / 2) / picture_height),
        is_mirrored=bool(uniform[0] < augmentation.horizontal_flip),
        angle=math.radians(augmentation.rotation) * (2 * uniform[1] - 1),
        factors=(float(jitter[0]), float(jitter[1]), float(jitter[2])),
        order=(first, second, third),
        erased=_draw_rectangle(generator) if uniform[5] < augmentation.random_erasing else None,
    )


def _draw_crop(
    augmentation: Augmentation, generator: np.random.Generator, picture_width: float, picture_height: float
) -> tuple[float, float, float, float]:
    """Width, height, left and top of a crop in pixels, not rounded.

    Source: `RandomResizedCrop.get_params` of torchvision: a share of the area and an aspect ratio, uniform in its
    logarithm; if none of ten fits, the largest centred crop within the ratios.
    """
    low, high = augmentation.crop_ratio
    uniform = generator.random((4, _NUM_ATTEMPTS))
    areas = picture_width * picture_height * _between(*augmentation.crop_scale, uniform[0])
    ratios = np.exp(_between(math.log(low), math.log(high), uniform[1]))
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = np.flatnonzero((widths <= picture_width) & (heights <= picture_height))
    if len(fits):
        attempt = fits[0]
        width, height = float(widths[attempt]), float(heights[attempt])
        left, top = uniform[2, attempt] * (picture_width - width), uniform[3, attempt] * (picture_height - height)
        return width, height, float(left), float(top)
    ratio = min(max(picture_width / picture_height, low), high)
    width, height = min(picture_width, picture_height * ratio), min(picture_height, picture_width / ratio)
    return width, height, (picture_width - width) / 2, (picture_height - height) / 2


def _draw_rectangle(generator: np.random.Generator) -> tuple[float, float, float, float] | None:
    """Top, left, height and width of a rectangle to erase; `None` in the rare case that none of ten fits.

    Source: `RandomErasing.get_params` of torchvision.
    """
    uniform = generator.random((4, _NUM_ATTEMPTS))
    shares = _between(*_ERASED_SHARE, uniform[0])
    ratios = np.exp(_between(math.log(_ERASED_RATIO[0]), math.log(_ERASED_RATIO[1]), uniform[1]))
    heights, widths = np.sqrt(shares * ratios), np.sqrt(shares / ratios)
    fits = np.flatnonzero((heights < 1) & (widths < 1))
    if not len(fits):
        return None
    height, width = float(heights[fits[0]]), float(widths[fits[0]])
    return float(uniform[2, fits[0]]) * (1 - height), float(uniform[3, fits[0]]) * (1 - width), height, width


def _between(low: float, high: float, uniform: np.ndarray) -> np.ndarray:
    return low + uniform * (high - low)
