"""report.html of a prepared dataset: paintings, labels, texts, pictures, and what was found in them."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq

from semart_hf.catalogue.schema import UNKNOWN
from semart_hf.data.training_texts import learn_tokenizer
from semart_hf.files import write_text

from .charts import draw_label_shares, svg_of
from .page import data_uri, render_page, to_jpeg
from .table import Cell, Table

# Leaks first, and those that a person must judge before those that are certain.
_COPIES = ("leaked_picture", "similar_picture", "same_picture", "leaked_description")
_NAMED = {
    "type": "its type",
    "school": "its school",
    "medium": "its medium",
    "year": "a year",
    "century": "a century",
    "author": "its painter",
}
_COUNTS = {
    "read": "rows read",
    "dropped": "left out",
    "kept": "kept",
    "with_picture": "with a picture",
    "with_description": "with a description",
}
# Texts from which the pieces are learned that lengths are counted in, and the lengths at which models cut.
_NUM_TEXTS = 4000
_VOCABULARY_SIZE = 30_522  # DistilBERT's
_LIMITS = (128, 256, 512)
_NUM_PAINTINGS = 40
_MOST_LABELS = 60  # of a task, in its chart
_NUM_PAIRS = 12

# Parquet files by split; split of a kept row, and its number there.
Files = Mapping[str, Sequence[Path]]
Place = tuple[str, int]


def write_data_report(folder: str | Path) -> Path:
    """The path of `report.html`, written into a prepared dataset folder from what lies there."""
    folder = Path(folder)
    summary, files, features = read_prepared(folder)
    with (folder / "problems.jsonl").open(encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    rows, counted = summary["rows"], summary["problems"]
    total = {key: sum(split[key] for split in rows.values()) for key in next(iter(rows.values()))}
    copies = [copy for copy in summary.get("copies", []) if copy["kind"] in _COPIES]
    copies.sort(key=lambda copy: (_COPIES.index(copy["kind"]), copy["row"]))
    pairs = [(tuple(copy["earlier_row"]), tuple(copy["row"]), copy["kind"]) for copy in copies[:_NUM_PAIRS]]
    sample = _sample(files)
    options = [[name.replace("_", " "), str(value)] for name, value in summary["options"].items()]
    options += [[f"encoding of {name}", value] for name, value in summary["encodings"].items()]
    page = render_page(
        "data_report.html",
        title=f"{total['kept']:,} paintings",
        total=total,
        num_findings=len(problems),
        sample=sample,
        shown=_shown(files, features, {*sample, *(place for first, second, _ in pairs for place in (first, second))}),
        splits=split_table(rows),
        labels=[_labels(task, summary) for task in summary["labels"]],
        texts=_texts(files, features, summary),
        sizes=np.sort(np.array(summary["pictures"].get("sizes", []), dtype=int).reshape(-1, 2).min(axis=1)),
        formats=summary["pictures"].get("formats", {}),
        wanted=summary["options"]["image_size"],
        findings=finding_table(summary, _first_findings(problems)) if problems else None,
        copies={kind: sum(counted[kind].values()) for kind in _COPIES if counted.get(kind)},
        pairs=pairs,
        options=Table(["option", "value"], options, num_text_columns=2),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def read_prepared(folder: Path) -> tuple[dict[str, Any], dict[str, list[Path]], datasets.Features]:
    """The summary of a prepared dataset folder, its Parquet files by split, and the columns."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
    files = {split: sorted((folder / "data").glob(f"{split}-*.parquet")) for split in summary["rows"]}
    files = {split: paths for split, paths in files.items() if paths}
    if not files:
        raise ValueError(
            f"Got {folder}, which holds no prepared dataset. A folder with summary.json and data/*.parquet is needed. "
            "Give the --output_dir of `semart-hf prepare`."
        )
    return summary, files, datasets.Features.from_arrow_schema(pq.read_schema(next(iter(files.values()))[0]))


def split_table(rows: Mapping[str, Mapping[str, int]]) -> Table:
    """How many rows of each split were read and kept, and what they have."""
    counted: list[list[Cell | str | int]] = [
        [split, *map(counts.__getitem__, _COUNTS)] for split, counts in rows.items()
    ]
    return Table(["split", *_COUNTS.values()], counted)


def finding_table(summary: Mapping[str, Any], about: Mapping[str, Sequence[str]] | None = None) -> Table:
    """Findings by kind and split, and in all; `about` has by kind what was done and the first finding, as columns."""
    splits, rows = summary["rows"], list[list[Cell | str | int]]()
    for kind, counts in summary["problems"].items():
        words: list[Cell | str | int] = [kind.replace("_", " "), *about[kind]] if about else [kind]
        rows.append([*words, *(counts.get(split, 0) for split in splits), sum(counts.values())])
    columns = ["finding", *(["action", "the first"] if about else [])]
    return Table([*columns, *splits, "all"], rows, num_text_columns=len(columns))


