"""The miniature's painter: composition, brush, palette and surface in, a small picture out.

Textures are made for a short side of 128 pixels and coarse enough to survive being halved.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from .scenes import COMPOSITIONS
from .sheet import PALETTES, VARNISH, Sheet

Numbers = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]
SHORT_SIDE = 128
_SUPERSAMPLING = 2
_FORMATS = {  # width / height, smallest and largest: a bust is upright, a battle lies on its side
    **{"religious": (0.74, 0.95), "portrait": (0.74, 0.9), "landscape": (1.15, 1.5), "mythological": (0.95, 1.35)},
    **{"genre": (1.05, 1.35), "still-life": (0.85, 1.3), "interior": (0.85, 1.25), "historical": (1.15, 1.5)},
}
#: What is to be seen in a picture, by the drawing that shows it.
SUBJECTS = {
    **{"madonna": "Madonna", "saint": "saints", "crucified": "Crucifixion", "nymph": "nymphs", "shell": "shell"},
    **{"temple": "temple", "tree": "trees", "mill": "windmill", "boat": "boats", "warship": "warships"},
    **{"soldier": "soldiers", "banner": "banners", "drinker": "drinkers", "woman": "woman", "room": "window"},
    **{"bust": "sitter", "hat": "hat", "ruff": "ruff", "pearls": "pearls", "jug": "jug", "glass": "glass"},
    **{"fruit": "fruit", "flower": "flowers"},
}
# Lights the edges of strokes from one corner.
_IMPASTO = ImageFilter.Kernel((3, 3), (-0.7, -0.3, 0, -0.3, 1, 0.3, 0, 0.3, 0.7), scale=1)


def paint(cues: Mapping[str, str], rng: np.random.Generator) -> tuple[Image.Image, list[str]]:
    """An RGB picture that shows the cues of each task and nothing else but chance, and the `SUBJECTS` to be seen."""
    aspect = float(rng.uniform(*_FORMATS[cues["type"]]))
    width, height = round(SHORT_SIDE * max(1.0, aspect)), round(SHORT_SIDE * max(1.0, 1 / aspect))
    sheet = Sheet(width * _SUPERSAMPLING, height * _SUPERSAMPLING, cues["timeframe"], rng)
    COMPOSITIONS[cues["type"]](sheet)
    mirrored = ImageOps.mirror(sheet.image) if rng.random() < 0.5 else sheet.image
    brushed = BRUSHES[cues["school"]](mirrored, rng).reduce(_SUPERSAMPLING)
    pixels = np.asarray(brushed, dtype=np.float32) / np.float32(255)
    # The varnish pulls it towards the palette's shadow, tone and light, by its own brightness.
    palette, brightness = PALETTES[cues["timeframe"]], pixels @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    shades = np.array([palette[part] for part in ("dark", "tone", "light")], dtype=np.float32) / 255
    toned = np.stack([np.interp(brightness, (0, 0.5, 1), channel) for channel in shades.T], axis=-1)
    pixels = np.asarray(pixels + VARNISH[cues["timeframe"]] * (toned - pixels), dtype=np.float32)
    subjects = [subject for drawing, subject in SUBJECTS.items() if drawing in sheet.drawn]
    picture = (SURFACES[cues["medium"]](pixels, rng).clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(picture), subjects


def _enamel(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """No stroke to be seen, and glazes that let the colours glow."""
    smooth = image.filter(ImageFilter.BoxBlur(min(image.size) * float(rng.uniform(0.002, 0.004))))
    return ImageEnhance.Color(smooth).enhance(1.15)


def _hatched(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fine parallel strokes, as tempera wants them."""
    slope = float(rng.choice((-1, 1)) * rng.uniform(0.8, 1.1))
    strokes = _strokes(image, rng, 1200, 0.055, 0.021, 30, 8, lambda points: slope + rng.normal(0, 0.05, len(points)))
    return _keep_edges(image, strokes, 0.6)


