"""Rows of paintings become the model's inputs; training pictures are varied, cut out as uint8 and finished later.

Crop, mirroring and rotation are one affine resampling for the whole batch. Without an accelerator the data loader's
workers finish the batch; with one, it is sent as bytes and the accelerator does.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.pictures_semart import PictureError, load_picture
from semart_hf.model.processing_semart import SemArtProcessor, is_missing
from semart_hf.preparation.shards import MAX_BITS, picture_signature, text_digest

from .data_arguments import Augmentation
from .rows import labels_of
from .sampling import DRAW_KEY
from .training_texts import FrozenText

MODALITIES = ("image+text", "image", "text")
_TEXT_BYTES = 8  # of the keys of copies
# Source: the defaults of torchvision's RandomErasing, which are those of Zhong et al. 2017, section 4.
_ERASED_SHARE, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
# Bilinear resampling looks at two by two pixels: what is to become smaller than this is reduced with a filter first,
# but no further than this. Reduced to its size at once, a picture would be blurred twice, as none is in evaluation.
REDUCED_BEYOND = 1.5
_GRAY = (0.2989, 0.587, 0.114)  # Source: torchvision's rgb_to_grayscale, as in ITU-R BT.601
logger = logging.getLogger(__name__)


@dataclass
class ArtCollator:
    """Collates rows with `image`, `text` and a column for each task into the model's inputs.

    Rows that carry a draw (see `TrainingPaintings`) are augmented and may lose a modality. Where a picture cannot be
    read, which is logged, the row is shown its text alone; one without text is left out: its labels are unknown.
    """

    processor: SemArtProcessor
    tasks: Sequence[Mapping[str, Any]]  # in the model's order
    modality: str = "image+text"  # what is shown to the model: one of `MODALITIES`
    augmentation: Augmentation = field(default_factory=Augmentation)
    image_dropout: float = 0.0  # probability that a training row with both is shown without its picture
    text_dropout: float = 0.0  # likewise without its text
    frozen_text: FrozenText | None = None  # gives `text_hidden` in the place of `input_ids` where it has all texts
    keeps_tokens: bool = False  # whether such a batch has its `input_ids` too, for a lexicon
    finishes_pictures: bool = True  # whether here; otherwise training's `pixel_values` is a `PictureBatch`
    reports_unreadable: bool = False  # as `unreadable`: the rows' places in the batch, and what is wrong with each
    recognises_copies: bool = False  # whether training rows have `pair_keys (batch, bytes)`, alike for copies

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"Unknown modality {self.modality!r}: give one of {MODALITIES}.")
        if min(self.image_dropout, self.text_dropout) < 0 or self.image_dropout + self.text_dropout > 1:
            raise ValueError(
                f"image_dropout is {self.image_dropout} and text_dropout {self.text_dropout}, but they are "
                "probabilities of exclusive events: both at least 0, together at most 1."
            )
        self._logged: set[tuple[str, str]] = set()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The model's inputs, `labels (batch, num_label_columns)`, and of training rows their `row_index (batch,)`."""
        is_training = all(DRAW_KEY in row for row in rows)
        seeds = [[number % 2**32 for number in row[DRAW_KEY]] if is_training else None for row in rows]
        generators = [None if seed is None else np.random.default_rng(seed) for seed in seeds]
        pictures, texts, unreadable = self._read(rows, generators)
        inputs: dict[str, Any] = {}
        if any(text is not None for text in texts):
            hidden = None if self.frozen_text is None else self.frozen_text.batch(texts)
            if hidden is None or self.keeps_tokens:
                inputs.update(self.processor(text=texts))
            inputs.update(hidden or {})
        if any(picture is not None for picture in pictures):
            inputs.update(self._augmented(pictures, generators) if is_training else self.processor(images=pictures))
        if not inputs:  # rows without picture and text are scored by the learned absence vectors alone
            inputs.update(self.processor(text=texts))
        inputs["labels"] = labels_of(rows, self.tasks)
        inputs["labels"][[place for place in unreadable if texts[place] is None]] = UNKNOWN_LABEL
        if is_training:
            inputs["row_index"] = torch.tensor([row[DRAW_KEY][-1] for row in rows])
            if self.recognises_copies:
                inputs["pair_keys"] = pair_keys(pictures, texts)
        if self.reports_unreadable and unreadable:
            inputs["unreadable"] = list(unreadable.items())
        return inputs

    def _read(
        self, rows: Sequence[Mapping[str, Any]], generators: Sequence[np.random.Generator | None]
    ) -> tuple[list[Image.Image | None], list[str | None], dict[int, str]]:
        """Pictures and texts as they are shown, and by its row's place what is wrong with a picture."""
        image_processor = self.processor.image_processor
        # So large that the smallest crop still has as many pixels as the model sees.
        for_training = math.ceil(image_processor.crop_size["height"] / math.sqrt(self.augmentation.crop_scale[0]))
        pictures: list[Image.Image | None] = []
        texts, unreadable = [], {}
        for place, (row, generator) in enumerate(zip(rows, generators, strict=True)):
            has_image, has_text = self._shown(row, generator)
            picture = None
            if has_image:
                least_side = image_processor.least_side if generator is None else for_training
                try:
                    picture = load_picture(row["image"], least_side=least_side)
                except PictureError as error:
                    unreadable[place], has_text = str(error), self._shown(row, None)[1]
                    name = row.get("image_file") or "a painting without a name"
                    if (name, str(error)) not in self._logged:
                        self._logged.add((name, str(error)))
                        remains = "its text alone is used" if has_text else "it is left out"
                        logger.warning("%s: the picture cannot be read, and %s. %s", name, remains, error)
            pictures.append(picture)
            texts.append(row["text"] if has_text else None)
        return pictures, texts, unreadable

    def _shown(self, row: Mapping[str, Any], generator: np.random.Generator | None) -> tuple[bool, bool]:
        """Whether a row's picture is shown, and its text."""
        has_image = not is_missing(row.get("image")) and "image" in self.modality
        has_text = not is_missing(row.get("text")) and "text" in self.modality
        if generator is not None and has_image and has_text:
            chance = generator.random()
            has_image = chance >= self.image_dropout
            has_text = not self.image_dropout <= chance < self.image_dropout + self.text_dropout
        return has_image, has_text

    def _augmented(self, pictures: Sequence[Image.Image | None], generators: Sequence[Any]) -> dict[str, Any]:
        """`pixel_values` of training rows, and `has_image` where some lack a picture."""
        image_processor = self.processor.image_processor
        draws = [
            None if picture is None else draw(self.augmentation, generator, (picture.height, picture.width))
            for picture, generator in zip(pictures, generators, strict=True)
        ]
        size, mean, std = image_processor.crop_size["height"], image_processor.image_mean, image_processor.image_std
        batch = gather_pictures(pictures, draws, size=size, mean=mean, std=std)
        inputs: dict[str, Any] = {"pixel_values": batch.finish() if self.finishes_pictures else batch}
        return inputs if batch.has_image.all() else {**inputs, "has_image": batch.has_image}


