"""The miniature's compositions, one function each: from an empty sheet to a picture of its type.

Every function paints a whole sheet from back to front. Nothing in it depends on a label, only on the composition
chosen, the palette and chance.
"""

from itertools import pairwise

import numpy as np

from . import motifs
from .portrait import paint_portrait
from .sheet import Colour, Point, Sheet, mix


def paint_religious(sheet: Sheet) -> None:
    """A Madonna under an arch, or a Crucifixion, with haloed saints."""
    palette = sheet.palette
    upper, lower = mix(palette.gold, palette.sky, 0.4), mix(palette.gold, palette.horizon, 0.4)
    sheet.band(-sheet.bottom, sheet.bottom, upper, lower)
    light = sheet.lighter(palette.gold, 0.5)
    sheet.glow(0, -0.14, 0.62, 0.62, light, 0.75)
    for angle in np.linspace(0, 2 * np.pi, 28, endpoint=False) + sheet.near(0, 0.1):
        across, down = float(np.cos(angle)), float(np.sin(angle))
        ray = [(reach * across, -0.14 + reach * down) for reach in (0.2, 0.9)]
        sheet.line(ray, mix(light, palette.gold, 0.35), 0.006)
    sheet.band(0.36, sheet.bottom, palette.ground, sheet.darker(palette.ground, 0.4))
    first, second, third = sheet.rng.permutation(3).tolist()
    if sheet.right > 0.52 or sheet.chance(0.6):
        for side, robe in ((-1, second), (1, third)):
            saint = sheet.frame(side * sheet.near(0.36, 0.015), 0.47, 0.62)
            motifs.paint_saint(saint, palette.cloth[robe], halo=True)
    if sheet.chance(0.3):
        _crucifixion(sheet)
    else:
        _madonna(sheet.frame(0, 0, 1, sheet.side()), palette.cloth[first], palette.cloth[second])
    _arch(sheet)


def _arch(sheet: Sheet) -> None:
    """A round arch in the upper corners, as on an altarpiece."""
    gold = sheet.palette.gold
    reach, top = sheet.right, -sheet.bottom
    spring = top + min(reach, 0.44)
    angles = np.linspace(np.pi, 1.5 * np.pi, 12)
    curve = [((reach - 0.03) * float(np.cos(a)), spring + (spring - top - 0.025) * float(np.sin(a))) for a in angles]
    for side in (-1, 1):
        half = sheet.frame(0, 0, 1, side)
        half.fill([(-reach - 0.01, spring), *curve, (0.01, top), (-reach - 0.01, top - 0.01)], sheet.darker(gold, 0.5))
        half.ring(-reach + 0.1, top + 0.1, 0.045, sheet.lighter(gold, 0.2), 0.012)
        half.line(curve, sheet.lighter(gold, 0.35), 0.016)
        half.line([(-reach + 0.02, spring), (-reach + 0.02, sheet.bottom)], sheet.darker(gold, 0.15), 0.04)
        half.line([(-reach + 0.014, spring), (-reach + 0.014, sheet.bottom)], sheet.lighter(gold, 0.4), 0.01)


def _madonna(frame: Sheet, mantle: Colour, gown: Colour) -> None:
    palette = frame.palette
    motifs.paint_halo(frame, 0, -0.21, 0.15)
    left = [(-0.36, 0.52), (-0.3, 0.26), (-0.2, 0.02), (-0.13, -0.1), (-0.105, -0.22), (-0.05, -0.31)]
    frame.fill([*left, *((-x, y) for x, y in reversed(left))], mantle, smooth=True)
    frame.fill([(-0.06, -0.1), (0.06, -0.1), (0.1, 0.1), (0.14, 0.5), (-0.14, 0.5), (-0.1, 0.1)], gown, smooth=True)
    for x in np.linspace(-0.28, 0.28, 7).tolist():
        tone = frame.darker(mantle, 0.4) if x > -0.05 else frame.lighter(mantle, 0.28)
        frame.line([(x * 0.5, 0.04), (x * 0.75, 0.25), (x, 0.5)], tone, 0.013, smooth=True)
    frame.line([left[3], (-0.09, 0.1), (-0.15, 0.5)], palette.gold, 0.01, smooth=True)
    motifs.paint_head(frame.frame(0.01, -0.2, 0.068), mantle, veil=True)
    motifs.paint_halo(frame, 0.12, -0.05, 0.078)
    frame.ball(0.105, 0.1, 0.062, 0.09, frame.lighter(palette.flesh, 0.5))
    motifs.paint_head(frame.frame(0.112, -0.045, 0.043), frame.darker(palette.gold, 0.4))
    frame.line([(-0.15, 0.05), (-0.05, 0.17), (0.1, 0.17)], frame.lighter(mantle, 0.18), 0.06, smooth=True)
    frame.oval(0.12, 0.165, 0.03, 0.02, palette.flesh)


