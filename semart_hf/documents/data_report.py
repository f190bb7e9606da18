"""A page that shows what a prepared dataset holds: paintings, labels, texts, pictures, and what was found amiss."""

import re
import statistics
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from semart_hf.catalogue.vocabulary import TASKS, UNKNOWN
from semart_hf.data.tokenizer import learn_tokenizer

from .report_elements import (
    Exhibit,
    bars,
    heat_map,
    histogram,
    key_figures,
    page,
    pairs,
    paragraph,
    scatter,
    section,
    sheet,
    split_key,
    table,
)
from .report_source import MEANINGS, Place, ReportSource, rows_at, thumbnail

# Texts from which the pieces are learned that lengths are counted in, and the lengths at which models cut.
_NUM_TEXTS = 4000
_VOCABULARY_SIZE = 30_522  # DistilBERT's
_CUTS = (128, 256, 512)
_TOKEN_STEP = 16
_NUM_POINTS = 1500
_NUM_PAIRS = 12


@dataclass
class _Tally:
    """What is counted while the rows go by."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    painters: Counter[str] = field(default_factory=Counter)
    techniques: Counter[str] = field(default_factory=Counter)
    lengths: "array[int]" = field(default_factory=lambda: array("i"))


def write_report(path: Path, source: ReportSource) -> None:
    """Write the page to `path`."""
    tally = _tally(source)
    rows = source.summary["rows"]
    num_rows = sum(split["kept"] for split in rows.values())
    num_pictures = sum(split["with_picture"] for split in rows.values())
    figures = {
        "paintings": f"{num_rows:,}",
        "with a picture": f"{num_pictures:,}",
        "with a description": f"{sum(split['with_description'] for split in rows.values()):,}",
        "painters": f"{len(tally.painters):,}",
        "rows left out": f"{sum(split['dropped'] for split in rows.values()):,}",
        "findings": f"{len(source.problems):,}",
    }
    body = [
        f"<h1>{num_rows:,} paintings</h1>",
        paragraph("What this dataset holds, and what was found in it while it was prepared.", "lead"),
        key_figures(figures),
        _sample_section(source),
        _split_section(source),
        _label_section(source),
        _pair_section(source, tally),
        _painter_section(tally),
        _text_section(source, tally),
        _picture_section(source),
        _problem_section(source),
        _copy_section(source),
        _rejected_section(source),
        _recipe_section(source),
    ]
    path.write_text(page(f"{num_rows:,} paintings", "\n".join(part for part in body if part)), encoding="utf-8")


def _tally(source: ReportSource) -> _Tally:
    tally = _Tally()
    text_column = "text" if "text" in source.features else "description"
    tokenizer = _tokenizer_of(source, text_column)
    for files in source.files.values():
        for path in files:
            columns = pq.read_table(path, columns=["school", "timeframe", "author", "technique", text_column])
            names = [source.features[task].names for task in ("school", "timeframe")]
            for school, timeframe in zip(
                *(columns[task].to_pylist() for task in ("school", "timeframe")), strict=True
            ):
                if school is not None and timeframe is not None:
                    tally.pairs[names[0][school], names[1][timeframe]] += 1
            tally.painters.update(author for author in columns["author"].to_pylist() if author)
            tally.techniques.update(_without_size(text) for text in columns["technique"].to_pylist() if text)
            texts = [text for text in columns[text_column].to_pylist() if text]
            if texts and tokenizer is not None:
                tally.lengths.extend(len(ids) for ids in tokenizer(texts, truncation=False)["input_ids"])
    return tally


def _tokenizer_of(source: ReportSource, text_column: str) -> Any:
    """A tokenizer whose pieces were learned from some of the texts."""
    files = [path for paths in source.files.values() for path in paths]
    texts: list[str] = []
    for path in files:
        column = pq.read_table(path, columns=[text_column])[text_column].to_pylist()
        texts += [text for text in column if text][: -(-_NUM_TEXTS // len(files))]
    return learn_tokenizer(texts, vocab_size=_VOCABULARY_SIZE, max_length=1_000_000) if texts else None


def _sample_section(source: ReportSource) -> str:
    if not source.sample:
        return section("Paintings", paragraph("No row has a usable picture: this is a dataset of texts."))
    rows = _exhibited_rows(source, source.sample)
    order = sorted(rows, key=lambda place: (_year_of(source, rows[place]), place))
    note = f"{len(order)} drawn at random from all splits, in the order of their dates, the undated last."
    return section(
        "Paintings", paragraph(note, "note"), sheet([_exhibit(source, place, rows[place]) for place in order])
    )


def _split_section(source: ReportSource) -> str:
    columns = {
        "read": "rows read",
        "dropped": "left out",
        "kept": "kept",
        "with_picture": "with a picture",
        "with_description": "with a description",
    }
    lines = [[split, *(counts[key] for key in columns)] for split, counts in source.summary["rows"].items()]
    return section("Splits", table(["split", *columns.values()], lines))


def _label_section(source: ReportSource) -> str:
    note = "UNK: labels that train has too rarely to be learned. Unknown: the catalogue says nothing."
    parts = [split_key(list(source.files)), paragraph(note, "note")]
    blocks = []
    for task in TASKS:
        counts: dict[str, dict[str, int]] = source.summary["labels"][task]
        shown = [*source.features[task].names, "unknown"]
        shown = [label for label in shown if any(of_split.get(label) for of_split in counts.values())]
        rare = source.rare_labels[task]
        note = ""
        if rare:
            named = sorted(rare.items(), key=lambda item: (-item[1], item[0]))
            names = ", ".join(f"{label} ({count:,})" for label, count in named[:12])
            more = f" and {len(named) - 12:,} more" if len(named) > 12 else ""
            note = paragraph(f"{UNKNOWN} stands for {names}{more}.", "note")
        blocks.append(f'<div style="max-width:520px"><h3>{task.capitalize()}</h3>{bars(counts, shown)}{note}</div>')
    return section("Labels", *parts, f'<div class="columns">{"".join(blocks)}</div>')


def _pair_section(source: ReportSource, tally: _Tally) -> str:
    schools = [name for name in source.features["school"].names if any(name == school for school, _ in tally.pairs)]
    times = [name for name in source.features["timeframe"].names if any(name == time for _, time in tally.pairs)]
    if not schools or not times:
        return ""
    note = "Paintings of all splits of which both are known."
    return section("Schools through time", paragraph(note, "note"), heat_map(tally.pairs, schools, times))


def _painter_section(tally: _Tally) -> str:
    if not tally.painters:
        return ""
    total = sum(tally.painters.values())
    ranked = sorted(tally.painters.items(), key=lambda item: (-item[1], item[0]))
    alone = sum(count == 1 for count in tally.painters.values())
    note = (
        f"{len(tally.painters):,} names of painters, {alone:,} of them with one painting. The ten most frequent made "
        f"{sum(count for _, count in ranked[:10]) / total:.0%} of the paintings."
    )
    tables = table(["painter", "paintings"], [list(item) for item in ranked[:15]])
    if tally.techniques:
        techniques = sorted(tally.techniques.items(), key=lambda item: (-item[1], item[0]))
        tables += table(["technique, without sizes", "paintings"], [list(item) for item in techniques[:15]])
    return section("Painters and techniques", paragraph(note), f'<div class="columns">{tables}</div>')


def _text_section(source: ReportSource, tally: _Tally) -> str:
    lengths = np.sort(np.array(tally.lengths)).tolist()
    if not lengths:
        return section("Texts", paragraph("No row has a text: this is a dataset of pictures."))
    num_columns = min(40, lengths[-1] // _TOKEN_STEP + 1)
    columns = [0] * num_columns
    for length in lengths:
        columns[min(length // _TOKEN_STEP, num_columns - 1)] += 1
    cut = ", ".join(f"{sum(length > limit for length in lengths) / len(lengths):.1%} over {limit}" for limit in _CUTS)
    text = (
        f"Half of the {len(lengths):,} texts have {statistics.median_low(lengths):,} tokens or fewer, nine in ten "
        f"{lengths[int(0.9 * (len(lengths) - 1))]:,} or fewer, the longest {lengths[-1]:,}. A model that reads a "
        f"limited number of tokens cuts the rest: {cut}."
    )
    note = "Tokens are WordPieces learned from these texts; DistilBERT's own are a few per cent more."
    marks = {limit: f"{limit}" for limit in _CUTS}
    drawing = histogram(columns, _TOKEN_STEP, "tokens", marks)
    return section("Texts", paragraph(text), drawing, paragraph(note, "note"), _named_labels(source))


def _named_labels(source: ReportSource) -> str:
    named = {split: counts for split, counts in source.summary["named_labels"].items() if counts["texts"]}
    ways = {
        "type": "its type",
        "school": "its school",
        "medium": "its medium",
        "year": "a year",
        "century": "a century",
        "author": "its painter",
    }
    lines = [
        [name, *(f"{counts[way] / counts['texts']:.0%} ({counts[way]:,})" for counts in named.values())]
        for way, name in ways.items()
    ]
    note = "A model may read such an answer instead of seeing it. "
    if source.summary["options"]["mask_label_words"]:
        note += "In the column text these words are masked."
    else:
        note += "Prepare with --mask_label_words to hide them."
    rows = table(["the text names", *named], lines)
    return "<h3>Texts that give the answer</h3>" + rows + paragraph(note, "note")


def _picture_section(source: ReportSource) -> str:
    if not source.source_sizes:
        return ""
    sizes = np.array(source.source_sizes).reshape(-1, 2)
    wide, high = sizes.T
    shorter = np.sort(sizes.min(axis=1))
    upright, broad = (high > 1.05 * wide).mean(), (wide > 1.05 * high).mean()
    image_size = source.summary["options"]["image_size"]
    small = int((shorter < image_size).sum())
    text = (
        f"The files' shorter sides measure {shorter[0]:,} to {shorter[-1]:,} pixels, half of them "
        f"{shorter[(len(shorter) - 1) // 2]:,} or more. {upright:.0%} are upright, {broad:.0%} broad and the rest "
        f"nearly square. {small:,} are smaller than the {image_size} pixels that were asked for, and stay as they are."
    )
    formats = [[name, count] for name, count in source.summary["pictures"]["formats"].items()]
    step = max(1, len(sizes) // _NUM_POINTS)
    drawing = scatter(sizes[::step].tolist(), "width of the file in pixels", "height")
    return section(
        "Pictures", paragraph(text), f'<div class="columns">{drawing}{table(["format", "files"], formats)}</div>'
    )


def _problem_section(source: ReportSource) -> str:
    problems: Mapping[str, Mapping[str, int]] = source.summary["problems"]
    if not problems:
        return section("Findings", paragraph("Nothing was found amiss."))
    firsts = {problem.problem: problem for problem in reversed(source.problems)}
    found_in = {split for counts in problems.values() for split in counts}
    splits = [split for split in (*source.summary["rows"], "all") if split in found_in]
    lines: list[list[str | int]] = []
    for kind, counts in problems.items():
        first = firsts[kind]
        example = f"{first.split} row {first.row}, {first.image_file}: {first.detail}"
        example = example if len(example) <= 160 else example[:159] + "…"
        numbers = [counts.get(split, 0) for split in splits]
        lines.append([MEANINGS.get(kind, kind.replace("_", " ")), *numbers, first.action, example])
    note = (
        "Every finding is a line of problems.jsonl. An empty description or picture leaves a row that has the other."
    )
    return section("Findings", paragraph(note, "note"), table(["finding", *splits, "action", "the first"], lines))


def _copy_section(source: ReportSource) -> str:
    if not source.copies:
        return section("Copies and leakage", paragraph("No picture is there twice, and no description in two splits."))
    counts = Counter(kind for kind, *_ in source.copies)
    said = "; ".join(f"{MEANINGS[kind]}: {count:,}" for kind, count in sorted(counts.items()))
    # Leaks first, and those that a person must judge before those that are certain.
    order = ("leaked_picture", "similar_picture", "same_picture", "leaked_description", "repeated_name")
    shown = sorted(source.copies, key=lambda copy: (order.index(copy[0]), copy[1]))[:_NUM_PAIRS]
    rows = _exhibited_rows(source, [place for _, row, earlier in shown for place in (row, earlier)])
    couples = []
    for kind, place, earlier in shown:
        first = _exhibit(source, earlier, rows[earlier])
        second = _exhibit(source, place, rows[place], kind.replace("_", " "))
        couples.append((first, second))
    return section("Copies and leakage", paragraph(f"All were kept. {said[:1].upper()}{said[1:]}."), pairs(couples))


def _rejected_section(source: ReportSource) -> str:
    if not source.rejected:
        return ""
    exhibits = [
        Exhibit(
            jpeg=picture,
            title=problem.image_file or "",
            lines=(MEANINGS.get(problem.problem, problem.problem),),
            labels=problem.action,
            origin=f"{problem.split} row {problem.row}: {problem.detail}"[:140],
            absence=MEANINGS.get(problem.problem, problem.problem),
        )
        for problem, picture in source.rejected
    ]
    note = "Files that gave no picture, with what can still be seen of them."
    return section("Rejected pictures", paragraph(note, "note"), sheet(exhibits))


def _recipe_section(source: ReportSource) -> str:
    options = [[name.replace("_", " "), str(value)] for name, value in source.summary["options"].items()]
    options += [[f"encoding of {name}", value] for name, value in source.summary["encodings"].items()]
    return section("How it was made", table(["option", "value"], options))


def _exhibited_rows(source: ReportSource, places: Sequence[Place]) -> dict[Place, dict[str, Any]]:
    rows: dict[Place, dict[str, Any]] = {}
    for split in {split for split, _ in places}:
        indices = [index for of_split, index in places if of_split == split]
        rows |= {(split, index): row for index, row in rows_at(source.files[split], indices)}
    return rows


def _exhibit(source: ReportSource, place: Place, row: Mapping[str, Any], remark: str = "") -> Exhibit:
    labels = [source.features[task].names[row[task]] for task in TASKS if row[task] is not None]
    image = row["image"]
    content = None if image is None else image["bytes"]
    title = row["title"] or row["image_file"] or "Untitled"
    return Exhibit(
        jpeg=thumbnail(content),
        title=title if len(title) <= 70 else title[:69] + "…",
        lines=tuple(line for line in (row["author"], row["date"]) if line),
        labels=" · ".join(label for label in labels if label != UNKNOWN),
        origin=", ".join(part for part in (place[0], remark) if part),
    )


def _without_size(technique: str) -> str:
    """The words of a technique before its measures."""
    words = re.split(r"[,;(]?\s*(?:\d|diameter|each|\()", technique, maxsplit=1)[0].strip(" ,;")
    return words[:1].upper() + words[1:60] if words else technique[:60]


def _year_of(source: ReportSource, row: Mapping[str, Any]) -> float:
    timeframe = None if row["timeframe"] is None else source.features["timeframe"].names[row["timeframe"]]
    for text in (row["date"], timeframe):
        year = re.search(r"\b1\d{3}|\b20\d\d", text or "")
        if year:
            return int(year.group())
    return float("inf")
