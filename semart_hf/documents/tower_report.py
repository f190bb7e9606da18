"""comparison.html and comparison.md: which tower, how sure, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from .page_parts import drawing, facts, heading, page, paragraph
from .page_parts import table as html_table
from .tower_tables import Cell, Table, comparison_tables

TITLE = "Which tower"


def render_page(comparison: Mapping[str, Any], trade_off: Path) -> str:
    """The comparison as one HTML page.

    Args:
        comparison: What comparison.json holds.
        trade_off: PNG file of the figure.
    """
    tables = comparison_tables(comparison)
    links = "".join(f'<a href="#{_anchor(table)}">{escape(table.title)}</a>' for table in tables)
    return page(
        f"{TITLE}: {', '.join(comparison['towers'])}",
        [
            f"<h1>{escape(TITLE)}</h1>",
            f'<p class="lead">{escape(" ".join(comparison["conclusion"]))}</p>',
            f"<nav>{links}</nav>",
            drawing(trade_off, "Mean accuracy of each tower against its cost, with the Pareto front"),
            paragraph(
                "Filled: no other tower is as accurate at less cost, or more accurate at no more; the line joins "
                "them. Down and to the right of it nothing is gained.",
                "note",
            ),
            *(part for table in tables for part in _html_parts(table)),
            *_html_circumstances(comparison),
        ],
    )


def _anchor(table: Table) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in table.title.lower()).strip("-")


def _html_parts(table: Table) -> list[str]:
    rows = [[_html_cell(cell) for cell in row] for row in table.rows]
    return [
        heading(table.title, 2, _anchor(table)),
        html_table(table.header, rows),
        *(paragraph(note, "note") for note in table.notes),
    ]


def _html_cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.is_strong else escape(cell.text)
    return f"{text}<br><small>{escape(cell.small)}</small>" if cell.small else text


def _html_circumstances(comparison: Mapping[str, Any]) -> list[str]:
    return [heading("How this was measured", 2, "circumstances"), facts(_circumstances(comparison))]


def _circumstances(comparison: Mapping[str, Any]) -> dict[str, str]:
    known = {"data": comparison["data"], "split": comparison["split"], "recipe": comparison.get("recipe", "–")}
    for name, tower in comparison["towers"].items():
        frozen, size = tower["frozen_vision_stages"] or "no", tower["image_size"]
        known[name] = f"{tower['vision']} at {size} pixels, {frozen} frozen stages, in {tower['model']}"
        trained_on = tower["trained_on"] or {}
        here = comparison["environment"]
        differing = [
            f"{key} {trained_on[key]} (here {here.get(key)})"
            for key in ("processor", "cores", "gpu", "torch")
            if key in trained_on and trained_on[key] != here.get(key)
        ]
        if differing:
            known[f"{name} was trained elsewhere"] = ", ".join(differing)
    for field, values in comparison["recipe_differences"].items():
        known[f"{field} differs"] = ", ".join(f"{name}: {value}" for name, value in values.items())
    return known | {key: str(value) for key, value in comparison["environment"].items()}


def render_markdown(comparison: Mapping[str, Any], trade_off: str) -> str:
    """The comparison in Markdown.

    Args:
        comparison: What comparison.json holds.
        trade_off: The figure's file as the Markdown file links to it.
    """
    parts = [f"# {TITLE}", " ".join(comparison["conclusion"]), f"![Accuracy against cost]({trade_off})"]
    for table in comparison_tables(comparison):
        parts += [f"## {table.title}", _markdown_table(table), *table.notes]
    environment = comparison["environment"]
    machine = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    parts.append(
        f"Measured on {machine} with torch {environment['torch']}, transformers {environment['transformers']}, commit "
        f"{environment['commit']}, by `scripts/compare_towers.py`."
    )
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    head = "| " + " | ".join(name or " " for name in table.header) + " |"
    rule = "|" + "|".join(["---", *["---:"] * (len(table.header) - 1)]) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows)])


def _markdown_cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    text = f"**{text}**" if cell.is_strong else text
    return f"{text} ({cell.small})" if cell.small else text
