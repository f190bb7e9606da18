"""The miniature's motifs: people, trees, ships and vessels, each drawn in units of its own size.

A motif is given a frame of the sheet (`Sheet.frame`). People, trees and things stand on the frame's origin and are one
unit high, so that y runs from 0 at the foot to -1 at the top.
"""

import numpy as np

from .sheet import Colour, Sheet, mix


def paint_head(frame: Sheet, hair: Colour, *, veil: bool = False) -> None:
    """A small head around the origin, of half-width 1, seen from the front and lit from the left."""
    palette = frame.palette
    shade, ink = frame.darker(palette.flesh, 0.32), mix(palette.dark, palette.flesh, 0.2)
    frame.oval(0, -0.15, 1.18, 1.42, hair)
    if veil:
        frame.fill([(-1.18, -0.1), (1.18, -0.1), (1.75, 2.3), (-1.75, 2.3)], hair)
    frame.oval(0, 0.08, 0.86, 1.12, shade)
    frame.oval(-0.1, 0.04, 0.74, 1.04, palette.flesh)
    frame.oval(-0.3, -0.15, 0.34, 0.5, frame.lighter(palette.flesh, 0.4))
    for eye in (-0.36, 0.28):
        frame.oval(eye, -0.05, 0.13, 0.08, ink)
    frame.line([(-0.03, 0), (0.06, 0.36)], shade, 0.12)
    frame.line([(-0.22, 0.62), (0.18, 0.62)], mix(palette.cloth[0], shade, 0.5), 0.14)


def paint_halo(frame: Sheet, x: float, y: float, radius: float) -> None:
    """A gold disc with two tooled lines."""
    gold = frame.palette.gold
    frame.oval(x, y, radius, radius, frame.lighter(gold, 0.55))
    frame.ring(x, y, radius, frame.darker(gold, 0.45), radius * 0.07)
    frame.ring(x, y, radius * 0.82, frame.darker(gold, 0.2), radius * 0.05)


def paint_saint(frame: Sheet, robe: Colour, *, halo: bool) -> None:
    """A standing figure in a long robe, the hands before the breast."""
    palette = frame.palette
    if halo:
        paint_halo(frame, 0, -0.89, 0.15)
    robe = frame.vary(robe)
    outline = [(-0.17, 0), (-0.13, -0.36), (-0.15, -0.66), (-0.05, -0.81), (0.05, -0.81), (0.15, -0.66), (0.13, -0.36)]
    frame.fill([*outline, (0.17, 0)], robe, smooth=True)
    frame.box(-0.15, -0.04, 0.15, 0, robe)
    for fold in (-0.11, -0.04, 0.05, 0.12):
        tone = frame.lighter(robe, 0.3) if fold < 0 else frame.darker(robe, 0.35)
        frame.line([(fold * 0.5, -0.55), (fold * 0.7, -0.3), (fold * 1.1, -0.01)], tone, 0.02, smooth=True)
    for turn in (-1, 1):
        sleeve = frame.frame(0, 0, 1, turn)
        sleeve.line([(0.12, -0.71), (0.135, -0.58), (0.02, -0.52)], frame.darker(robe, 0.22), 0.055)
    frame.oval(0, -0.525, 0.034, 0.032, palette.flesh)
    paint_head(frame.frame(0, -0.885, 0.078), frame.vary(frame.darker(palette.ground, 0.55), 20))


