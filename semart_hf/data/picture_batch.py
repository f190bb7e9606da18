"""Training pictures become `pixel_values`: cut out as uint8 where they are decoded, finished on the device.

Crop, mirroring and rotation are one affine resampling for the whole batch. Without an accelerator the data loader's
workers finish the batch; with one, it is sent as bytes and the accelerator does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .augmentation import Draw

# Bilinear resampling looks at two by two pixels: what is to become smaller than this is reduced with a filter first,
# but no further than this. Reduced to its size at once, a picture would be blurred twice, as none is in evaluation.
REDUCED_BEYOND = 1.5
_GRAY = (0.2989, 0.587, 0.114)  # Source: torchvision's rgb_to_grayscale, as in ITU-R BT.601


@dataclass(frozen=True)
class PictureBatch:
    """Pictures of a batch, with all that is still to be done to them."""

    stack: Tensor  # cut-outs (pictures, height, width, 3) of uint8, each in the upper left corner of its place
    extents: Tensor  # width and height of the cut-outs (pictures, 2)
    is_reflected: bool  # whether some picture is looked at beyond its edges, where its mirror image continues it
    matrices: Tensor  # (pictures, 2, 3): from the output's coordinates, -1 to 1, to the cut-out's in pixels
    # Of each change of colours (pictures, 3, 3): its factor, and how much of each pixel's grey and of the picture's
    # mean grey it blends with.
    colors: Tensor | None
    erased: Tensor  # rectangles (number, 5): picture, top, bottom, left, right
    rows: Tensor  # of the batch that the pictures belong to (pictures,)
    num_rows: int  # of the batch
    size: int  # side of the output in pixels
    mean: Sequence[float]  # of the channels, that the tower was trained with
    std: Sequence[float]

    def to(self, device: Any, *, non_blocking: bool = False, **_: Any) -> "PictureBatch":
        """The batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, *_: Any) -> "PictureBatch":
        """The batch in memory that an accelerator copies from by itself."""
        return self._map(lambda tensor: tensor.pin_memory())

    def finish(self) -> Tensor:
        """`pixel_values (num_rows, 3, size, size)`, zeros in rows without a picture."""
        count, device, places = len(self.matrices), self.matrices.device, self.rows.tolist()
        pictures = torch.empty(self.num_rows, 3, self.size, self.size, device=device)
        if count < self.num_rows:
            pictures.zero_()
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        factor, shift = 1 / (255 * std), mean / std
        # A CPU takes picture by picture: a batch does not fit into its caches.
        step = 1 if device.type == "cpu" else max(count, 1)
        for start in range(0, count, step):
            part = slice(start, start + step)
            resampled = self.sample(part)
            if self.colors is not None:
                change_colors(resampled, self.colors[part])
            if step == 1:
                torch.sub(resampled[0].mul_(factor), shift, out=pictures[places[start]])
            else:
                pictures[places] = resampled.mul_(factor).sub_(shift)
        for picture, top, bottom, left, right in self.erased.tolist():
            pictures[places[picture], :, top:bottom, left:right] = 0.0
        return pictures

    def sample(self, part: slice) -> Tensor:
        """Values 0 to 255 of some of the pictures `(part, 3, size, size)`."""
        source, edges = self.stack[part], self.extents[part]
        if len(source) == 1:  # it needs no place beside others, and the kernel itself mirrors at its edges
            width, height = edges[0].int().tolist()
            source = source[:, :height, :width]
        height, width = source.shape[1:3]
        steps = (torch.arange(self.size, device=source.device) * 2 + 1) / self.size - 1
        across, down, shift = (self.matrices[part][:, :, column, None, None] for column in range(3))
        points = across * steps + (down * steps[:, None] + shift)  # where each pixel of the output looks, x before y
        if len(source) > 1:
            edges = edges[:, :, None, None]
            if self.is_reflected:
                points = edges - (edges - points.abs_()).abs_()
            # Behind the outer pixels' centres a picture goes on in their colour, not in what lies beside it.
            points = torch.minimum(points.clamp_(min=0.5), edges - 0.5)
        scale = points.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
        grid = points.mul_(scale).sub_(1).permute(0, 2, 3, 1)
        values = source.permute(0, 3, 1, 2).float()
        return F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "PictureBatch":
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


def change_colors(pictures: Tensor, changes: Tensor) -> None:
    """Change pictures `(batch, 3, height, width)` of values to 255 in brightness, contrast and saturation, in place.

    Each of the changes `(batch, number, 3)` (see `PictureBatch.colors`) blends a picture with something grey: black,
    its mean grey, or each pixel's own. Source: torchvision's `ColorJitter`.
    """
    if len(pictures) == 1 and pictures.device.type == "cpu":
        _change_colors_of_one(pictures[0], changes[0].tolist())
        return
    red, green, blue = _GRAY
    for change in changes.unbind(1):
        factor, pixel_share, mean_share = change[:, :, None, None, None].unbind(1)
        gray = pictures[:, :1] * red
        gray.add_(pictures[:, 1:2], alpha=green).add_(pictures[:, 2:], alpha=blue)
        mean = gray.mean((2, 3), keepdim=True)
        gray.mul_(pixel_share * (1 - factor)).add_(mean * (mean_share * (1 - factor)))
        torch.addcmul(gray, pictures, factor, out=pictures).clamp_(0, 255)


