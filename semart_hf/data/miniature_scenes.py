"""The miniature's compositions, one function each: from a shared palette to a picture of its type.

Every function paints a whole sheet from back to front. Nothing in it depends on a label, only on the composition
chosen, the palette and chance.
"""

from collections.abc import Callable

import numpy as np

from .miniature_sheet import Colour, Sheet, mix


def paint_religious(sheet: Sheet) -> None:
    """A Madonna under an arch, or a Crucifixion, with haloed saints."""
    palette = sheet.palette
    sheet.band(
        -sheet.bottom, sheet.bottom, mix(palette.gold, palette.sky, 0.45), mix(palette.gold, palette.horizon, 0.4)
    )
    _rays(sheet, -0.12)
    sheet.band(0.36, sheet.bottom, palette.ground, mix(palette.ground, palette.dark, 0.4))
    robes = list(palette.cloth)
    sheet.rng.shuffle(robes)
    if sheet.right > 0.56 or sheet.chance(0.5):
        for side in (-1, 1):
            _figure(sheet, side * sheet.near(0.345, 0.02), 0.47, 0.62, robes[2 if side > 0 else 1], halo=True)
    if sheet.chance(0.3):
        wood = mix(palette.dark, palette.ground, 0.4)
        sheet.line([(0, -0.46), (0, 0.42)], wood, 0.06)
        sheet.line([(-0.26, -0.27), (0.26, -0.27)], wood, 0.055)
        _crucified(sheet)
    else:
        _madonna(sheet, robes[0], robes[1])
    _arch(sheet)


def _rays(sheet: Sheet, centre: float) -> None:
    light = mix(sheet.palette.gold, sheet.palette.light, 0.5)
    sheet.glow(0, centre, 0.62, 0.62, light, 0.75)
    for angle in np.linspace(0, 2 * np.pi, 28, endpoint=False) + sheet.near(0, 0.1):
        sheet.line(
            [(0.2 * np.cos(angle), centre + 0.2 * np.sin(angle)), (0.9 * np.cos(angle), centre + 0.9 * np.sin(angle))],
            mix(light, sheet.palette.gold, 0.35),
            0.006,
        )


def _arch(sheet: Sheet) -> None:
    """A round arch in the spandrels of the sheet, as on an altarpiece."""
    palette = sheet.palette
    frame = mix(palette.gold, palette.dark, 0.45)
    reach, top = sheet.right, -sheet.bottom
    spring = top + min(reach, 0.46)
    angles = np.linspace(np.pi, 2 * np.pi, 24)
    curve = [((reach - 0.035) * np.cos(a), spring + (spring - top - 0.03) * np.sin(a)) for a in angles]
    for side in (curve[:12], curve[12:]):
        corner = (-reach if side[0][0] < 0 else reach, top)
        edge = [(corner[0], spring), *side] if corner[0] < 0 else [*side, (corner[0], spring)]
        sheet.fill([corner, *edge] if corner[0] < 0 else [*edge, corner], frame)
    sheet.line(curve, mix(palette.gold, palette.light, 0.3), 0.016)
    for x in (-reach + 0.02, reach - 0.02):
        sheet.line([(x, spring), (x, sheet.bottom)], mix(palette.gold, palette.light, 0.15), 0.028)


def _halo(sheet: Sheet, x: float, y: float, radius: float) -> None:
    gold = mix(sheet.palette.gold, sheet.palette.light, 0.55)
    sheet.oval(x, y, radius, radius, gold)
    sheet.ring(x, y, radius, mix(sheet.palette.gold, sheet.palette.dark, 0.45), 0.009)
    sheet.ring(x, y, radius * 0.82, mix(sheet.palette.gold, sheet.palette.dark, 0.2), 0.005)


def _madonna(sheet: Sheet, mantle: Colour, gown: Colour) -> None:
    palette = sheet.palette
    side = -1 if sheet.chance(0.5) else 1
    lean = sheet.near(0, 0.015)
    _halo(sheet, lean, -0.2, 0.15)
    base = [(-0.34, 0.5), (-0.27, 0.2), (-0.17, -0.02), (-0.105, -0.16), (-0.06, -0.29), (0.06, -0.29), (0.105, -0.16)]
    sheet.fill([*base, (0.17, -0.02), (0.27, 0.2), (0.34, 0.5)], mantle)
    sheet.fill([(-0.06, -0.1), (0.06, -0.1), (0.1, 0.1), (0.13, 0.5), (-0.13, 0.5), (-0.1, 0.1)], gown)
    for x in np.linspace(-0.28, 0.28, 7):
        tone = mix(mantle, palette.dark if x > -0.05 else palette.light, 0.35)
        sheet.line([(x * 0.45, 0.0), (x * 0.8, 0.25), (x, 0.5)], tone, 0.012)
    _head(sheet, lean, -0.19, 0.068, mantle, veil=True)
    x, y = side * 0.1, 0.06
    _halo(sheet, x + side * 0.01, y - 0.1, 0.078)
    sheet.ball(x, y + 0.05, 0.06, 0.085, mix(palette.light, palette.flesh, 0.45))
    _head(sheet, x + side * 0.008, y - 0.1, 0.042, mix(palette.gold, palette.dark, 0.4))
    sheet.line([(side * -0.15, 0.05), (side * -0.03, 0.16), (x, y + 0.12)], mix(mantle, palette.light, 0.18), 0.06)
    sheet.oval(x, y + 0.13, 0.03, 0.018, palette.flesh)


def _crucified(sheet: Sheet) -> None:
    flesh, dark = sheet.palette.flesh, sheet.palette.dark
    _halo(sheet, 0, -0.3, 0.1)
    shade = mix(flesh, dark, 0.3)
    for tone, shift in ((shade, 0.008), (flesh, 0)):
        sheet.line([(-0.22 + shift, -0.29), (-0.06, -0.2), (0.06, -0.2), (0.22 + shift, -0.29)], tone, 0.036)
        sheet.line([(shift, -0.2), (shift, 0.02)], tone, 0.1)
        sheet.line([(0.01 + shift, 0.02), (0.03 + shift, 0.18), (shift, 0.33)], tone, 0.055)
    sheet.fill([(-0.07, -0.02), (0.075, -0.03), (0.1, 0.1), (0.0, 0.07), (-0.06, 0.09)], sheet.palette.light)
    _head(sheet, 0.01, -0.29, 0.048, mix(dark, sheet.palette.ground, 0.3))


