"""What the miniature is painted on and with: palettes, a sheet with its own units, drawings, brushes and surfaces."""

import copy
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageEnhance, ImageFilter

Colour = tuple[float, ...]
Point = Sequence[float]
Numbers = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]
_FOLDER = Path(__file__).parent
# A column is a palette; a row how far its varnish pulls a finished picture towards its shadow, tone and light, or the
# colour of a part of every composition.
_TABLE = pd.read_csv(_FOLDER / "palettes.txt", sep=r"\s+", index_col=0, dtype=str)
VARNISH: dict[str, float] = _TABLE.loc["varnish"].astype(float).to_dict()
PALETTES: dict[str, dict[str, Colour]] = ("#" + _TABLE.drop("varnish")).map(ImageColor.getrgb).to_dict()
# A drawing is a row of gestures: a method of `Sheet` or another drawing, a colour (`own` is the caller's), and numbers
# in hundredths. `line` and `bend` begin with their width; a 2 after a gesture repeats it mirrored. People, trees and
# things stand on the origin and are 100 high; heads, faces and what goes with them lie around it.
DRAWINGS = dict(one.split(":", 1) for one in re.split(r"\n(?=\w)", (_FOLDER / "drawings.txt").read_text("utf-8")))
# Lights the edges of strokes from one corner.
_IMPASTO = ImageFilter.Kernel((3, 3), (-0.7, -0.3, 0, -0.3, 1, 0.3, 0, 0.3, 0.7), scale=1)
_COLOUR = re.compile(r"(\w+)(?:/(\w+))?(?:([+-])(\d+))?(~?)")


def rounded(points: Sequence[Point], *, closed: bool) -> list[Point]:
    """The points with five more between each two, on a smooth curve through them all (Catmull-Rom)."""
    padded = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    corners = np.asarray(padded, dtype=np.float64)[:, None, :]
    before, here, after, further = corners[:-3], corners[1:-2], corners[2:-1], corners[3:]
    step = (np.arange(6) / 6)[None, :, None]
    curve = here + 0.5 * step * (
        after
        - before
        + step * (2 * before - 5 * here + 4 * after - further + step * (3 * (here - after) + further - before))
    )
    path: list[Point] = list(curve.reshape(-1, 2).tolist())
    return path if closed else [*path, points[-1]]


@lru_cache
def _fade(strength: float) -> Image.Image:
    """A mask that is `strength` in the middle and nothing at the rim."""
    depths = Image.radial_gradient("L").reduce(4)
    return depths.point([round(max(0.0, 255 - depth * 1.42) * strength) for depth in range(256)])


