"""What makes training faster, each of which can be taken away to see what it gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from semart_hf.model.precision_semart import computes_bf16

# Of a square's side, that a square of any angle within it is seen whole.
MARGIN = math.sqrt(2)
#: Names a means to the measured process that is to do without it.
WITHOUT_VARIABLE = "SEMART_BENCHMARK_WITHOUT"


@dataclass(frozen=True)
class Means:
    """One thing that makes training faster, and how training does without it.

    Args:
        name: What the table calls it.
        off: Fields of the recipe that switch it off.
        undo: Puts the usual way in its place, where there is no field: nobody but a benchmark wants it.
        families: Beginnings of the names of the towers that have it; all, if empty.
        devices: Kinds of devices that have it; all, if empty.
        needs_bf16: Whether only devices have it that multiply in bfloat16.
    """

    name: str
    off: dict[str, Any] = field(default_factory=dict)
    undo: Callable[[], None] | None = None
    families: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    needs_bf16: bool = False

    def is_known(self) -> bool:
        """Whether recipes have all of its fields."""
        from semart_hf.training.arguments import SemArtTrainingArguments
        from semart_hf.training.recipe import DataArguments, ModelArguments

        known = {f.name for group in (ModelArguments, DataArguments, SemArtTrainingArguments) for f in fields(group)}
        return set(self.off) <= known

    def is_of(self, architecture: str, device: str) -> bool:
        """Whether a tower has it on a device."""
        is_of_device = not self.devices or device.startswith(self.devices)
        is_of_device = is_of_device and (not self.needs_bf16 or computes_bf16(device))
        return is_of_device and (not self.families or architecture.startswith(self.families))


def read_all_tokens() -> None:
    """The text's last layer answers for every token."""
    from semart_hf.model import modeling_semart

    modeling_semart.read_first_token = lambda *_: None


def read_all_patches() -> None:
    """The ViT's last block answers for every token."""
    from semart_hf.model import modeling_semart

    modeling_semart.read_class_token = lambda *_: None


def without_technique(name: str) -> Callable[[], None]:
    """Makes the Trainer do without one of its techniques, by its name."""

    def undo() -> None:
        from semart_hf.training.trainer import SemArtTrainer

        SemArtTrainer.techniques = tuple(one for one in SemArtTrainer.techniques if one.name != name)

    return undo


def augment_one_by_one() -> None:
    """Each picture goes through torchvision's transforms by itself, with the same random numbers."""
    from semart_hf.data import collator

    collator.gather_pictures = PicturesOneByOne


class PicturesOneByOne:
    """What `gather_pictures` gives, made by torchvision from PIL pictures; the arguments are the same."""

    def __init__(
        self,
        pictures: Sequence[Image.Image],
        draws: Sequence[Any],
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        rows: Sequence[int] | None = None,
        num_rows: int | None = None,
        **_: Any,
    ) -> None:
        self.pictures, self.draws, self.size, self.mean, self.std = pictures, draws, size, mean, std
        self.rows = range(len(pictures)) if rows is None else rows
        self.num_rows = len(pictures) if num_rows is None else num_rows

    def finish(self) -> Tensor:
        """`pixel_values (num_rows, 3, size, size)`."""
        pixel_values = torch.zeros(self.num_rows, 3, self.size, self.size)
        for row, picture, numbers in zip(self.rows, self.pictures, self.draws, strict=False):
            pixel_values[row] = self._transformed(picture, numbers)
        return pixel_values

    def _transformed(self, picture: Image.Image, numbers: Any) -> Tensor:
        from torchvision.transforms import functional as F

        width, height = numbers.width * picture.width, numbers.height * picture.height
        left = numbers.center[0] * picture.width - width / 2
        top = numbers.center[1] * picture.height - height / 2
        size = self.size
        if numbers.angle:
            # A margin, so that corners show what lies around the crop, or its mirror image, and no black.
            size = math.ceil(MARGIN * self.size / 2) * 2
            left, top = left - (size / self.size - 1) * width / 2, top - (size / self.size - 1) * height / 2
            width, height = width * size / self.size, height * size / self.size
            over = (-left, -top, left + width - picture.width, top + height - picture.height)
            around = [max(0, math.ceil(value)) for value in over]
            picture = F.pad(picture, around, padding_mode="symmetric")
            left, top = left + around[0], top + around[1]
        box = [round(value) for value in (top, left, height, width)]
        picture = F.resized_crop(picture, *box, [size, size])
        if numbers.is_mirrored:
            picture = F.hflip(picture)
        if numbers.angle:
            picture = F.rotate(picture, math.degrees(numbers.angle), F.InterpolationMode.BILINEAR)
            picture = F.center_crop(picture, [self.size, self.size])
        changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
        for kind in numbers.order:
            picture = changes[kind](picture, numbers.factors[kind])
        values = F.normalize(F.to_tensor(picture), self.mean, self.std)
        if numbers.erased is not None:
            top, left, height, width = (round(fraction * self.size) for fraction in numbers.erased)
            values = F.erase(values, top, left, height, width, torch.zeros(1))
        return values


MEANS = (
    Means("frozen text computed once", {"cache_frozen_text": "false"}),
    Means("last text layer for the token that is read", undo=read_all_tokens),
    Means("last ViT block for the token that is read", undo=read_all_patches, families=("vit",)),
    Means("pictures made small once", {"prepare": False}),
    Means("augmentation as one resampling", undo=augment_one_by_one),
    Means("bfloat16", {"precision": "fp32"}, needs_bf16=True),
    Means(
        "attention in steps",
        undo=without_technique("attention in steps"),
        families=("vit",),
        devices=("cpu",),
        needs_bf16=True,
    ),
    Means(
        "depthwise gradient in float32",
        undo=without_technique("depthwise gradient in float32"),
        families=("efficientnet",),
        devices=("cpu",),
        needs_bf16=True,
    ),
    Means("channels last", undo=without_technique("channels last"), families=("resnet", "efficientnet")),
    Means("freed memory kept", {"keep_freed_memory": False}, devices=("cpu",)),
)


def do_without(name: str) -> None:
    """Put the usual way in the place of a means, in this process."""
    undo = next(means.undo for means in MEANS if means.name == name)
    if undo is not None:
        undo()
