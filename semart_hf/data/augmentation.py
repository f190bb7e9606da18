"""How training pictures are varied, and the random numbers of each; `picture_batch` carries them out."""

import math
from dataclasses import dataclass

import numpy as np

from .data_arguments import check_values

# So often torchvision draws a crop or a rectangle again that does not fit.
_NUM_ATTEMPTS = 10
# Source: the defaults of torchvision's RandomErasing, which are those of Zhong et al. 2017, section 4.
_ERASED_SHARE, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. Each field's default leaves the picture as a centred crop of itself."""

    crop_scale: tuple[float, float] = (1.0, 1.0)  # smallest and largest share of the area that a crop keeps
    crop_ratio: tuple[float, float] = (1.0, 1.0)  # of the crop's width to its height, before it is made square
    horizontal_flip: float = 0.0  # probability
    rotation: float = 0.0  # the largest to either side, in degrees
    color_jitter: float = 0.0  # largest relative change of brightness, contrast and saturation
    random_erasing: float = 0.0  # probability of replacing 2 to 33 % of the area by the mean colour

    def __post_init__(self) -> None:
        check_values(self)
        for name, most in (("crop_scale", 1.0), ("crop_ratio", math.inf)):
            low, high = getattr(self, name)
            if not low <= high <= most:
                raise ValueError(f"{name} is {(low, high)}, but it must be smallest <= largest <= {most}. Correct it.")


@dataclass(frozen=True)
class Draw:
    """The random numbers of one picture. Each field's default leaves the picture as it is."""

    width: float = 1.0  # the crop's, as a share of the picture's
    height: float = 1.0
    center: tuple[float, float] = (0.5, 0.5)  # of the crop, (x, y) as shares of the picture's width and height
    is_mirrored: bool = False
    angle: float = 0.0  # in radians
    factors: tuple[float, ...] = (1.0, 1.0, 1.0)  # of brightness, contrast and saturation
    order: tuple[int, ...] = (0, 1, 2)  # in which these are changed
    erased: tuple[float, float, float, float] | None = None  # (top, left, height, width) in fractions of the output


def draw(augmentation: Augmentation, generator: np.random.Generator, picture_size: tuple[int, int]) -> Draw:
    """The random numbers for one picture of that height and width, distributed as in torchvision's transforms."""
    picture_height, picture_width = picture_size
    width, height, left, top = _draw_crop(augmentation, generator, picture_width, picture_height)
    uniform = generator.random(6)
    jitter = 1 + augmentation.color_jitter * (2 * uniform[2:5] - 1)
    order = tuple(generator.permutation(3).tolist())
    is_erased = uniform[5] < augmentation.random_erasing
    # As in `RandomErasing.get_params` of torchvision, the ratio is that of height to width.
    erased = _draw_rectangle(generator, _ERASED_SHARE, _ERASED_RATIO) if is_erased else None
    return Draw(
        width=width / picture_width,
        height=height / picture_height,
        center=((left + width / 2) / picture_width, (top + height / 2) / picture_height),
        is_mirrored=bool(uniform[0] < augmentation.horizontal_flip),
        angle=math.radians(augmentation.rotation) * (2 * uniform[1] - 1),
        factors=tuple(jitter.tolist()),
        order=order,
        erased=None if erased is None else (erased[2], erased[3], erased[0], erased[1]),
    )


def _draw_crop(
    augmentation: Augmentation, generator: np.random.Generator, picture_width: float, picture_height: float
) -> tuple[float, float, float, float]:
    """Width, height, left and top of a crop in pixels, not rounded, as in torchvision's `RandomResizedCrop`."""
    low, high = augmentation.crop_ratio
    found = _draw_rectangle(generator, augmentation.crop_scale, (low, high), picture_width, picture_height)
    if found is not None:
        return found
    ratio = min(max(picture_width / picture_height, low), high)
    width, height = min(picture_width, picture_height * ratio), min(picture_height, picture_width / ratio)
    return width, height, (picture_width - width) / 2, (picture_height - height) / 2


def _draw_rectangle(
    generator: np.random.Generator,
    share: tuple[float, float],
    ratio: tuple[float, float],
    outer_width: float = 1.0,
    outer_height: float = 1.0,
) -> tuple[float, float, float, float] | None:
    """Width, height, left and top of the first of ten rectangles that fits; `None` if none does."""
    uniform = generator.random((4, _NUM_ATTEMPTS))
    areas = outer_width * outer_height * (share[0] + uniform[0] * (share[1] - share[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = np.exp(low + uniform[1] * (high - low))
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = np.flatnonzero((widths <= outer_width) & (heights <= outer_height))
    if not len(fits):
        return None
    width, height = float(widths[fits[0]]), float(heights[fits[0]])
    left, top = uniform[2:, fits[0]].tolist()
    return width, height, left * (outer_width - width), top * (outer_height - height)
