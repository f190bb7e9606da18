"""report.html of a prepared dataset: paintings, labels, texts, pictures, and what was found in them."""

from __future__ import annotations

import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq

from semart_hf.catalogue.vocabulary import TASKS, UNKNOWN
from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.files import write_text

from .chart_style import chart_uri
from .data_charts import draw_label_shares, draw_lengths
from .matrix import matrix_of
from .page import render_page
from .table import Cell, Table
from .thumbnails import ShownPainting, to_jpeg

#: What each kind of finding is.
FINDINGS = {
    "missing_picture": "no such file among the pictures",
    "unnamed_picture": "the row names no picture",
    "unsafe_name": "the name leads outside the folder of pictures",
    "not_a_file": "a folder or device stands where the picture should be",
    "unreadable_picture": "the file could not be read",
    "not_a_picture": "the file is something else than a picture",
    "unsupported_picture": "a picture of a format or kind that is not read",
    "truncated_picture": "the file ends before the picture does",
    "broken_picture": "the picture could not be decoded",
    "absurd_size": "far too large, too small, or too long to be a painting",
    "several_frames": "an animation or several pages, of which the first was taken",
    "empty_description": "no description",
    "unseen_label": "a label that train never has",
    "repeated_name": "two rows name the same file",
    "same_picture": "the same file under two names",
    "similar_picture": "nearly the same picture under two names",
    "leaked_picture": "a picture of another split",
    "leaked_description": "a description of another split",
    "malformed_row": "the row has a wrong number of fields",
    "stray_quote": "quotation marks that do not pair",
    "undecodable_text": "bytes that are no text in the file's encoding",
    "improbable_text": "words of no language: the file may be encoded otherwise",
    "linked_picture": "a link that leads out of the folder of pictures",
    "uncertain_date": "a date that lies in no certain half-century",
    "unmapped_value": "a value that the mapping does not know",
    "unknown_split": "a value that names no split",
    "left_out_rows": "rows that the mapping leaves out",
    "empty_row": "a row without a word",
}
# Leaks first, and those that a person must judge before those that are certain.
_COPIES = ("leaked_picture", "similar_picture", "same_picture", "leaked_description", "repeated_name")
_NAMED = {
    "type": "its type",
    "school": "its school",
    "medium": "its medium",
    "year": "a year",
    "century": "a century",
    "author": "its painter",
}
# Texts from which the pieces are learned that lengths are counted in, and the lengths at which models cut.
_NUM_TEXTS = 4000
_VOCABULARY_SIZE = 30_522  # DistilBERT's
_LIMITS = (128, 256, 512)
_NUM_PAINTINGS = 40
_NUM_PAIRS = 12


@dataclass
class _Wall:
    """Paintings that the page shows, and the thumbnails behind them."""

    pictures: dict[int, bytes | None] = field(default_factory=dict)

    def hang(self, row: Mapping[str, Any], features: datasets.Features, *remarks: str) -> ShownPainting:
        """A row with its labels below it."""
        key = len(self.pictures)
        self.pictures[key] = None if row["image"] is None else to_jpeg(row["image"])
        labels = [features[task].names[row[task]] for task in TASKS if row[task] is not None]
        title = row["title"] or row["image_file"] or "Untitled"
        lines = [row["date"], " · ".join(label for label in labels if label != UNKNOWN), ", ".join(remarks)]
        return ShownPainting(
            key,
            self.pictures[key] is not None,
            title if len(title) <= 70 else title[:69] + "…",
            row["author"] or "",
            [line for line in lines if line],
        )