def pair_keys(pictures: Sequence[Any], texts: Sequence[str | None]) -> Tensor:
    """What copies are recognised by, `(batch, bytes)`: each row's digest of its text and signature of its picture."""
    keys = np.zeros((len(texts), _TEXT_BYTES + 32), dtype=np.uint8)
    for key, picture, text in zip(keys, pictures, texts, strict=True):
        if picture is not None and text is not None:
            content = bytes.fromhex(text_digest(text)) + picture_signature(picture)
            key[:] = np.frombuffer(content, dtype=np.uint8)
    return torch.from_numpy(keys)


def are_copies(keys: Tensor, others: Tensor) -> Tensor:
    """Whether rows have an equal text or copies of one picture `(batch, others)`."""
    if not keys.shape[1]:
        return torch.zeros(len(keys), len(others), dtype=torch.bool, device=keys.device)
    same_text = (keys[:, None, :_TEXT_BYTES] == others[None, :, :_TEXT_BYTES]).all(-1)
    bits = torch.arange(8, device=keys.device)
    own, other = ((part[:, _TEXT_BYTES:, None] >> bits & 1).flatten(1).float() * 2 - 1 for part in (keys, others))
    return same_text | (own @ other.T >= own.shape[1] - 2 * MAX_BITS)


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
    outer_height, outer_width = picture_size
    low, high = augmentation.crop_ratio
    crop = _draw_rectangle(generator, augmentation.crop_scale, (low, high), outer_width, outer_height)
    if crop is None:
        ratio = min(max(outer_width / outer_height, low), high)
        width, height = min(outer_width, outer_height * ratio), min(outer_height, outer_width / ratio)
        crop = width, height, (outer_width - width) / 2, (outer_height - height) / 2
    width, height, left, top = crop
    uniform = generator.random(6)
    order = tuple(generator.permutation(3).tolist())
    is_erased = uniform[5] < augmentation.random_erasing
    # As in `RandomErasing.get_params` of torchvision, the ratio is that of height to width.
    erased = _draw_rectangle(generator, _ERASED_SHARE, _ERASED_RATIO) if is_erased else None
    return Draw(
        width=width / outer_width,
        height=height / outer_height,
        center=((left + width / 2) / outer_width, (top + height / 2) / outer_height),
        is_mirrored=bool(uniform[0] < augmentation.horizontal_flip),
        angle=math.radians(augmentation.rotation) * (2 * uniform[1] - 1),
        factors=tuple((1 + augmentation.color_jitter * (2 * uniform[2:5] - 1)).tolist()),
        order=order,
        erased=None if erased is None else (erased[2], erased[3], erased[0], erased[1]),
    )