def _head(sheet: Sheet, x: float, y: float, size: float, hair: Colour, *, veil: bool = False) -> None:
    """A head of half-width `size`, seen from the front, lit from the left."""
    palette = sheet.palette
    sheet.oval(x, y - size * 0.15, size * 1.18, size * 1.42, hair)
    if veil:
        sheet.fill(
            [
                (x - size * 1.18, y),
                (x + size * 1.18, y),
                (x + size * 1.7, y + size * 2.3),
                (x - size * 1.7, y + size * 2.3),
            ],
            hair,
        )
    shade = mix(palette.flesh, palette.dark, 0.32)
    sheet.oval(x, y + size * 0.08, size * 0.86, size * 1.12, shade)
    sheet.oval(x - size * 0.1, y + size * 0.04, size * 0.74, size * 1.04, palette.flesh)
    sheet.oval(x - size * 0.3, y - size * 0.15, size * 0.34, size * 0.5, mix(palette.flesh, palette.light, 0.4))
    ink = mix(palette.dark, palette.flesh, 0.2)
    for eye in (-0.36, 0.28):
        sheet.oval(x + size * eye, y - size * 0.05, size * 0.13, size * 0.08, ink)
    sheet.line([(x - size * 0.03, y), (x + size * 0.06, y + size * 0.36)], shade, size * 0.12)
    sheet.line(
        [(x - size * 0.22, y + size * 0.62), (x + size * 0.18, y + size * 0.62)],
        mix(palette.cloth[0], shade, 0.5),
        size * 0.14,
    )


def _figure(sheet: Sheet, x: float, foot: float, height: float, robe: Colour, *, halo: bool = False) -> None:
    """A standing figure in a long robe."""
    palette = sheet.palette
    head, top = height * 0.085, foot - height
    neck = top + head * 2.5
    if halo:
        _halo(sheet, x, top + head * 1.2, head * 1.9)
    width = height * 0.17
    robe = sheet.vary(robe)
    sheet.fill(
        [
            (x - width, foot),
            (x - width * 0.72, foot - height * 0.4),
            (x - width * 0.78, neck + head * 0.8),
            (x - head * 0.5, neck - head * 0.2),
            (x + head * 0.5, neck - head * 0.2),
            (x + width * 0.78, neck + head * 0.8),
            (x + width * 0.72, foot - height * 0.4),
            (x + width, foot),
        ],
        robe,
    )
    for share in (-0.6, -0.2, 0.25, 0.65):
        tone = mix(robe, palette.light if share < 0 else palette.dark, 0.33)
        sheet.line([(x + share * width * 0.5, neck + height * 0.2), (x + share * width, foot)], tone, height * 0.02)
    sleeve = mix(robe, palette.dark, 0.22)
    hand = neck + height * 0.26
    for side in (-1, 1):
        sheet.line(
            [
                (x + side * width * 0.7, neck + head),
                (x + side * width * 0.75, neck + height * 0.2),
                (x + side * width * 0.15, hand),
            ],
            sleeve,
            height * 0.055,
        )
    sheet.oval(x, hand, head * 0.45, head * 0.4, palette.flesh)
    _head(sheet, x, top + head * 1.35, head, sheet.vary(mix(palette.dark, palette.ground, 0.4), 20))


def paint_portrait(sheet: Sheet) -> None:
    """A bust against a dark ground."""
    palette = sheet.palette
    ground = mix(palette.dark, palette.ground, sheet.near(0.25, 0.12))
    sheet.band(-sheet.bottom, sheet.bottom, mix(ground, palette.distance, 0.12), mix(ground, palette.dark, 0.5))
    turn = -1 if sheet.chance(0.5) else 1
    sheet.glow(-turn * 0.22, -0.05, 0.62, 0.7, mix(palette.distance, palette.light, 0.15), 0.5)
    coat = sheet.vary(sheet.pick(palette.cloth), 12)
    coat = mix(coat, palette.dark, sheet.near(0.15, 0.15))
    hair = sheet.vary(
        mix(palette.dark, sheet.pick((palette.ground, palette.gold, palette.stone)), sheet.near(0.35, 0.25)), 12
    )
    x, y, size = turn * 0.02, sheet.near(-0.14, 0.03), sheet.near(0.15, 0.012)
    bottom = sheet.bottom + 0.02
    shoulder = y + size * 2.05
    outline = [
        (-0.47, bottom),
        (-0.42, shoulder + 0.14),
        (-0.28, shoulder + 0.03),
        (-0.1, shoulder - 0.06),
        (0.1, shoulder - 0.06),
        (0.28, shoulder + 0.03),
        (0.42, shoulder + 0.14),
        (0.47, bottom),
    ]
    sheet.fill(outline, coat)
    sheet.fill(
        [(0.05, shoulder), (0.28, shoulder + 0.03), (0.42, shoulder + 0.14), (0.47, bottom), (0.1, bottom)],
        mix(coat, palette.dark, 0.38),
    )
    for fold in np.linspace(-0.38, 0.4, 7):
        sheet.line(
            [(fold * 0.6, shoulder + 0.08), (fold, bottom)],
            mix(coat, palette.light if fold < 0 else palette.dark, 0.25),
            0.014,
        )
    if sheet.chance(0.45):
        sheet.oval(x, y - size * 0.1, size * 1.45, size * 1.75, hair)
    sheet.line([(x, y + size * 0.8), (0, shoulder)], mix(palette.flesh, palette.dark, 0.25), size * 0.95)
    _collar(sheet, shoulder, size)
    _large_head(sheet, x, y, size, hair, turn)
    if sheet.chance(0.4):
        _hat(sheet, x, y, size)


