"""What the miniature is drawn on and with: a sheet with its own units and gestures, and the palettes."""

import copy
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
Point = tuple[float, float]


# How far the varnish pulls a finished picture towards the palette's shades, its shadow, middle and light.
_VARNISH = {
    "gilded": 0.34,  # gold leaf, lapis and vermilion
    "clear": 0.26,  # the cool daylight of rose, azure and pale stone
    "tenebrist": 0.3,  # lamplight out of near black
    "silvery": 0.42,  # a tonal grey with olive and pewter
    "pastel": 0.28,  # powder blue and rose
    "sunset": 0.36,  # dusk over teal water
    "sunlit": 0.22,  # full sun with violet shadows
}
# A row is a part of every composition, a column one palette, in the order of `_VARNISH`.
_COLOURS = """
    sky      cf9a2c 6fa6d6 1b130e 8a979b a3c9ee 1f4660 4aa0ea
    horizon  f0cf72 e4eff2 46301a d3d2c2 fbdde2 f58a34 dff0ff
    ground   8a6a34 7f9a6e 2c1d12 756f50 b7d09a 3a2c28 84c63c
    distance b98f45 a5c6cf 52381e 9aa096 c9d9e2 93502f 7fbfd8
    foliage  4f6330 4f8a68 343019 5c6647 93bb88 2f3d33 3fa24a
    stone    d8b878 d9d2c8 7a5d3a b0aa94 ecd9d2 8f6a58 e9def2
    dark     3b2013 2e3c5c 0b0705 2b302f 7d5a80 171b28 3a34a4
    light    fbeab4 fdf8ee f9d694 ecebdf fffaf4 ffd98a fffdea
    flesh    e3b184 efc6a8 dd9a62 d3b595 f9d0bf e0986a ffc49c
    gold     e9bd48 e3c878 d39a3a b59f68 ecc878 ffb347 ffd93b
    cloth    23408f d0607c 9c1f18 3d5c78 ee8aa6 14707a 7d52cc
    cloth    c2321f 2a6fb8 b5772a 98733f 86b4e0 cc4f1a ff7448
    cloth    3f6a3c e6c65a d6c5a2 c8bfa4 f5d888 ecc48c ffe23c
    shades   4a2410 2c4468 0a0503 2b302f 80608c 12202e 3530a0
    shades   c08a35 a3b8bd 5e371c 8e8d7e eab8c6 b0552c 74bf8a
    shades   fae3a0 fbf6ee f4cb84 e8e5d6 fff8ee ffd590 fffff0
"""


class Palette(SimpleNamespace):
    """The colours of a period by their parts, `cloth` and `shades` three each, and `varnish`."""


