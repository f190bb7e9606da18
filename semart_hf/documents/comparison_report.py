"""comparison.html, .md and .json: which tower, how sure, at what cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from semart_hf.evaluation.comparison import p_value_words, signed_points
from semart_hf.evaluation.published import PUBLISHED, SOURCES_IN_WORDS
from semart_hf.files import write_json, write_text

from .charts import draw_trade_off, save_chart
from .page import data_uri, render_markdown, render_page
from .result_tables import modality_words
from .table import DASH, Cell, Table, enumeration, percent


def _operations(value: float) -> str:
    return f"{value / 1e9:.2f} G" if value >= 1e8 else f"{value / 1e6:.1f} M"


_COST_ROWS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "parameters": ("parameters", lambda value: f"{value / 1e6:.2f} M"),
    "trained_parameters": ("of these trained", lambda value: f"{value / 1e6:.2f} M"),
    "flops_forward": ("operations a painting, forward", _operations),
    "epochs": ("epochs trained", lambda value: f"{value:g}"),
    "training_paintings": ("paintings an epoch", lambda value: f"{value:,}"),
    "seconds_per_epoch": ("seconds an epoch", lambda value: f"{value:.1f}"),
    "training_peak_memory_bytes": ("training, peak memory", lambda value: f"{value / 1e6:.0f} MB"),
    "milliseconds_per_painting": ("one painting, milliseconds", lambda value: f"{value:.1f}"),
    "paintings_per_second_best": ("fastest batch, paintings a second", lambda value: f"{value:.1f}"),
    "best_batch_size": ("paintings of that batch", lambda value: f"{value}"),
    "inference_peak_memory_bytes": ("inference, peak memory", lambda value: f"{value / 1e6:.0f} MB"),
    "weights_bytes": ("weights on disk", lambda value: f"{value / 1e6:.0f} MB"),
}


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> list[str]:
    """The sentences of the conclusion; the comparison is written as HTML, Markdown and JSON, with its figure.

    Args:
        folder: Where everything goes.
        comparison: What `compare_runs` returns, and the `recipe`.
    """
    comparison = {**comparison, "conclusion": conclude(comparison)}
    svg = save_chart(draw_trade_off(comparison), folder / "figures" / "trade_off")
    tables = [*comparison_tables(comparison), _circumstances(comparison)]
    context = {"title": "Which tower", "comparison": comparison, "tables": tables}
    page = render_page("comparison.html", **context, trade_off=data_uri(svg.encode(), "image/svg+xml"))
    write_text(folder / "comparison.html", page)
    write_text(folder / "comparison.md", render_markdown("comparison.md", **context))
    write_json(folder / "comparison.json", comparison)
    return list(comparison["conclusion"])


def conclude(comparison: Mapping[str, Any]) -> list[str]:
    """Sentences made from the other fields of comparison.json: which tower is ahead, and what that rests on."""
    scores = {name: tower["scores"]["image+text"] for name, tower in comparison["towers"].items()}
    ranked = sorted(scores, key=lambda name: -scores[name]["mean_accuracy"])
    means = {
        name: percent(scores[name]["mean_accuracy"], scores[name]["intervals"]["mean_accuracy"]) for name in ranked
    }
    sentences = [
        f"On the {comparison['num_rows']} paintings of the {comparison['split']} split the mean accuracy over "
        f"{enumeration(comparison['tasks'])} is, with 95 % intervals: "
        f"{', '.join(f'{name} {mean.text} % ({mean.small})' for name, mean in means.items())}."
    ]
    leads: dict[bool, list[str]] = {True: [], False: []}
    for pair in comparison["pairs"]:
        if ranked[0] in (pair["first"], pair["second"]):
            entry = pair["mean"]["accuracy"]
            _, other, words = _lead(pair, entry)
            leads[entry["is_significant_among_all"]].append(f"{other} by {words}")
    if leads[True]:
        sentences.append(f"{ranked[0]} is ahead of {enumeration(leads[True])}.")
    if leads[False]:
        sentences.append(f"Not significant: {ranked[0]} ahead of {enumeration(leads[False])}.")
    num_compared, better = 0, dict[tuple[str, str], list[str]]()
    for pair in comparison["pairs"]:
        for task, scored in pair["tasks"].items():
            num_compared += "accuracy" in scored
            if scored.get("accuracy", {}).get("is_significant_among_all"):
                first, second, _ = _lead(pair, scored["accuracy"])
                points = 100 * abs(scored["accuracy"]["difference"])
                better.setdefault((first, second), []).append(f"{task} ({points:.1f} points)")
    won = [f"{first} is better than {second} on {enumeration(on)}" for (first, second), on in better.items()]
    found = f"{'; '.join(won)}. No other difference by task is" if won else "no difference is"
    sentences.append(f"By task (McNemar's test, corrected for {num_compared} comparisons): {found} significant.")
    caveat = (
        "Every tower was trained once: the intervals say what other test paintings would change, not what another "
    )
    caveat += "seed would."
    if fields := list(comparison["recipe_differences"]):
        caveat += f" The towers were not trained by one recipe, but with different {enumeration(fields)}."
    return [*sentences, caveat]


def _lead(pair: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """The better tower of a pair, the other, and by how much."""
    first, second, (low, high) = pair["first"], pair["second"], entry["interval"]
    if entry["difference"] < 0:
        first, second, low, high = second, first, -high, -low
    span = f"{signed_points(100 * low)} to {signed_points(100 * high)}, {p_value_words(entry['p_corrected'])}"
    return first, second, f"{100 * abs(entry['difference']):.1f} points ({span})"


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Scores, differences and cost, in the order in which they are read."""
    available = next(iter(comparison["towers"].values()))["scores"]
    alone = [modality for modality in ("image", "text") if modality in available]
    return [
        _score_table(comparison, "accuracy", "image+text"),
        _score_table(comparison, "macro_f1", "image+text"),
        *(_score_table(comparison, "accuracy", modality) for modality in alone),
        _difference_table(comparison, "accuracy"),
        _difference_table(comparison, "macro_f1"),
        _cost_table(comparison),
    ]