def _collar(sheet: Sheet, shoulder: float, size: float) -> None:
    palette = sheet.palette
    linen = mix(palette.light, palette.stone, 0.12)
    kind = sheet.rng.random()
    if kind < 0.35:
        for angle in np.linspace(0, 2 * np.pi, 22, endpoint=False):
            x, y = 1.35 * size * np.cos(angle), shoulder - 0.05 + 0.42 * size * np.sin(angle)
            sheet.oval(x, y, size * 0.26, size * 0.22, mix(linen, palette.dark, 0.12 + 0.18 * (np.cos(angle) > 0)))
        sheet.oval(0, shoulder - 0.06, size * 1.25, size * 0.38, linen)
    elif kind < 0.7:
        sheet.fill(
            [
                (-0.17, shoulder - 0.03),
                (0, shoulder - 0.09),
                (0.17, shoulder - 0.03),
                (0.05, shoulder + 0.04),
                (0, shoulder + 0.15),
                (-0.05, shoulder + 0.04),
            ],
            linen,
        )
    else:
        sheet.fill(
            [(-0.15, shoulder - 0.04), (0.15, shoulder - 0.04), (0.1, shoulder + 0.08), (-0.1, shoulder + 0.08)],
            palette.flesh,
        )
        for bead in np.linspace(-0.12, 0.12, 9):
            sheet.ball(bead, shoulder + 0.06 - bead * bead * 2.4, 0.014, 0.014, palette.light)


def _large_head(sheet: Sheet, x: float, y: float, size: float, hair: Colour, turn: int) -> None:
    """A portrait's head, turned a little to one side."""
    palette = sheet.palette
    sheet.oval(x, y - size * 0.22, size * 1.1, size * 1.32, hair)
    shade, light = mix(palette.flesh, palette.dark, 0.36), mix(palette.flesh, palette.light, 0.45)
    sheet.oval(x, y + size * 0.1, size * 0.86, size * 1.14, shade)
    for share in np.linspace(0, 1, 5):
        tone = mix(mix(shade, palette.flesh, 0.45), palette.flesh, share)
        sheet.oval(
            x - (0.06 + 0.1 * share) * size,
            y + size * 0.08,
            size * (0.8 - 0.16 * share),
            size * (1.1 - 0.14 * share),
            tone,
        )
    sheet.glow(x - size * 0.3, y - size * 0.25, size * 0.55, size * 0.6, light, 0.75)
    sheet.glow(x - size * 0.38, y + size * 0.35, size * 0.35, size * 0.3, palette.cloth[0], 0.22)
    look = turn * size * 0.1
    ink = mix(palette.dark, palette.ground, 0.15)
    for eye in (-0.38, 0.3):
        centre = x + look + size * eye
        sheet.oval(centre, y, size * 0.17, size * 0.09, mix(palette.light, palette.flesh, 0.3))
        sheet.oval(centre + look * 0.2, y, size * 0.085, size * 0.09, ink)
        sheet.line(
            [(centre - size * 0.2, y - size * 0.17), (centre + size * 0.2, y - size * 0.19)],
            mix(hair, shade, 0.3),
            size * 0.07,
        )
    nose = x + look * 1.6
    sheet.line(
        [
            (nose - size * 0.04, y + size * 0.02),
            (nose + size * 0.08, y + size * 0.4),
            (nose - size * 0.06, y + size * 0.45),
        ],
        mix(shade, palette.flesh, 0.25),
        size * 0.08,
    )
    sheet.line(
        [(x + look - size * 0.26, y + size * 0.7), (x + look + size * 0.2, y + size * 0.69)],
        mix(palette.cloth[0], shade, 0.55),
        size * 0.1,
    )


def _hat(sheet: Sheet, x: float, y: float, size: float) -> None:
    felt = mix(sheet.pick(sheet.palette.cloth), sheet.palette.dark, 0.55)
    brim = sheet.near(1.6, 0.25)
    sheet.oval(x, y - size * 0.78, size * brim, size * 0.3, felt)
    sheet.oval(x, y - size * 1.2, size * 0.98, size * 0.62, mix(felt, sheet.palette.light, 0.07))
    sheet.line(
        [(x - size, y - size * 0.9), (x + size, y - size * 0.9)], mix(sheet.palette.gold, felt, 0.3), size * 0.12
    )


def paint_landscape(sheet: Sheet) -> None:
    """A wide sky over trees and a river, or over the sea."""
    palette = sheet.palette
    horizon = sheet.near(0.08, 0.06)
    _sky(sheet, horizon)
    if sheet.chance(0.35):
        _sea(sheet, horizon)
        for _ in range(int(sheet.rng.integers(2, 5))):
            size = sheet.near(0.14, 0.06)
            _boat(sheet, sheet.near(0, 0.42), horizon + size * sheet.near(0.9, 0.4), size, banner=False)
        return
    for step, share in enumerate((0.0, 0.35, 0.7)):
        base = horizon + 0.06 * step
        tone = mix(mix(palette.distance, palette.horizon, 0.25), palette.foliage, share)
        _hills(sheet, base, 0.05, sheet.vary(tone))
    sheet.band(horizon + 0.16, sheet.bottom, palette.ground, mix(palette.ground, palette.dark, 0.42))
    _river(sheet, horizon + 0.15)
    for _ in range(int(sheet.rng.integers(3, 6))):
        _tree(sheet, sheet.near(0, sheet.right * 0.9), horizon + sheet.near(0.16, 0.03), sheet.near(0.15, 0.05))
    side = -1 if sheet.chance(0.5) else 1
    _tree(sheet, side * sheet.near(0.36, 0.06), 0.42, sheet.near(0.62, 0.08))
    if sheet.chance(0.4):
        _mill(sheet, -side * 0.25, horizon + 0.1, 0.2)


def _sky(sheet: Sheet, horizon: float) -> None:
    palette = sheet.palette
    sheet.band(-sheet.bottom, horizon, palette.sky, palette.horizon)
    sheet.glow(sheet.near(0, 0.3), horizon - 0.03, 0.5, 0.3, palette.light, 0.55)
    for _ in range(int(sheet.rng.integers(4, 8))):
        x, y = sheet.near(0, sheet.right), sheet.near(-0.26, 0.2)
        size = sheet.near(0.2, 0.09)
        for puff in range(5):
            spread = (puff - 2) * size * 0.4
            sheet.glow(
                x + spread,
                y + sheet.near(0, 0.02),
                size * 0.5,
                size * 0.26,
                mix(palette.light, palette.horizon, 0.25),
                0.6,
            )
        sheet.glow(x, y + size * 0.17, size * 0.9, size * 0.1, mix(palette.sky, palette.dark, 0.3), 0.3)


