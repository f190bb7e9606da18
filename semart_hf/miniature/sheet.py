"""What the miniature is drawn on and with: a sheet with its own units and gestures, and the palettes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
Point = tuple[float, float]


_COLOUR_NAMES = ("sky", "horizon", "ground", "distance", "foliage", "stone", "dark", "light", "flesh", "gold")


@dataclass(frozen=True)
class Palette:
    """The colours of a period, each with a part to play in every composition.

    Attributes:
        shades: Shadow, middle and light of the varnish that pulls the finished picture together.
        varnish: How far the picture is pulled towards the shades, 0 to 1.
    """

    sky: Colour
    horizon: Colour
    ground: Colour
    distance: Colour
    foliage: Colour
    stone: Colour
    dark: Colour
    light: Colour
    flesh: Colour
    gold: Colour
    cloth: tuple[Colour, Colour, Colour]
    shades: tuple[Colour, Colour, Colour]
    varnish: float


def _colours(codes: str) -> list[Colour]:
    return [(int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes.split()]


def _palette(varnish: float, codes: str, more_codes: str) -> Palette:
    """A palette from hexadecimal colours in the order of the fields; `cloth` and `shades` take three each."""
    named = dict(zip(_COLOUR_NAMES, _colours(codes), strict=True))
    first, second, third, shadow, middle, light = _colours(more_codes)
    return Palette(**named, cloth=(first, second, third), shades=(shadow, middle, light), varnish=varnish)


PALETTES = {
    # gold leaf, lapis and vermilion
    "gilded": _palette(
        0.34,
        "cf9a2c f0cf72 8a6a34 b98f45 4f6330 d8b878 3b2013 fbeab4 e3b184 e9bd48",
        "23408f c2321f 3f6a3c 4a2410 c08a35 fae3a0",
    ),
    # the cool daylight of rose, azure and pale stone
    "clear": _palette(
        0.26,
        "6fa6d6 e4eff2 7f9a6e a5c6cf 4f8a68 d9d2c8 2e3c5c fdf8ee efc6a8 e3c878",
        "d0607c 2a6fb8 e6c65a 2c4468 a3b8bd fbf6ee",
    ),
    # lamplight out of near black
    "tenebrist": _palette(
        0.30,
        "1b130e 46301a 2c1d12 52381e 343019 7a5d3a 0b0705 f9d694 dd9a62 d39a3a",
        "9c1f18 b5772a d6c5a2 0a0503 5e371c f4cb84",
    ),
    # a tonal grey with olive and pewter
    "silvery": _palette(
        0.42,
        "8a979b d3d2c2 756f50 9aa096 5c6647 b0aa94 2b302f ecebdf d3b595 b59f68",
        "3d5c78 98733f c8bfa4 2b302f 8e8d7e e8e5d6",
    ),
    # powder blue and rose
    "pastel": _palette(
        0.28,
        "a3c9ee fbdde2 b7d09a c9d9e2 93bb88 ecd9d2 7d5a80 fffaf4 f9d0bf ecc878",
        "ee8aa6 86b4e0 f5d888 80608c eab8c6 fff8ee",
    ),
    # dusk over teal water
    "sunset": _palette(
        0.36,
        "1f4660 f58a34 3a2c28 93502f 2f3d33 8f6a58 171b28 ffd98a e0986a ffb347",
        "14707a cc4f1a ecc48c 12202e b0552c ffd590",
    ),
    # full sun with violet shadows
    "sunlit": _palette(
        0.22,
        "4aa0ea dff0ff 84c63c 7fbfd8 3fa24a e9def2 3a34a4 fffdea ffc49c ffd93b",
        "7d52cc ff7448 ffe23c 3530a0 74bf8a fffff0",
    ),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` of the way from the first to the second."""
    rest = 1 - share
    return (
        first[0] * rest + second[0] * share,
        first[1] * rest + second[1] * share,
        first[2] * rest + second[2] * share,
    )


def rounded(points: Sequence[Point], *, closed: bool) -> list[Point]:
    """The points with five more between each two, on a smooth curve through them all (Catmull-Rom)."""
    corners = np.asarray(points, dtype=np.float64)
    if closed:
        before, after, further = (
            np.roll(corners, 1, axis=0),
            np.roll(corners, -1, axis=0),
            np.roll(corners, -2, axis=0),
        )
    else:
        padded = np.concatenate([corners[:1], corners, corners[-1:]])
        before, corners, after, further = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    step = (np.arange(6) / 6)[None, :, None]
    before, corners, after, further = (side[:, None, :] for side in (before, corners, after, further))
    curve = 0.5 * (
        2 * corners
        + (after - before) * step
        + (2 * before - 5 * corners + 4 * after - further) * step**2
        + (3 * corners - before - 3 * after + further) * step**3
    ).reshape(-1, 2)
    path = [(float(x), float(y)) for x, y in curve]
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