class Sheet:
    """A picture in the making; positions count in short sides from its centre, x to the right and y downwards.

    A colour is a part of the palette, or two halves of `one/other`; `+30` is 30 % of the way to the light, `-30` to
    the dark, and `~` as it comes from the brush this time: `gold/sky-20~`.
    """

    def __init__(self, width: int, height: int, palette: str, rng: np.random.Generator):
        self.colours = PALETTES[palette]
        self.rng = rng
        self.image = Image.new("RGB", (width, height), self._pixel("dark"))
        self.right, self.bottom = width / 2 / min(width, height), height / 2 / min(width, height)
        self._draw = ImageDraw.Draw(self.image)
        self._origin = (width / 2, height / 2)
        self._unit = float(min(width, height))
        self._turn = 1
        self.drawn: set[str] = set()  # names in `DRAWINGS`, without the parts of a drawing

    def frame(self, x: float, y: float, size: float = 1, turn: int = 1, own: str = "stone") -> "Sheet":
        """The sheet with its origin at a point, `size` as the unit and a colour called `own`; `turn` -1 mirrors it."""
        frame = copy.copy(self)
        frame._origin = self._at((x, y))
        frame._unit = self._unit * size
        frame._turn = self._turn * turn
        frame.colours = self.colours | {"own": self.colour(own)}
        return frame

    def near(self, value: float, spread: float) -> float:
        """A number at most `spread` from `value`: no two paintings are alike."""
        return value + spread * (2 * self.rng.random() - 1)

    def side(self) -> int:
        """Left (-1) or right (1)."""
        return 1 if self.rng.random() < 0.5 else -1

    def pick(self, *colours: str) -> str:
        """One of the colours, or of the cloths."""
        colours = colours or ("cloth0~", "cloth1~", "cloth2~")
        return colours[int(self.rng.integers(len(colours)))]

    def colour(self, words: str) -> Colour:
        """The colour of an expression."""
        name, other, way, share, varies = _COLOUR.fullmatch(words).groups()  # type: ignore[union-attr]
        found = np.array(self.colours[name])
        if other:
            found = (found + self.colours[other]) / 2
        if way:
            found = found + (np.array(self.colours["light" if way == "+" else "dark"]) - found) * (int(share) / 100)
        if varies:
            found = found + self.rng.uniform(-11, 11) + self.rng.uniform(-5, 5, 3)
        return tuple(found.tolist())

    def draw(self, drawing: str, x: float = 0, y: float = 0, size: float = 1, **framing: Any) -> None:
        """A drawing of `DRAWINGS` around a point, as large as `size`; `turn` and `own` are those of `frame`."""
        self.drawn.add(drawing)
        self.frame(x, y, size, **framing)._make(drawing)

    def _make(self, drawing: str) -> None:
        for gesture in DRAWINGS[drawing].split(";"):
            kind, colour, *words = gesture.split()
            numbers = [float(word) / 100 for word in words]
            for turn in (1, -1) if kind.endswith("2") else (1,):
                frame, kind = self.frame(0, 0, 1, turn, "own"), kind.rstrip("2")
                if kind in ("fill", "curve"):
                    frame.fill(np.reshape(numbers, (-1, 2)).tolist(), colour, smooth=kind == "curve")
                elif kind in ("line", "bend"):  # its width comes before its points
                    points = np.reshape(numbers[1:], (-1, 2)).tolist()
                    frame.line(points, colour, numbers[0], smooth=kind == "bend")
                elif kind in DRAWINGS:
                    x, y, size = numbers
                    frame.frame(x, y, size, own=colour)._make(kind)
                else:
                    getattr(frame, kind)(*numbers, colour)

    def fill(self, points: Sequence[Point], colour: str, *, smooth: bool = False) -> None:
        """A filled outline, with corners or with none."""
        outline = rounded(points, closed=True) if smooth else points
        self._draw.polygon([self._at(point) for point in outline], fill=self._pixel(colour))

    def oval(self, x: float, y: float, half_width: float, half_height: float, colour: str) -> None:
        """A filled ellipse around a point."""
        self._draw.ellipse(self._around(x, y, half_width, half_height), fill=self._pixel(colour))

    def line(self, points: Sequence[Point], colour: str, width: float, *, smooth: bool = False) -> None:
        """A line with round ends, through the points with corners or with none."""
        thick, fill = max(1, round(width * self._unit)), self._pixel(colour)
        path = [self._at(point) for point in (rounded(points, closed=False) if smooth else points)]
        self._draw.line(path, fill=fill, width=thick, joint="curve")
        if thick > 3:
            for end in (path[0], path[-1]):
                self._draw.circle(end, thick / 2 - 0.5, fill=fill)

    def band(self, upper: float, lower: float, first: str, last: str) -> None:
        """A horizontal band over the whole width whose colour runs from the first to the last."""
        start, stop = round(self._at((0, upper))[1]), round(self._at((0, lower))[1])
        column = np.linspace(self._pixel(first), self._pixel(last), max(1, stop - start))[:, None]
        run = Image.fromarray(column.round().astype(np.uint8))
        self.image.paste(run.resize((self.image.width, run.height), Image.Resampling.NEAREST), (0, start))

    def glow(self, x: float, y: float, half_width: float, half_height: float, strength: float, colour: str) -> None:
        """Light, or with a dark colour shadow, that fades from a point outwards."""
        left, top, right, bottom = (round(edge) for edge in self._around(x, y, half_width, half_height))
        size = (max(2, right - left), max(2, bottom - top))
        self.image.paste(self._pixel(colour), (left, top), _fade(strength).resize(size, Image.Resampling.BILINEAR))

    def ball(self, x: float, y: float, half_width: float, half_height: float, colour: str) -> None:
        """A round body lit from the upper left."""
        body = self.frame(x, y, 1, 1, colour)
        for drift, tone in enumerate(("own-50", "own-25", "own", "own+28", "own+55")):
            middle = (-0.075 * drift * half_width, -0.075 * drift * half_height)
            body.oval(*middle, half_width * (1 - 0.19 * drift), half_height * (1 - 0.19 * drift), tone)

    def blob(self, x: float, y: float, radius: float, colour: str) -> None:
        """An uneven round patch, such as a crown of leaves."""
        patch = self.frame(x, y, radius, 1, colour)
        for angle, reach, size in self.rng.uniform((0, 0.2, 0.35), (6.28, 0.65, 0.6), (8, 3)).tolist():
            patch.oval(reach * float(np.cos(angle)), 0.8 * reach * float(np.sin(angle)), size, size * 0.85, "own~")

    def _pixel(self, colour: str) -> tuple[int, ...]:
        return tuple(max(0, min(255, round(channel))) for channel in self.colour(colour))

    def _at(self, point: Point) -> tuple[float, float]:
        return (self._origin[0] + self._turn * point[0] * self._unit, self._origin[1] + point[1] * self._unit)

    def _around(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        """The box around a point, in pixels and at least one pixel wide and high."""
        across, down = self._at((x, y))
        half_width, half_height = max(0.5, half_width * self._unit), max(0.5, half_height * self._unit)
        return (across - half_width, down - half_height, across + half_width, down + half_height)


def _enamel(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """No stroke to be seen, and glazes that let the colours glow."""
    smooth = image.filter(ImageFilter.BoxBlur(min(image.size) * float(rng.uniform(0.002, 0.004))))
    return ImageEnhance.Color(smooth).enhance(1.15)


def _hatched(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fine parallel strokes, as tempera wants them."""
    slope = float(rng.choice((-1, 1)) * rng.uniform(0.8, 1.1))
    return _strokes(image, rng, (1200, 0.055, 0.021, 30, 8), lambda points: slope + rng.normal(0, 0.05, len(points)))


def _dabbed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Round dabs of broken colour side by side."""
    return _strokes(image, rng, (900, 0.002, 0.064, 26, 26), lambda points: np.zeros(len(points)))


def _swept(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Broad strokes in thick paint that wind through the picture."""
    phases = rng.uniform(0, 2 * np.pi, 2)

    def flow(points: Numbers) -> Numbers:
        across, down = (points * (2 * np.pi / (min(image.size) * 0.6)) + phases).T
        return np.asarray(1.6 * (np.sin(across) + np.cos(down)))

    painted = _strokes(image, rng, (240, 0.1, 0.06, 23, 8), flow)
    return _strokes(painted, rng, (300, 0.065, 0.034, 23, 8), flow).filter(_IMPASTO)


def _strokes(
    image: Image.Image, rng: np.random.Generator, style: tuple[float, ...], direction: Callable[[Numbers], Numbers]
) -> Image.Image:
    """The picture under strokes of its own colours, `density` of them on the square of the short side.

    Each goes `reach` short sides both ways from its middle; it is off by `contrast`, and each channel by `hue`.
    """
    (density, reach, width, contrast, hue), unit = style, min(image.size)
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


def keep_edges(image: Image.Image, painted: Image.Image, share: float) -> Image.Image:
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


#: With the share of the drawing that each leaves to be seen.
BRUSHES = {"enamel": (_enamel, 0.0), "hatched": (_hatched, 0.6), "dabbed": (_dabbed, 0.5), "swept": (_swept, 0.7)}
SURFACES = {"canvas": _canvas, "wood": _wood, "wall": _wall, "paper": _paper, "metal": _metal}
