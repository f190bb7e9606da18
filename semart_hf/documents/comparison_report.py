"""comparison.html, .md and .json: which tower, how sure, at what cost."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.ticker import EngFormatter

from semart_hf.evaluation.comparison import COMPARED_SCORES, lead, p_value_words, signed_points
from semart_hf.files import write_json, write_text

from .charts import draw_trade_off, save_chart
from .page import render_page
from .result_tables import VIEWS, score_cell
from .table import DASH, Cell, Table, enumeration, percent, signed

# What publications state for SemArt, by what the model saw; none of them gives an interval.
PUBLISHED: dict[str, tuple[str, Mapping[str, float]]] = {
    "image+text": ("EfficientNet-B0, the study", {"type": 0.81, "school": 0.79, "timeframe": 0.60, "medium": 0.80}),
    "image": ("best of ICMR 2019", {"type": 0.815, "school": 0.691, "timeframe": 0.632}),
}
# Minutes of an epoch in the study, by timm's names.
STUDY_MINUTES = {"efficientnet_b0": 20, "resnet18": 22, "vit_tiny_patch16_224": 40}
SOURCES_IN_WORDS = (
    "† As published, on SemArt's test split of 1,069 paintings, without intervals (about ±2.4 to ±2.9 points there): "
    "the study of ResNet18, EfficientNet-B0 and ViT-Tiny with DistilBERT, its times on its own GPU; ICMR 2019 is "
    "Garcia, Renoust & Nakashima, Context-Aware Embeddings for Automatic Art Analysis, the best of each column."
)
_COUNT, _BYTES = EngFormatter(places=2), EngFormatter("B", places=1)
# Label of a cost, and how it is written.
_COST_ROWS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("parameters", _COUNT),
    "trained_parameters": ("of these trained", _COUNT),
    "flops_forward": ("operations a painting, forward", _COUNT),
    "epochs": ("epochs trained", "{:g}".format),
    "training_paintings": ("paintings an epoch", "{:,.0f}".format),
    "seconds_per_epoch": ("seconds an epoch", "{:.1f}".format),
    "training_peak_memory_bytes": ("training, peak memory", _BYTES),
    "milliseconds_per_painting": ("one painting, milliseconds", "{:.1f}".format),
    "paintings_per_second_best": ("fastest batch, paintings a second", "{:.1f}".format),
    "best_batch_size": ("paintings of that batch", "{:g}".format),
    "inference_peak_memory_bytes": ("inference, peak memory", _BYTES),
    "weights_bytes": ("weights on disk", _BYTES),
}


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> list[str]:
    """The conclusion of what `compare_runs` returns, with the `recipe`; all is written as HTML, Markdown and JSON."""
    comparison = {**comparison, "conclusion": conclude(comparison)}
    tables = [*comparison_tables(comparison), _circumstances(comparison)]
    context = {"title": "Which tower", "comparison": comparison, "tables": tables}
    svg = save_chart(draw_trade_off(comparison), folder / "figures" / "trade_off")
    write_text(folder / "comparison.html", render_page("comparison.html", **context, trade_off=svg))
    write_text(folder / "comparison.md", render_page("comparison.md", **context))
    write_json(folder / "comparison.json", comparison)
    return list(comparison["conclusion"])


def conclude(comparison: Mapping[str, Any]) -> list[str]:
    """Sentences made from the other fields of comparison.json: which tower is ahead, and what that rests on."""
    scores = {name: tower["scores"]["image+text"] for name, tower in comparison["towers"].items()}
    ranked = sorted(scores, key=lambda name: -scores[name]["mean_accuracy"])
    means = [score_cell(scores[name], "mean_accuracy") for name in ranked]
    sentences = [
        f"On the {comparison['num_rows']} paintings of the {comparison['split']} split the mean accuracy over "
        f"{enumeration(comparison['tasks'])} is, with 95 % intervals: "
        f"{', '.join(f'{name} {mean.text} % ({mean.small})' for name, mean in zip(ranked, means, strict=True))}."
    ]
    leads: dict[bool, list[str]] = {True: [], False: []}
    num_compared, better = 0, dict[tuple[str, str], list[str]]()
    for pair in comparison["pairs"]:
        names, entry = (pair["first"], pair["second"]), pair["mean"]["accuracy"]
        if ranked[0] in names:
            _, other, points, span = lead(entry, names)
            words = f"{other} by {points} points ({span}, {p_value_words(entry['p_corrected'])})"
            leads[entry["is_significant_among_all"]].append(words)
        for task, scored in pair["tasks"].items():
            num_compared += "accuracy" in scored
            if scored.get("accuracy", {}).get("is_significant_among_all"):
                first, second, points, _ = lead(scored["accuracy"], names)
                better.setdefault((first, second), []).append(f"{task} ({points} points)")
    if leads[True]:
        sentences.append(f"{ranked[0]} is ahead of {enumeration(leads[True])}.")
    if leads[False]:
        sentences.append(f"Not significant: {ranked[0]} ahead of {enumeration(leads[False])}.")
    won = [f"{first} is better than {second} on {enumeration(on)}" for (first, second), on in better.items()]
    found = f"{'; '.join(won)}. No other difference by task is" if won else "no difference is"
    sentences.append(f"By task (McNemar's test, corrected for {num_compared} comparisons): {found} significant.")
    caveat = (
        "Every tower was trained once: the intervals say what other test paintings would change, not what another "
        "seed would."
    )
    if fields := list(comparison["recipe_differences"]):
        caveat += f" The towers were not trained by one recipe, but with different {enumeration(fields)}."
    return [*sentences, caveat]


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Scores, differences and cost, in the order in which they are read."""
    available = next(iter(comparison["towers"].values()))["scores"]
    scores = [score for score in COMPARED_SCORES if _columns(comparison, score)]
    return [
        *(_score_table(comparison, score, "image+text") for score in scores),
        *(_score_table(comparison, "accuracy", alone) for alone in ("image", "text") if alone in available),
        *(_difference_table(comparison, score) for score in scores),
        _cost_table(comparison),
    ]