def _crucifixion(sheet: Sheet) -> None:
    palette = sheet.palette
    wood = sheet.darker(palette.ground, 0.55)
    sheet.line([(0, -0.47), (0, 0.42)], wood, 0.06)
    sheet.line([(-0.28, -0.29), (0.28, -0.29)], wood, 0.055)
    sheet.blob(0, 0.44, 0.13, sheet.darker(palette.stone, 0.3))
    motifs.paint_halo(sheet, 0, -0.31, 0.1)
    for tone, shift in ((sheet.darker(palette.flesh, 0.4), 0.01), (palette.flesh, 0.0)):
        arms = [(-0.24, -0.3), (-0.1, -0.23), (0, -0.21), (0.1, -0.23), (0.24, -0.3)]
        sheet.line([(x + shift, y) for x, y in arms], tone, 0.034, smooth=True)
        torso = [(-0.075, -0.22), (0.075, -0.22), (0.05, -0.06), (0.06, 0.04), (-0.05, 0.04), (-0.045, -0.06)]
        sheet.fill([(x + shift, y) for x, y in torso], tone, smooth=True)
        sheet.line([(shift, 0.02), (0.025 + shift, 0.18), (shift, 0.34)], tone, 0.055, smooth=True)
    sheet.fill([(-0.07, 0), (0.075, -0.01), (0.1, 0.11), (0.0, 0.08), (-0.06, 0.1)], palette.light, smooth=True)
    motifs.paint_head(sheet.frame(0.01, -0.3, 0.048), sheet.darker(palette.ground, 0.7))


def paint_landscape(sheet: Sheet) -> None:
    """A wide sky over trees and a river, or over the sea."""
    palette = sheet.palette
    horizon = sheet.near(0.08, 0.06)
    _sky(sheet, horizon)
    if sheet.chance(0.35):
        _sea(sheet, horizon)
        for _ in range(int(sheet.rng.integers(2, 5))):
            size = sheet.near(0.15, 0.06)
            boat = sheet.frame(sheet.near(0, 0.42), horizon + size * sheet.near(0.9, 0.4), size, sheet.side())
            motifs.paint_ship(boat, has_guns=False)
        return
    for step, share in enumerate((0.0, 0.35, 0.7)):
        tone = mix(mix(palette.distance, palette.horizon, 0.25), palette.foliage, share)
        _hills(sheet, horizon + 0.06 * step, 0.05, sheet.vary(tone))
    sheet.band(horizon + 0.16, sheet.bottom, palette.ground, sheet.darker(palette.ground, 0.42))
    _river(sheet, horizon + 0.15)
    for _ in range(int(sheet.rng.integers(3, 6))):
        x, foot = sheet.near(0, sheet.right * 0.9), horizon + sheet.near(0.16, 0.03)
        motifs.paint_tree(sheet.frame(x, foot, sheet.near(0.15, 0.05)))
    side = sheet.side()
    if sheet.chance(0.4):
        motifs.paint_mill(sheet.frame(-side * 0.25, horizon + 0.12, 0.24))
    sheet.glow(side * 0.4, sheet.bottom, 0.6, 0.2, palette.dark, 0.6)
    motifs.paint_tree(sheet.frame(side * sheet.near(0.36, 0.06), 0.42, sheet.near(0.66, 0.07)))


