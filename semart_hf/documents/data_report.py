"""What lies in a prepared dataset, for a person in report.html and for the Hub and `datasets` in README.md."""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from semart_hf.catalogue.catalogue_files import named_label
from semart_hf.catalogue.schema import UNKNOWN, Problem
from semart_hf.catalogue.tables import TEXT_COLUMNS
from semart_hf.data.streaming import labelled_columns
from semart_hf.data.training_texts import learn_tokenizer
from semart_hf.files import read_json, write_text

from .charts import draw_label_shares, svg_of
from .page import render_page, shown_painting
from .table import Cell, Table, first_of

# Leaks first, and those that a person must judge before those that are certain.
_COPIES = ("leaked_picture", "similar_picture", "same_picture", "leaked_description")
# What a text may name, where that is not simply the task.
_NAMED = {"year": "a year", "century": "a century", "author": "its painter"}
_COUNTS = {
    "read": "rows read",
    "dropped": "left out",
    "kept": "kept",
    "with_picture": "with a picture",
    "with_description": "with a description",
}
# Texts from which the pieces are learned that lengths are counted in, and the lengths at which models cut.
_NUM_TEXTS = 4000
_LIMITS = (128, 256, 512)
_NUM_PAINTINGS = 40
_MOST_LABELS = 60  # of a task, in its chart
_NUM_PAIRS = 12

#: What SemArt's terms allow, for the card and for whoever is about to upload a prepared folder.
SEMART_LICENCE = (
    "SemArt (Garcia & Vogiatzis 2018) may be used for non-commercial research only (CC BY-NC). Its pictures and "
    "descriptions come from the Web Gallery of Art and may not be redistributed: a dataset made of them belongs in a "
    "private repository that only your own research group reads."
)
#: Printed before anything is uploaded.
LICENCE_NOTICE = (
    f"{SEMART_LICENCE}\nOther catalogues have terms of their own: look them up before you make a dataset public."
)

# Parquet files by split; split of a kept row, and its number there.
Files = Mapping[str, Sequence[Path]]
Place = tuple[str, int]