def _score_table(comparison: Mapping[str, Any], score: str, modality: str) -> Table:
    """A row a tower, a column a task; below them the ceiling, and what others published for the same."""
    columns = [*comparison["tasks"], "mean"]
    values: dict[str, list[float | None]] = {}
    spans: dict[str, list[Any]] = {}
    for name, tower in comparison["towers"].items():
        scored = tower["scores"][modality]
        found = [scored["tasks"][task] for task in comparison["tasks"]]
        values[name] = [*(each[score] for each in found), scored[f"mean_{score}"]]
        spans[name] = [
            *(each.get("intervals", {}).get(score) for each in found),
            scored["intervals"].get(f"mean_{score}"),
        ]
    best = [
        max((value for value in column if value is not None), default=None)
        for column in zip(*values.values(), strict=True)
    ]
    rows = [
        [
            Cell(name),
            *(
                replace(percent(value, span, "no label"), is_strong=value is not None and value == top)
                for value, span, top in zip(values[name], spans[name], best, strict=True)
            ),
        ]
        for name in values
    ]
    ceiling = next(iter(comparison["towers"].values()))["scores"][modality].get("ceiling")
    if ceiling and score == "accuracy":
        rows.append([Cell("best reachable"), *(percent(ceiling.get(column), missing=DASH) for column in columns)])
    published = [entry for entry in PUBLISHED if entry.shown == modality and entry.accuracy and score == "accuracy"]
    rows += [
        [Cell(f"{entry.name} †"), *(percent(entry.accuracy.get(column), missing=DASH) for column in columns)]
        for entry in published
    ]
    notes = [
        "Small: 95 % intervals over the paintings. Bold: the best, significantly so only where the differences say."
    ]
    title = f"{'Accuracy' if score == 'accuracy' else 'Macro F1'}, {modality_words(modality)}, %"
    return Table(("", *columns), rows, title, [*notes, *([SOURCES_IN_WORDS] if published else [])])