def _palettes() -> dict[str, Palette]:
    colours: dict[str, list[Sequence[Colour]]] = {}
    for part, *codes in map(str.split, _COLOURS.strip().splitlines()):
        parsed = [(int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes]
        colours.setdefault(part, []).append(parsed)
    return {
        name: Palette(
            varnish=varnish,
            **{
                part: tuple(row[column] for row in rows) if rows[1:] else rows[0][column]
                for part, rows in colours.items()
            },
        )
        for column, (name, varnish) in enumerate(_VARNISH.items())
    }


PALETTES = _palettes()


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` of the way from the first to the second."""
    red, green, blue = (start * (1 - share) + end * share for start, end in zip(first, second, strict=True))
    return red, green, blue


def rounded(points: Sequence[Point], *, closed: bool) -> list[Point]:
    """The points with five more between each two, on a smooth curve through them all (Catmull-Rom)."""
    padded = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    corners = np.asarray(padded, dtype=np.float64)[:, None, :]
    before, here, after, further = corners[:-3], corners[1:-2], corners[2:-1], corners[3:]
    step = (np.arange(6) / 6)[None, :, None]
    curve = 0.5 * (
        2 * here
        + (after - before) * step
        + (2 * before - 5 * here + 4 * after - further) * step**2
        + (3 * here - before - 3 * after + further) * step**3
    ).reshape(-1, 2)
    path = [(x, y) for x, y in curve.tolist()]
    return path if closed else [*path, points[-1]]


def _pixel(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, round(channel))) for channel in colour)
    return (red, green, blue)


@lru_cache
def _fade(strength: float) -> Image.Image:
    """A mask that is `strength` in the middle and nothing at the rim."""
    depths = Image.radial_gradient("L").reduce(4)
    return depths.point([round(max(0.0, 255 - depth * 1.42) * strength) for depth in range(256)])


class Sheet:
    """A picture in the making; positions count in short sides from its centre, x to the right and y downwards.

    The square from -0.5 to 0.5 is therefore on every sheet, whatever its format, and survives a central crop.
    `frame` gives the same sheet in other units, so that a figure is drawn in units of its own height.
    """

    def __init__(self, width: int, height: int, palette: Palette, rng: np.random.Generator):
        self.image = Image.new("RGB", (width, height), _pixel(palette.dark))
        self.palette = palette
        self.rng = rng
        self.right, self.bottom = width / 2 / min(width, height), height / 2 / min(width, height)
        self._draw = ImageDraw.Draw(self.image)
        self._origin = (width / 2, height / 2)
        self._unit = float(min(width, height))
        self._turn = 1

    def frame(self, x: float, y: float, size: float, turn: int = 1) -> "Sheet":
        """The sheet with its origin at a point and `size` as the unit; `turn` -1 mirrors what is drawn."""
        frame = copy.copy(self)
        frame._origin = self._at((x, y))
        frame._unit = self._unit * size
        frame._turn = self._turn * turn
        return frame

    def near(self, value: float, spread: float) -> float:
        """A number at most `spread` from `value`: no two paintings are alike."""
        return value + spread * (2 * self.rng.random() - 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def side(self) -> int:
        """Left (-1) or right (1)."""
        return 1 if self.chance(0.5) else -1

    def pick(self, options: Sequence[Colour]) -> Colour:
        """One of the colours."""
        return options[int(self.rng.integers(len(options)))]

    def vary(self, colour: Colour, spread: float = 9) -> Colour:
        """The colour as it comes from the brush this time."""
        shift, red, green, blue = (spread * (2 * number - 1) for number in self.rng.random(4).tolist())
        return (colour[0] + shift + red / 2, colour[1] + shift + green / 2, colour[2] + shift + blue / 2)

    def darker(self, colour: Colour, share: float) -> Colour:
        """The colour in the palette's shadow."""
        return mix(colour, self.palette.dark, share)

    def lighter(self, colour: Colour, share: float) -> Colour:
        """The colour in the palette's light."""
        return mix(colour, self.palette.light, share)

    def fill(self, points: Sequence[Point], colour: Colour, *, smooth: bool = False) -> None:
        """A filled outline, with corners or with none."""
        outline = rounded(points, closed=True) if smooth else points
        self._draw.polygon([self._at(point) for point in outline], fill=_pixel(colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled upright rectangle."""
        self.fill([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def oval(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A filled ellipse around a point."""
        self._draw.ellipse(self._around(x, y, half_width, half_height), fill=_pixel(colour))

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float) -> None:
        """A circle's line."""
        self._draw.ellipse(self._around(x, y, radius, radius), outline=_pixel(colour), width=self._thick(width))

    def line(self, points: Sequence[Point], colour: Colour, width: float, *, smooth: bool = False) -> None:
        """A line with round ends, through the points with corners or with none."""
        thick = self._thick(width)
        path = [self._at(point) for point in (rounded(points, closed=False) if smooth else points)]
        self._draw.line(path, fill=_pixel(colour), width=thick, joint="curve")
        if thick > 3:
            radius = thick / 2 - 0.5
            for x, y in (path[0], path[-1]):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_pixel(colour))

    def band(self, upper: float, lower: float, first: Colour, last: Colour) -> None:
        """A horizontal band over the whole width whose colour runs from the first to the last."""
        start, stop = round(self._at((0, upper))[1]), round(self._at((0, lower))[1])
        shares = np.linspace(0, 1, max(1, stop - start), endpoint=False)[:, None, None]
        column = (np.array(first) * (1 - shares) + np.array(last) * shares).clip(0, 255).round().astype(np.uint8)
        run = Image.fromarray(column).resize((self.image.width, len(column)), Image.Resampling.NEAREST)
        self.image.paste(run, (0, start))

    def glow(self, x: float, y: float, half_width: float, half_height: float, colour: Colour, strength: float) -> None:
        """Light, or with a dark colour shadow, that fades from a point outwards."""
        left, top, right, bottom = (round(edge) for edge in self._around(x, y, half_width, half_height))
        size = (max(2, right - left), max(2, bottom - top))
        self.image.paste(_pixel(colour), (left, top), _fade(strength).resize(size, Image.Resampling.BILINEAR))

    def ball(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A round body lit from the upper left."""
        dark, light = self.darker(colour, 0.5), self.lighter(colour, 0.55)
        for step in range(6):
            share = step / 5
            size, drift = 1 - 0.75 * share, 0.3 * share
            tone = mix(dark, colour, share * 2) if share < 0.5 else mix(colour, light, share * 2 - 1)
            self.oval(x - drift * half_width, y - drift * half_height, half_width * size, half_height * size, tone)

    def blob(self, x: float, y: float, radius: float, colour: Colour, bumps: int = 9) -> None:
        """An uneven round patch, such as a crown of leaves."""
        for angle, reach, size in self.rng.uniform((0, 0.2, 0.35), (6.28, 0.65, 0.6), (bumps, 3)).tolist():
            across, down = reach * float(np.cos(angle)), 0.8 * reach * float(np.sin(angle))
            patch = self.vary(colour, 14)
            self.oval(x + radius * across, y + radius * down, radius * size, radius * size * 0.85, patch)

    def _at(self, point: Point) -> Point:
        """The point in pixels."""
        return (self._origin[0] + self._turn * point[0] * self._unit, self._origin[1] + point[1] * self._unit)

    def _around(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        """The box around a point, in pixels and at least one pixel wide and high."""
        across, down = self._at((x, y))
        half_width, half_height = max(0.5, half_width * self._unit), max(0.5, half_height * self._unit)
        return (across - half_width, down - half_height, across + half_width, down + half_height)

    def _thick(self, width: float) -> int:
        return max(1, round(width * self._unit))
