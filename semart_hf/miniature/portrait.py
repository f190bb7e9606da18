"""The miniature's portraits: a bust against a dark ground, the one composition with a large face."""

import numpy as np

from .sheet import Colour, Sheet, mix


def paint_portrait(sheet: Sheet) -> None:
    """A bust against a dark ground, turned a little to one side."""
    palette = sheet.palette
    ground = mix(palette.dark, palette.ground, sheet.near(0.25, 0.12))
    sheet.band(-sheet.bottom, sheet.bottom, mix(ground, palette.distance, 0.15), sheet.darker(ground, 0.5))
    sheet.glow(0.2, -0.05, 0.62, 0.7, mix(palette.distance, palette.light, 0.15), 0.5)
    coat = sheet.darker(sheet.vary(sheet.pick(palette.cloth), 12), sheet.near(0.15, 0.15))
    dye = sheet.pick((palette.ground, palette.gold, palette.stone))
    hair = sheet.vary(mix(palette.dark, dye, sheet.near(0.4, 0.25)), 12)
    height, size = sheet.near(-0.13, 0.03), sheet.near(0.155, 0.012)
    shoulder = height + size * 2.05
    _shoulders(sheet, shoulder, coat)
    head = sheet.frame(0.02, height, size)
    if sheet.chance(0.45):
        locks = [(-1.2, -1.2), (0, -1.7), (1.25, -1.1), (1.5, 0.6), (1.1, 1.7), (-1.1, 1.7), (-1.45, 0.6)]
        head.fill(locks, hair, smooth=True)
    head.line([(0, 0.8), (-0.1, 2)], sheet.darker(palette.flesh, 0.25), 0.9)
    _collar(sheet, shoulder, size)
    _face(head, hair)
    if sheet.chance(0.45):
        _hat(head)


def _shoulders(sheet: Sheet, shoulder: float, coat: Colour) -> None:
    bottom = sheet.bottom + 0.04
    left = [(-0.5, bottom), (-0.45, shoulder + 0.2), (-0.3, shoulder + 0.05), (-0.1, shoulder - 0.05)]
    right = [(-x, y) for x, y in reversed(left)]
    sheet.fill([*left, *right], coat, smooth=True)
    sheet.fill([(0.1, shoulder), *right[1:], (0.14, bottom)], sheet.darker(coat, 0.4), smooth=True)
    for fold in np.linspace(-0.4, 0.4, 7).tolist():
        tone = sheet.lighter(coat, 0.22) if fold < 0 else sheet.darker(coat, 0.45)
        crease = [(fold * 0.55, shoulder + 0.09), (fold * 0.85, shoulder + 0.25), (fold, bottom)]
        sheet.line(crease, tone, 0.014, smooth=True)
    for button in np.arange(shoulder + 0.14, bottom, 0.07).tolist():
        sheet.ball(0, button, 0.013, 0.013, sheet.palette.gold)


def _collar(sheet: Sheet, shoulder: float, size: float) -> None:
    """A ruff, a falling collar, or a bare neck with pearls."""
    palette = sheet.palette
    linen = mix(palette.light, palette.stone, 0.12)
    kind = sheet.rng.random()
    if kind < 0.35:
        for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False):
            x, y = 1.3 * size * float(np.cos(angle)), shoulder - 0.05 + 0.42 * size * float(np.sin(angle))
            sheet.oval(x, y, size * 0.24, size * 0.2, sheet.darker(linen, 0.1 + 0.2 * (float(np.cos(angle)) > 0)))
            sheet.line([(x * 0.5, shoulder - 0.055), (x, y)], sheet.darker(linen, 0.25), 0.006)
        sheet.oval(0, shoulder - 0.07, size * 1.0, size * 0.28, linen)
    elif kind < 0.7:
        flap = [(0, shoulder - 0.08), (0.19, shoulder - 0.03), (0.15, shoulder + 0.1), (0.01, shoulder + 0.04)]
        sheet.fill([(-x, y) for x, y in flap], linen)
        sheet.fill(flap, sheet.darker(linen, 0.2))
    else:
        neckline = [(x, shoulder + y) for x, y in ((-0.16, -0.05), (0.16, -0.05), (0.11, 0.09), (-0.11, 0.09))]
        sheet.fill(neckline, palette.flesh, smooth=True)
        for bead in np.linspace(-0.12, 0.12, 9).tolist():
            sheet.ball(bead, shoulder + 0.05 - bead * bead * 2.6, 0.015, 0.015, palette.light)


