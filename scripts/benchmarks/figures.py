"""What scripts/benchmark.py and the demo measured, in Markdown: templates in `pages/`, filled from results."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import tower_costs
from benchmarks.bench import FIELDS, TEXT_LENGTH
from benchmarks.measurements import WAYS
from benchmarks.search_scale import NUM_QUERIES
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
TECHNIQUES = [
    ("train", name, f"without/{name}/speed", "", "{:.2f}", "")
    for name in (*FIELDS, *(technique.name for technique in TRAINING_TECHNIQUES))
]
# What a file may hold: part, and what it is called where it is missing.
PARTS = {
    "train": "training",
    "inference": "inference",
    "memory": "memory by the number of rows",
    "startup": "start",
    "data": "preparing",
}


def speed_text(measured: Figures) -> str:
    """A machine's speeds, with what was not measured there."""
    measured = {part: figures for part, figures in measured.items() if part in PARTS}
    speeds = tower_table("ours / the notebook's", measured, SPEEDS)
    techniques = tower_table("speed left without", measured, TECHNIQUES)
    missing = [words for part, words in PARTS.items() if part not in measured]
    missing += [] if techniques else ["each technique removed"]
    trained = measured.get("train", {}).get("data", {})
    missing += [] if trained.get("device") == "cuda" else ["a GPU"]
    seconds = {name: one["seconds"] for name, one in measured.get("startup", {}).get("starts", {}).items()}
    return rendered(
        "speed.md",
        starts={name: value for name, value in seconds.items() if "--help" not in name},
        helps=[value for name, value in seconds.items() if "--help" in name],
        tables=[table for table in (speeds, techniques) if table],
        ways=WAYS,
        environment=next(iter(measured.values()))["environment"],
        commits=dict.fromkeys(commit for part in measured.values() for commit in commits_of(part)),  # measured apart
        missing=missing,
        num_rows=trained.get("rows", 0),
        measured=measured,
    )


def search_text(measured: Figures) -> str:
    """What an index of made vectors takes, by its number of rows."""
    return rendered("search.md", num_queries=NUM_QUERIES, **measured["search"])


def towers_text(measured: Figures) -> str:
    """What the larger towers take in training: measured on a CPU, estimated for GPUs."""
    recipe = read_recipe(tower_costs.RECIPE)
    return rendered("towers.md", costs=tower_costs, recipe=recipe, text_length=TEXT_LENGTH, **measured["towers"])


TEXTS = {"search": search_text, "towers": towers_text}  # of parts with a page of their own; others are speeds


def rendered(template: str, **context: Any) -> str:
    """The Markdown of a template in `pages/`; what it names and is not given is an error."""
    loader = FileSystemLoader(Path(__file__).with_name("pages"))
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(context).rstrip()


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
