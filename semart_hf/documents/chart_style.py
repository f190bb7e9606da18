"""How charts look and are stored: colours for any eye, no background of their own, ink that follows day and night."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from .page import data_uri

matplotlib.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Source: Okabe & Ito 2008, Color Universal Design; distinct with any colour vision.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
# Readable on white (contrast 4.5) and on a page at night (4.2): PNG files cannot follow the reader's theme.
INK = "#767676"
# Inches: on a phone's 360 pixels a chart this wide keeps its type above 10 pixels.
WIDTH = 4.8
PNG_DPI = 140
STYLE: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "semart",
    "text.parse_math": False,  # a label with two dollar signs is no formula
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
    ),
    "grid.color": INK,
}
# The page's own; they are narrower than DejaVu Sans, by which matplotlib makes room.
_FONTS = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans'"
_THEME = (
    "<style>:root { color: #211f1b } @media (prefers-color-scheme: dark) { :root { color: #ece8e1 } }"
    " @media print { :root { color: #000 } }</style>"
)


@contextmanager
def styled() -> Iterator[None]:
    """The style of all charts, for as long as one is drawn."""
    with plt.rc_context(STYLE):
        yield


def svg_of(figure: Figure) -> str:
    """The figure as SVG whose ink is light at night and dark by day; the figure is closed."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    head, rest = buffer.getvalue().split("<defs>", 1)
    rest = rest.replace(INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    return f"{head}{_THEME}<defs>{rest}"


def chart_uri(figure: Figure) -> str:
    """The figure as an address for `<img>`; the figure is closed."""
    return data_uri(svg_of(figure).encode(), "image/svg+xml")


def save_chart(figure: Figure, path: Path) -> list[Path]:
    """`path`.png and `path`.svg of the figure; equal figures are equal files. The figure is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".png"), path.with_suffix(".svg")]
    with styled():
        figure.savefig(files[0], dpi=PNG_DPI, metadata={"Software": None})
    files[1].write_text(svg_of(figure), encoding="utf-8")
    return files