def _sky(sheet: Sheet, horizon: float) -> None:
    palette = sheet.palette
    sheet.band(-sheet.bottom, horizon, palette.sky, palette.horizon)
    sheet.glow(sheet.near(0, 0.3), horizon - 0.03, 0.5, 0.3, palette.light, 0.55)
    for _ in range(int(sheet.rng.integers(4, 8))):
        x, y, size = sheet.near(0, sheet.right), sheet.near(-0.26, 0.2), sheet.near(0.2, 0.09)
        for puff in range(5):
            spread = (puff - 2) * size * 0.4
            cloud = mix(palette.light, palette.horizon, 0.25)
            sheet.glow(x + spread, y + sheet.near(0, 0.02), size * 0.5, size * 0.26, cloud, 0.6)
        sheet.glow(x, y + size * 0.17, size * 0.9, size * 0.1, sheet.darker(palette.sky, 0.3), 0.3)


def _hills(sheet: Sheet, base: float, height: float, colour: Colour) -> None:
    across = np.linspace(-sheet.right - 0.02, sheet.right + 0.02, 24)
    phase, pace = sheet.near(0, 3), sheet.near(6, 2)
    ridge = base - height * (0.5 + 0.5 * np.sin(pace * across + phase) + 0.3 * np.sin(2.7 * pace * across))
    outline = list(zip(across.tolist(), ridge.tolist(), strict=True))
    sheet.fill([*outline, (sheet.right + 0.1, sheet.bottom), (-sheet.right - 0.1, sheet.bottom)], colour)


def _river(sheet: Sheet, top: float) -> None:
    water = mix(sheet.palette.horizon, sheet.palette.sky, 0.35)
    bend, drift, length = sheet.near(0, 0.12), sheet.near(0, 0.15), sheet.bottom - top
    shares = np.linspace(0, 1, 9).tolist()
    middles = [(bend * float(np.sin(3 * share)) + drift * share, top + length * share) for share in shares]
    widths = [0.012 + 0.14 * share**1.6 for share in shares]
    banks = [[(x + side * half, y) for (x, y), half in zip(middles, widths, strict=True)] for side in (-1, 1)]
    sheet.fill([*banks[0], *reversed(banks[1])], water)
    for (x, y), half in list(zip(middles, widths, strict=True))[3::2]:
        sheet.line([(x - half * 0.7, y), (x + half * 0.5, y)], sheet.lighter(water, 0.5), 0.008)


def _sea(sheet: Sheet, horizon: float) -> None:
    palette = sheet.palette
    water = mix(palette.sky, palette.distance, 0.4)
    sheet.band(horizon, sheet.bottom, mix(water, palette.horizon, 0.45), sheet.darker(water, 0.5))
    for _ in range(70):
        depth = float(sheet.rng.random()) ** 0.8
        x, y = sheet.near(0, sheet.right), horizon + 0.01 + depth * (sheet.bottom - horizon)
        length = 0.03 + 0.09 * depth
        tone = mix(water, palette.light if sheet.chance(0.55) else palette.dark, 0.42)
        sheet.line([(x, y), (x + length / 2, y - 0.008 * depth), (x + length, y)], tone, 0.005 + 0.006 * depth)


def paint_mythological(sheet: Sheet) -> None:
    """Nymphs and drapery before a temple, or a goddess on her shell."""
    palette = sheet.palette
    horizon = sheet.near(0.08, 0.03)
    _sky(sheet, horizon)
    side = sheet.side()
    if sheet.chance(0.35):
        _sea(sheet, horizon)
        for attendant in (-1, 1):
            motifs.paint_nymph(sheet.frame(attendant * sheet.near(0.35, 0.02), 0.34, 0.46, attendant))
        shell = mix(palette.light, palette.cloth[0], 0.3)
        angles = np.linspace(np.pi, 2 * np.pi, 15)
        rim = [(0.34 * float(np.cos(angle)), 0.45 + 0.16 * float(np.sin(angle))) for angle in angles]
        sheet.fill(rim, shell)
        for tip in rim[1:-1:2]:
            sheet.line([(0, 0.45), tip], sheet.darker(shell, 0.35), 0.01)
        motifs.paint_nymph(sheet.frame(0, 0.42, 0.82, side))
        return
    _hills(sheet, horizon, 0.05, mix(palette.distance, palette.foliage, 0.3))
    sheet.band(horizon + 0.04, sheet.bottom, palette.ground, sheet.darker(palette.ground, 0.3))
    motifs.paint_temple(sheet.frame(side * 0.22, horizon + 0.08, 0.52))
    motifs.paint_tree(sheet.frame(-side * (sheet.right - 0.08), 0.3, 0.7))
    for index in range(3):
        x, foot = (index - 1) * 0.25 - side * 0.05 + sheet.near(0, 0.02), sheet.near(0.45, 0.02)
        sheet.glow(x, foot, 0.13, 0.03, palette.dark, 0.5)
        motifs.paint_nymph(sheet.frame(x, foot, sheet.near(0.52, 0.03), 1 if index % 2 else -1))


