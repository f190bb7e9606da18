"""From pictures to `pixel_values`, by the transform that a vision tower was trained to see."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from timm.data import resolve_data_config
from timm.data.transforms import str_to_pil_interp
from torch import Tensor
from torchvision.transforms.v2 import functional as tvF
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict

from .pictures_semart import load_picture

# A longer strip is cut about its centre before it is resized, which would need gigabytes.
MAX_ASPECT = 32
# A JPEG is decoded at no less than so many times the resized size, for the resizing filter to work on.
REDUCING_GAP = 2


class SemArtImageProcessor(TorchvisionBackend):
    """Pictures become `pixel_values (batch, 3, height, width)`; `from_timm` makes one as a tower was trained."""

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"shortest_edge": 256}  # noqa: RUF012 - the base class copies its defaults
    crop_size = {"height": 224, "width": 224}  # noqa: RUF012
    default_to_square = False
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    @classmethod
    def from_timm(cls, pretrained_cfg: Mapping[str, Any]) -> "SemArtImageProcessor":
        """The evaluation transform of a timm tower, by the `pretrained_cfg` of its `timm_wrapper` configuration.

        Raises:
            ValueError: If the tower's transform is of another kind.

        Source: `transforms_imagenet_eval` in timm/data/transforms_factory.py.
        """
        config = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
        channels, height, width = config["input_size"]
        if channels != 3 or height != width or config["crop_mode"] not in ("center", "squash"):
            raise ValueError(
                f"The vision tower wants inputs of {channels} x {height} x {width} with crop_mode "
                f"{config['crop_mode']!r}, but this processor makes square RGB inputs with 'center' or 'squash'. "
                "Choose another tower."
            )
        edge = math.floor(height / config["crop_pct"])
        return cls(
            size={"shortest_edge": edge} if config["crop_mode"] == "center" else {"height": edge, "width": edge},
            crop_size={"height": height, "width": width},
            resample=str_to_pil_interp(config["interpolation"]),
            image_mean=list(config["mean"]),
            image_std=list(config["std"]),
        )

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """The pictures behind paths, URLs and bytes, in the nesting that they came in."""
        if isinstance(image_url_or_urls, list | tuple):
            return [self.fetch_images(source) for source in image_url_or_urls]
        if isinstance(image_url_or_urls, np.ndarray | Tensor) and image_url_or_urls.ndim == 4:  # a batch
            return [self.fetch_images(values) for values in image_url_or_urls]
        return load_picture(image_url_or_urls, least_side=self.least_side)

    @property
    def least_side(self) -> int | None:
        """Shorter side in pixels that a JPEG is decoded at when it is read from a file, at least."""
        return REDUCING_GAP * self.resized_side if self.do_resize and self.resized_side else None

    @property
    def resized_side(self) -> int:
        """Side in pixels that pictures are resized to: the shorter one, or the longer of both; 0: none is named."""
        return max(self.size.get(name) or 0 for name in ("shortest_edge", "height", "width"))

    def process_image(self, image: Any, device: Any = None, **kwargs: Any) -> Tensor:
        """The picture's values `(3, height, width)` as uint8, in RGB and upright."""
        values = tvF.pil_to_tensor(load_picture(image, least_side=self.least_side))
        return values if device is None else values.to(device)

    def resize(self, image: Tensor, size: SizeDict, **kwargs: Any) -> Tensor:
        """The pictures `(…, height, width)` in the size that `size` names."""
        shortest = min(image.shape[-2:])
        if size.shortest_edge and max(image.shape[-2:]) > MAX_ASPECT * shortest:
            image = tvF.center_crop(image, [min(side, MAX_ASPECT * shortest) for side in image.shape[-2:]])
        return super().resize(image, size, **kwargs)

    def center_crop(self, image: Tensor, size: SizeDict, **kwargs: Any) -> Tensor:
        """The middle of the pictures; as in timm, half a pixel is rounded and not cut off as in the base class."""
        return tvF.center_crop(image, [size.height, size.width])


SemArtImageProcessor.register_for_auto_class()