def paint_nymph(frame: Sheet) -> None:
    """A dancing nude with a streaming veil, the weight on one leg."""
    palette = frame.palette
    flesh, veil = frame.vary(palette.flesh, 6), frame.pick(palette.cloth)
    lift = frame.near(0, 0.05)
    streamer = [(-0.34, -0.92 + lift), (-0.25, -0.66), (-0.06, -0.47), (0.14, -0.5), (0.36, -0.26)]
    frame.line(streamer, frame.darker(veil, 0.2), 0.11, smooth=True)
    body = [(-0.03, -0.82), (-0.1, -0.785), (-0.065, -0.63), (-0.105, -0.5), (-0.075, -0.27), (-0.05, -0.05)]
    body += [(-0.085, 0), (-0.02, 0), (-0.01, -0.26), (0.0, -0.42), (0.06, -0.27), (0.03, -0.06), (0.09, -0.015)]
    body += [(0.075, -0.08), (0.125, -0.29), (0.1, -0.5), (0.06, -0.63), (0.1, -0.785), (0.03, -0.82)]
    arms = ([(-0.08, -0.77), (-0.19, -0.83), (-0.29, -0.95 + lift)], [(0.08, -0.77), (0.17, -0.63), (0.28, -0.5)])
    for tone, shift in ((frame.darker(flesh, 0.4), 0.016), (flesh, 0.0)):
        frame.fill([(x + shift, y) for x, y in body], tone, smooth=True)
        frame.line([(0.0 + shift, -0.8), (0.0 + shift, -0.88)], tone, 0.05)
        for arm in arms:
            frame.line([(x + shift, y) for x, y in arm], tone, 0.045, smooth=True)
    frame.glow(-0.03, -0.66, 0.09, 0.2, palette.light, 0.45)
    frame.glow(-0.05, -0.36, 0.06, 0.2, palette.light, 0.3)
    drape = [(-0.13, -0.56), (0.0, -0.5), (0.13, -0.53), (0.15, -0.36), (0.03, -0.4), (-0.12, -0.46)]
    frame.fill(drape, veil, smooth=True)
    frame.line([(-0.11, -0.52), (0.0, -0.46), (0.12, -0.48)], frame.lighter(veil, 0.4), 0.015, smooth=True)
    paint_head(frame.frame(-0.005, -0.905, 0.062), frame.vary(frame.darker(palette.gold, 0.35), 20))


def paint_drinker(frame: Sheet, coat: Colour) -> None:
    """Someone at a table, from the waist up, a hand before the breast."""
    palette = frame.palette
    coat = frame.vary(coat, 14)
    outline = [(-0.25, 0), (-0.23, -0.5), (-0.15, -0.66), (-0.06, -0.74), (0.06, -0.74), (0.15, -0.66), (0.23, -0.5)]
    frame.fill([*outline, (0.25, 0)], coat, smooth=True)
    shadow = [(0.05, -0.72), (0.16, -0.66), (0.23, -0.5), (0.25, 0), (0.1, 0)]
    frame.fill(shadow, frame.darker(coat, 0.35), smooth=True)
    frame.oval(0, -0.72, 0.125, 0.05, palette.light)
    paint_head(frame.frame(0, -0.855, 0.11), frame.vary(frame.darker(palette.ground, 0.55), 20))
    if frame.chance(0.65):
        felt = frame.darker(frame.pick(palette.cloth), 0.5)
        frame.oval(0, -0.94, 0.21, 0.04, felt)
        frame.oval(0, -0.99, 0.115, 0.075, felt)
    hand = (frame.near(0, 0.12), -0.2)
    frame.line([(-0.18, -0.6), (-0.2, -0.3), hand], frame.darker(coat, 0.15), 0.09, smooth=True)
    frame.oval(*hand, 0.052, 0.046, palette.flesh)


def paint_soldier(frame: Sheet) -> None:
    """A man-at-arms from the knees up, in a coat of some colour and a helmet."""
    palette = frame.palette
    coat = frame.vary(frame.pick(palette.cloth), 16)
    frame.fill([(-0.28, 0), (-0.24, -0.62), (0.24, -0.62), (0.28, 0)], coat)
    frame.fill([(0.05, 0), (0.06, -0.62), (0.24, -0.62), (0.28, 0)], frame.darker(coat, 0.4))
    frame.line([(-0.2, -0.58), (0.2, -0.1)], frame.lighter(coat, 0.5), 0.06)
    frame.oval(0, -0.74, 0.15, 0.17, palette.flesh)
    frame.ball(0, -0.84, 0.19, 0.14, frame.lighter(palette.stone, 0.4))