def paint_genre(sheet: Sheet) -> None:
    """Company at a table, with jugs and hats, by the light of one side."""
    palette = sheet.palette
    wall = sheet.darker(mix(palette.stone, palette.ground, 0.5), 0.3)
    sheet.band(-sheet.bottom, 0.3, wall, sheet.darker(wall, 0.25))
    sheet.band(0.3, sheet.bottom, sheet.darker(palette.ground, 0.35), sheet.darker(palette.ground, 0.6))
    sheet.glow(-0.45, -0.3, 0.8, 0.65, palette.light, 0.5)
    sheet.line([(-sheet.right, -0.37), (sheet.right, -0.37)], sheet.darker(wall, 0.5), 0.03)
    for x in (-0.34, -0.12, 0.2, 0.42):
        sheet.ball(x + sheet.near(0, 0.05), -0.425, 0.035, 0.04, mix(palette.gold, palette.stone, 0.4))
    people = 4 if sheet.right > 0.6 else 3
    for index in range(people):
        x, foot = (index - (people - 1) / 2) * 0.27 + sheet.near(0, 0.02), 0.33 + sheet.near(0, 0.02)
        drinker = sheet.frame(x, foot, sheet.near(0.6, 0.04), sheet.side())
        motifs.paint_drinker(drinker, palette.cloth[(index + people) % 3])
    board = mix(palette.ground, palette.gold, 0.4)
    for leg in (-0.42, 0.42):
        sheet.line([(leg, 0.3), (leg, 0.52)], sheet.darker(board, 0.6), 0.045)
    sheet.fill([(-0.44, 0.2), (0.44, 0.2), (0.52, 0.28), (-0.52, 0.28)], sheet.lighter(board, 0.3))
    sheet.box(-0.52, 0.28, 0.52, 0.32, sheet.darker(board, 0.5))
    for x in (-0.3, -0.02, 0.27):
        x += sheet.near(0, 0.05)
        sheet.glow(x + 0.03, 0.255, 0.08, 0.02, palette.dark, 0.5)
        paint = motifs.paint_jug if sheet.chance(0.6) else motifs.paint_glass
        paint(sheet.frame(x, 0.255, sheet.near(0.12, 0.015)))


def paint_still_life(sheet: Sheet) -> None:
    """Fruit, vessels and flowers on a table with a cloth."""
    palette = sheet.palette
    back = sheet.darker(palette.stone, 0.75)
    sheet.band(-sheet.bottom, 0.2, sheet.darker(back, 0.3), back)
    sheet.glow(-0.35, -0.2, 0.7, 0.6, sheet.lighter(back, 0.4), 0.45)
    edge = sheet.near(0.17, 0.03)
    linen = sheet.lighter(palette.stone, 0.85)
    sheet.band(edge, edge + 0.15, mix(linen, palette.stone, 0.3), linen)
    sheet.band(edge + 0.15, sheet.bottom, sheet.darker(linen, 0.25), sheet.darker(linen, 0.6))
    for x in (np.arange(-sheet.right, sheet.right, 0.085) + sheet.near(0, 0.03)).tolist():
        fold = [(x, edge + 0.16), (x + sheet.near(0, 0.02), sheet.bottom)]
        sheet.line(fold, sheet.darker(linen, sheet.near(0.5, 0.12)), 0.016)
    side = sheet.side()
    if sheet.chance(0.55):
        motifs.paint_bouquet(sheet.frame(-side * 0.15, edge + 0.06, 0.58))
    else:
        motifs.paint_jug(sheet.frame(-side * 0.2, edge + 0.07, sheet.near(0.46, 0.05)))
    motifs.paint_glass(sheet.frame(side * 0.28, edge + 0.06, sheet.near(0.34, 0.04)))
    _fruit(sheet.frame(side * 0.06, edge, 1))
    ripe = _ripe(sheet)
    for _ in range(4):
        sheet.ball(sheet.near(-side * 0.28, 0.12), edge + sheet.near(0.125, 0.015), 0.036, 0.036, sheet.pick(ripe))


