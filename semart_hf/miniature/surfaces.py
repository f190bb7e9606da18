"""The miniature's surfaces: what a picture is painted on, as it shows through the paint everywhere.

Each texture is made for a short side of 128 pixels and coarse enough to survive being halved.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.float32]


def _relief(pixels: Pixels, height: Pixels, strength: float) -> Pixels:
    """The picture lit over a relief: plain in the lights, and still there in the shadows."""
    return pixels * np.float32(0.94) + (strength * height)[..., None] * (0.3 + 0.7 * pixels)


def _canvas(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A plain weave: threads over and under each other."""
    rows, columns = _positions(pixels)
    period = float(rng.uniform(6.0, 6.8))
    warp, weft = np.sin(columns * (2 * np.pi / period)), np.sin(rows * (2 * np.pi / period))
    return _relief(pixels, warp * weft * (1 + 0.3 * _noise(pixels, rng, 14)), 0.095)


def _wood(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Grain along the panel, wavering round a knot, and the joint of two boards."""
    rows, columns = _positions(pixels)
    along, across = (rows, columns) if pixels.shape[0] >= pixels.shape[1] else (columns, rows)
    knot_along, knot_across = (float(rng.uniform(0.2, 0.8) * axis.max()) for axis in (along, across))
    knot = np.exp(-(((along - knot_along) / 30) ** 2) - ((across - knot_across) / 14) ** 2)
    waver = 3 * np.sin(along / float(rng.uniform(26, 38)) + float(rng.uniform(0, 6)))
    shifted = across + 10 * knot * np.sign(across - knot_across) + waver + 1.5 * _noise(pixels, rng, 30)
    rings = np.sin(shifted * (2 * np.pi / float(rng.uniform(7.5, 9.5))) + 1.5 * np.sin(shifted / 13))
    grain = np.where(rings > 0.3, -1.5 * (rings - 0.3), np.float32(0.15))
    joint = np.abs(across - across.max() * float(rng.uniform(0.3, 0.7))) < 0.8
    return _relief(pixels * _tint(1.04, 0.99, 0.9), grain - 1.2 * joint, 0.14)


def _wall(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Plaster: chalky, cracked, with losses."""
    height, width = pixels.shape[:2]
    chalk = _tint(0.93, 0.89, 0.82)
    faded = pixels + (chalk - pixels) * (0.2 + 0.07 * _noise(pixels, rng, 9)).clip(0, 1)[..., None]
    lost = (4 * (_noise(pixels, rng, 9) - 1.75)).clip(0, 1)[..., None]
    faded = faded + (chalk - faded) * lost
    cracks = Image.new("L", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(cracks)
    for _ in range(8):
        _crack(draw, rng, rng.uniform(0, 1, 2) * cracks.size, float(rng.uniform(0, 2 * np.pi)), 13)
    depth = np.asarray(cracks.reduce(2), dtype=np.float32)[..., None] / 255
    return faded * (1 - 0.52 * depth)


def _crack(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, point: npt.NDArray[np.float64], direction: float, length: int
) -> None:
    """A crack that wanders on from a point and branches."""
    path = [(float(point[0]), float(point[1]))]
    for step in range(length):
        direction += float(rng.uniform(-0.8, 0.8))
        point = point + 15 * np.array([np.cos(direction), np.sin(direction)])
        path.append((float(point[0]), float(point[1])))
        if step in (4, 8) and length > 8:
            _crack(draw, rng, point, direction + float(rng.choice((-1.1, 1.1))), 5)
    draw.line(path, fill=255, width=2)


def _paper(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A sheet with laid lines and brown spots of age, where colour lies thin."""
    rows, columns = _positions(pixels)
    sheet = _tint(0.98, 0.94, 0.84) * (1 - 0.8 * (1 - pixels))
    laid = np.sin(rows * (2 * np.pi / 7))
    sheet = sheet + 0.025 * laid[..., None] + 0.025 * _noise(pixels, rng, 2.5)[..., None]
    stain = np.zeros(pixels.shape[:2], dtype=np.float32)
    for x, y, size in rng.uniform((0, 0, 1.2), (pixels.shape[1], pixels.shape[0], 3.2), (24, 3)).tolist():
        stain += np.exp(-(((columns - x) / size) ** 2) - ((rows - y) / size) ** 2)
    return np.asarray(sheet - 0.5 * stain.clip(0, 1)[..., None] * _tint(0.3, 0.55, 0.7), dtype=np.float32)


def _metal(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Copper: bands of sheen across the plate and a warm glow through the paint."""
    rows, columns = _positions(pixels)
    slope = (-1 if rng.random() < 0.5 else 1) * float(rng.uniform(0.35, 0.6))
    phase = (columns + slope * rows) * (2 * np.pi / float(rng.uniform(38, 48))) + float(rng.uniform(0, 2 * np.pi))
    sheen = np.maximum(0, np.sin(phase)) ** 5 + 0.5 * np.maximum(0, np.sin(phase + 1.3)) ** 16
    copper = 0.9 * (pixels + 0.14 * (_tint(0.85, 0.42, 0.22) - pixels))
    return np.asarray(copper + (0.26 * sheen)[..., None] * _tint(1.0, 0.86, 0.7), dtype=np.float32)


def _positions(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Row and column of every pixel: (height, width) each."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    return np.asarray(rows), np.asarray(columns)


def _tint(red: float, green: float, blue: float) -> Pixels:
    return np.array([red, green, blue], dtype=np.float32)


def _noise(pixels: Pixels, rng: np.random.Generator, grain: float) -> Pixels:
    """Smooth noise (height, width) of mean 0 and standard deviation 1 with spots of about `grain` pixels."""
    height, width = pixels.shape[:2]
    coarse = rng.standard_normal((int(height / grain) + 2, int(width / grain) + 2)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), dtype=np.float32)


SURFACES: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "canvas": _canvas,
    "wood": _wood,
    "wall": _wall,
    "paper": _paper,
    "metal": _metal,
}
