"""The parts of a report's page: one HTML file without any other, good by day and night, on a phone and on paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from semart_hf.evaluation.explanations import Explanation

from .heatmap import overlay_jpeg

STYLE = """
:root { color-scheme: light dark; --ink: #211f1b; --faint: #6b645a; --line: #ddd6ca; --paper: #fbfaf7; --card: #fff;
  --link: #0b5c93; --shade: 0, 92, 160; --for: 213, 94, 0; --against: 0, 114, 178; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece8e1; --faint: #a59d91; --line: #3b3833; --paper: #171614;
  --card: #211f1c; --link: #7cc0f0; --shade: 90, 170, 230; --for: 240, 130, 50; --against: 80, 170, 230; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 72px; }
h1, h2, h3 { font-family: "Iowan Old Style", Palatino, Georgia, "DejaVu Serif", serif; line-height: 1.2; }
h1 { font-size: 2.3rem; margin: 0 0 .3em; overflow-wrap: anywhere; }
h2 { font-size: 1.6rem; margin: 2.6em 0 .5em; padding-top: .7em; border-top: 2px solid var(--ink); }
h3 { font-size: 1.2rem; margin: 1.8em 0 .4em; }
p { max-width: 74ch; margin: .4em 0 .9em; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 18px 0; }
.lead { font-size: 1.1rem; }
.note, figcaption { color: var(--faint); font-size: .86rem; }
.scroll { overflow-x: auto; margin: 12px 0 20px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-size: .82rem; line-height: 1.25; font-weight: 600; text-align: left;
  vertical-align: bottom; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
td small { color: var(--faint); }
table.facts th { color: inherit; font-size: .9rem; white-space: nowrap; vertical-align: top; }
table.facts td { overflow-wrap: anywhere; }
tr.total td { border-top: 2px solid var(--line); font-weight: 600; }
.hole { color: var(--faint); font-style: italic; }
figure { margin: 0; }
figure.drawing { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 10px; margin: 14px 0;
  width: fit-content; max-width: 100%; }
figure.drawing img { display: block; width: 760px; max-width: 100%; height: auto; }
table.confusion td, table.confusion th { padding: 0; border: 1px solid var(--line); text-align: center;
  font-size: .78rem; }
table.confusion td { min-width: 34px; height: 30px; }
table.confusion td a { display: block; padding: 4px 3px; color: inherit; text-decoration: none; line-height: 1.15; }
table.confusion td a:hover, table.confusion td a:focus { outline: 2px solid var(--link); }
table.confusion th { font-weight: 500; color: var(--ink); vertical-align: middle; }
table.confusion tbody th { text-align: right; padding: 0 8px; white-space: nowrap; position: sticky; left: 0;
  background: var(--paper); }
table.confusion thead th { height: 112px; vertical-align: bottom; }
table.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); padding: 6px 0;
  white-space: nowrap; }