def paint_tree(frame: Sheet) -> None:
    """A tree with a crown of three lights."""
    palette = frame.palette
    lean = frame.near(0, 0.06)
    trunk = frame.darker(palette.ground, 0.7)
    frame.line([(0, 0), (lean * 0.3, -0.3), (lean, -0.65)], trunk, 0.055, smooth=True)
    frame.line([(lean * 0.3, -0.3), (lean + 0.14, -0.55)], trunk, 0.03)
    crown = frame.vary(palette.foliage, 16)
    tones = (frame.darker(crown, 0.45), crown, frame.lighter(crown, 0.3))
    for tone, drift, size in zip(tones, (0.05, 0.0, -0.07), (0.34, 0.32, 0.21), strict=True):
        for x, y in ((-0.16, -0.6), (0.17, -0.62), (0, -0.8)):
            frame.blob(x + lean + drift, y + drift * 0.6, size, tone, bumps=8)


def paint_mill(frame: Sheet) -> None:
    """A windmill."""
    body = frame.darker(frame.palette.stone, 0.35)
    frame.fill([(-0.22, 0), (-0.13, -0.7), (0.13, -0.7), (0.22, 0)], body)
    frame.fill([(-0.17, -0.68), (0, -0.9), (0.17, -0.68)], frame.darker(body, 0.5))
    angle = frame.near(0.6, 0.5)
    for direction in angle + np.arange(4) * np.pi / 2:
        tip = (0.52 * float(np.cos(direction)), -0.72 + 0.52 * float(np.sin(direction)))
        frame.line([(0, -0.72), tip], mix(frame.palette.dark, frame.palette.light, 0.15), 0.06)


def paint_temple(frame: Sheet) -> None:
    """A temple front of five columns, one unit wide."""
    palette = frame.palette
    stone, shade = frame.lighter(palette.stone, 0.3), frame.darker(palette.stone, 0.45)
    frame.box(-0.5, -0.61, 0.5, 0, shade)
    for x in np.linspace(-0.44, 0.44, 5).tolist():
        frame.line([(x, 0), (x, -0.58)], stone, 0.085)
        frame.line([(x + 0.028, 0), (x + 0.028, -0.58)], frame.darker(stone, 0.25), 0.025)
    frame.box(-0.56, -0.67, 0.56, -0.58, stone)
    frame.fill([(-0.58, -0.67), (0, -0.92), (0.58, -0.67)], mix(stone, palette.stone, 0.4))
    frame.fill([(-0.43, -0.69), (0, -0.87), (0.43, -0.69)], shade)
    for step in (0, 1):
        reach, y = 0.55 + 0.05 * step, 0.044 * step
        frame.box(-reach, y, reach, y + 0.044, frame.darker(stone, 0.08 + 0.12 * step))


def paint_ship(frame: Sheet, *, has_guns: bool) -> None:
    """A boat under one sail, or a three-master under full sail with flags."""
    hull = frame.darker(frame.palette.ground, 0.7)
    frame.fill([(-0.62, -0.26), (0, -0.18), (0.68, -0.3), (0.46, 0), (-0.42, 0)], hull)
    frame.line([(-0.6, -0.22), (0, -0.15), (0.64, -0.25)], frame.palette.gold, 0.045, smooth=True)
    if not has_guns:
        _paint_sail(frame, 0.0, -1.1, -0.32, 0.5)
        return
    for gun in np.linspace(-0.42, 0.42, 6).tolist():
        frame.box(gun - 0.02, -0.13, gun + 0.02, -0.09, frame.palette.gold)
    for mast, tall in ((-0.32, 1.0), (0.36, 0.95), (0.04, 1.25)):
        frame.line([(mast, -0.2), (mast, -tall - 0.14)], hull, 0.035)
        _paint_sail(frame, mast, -tall * 0.62, -tall * 0.3, 0.27)
        _paint_sail(frame, mast, -tall, -tall * 0.66, 0.23)
        flag = [(mast, -tall - 0.14), (mast + 0.2, -tall - 0.17), (mast + 0.36, -tall - 0.1), (mast, -tall - 0.01)]
        frame.fill(flag, frame.pick(frame.palette.cloth))