def write_data_report(folder: Path) -> Path:
    """The path of `report.html`, written into a prepared dataset folder from what lies there."""
    summary, files, features = read_prepared(folder)
    with (folder / "problems.jsonl").open(encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    total, counted = pd.DataFrame(summary["rows"]).sum(axis=1), summary["problems"]
    # Rows that could not be read belong to no split where these are made of the others.
    total["dropped"] += sum(problem["split"] is None and problem["action"] == "dropped" for problem in problems)
    copies = sorted(summary.get("copies", []), key=lambda copy: (_COPIES.index(copy["kind"]), copy["row"]))
    pairs = [(tuple(copy["earlier_row"]), tuple(copy["row"]), copy["kind"]) for copy in copies[:_NUM_PAIRS]]
    places: list[Place] = []  # of rows with a picture
    for split, paths in files.items():  # of the pictures only the names are read
        pictures = [pq.ParquetFile(path).read(columns=["image.path"])["image"].is_valid() for path in paths]
        places += [(split, int(row)) for row in np.flatnonzero(np.concatenate(pictures))]
    sample = sorted(random.Random(0).sample(places, min(_NUM_PAINTINGS, len(places))))
    options = [[name.replace("_", " "), str(value)] for name, value in summary["options"].items()]
    options += [[f"encoding of {name}", value] for name, value in summary["encodings"].items()]
    page = render_page(
        "data_report.html",
        title=f"{total['kept']:,} paintings",
        total=total,
        num_findings=len(problems),
        sample=sample,
        shown=_shown(files, features, {*sample, *(place for first, second, _ in pairs for place in (first, second))}),
        splits=split_table(summary["rows"]),
        labels=[_labels(task, summary) for task in summary["labels"]],
        texts=_texts(files, features, summary),
        sizes=np.sort(np.array(summary["pictures"].get("sizes", []), dtype=int).reshape(-1, 2).min(axis=1)),
        summary=summary,
        findings=finding_table(summary, problems) if problems else None,
        copies={kind: sum(counted[kind].values()) for kind in _COPIES if counted.get(kind)},
        pairs=pairs,
        options=Table(["option", "value"], options, num_text_columns=2),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def read_prepared(folder: Path) -> tuple[dict[str, Any], dict[str, list[Path]], datasets.Features]:
    """The summary of a prepared dataset folder, its Parquet files by split, and the columns."""
    summary = read_json(folder / "summary.json") or {"rows": {}}
    shards = {split: sorted(folder.glob(f"data/{split}-*.parquet")) for split in summary["rows"]}
    if not (files := {split: paths for split, paths in shards.items() if paths}):
        raise ValueError(
            f"Got {folder}, which holds no prepared dataset. A folder with summary.json and data/*.parquet is needed. "
            "Give the --output_dir of `semart-hf prepare`."
        )
    return summary, files, datasets.Features.from_arrow_schema(pq.read_schema(next(iter(files.values()))[0]))


def split_table(rows: Mapping[str, Mapping[str, int]]) -> Table:
    """How many rows of each split were read and kept, and what they have."""
    cells: list[list[Cell | str | int]] = [[split, *(had[key] for key in _COUNTS)] for split, had in rows.items()]
    return Table(["split", *_COUNTS.values()], cells)


def finding_table(summary: Mapping[str, Any], problems: Sequence[Mapping[str, Any]] = ()) -> Table:
    """Findings by kind and split, and in all; with the findings themselves also what was done, and the first."""
    first = {found["problem"]: [found["action"], Problem(**found).sentence[:160]] for found in reversed(problems)}
    splits, rows = summary["rows"], list[list[Cell | str | int]]()
    for kind, counts in summary["problems"].items():
        words = [kind.replace("_", " "), *first[kind]] if first else [kind]
        rows.append([*words, *(counts.get(split, 0) for split in splits), sum(counts.values())])
    columns = ["finding", *(["action", "the first"] if first else [])]
    return Table([*columns, *splits, "all"], rows, num_text_columns=len(columns))


def _shown(files: Files, features: datasets.Features, places: set[Place]) -> dict[Place, dict[str, Any]]:
    """What the template's macro `painting` shows of rows; no more of the pictures is read than these rows'."""
    shown: dict[Place, dict[str, Any]] = {}
    for split in files:
        wanted = sorted(row for name, row in places if name == split)
        cells = pyarrow.dataset.dataset(files[split], format="parquet").take(wanted).to_pylist()
        for row, found in zip(wanted, cells, strict=True):
            named = [named_label(found[task], features[task]) for task in labelled_columns(features)]
            labels = chain.from_iterable(label if isinstance(label, list) else [label] for label in named)
            known = " · ".join(label for label in labels if label not in (None, UNKNOWN))
            lines = [line for line in (found["date"], known) if line]
            shown[split, row] = {"lines": lines, **shown_painting(f"{split}-{row}", found, "Untitled")}
    return shown


def _labels(task: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A task's chart of shares, and which labels `UNK` stands for, the most frequent first."""
    counts = summary["labels"][task]
    totals = pd.DataFrame(counts).sum(axis=1)
    frequent = totals.drop([UNKNOWN, "unknown"], errors="ignore").sort_values(ascending=False, kind="stable")
    hidden = frequent.index[_MOST_LABELS:]
    shown = [name for name, total in totals.items() if total and name not in hidden]
    found = summary.get("rare_labels", {}).get(task, {})
    rare = [f"{label} ({count:,})" for label, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))]
    return {"task": task, "chart": svg_of(draw_label_shares(counts, shown)), "rare": rare, "num_hidden": len(hidden)}


def _texts(files: Files, features: datasets.Features, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """How long the texts are and how many are cut, in tokens, and how many give the answer; `None` without texts."""
    column = "text" if "text" in features else "description"
    paths = [path for split in files.values() for path in split]

    def read(path: Path) -> list[str]:
        return [text for text in pq.read_table(path, columns=[column])[column].to_pylist() if text and text.strip()]

    learned_from = [text for path in paths for text in read(path)[: -(-_NUM_TEXTS // len(paths))]]
    if not learned_from:
        return None
    tokenizer = learn_tokenizer(learned_from, vocab_size=30_522, max_length=1_000_000)  # DistilBERT's size
    tokens = (tokenizer(texts, truncation=False)["input_ids"] for path in paths if (texts := read(path)))
    lengths = np.sort([len(ids) for found in tokens for ids in found])
    named = {split: counts for split, counts in summary["named_labels"].items() if counts["texts"]}
    rows = list[list[Cell | str]]()
    for way in [way for way in next(iter(named.values())) if way != "texts"]:
        cells = [Cell(f"{counts[way] / counts['texts']:.0%}", f"{counts[way]:,}") for counts in named.values()]
        rows.append([_NAMED.get(way, f"its {way}"), *cells])
    return {
        "lengths": lengths,
        "cut": [f"{(lengths > limit).mean():.1%} over {limit}" for limit in _LIMITS],
        "named": Table(["the text names", *named], rows),
        "is_masked": summary["options"].get("mask_label_words"),
    }


def write_dataset_card(folder: Path) -> Path:
    """The path of `README.md`, written into a prepared dataset folder from what lies there."""
    summary, files, features = read_prepared(folder)
    rows = pd.DataFrame({split: summary["rows"][split] for split in files})
    counts = {task: next(iter(splits.values())) for task, splits in summary["labels"].items()}  # of any split
    labels = [[task, first_of([label for label in found if label != "unknown"])] for task, found in counts.items()]
    card = render_page(
        "dataset_card.md",
        metadata=_metadata(files, features, rows.loc["kept"].to_dict()),
        tasks=list(counts),
        worded=[task for task in counts if task in TEXT_COLUMNS],
        num_rows=f"{rows.loc['kept'].sum():,}",
        num_pictures=f"{rows.loc['with_picture'].sum():,}",
        options=summary["options"],
        has_text="text" in features,
        extra_columns=[column for column in features if column not in ("image", "text", *TEXT_COLUMNS, *counts)],
        splits=split_table({split: summary["rows"][split] for split in files}),
        labels=Table(["task", "labels"], labels, num_text_columns=2),
        findings=finding_table(summary) if summary["problems"] else None,
        licence=SEMART_LICENCE,
    )
    write_text(folder / "README.md", card)
    return folder / "README.md"


def _metadata(files: dict[str, list[Path]], features: datasets.Features, num_rows: dict[str, int]) -> str:
    """The card's YAML: columns with their labels, splits with their sizes, and which files are which split."""
    splits, total = datasets.SplitDict(), 0
    for split, paths in files.items():
        metas = [pq.read_metadata(path) for path in paths]
        num_bytes = sum(meta.row_group(g).total_byte_size for meta in metas for g in range(meta.num_row_groups))
        splits.add(datasets.SplitInfo(split, num_bytes=num_bytes, num_examples=num_rows[split]))
        total += num_bytes
    download_size = sum(path.stat().st_size for paths in files.values() for path in paths)
    info = datasets.DatasetInfo(features=features, splits=splits, download_size=download_size, dataset_size=total)
    metadata = DatasetCardData(
        license="other",
        task_categories=["image-classification", "text-classification"],
        tags=["art", "paintings", "multimodal"],
        pretty_name="Paintings",
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(metadata)
    patterns = [{"split": split, "path": f"data/{split}-*"} for split in files]
    MetadataConfigs({"default": {"data_files": patterns}}).to_dataset_card_data(metadata)
    return str(metadata.to_yaml())
