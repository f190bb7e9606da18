"""comparison.html, .md and .json: which tower, how sure, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semart_hf.files import write_json, write_text

from .chart_style import save_chart
from .comparison_tables import comparison_tables
from .conclusion import conclude
from .page import data_uri, render_markdown, render_page
from .table import Table
from .trade_off import draw_trade_off

TITLE = "Which tower"


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> list[str]:
    """The sentences of the conclusion; the comparison is written as HTML, Markdown and JSON, with its figure.

    Args:
        folder: Where everything goes.
        comparison: What `compare_runs` returns, and the `recipe`.
    """
    comparison = {**comparison, "conclusion": conclude(comparison)}
    _, svg = save_chart(draw_trade_off(comparison), folder / "figures" / "trade_off")
    tables = comparison_tables(comparison)
    circumstances = [[name, value] for name, value in _circumstances(comparison).items()]
    context = {"title": TITLE, "comparison": comparison, "tables": tables}
    page = render_page(
        "comparison.html",
        **context,
        trade_off=data_uri(svg.read_bytes(), "image/svg+xml"),
        circumstances=Table(["", ""], circumstances, num_text_columns=2),
    )
    environment = comparison["environment"]
    machine = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    write_text(folder / "comparison.html", page)
    write_text(folder / "comparison.md", render_markdown("comparison.md", **context, machine=machine))
    write_json(folder / "comparison.json", comparison)
    return list(comparison["conclusion"])


def _circumstances(comparison: Mapping[str, Any]) -> dict[str, str]:
    known = {"data": comparison["data"], "split": comparison["split"], "recipe": comparison.get("recipe", "–")}
    here = comparison["environment"]
    for name, tower in comparison["towers"].items():
        frozen, size = tower["frozen_vision_stages"] or "no", tower["image_size"]
        known[name] = f"{tower['vision']} at {size} pixels, {frozen} frozen stages, in {tower['model']}"
        trained_on = tower["trained_on"] or {}
        differing = [
            f"{key} {trained_on[key]} (here {here.get(key)})"
            for key in ("processor", "cores", "gpu", "torch")
            if key in trained_on and trained_on[key] != here.get(key)
        ]
        if differing:
            known[f"{name} was trained elsewhere"] = ", ".join(differing)
    for field, values in comparison["recipe_differences"].items():
        known[f"{field} differs"] = ", ".join(f"{name}: {value}" for name, value in values.items())
    return known | {key: str(value) for key, value in here.items()}