def _hills(sheet: Sheet, base: float, height: float, colour: Colour) -> None:
    xs = np.linspace(-sheet.right - 0.02, sheet.right + 0.02, 24)
    phase, pace = sheet.near(0, 3), sheet.near(6, 2)
    ys = base - height * (0.5 + 0.5 * np.sin(pace * xs + phase)) - 0.3 * height * np.sin(2.7 * pace * xs)
    sheet.fill(
        [*zip(xs, ys, strict=True), (sheet.right + 0.1, sheet.bottom), (-sheet.right - 0.1, sheet.bottom)], colour
    )


def _river(sheet: Sheet, top: float) -> None:
    water = mix(sheet.palette.horizon, sheet.palette.sky, 0.35)
    bend, drift = sheet.near(0, 0.12), sheet.near(0, 0.15)
    left, right = [], []
    for share in np.linspace(0, 1, 9):
        centre = bend * np.sin(3 * share) + drift * share
        half = 0.012 + 0.14 * share**1.6
        y = top + (sheet.bottom - top) * share
        left.append((centre - half, y))
        right.append((centre + half, y))
    sheet.fill([*left, *right[::-1]], water)
    for share in (0.35, 0.55, 0.75, 0.9):
        y = top + (sheet.bottom - top) * share
        sheet.line(
            [(left[int(share * 8)][0] + 0.02, y), (right[int(share * 8)][0] - 0.03, y)],
            mix(water, sheet.palette.light, 0.5),
            0.008,
        )


def _tree(sheet: Sheet, x: float, foot: float, height: float) -> None:
    palette = sheet.palette
    trunk = mix(palette.dark, palette.ground, 0.25)
    lean = sheet.near(0, 0.06) * height
    sheet.line([(x, foot), (x + lean, foot - height * 0.6)], trunk, max(0.008, height * 0.06))
    crown = sheet.vary(palette.foliage, 16)
    for tone, drift in ((mix(crown, palette.dark, 0.45), 0.05), (crown, 0), (mix(crown, palette.light, 0.28), -0.07)):
        size = height * (0.34 if drift >= 0 else 0.24)
        for dx, dy in ((-0.16, 0.6), (0.17, 0.62), (0, 0.8)):
            sheet.blob(x + lean + (dx + drift) * height, foot - (dy - drift * 0.6) * height, size, tone, bumps=7)


def _mill(sheet: Sheet, x: float, foot: float, height: float) -> None:
    palette = sheet.palette
    body = mix(palette.stone, palette.dark, 0.35)
    sheet.fill(
        [
            (x - height * 0.22, foot),
            (x - height * 0.13, foot - height * 0.7),
            (x + height * 0.13, foot - height * 0.7),
            (x + height * 0.22, foot),
        ],
        body,
    )
    sheet.fill(
        [
            (x - height * 0.17, foot - height * 0.68),
            (x, foot - height * 0.9),
            (x + height * 0.17, foot - height * 0.68),
        ],
        mix(body, palette.dark, 0.5),
    )
    angle = sheet.near(0.6, 0.5)
    for quarter in range(4):
        direction = angle + quarter * np.pi / 2
        tip = (x + 0.52 * height * np.cos(direction), foot - height * 0.72 + 0.52 * height * np.sin(direction))
        sheet.line([(x, foot - height * 0.72), tip], mix(palette.dark, palette.light, 0.15), 0.014)


def _sea(sheet: Sheet, horizon: float) -> None:
    palette = sheet.palette
    water = mix(palette.sky, palette.distance, 0.4)
    sheet.band(horizon, sheet.bottom, mix(water, palette.horizon, 0.45), mix(water, palette.dark, 0.5))
    for _ in range(70):
        depth = float(sheet.rng.random()) ** 0.8
        y, x = horizon + 0.01 + depth * (sheet.bottom - horizon), sheet.near(0, sheet.right)
        length = 0.03 + 0.09 * depth
        tone = mix(water, palette.light if sheet.chance(0.55) else palette.dark, 0.42)
        sheet.line([(x, y), (x + length / 2, y - 0.008 * depth), (x + length, y)], tone, 0.005 + 0.006 * depth)


def _boat(sheet: Sheet, x: float, water: float, size: float, *, banner: bool) -> None:
    palette = sheet.palette
    hull = mix(palette.dark, palette.ground, 0.3)
    sheet.fill(
        [
            (x - size * 0.62, water - size * 0.24),
            (x + size * 0.68, water - size * 0.28),
            (x + size * 0.45, water),
            (x - size * 0.42, water),
        ],
        hull,
    )
    sheet.line(
        [(x - size * 0.58, water - size * 0.2), (x + size * 0.62, water - size * 0.23)], palette.gold, size * 0.05
    )
    for mast in (-0.3, 0.05, 0.38) if banner else (0.0,):
        tall = size * (1.25 - abs(mast) * 0.7)
        sheet.line(
            [(x + mast * size, water - size * 0.2), (x + mast * size, water - tall - size * 0.12)],
            hull,
            max(0.006, size * 0.035),
        )
        sail = sheet.vary(mix(palette.light, palette.stone, 0.3), 12)
        width = size * (0.26 if banner else 0.5)
        for upper, lower in ((1.0, 0.66), (0.62, 0.3)) if banner else ((1.0, 0.28),):
            top, foot = water - tall * upper, water - tall * lower
            sheet.fill(
                [
                    (x + mast * size - width * 0.55, top),
                    (x + mast * size + width * 0.6, top),
                    (x + mast * size + width * 0.85, foot),
                    (x + mast * size - width * 0.5, foot),
                ],
                sail,
            )
            sheet.line(
                [(x + mast * size + width * 0.6, top), (x + mast * size + width * 0.8, foot)],
                mix(sail, palette.dark, 0.35),
                size * 0.04,
            )
        if banner:
            flag = sheet.pick(palette.cloth)
            y = water - tall - size * 0.1
            sheet.fill(
                [
                    (x + mast * size, y),
                    (x + mast * size + size * 0.34, y + size * 0.05),
                    (x + mast * size, y + size * 0.13),
                ],
                flag,
            )


