"""What the miniature is drawn on and with: palettes, a sheet with its own units, and drawings written as text."""

import copy
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

Colour = tuple[float, ...]
Point = tuple[float, float]
# A column is a palette; a row how far its varnish pulls a finished picture towards its shadow, tone and light, or the
# colour of a part of every composition.
_NAMES, _PULLS, *_COLOURS = """
    palette  gilded    clear     tenebrist silvery   pastel    sunset    sunlit
    varnish  0.34      0.26      0.3       0.42      0.28      0.36      0.22
    sky      cf9a2c    6fa6d6    1b130e    8a979b    a3c9ee    1f4660    4aa0ea
    horizon  f0cf72    e4eff2    46301a    d3d2c2    fbdde2    f58a34    dff0ff
    ground   8a6a34    7f9a6e    2c1d12    756f50    b7d09a    3a2c28    84c63c
    distance b98f45    a5c6cf    52381e    9aa096    c9d9e2    93502f    7fbfd8
    foliage  4f6330    4f8a68    343019    5c6647    93bb88    2f3d33    3fa24a
    stone    d8b878    d9d2c8    7a5d3a    b0aa94    ecd9d2    8f6a58    e9def2
    dark     3b2013    2e3c5c    0b0705    2b302f    7d5a80    171b28    3a34a4
    tone     c08a35    a3b8bd    5e371c    8e8d7e    eab8c6    b0552c    74bf8a
    light    fbeab4    fdf8ee    f9d694    ecebdf    fffaf4    ffd98a    fffdea
    flesh    e3b184    efc6a8    dd9a62    d3b595    f9d0bf    e0986a    ffc49c
    gold     e9bd48    e3c878    d39a3a    b59f68    ecc878    ffb347    ffd93b
    cloth0   23408f    d0607c    9c1f18    3d5c78    ee8aa6    14707a    7d52cc
    cloth1   c2321f    2a6fb8    b5772a    98733f    86b4e0    cc4f1a    ff7448
    cloth2   3f6a3c    e6c65a    d6c5a2    c8bfa4    f5d888    ecc48c    ffe23c
""".strip().splitlines()
VARNISH = dict(zip(_NAMES.split()[1:], map(float, _PULLS.split()[1:]), strict=True))
PALETTES: dict[str, dict[str, Colour]] = {
    name: {row[0]: ImageColor.getrgb(f"#{row[column]}") for row in map(str.split, _COLOURS)}
    for column, name in enumerate(VARNISH, 1)
}
# A drawing is a row of gestures: a method of `Sheet` or another drawing, a colour (`own` is the caller's), and numbers
# in hundredths. `line` and `bend` begin with their width; a 2 after a gesture repeats it mirrored. People, trees and
# things stand on the origin and are 100 high; heads, faces and what goes with them lie around it.
_TEXT = (Path(__file__).parent / "drawings.txt").read_text("utf-8")
DRAWINGS = dict(drawing.split(":", 1) for drawing in re.split(r"\n(?=\w)", _TEXT.strip()))
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
    path = [(x, y) for x, y in curve.reshape(-1, 2).tolist()]
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

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def side(self) -> int:
        """Left (-1) or right (1)."""
        return 1 if self.chance(0.5) else -1

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
                    points = list(zip(numbers[::2], numbers[1::2], strict=True))
                    frame.fill(points, colour, smooth=kind == "curve")
                elif kind in ("line", "bend"):  # its width comes before its points
                    points = list(zip(numbers[1::2], numbers[2::2], strict=True))
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

    def _at(self, point: Point) -> Point:
        return (self._origin[0] + self._turn * point[0] * self._unit, self._origin[1] + point[1] * self._unit)

    def _around(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        """The box around a point, in pixels and at least one pixel wide and high."""
        across, down = self._at((x, y))
        half_width, half_height = max(0.5, half_width * self._unit), max(0.5, half_height * self._unit)
        return (across - half_width, down - half_height, across + half_width, down + half_height)