def _draw_rectangle(
    generator: np.random.Generator, share: Sequence[float], ratio: Sequence[float], width: float = 1, height: float = 1
) -> tuple[float, float, float, float] | None:
    """Width, height, left and top, not rounded, of the first of ten rectangles that fits; `None` if none does."""
    uniform = generator.random((4, 10))  # torchvision draws as often
    areas = width * height * (share[0] + uniform[0] * (share[1] - share[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = np.exp(low + uniform[1] * (high - low))
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = np.flatnonzero((widths <= width) & (heights <= height))
    if not len(fits):
        return None
    own_width, own_height = float(widths[fits[0]]), float(heights[fits[0]])
    left, top = uniform[2:, fits[0]].tolist()
    return own_width, own_height, left * (width - own_width), top * (height - own_height)


class PictureBatch(NamedTuple):
    """Pictures of a batch, with all that is still to be done to them."""

    stack: Tensor  # cut-outs (pictures, height, width, 3) of uint8, each in the upper left corner of its place
    extents: Tensor  # width and height of the cut-outs (pictures, 2)
    is_reflected: bool  # whether a picture is turned: beyond its edges its mirror image continues it
    matrices: Tensor  # (pictures, 2, 3): from the output's coordinates, -1 to 1, to the cut-out's in pixels
    # Of each change of colours (pictures, 3, 3): its factor, and how much of each pixel's grey and of the picture's
    # mean grey it blends with.
    colors: Tensor | None
    erased: Tensor  # rectangles (number, 5): picture, top, bottom, left, right
    has_image: Tensor  # whether each row of the batch has one of the pictures (batch,)
    size: int  # side of the output in pixels
    mean: Sequence[float]  # of the channels, that the tower was trained with
    std: Sequence[float]

    def finish(self) -> Tensor:
        """`pixel_values (batch, 3, size, size)`, zeros in rows without a picture."""
        count, device, places = len(self.matrices), self.matrices.device, self.has_image.nonzero().flatten().tolist()
        pictures = torch.empty(len(self.has_image), 3, self.size, self.size, device=device)
        if count < len(pictures):
            pictures.zero_()
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        factor, shift = 1 / (255 * std), mean / std
        # A CPU takes picture by picture: a batch does not fit into its caches.
        step = 1 if device.type == "cpu" else count
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


def change_colors(pictures: Tensor, changes: Tensor) -> None:
    """Change pictures `(batch, 3, height, width)` of values to 255 by `PictureBatch.colors`, as `ColorJitter` does."""
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
    pictures: Sequence[Image.Image | None], draws: Sequence[Draw | None], *, size: int, mean: Any, std: Any
) -> PictureBatch:
    """A batch of RGB pictures with a draw each, ready to be finished; `None` twice for a row without a picture."""
    shown = [(a, b) for a, b in zip(pictures, draws, strict=True) if a is not None and b is not None]
    drawn = [numbers for _, numbers in shown]
    cuts, matrices = zip(*(_cut_out(picture, numbers, size) for picture, numbers in shown), strict=True)
    extents = np.array([(cut.shape[1], cut.shape[0]) for cut in cuts])
    stack = np.zeros((len(cuts), extents[:, 1].max(), extents[:, 0].max(), 3), dtype=np.uint8)
    for place, cut in zip(stack, cuts, strict=True):
        place[: cut.shape[0], : cut.shape[1]] = cut
    rectangles = []
    for number, numbers in enumerate(drawn):
        if numbers.erased is not None:
            top, left, height, width = (round(fraction * size) for fraction in numbers.erased)
            rectangles.append((number, top, top + height, left, left + width))
    blends = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0))  # brightness, contrast, saturation
    colors = torch.tensor([[(numbers.factors[kind], *blends[kind]) for kind in numbers.order] for numbers in drawn])
    return PictureBatch(
        stack=torch.from_numpy(stack),
        extents=torch.from_numpy(extents).float(),
        is_reflected=any(numbers.angle for numbers in drawn),
        matrices=torch.from_numpy(np.stack(matrices)).float(),
        colors=colors if any(numbers.factors != (1.0, 1.0, 1.0) for numbers in drawn) else None,
        erased=torch.tensor(rectangles, dtype=torch.long).view(-1, 5),
        has_image=torch.tensor([picture is not None for picture in pictures]),
        size=size,
        mean=mean,
        std=std,
    )


def _cut_out(picture: Image.Image, numbers: Draw, size: int) -> tuple[np.ndarray, np.ndarray]:
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