def paint_mythological(sheet: Sheet) -> None:
    """Nymphs and drapery before a temple, or a goddess on her shell."""
    palette = sheet.palette
    horizon = sheet.near(0.1, 0.03)
    _sky(sheet, horizon)
    if sheet.chance(0.35):
        _sea(sheet, horizon)
        shell = mix(palette.light, palette.cloth[0], 0.3)
        angles = np.linspace(np.pi, 2 * np.pi, 15)
        sheet.fill([(0.33 * np.cos(a), 0.43 + 0.17 * np.sin(a)) for a in angles], shell)
        for a in angles[1:-1:2]:
            sheet.line([(0, 0.44), (0.32 * np.cos(a), 0.43 + 0.16 * np.sin(a))], mix(shell, palette.dark, 0.35), 0.01)
        _nude(sheet, 0, 0.4, 0.72, 1)
        _nude(sheet, sheet.near(-0.36, 0.02), 0.3, 0.4, 1)
        _nude(sheet, sheet.near(0.37, 0.02), 0.3, 0.4, -1)
        return
    _hills(sheet, horizon, 0.05, mix(palette.distance, palette.foliage, 0.3))
    sheet.band(horizon + 0.04, sheet.bottom, palette.ground, mix(palette.ground, palette.dark, 0.3))
    side = -1 if sheet.chance(0.5) else 1
    _tree(sheet, -side * (sheet.right - 0.06), 0.3, 0.66)
    _temple(sheet, side * 0.2, horizon + 0.09, 0.5)
    for index in range(3):
        _nude(
            sheet,
            (index - 1) * 0.22 - side * 0.08 + sheet.near(0, 0.02),
            sheet.near(0.44, 0.02),
            sheet.near(0.46, 0.03),
            1 if index % 2 else -1,
        )


def _temple(sheet: Sheet, x: float, foot: float, width: float) -> None:
    palette = sheet.palette
    stone, height = mix(palette.stone, palette.light, 0.3), width * 0.85
    shade = mix(palette.stone, palette.dark, 0.45)
    half = width / 2
    sheet.fill(
        [(x - half, foot - height * 0.72), (x + half, foot - height * 0.72), (x + half, foot), (x - half, foot)], shade
    )
    for column in np.linspace(-0.44, 0.44, 5):
        centre = x + column * width
        sheet.line([(centre, foot), (centre, foot - height * 0.68)], stone, width * 0.085)
        sheet.line(
            [(centre + width * 0.025, foot), (centre + width * 0.025, foot - height * 0.68)],
            mix(stone, palette.dark, 0.25),
            width * 0.025,
        )
    sheet.fill(
        [
            (x - half * 1.12, foot - height * 0.68),
            (x + half * 1.12, foot - height * 0.68),
            (x + half * 1.12, foot - height * 0.78),
            (x - half * 1.12, foot - height * 0.78),
        ],
        stone,
    )
    sheet.fill(
        [(x - half * 1.15, foot - height * 0.78), (x, foot - height * 1.08), (x + half * 1.15, foot - height * 0.78)],
        mix(stone, palette.stone, 0.4),
    )
    sheet.fill(
        [(x - half * 0.85, foot - height * 0.8), (x, foot - height * 1.01), (x + half * 0.85, foot - height * 0.8)],
        shade,
    )
    for step in range(2):
        y = foot + step * 0.022
        sheet.fill(
            [
                (x - half * (1.1 + step * 0.1), y),
                (x + half * (1.1 + step * 0.1), y),
                (x + half * (1.1 + step * 0.1), y + 0.022),
                (x - half * (1.1 + step * 0.1), y + 0.022),
            ],
            mix(stone, palette.dark, 0.12 * step + 0.08),
        )


def _nude(sheet: Sheet, x: float, foot: float, height: float, turn: int) -> None:
    """A dancing figure with a streaming veil, the weight on one leg."""
    palette = sheet.palette
    flesh, shade = sheet.vary(palette.flesh, 6), mix(palette.flesh, palette.dark, 0.35)
    top = foot - height
    veil = sheet.pick(palette.cloth)
    arm = sheet.near(0, 0.05)
    sheet.line(
        [
            (x - turn * height * 0.34, top + height * (0.1 + arm)),
            (x - turn * height * 0.2, top + height * 0.42),
            (x + turn * height * 0.1, top + height * 0.56),
            (x + turn * height * 0.33, top + height * 0.72),
        ],
        veil,
        height * 0.1,
    )
    for tone, shift in ((shade, height * 0.016), (flesh, 0.0)):
        hip = top + height * 0.52
        sheet.line(
            [(x - turn * height * 0.03 + shift, hip), (x - turn * height * 0.05 + shift, foot)], tone, height * 0.085
        )
        sheet.line(
            [
                (x + turn * height * 0.04 + shift, hip),
                (x + turn * height * 0.12 + shift, hip + height * 0.22),
                (x + turn * height * 0.04 + shift, foot - height * 0.03),
            ],
            tone,
            height * 0.078,
        )
        sheet.oval(x + shift, hip - height * 0.01, height * 0.1, height * 0.095, tone)
        sheet.oval(x + shift, top + height * 0.33, height * 0.085, height * 0.14, tone)
        sheet.line(
            [
                (x - turn * height * 0.08 + shift, top + height * 0.25),
                (x - turn * height * 0.22 + shift, top + height * 0.16),
                (x - turn * height * 0.3 + shift, top + height * (0.04 + arm)),
            ],
            tone,
            height * 0.05,
        )
        sheet.line(
            [
                (x + turn * height * 0.08 + shift, top + height * 0.25),
                (x + turn * height * 0.2 + shift, top + height * 0.4),
                (x + turn * height * 0.27 + shift, top + height * 0.55),
            ],
            tone,
            height * 0.05,
        )
    sheet.glow(x - height * 0.03, top + height * 0.36, height * 0.08, height * 0.16, palette.light, 0.4)
    sheet.line(
        [(x - turn * height * 0.1, top + height * 0.5), (x + turn * height * 0.12, top + height * 0.6)],
        mix(veil, palette.light, 0.2),
        height * 0.07,
    )
    _head(sheet, x, top + height * 0.1, height * 0.062, mix(palette.gold, palette.dark, 0.35))