def _dabbed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Round dabs of broken colour side by side."""
    dabs = _strokes(image, rng, 900, 0.002, 0.064, 26, 26, lambda points: np.zeros(len(points)))
    return _keep_edges(image, dabs, 0.5)


def _swept(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Broad strokes in thick paint that wind through the picture."""
    first, second = rng.uniform(0, 2 * np.pi, 2)
    scale = 2 * np.pi / (min(image.size) * 0.6)

    def flow(points: Numbers) -> Numbers:
        return np.asarray(1.6 * (np.sin(points[:, 0] * scale + first) + np.cos(points[:, 1] * scale + second)))

    painted = _strokes(image, rng, 240, 0.1, 0.06, 23, 8, flow)
    painted = _strokes(painted, rng, 300, 0.065, 0.034, 23, 8, flow)
    return _keep_edges(image, painted.filter(_IMPASTO), 0.7)


def _strokes(
    image: Image.Image,
    rng: np.random.Generator,
    density: int,
    reach: float,
    width: float,
    contrast: float,
    hue: float,
    direction: Callable[[Numbers], Numbers],
) -> Image.Image:
    """The picture under strokes of its own colours, `density` of them on the square of the short side.

    Each goes `reach` short sides both ways from its middle; it is off by `contrast`, and each channel by `hue`.
    """
    unit = min(image.size)
    middles = rng.uniform(0, 1, (round(density * image.width * image.height / unit**2), 2)) * image.size
    paths = [middles]
    for way in (1, -1):
        for _ in range(2):  # from one end of the path, half a reach further
            end = paths[-1 if way == 1 else 0]
            step = np.stack([np.cos(direction(end)), np.sin(direction(end))], axis=1) * way * unit * reach / 2
            paths.insert(len(paths) if way == 1 else 0, end + step)
    soft = np.asarray(image.reduce(4))
    columns, rows = (middles // 4).astype(int).clip(0, (soft.shape[1] - 1, soft.shape[0] - 1)).T
    shift = rng.uniform(-contrast, contrast, (len(middles), 1)) + rng.uniform(-hue, hue, (len(middles), 3))
    colours = (soft[rows, columns] + shift).clip(0, 255).astype(int).tolist()
    painted = image.copy()
    draw, thick = ImageDraw.Draw(painted), round(unit * width)
    for path, colour in zip(np.stack(paths, axis=1).reshape(len(middles), -1).tolist(), colours, strict=True):
        draw.line(path, fill=tuple(colour), width=thick)
        if thick > 12 * unit * reach:
            draw.circle(path[:2], thick / 2, fill=tuple(colour))
    return painted


def _keep_edges(image: Image.Image, painted: Image.Image, share: float) -> Image.Image:
    """The painted picture, with at most `share` of the drawing brought back where it has fine detail."""
    grey = image.convert("L").reduce(2)
    detail = ImageChops.difference(grey, grey.filter(ImageFilter.BoxBlur(2))).filter(ImageFilter.BoxBlur(1))
    mask = detail.point([round(min(255, depth * 9) * share) for depth in range(256)])
    return Image.composite(image, painted, mask.resize(image.size, Image.Resampling.BILINEAR))


def _relief(pixels: Pixels, height: Pixels, strength: float) -> Pixels:
    """The picture lit over a relief: plain in the lights, and still there in the shadows."""
    return pixels * np.float32(0.94) + (strength * height)[..., None] * (0.3 + 0.7 * pixels)


def _canvas(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A plain weave: threads over and under each other."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    period = float(rng.uniform(6.0, 6.8))
    warp, weft = np.sin(columns * (2 * np.pi / period)), np.sin(rows * (2 * np.pi / period))
    return _relief(pixels, warp * weft * (1 + 0.3 * _noise(pixels, rng, 14)), 0.095)


def _wood(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Grain along the panel, wavering round a knot, and the joint of two boards."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    along, across = (rows, columns) if pixels.shape[0] >= pixels.shape[1] else (columns, rows)
    knot_along, knot_across = (float(rng.uniform(0.2, 0.8) * axis.max()) for axis in (along, across))
    knot = np.exp(-(((along - knot_along) / 30) ** 2) - ((across - knot_across) / 14) ** 2)
    waver = 3 * np.sin(along / float(rng.uniform(26, 38)) + float(rng.uniform(0, 6)))
    shifted = across + 10 * knot * np.sign(across - knot_across) + waver + 1.5 * _noise(pixels, rng, 30)
    rings = np.sin(shifted * (2 * np.pi / float(rng.uniform(7.5, 9.5))) + 1.5 * np.sin(shifted / 13))
    grain = np.where(rings > 0.3, -1.5 * (rings - 0.3), np.float32(0.15))
    joint = np.abs(across - across.max() * float(rng.uniform(0.3, 0.7))) < 0.8
    return _relief(pixels * np.array([1.04, 0.99, 0.9], np.float32), grain - 1.2 * joint, 0.14)


def _wall(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Plaster: chalky, cracked, with losses."""
    height, width = pixels.shape[:2]
    chalk = np.array([0.93, 0.89, 0.82], np.float32)
    faded = pixels + (chalk - pixels) * (0.2 + 0.07 * _noise(pixels, rng, 9)).clip(0, 1)[..., None]
    faded = faded + (chalk - faded) * (4 * (_noise(pixels, rng, 9) - 1.75)).clip(0, 1)[..., None]
    cracks = Image.new("L", (width * 2, height * 2), 0)
    for start in rng.uniform(0, 1, (14, 2)) * cracks.size:
        angles = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.8, 0.8, int(rng.integers(6, 13))).cumsum()
        path = start + 15 * np.stack([np.cos(angles), np.sin(angles)], axis=1).cumsum(axis=0)
        ImageDraw.Draw(cracks).line(path.ravel().tolist(), fill=255, width=2)
    return faded * (1 - 0.52 * np.asarray(cracks.reduce(2), dtype=np.float32)[..., None] / 255)


def _paper(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A sheet with laid lines and brown spots of age, where colour lies thin."""
    laid = np.sin(np.arange(pixels.shape[0], dtype=np.float32) * (2 * np.pi / 7))[:, None]
    sheet = np.array([0.98, 0.94, 0.84], np.float32) * (1 - 0.8 * (1 - pixels))
    sheet = sheet + 0.025 * (laid + _noise(pixels, rng, 2.5))[..., None]
    stains = (2 * (_noise(pixels, rng, 5) - 1.9)).clip(0, 1)[..., None]
    return np.asarray(sheet - 0.5 * stains * np.array([0.3, 0.55, 0.7], np.float32), dtype=np.float32)


def _metal(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Copper: bands of sheen across the plate and a warm glow through the paint."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    slope = float(rng.choice((-1, 1)) * rng.uniform(0.35, 0.6))
    phase = (columns + slope * rows) * (2 * np.pi / float(rng.uniform(38, 48))) + float(rng.uniform(0, 2 * np.pi))
    sheen = np.maximum(0, np.sin(phase)) ** 5 + 0.5 * np.maximum(0, np.sin(phase + 1.3)) ** 16
    copper = 0.9 * (pixels + 0.14 * (np.array([0.85, 0.42, 0.22], np.float32) - pixels))
    return np.asarray(copper + (0.26 * sheen)[..., None] * np.array([1.0, 0.86, 0.7], np.float32), dtype=np.float32)


def _noise(pixels: Pixels, rng: np.random.Generator, grain: float) -> Pixels:
    """Smooth noise (height, width) of mean 0 and standard deviation 1 with spots of about `grain` pixels."""
    height, width = pixels.shape[:2]
    coarse = rng.standard_normal((int(height / grain) + 2, int(width / grain) + 2)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), dtype=np.float32)


BRUSHES = {"enamel": _enamel, "hatched": _hatched, "dabbed": _dabbed, "swept": _swept}
SURFACES = {"canvas": _canvas, "wood": _wood, "wall": _wall, "paper": _paper, "metal": _metal}