def write_data_report(folder: str | Path) -> Path:
    """The path of `report.html`, written into a prepared dataset folder from what lies there.

    Raises:
        ValueError: The folder holds no prepared dataset.
    """
    folder = Path(folder)
    summary, files, features = read_prepared(folder)
    with (folder / "problems.jsonl").open(encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    rows = summary["rows"]
    tally, wall = _tally(files, features), _Wall()
    total = {key: sum(split[key] for split in rows.values()) for key in next(iter(rows.values()))}
    page = render_page(
        "data_report.html",
        title=f"{total['kept']:,} paintings",
        key_figures={
            "paintings": total["kept"],
            "with a picture": total["with_picture"],
            "with a description": total["with_description"],
            "painters": len(tally.painters),
            "rows left out": total["dropped"],
            "findings": len(problems),
        },
        sample=_sample(files, features, wall),
        splits=_split_table(rows),
        labels=[_labels(task, summary, features) for task in TASKS],
        schools_by_time=_schools_by_time(tally, features),
        painters=_painters(tally),
        texts=_texts(tally, summary),
        sizes=_sizes(summary),
        findings=_finding_table(summary, problems),
        copies=_copies(summary, files, features, wall),
        rejected=_rejected_table(problems),
        options=Table(
            ["option", "value"],
            [[name.replace("_", " "), str(value)] for name, value in summary["options"].items()]
            + [[f"encoding of {name}", value] for name, value in summary["encodings"].items()],
            num_text_columns=2,
        ),
        pictures=wall.pictures,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def read_prepared(folder: Path) -> tuple[dict[str, Any], dict[str, list[Path]], datasets.Features]:
    """The summary of a prepared dataset folder, its Parquet files by split, and the columns.

    Raises:
        ValueError: The folder holds no prepared dataset.
    """
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


def finding_counts(summary: Mapping[str, Any]) -> dict[str, list[int]]:
    """By kind, the number of findings in each split of `rows`, then of all, those that belong to no split included."""
    return {
        kind: [*(counts.get(split, 0) for split in summary["rows"]), sum(counts.values())]
        for kind, counts in summary["problems"].items()
    }


@dataclass
class _Tally:
    """What is counted over all rows."""

    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    painters: Counter[str] = field(default_factory=Counter)
    techniques: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)


def _tally(files: Mapping[str, Sequence[Path]], features: datasets.Features) -> _Tally:
    tally = _Tally()
    paths = [path for in_split in files.values() for path in in_split]
    text_column = "text" if "text" in features else "description"
    per_file = -(-_NUM_TEXTS // len(paths))
    texts = [text for path in paths for text in _column(path, text_column)[:per_file]]
    tokenizer = learn_tokenizer(texts, vocab_size=_VOCABULARY_SIZE, max_length=1_000_000) if texts else None
    for path in paths:
        labels = pq.read_table(path, columns=["school", "timeframe"])
        tally.pairs.update(zip(*(labels[task].to_pylist() for task in ("school", "timeframe")), strict=True))
        tally.painters.update(_column(path, "author"))
        tally.techniques.update(_without_size(text) for text in _column(path, "technique"))
        if tokenizer is not None and (texts := _column(path, text_column)):
            tally.lengths += [len(ids) for ids in tokenizer(texts, truncation=False)["input_ids"]]
    return tally


def _column(path: Path, name: str) -> list[str]:
    """The texts of a column that are there."""
    return [text for text in pq.read_table(path, columns=[name])[name].to_pylist() if text and text.strip()]


def _sample(files: Mapping[str, Sequence[Path]], features: datasets.Features, wall: _Wall) -> list[ShownPainting]:
    """Paintings with a picture, drawn at random from all splits, by their dates and the undated last."""
    places = [
        (split, index)
        for split, paths in files.items()
        for index, is_there in enumerate(
            flag for path in paths for flag in pq.read_table(path, columns=["image"])["image"].is_valid().to_pylist()
        )
        if is_there
    ]
    chosen = random.Random(0).sample(places, min(_NUM_PAINTINGS, len(places)))
    rows = _rows_at(files, chosen)
    order = sorted(rows, key=lambda place: (_year(rows[place], features), place))
    return [wall.hang(rows[place], features, place[0]) for place in order]


def _rows_at(
    files: Mapping[str, Sequence[Path]], places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The cells of kept rows by their split and number in it; no more of the pictures is read than these rows'."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for split in {split for split, _ in places}:
        wanted = sorted({index for name, index in places if name == split})
        found = pyarrow.dataset.dataset(files[split], format="parquet").take(wanted).to_pylist()
        rows |= {(split, index): row for index, row in zip(wanted, found, strict=True)}
    return rows


def _split_table(rows: Mapping[str, Mapping[str, int]]) -> Table:
    keys = {"read": "rows read", "dropped": "left out", "kept": "kept"}
    keys |= {"with_picture": "with a picture", "with_description": "with a description"}
    lines: list[list[str | int]] = [[split, *(counts[key] for key in keys)] for split, counts in rows.items()]
    return Table(["split", *keys.values()], lines)


def _labels(task: str, summary: Mapping[str, Any], features: datasets.Features) -> dict[str, str]:
    counts: dict[str, dict[str, int]] = summary["labels"][task]
    shown = [*features[task].names, "unknown"]
    shown = [label for label in shown if any(in_split.get(label) for in_split in counts.values())]
    rare = sorted(summary.get("rare_labels", {}).get(task, {}).items(), key=lambda item: (-item[1], item[0]))
    names = ", ".join(f"{label} ({count:,})" for label, count in rare[:12])
    more = f" and {len(rare) - 12:,} more" if len(rare) > 12 else ""
    note = f"{UNKNOWN} stands for {names}{more}." if rare else ""
    return {"task": task, "chart": chart_uri(draw_label_shares(counts, shown)), "note": note}


def _schools_by_time(tally: _Tally, features: datasets.Features) -> dict[str, Any] | None:
    pairs = {pair: count for pair, count in tally.pairs.items() if None not in pair}
    schools, times = (sorted({pair[column] for pair in pairs}) for column in (0, 1))
    if not pairs:
        return None
    counts = np.array([[pairs.get((school, time), 0) for time in times] for school in schools])
    names = [features[task].names for task in ("school", "timeframe")]
    return matrix_of(
        counts,
        [names[0][school] for school in schools],
        [names[1][time] for time in times],
        np.sqrt(counts / counts.max()),  # the root shows the rare beside the frequent
        corner="school ↓ time →",
    )


def _painters(tally: _Tally) -> dict[str, Any] | None:
    if not tally.painters:
        return None
    top = sum(count for _, count in tally.painters.most_common(10)) / tally.painters.total()
    alone = sum(count == 1 for count in tally.painters.values())
    return {
        "words": f"{len(tally.painters):,} names of painters, {alone:,} of them with one painting. The ten most "
        f"frequent made {top:.0%} of the paintings.",
        "tables": [
            Table([name, "paintings"], sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:15])
            for name, counts in (("painter", tally.painters), ("technique, without sizes", tally.techniques))
            if counts
        ],
    }


def _texts(tally: _Tally, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    lengths = sorted(tally.lengths)
    if not lengths:
        return None
    cut = ", ".join(f"{sum(x > limit for x in lengths) / len(lengths):.1%} over {limit}" for limit in _LIMITS)
    named = {split: counts for split, counts in summary["named_labels"].items() if counts["texts"]}
    tenth = lengths[int(0.9 * (len(lengths) - 1))]

    def share(counts: Mapping[str, int], way: str) -> Cell:
        return Cell(f"{counts[way] / counts['texts']:.0%}", f"{counts[way]:,}")

    return {
        "words": f"Half of the {len(lengths):,} texts have {statistics.median_low(lengths):,} tokens or fewer, nine "
        f"in ten {tenth:,} or fewer, the longest {lengths[-1]:,}. A model that reads a limited number of tokens cuts "
        f"the rest: {cut}.",
        "chart": chart_uri(draw_lengths(lengths, _LIMITS, "tokens")),
        "named": Table(
            ["the text names", *named],
            [[words, *(share(counts, way) for counts in named.values())] for way, words in _NAMED.items()],
        ),
        "is_masked": summary["options"].get("mask_label_words"),
    }


def _sizes(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    sizes = np.array(summary["pictures"].get("sizes", [])).reshape(-1, 2)
    if not len(sizes):
        return None
    wide, high = sizes.T
    shorter = np.sort(sizes.min(axis=1))
    upright, broad = (high > 1.05 * wide).mean(), (wide > 1.05 * high).mean()
    wanted = summary["options"]["image_size"]
    total = sum(summary["pictures"]["formats"].values())
    looked_at = f"Of {len(sizes):,} of the {total:,} files, spread evenly: the" if len(sizes) < total else "The"
    return {
        "words": f"{looked_at} files' shorter sides measure {shorter[0]:,} to {shorter[-1]:,} pixels, half of them "
        f"{shorter[(len(shorter) - 1) // 2]:,} or more. {upright:.0%} are upright, {broad:.0%} broad and the rest "
        f"nearly square. {int((shorter < wanted).sum()):,} are smaller than the {wanted} pixels that were asked for, "
        "and stay as they are.",
        "formats": Table(["format", "files"], list(summary["pictures"]["formats"].items())),
    }


def _finding_table(summary: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> Table | None:
    if not summary["problems"]:
        return None
    first = {problem["problem"]: problem for problem in reversed(problems)}
    rows = []
    for kind, numbers in finding_counts(summary).items():
        place = "{split} row {row}, {image_file}: ".format_map(first[kind]) if first[kind]["row"] is not None else ""
        example = place + first[kind]["detail"]
        words = FINDINGS.get(kind, kind.replace("_", " "))
        rows.append([words, first[kind]["action"], example[:160], *numbers])
    return Table(["finding", "action", "the first", *summary["rows"], "all"], rows, num_text_columns=3)


def _copies(
    summary: Mapping[str, Any], files: Mapping[str, Sequence[Path]], features: datasets.Features, wall: _Wall
) -> dict[str, Any] | None:
    """Pairs of paintings that are copies, and how many of each kind there are."""
    totals = {kind: sum(summary["problems"].get(kind, {}).values()) for kind in _COPIES}
    if not any(totals.values()):
        return None
    words = "; ".join(f"{FINDINGS[kind]}: {count:,}" for kind, count in sorted(totals.items()) if count)
    copies = summary.get("copies", [])
    shown = sorted(copies, key=lambda copy: (_COPIES.index(copy["kind"]), copy["row"]))[:_NUM_PAIRS]
    rows = _rows_at(files, [tuple(copy[name]) for copy in shown for name in ("row", "earlier_row")])
    return {
        "words": f"All were kept. {words[:1].upper()}{words[1:]}.",
        "pairs": [
            (
                wall.hang(rows[tuple(copy["earlier_row"])], features, copy["earlier_row"][0]),
                wall.hang(rows[tuple(copy["row"])], features, copy["row"][0], copy["kind"].replace("_", " ")),
            )
            for copy in shown
        ],
    }


def _rejected_table(problems: Sequence[Mapping[str, Any]]) -> Table | None:
    kinds = [kind for kind in FINDINGS if kind.endswith("_picture") or kind in ("absurd_size", "not_a_file")]
    kinds = [kind for kind in kinds if kind not in (*_COPIES, "missing_picture", "unnamed_picture")]
    rejected = [problem for problem in problems if problem["problem"] in kinds]
    if not rejected:
        return None
    rows = [
        [
            problem["image_file"] or "",
            f"{problem['split']} row {problem['row']}",
            f"{FINDINGS[problem['problem']]}: {problem['detail']}"[:140],
            problem["action"],
        ]
        for problem in rejected[:_NUM_PAINTINGS]
    ]
    more = [f"{len(rejected) - len(rows):,} more in problems.jsonl."] if len(rejected) > len(rows) else []
    return Table(["file", "row", "what is wrong", "action"], rows, notes=more, num_text_columns=4)


def _without_size(technique: str) -> str:
    """The words of a technique before its measures."""
    words = re.split(r"[,;(]?\s*(?:\d|diameter|each|\()", technique, maxsplit=1)[0].strip(" ,;")
    return words[:1].upper() + words[1:60] if words else technique[:60]


def _year(row: Mapping[str, Any], features: datasets.Features) -> float:
    timeframe = None if row["timeframe"] is None else features["timeframe"].names[row["timeframe"]]
    for text in (row["date"], timeframe):
        if year := re.search(r"\b1\d{3}|\b20\d\d", text or ""):
            return int(year.group())
    return float("inf")