def _paint_sail(frame: Sheet, mast: float, top: float, foot: float, width: float) -> None:
    sail = frame.vary(frame.lighter(frame.palette.stone, 0.7), 12)
    leech = [(mast + width * 0.55, top), (mast + width * 0.95, (top + foot) / 2), (mast + width * 0.75, foot)]
    frame.fill([(mast - width * 0.55, top), *leech, (mast - width * 0.5, foot)], sail)
    frame.line(leech, frame.darker(sail, 0.35), 0.04)


def paint_banner(frame: Sheet) -> None:
    """A flag of two stripes on a pole, waving to the right."""
    palette = frame.palette
    frame.line([(0, 0), (0, -1)], frame.darker(palette.ground, 0.8), 0.022)
    across = np.linspace(0, 0.4, 7)
    wave = -0.98 + 0.03 * np.sin(across * 18 + frame.near(0, 3))
    colours = (frame.pick(palette.cloth), frame.pick((palette.light, palette.gold, palette.cloth[0])))
    for row, colour in enumerate(colours):
        upper = [(x, y + row * 0.14) for x, y in zip(across.tolist(), wave.tolist(), strict=True)]
        frame.fill([*upper, *((x, y + 0.14) for x, y in reversed(upper))], colour)


def paint_jug(frame: Sheet) -> None:
    """A round jug with a handle."""
    palette = frame.palette
    clay = frame.vary(frame.pick((palette.stone, palette.gold, palette.cloth[1])), 12)
    frame.ring(0.34, -0.58, 0.24, frame.darker(clay, 0.4), 0.07)
    neck = [(-0.17, -0.98), (0.17, -0.98), (0.14, -0.7), (0.2, 0), (-0.2, 0), (-0.14, -0.7)]
    frame.fill(neck, frame.darker(clay, 0.15))
    frame.ball(0, -0.38, 0.36, 0.38, clay)
    frame.line([(-0.06, -0.92), (-0.06, -0.72)], frame.lighter(clay, 0.4), 0.07)
    frame.oval(0, -0.98, 0.19, 0.05, frame.darker(clay, 0.5))


def paint_glass(frame: Sheet) -> None:
    """A glass of wine."""
    palette = frame.palette
    rim = frame.lighter(palette.stone, 0.8)
    frame.oval(0, -0.02, 0.2, 0.05, rim)
    frame.line([(0, 0), (0, -0.45)], rim, 0.04)
    bowl = [(-0.2, -0.95), (0.2, -0.95), (0.21, -0.66), (0, -0.42), (-0.21, -0.66)]
    wine = [(-0.19, -0.76), (0.19, -0.76), (0.18, -0.62), (0, -0.45), (-0.18, -0.62)]
    for outline, colour in ((bowl, palette.stone), (wine, palette.cloth[0])):
        frame.fill(outline, frame.darker(colour, 0.2), smooth=True)
    frame.line([(-0.12, -0.88), (-0.13, -0.62)], palette.light, 0.045)


def paint_bouquet(frame: Sheet) -> None:
    """Flowers in a vase."""
    palette = frame.palette
    for _ in range(11):
        frame.blob(frame.near(0, 0.3), frame.near(-0.66, 0.24), 0.11, frame.darker(palette.foliage, 0.25), bumps=5)
    frame.ball(0, -0.17, 0.17, 0.2, frame.pick((palette.stone, palette.cloth[1], palette.gold)))
    for _ in range(12):
        x, y, size = frame.near(0, 0.3), frame.near(-0.66, 0.26), frame.near(0.08, 0.022)
        petal = frame.vary(frame.pick((*palette.cloth, palette.light)), 12)
        for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False):
            across, down = size * 0.6 * float(np.cos(angle)), size * 0.6 * float(np.sin(angle))
            frame.oval(x + across, y + down, size * 0.5, size * 0.5, frame.vary(petal, 12))
        frame.oval(x, y, size * 0.4, size * 0.4, frame.darker(petal, 0.45))
