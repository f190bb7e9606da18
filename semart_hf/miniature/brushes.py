"""The miniature's brushes: four hands, each of which lays a finished composition over with its own strokes."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

Numbers = npt.NDArray[np.float64]

_IMPASTO = ImageFilter.Kernel((3, 3), (-0.7, -0.3, 0, -0.3, 1, 0.3, 0, 0.3, 0.7), scale=1)
"""Lights the edges of strokes from one corner."""


def _enamel(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """No stroke to be seen, and glazes that let the colours glow."""
    smooth = image.filter(ImageFilter.BoxBlur(min(image.size) * float(rng.uniform(0.002, 0.004))))
    return ImageEnhance.Color(smooth).enhance(1.15)


def _hatched(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fine parallel strokes, as tempera wants them."""
    unit = min(image.size)
    slope = (-1 if rng.random() < 0.5 else 1) * float(rng.uniform(0.8, 1.1))
    middles = _scatter(image, rng, 1200)
    directions = slope + rng.normal(0, 0.05, len(middles))
    steps = np.stack([np.cos(directions), np.sin(directions)], axis=1) * unit * 0.055
    paths = np.stack([middles - steps, middles + steps], axis=1)
    return _keep_edges(image, _lay(image, rng, middles, paths, width=round(unit * 0.021), contrast=30), 0.6)


def _dabbed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Round dabs of broken colour side by side."""
    step = min(image.size) * 0.058
    columns, rows = np.meshgrid(np.arange(0, image.width + step, step), np.arange(0, image.height + step, step))
    middles = np.stack([columns.ravel(), rows.ravel()], axis=1)
    middles = rng.permutation(middles + rng.uniform(-0.5, 0.5, middles.shape) * step)
    radii = rng.uniform(0.48, 0.62, (len(middles), 1)) * step
    boxes = np.concatenate([middles - radii, middles + radii], axis=1)
    painted = image.copy()
    draw = ImageDraw.Draw(painted)
    for box, colour in zip(boxes.tolist(), _colours(image, rng, middles, 26, hue=26), strict=True):
        draw.ellipse(box, fill=colour)
    return _keep_edges(image, painted, 0.5)


def _swept(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Broad strokes in thick paint that wind through the picture."""
    unit = min(image.size)
    phases = rng.uniform(0, 2 * np.pi, 2)
    painted = image
    for count, length, width in ((240, 0.2, 0.06), (300, 0.13, 0.034)):
        middles = _scatter(image, rng, count)
        ahead, behind = (_follow(middles, phases, unit, way * unit * length / 4) for way in (1, -1))
        paths = np.stack([*behind[::-1], middles, *ahead], axis=1)
        painted = _lay(painted, rng, middles, paths, width=round(unit * width), contrast=23)
    return _keep_edges(image, painted.filter(_IMPASTO), 0.7)


def _follow(points: Numbers, phases: Numbers, unit: float, step: float) -> list[Numbers]:
    """Two positions further along the winding flow from each point: (num_points, 2) each."""
    path = []
    scale = 2 * np.pi / (unit * 0.6)
    for _ in range(2):
        angle = 1.6 * np.sin(points[:, 0] * scale + phases[0]) + 1.6 * np.cos(points[:, 1] * scale + phases[1])
        points = points + step * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        path.append(points)
    return path


def _scatter(image: Image.Image, rng: np.random.Generator, density: int) -> Numbers:
    """Random positions (num_points, 2), `density` of them on the square of the short side."""
    count = round(density * image.width * image.height / min(image.size) ** 2)
    return rng.uniform(0, 1, (count, 2)) * image.size


def _colours(
    image: Image.Image, rng: np.random.Generator, points: Numbers, contrast: float, hue: float = 8
) -> list[tuple[int, ...]]:
    """The picture's colour at each point, lighter or darker by at most `contrast`, and each channel off by `hue`."""
    soft = np.asarray(image.reduce(4))
    columns, rows = (points // 4).astype(int).clip(0, (soft.shape[1] - 1, soft.shape[0] - 1)).T
    shift = rng.uniform(-contrast, contrast, (len(points), 1)) + rng.uniform(-hue, hue, (len(points), 3))
    return [tuple(colour) for colour in (soft[rows, columns] + shift).clip(0, 255).astype(int).tolist()]


def _lay(
    image: Image.Image, rng: np.random.Generator, middles: Numbers, paths: Numbers, *, width: int, contrast: float
) -> Image.Image:
    """The picture with a stroke of its own colour along each path (num_points, num_corners, 2)."""
    painted = image.copy()
    draw = ImageDraw.Draw(painted)
    corners = paths.reshape(len(paths), -1).tolist()
    for path, colour in zip(corners, _colours(image, rng, middles, contrast), strict=True):
        draw.line(path, fill=colour, width=width)
    return painted


def _keep_edges(image: Image.Image, painted: Image.Image, share: float) -> Image.Image:
    """The painted picture, with at most `share` of the drawing brought back where it has fine detail."""
    grey = image.convert("L").reduce(2)
    detail = ImageChops.difference(grey, grey.filter(ImageFilter.BoxBlur(2))).filter(ImageFilter.BoxBlur(1))
    mask = detail.point([round(min(255, depth * 9) * share) for depth in range(256)])
    return Image.composite(image, painted, mask.resize(image.size, Image.Resampling.BILINEAR))


BRUSHES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "enamel": _enamel,
    "hatched": _hatched,
    "dabbed": _dabbed,
    "swept": _swept,
}
