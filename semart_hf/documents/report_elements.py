"""The parts that a report page is made of: figures drawn as SVG, tables, sheets of pictures; all text escaped."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image

#: Colours of the splits in every figure, in their order; they stay apart in greyscale print and for the colour-blind.
SPLIT_COLOURS = ("#1f3a5f", "#c8862b", "#7fa6a3", "#8c6d8f")

_STYLE = """
:root { --ink: #23201c; --faint: #6f675c; --line: #ddd5c8; --paper: #fbf9f5; --mark: #8c2f1b; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 "Source Sans 3", "Segoe UI", Helvetica,
  Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 48px 28px 72px; }
h1, h2, h3 { font-family: "Iowan Old Style", Palatino, "Palatino Linotype", Georgia, serif; font-weight: 600; }
h1 { font-size: 40px; line-height: 1.15; margin: 0 0 8px; }
h2 { font-size: 25px; margin: 60px 0 6px; padding-top: 16px; border-top: 2px solid var(--ink); }
h3 { font-size: 18px; margin: 26px 0 4px; }
p { max-width: 76ch; margin: 6px 0 12px; }
.lead, .note { color: var(--faint); }
.lead { font-size: 17px; }
.note { font-size: 13px; }
.figures { display: flex; flex-wrap: wrap; gap: 14px 40px; margin: 24px 0 8px; }
.figures div { min-width: 90px; }
.figures b { display: block; font: 600 30px/1.1 "Iowan Old Style", Palatino, Georgia, serif; }
.figures span { color: var(--faint); font-size: 13px; }
table { border-collapse: collapse; margin: 10px 0 18px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--faint); }
th, td { padding: 5px 20px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
.sheet { display: flex; flex-wrap: wrap; gap: 28px 22px; align-items: flex-start; margin: 20px 0; }
figure { margin: 0; }
.wall { display: flex; align-items: flex-end; height: 190px; }
figure img { display: block; box-shadow: 0 1px 5px #0004; }
.blank { display: flex; align-items: center; justify-content: center; width: 128px; height: 150px; padding: 10px;
  background: #efe9df; color: var(--faint); border: 1px dashed #b9ae9c; font-size: 12px; text-align: center; }
figcaption { margin-top: 8px; font-size: 12px; line-height: 1.35; overflow-wrap: break-word; }
figcaption i { display: block; font-family: Palatino, Georgia, serif; font-size: 13.5px; }
figcaption .labels { color: var(--mark); display: block; }
figcaption .from { color: var(--faint); }
.pair { display: flex; gap: 10px; padding-right: 20px; border-right: 1px solid var(--line); }
.columns { display: flex; flex-wrap: wrap; gap: 4px 56px; align-items: flex-start; }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 14px; vertical-align: -1px; }
svg { display: block; margin: 8px 0 12px; max-width: 100%; height: auto; font: 12px "Source Sans 3", Helvetica, Arial,
  sans-serif; fill: var(--ink); }
svg .faint { fill: var(--faint); }
code { font-size: 13px; }
"""


@dataclass(frozen=True)
class Exhibit:
    """One picture of a sheet.

    Attributes:
        jpeg: The picture; `None` shows an empty frame with `absence` in it.
        title: First line under it, in italics.
        lines: Further lines.
        labels: What it is said to be.
        origin: Where it comes from, in small.
        absence: What an empty frame says.
    """

    jpeg: bytes | None
    title: str
    lines: Sequence[str] = ()
    labels: str = ""
    origin: str = ""
    absence: str = "no picture"


def page(title: str, body: str) -> str:
    """A whole HTML page that needs no other file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading with what stands under it."""
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(part for part in parts if part)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` may be `lead` or `note`."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def key_figures(figures: Mapping[str, str]) -> str:
    """Large numbers in a row, by what they count."""
    cells = (f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures.items())
    return f'<div class="figures">{"".join(cells)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose whole numbers stand on the right."""
    numeric = [all(isinstance(row[column], int) for row in rows) for column in range(len(header))]

    def cell(tag: str, value: Any, is_number: bool) -> str:
        text = f"{value:,}" if isinstance(value, int) else escape(str(value))
        return f'<{tag} class="number">{text}</{tag}>' if is_number else f"<{tag}>{text}</{tag}>"

    lines = ["".join(cell("th", name, number) for name, number in zip(header, numeric, strict=True))]
    lines += ["".join(cell("td", value, number) for value, number in zip(row, numeric, strict=True)) for row in rows]
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def split_key(splits: Sequence[str]) -> str:
    """Which colour is which split."""
    keys = (
        f'<span class="key" style="background:{SPLIT_COLOURS[number % len(SPLIT_COLOURS)]}"></span>{escape(split)}'
        for number, split in enumerate(splits)
    )
    return f'<p class="note">Share of each split: {"".join(keys)}</p>'


def bars(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str], width: int = 520) -> str:
    """For each label one bar a split, as long as its share of that split, with the counts beside it.

    Args:
        counts: By split and label.
        labels: The labels in the order they are drawn.
        width: Of the drawing in pixels.
    """
    totals = {split: max(1, sum(of_split.values())) for split, of_split in counts.items()}
    largest = max(
        (of_split.get(label, 0) / totals[split] for split, of_split in counts.items() for label in labels), default=0
    )
    bar, gap, left = 6, 9, 128
    right = 12 + 6 * max((len(_counts_text(counts, label)) for label in labels), default=0)
    scale = (width - left - right) / (largest or 1)
    step = bar * len(counts) + gap
    shapes = []
    for place, label in enumerate(labels):
        top = place * step
        middle = top + step / 2
        shapes.append(f'<text x="{left - 8}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
        longest = 0.0
        for number, (split, of_split) in enumerate(counts.items()):
            length = scale * of_split.get(label, 0) / totals[split]
            longest = max(longest, length)
            colour = SPLIT_COLOURS[number % len(SPLIT_COLOURS)]
            shapes.append(
                f'<rect x="{left}" y="{top + number * bar}" width="{max(length, 0.5):.1f}" height="{bar - 1}" '
                f'fill="{colour}"/>'
            )
        text = _counts_text(counts, label)
        shapes.append(f'<text class="faint" x="{left + longest + 6:.1f}" y="{middle:.1f}">{text}</text>')
    return _svg(width, step * len(labels) + 6, shapes)


def heat_map(counts: Mapping[tuple[str, str], int], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Counts of pairs as a grid, darker where there are more; empty where there are none."""
    left, top, wide, high = 120, 74, 56, 25
    largest = max(counts.values(), default=1)
    shapes = []
    for place, name in enumerate(columns):
        x = left + place * wide + wide / 2
        shapes.append(f'<text transform="translate({x - 6:.1f},{top - 8}) rotate(-40)">{escape(name)}</text>')
    for line, row in enumerate(rows):
        y = top + line * high
        shapes.append(f'<text x="{left - 10}" y="{y + 17}" text-anchor="end">{escape(row)}</text>')
        for place, column in enumerate(columns):
            count, x = counts.get((row, column), 0), left + place * wide
            strength = math.sqrt(count / largest)  # the root shows the rare beside the frequent
            fill = f"rgba(140,47,27,{strength:.3f})" if count else "#f1ece3"
            shapes.append(f'<rect x="{x}" y="{y}" width="{wide - 2}" height="{high - 2}" fill="{fill}"/>')
            if count:
                ink = "#fff" if strength > 0.55 else "#23201c"
                shapes.append(
                    f'<text x="{x + wide / 2 - 1}" y="{y + 16}" text-anchor="middle" style="fill:{ink}">'
                    f"{count:,}</text>"
                )
    return _svg(left + wide * len(columns) + 24, top + high * len(rows) + 6, shapes)


def histogram(counts: Sequence[int], step: int, unit: str, marks: Mapping[int, str] | None = None) -> str:
    """Columns of counts, each over `step` of the unit, the last one open to the right; `marks` are upright lines."""
    width, height, left, top = 720, 170, 10, 26
    wide = (width - 2 * left) / max(1, len(counts))
    largest = max(counts, default=0) or 1
    shapes = []
    for place, count in enumerate(counts):
        high = height * count / largest
        shapes.append(
            f'<rect x="{left + place * wide:.1f}" y="{top + height - high:.1f}" width="{wide - 1:.1f}" '
            f'height="{high:.1f}" fill="{SPLIT_COLOURS[0]}"><title>{count:,}</title></rect>'
        )
    every = max(1, len(counts) // 12)
    for place in range(0, len(counts), every):
        more = "+" if place == len(counts) - 1 else ""
        x = left + place * wide
        shapes.append(f'<text class="faint" x="{x:.1f}" y="{top + height + 16}">{place * step:,}{more}</text>')
    for value, text in (marks or {}).items():
        x = left + wide * value / step
        if x < width - left:
            shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{top + height}" stroke="#8c2f1b"/>')
            shapes.append(f'<text x="{x + 5:.1f}" y="16" style="fill:#8c2f1b">{escape(text)}</text>')
    shapes.append(
        f'<text class="faint" x="{width - left}" y="{top + height + 32}" text-anchor="end">{escape(unit)}</text>'
    )
    return _svg(width, top + height + 38, shapes)


def scatter(points: Sequence[tuple[int, int]], horizontal: str, vertical: str) -> str:
    """Sizes as points, wide pictures under the diagonal, upright ones over it."""
    side, left, top = 380, 48, 10
    largest = max((max(point) for point in points), default=1)
    magnitude = 10 ** int(math.log10(largest))
    top_value = math.ceil(largest / magnitude) * magnitude
    scale = side / top_value
    shapes = [
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="#f4efe7"/>',
        f'<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="#cfc5b4"/>',
    ]
    for part in range(0, 5):
        value = top_value * part // 4
        at = value * scale
        shapes.append(
            f'<text class="faint" x="{left + at:.0f}" y="{top + side + 16}" text-anchor="middle">{value:,}</text>'
            f'<text class="faint" x="{left - 6}" y="{top + side - at + 4:.0f}" text-anchor="end">{value:,}</text>'
        )
    for wide, high in points:
        shapes.append(
            f'<circle cx="{left + wide * scale:.1f}" cy="{top + side - high * scale:.1f}" r="2.2" fill="#1f3a5f" '
            'fill-opacity="0.35"/>'
        )
    shapes.append(
        f'<text class="faint" x="{left + side}" y="{top + side + 32}" text-anchor="end">{escape(horizontal)}</text>'
    )
    shapes.append(f'<text class="faint" x="{left + 6}" y="{top + 16}">{escape(vertical)}</text>')
    return _svg(left + side + 22, top + side + 38, shapes)


def sheet(exhibits: Sequence[Exhibit]) -> str:
    """Pictures side by side with their labels."""
    return f'<div class="sheet">{"".join(_figure(exhibit) for exhibit in exhibits)}</div>'


def pairs(couples: Sequence[tuple[Exhibit, Exhibit]]) -> str:
    """Pictures two by two."""
    cells = (f'<div class="pair">{_figure(first)}{_figure(second)}</div>' for first, second in couples)
    return f'<div class="sheet">{"".join(cells)}</div>'


def _figure(exhibit: Exhibit) -> str:
    if exhibit.jpeg is None:
        width, picture = 128, f'<div class="blank">{escape(exhibit.absence)}</div>'
    else:
        width, height = _hanging_size(exhibit.jpeg)
        data = base64.b64encode(exhibit.jpeg).decode("ascii")
        source = f'src="data:image/jpeg;base64,{data}" width="{width}" height="{height}"'
        picture = f'<img alt="{escape(exhibit.title)}" {source}>'
    caption = f"<i>{escape(exhibit.title)}</i>" + "".join(f"{escape(line)}<br>" for line in exhibit.lines)
    if exhibit.labels:
        caption += f'<span class="labels">{escape(exhibit.labels)}</span>'
    if exhibit.origin:
        caption += f'<span class="from">{escape(exhibit.origin)}</span>'
    return (
        f'<figure style="width:{max(width, 128)}px"><div class="wall">{picture}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _hanging_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height of a picture on a sheet, where all have nearly the same area, as in a hang by eye."""
    width, height = Image.open(io.BytesIO(jpeg)).size
    scale = min(math.sqrt(150 * 150 / (width * height)), 190 / height, 320 / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _counts_text(counts: Mapping[str, Mapping[str, int]], label: str) -> str:
    return " · ".join(f"{of_split.get(label, 0):,}" for of_split in counts.values())


def _svg(width: float, height: float, shapes: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img">' + "".join(shapes) + "</svg>"
    )