table.confusion td { color: #000; }
table.confusion td.full { color: #fff; }
@media (prefers-color-scheme: dark) { table.confusion td { color: #fff; }
  table.confusion td.strong, table.confusion td.full { color: #000; } }
summary { cursor: pointer; color: var(--link); }
.wall { display: flex; flex-wrap: wrap; gap: 22px 18px; margin: 14px 0; }
.painting { width: 148px; font-size: .84rem; line-height: 1.35; }
.painting svg { display: block; width: 144px; height: 144px; margin-bottom: 6px; }
.painting .blank { width: 144px; height: 144px; margin-bottom: 6px; display: flex; align-items: center;
  justify-content: center; border: 1px dashed var(--line); color: var(--faint); }
.painting i { display: block; overflow-wrap: anywhere; }
.painting .author { color: var(--faint); display: block; }
section.cell { display: none; border: 1px solid var(--line); background: var(--card); border-radius: 6px;
  padding: 4px 18px 8px; margin: 12px 0; scroll-margin-top: 12px; }
section.cell:target { display: block; }
.why { display: flex; flex-wrap: wrap; gap: 20px 28px; margin: 18px 0 30px; align-items: flex-start; }
.why .pictures { display: flex; gap: 10px; flex-wrap: wrap; }
.why .pictures img { width: 224px; max-width: 44vw; height: auto; display: block; }
.why .words { flex: 1 1 300px; max-width: 74ch; line-height: 1.9; }
.words mark { color: inherit; padding: 1px 2px; border-radius: 3px; }
.words .unread { color: var(--faint); }
@media (max-width: 600px) { main { padding: 22px 14px 48px; } h1 { font-size: 1.7rem; }
  th, td { padding-right: 12px; } .painting { width: 104px; } .painting svg, .painting .blank { width: 100px;
  height: 100px; } }
@media print { :root { --ink: #000; --paper: #fff; --card: #fff; --faint: #444; --line: #bbb; --link: #000;
  --shade: 0, 92, 160; } body { font-size: 10.5pt; } main { max-width: none; padding: 0; } nav { display: none; }
  section.cell, section.cell:target { display: none; } figure, .why, .painting, tr, table { break-inside: avoid; }
  h2, h3, .note { break-after: avoid; } .scroll { overflow: visible; } a { text-decoration: none; }
  table.confusion td { color: #000; min-width: 22px; } table.confusion td.full { color: #fff; }
  table.confusion td, table.confusion th { font-size: 7pt; } table.confusion td a { padding: 4px 1px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


EXPLANATION_LEGEND = (
    "What the model saw, where it glows for the answer that was given, and the words of the description: orange words "
    "spoke for the answer, blue ones against it. Integrated gradients, from a blank picture and masked words to the "
    "painting as it is: the contributions of picture and description add up to the change in the answer's log odds, "
    "where +0.7 doubles the odds."
)
# Log odds: where no word says more, all are faint, because none of them mattered.
LEAST_FULL_WEIGHT = 0.1


def page(title: str, body: Iterable[str]) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        # A line must not end between a number and its sign.
        + re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", "\n".join(part for part in body if part))
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2, anchor: str | None = None) -> str:
    """A heading that can be linked to."""
    name = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{name}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def percent(fraction: float | None, interval: Sequence[float] | None = None) -> str:
    """Cell of a fraction in percent, with its interval in small; a hole says so."""
    if fraction is None:
        return '<span class="hole">no label</span>'
    span = f" <small>{100 * interval[0]:.1f}–{100 * interval[1]:.1f}</small>" if interval else ""
    return f"{100 * fraction:.1f}{span}"


def number(value: float | None, digits: int = 3) -> str:
    """Cell of a number; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None) -> str:
    """A table of ready cells, the first column text, the others numbers; it scrolls by itself where it is too wide."""
    head = "".join(f"<th{'' if not at else _NUMBER}>{escape(name)}</th>" for at, name in enumerate(header))
    body = [_row(row) for row in rows]
    if total is not None:
        body.append(_row(total, ' class="total"'))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def shade(share: float) -> str:
    """Attributes of a confusion cell: the darker, the larger the share, its text black or white, as is read better."""
    kind = "full" if share > 0.84 else "strong" if share > 0.68 else "slight"
    return f' class="{kind}" style="background:rgba(var(--shade),{0.08 + 0.88 * share:.2f})"'


def facts(known: Mapping[str, object]) -> str:
    """A table of names and what they are, which wraps where it is too wide; a dash for what is not known."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape("–" if value is None else str(value))}</td></tr>'
        for name, value in known.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


_NUMBER = ' class="number"'


def _row(cells: Sequence[str], attributes: str = "") -> str:
    inner = "".join(f"<td{'' if not at else _NUMBER}>{cell}</td>" for at, cell in enumerate(cells))
    return f"<tr{attributes}>{inner}</tr>"


def drawing(path: Path, description: str) -> str:
    """A figure file, embedded."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure class="drawing"><img alt="{escape(description)}" src="data:image/png;base64,{data}"></figure>'


def picture_store(pictures: Mapping[int, bytes | None]) -> str:
    """All thumbnails, each once, for `painting` to show as often as it likes."""
    images = "".join(
        f'<image id="p{row}" width="144" height="144" href="data:image/jpeg;base64,'
        f'{base64.b64encode(jpeg).decode("ascii")}"/>'
        for row, jpeg in pictures.items()
        if jpeg is not None
    )
    return f'<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>{images}</defs></svg>'


def painting(row: int, has_picture: bool, title: str, author: str, lines: Sequence[str]) -> str:
    """A thumbnail with its title, author and further lines."""
    shown = (
        f'<svg viewBox="0 0 144 144" role="img" aria-label="{escape(title)}"><use href="#p{row}"/></svg>'
        if has_picture
        else '<div class="blank">no picture</div>'
    )
    below = "".join(f"{escape(line)}<br>" for line in lines)
    by = f'<span class="author">{escape(author)}</span>' if author else ""
    return f'<figure class="painting">{shown}<i>{escape(title)}</i>{by}{below}</figure>'


def explanation_block(explanation: Explanation, headline: str) -> str:
    """What the model saw, where it looked, and the words with their weights."""
    pictures = ""
    if explanation.picture is not None and explanation.heat is not None:
        for heat, alt in ((None, "what the model saw"), (explanation.heat, "what spoke for the answer")):
            data = base64.b64encode(overlay_jpeg(explanation.picture, heat)).decode("ascii")
            pictures += f'<img alt="{alt}" src="data:image/jpeg;base64,{data}">'
        pictures = f'<div class="pictures">{pictures}</div>'
    weights = [abs(weight) for _, weight in explanation.words if weight is not None]
    largest = max([*weights, LEAST_FULL_WEIGHT])
    words = " ".join(_word(word, weight, largest) for word, weight in explanation.words)
    parts = [
        f"{kind} {signed(total, 1)}"
        for kind, total, is_there in (
            ("picture", explanation.picture_total, explanation.picture is not None),
            ("description", explanation.text_total, bool(explanation.words)),
        )
        if is_there
    ]
    words = words or '<span class="unread">no description</span>'
    return (
        f'<h3>{escape(headline)}</h3><p class="note">In log odds: {", ".join(parts)}.</p>'
        f'<div class="why">{pictures}<div class="words">{words}</div></div>'
    )


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus; zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(digit in "123456789" for digit in text) else text[1:]


def _word(word: str, weight: float | None, largest: float) -> str:
    if weight is None:
        return f'<span class="unread">{escape(word)}</span>'
    strength = abs(weight) / largest
    if strength < 0.08:
        return escape(word)
    color = "--for" if weight > 0 else "--against"
    style = f"background:rgba(var({color}),{0.65 * strength:.2f})"
    return f'<mark title="{signed(weight, 2)}" style="{style}">{escape(word)}</mark>'
