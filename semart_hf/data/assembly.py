"""Finished shards become the dataset folder: findings, summary, card and report beside the data."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from .checks import find_copies_among, find_unseen_labels
from .data_report import write_report
from .dataset_card import dataset_card
from .pictures import UnusablePictureError, partial_picture, read_picture_file
from .problems import Problem, count_problems, write_problems
from .report_source import Place, ReportSource
from .shards import RowFacts, ShardFacts, read_facts
from .tables import ReleaseTables, picture_path
from .text import WAYS_OF_NAMING
from .vocabulary import TASKS

# Findings about files whose remains the report shows, and how many of them, and of the good ones.
_REJECTIONS = (
    "truncated_picture",
    "broken_picture",
    "not_a_picture",
    "absurd_size",
    "not_a_file",
    "unreadable_picture",
    "unsafe_name",
)
_NUM_EXHIBITS = 40


@dataclass
class _Found:
    """What the notes of all shards say together.

    Attributes:
        files: By split, the shards that have rows.
        rows: By split, how many rows were read, kept and so on.
        num_bytes: By split, of all pictures.
        pictured: Rows with a picture.
        named: By split, how many rows have a text (`texts`), and of how many it names which label.
    """

    files: dict[str, list[Path]] = field(default_factory=dict)
    rows: dict[str, Counter[str]] = field(default_factory=dict)
    num_bytes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    pictured: list[Place] = field(default_factory=list)
    source_sizes: list[tuple[int, int]] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    named: dict[str, Counter[str]] = field(default_factory=dict)


def assemble(
    work: Path,
    shard_names: Mapping[str, Sequence[str]],
    *,
    tables: ReleaseTables,
    features: datasets.Features,
    options: Mapping[str, Any],
    made_of: str,
) -> tuple[Path, dict[str, Any]]:
    """Folder `work/dataset`, whole, into which the named shards of `work` are moved at the end, and its summary.

    Raises:
        ValueError: No row is left.
    """
    dataset = work / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)  # of a run that was killed in here
    (dataset / "data").mkdir(parents=True)
    found = _read_notes(work, shard_names, tables)
    if not found.files:
        raise ValueError(
            f"Got a catalogue of {sum(map(len, tables.frames.values()))} rows, none of which has a usable picture or "
            "a text. Check the folder of pictures and the text columns."
        )
    copy_problems, copies = find_copies_among({split: _kept_rows(work, names) for split, names in shard_names.items()})
    problems = _in_order([*tables.problems, *found.problems, *copy_problems], tables)
    summary = {
        "rows": {split: dict(counts) for split, counts in found.rows.items()},
        "problems": _counts_by_split(problems),
        "labels": _count_labels(found.files, features),
        "named_labels": {split: dict(counts) for split, counts in found.named.items()},
        "pictures": {"formats": dict(sorted(found.formats.items())), "num_bytes": sum(found.num_bytes.values())},
        "options": dict(options),
        "encodings": dict(tables.encodings),
        "made_of": made_of,
    }
    write_problems(problems, dataset / "problems.jsonl")
    (dataset / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    download_size = sum(path.stat().st_size for paths in found.files.values() for path in paths)
    card = dataset_card(
        features, {split: _size(paths) for split, paths in found.files.items()}, download_size, summary
    )
    (dataset / "README.md").write_text(card, encoding="utf-8")
    places = [(split, index) for split, counts in found.rows.items() for index in range(counts["kept"])]
    source = ReportSource(
        features=features,
        files=found.files,
        summary=summary,
        problems=problems,
        sample=sorted(random.Random(0).sample(found.pictured, min(_NUM_EXHIBITS, len(found.pictured)))),
        source_sizes=found.source_sizes,
        copies=[(copy.kind, places[copy.row], places[copy.earlier_row]) for copy in copies],
        rejected=_rejected(problems, tables),
        rare_labels=_rare_labels(tables, features),
    )
    write_report(dataset / "report.html", source)
    for split, paths in found.files.items():
        for number, path in enumerate(paths):
            path.rename(dataset / "data" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet")
    return dataset, summary


def _read_notes(work: Path, shard_names: Mapping[str, Sequence[str]], tables: ReleaseTables) -> _Found:
    found = _Found()
    dropped_by_reader = Counter(problem.split for problem in tables.problems if problem.action == "dropped")
    for split, frame in tables.frames.items():
        counts = Counter(read=len(frame) + dropped_by_reader[split], kept=0, dropped=dropped_by_reader[split])
        counts.update(with_picture=0, with_description=0)
        named = Counter(dict.fromkeys(("texts", *WAYS_OF_NAMING), 0))
        for name in shard_names[split]:
            facts = _facts(work, name)
            counts["dropped"] += facts.num_dropped
            found.problems += facts.problems
            for row in facts.rows:
                if row.picture is not None:
                    found.pictured.append((split, counts["kept"]))
                counts["kept"] += 1
                counts["with_picture"] += row.picture is not None
                counts["with_description"] += row.description is not None
                if row.named is not None:
                    named.update(("texts", *row.named))
                if row.source_size is not None and row.source_format is not None:
                    found.source_sizes.append(row.source_size)
                    found.formats[row.source_format] += 1
            if facts.rows:
                found.files.setdefault(split, []).append(work / f"{name}.parquet")
                found.num_bytes[split] += facts.num_bytes
        found.rows[split] = counts
        found.named[split] = named
    found.problems += _unseen_labels_of_kept_rows(tables, found.problems)
    return found


def _size(paths: Sequence[Path]) -> int:
    """Bytes of all columns before compression."""
    metadata = [pq.read_metadata(path) for path in paths]
    return sum(file.row_group(group).total_byte_size for file in metadata for group in range(file.num_row_groups))


def _facts(work: Path, name: str) -> ShardFacts:
    facts = read_facts(work, name)
    if facts is None:
        raise ValueError(f"Got the unfinished shard {work / name}, but all are whole by now. Run the command again.")
    return facts


def _kept_rows(work: Path, names: Sequence[str]) -> Iterator[RowFacts]:
    for name in names:
        yield from _facts(work, name).rows


def _unseen_labels_of_kept_rows(tables: ReleaseTables, problems: Sequence[Problem]) -> list[Problem]:
    dropped = {(problem.release, problem.split, problem.row) for problem in problems if problem.action == "dropped"}
    return [
        problem
        for problem in find_unseen_labels(tables)
        if (problem.release, problem.split, problem.row) not in dropped
    ]


def _in_order(problems: list[Problem], tables: ReleaseTables) -> list[Problem]:
    """Findings by split, release and row."""
    order = {split: number for number, split in enumerate(tables.frames)}
    return sorted(
        problems,
        key=lambda problem: (
            order.get(problem.split or "", len(order)),
            problem.release or "",
            problem.row or 0,
            problem.problem,
            problem.detail,
        ),
    )


def _counts_by_split(problems: Sequence[Problem]) -> dict[str, dict[str, int]]:
    """Number of findings by kind, the most frequent first, and split."""
    return {
        kind: dict(Counter(problem.split or "all" for problem in problems if problem.problem == kind))
        for kind in count_problems(problems)
    }


def _count_labels(
    files: Mapping[str, Sequence[Path]], features: datasets.Features
) -> dict[str, dict[str, dict[str, int]]]:
    """Rows by task, split and label, labels that no row has included, and `unknown` for rows without a label."""
    counts: dict[str, dict[str, dict[str, int]]] = {task: {} for task in TASKS}
    for split, paths in files.items():
        numbers: dict[str, Counter[int | None]] = {task: Counter() for task in TASKS}
        for path in paths:
            columns = pq.read_table(path, columns=list(TASKS))
            for task in TASKS:
                numbers[task].update(columns[task].to_pylist())
        for task in TASKS:
            of_split = {label: numbers[task][number] for number, label in enumerate(features[task].names)}
            counts[task][split] = {**of_split, "unknown": numbers[task][None]}
    return counts


def _rare_labels(tables: ReleaseTables, features: datasets.Features) -> dict[str, Counter[str]]:
    """By task, the catalogue's labels that the vocabulary lacks, with their rows in all splits."""
    return {
        task: Counter(
            label
            for frame in tables.frames.values()
            for label in frame[task]
            if label is not None and label not in features[task].names
        )
        for task in TASKS
    }


def _rejected(problems: Sequence[Problem], tables: ReleaseTables) -> list[tuple[Problem, bytes | None]]:
    """Some findings about unusable pictures, each with what its file still shows."""
    rejected = [problem for problem in problems if problem.problem in _REJECTIONS]
    chosen = sorted(random.Random(0).sample(range(len(rejected)), min(_NUM_EXHIBITS, len(rejected))))
    return [(rejected[index], _remains(rejected[index], tables)) for index in chosen]


def _remains(problem: Problem, tables: ReleaseTables) -> bytes | None:
    if problem.problem not in ("truncated_picture", "broken_picture") or problem.split is None:
        return None
    frame = tables.frames[problem.split]
    row = frame[(frame["row_number"] == problem.row) & (frame["image_file"] == problem.image_file)].iloc[0]
    try:
        return partial_picture(read_picture_file(picture_path(row["images_folder"], row["image_file"])))
    except (UnusablePictureError, ValueError, OSError):  # gone by now
        return None