def paint_genre(sheet: Sheet) -> None:
    """Company at a table, with jugs and hats, by the light of one side."""
    palette = sheet.palette
    wall = mix(mix(palette.stone, palette.ground, 0.5), palette.dark, 0.3)
    sheet.band(-sheet.bottom, 0.3, wall, mix(wall, palette.dark, 0.25))
    sheet.band(0.3, sheet.bottom, mix(palette.ground, palette.dark, 0.35), mix(palette.ground, palette.dark, 0.6))
    side = -1 if sheet.chance(0.5) else 1
    sheet.glow(side * 0.45, -0.3, 0.75, 0.6, palette.light, 0.5)
    sheet.line([(-sheet.right, -0.36), (sheet.right, -0.36)], mix(wall, palette.dark, 0.5), 0.03)
    for x in (-0.3, 0.3):
        sheet.ball(x + sheet.near(0, 0.05), -0.41, 0.035, 0.045, mix(palette.gold, palette.stone, 0.4))
    people = 4 if sheet.right > 0.6 else 3
    for index in range(people):
        x = (index - (people - 1) / 2) * 0.27 + sheet.near(0, 0.02)
        _drinker(sheet, x, 0.33 + sheet.near(0, 0.02), sheet.near(0.56, 0.03), palette.cloth[(index + people) % 3])
    top = 0.2
    board = mix(palette.ground, palette.gold, 0.4)
    sheet.fill([(-0.44, top), (0.44, top), (0.52, top + 0.08), (-0.52, top + 0.08)], mix(board, palette.light, 0.25))
    sheet.fill(
        [(-0.52, top + 0.08), (0.52, top + 0.08), (0.52, top + 0.12), (-0.52, top + 0.12)],
        mix(board, palette.dark, 0.5),
    )
    for leg in (-0.42, 0.42):
        sheet.line([(leg, top + 0.12), (leg, 0.5)], mix(board, palette.dark, 0.6), 0.045)
    for x in (-0.26, -0.02, 0.24):
        _jug(sheet, x + sheet.near(0, 0.05), top + 0.04, sheet.near(0.09, 0.015))


def _drinker(sheet: Sheet, x: float, foot: float, height: float, coat: Colour) -> None:
    palette = sheet.palette
    head = height * 0.13
    top = foot - height
    coat = sheet.vary(coat, 14)
    sheet.fill(
        [
            (x - height * 0.24, foot),
            (x - height * 0.2, top + head * 2.6),
            (x - head * 0.5, top + head * 2),
            (x + head * 0.5, top + head * 2),
            (x + height * 0.2, top + head * 2.6),
            (x + height * 0.24, foot),
        ],
        coat,
    )
    sheet.fill(
        [
            (x + height * 0.03, top + head * 2.2),
            (x + height * 0.2, top + head * 2.6),
            (x + height * 0.24, foot),
            (x + height * 0.08, foot),
        ],
        mix(coat, palette.dark, 0.35),
    )
    sheet.oval(x, top + head * 2.15, head * 0.95, head * 0.35, palette.light)
    _head(sheet, x, top + head * 1.1, head * 0.85, sheet.vary(mix(palette.dark, palette.ground, 0.4), 20))
    if sheet.chance(0.65):
        felt = mix(sheet.pick(palette.cloth), palette.dark, 0.5)
        sheet.oval(x, top + head * 0.45, head * 1.6, head * 0.3, felt)
        sheet.oval(x, top + head * 0.05, head * 0.9, head * 0.55, felt)
    hand = (x + sheet.near(0, 0.1), foot - height * 0.2)
    sheet.line(
        [(x - height * 0.17, top + head * 3), (x - height * 0.2, foot - height * 0.25), hand],
        mix(coat, palette.dark, 0.15),
        height * 0.09,
    )
    sheet.oval(*hand, head * 0.4, head * 0.35, palette.flesh)


def _jug(sheet: Sheet, x: float, foot: float, height: float) -> None:
    clay = sheet.vary(sheet.pick((sheet.palette.stone, sheet.palette.gold, sheet.palette.cloth[1])), 12)
    sheet.ring(x + height * 0.36, foot - height * 0.55, height * 0.25, mix(clay, sheet.palette.dark, 0.4), 0.014)
    sheet.ball(x, foot - height * 0.38, height * 0.36, height * 0.4, clay)
    sheet.line([(x, foot - height * 0.6), (x, foot - height * 0.95)], clay, height * 0.36)
    sheet.oval(x, foot - height, height * 0.24, height * 0.09, mix(clay, sheet.palette.dark, 0.45))


