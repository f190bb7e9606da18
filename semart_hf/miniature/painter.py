"""The miniature's painter: composition, brush, palette and surface in, a small picture out."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from PIL import Image, ImageOps

from .materials import BRUSHES, PALETTES, SURFACES, VARNISH, Point, Sheet, keep_edges

SHORT_SIDE = 128  # what the textures are made for, coarse enough to survive being halved
_SUPERSAMPLING = 2
#: What is to be seen in a picture, by the drawing that shows it.
SUBJECTS = {
    **{"madonna": "Madonna", "saint": "saints", "crucified": "Crucifixion", "nymph": "nymphs", "shell": "shell"},
    **{"temple": "temple", "tree": "trees", "mill": "windmill", "boat": "boats", "warship": "warships"},
    **{"soldier": "soldiers", "banner": "banners", "drinker": "drinkers", "woman": "woman", "room": "window"},
    **{"bust": "sitter", "hat": "hat", "ruff": "ruff", "pearls": "pearls", "jug": "jug", "glass": "glass"},
    **{"fruit": "fruit", "flower": "flowers"},
}


def paint(cues: Mapping[str, str], rng: np.random.Generator) -> tuple[Image.Image, list[str]]:
    """An RGB picture that shows the cues of each task and nothing else but chance, and the `SUBJECTS` to be seen."""
    compose, narrowest, widest = COMPOSITIONS[cues["type"]]
    aspect = float(rng.uniform(narrowest, widest))
    width, height = round(SHORT_SIDE * max(1.0, aspect)), round(SHORT_SIDE * max(1.0, 1 / aspect))
    sheet = Sheet(width * _SUPERSAMPLING, height * _SUPERSAMPLING, cues["timeframe"], rng)
    compose(sheet)
    mirrored = ImageOps.mirror(sheet.image) if rng.random() < 0.5 else sheet.image
    brush, share = BRUSHES[cues["school"]]
    brushed = keep_edges(mirrored, brush(mirrored, rng), share).reduce(_SUPERSAMPLING)
    pixels = np.asarray(brushed, dtype=np.float32) / np.float32(255)
    # The varnish pulls it towards the palette's shadow, tone and light, by its own brightness.
    palette, brightness = PALETTES[cues["timeframe"]], pixels @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    shades = np.array([palette[part] for part in ("dark", "tone", "light")], dtype=np.float32) / 255
    toned = np.stack([np.interp(brightness, (0, 0.5, 1), channel) for channel in shades.T], axis=-1)
    pixels = np.asarray(pixels + VARNISH[cues["timeframe"]] * (toned - pixels), dtype=np.float32)
    subjects = [subject for drawing, subject in SUBJECTS.items() if drawing in sheet.drawn]
    picture = (SURFACES[cues["medium"]](pixels, rng).clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(picture), subjects


def paint_religious(sheet: Sheet) -> None:
    """A Madonna under an arch, or a Crucifixion, with haloed saints."""
    sheet.band(-sheet.bottom, sheet.bottom, "gold/sky", "gold/horizon")
    sheet.glow(0, -0.14, 0.62, 0.62, 0.75, "gold+50")
    for angle in np.linspace(0, 2 * np.pi, 28, endpoint=False) + sheet.near(0, 0.1):
        across, down = float(np.cos(angle)), float(np.sin(angle))
        sheet.line([(0.2 * across, 0.2 * down - 0.14), (0.9 * across, 0.9 * down - 0.14)], "gold+35", 0.006)
    sheet.band(0.36, sheet.bottom, "ground", "ground-40")
    first, second, third = sheet.rng.permutation(3).tolist()
    if sheet.right > 0.52 or sheet.rng.random() < 0.6:
        for side, robe in ((-1, second), (1, third)):
            sheet.draw("saint", side * sheet.near(0.36, 0.015), 0.47, 0.62, own=f"cloth{robe}~")
    if sheet.rng.random() < 0.3:
        sheet.draw("crucified")
    else:
        sheet.draw("madonna", turn=sheet.side(), own=f"cloth{first}")
    for side in (-1, 1):
        sheet.draw("arch", side * sheet.right, -sheet.bottom, turn=-side)


def paint_portrait(sheet: Sheet) -> None:
    """A bust against a dark ground, turned a little to one side."""
    sheet.band(-sheet.bottom, sheet.bottom, "dark/ground+8", "dark/ground-55")
    sheet.glow(0.2, -0.05, 0.62, 0.7, 0.5, "distance+15")
    hair = sheet.pick("ground-60~", "gold-55~", "stone-70~")
    height, size = sheet.near(-0.13, 0.03), sheet.near(0.155, 0.012)
    shoulder = height + size * 2.05
    sheet.draw("bust", 0, shoulder, own=sheet.pick())
    if sheet.rng.random() < 0.45:
        sheet.draw("locks", 0.02, height, size, own=hair)
    sheet.draw("neck", 0.02, height, size)
    sheet.draw(sheet.pick("ruff", "collar", "pearls"), 0, shoulder)
    sheet.draw("face", 0.02, height, size, own=hair)
    if sheet.rng.random() < 0.45:
        sheet.draw("hat", 0.02, height, size, own=sheet.pick("cloth0-55", "cloth1-55", "cloth2-55"))
        if sheet.rng.random() < 0.5:
            sheet.draw("plume", 0.02, height, size, own=sheet.pick())


def paint_landscape(sheet: Sheet) -> None:
    """A wide sky over trees and a river, or over the sea."""
    horizon = sheet.near(0.08, 0.06)
    _sky(sheet, horizon)
    if sheet.rng.random() < 0.35:
        _sea(sheet, horizon)
        for _ in range(int(sheet.rng.integers(2, 5))):
            size = sheet.near(0.15, 0.06)
            foot = horizon + size * sheet.near(0.9, 0.4)
            sheet.draw("boat", sheet.near(0, 0.42), foot, size, turn=sheet.side())
        return
    for step, colour in enumerate(("distance/horizon~", "distance/foliage~", "foliage~")):
        _hills(sheet, horizon + 0.06 * step, colour)
    sheet.band(horizon + 0.16, sheet.bottom, "ground", "ground-42")
    shares = np.linspace(0, 1, 9)
    y, halves = horizon + 0.15 + (sheet.bottom - (horizon + 0.15)) * shares, 0.012 + 0.14 * shares**1.6
    middles = sheet.near(0, 0.12) * np.sin(3 * shares) + sheet.near(0, 0.15) * shares
    left, right = (list(zip((middles + side * halves).tolist(), y.tolist(), strict=True)) for side in (-1, 1))
    sheet.fill([*left, *reversed(right)], "horizon/sky")  # a river
    for _ in range(int(sheet.rng.integers(3, 6))):
        x, foot = sheet.near(0, sheet.right * 0.9), horizon + sheet.near(0.16, 0.03)
        sheet.draw("tree", x, foot, sheet.near(0.15, 0.05), own="foliage~")
    side = sheet.side()
    if sheet.rng.random() < 0.4:
        sheet.draw("mill", -side * 0.25, horizon + 0.12, 0.24)
    sheet.glow(side * 0.4, sheet.bottom, 0.6, 0.2, 0.6, "dark")
    sheet.draw("tree", side * sheet.near(0.36, 0.06), 0.42, sheet.near(0.66, 0.07), own="foliage~")


def paint_mythological(sheet: Sheet) -> None:
    """Nymphs and drapery before a temple, or a goddess on her shell."""
    horizon, side = sheet.near(0.08, 0.03), sheet.side()
    _sky(sheet, horizon)
    if sheet.rng.random() < 0.35:
        _sea(sheet, horizon)
        for attendant in (-1, 1):
            sheet.draw("nymph", attendant * sheet.near(0.35, 0.02), 0.34, 0.46, turn=attendant, own=sheet.pick())
        sheet.draw("shell", 0, 0.45, own="light/cloth0+25")
        sheet.draw("nymph", 0, 0.42, 0.82, turn=side, own=sheet.pick())
        return
    _hills(sheet, horizon, "distance/foliage")
    sheet.band(horizon + 0.04, sheet.bottom, "ground", "ground-30")
    sheet.draw("temple", side * 0.22, horizon + 0.08, 0.52)
    sheet.draw("tree", -side * (sheet.right - 0.08), 0.3, 0.7, own="foliage~")
    for index in (-1, 0, 1):
        x, foot = index * 0.25 - side * 0.05 + sheet.near(0, 0.02), sheet.near(0.45, 0.02)
        sheet.glow(x, foot, 0.13, 0.03, 0.5, "dark")
        sheet.draw("nymph", x, foot, sheet.near(0.52, 0.03), turn=-1 if index else 1, own=sheet.pick())


def paint_genre(sheet: Sheet) -> None:
    """Company at a table, with jugs and hats, by the light of one side."""
    sheet.band(-sheet.bottom, 0.3, "stone/ground-30", "stone/ground-48")
    sheet.band(0.3, sheet.bottom, "ground-35", "ground-60")
    sheet.glow(-0.45, -0.3, 0.8, 0.65, 0.5, "light")
    sheet.line([(-sheet.right, -0.37), (sheet.right, -0.37)], "stone/ground-65", 0.03)
    for x in (-0.34, -0.12, 0.2, 0.42):
        sheet.ball(x + sheet.near(0, 0.05), -0.425, 0.035, 0.04, "gold/stone")
    people = 4 if sheet.right > 0.6 else 3
    for index in range(people):
        x, foot = (index - (people - 1) / 2) * 0.27 + sheet.near(0, 0.02), 0.33 + sheet.near(0, 0.02)
        size, turn = sheet.near(0.6, 0.04), sheet.side()
        sheet.draw("drinker", x, foot, size, turn=turn, own=f"cloth{(index + people) % 3}~")
        if sheet.rng.random() < 0.65:
            sheet.draw("cap", x, foot - 0.94 * size, size, own=sheet.pick("cloth0-50", "cloth1-50", "cloth2-50"))
    sheet.draw("table", 0, 0.2, own="ground/gold")
    for x in (-0.3, -0.02, 0.27):
        x += sheet.near(0, 0.05)
        sheet.glow(x + 0.03, 0.255, 0.08, 0.02, 0.5, "dark")
        vessel = sheet.pick("jug", "jug", "glass")
        sheet.draw(vessel, x, 0.255, sheet.near(0.12, 0.015), own=sheet.pick("stone~", "gold~", "cloth1~"))


def paint_still_life(sheet: Sheet) -> None:
    """Fruit, vessels and flowers on a table with a cloth."""
    sheet.band(-sheet.bottom, 0.2, "stone-82", "stone-75")
    sheet.glow(-0.35, -0.2, 0.7, 0.6, 0.45, "stone-40")
    edge, side = sheet.near(0.17, 0.03), sheet.side()
    sheet.band(edge, edge + 0.15, "stone+60", "stone+85")
    sheet.band(edge + 0.15, sheet.bottom, "stone", "stone-60")
    for x in (np.arange(-sheet.right, sheet.right, 0.085) + sheet.near(0, 0.03)).tolist():
        sheet.line([(x, edge + 0.16), (x + sheet.near(0, 0.02), sheet.bottom)], "stone-45~", 0.016)
    if sheet.rng.random() < 0.55:
        frame = sheet.frame(-side * 0.15, edge + 0.06, 0.58)
        for _ in range(11):
            frame.blob(frame.near(0, 0.3), frame.near(-0.66, 0.24), 0.11, "foliage-25")
        frame.ball(0, -0.17, 0.17, 0.2, frame.pick("stone", "cloth1", "gold"))
        for _ in range(12):
            petal = frame.pick("cloth0~", "cloth1~", "cloth2~", "light~")
            frame.draw("flower", frame.near(0, 0.3), frame.near(-0.66, 0.26), frame.near(0.08, 0.022), own=petal)
    else:
        clay = sheet.pick("stone~", "gold~", "cloth1~")
        sheet.draw("jug", -side * 0.2, edge + 0.07, sheet.near(0.46, 0.05), own=clay)
    sheet.draw("glass", side * 0.28, edge + 0.06, sheet.near(0.34, 0.04))
    sheet.draw("fruit", side * 0.06, edge, own=sheet.pick())
    for _ in range(4):
        sheet.ball(sheet.near(-side * 0.28, 0.12), edge + sheet.near(0.125, 0.015), 0.036, 0.036, sheet.pick())


def paint_interior(sheet: Sheet) -> None:
    """A room in perspective: chequered floor, leaded window, open door, a picture on the wall."""
    room = sheet.frame(0.06, 0, 1, sheet.side())  # the window is on the left of the room, the door on its right
    floor, wide, low = 0.12, sheet.right + 0.08, sheet.bottom
    sheet.band(-low, floor, "stone-8", "stone+15")
    depth = low + 0.02 - floor
    tiles = pairwise(depth * share for share in (0, 0.09, 0.2, 0.35, 0.55, 0.8, 1.1))
    for row, (upper, lower) in enumerate(tiles):
        for column in range(-13, 13):
            corners = ((0, upper), (1, upper), (1, lower), (0, lower))
            tile = [((column + step) * 0.075 * (1 + 3.4 * y / depth), floor + y) for step, y in corners]
            room.fill(tile, "light/stone+20" if (row + column) % 2 else "dark/ground-45")
    room.fill([(-wide, -low), (-0.22, -0.3), (-0.22, floor), (-wide, low)], "stone-35")
    room.fill([(-wide, -low), (wide, -low), (0.3, -0.3), (-0.22, -0.3)], "ground/stone-35")
    room.fill([(wide, -low), (0.3, -0.3), (0.3, floor), (wide, low)], "stone")
    for x in np.linspace(-0.8, 0.8, 7).tolist():
        room.line([(x * 0.3, -0.3), (x * 1.1, -low)], "ground-65", 0.02)

    def on_left_wall(depth: float, height: float) -> Point:
        foot, head = (low - floor) * depth * (1 - height), (0.3 - low) * depth * height
        return -0.22 - (wide - 0.22) * depth, floor * (1 - height) - 0.3 * height + foot + head

    panes = [[on_left_wall(depth, height) for height in (0.38, 0.54, 0.7, 0.86)] for depth in (0.12, 0.3, 0.53, 0.8)]
    room.fill([panes[0][0], panes[-1][0], panes[-1][-1], panes[0][-1]], "light/horizon")
    for bar in (*panes, *map(list, zip(*panes, strict=True))):
        room.line(bar, "ground-70", 0.012)
    room.draw("room", own="ground")
    if sheet.rng.random() < 0.6:
        room.draw("woman", sheet.near(0.16, 0.06), 0.35, 0.42, own=sheet.pick())


def paint_historical(sheet: Sheet) -> None:
    """A battle at sea, or lances and banners on a field, in smoke."""
    horizon, side = sheet.near(0.08, 0.03), sheet.side()
    sheet.band(-sheet.bottom, horizon, "sky-25", "horizon-8")
    _smoke(sheet, horizon, 7)
    if sheet.rng.random() < 0.5:
        _sea(sheet, horizon)
        for x, y, size in ((-0.36, 0.12, 0.24), (0.38, 0.14, 0.26), (0.02, 0.34, 0.5)):
            sheet.draw("warship", x + sheet.near(0, 0.04), horizon + y, size, turn=side, own=sheet.pick())
        _smoke(sheet, 0.34, 3)
        return
    sheet.band(horizon + 0.02, sheet.bottom, "ground", "ground-50")
    for x in np.linspace(-0.66, 0.66, 21).tolist():
        sheet.line([(x, 0.15), (x + side * sheet.near(0.12, 0.05), sheet.near(-0.3, 0.07))], "ground-70", 0.012)
    for x in (-0.4, -0.1, 0.2, 0.5)[: 4 if sheet.right > 0.6 else 3]:
        sheet.draw("banner", x + sheet.near(0, 0.04), 0.2, sheet.near(0.6, 0.05), turn=side, own=sheet.pick())
    for count, foot, size in ((11, 0.2, 0.13), (8, 0.31, 0.18), (6, 0.46, 0.25)):
        for index in range(count):
            x = ((index + 0.5) / count - 0.5) * 1.35 + sheet.near(0, 0.02)
            sheet.draw("soldier", x, foot + sheet.near(0, 0.01), size, own=sheet.pick())
    _smoke(sheet, 0.5, 2)


def _smoke(sheet: Sheet, y: float, clouds: int) -> None:
    for _ in range(clouds):
        size = sheet.near(0.2, 0.07)
        tone = sheet.pick("light", "light/stone", "stone+20")
        sheet.glow(sheet.near(0, 0.5), y - sheet.near(0.14, 0.12), size, size * 0.7, 0.65, tone)


def _sky(sheet: Sheet, horizon: float) -> None:
    sheet.band(-sheet.bottom, horizon, "sky", "horizon")
    sheet.glow(sheet.near(0, 0.3), horizon - 0.03, 0.5, 0.3, 0.55, "light")
    for _ in range(int(sheet.rng.integers(4, 8))):
        x, y, size = sheet.near(0, sheet.right), sheet.near(-0.26, 0.2), sheet.near(0.2, 0.09)
        for puff in range(-2, 3):
            height = y + sheet.near(0, 0.02)
            sheet.glow(x + puff * size * 0.4, height, size * 0.5, size * 0.26, 0.6, "light/horizon+50")
        sheet.glow(x, y + size * 0.17, size * 0.9, size * 0.1, 0.3, "sky-30")


def _hills(sheet: Sheet, base: float, colour: str) -> None:
    across = np.linspace(-sheet.right - 0.02, sheet.right + 0.02, 24)
    phase, pace = sheet.near(0, 3), sheet.near(6, 2)
    ridge = base - 0.05 * (0.5 + 0.5 * np.sin(pace * across + phase) + 0.3 * np.sin(2.7 * pace * across))
    outline = list(zip(across.tolist(), ridge.tolist(), strict=True))
    sheet.fill([*outline, (sheet.right + 0.1, sheet.bottom), (-sheet.right - 0.1, sheet.bottom)], colour)


def _sea(sheet: Sheet, horizon: float) -> None:
    sheet.band(horizon, sheet.bottom, "sky/horizon-15", "sky/distance-50")
    for _ in range(70):
        depth = float(sheet.rng.random()) ** 0.8
        x, y = sheet.near(0, sheet.right), horizon + 0.01 + depth * (sheet.bottom - horizon)
        length = 0.03 + 0.09 * depth
        crest = [(x, y), (x + length / 2, y - 0.008 * depth), (x + length, y)]
        sheet.line(crest, sheet.pick("sky/distance+42", "sky/distance-42"), 0.005 + 0.006 * depth)


#: Each makes of an empty sheet a picture of its type, from back to front; with the smallest and the largest width over
#: height: a bust is upright, a battle lies on its side.
COMPOSITIONS = {
    "religious": (paint_religious, 0.74, 0.95),
    "portrait": (paint_portrait, 0.74, 0.9),
    "landscape": (paint_landscape, 1.15, 1.5),
    "mythological": (paint_mythological, 0.95, 1.35),
    "genre": (paint_genre, 1.05, 1.35),
    "still-life": (paint_still_life, 0.85, 1.3),
    "interior": (paint_interior, 0.85, 1.25),
    "historical": (paint_historical, 1.15, 1.5),
}
