"""What scripts/benchmark.py measured, in Markdown: templates in `pages/`, filled from a machine's file of results."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from benchmarks import search_scale, tower_costs
from benchmarks.bench import FIELDS
from benchmarks.measurements import WAYS
from semart_hf.documents.table import DASH, Cell, Table
from semart_hf.recipes.recipe import read_recipe
from semart_hf.training.techniques import TRAINING_TECHNIQUES

TOWERS = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0", "vit_tiny": "ViT-Tiny"}
Figures = Mapping[str, Any]
SPEEDS = [
    (part, name, *how)
    for part, rows in read_recipe(Path(__file__).with_name("speeds.yaml")).items()
    for name, how in rows.items()
]
_TECHNIQUES = *FIELDS, *(technique.name for technique in TRAINING_TECHNIQUES)
TECHNIQUES = [("train", name, f"without/{name}/speed", "", "{:.2f}", "") for name in _TECHNIQUES]
# What a file may hold: part, and what it is called where it is missing.
PARTS = {
    "train": "training",
    "inference": "inference",
    "memory": "memory by the number of rows",
    "startup": "start",
    "data": "preparing",
}


def figures_text(measured: Figures) -> str:
    """A file's figures: of the larger towers, of an index, or of a machine's speeds, with what is missing there."""
    if "towers" in measured:
        about = vars(tower_costs) | {"recipe": read_recipe(tower_costs.RECIPE)}
        return rendered("towers.md", **about | measured["towers"])
    if "search" in measured:
        return rendered("search.md", num_queries=search_scale.NUM_QUERIES, **measured["search"])
    tables = [
        tower_table("ours / the notebook's", measured, SPEEDS),
        tower_table("speed left without", measured, TECHNIQUES),
    ]
    missing = [words for part, words in PARTS.items() if part not in measured]
    missing += [] if tables[1] else ["each technique removed"]
    trained = measured.get("train", {}).get("data", {})
    missing += [] if trained.get("device") == "cuda" else ["a GPU"]
    seconds = {name: one["seconds"] for name, one in measured.get("startup", {}).get("starts", {}).items()}
    return rendered(
        "speed.md",
        starts={name: value for name, value in seconds.items() if "--help" not in name},
        helps=[value for name, value in seconds.items() if "--help" in name],
        tables=[*filter(None, tables)],
        ways=WAYS,
        environment=next(iter(measured.values()))["environment"],
        commits=dict.fromkeys(commit for part in measured.values() for commit in commits_of(part)),  # measured apart
        missing=missing,
        num_rows=trained.get("rows", 0),
        **{part: measured.get(part, {}) for part in ("startup", "memory", "data")},
    )


def rendered(template: str, **context: Any) -> str:
    return page_environment(Path(__file__).with_name("pages")).get_template(template).render(context).rstrip()


def page_environment(folder: Path) -> Environment:
    """The environment of a folder's Markdown templates."""
    loader = FileSystemLoader(folder)
    return Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def commits_of(part: Figures) -> list[str]:
    """The commits that a part's figures are of: each tower's, or that of all."""
    return [one["commit"] for one in part.get("towers", {}).values()] or [part["environment"]["commit"]]


def tower_table(title: str, measured: Figures, rows: Sequence[tuple[str, str, str, str, str, str]]) -> str:
    """A table with a column for each tower, and a row for what any of them has; empty where nothing was measured."""
    found = {part: measured.get(part, {}).get("towers", {}) for part in ("train", "inference")}
    towers = list(dict.fromkeys([*found["train"], *found["inference"]]))
    lines = [[name, *(cell(found[part].get(tower), *how) for tower in towers)] for part, name, *how in rows]
    lines = [line for line in lines if set(line[1:]) - {DASH}]
    header = [title, *(TOWERS.get(tower, tower) for tower in towers)]
    return Table(header, lines, num_text_columns=len(header)).markdown() if lines else ""


def cell(figures: Any, ratio: str, both: str, ratio_form: str, form: str) -> Cell | str:
    """For example `**4.0** (3.9–4.2; 20.1 / 5.0)`: a ratio, its spread if it has one, and both sides' figures."""
    found, sides = (reduce(lambda one, key: (one or {}).get(key), keys.split("/"), figures) for keys in (ratio, both))
    if not found and not sides:
        return DASH
    values = [_median(sides[side]) for side in ("ours", "notebook")] if sides else []
    words = " / ".join(form.format(value) for value in values)
    if not found:
        return words
    spread = f"{ratio_form}–{ratio_form}".format(found["min"], found["max"]) if isinstance(found, Mapping) else ""
    return Cell(ratio_form.format(_median(found)), "; ".join(filter(None, [spread, words])), is_strong=bool(words))


def _median(figure: Any) -> Any:
    return figure["median"] if isinstance(figure, Mapping) else figure