def _change_colors_of_one(picture: Tensor, changes: Sequence[Sequence[float]]) -> None:
    """`change_colors` for one picture `(3, height, width)`, where what a change does not need is not computed."""
    weights = picture.new_tensor(_GRAY)
    for factor, pixel_share, mean_share in changes:
        if pixel_share:
            gray = torch.matmul((1 - factor) * pixel_share * weights, picture.flatten(1)).view(picture.shape[1:])
            picture.mul_(factor).add_(gray)
        else:
            gray_mean = float(weights @ picture.mean((1, 2))) if mean_share else 0.0
            picture.mul_(factor).add_((1 - factor) * mean_share * gray_mean)
        picture.clamp_(0, 255)


def gather_pictures(
    pictures: Sequence[Image.Image],
    draws: Sequence[Draw],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    rows: Sequence[int] | None = None,
    num_rows: int | None = None,
) -> PictureBatch:
    """A batch of RGB pictures with a draw each, ready to be finished; see `PictureBatch`.

    `rows` and `num_rows` are `None` where every row of the batch has a picture.
    """
    cuts, matrices = zip(
        *(_cut_out(picture, numbers, size) for picture, numbers in zip(pictures, draws, strict=True)), strict=True
    )
    extents = np.array([(cut.shape[1], cut.shape[0]) for cut in cuts])
    stack = np.empty((len(cuts), extents[:, 1].max(), extents[:, 0].max(), 3), dtype=np.uint8)
    for place, cut in zip(stack, cuts, strict=True):
        place[: cut.shape[0], : cut.shape[1]] = cut
    all_matrices = np.stack(matrices)
    reach = np.abs(all_matrices[:, :, :2]).sum(2)
    is_reflected = (all_matrices[:, :, 2] - reach < -1e-3) | (all_matrices[:, :, 2] + reach > extents + 1e-3)
    rectangles = []
    for number, numbers in enumerate(draws):
        if numbers.erased is not None:
            top, left, height, width = (round(fraction * size) for fraction in numbers.erased)
            rectangles.append((number, top, top + height, left, left + width))
    blends = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0))  # brightness, contrast, saturation
    colors = torch.tensor([[(numbers.factors[kind], *blends[kind]) for kind in numbers.order] for numbers in draws])
    return PictureBatch(
        stack=torch.from_numpy(stack),
        extents=torch.from_numpy(extents).float(),
        is_reflected=bool(is_reflected.any()),
        matrices=torch.from_numpy(all_matrices).float(),
        colors=colors if any(numbers.factors != (1.0, 1.0, 1.0) for numbers in draws) else None,
        erased=torch.tensor(rectangles, dtype=torch.long).view(-1, 5),
        rows=torch.tensor(range(len(draws)) if rows is None else rows),
        num_rows=len(draws) if num_rows is None else num_rows,
        size=size,
        mean=mean,
        std=std,
    )


def _cut_out(picture: Image.Image, numbers: Draw, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """The part of a picture that the output is made of, and the matrix from the output's coordinates to its pixels."""
    sides = np.array(picture.size, dtype=np.float64)
    half, center = np.array([numbers.width, numbers.height]) * sides / 2, np.array(numbers.center) * sides
    cosine, sine = math.cos(numbers.angle), math.sin(numbers.angle)
    # Output coordinates are rotated in the crop's own square, then scaled to the crop and moved to its place.
    turned = np.array([[cosine, -sine], [sine, cosine]]) * half[:, None]
    if numbers.is_mirrored:
        turned[0] *= -1
    reach = np.abs(turned).sum(1)
    # A pixel more on each side, for the interpolation.
    low = np.maximum(np.floor(center - reach) - 1, 0).astype(int)
    high = np.minimum(np.ceil(center + reach) + 1, sides).astype(int)
    reduction = np.maximum(2 * half / (REDUCED_BEYOND * size), 1.0)
    if reduction.max() > 1:
        reduced = np.maximum(np.round((high - low) / reduction), 1)
        box = (*low.tolist(), *high.tolist())
        part = picture.resize((int(reduced[0]), int(reduced[1])), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        cut, scale = np.asarray(part), reduced / (high - low)
    else:
        cut, scale = np.asarray(picture)[low[1] : high[1], low[0] : high[0]], np.ones(2)
    return cut, np.column_stack([turned, center - low]) * scale[:, None]