def _fruit(frame: Sheet) -> None:
    """A plate of fruit on the edge of the table."""
    frame.glow(0.02, 0.12, 0.28, 0.05, frame.palette.dark, 0.5)
    frame.oval(0, 0.11, 0.25, 0.045, frame.darker(frame.palette.stone, 0.3))
    frame.oval(0, 0.1, 0.24, 0.038, frame.lighter(frame.palette.stone, 0.5))
    ripe = _ripe(frame)
    for x, y in ((-0.12, 0.05), (0.12, 0.05), (0.0, 0.055), (-0.06, -0.025), (0.06, -0.025), (0.0, -0.09)):
        size = frame.near(0.068, 0.008)
        frame.ball(x, y, size, size, frame.vary(frame.pick(ripe), 12))
    frame.line([(0.0, -0.15), (0.02, -0.19)], frame.darker(frame.palette.foliage, 0.3), 0.01)
    frame.fill([(0.02, -0.18), (0.07, -0.21), (0.11, -0.19), (0.06, -0.17)], frame.palette.foliage, smooth=True)


def _ripe(sheet: Sheet) -> tuple[Colour, ...]:
    return (*sheet.palette.cloth, sheet.palette.gold, mix(sheet.palette.foliage, sheet.palette.gold, 0.4))


def paint_interior(sheet: Sheet) -> None:
    """A room in perspective: chequered floor, leaded window, open door, a picture on the wall."""
    palette = sheet.palette
    room = sheet.frame(0.06, 0, 1, sheet.side())  # the window is on the left of the room, the door on its right
    wall, beam = sheet.lighter(palette.stone, 0.15), sheet.darker(palette.ground, 0.65)
    floor, wide = 0.12, sheet.right + 0.08
    sheet.band(-sheet.bottom, floor, sheet.darker(wall, 0.2), wall)
    _chequers(room, floor)
    room.fill([(-wide, -sheet.bottom), (-0.22, -0.3), (-0.22, floor), (-wide, sheet.bottom)], sheet.darker(wall, 0.42))
    room.fill([(-wide, -sheet.bottom), (wide, -sheet.bottom), (0.3, -0.3), (-0.22, -0.3)], mix(beam, wall, 0.3))
    room.fill([(wide, -sheet.bottom), (0.3, -0.3), (0.3, floor), (wide, sheet.bottom)], sheet.darker(wall, 0.12))
    for x in np.linspace(-0.8, 0.8, 7).tolist():
        room.line([(x * 0.3, -0.3), (x * 1.1, -sheet.bottom)], beam, 0.02)
    _window(room, wide, floor)
    room.box(0.06, -0.17, 0.22, floor, sheet.darker(palette.ground, 0.6))
    room.box(0.09, -0.13, 0.22, floor, mix(palette.horizon, palette.light, 0.4))
    room.box(-0.15, -0.21, -0.01, -0.08, palette.gold)
    room.box(-0.13, -0.19, -0.03, -0.1, sheet.darker(palette.distance, 0.3))
    room.glow(-0.12, 0.34, 0.36, 0.16, palette.light, 0.45)
    if sheet.chance(0.6):
        motifs.paint_saint(room.frame(sheet.near(0.16, 0.06), 0.35, 0.42), sheet.pick(palette.cloth), halo=False)