def _face(head: Sheet, hair: Colour) -> None:
    """A head of half-width 1 around the origin, lit from the left."""
    palette = head.palette
    shade, ink = head.darker(palette.flesh, 0.4), mix(palette.dark, palette.ground, 0.15)
    head.oval(0, -0.22, 1.1, 1.32, hair)
    chin = [(-0.84, -0.3), (-0.78, 0.45), (-0.4, 1.05), (0, 1.24), (0.42, 1.05), (0.8, 0.45), (0.84, -0.3), (0, -1.0)]
    head.fill(chin, shade, smooth=True)
    for step in range(5):
        share, tone = step / 4, mix(mix(shade, palette.flesh, 0.4), palette.flesh, step / 4)
        shrink, drift = 0.94 - 0.16 * share, 0.04 + 0.1 * share
        head.fill([(x * shrink - drift, y * shrink + 0.04) for x, y in chin], tone, smooth=True)
    head.glow(-0.3, -0.3, 0.6, 0.6, head.lighter(palette.flesh, 0.5), 0.75)
    head.glow(-0.42, 0.38, 0.36, 0.3, palette.cloth[0], 0.22)
    head.glow(0.36, 0.4, 0.3, 0.26, palette.cloth[0], 0.16)
    brow = [(-0.95, 0.1), (-0.9, -0.7), (-0.2, -1.25), (0.7, -1.0), (0.95, -0.3)]
    fringe = [*brow, (0.9, 0.15), (0.6, -0.55), (-0.1, -0.85), (-0.7, -0.5)]
    head.fill(fringe, hair, smooth=True)
    for eye in (-0.38, 0.3):
        head.oval(eye, 0, 0.18, 0.1, head.lighter(palette.flesh, 0.7))
        head.oval(eye - 0.02, 0, 0.09, 0.1, ink)
        head.line([(eye - 0.2, -0.06), (eye, -0.12), (eye + 0.2, -0.04)], shade, 0.05, smooth=True)
        head.line([(eye - 0.22, -0.2), (eye, -0.28), (eye + 0.22, -0.2)], mix(hair, shade, 0.3), 0.07, smooth=True)
    head.line([(-0.06, -0.1), (0.03, 0.34), (-0.1, 0.44)], mix(shade, palette.flesh, 0.25), 0.08, smooth=True)
    lips = mix(palette.cloth[0], shade, 0.45)
    head.line([(-0.26, 0.72), (-0.05, 0.69), (0.18, 0.71)], lips, 0.11, smooth=True)
    head.line([(-0.2, 0.72), (0.14, 0.715)], head.darker(lips, 0.4), 0.03)


def _hat(head: Sheet) -> None:
    felt = head.darker(head.pick(head.palette.cloth), 0.55)
    brim = head.near(1.6, 0.25)
    head.fill([(-brim, -0.62), (0, -0.98), (brim, -0.66), (0, -0.62)], head.darker(felt, 0.2), smooth=True)
    crown = [(-0.98, -0.76), (-0.85, -1.5), (0, -1.72), (0.85, -1.5), (0.98, -0.78)]
    head.fill(crown, head.lighter(felt, 0.07), smooth=True)
    head.line([(-0.98, -0.84), (0, -0.93), (0.98, -0.86)], mix(head.palette.gold, felt, 0.3), 0.12, smooth=True)
    if head.chance(0.5):
        plume = [(0.7, -0.95), (1.15, -1.5), (1.6, -1.45), (1.75, -1.05)]
        head.line(plume, mix(head.palette.light, head.palette.cloth[2], 0.3), 0.22, smooth=True)
