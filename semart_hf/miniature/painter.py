"""The miniature's painter: composition, brush, palette and surface in, a small picture out."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from .brushes import BRUSHES
from .scenes import COMPOSITIONS
from .sheet import PALETTES, Palette, Sheet
from .surfaces import SURFACES, Pixels

SHORT_SIDE = 128
"""Pixels: textures are made for it and stay visible at 64."""

_SUPERSAMPLING = 2
_FORMATS = {  # width / height, smallest and largest: a bust is upright, a battle lies on its side
    "religious": (0.74, 0.95),
    "portrait": (0.74, 0.9),
    "landscape": (1.15, 1.5),
    "mythological": (0.95, 1.35),
    "genre": (1.05, 1.35),
    "still-life": (0.85, 1.3),
    "interior": (0.85, 1.25),
    "historical": (1.15, 1.5),
}


def paint(cues: Mapping[str, str], rng: np.random.Generator) -> Image.Image:
    """An RGB picture with a short side of 128 pixels that shows the given cues and nothing else but chance.

    Args:
        cues: The value to show of each task: a composition, a brush, a palette and a surface.
        rng: Decides all that the cues leave open.
    """
    aspect = float(rng.uniform(*_FORMATS[cues["type"]]))
    width, height = round(SHORT_SIDE * max(1.0, aspect)), round(SHORT_SIDE * max(1.0, 1 / aspect))
    palette = PALETTES[cues["timeframe"]]
    sheet = Sheet(width * _SUPERSAMPLING, height * _SUPERSAMPLING, palette, rng)
    COMPOSITIONS[cues["type"]](sheet)
    mirrored = sheet.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else sheet.image
    brushed = BRUSHES[cues["school"]](mirrored, rng).reduce(_SUPERSAMPLING)
    pixels = np.asarray(brushed, dtype=np.float32) / np.float32(255)
    pixels = SURFACES[cues["medium"]](_varnish(pixels, palette), rng)
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def _varnish(pixels: Pixels, palette: Palette) -> Pixels:
    """The picture pulled towards the palette's shadow, middle and light by its own brightness."""
    brightness = pixels @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    shades = np.array(palette.shades) / 255
    scale = np.linspace(0, 1, 256)
    tones = np.stack([np.interp(scale, (0, 0.5, 1), channel) for channel in shades.T], axis=1).astype(np.float32)
    toned = tones[(brightness * 255).astype(np.uint8)]
    return np.asarray(pixels + np.float32(palette.varnish) * (toned - pixels), dtype=np.float32)
