"""The miniature's painter: composition, brush, palette and surface in, a small picture out."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from .miniature_scenes import COMPOSITIONS
from .miniature_sheet import PALETTES, Palette, Sheet

Pixels = npt.NDArray[np.float32]

SHORT_SIDE = 112
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
    """An RGB picture with a short side of 112 pixels that shows the given cues and nothing else but chance.

    Args:
        cues: The value to show of each task: a composition, a brush, a palette and a surface.
        rng: Decides all that the cues leave open.
    """
    narrow, wide = _FORMATS[cues["type"]]
    aspect = float(rng.uniform(narrow, wide))
    width = round(SHORT_SIDE * max(1.0, aspect))
    height = round(SHORT_SIDE * max(1.0, 1 / aspect))
    palette = PALETTES[cues["timeframe"]]
    sheet = Sheet(width * _SUPERSAMPLING, height * _SUPERSAMPLING, palette, rng)
    COMPOSITIONS[cues["type"]](sheet)
    if rng.random() < 0.5:
        sheet.image = sheet.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    brushed = BRUSHES[cues["school"]](sheet.image, rng)
    pixels = np.asarray(brushed.resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
    pixels = SURFACES[cues["medium"]](_varnish(pixels, palette), rng)
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def _varnish(pixels: Pixels, palette: Palette) -> Pixels:
    """The picture pulled towards the palette's shadow, middle and light by its own brightness."""
    brightness = pixels @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    shades = np.array(palette.shades, dtype=np.float32) / 255
    tone = np.stack([np.interp(brightness, (0, 0.5, 1), shades[:, channel]) for channel in range(3)], axis=-1)
    return ((1 - palette.varnish) * pixels + palette.varnish * tone).astype(np.float32)