def _columns(comparison: Mapping[str, Any], score: str) -> list[str]:
    """The tasks that have the score, and `mean` where it has one."""
    scores = next(iter(comparison["towers"].values()))["scores"]["image+text"]
    tasks = [task for task in comparison["tasks"] if score in scores["tasks"][task]]
    return [*tasks, *["mean"] * (f"mean_{score}" in scores)]


def _score_table(comparison: Mapping[str, Any], score: str, modality: str) -> Table:
    """A row a tower, a column a task; below them the ceiling, and what others published for the same."""
    columns = _columns(comparison, score)
    scored = {name: tower["scores"][modality] for name, tower in comparison["towers"].items()}
    # Where each cell's score lies, and its name there.
    places = {
        name: [(found, f"mean_{score}") if task == "mean" else (found["tasks"][task], score) for task in columns]
        for name, found in scored.items()
    }
    best = [max(found[key] or 0 for found, key in column) for column in zip(*places.values(), strict=True)]
    rows = list[list[Cell | str]]()
    for name, row in places.items():
        cells = [
            replace(score_cell(found, key, "no label"), is_strong=found[key] == top)
            for (found, key), top in zip(row, best, strict=True)
        ]
        rows.append([name, *cells])
    notes = [
        "Small: 95 % intervals over the paintings. Bold: the best, significantly so only where the differences say."
    ]
    if score == "accuracy":
        name, published = PUBLISHED.get(modality, ("", {}))
        others = {"best reachable": next(iter(scored.values())).get("ceiling"), f"{name} †": published}
        for name, accuracies in others.items():
            if accuracies:
                rows.append([name, *(percent(accuracies.get(column), missing=DASH) for column in columns)])
        notes += [SOURCES_IN_WORDS] * bool(published)
    subject = COMPARED_SCORES[score][0].upper() + COMPARED_SCORES[score][1:]
    return Table(("", *columns), rows, f"{subject}, {VIEWS[modality]}, %", notes)


def _difference_table(comparison: Mapping[str, Any], score: str) -> Table:
    """A row a pair of towers, a column a task: first minus second, its interval and its corrected p value."""
    rows, columns = [], _columns(comparison, score)
    for pair in comparison["pairs"]:
        cells = [Cell(f"{pair['first']} − {pair['second']}")]
        for entry in ({**pair["tasks"], "mean": pair["mean"]}.get(column, {}).get(score) for column in columns):
            if entry is None:
                cells.append(Cell("no label"))
                continue
            low, high = (signed_points(100 * bound) for bound in entry["interval"])
            small = f"{low} to {high}, {p_value_words(entry['p_corrected'])}"
            cells.append(Cell(signed(100 * entry["difference"], 1), small, entry["is_significant_among_all"]))
        rows.append(cells)
    test = "McNemar's test by task, bootstrap for the mean" if score == "accuracy" else "bootstrap"
    notes = [
        "Small: 95 % interval from drawing the same paintings for both, and p value "
        f"({test}), corrected by Holm for the number of comparisons of its kind. Bold: significant."
    ]
    return Table(("", *columns), rows, f"Differences of {COMPARED_SCORES[score]}, in points", notes)


def _cost_table(comparison: Mapping[str, Any]) -> Table:
    """A row a figure, a column a tower."""
    towers = comparison["towers"].values()
    rows = []
    for name, (label, written) in _COST_ROWS.items():
        values = [tower["cost"][name] for tower in towers]
        rows.append([label, *(DASH if value is None else written(value) for value in values)])
    first = next(iter(towers))["cost"]
    notes = [
        "A multiplication and an addition are two operations. "
        f"Texts of {first['text_tokens']} tokens. Training: with reading and augmentation, without validation. "
        f"Inference: the forward pass alone on {first['inference_device']} ({first['inference_threads']} threads). "
        "Memory: the largest the main process held, or its tensors on a GPU."
    ]
    minutes = [STUDY_MINUTES.get(tower["vision"]) for tower in towers]
    if any(minutes):
        theirs = [f"{number} min" if number else DASH for number in minutes]
        rows.append(["an epoch of the study, on its GPU and SemArt †", *theirs])
        notes.append(SOURCES_IN_WORDS)
    return Table(("", *comparison["towers"]), rows, "Cost", notes)


def _circumstances(comparison: Mapping[str, Any]) -> Table:
    """Data, towers and machine, and what was not the same for all."""
    known = {"data": comparison["data"], "split": comparison["split"], "recipe": comparison.get("recipe", DASH)}
    here = comparison["environment"]
    for name, tower in comparison["towers"].items():
        frozen = tower["frozen_vision_stages"] or "no"
        known[name] = f"{tower['vision']} at {tower['image_size']} pixels, {frozen} frozen stages, in {tower['model']}"
        there = {key: value for key, value in (tower["trained_on"] or {}).items() if value != here.get(key)}
        if elsewhere := [f"{key} {there[key]}" for key in ("processor", "cores", "gpu", "torch") if key in there]:
            known[f"{name} was trained elsewhere"] = ", ".join(elsewhere)
    for field, values in comparison["recipe_differences"].items():
        known[f"{field} differs"] = ", ".join(f"{name}: {value}" for name, value in values.items())
    rows = [[name, str(value)] for name, value in (known | here).items()]
    return Table(["", ""], rows, "How this was measured", num_text_columns=2)