def _chequers(room: Sheet, floor: float) -> None:
    palette = room.palette
    pale, deep = mix(palette.light, palette.stone, 0.3), mix(palette.dark, palette.ground, 0.25)
    depth = room.bottom + 0.02 - floor
    rows = [floor + depth * share for share in (0, 0.09, 0.2, 0.35, 0.55, 0.8, 1.1)]

    def corner(column: int, y: float) -> Point:
        return (column * 0.075 * (1 + 3.4 * (y - floor) / depth), y)

    for row, (upper, lower) in enumerate(pairwise(rows)):
        for column in range(-13, 13):
            tile = [corner(column, upper), corner(column + 1, upper), corner(column + 1, lower), corner(column, lower)]
            room.fill(tile, room.vary(pale if (row + column) % 2 else deep, 5))


def _window(room: Sheet, wide: float, floor: float) -> None:
    """A leaded window in the left wall, which runs from x = -0.22 at the back to `-wide` in front."""
    bright = mix(room.palette.light, room.palette.horizon, 0.3)

    def at(depth: float, height: float) -> Point:
        top, foot = -0.3 + (-room.bottom + 0.3) * depth, floor + (room.bottom - floor) * depth
        return (-0.22 - (wide - 0.22) * depth, foot + (top - foot) * height)

    room.fill([at(0.12, 0.38), at(0.8, 0.38), at(0.8, 0.86), at(0.12, 0.86)], bright)
    lead = room.darker(room.palette.ground, 0.7)
    for height in (0.38, 0.54, 0.7, 0.86):
        room.line([at(0.12, height), at(0.8, height)], lead, 0.012)
    for depth in (0.12, 0.3, 0.53, 0.8):
        room.line([at(depth, 0.38), at(depth, 0.86)], lead, 0.012)


def paint_historical(sheet: Sheet) -> None:
    """A battle at sea, or lances and banners on a field, in smoke."""
    palette = sheet.palette
    horizon = sheet.near(0.08, 0.03)
    sheet.band(-sheet.bottom, horizon, sheet.darker(palette.sky, 0.25), mix(palette.horizon, palette.cloth[1], 0.15))
    _smoke(sheet, horizon, 7)
    side = sheet.side()
    if sheet.chance(0.5):
        _sea(sheet, horizon)
        for x, y, size in ((-0.36, 0.12, 0.24), (0.38, 0.14, 0.26), (0.02, 0.34, 0.5)):
            motifs.paint_ship(sheet.frame(x + sheet.near(0, 0.04), horizon + y, size, side), has_guns=True)
        _smoke(sheet, 0.34, 3)
        return
    sheet.band(horizon + 0.02, sheet.bottom, palette.ground, sheet.darker(palette.ground, 0.5))
    for x in np.linspace(-0.66, 0.66, 21).tolist():
        lance = [(x, 0.15), (x + side * sheet.near(0.12, 0.05), sheet.near(-0.3, 0.07))]
        sheet.line(lance, sheet.darker(palette.ground, 0.7), 0.012)
    for x in (-0.4, -0.1, 0.2, 0.5)[: 4 if sheet.right > 0.6 else 3]:
        motifs.paint_banner(sheet.frame(x + sheet.near(0, 0.04), 0.2, sheet.near(0.6, 0.05), side))
    for count, foot, size in ((11, 0.2, 0.13), (8, 0.31, 0.18), (6, 0.46, 0.25)):
        for index in range(count):
            x = ((index + 0.5) / count - 0.5) * 1.35 + sheet.near(0, 0.02)
            motifs.paint_soldier(sheet.frame(x, foot + sheet.near(0, 0.01), size))
    _smoke(sheet, 0.5, 2)


def _smoke(sheet: Sheet, y: float, clouds: int) -> None:
    for _ in range(clouds):
        tone, size = mix(sheet.palette.light, sheet.palette.stone, sheet.near(0.4, 0.3)), sheet.near(0.2, 0.07)
        sheet.glow(sheet.near(0, 0.5), y - sheet.near(0.14, 0.12), size, size * 0.7, tone, 0.65)


COMPOSITIONS = {
    "religious": paint_religious,
    "portrait": paint_portrait,
    "landscape": paint_landscape,
    "mythological": paint_mythological,
    "genre": paint_genre,
    "still-life": paint_still_life,
    "interior": paint_interior,
    "historical": paint_historical,
}