def paint_still_life(sheet: Sheet) -> None:
    """Fruit, vessels and flowers on a table with a cloth."""
    palette = sheet.palette
    back = mix(palette.dark, palette.stone, 0.22)
    sheet.band(-sheet.bottom, 0.2, mix(back, palette.dark, 0.3), back)
    sheet.glow(-0.35, -0.2, 0.7, 0.6, mix(back, palette.light, 0.4), 0.45)
    edge = sheet.near(0.17, 0.03)
    linen = mix(palette.light, palette.stone, 0.15)
    sheet.band(edge, edge + 0.15, mix(linen, palette.stone, 0.3), linen)
    sheet.band(edge + 0.15, sheet.bottom, mix(linen, palette.dark, 0.25), mix(linen, palette.dark, 0.6))
    for x in np.arange(-sheet.right, sheet.right, 0.085) + sheet.near(0, 0.03):
        sheet.line(
            [(x, edge + 0.15), (x + sheet.near(0, 0.02), sheet.bottom)],
            mix(linen, palette.dark, sheet.near(0.5, 0.12)),
            0.016,
        )
    side = -1 if sheet.chance(0.5) else 1
    if sheet.chance(0.55):
        _bouquet(sheet, -side * 0.14, edge + 0.06)
    else:
        _jug(sheet, -side * 0.2, edge + 0.07, sheet.near(0.42, 0.05))
    _glass(sheet, side * 0.24, edge + 0.06, sheet.near(0.3, 0.04))
    fruits = (
        palette.cloth[0],
        palette.cloth[1],
        palette.cloth[2],
        palette.gold,
        mix(palette.foliage, palette.gold, 0.4),
    )
    sheet.oval(side * 0.06, edge + 0.11, 0.25, 0.045, mix(palette.stone, palette.dark, 0.3))
    sheet.oval(side * 0.06, edge + 0.1, 0.24, 0.038, mix(palette.stone, palette.light, 0.5))
    for x, y in ((-0.12, 0.05), (0.0, 0.055), (0.12, 0.05), (-0.06, -0.025), (0.06, -0.025), (0.0, -0.09)):
        size = sheet.near(0.066, 0.008)
        sheet.ball(side * 0.06 + x, edge + y, size, size, sheet.vary(sheet.pick(fruits), 12))
    for _ in range(4):
        sheet.ball(
            sheet.near(-side * 0.25, 0.13),
            edge + sheet.near(0.135, 0.015),
            0.036,
            0.036,
            sheet.vary(sheet.pick(fruits), 12),
        )


def _glass(sheet: Sheet, x: float, foot: float, height: float) -> None:
    palette = sheet.palette
    wine, rim = mix(palette.cloth[0], palette.dark, 0.3), mix(palette.light, palette.stone, 0.2)
    sheet.oval(x, foot, height * 0.2, height * 0.05, rim)
    sheet.line([(x, foot), (x, foot - height * 0.45)], rim, 0.012)
    sheet.oval(x, foot - height * 0.68, height * 0.21, height * 0.26, mix(palette.stone, palette.dark, 0.25))
    sheet.oval(x, foot - height * 0.62, height * 0.185, height * 0.19, wine)
    sheet.line(
        [(x - height * 0.1, foot - height * 0.8), (x - height * 0.1, foot - height * 0.55)], palette.light, 0.012
    )


def _bouquet(sheet: Sheet, x: float, foot: float) -> None:
    palette = sheet.palette
    for _ in range(12):
        sheet.blob(
            x + sheet.near(0, 0.15),
            foot - sheet.near(0.42, 0.14),
            0.06,
            mix(palette.foliage, palette.dark, 0.25),
            bumps=5,
        )
    sheet.ball(x, foot - 0.1, 0.095, 0.12, sheet.pick((palette.stone, palette.cloth[1], palette.gold)))
    for _ in range(11):
        centre = (x + sheet.near(0, 0.16), foot - sheet.near(0.4, 0.15))
        petal = sheet.vary(sheet.pick((*palette.cloth, palette.light)), 12)
        size = sheet.near(0.045, 0.012)
        for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False):
            sheet.oval(
                centre[0] + size * 0.6 * np.cos(angle),
                centre[1] + size * 0.6 * np.sin(angle),
                size * 0.5,
                size * 0.5,
                sheet.vary(petal, 12),
            )
        sheet.oval(*centre, size * 0.4, size * 0.4, mix(petal, palette.dark, 0.45))


def paint_interior(sheet: Sheet) -> None:
    """A room in perspective: chequered floor, tall window, a far door."""
    palette = sheet.palette
    wall = mix(palette.stone, palette.light, 0.15)
    side = -1 if sheet.chance(0.5) else 1
    floor, back = 0.12, 0.22
    sheet.band(-sheet.bottom, floor, mix(wall, palette.dark, 0.2), wall)
    far = side * 0.08
    _chequers(sheet, far, floor)
    left = -side * (sheet.right + 0.02)
    corner = far - side * back
    shaded = mix(wall, palette.dark, 0.42)
    sheet.fill([(left, -sheet.bottom), (corner, -0.3), (corner, floor), (left, sheet.bottom)], shaded)
    beam = mix(palette.dark, palette.ground, 0.35)
    sheet.fill(
        [
            (-sheet.right, -sheet.bottom),
            (sheet.right, -sheet.bottom),
            (sheet.right, -sheet.bottom + 0.03),
            (far + 0.3, -0.3),
            (far - 0.3, -0.3),
            (-sheet.right, -sheet.bottom + 0.03),
        ],
        mix(beam, wall, 0.3),
    )
    for x in np.linspace(-0.8, 0.8, 7):
        sheet.line([(far + x * 0.35, -0.3), (x, -sheet.bottom)], beam, 0.018)
    _window(sheet, left, corner, floor)
    sheet.fill(
        [
            (far + side * 0.04, -0.16),
            (far + side * 0.17, -0.16),
            (far + side * 0.17, floor),
            (far + side * 0.04, floor),
        ],
        mix(palette.dark, palette.ground, 0.4),
    )
    sheet.fill(
        [
            (far + side * 0.07, -0.12),
            (far + side * 0.17, -0.12),
            (far + side * 0.17, floor),
            (far + side * 0.07, floor),
        ],
        mix(palette.horizon, palette.light, 0.4),
    )
    sheet.fill(
        [(far - side * 0.15, -0.2), (far - side * 0.03, -0.2), (far - side * 0.03, -0.08), (far - side * 0.15, -0.08)],
        palette.gold,
    )
    sheet.fill(
        [
            (far - side * 0.135, -0.185),
            (far - side * 0.045, -0.185),
            (far - side * 0.045, -0.095),
            (far - side * 0.135, -0.095),
        ],
        mix(palette.distance, palette.dark, 0.3),
    )
    if sheet.chance(0.55):
        _figure(sheet, far + side * sheet.near(0.2, 0.05), 0.33, 0.36, sheet.pick(palette.cloth))