def _difference_table(comparison: Mapping[str, Any], score: str) -> Table:
    """A row a pair of towers, a column a task: first minus second, its interval and its corrected p value."""
    rows = []
    for pair in comparison["pairs"]:
        cells = [Cell(f"{pair['first']} − {pair['second']}")]
        for scored in (*(pair["tasks"].get(task, {}) for task in comparison["tasks"]), pair["mean"]):
            if score not in scored:
                cells.append(Cell("no label"))
                continue
            entry = scored[score]
            low, high, points = (signed_points(100 * x) for x in (*entry["interval"], entry["difference"]))
            sign = "" if points.startswith("−") or points == "0.0" else "+"
            small = f"{low} to {high}, {p_value_words(entry['p_corrected'])}"
            cells.append(Cell(sign + points, small, is_strong=entry["is_significant_among_all"]))
        rows.append(cells)
    test = "McNemar's test by task, bootstrap for the mean" if score == "accuracy" else "bootstrap"
    notes = [
        "Small: 95 % interval from drawing the same paintings for both, and p value "
        f"({test}), corrected by Holm for the number of comparisons of its kind. Bold: significant."
    ]
    title = f"Differences of {'accuracy' if score == 'accuracy' else 'macro F1'}, in points"
    return Table(("", *comparison["tasks"], "mean"), rows, title, notes)


def _cost_table(comparison: Mapping[str, Any]) -> Table:
    """A row a figure, a column a tower."""
    towers = comparison["towers"]
    rows = []
    for name, (label, write) in _COST_ROWS.items():
        values = [tower["cost"][name] for tower in towers.values()]
        rows.append([label, *(DASH if value is None else write(value) for value in values)])
    minutes = {entry.architecture: entry.minutes_per_epoch for entry in PUBLISHED if entry.minutes_per_epoch}
    theirs = [minutes.get(tower["vision"]) for tower in towers.values()]
    first = next(iter(towers.values()))["cost"]
    notes = [
        "A multiplication and an addition are two operations. "
        f"Texts of {first['text_tokens']} tokens. Training: with reading and augmentation, without validation. "
        f"Inference: the forward pass alone on {first['inference_device']} ({first['inference_threads']} threads). "
        "Memory: the largest the main process held, or its tensors on a GPU.",
    ]
    if any(theirs):
        cells = [f"{each:.0f} min" if each else DASH for each in theirs]
        rows.append(["an epoch of the study, on its GPU and SemArt †", *cells])
        notes.append(SOURCES_IN_WORDS)
    return Table(("", *towers), rows, "Cost", notes)


def _circumstances(comparison: Mapping[str, Any]) -> Table:
    """Data, towers and machine, and what was not the same for all."""
    here = comparison["environment"]
    known = {"data": comparison["data"], "split": comparison["split"], "recipe": comparison.get("recipe", DASH)}
    for name, tower in comparison["towers"].items():
        frozen, size = tower["frozen_vision_stages"] or "no", tower["image_size"]
        known[name] = f"{tower['vision']} at {size} pixels, {frozen} frozen stages, in {tower['model']}"
        trained_on = tower["trained_on"] or {}
        keys = [
            key
            for key in ("processor", "cores", "gpu", "torch")
            if trained_on.get(key, here.get(key)) != here.get(key)
        ]
        if keys:
            known[f"{name} was trained elsewhere"] = ", ".join(f"{key} {trained_on[key]}" for key in keys)
    for field, values in comparison["recipe_differences"].items():
        known[f"{field} differs"] = ", ".join(f"{name}: {value}" for name, value in values.items())
    rows = [[name, str(value)] for name, value in (known | here).items()]
    return Table(["", ""], rows, "How this was measured", num_text_columns=2)
