"""What the miniature is drawn on and with: a sheet with its own units, the painter's few gestures, the palettes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
Point = tuple[float, float]


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
    cloth: tuple[Colour, Colour, Colour]
    gold: Colour
    shades: tuple[Colour, Colour, Colour]
    varnish: float


def _colour(code: str) -> Colour:
    return (int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16))


def _palette(colours: str, cloth: str, gold: str, shades: str, varnish: float) -> Palette:
    first, second, third = (_colour(code) for code in cloth.split())
    shadow, middle, light = (_colour(code) for code in shades.split())
    return Palette(
        *(_colour(code) for code in colours.split()),
        cloth=(first, second, third),
        gold=_colour(gold),
        shades=(shadow, middle, light),
        varnish=varnish,
    )


# Columns: sky, horizon, ground, distance, foliage, stone, dark, light, flesh.
PALETTES = {
    "gilded": _palette(
        "cf9a2c f0cf72 8a6a34 b98f45 4f6330 d8b878 3b2013 fbeab4 e3b184",
        "23408f c2321f 3f6a3c",
        "e9bd48",
        "4a2410 c08a35 fae3a0",
        0.34,
    ),
    "clear": _palette(
        "6fa6d6 e4eff2 7f9a6e a5c6cf 4f8a68 d9d2c8 2e3c5c fdf8ee efc6a8",
        "d0607c 2a6fb8 e6c65a",
        "e3c878",
        "2c4468 a3b8bd fbf6ee",
        0.26,
    ),
    "tenebrist": _palette(
        "17100c 3a2415 24170d 46301a 2b2413 6b5233 0b0705 f6d08a d8935c",
        "8e1d17 a86d24 cdbb98",
        "c98f35",
        "0a0503 5a341a f2c67c",
        0.34,
    ),
    "silvery": _palette(
        "868e8c c8c8bc 6d6a55 98998a 5b614f a5a294 2d302f e6e4da c6b09a",
        "4e5d62 8a7f66 b9b5a6",
        "a89c78",
        "2a2d2d 8b8d84 e4e2d8",
        0.52,
    ),
    "pastel": _palette(
        "aed0ec fde3e4 c3d6a6 d3dfe6 a3c596 f2e4dc 93748f fffaf4 fbd9c8",
        "f39fb4 9cc2e8 f9e2a0",
        "f2d48c",
        "8f7194 eec6cf fffaf0",
        0.30,
    ),
    "sunset": _palette(
        "1f4660 f58a34 3a2c28 93502f 2f3d33 8f6a58 171b28 ffd98a e0986a",
        "14707a cc4f1a ecc48c",
        "ffb347",
        "12202e b0552c ffd590",
        0.36,
    ),
    "sunlit": _palette(
        "4aa0ea dff0ff 84c63c 7fbfd8 3fa24a e9def2 3a34a4 fffdea ffc49c",
        "7d52cc ff7448 ffe23c",
        "ffd93b",
        "3530a0 74bf8a fffff0",
        0.22,
    ),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` of the way from the first to the second."""
    return tuple(a + (b - a) * share for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def _pixel(colour: Colour) -> tuple[int, int, int]:
    return tuple(max(0, min(255, round(channel))) for channel in colour)  # type: ignore[return-value]


class Sheet:
    """A picture in the making; positions count in short sides from its centre, x to the right and y downwards.

    The square from -0.5 to 0.5 is therefore on every sheet, whatever its format, and survives a central crop.
    """

    def __init__(self, width: int, height: int, palette: Palette, rng: np.random.Generator):
        self.image = Image.new("RGB", (width, height), _pixel(palette.dark))
        self.palette = palette
        self.rng = rng
        self.unit = min(width, height)
        self.right, self.bottom = width / 2 / self.unit, height / 2 / self.unit
        self._draw = ImageDraw.Draw(self.image)

    def near(self, value: float, spread: float) -> float:
        """A number at most `spread` from `value`: no two paintings are alike."""
        return value + spread * float(self.rng.uniform(-1, 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[Colour]) -> Colour:
        """One of the colours."""
        return options[int(self.rng.integers(len(options)))]

    def vary(self, colour: Colour, spread: float = 9) -> Colour:
        """The colour as it comes from the brush this time."""
        shift = float(self.rng.uniform(-spread, spread))
        red, green, blue = (channel + shift + float(self.rng.uniform(-spread, spread)) / 2 for channel in colour)
        return (red, green, blue)

    def fill(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled outline."""
        self._draw.polygon([self._at(point) for point in points], fill=_pixel(colour))

    def oval(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A filled ellipse around a point."""
        self._draw.ellipse(self._box(x, y, half_width, half_height), fill=_pixel(colour))

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float) -> None:
        """A circle's line."""
        self._draw.ellipse(self._box(x, y, radius, radius), outline=_pixel(colour), width=self._thick(width))

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line with round ends and bends."""
        thick = self._thick(width)
        path = [self._at(point) for point in points]
        self._draw.line(path, fill=_pixel(colour), width=thick, joint="curve")
        if thick > 3:
            radius = thick / 2
            for x, y in (path[0], path[-1]):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_pixel(colour))

    def band(self, upper: float, lower: float, first: Colour, last: Colour) -> None:
        """A horizontal band over the whole width whose colour runs from the first to the last."""
        start, stop = round((upper + self.bottom) * self.unit), round((lower + self.bottom) * self.unit)
        for row in range(max(0, start), min(self.image.height, stop)):
            colour = mix(first, last, (row - start) / max(1, stop - start))
            self._draw.line(((0, row), (self.image.width, row)), fill=_pixel(colour))

    def glow(self, x: float, y: float, half_width: float, half_height: float, colour: Colour, strength: float) -> None:
        """Light, or with a dark colour shadow, that fades from a point outwards."""
        box = [round(edge) for edge in self._box(x, y, half_width, half_height)]
        size = (max(2, box[2] - box[0]), max(2, box[3] - box[1]))
        fade = (
            Image.radial_gradient("L").resize(size).point(lambda depth: round(max(0, 255 - depth * 1.42) * strength))
        )
        self.image.paste(_pixel(colour), (box[0], box[1]), fade)

    def ball(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A round body lit from the upper left."""
        dark, light = mix(colour, self.palette.dark, 0.5), mix(colour, self.palette.light, 0.55)
        for step in range(6):
            share = step / 5
            size = 1 - 0.75 * share
            tone = mix(dark, colour, share * 2) if share < 0.5 else mix(colour, light, share * 2 - 1)
            drift = 0.3 * share
            self.oval(x - drift * half_width, y - drift * half_height, half_width * size, half_height * size, tone)

    def blob(self, x: float, y: float, radius: float, colour: Colour, bumps: int = 9) -> None:
        """An uneven round patch, such as a crown of leaves or a hill of cloud."""
        for _ in range(bumps):
            angle, reach = self.rng.uniform(0, 2 * np.pi), radius * float(self.rng.uniform(0.2, 0.65))
            size = radius * float(self.rng.uniform(0.35, 0.6))
            self.oval(
                x + reach * float(np.cos(angle)),
                y + 0.8 * reach * float(np.sin(angle)),
                size,
                size * 0.85,
                self.vary(colour, 14),
            )

    def _at(self, point: Point) -> Point:
        return ((point[0] + self.right) * self.unit, (point[1] + self.bottom) * self.unit)

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        left, top = self._at((x - half_width, y - half_height))
        right, bottom = self._at((x + half_width, y + half_height))
        return (left, top, max(left + 1, right), max(top + 1, bottom))

    def _thick(self, width: float) -> int:
        return max(1, round(width * self.unit))