def _chequers(sheet: Sheet, far: float, floor: float) -> None:
    palette = sheet.palette
    pale, deep = mix(palette.light, palette.stone, 0.3), mix(palette.dark, palette.ground, 0.25)
    rows = [floor + (sheet.bottom + 0.02 - floor) * depth for depth in (0, 0.09, 0.2, 0.35, 0.55, 0.8, 1.1)]
    spread = 0.075

    def at(column: int, y: float) -> tuple[float, float]:
        return (far + column * spread * (1 + 3.4 * (y - floor) / (sheet.bottom - floor)), y)

    for row, (upper, lower) in enumerate(zip(rows[:-1], rows[1:], strict=True)):
        for column in range(-13, 13):
            tone = pale if (row + column) % 2 else deep
            sheet.fill(
                [at(column, upper), at(column + 1, upper), at(column + 1, lower), at(column, lower)],
                sheet.vary(tone, 5),
            )


def _window(sheet: Sheet, left: float, corner: float, floor: float) -> None:
    """A leaded window in the side wall, and its light on the floor."""
    palette = sheet.palette
    bright = mix(palette.light, palette.horizon, 0.3)

    def at(depth: float, height: float) -> tuple[float, float]:
        x = corner + (left - corner) * depth
        top, foot = -0.3 + (-sheet.bottom + 0.3) * depth, floor + (sheet.bottom - floor) * depth
        return (x, foot + (top - foot) * height)

    start, stop = 0.15, 0.8
    sheet.fill([at(start, 0.38), at(stop, 0.38), at(stop, 0.86), at(start, 0.86)], bright)
    lead = mix(palette.dark, palette.ground, 0.3)
    for height in (0.38, 0.54, 0.7, 0.86):
        sheet.line([at(start, height), at(stop, height)], lead, 0.012)
    for depth in (start, 0.36, 0.58, stop):
        sheet.line([at(depth, 0.38), at(depth, 0.86)], lead, 0.012)
    sheet.glow(corner + (left - corner) * 0.1, 0.38, 0.34, 0.16, bright, 0.5)


def paint_historical(sheet: Sheet) -> None:
    """A battle at sea, or lances and banners on a field, in smoke."""
    palette = sheet.palette
    horizon = sheet.near(0.08, 0.03)
    sheet.band(
        -sheet.bottom, horizon, mix(palette.sky, palette.dark, 0.25), mix(palette.horizon, palette.cloth[1], 0.15)
    )
    _smoke(sheet, horizon, 7)
    if sheet.chance(0.5):
        _sea(sheet, horizon)
        for x, y, size in ((-0.34, 0.12, 0.2), (0.38, 0.14, 0.22), (0.02, 0.34, 0.44)):
            _boat(sheet, x + sheet.near(0, 0.04), horizon + y, size, banner=True)
        _smoke(sheet, 0.32, 3)
        return
    sheet.band(horizon + 0.02, sheet.bottom, palette.ground, mix(palette.ground, palette.dark, 0.5))
    side = -1 if sheet.chance(0.5) else 1
    shaft = mix(palette.dark, palette.ground, 0.3)
    for x in np.linspace(-0.62, 0.62, 19):
        lean = side * sheet.near(0.12, 0.05)
        sheet.line([(x, 0.15), (x + lean, sheet.near(-0.3, 0.07))], shaft, 0.011)
    for x in (-0.36, -0.06, 0.24):
        _banner(sheet, x + sheet.near(0, 0.05), side)
    for row, (foot, size) in enumerate(((0.2, 0.12), (0.31, 0.16), (0.45, 0.22))):
        count = 11 - 3 * row
        for index in range(count):
            _soldier(sheet, ((index + 0.5) / count - 0.5) * 1.25 + sheet.near(0, 0.02), foot, size)
    sheet.glow(sheet.near(0, 0.3), 0.42, 0.4, 0.12, mix(palette.light, palette.horizon, 0.4), 0.5)


def _smoke(sheet: Sheet, y: float, clouds: int) -> None:
    for _ in range(clouds):
        tone = mix(sheet.palette.light, sheet.palette.stone, sheet.near(0.4, 0.3))
        size = sheet.near(0.2, 0.07)
        sheet.glow(sheet.near(0, 0.5), y - sheet.near(0.14, 0.12), size, size * 0.7, tone, 0.65)


def _banner(sheet: Sheet, x: float, side: int) -> None:
    palette = sheet.palette
    sheet.line([(x, 0.2), (x, -0.42)], mix(palette.dark, palette.ground, 0.2), 0.014)
    first, second = sheet.pick(palette.cloth), sheet.pick((palette.light, palette.gold, palette.cloth[0]))
    xs = np.linspace(0, 0.24, 7)
    wave = 0.018 * np.sin(xs * 30 + sheet.near(0, 3))
    upper = [(x + side * a, -0.41 + b) for a, b in zip(xs, wave, strict=True)]
    middle = [(a, b + 0.085) for a, b in upper]
    lower = [(a, b + 0.17) for a, b in upper]
    sheet.fill([*upper, *middle[::-1]], first)
    sheet.fill([*middle, *lower[::-1]], second)


def _soldier(sheet: Sheet, x: float, foot: float, height: float) -> None:
    palette = sheet.palette
    coat = sheet.vary(sheet.pick(palette.cloth), 16)
    steel = mix(palette.stone, palette.light, 0.4)
    sheet.fill(
        [
            (x - height * 0.28, foot),
            (x - height * 0.24, foot - height * 0.62),
            (x + height * 0.24, foot - height * 0.62),
            (x + height * 0.28, foot),
        ],
        coat,
    )
    sheet.fill(
        [
            (x + height * 0.05, foot),
            (x + height * 0.06, foot - height * 0.62),
            (x + height * 0.24, foot - height * 0.62),
            (x + height * 0.28, foot),
        ],
        mix(coat, palette.dark, 0.4),
    )
    sheet.oval(x, foot - height * 0.74, height * 0.15, height * 0.17, palette.flesh)
    sheet.ball(x, foot - height * 0.84, height * 0.19, height * 0.14, steel)


COMPOSITIONS: dict[str, Callable[[Sheet], None]] = {
    "religious": paint_religious,
    "portrait": paint_portrait,
    "landscape": paint_landscape,
    "mythological": paint_mythological,
    "genre": paint_genre,
    "still-life": paint_still_life,
    "interior": paint_interior,
    "historical": paint_historical,
}
