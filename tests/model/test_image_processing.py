import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from semart_hf.model.processing_semart import SemArtImageProcessor

TOWERS = ["resnet18.a1_in1k", "efficientnet_b0.ra_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
          "test_vit.r160_in1k", "tf_efficientnetv2_b3"]  # fmt: skip  # the last sees squashed pictures


def smooth(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def grey_values(pixel_values: torch.Tensor, processor: SemArtImageProcessor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    return (pixel_values * std + mean) * 255


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("image_size", [None, 96])
def test_equals_the_evaluation_transform_of_timm(tower, image_size):
    cfg = timm.get_pretrained_cfg(tower).to_dict()
    size = {} if image_size is None else {"input_size": (3, image_size, image_size)}
    processor = SemArtImageProcessor.from_timm(cfg | size)
    override = {} if image_size is None else {"img_size": image_size}
    transform = create_transform(**resolve_data_config(override, pretrained_cfg=cfg), is_training=False)
    # Odd differences between size and crop, where half a pixel is rounded, and sides at which the long one is floored.
    for picture in (smooth(300, 401), smooth(401, 300), smooth(97, 60), smooth(161, 160)):
        ours = processor(picture, return_tensors="pt")["pixel_values"][0]
        theirs = transform(picture)
        assert ours.shape == theirs.shape
        difference = (grey_values(ours, processor) - grey_values(theirs, processor)).abs()
        # PIL and torchvision round differently between their two passes; a shift by a pixel would give far more.
        assert difference.max() < 2.5
        assert difference.mean() < 0.05


@pytest.mark.parametrize("change", [{"crop_mode": "border"}, {"input_size": (3, 32, 48)}, {"input_size": (1, 32, 32)}])
def test_a_transform_of_another_kind_is_refused(change):
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict() | change
    with pytest.raises(ValueError, match=r"vision tower wants inputs of .* but this processor makes .* Choose"):
        SemArtImageProcessor.from_timm(cfg)


def test_a_strip_costs_no_more_than_a_picture(processor):
    strip = Image.new("RGB", (60_000, 2), "red")
    strip.paste("blue", (29_990, 0, 30_010, 2))
    pixel_values = processor.image_processor(strip, return_tensors="pt")["pixel_values"][0]
    # Resized as a whole it would be 34 x 1,020,000 pixels.
    assert pixel_values.shape == (3, 32, 32)
    assert (grey_values(pixel_values, processor.image_processor)[2] > 250).all()