def _enamel(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """No stroke to be seen."""
    return image.filter(ImageFilter.GaussianBlur(image.height * float(rng.uniform(0.004, 0.006))))


def _hatched(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fine parallel strokes, as tempera wants them."""
    slope = (-1 if rng.random() < 0.5 else 1) * float(rng.uniform(0.8, 1.2))
    unit = min(image.size)
    return _strokes(image, rng, count=1500, length=unit * 0.11, width=round(unit * 0.02), angle=slope, contrast=46)


def _dabbed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Round dabs side by side."""
    unit = min(image.size)
    colours = np.asarray(image.filter(ImageFilter.GaussianBlur(unit * 0.008)))
    painted = image.copy()
    draw = ImageDraw.Draw(painted)
    step = unit * 0.047
    columns, rows = np.meshgrid(np.arange(0, image.width, step), np.arange(0, image.height, step))
    spots = np.stack([columns.ravel(), rows.ravel()], axis=1)
    spots = spots + rng.uniform(-0.5, 0.5, spots.shape) * step
    shift = rng.uniform(-30, 30, (len(spots), 1)) + rng.uniform(-16, 16, (len(spots), 3))
    for (x, y), tint, radius in zip(spots, shift, rng.uniform(0.5, 0.68, len(spots)) * step, strict=True):
        colour = colours[min(max(int(y), 0), image.height - 1), min(max(int(x), 0), image.width - 1)] + tint
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_rgb(colour))
    return Image.blend(image, painted, 0.85)


def _swept(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Broad strokes that wind through the picture."""
    unit = min(image.size)
    return _strokes(image, rng, count=520, length=unit * 0.2, width=round(unit * 0.05), angle=None, contrast=30)


def _strokes(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    count: int,
    length: float,
    width: int,
    angle: float | None,
    contrast: float,
) -> Image.Image:
    """The picture laid over with strokes of its own colours, in one direction or (`None`) along a winding flow."""
    colours = np.asarray(image.filter(ImageFilter.GaussianBlur(width * 0.4)))
    painted = image.copy()
    draw = ImageDraw.Draw(painted)
    count = int(count * image.width * image.height / min(image.size) ** 2)
    starts = rng.uniform(0, 1, (count, 2)) * (image.width, image.height)
    shift = rng.uniform(-contrast, contrast, (count, 1)) + rng.uniform(-8, 8, (count, 3))
    phase = rng.uniform(0, 2 * np.pi, 2)
    scale = 2 * np.pi / (min(image.size) * 0.55)
    for (x, y), tint in zip(starts, shift, strict=True):
        colour = colours[int(y), int(x)] + tint
        path = []
        for _ in range(4):
            path.append((x, y))
            if angle is None:
                direction = 2.2 * np.sin(x * scale + phase[0]) + 2.2 * np.cos(y * scale + phase[1])
            else:
                direction = angle
            x, y = x + length / 3 * np.cos(direction), y + length / 3 * np.sin(direction)
        draw.line(path, fill=_rgb(colour), width=width, joint="curve")
    return Image.blend(image, painted, 0.8)


def _rgb(colour: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    return tuple(int(channel) for channel in colour.clip(0, 255))  # type: ignore[return-value]


def _grid(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Column and row numbers of every pixel."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    return columns, rows


def _relief(pixels: Pixels, height: Pixels, strength: float) -> Pixels:
    """The picture lit over a relief: visible in the lights and, less, in the shadows."""
    return pixels + (strength * height)[..., None] * (0.35 + 0.65 * pixels)


def _canvas(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A plain weave: threads over and under each other."""
    columns, rows = _grid(pixels)
    period = float(rng.uniform(5.2, 6.2))
    warp, weft = columns * (2 * np.pi / period), rows * (2 * np.pi / period)
    uneven = 1 + 0.25 * _noise(pixels, rng, 12)
    return _relief(pixels, np.sin(warp) * np.sin(weft) * uneven, 0.26)


def _wood(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Grain along the panel, wavering round a knot, and the joint of two boards."""
    columns, rows = _grid(pixels)
    along, across = (rows, columns) if pixels.shape[0] >= pixels.shape[1] else (columns, rows)
    extent = across.max()
    knot_along, knot_across = rng.uniform(0.2, 0.8) * along.max(), rng.uniform(0.2, 0.8) * extent
    distance = ((along - knot_along) / 26) ** 2 + ((across - knot_across) / 12) ** 2
    bend = 9 * np.exp(-distance) * np.sign(across - knot_across)
    waver = 2.5 * np.sin(along / float(rng.uniform(22, 34)) + rng.uniform(0, 6))
    rings = np.sin(
        (across + bend + waver) * (2 * np.pi / float(rng.uniform(7, 9)))
        + 1.2 * np.sin(across / 11 + rng.uniform(0, 6))
    )
    grain = np.where(rings > 0.35, -(rings - 0.35) * 1.6, 0.12).astype(np.float32)
    joint = np.abs(across - extent * rng.uniform(0.3, 0.7)) < 0.9
    browned = pixels * np.array([1.03, 0.98, 0.88], dtype=np.float32)
    return _relief(browned, grain - 1.2 * joint, 0.26)


def _wall(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Plaster: chalky, cracked, with losses."""
    height, width = pixels.shape[:2]
    chalk = np.array([0.93, 0.89, 0.82], dtype=np.float32)
    faded = pixels + (chalk - pixels) * (0.2 + 0.08 * _noise(pixels, rng, 9))[..., None]
    lost = _noise(pixels, rng, 7) > 1.55
    faded[lost] = chalk * 0.97
    cracks = Image.new("L", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(cracks)
    for _ in range(9):
        point, direction = rng.uniform(0, 1, 2) * cracks.size, rng.uniform(0, 2 * np.pi)
        path = [tuple(point)]
        for _ in range(14):
            direction += rng.uniform(-0.9, 0.9)
            point = point + 15 * np.array([np.cos(direction), np.sin(direction)])
            path.append(tuple(point))
        draw.line(path, fill=255, width=3)
    depth = np.asarray(cracks.resize((width, height), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    return faded * (1 - 0.75 * depth)


def _paper(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A sheet with laid lines and brown spots of age, where colour lies thin."""
    _, rows = _grid(pixels)
    cream = np.array([0.97, 0.93, 0.82], dtype=np.float32)
    thin = cream * (1 - 0.62 * (1 - pixels))
    laid = 0.07 * np.sign(np.sin(rows * (2 * np.pi / 8)) - 0.75)
    sheet = thin + laid[..., None] * 0.5 + 0.03 * _noise(pixels, rng, 2)[..., None]
    columns, rows = _grid(pixels)
    for _ in range(26):
        x, y = rng.uniform(0, pixels.shape[1]), rng.uniform(0, pixels.shape[0])
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / rng.uniform(2.5, 9))
        sheet -= (0.6 * spot)[..., None] * np.array([0.3, 0.55, 0.7], dtype=np.float32)
    return sheet


def _metal(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Copper: bands of sheen across the plate and a warm glow through the paint."""
    columns, rows = _grid(pixels)
    slope = (-1 if rng.random() < 0.5 else 1) * rng.uniform(0.35, 0.6)
    phase = (columns + slope * rows) * (2 * np.pi / rng.uniform(40, 52)) + rng.uniform(0, 2 * np.pi)
    sheen = np.maximum(0, np.sin(phase)) ** 6 + 0.45 * np.maximum(0, np.sin(phase + 1.1)) ** 14
    copper = pixels + 0.12 * (np.array([0.8, 0.42, 0.24], dtype=np.float32) - pixels)
    return copper + (0.5 * sheen)[..., None] * np.array([1.0, 0.86, 0.7], dtype=np.float32)


def _noise(pixels: Pixels, rng: np.random.Generator, grain: float) -> Pixels:
    """Smooth noise of mean 0 and standard deviation 1 with spots of about `grain` pixels."""
    height, width = pixels.shape[:2]
    coarse = rng.standard_normal((int(height / grain) + 2, int(width / grain) + 2)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return (smooth - smooth.mean()) / (smooth.std() + 1e-6)


BRUSHES = {"enamel": _enamel, "hatched": _hatched, "dabbed": _dabbed, "swept": _swept}
SURFACES = {"canvas": _canvas, "wood": _wood, "wall": _wall, "paper": _paper, "metal": _metal}