def _sample(files: Files) -> list[Place]:
    """Rows with a picture, drawn at random from all splits."""
    places = []
    for split, paths in files.items():
        # Of the pictures only the names are read.
        pictures = [pq.ParquetFile(path).read(columns=["image.path"])["image"].is_valid() for path in paths]
        places += [(split, int(row)) for row in np.flatnonzero(np.concatenate(pictures))]
    return sorted(random.Random(0).sample(places, min(_NUM_PAINTINGS, len(places))))


def _shown(files: Files, features: datasets.Features, places: set[Place]) -> dict[Place, dict[str, Any]]:
    """What the template's macro `painting` shows of rows; no more of the pictures is read than these rows'."""
    shown: dict[Place, dict[str, Any]] = {}
    kinds = {name: getattr(kind, "feature", kind) for name, kind in features.items()}
    tasks = {name: kind.names for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}
    for split in files:
        wanted = sorted(row for name, row in places if name == split)
        cells = pyarrow.dataset.dataset(files[split], format="parquet").take(wanted).to_pylist()
        for row, found in zip(wanted, cells, strict=True):
            cells = {task: found[task] if isinstance(found[task], list) else [found[task]] for task in tasks}
            labels = [tasks[task][number] for task in tasks for number in cells[task] if number is not None]
            known = " · ".join(label for label in labels if label != UNKNOWN)
            title = found["title"] or found["image_file"] or "Untitled"
            shown[split, row] = {
                "key": f"{split}-{row}",
                "title": title if len(title) <= 70 else title[:69] + "…",
                "author": found["author"] or "",
                "lines": [line for line in (found["date"], known) if line],
                "jpeg": to_jpeg(found["image"]) if found["image"] else None,
            }
    return shown


def _labels(task: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A task's chart of shares, and which labels `UNK` stands for, the most frequent first."""
    counts = summary["labels"][task]
    totals = {name: sum(found.get(name, 0) for found in counts.values()) for name in next(iter(counts.values()))}
    frequent = sorted((name for name in totals if name not in (UNKNOWN, "unknown")), key=lambda name: -totals[name])
    hidden = {*frequent[_MOST_LABELS:]}
    shown = [name for name, count in totals.items() if count and name not in hidden]
    rare = sorted(summary.get("rare_labels", {}).get(task, {}).items(), key=lambda item: (-item[1], item[0]))
    chart = data_uri(svg_of(draw_label_shares(counts, shown)).encode(), "image/svg+xml")
    rare_words = [f"{label} ({count:,})" for label, count in rare]
    return {"task": task, "chart": chart, "rare": rare_words, "num_hidden": len(hidden)}


def _texts(files: Files, features: datasets.Features, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """How long the texts are and how many are cut, in tokens, and how many give the answer; `None` without texts."""
    column = "text" if "text" in features else "description"
    paths = [path for split in files.values() for path in split]

    def read(path: Path) -> list[str]:
        return [text for text in pq.read_table(path, columns=[column])[column].to_pylist() if text and text.strip()]

    learned_from = [text for path in paths for text in read(path)[: -(-_NUM_TEXTS // len(paths))]]
    if not learned_from:
        return None
    tokenizer = learn_tokenizer(learned_from, vocab_size=_VOCABULARY_SIZE, max_length=1_000_000)
    found = [tokenizer(texts, truncation=False)["input_ids"] for path in paths if (texts := read(path))]
    lengths = np.sort([len(ids) for texts in found for ids in texts])
    named = {split: counts for split, counts in summary["named_labels"].items() if counts["texts"]}
    rows: list[list[Cell | str]] = [
        [
            _NAMED.get(way, f"its {way}"),
            *(Cell(f"{counts[way] / counts['texts']:.0%}", f"{counts[way]:,}") for counts in named.values()),
        ]
        for way in next(iter(named.values()))
        if way != "texts"
    ]
    return {
        "lengths": lengths,
        "cut": [f"{(lengths > limit).mean():.1%} over {limit}" for limit in _LIMITS],
        "named": Table(["the text names", *named], rows),
        "is_masked": summary["options"].get("mask_label_words"),
    }


def _first_findings(problems: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """By kind of finding, what was done, and the first of its kind."""
    found = {}
    for problem in reversed(problems):
        place = "{split} row {row}, {image_file}: ".format_map(problem) if problem["row"] is not None else ""
        found[problem["problem"]] = problem["action"], (place + problem["detail"])[:160]
    return found
