"""Finished shards become the dataset folder: findings and summary beside the data."""

import json
import shutil
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow.parquet as pq

from semart_hf.catalogue.problems import Problem, count_problems, write_problems
from semart_hf.catalogue.tables import ReleaseTables
from semart_hf.catalogue.text import WAYS_OF_NAMING
from semart_hf.catalogue.vocabulary import TASKS

from .checks import find_copies_among, find_unseen_labels
from .shards import RowFacts, ShardFacts, read_facts

# Picture sizes and pairs of copies that the summary lists.
_MOST_SIZES = 5000
_MOST_COPIES = 100

#: A kept row: its split and its number among the split's kept rows, from 0.
Place: TypeAlias = tuple[str, int]


@dataclass
class _Found:
    """What the notes of all shards say together.

    Attributes:
        files: By split, the shards that have rows.
        rows: By split, how many rows were read, kept and so on.
        num_bytes: By split, of all pictures.
        source_sizes: Widths and heights of the pictures' files, in turn.
        named: By split, how many rows have a text (`texts`), and of how many it names which label.
    """

    files: dict[str, list[Path]] = field(default_factory=dict)
    rows: dict[str, Counter[str]] = field(default_factory=dict)
    num_bytes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    source_sizes: "array[int]" = field(default_factory=lambda: array("i"))
    formats: Counter[str] = field(default_factory=Counter)
    named: dict[str, Counter[str]] = field(default_factory=dict)

    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of the pictures' files, at most `_MOST_SIZES` spread evenly over all."""
        pairs = list(zip(self.source_sizes[::2], self.source_sizes[1::2], strict=True))
        return pairs[:: -(-len(pairs) // _MOST_SIZES) or 1]

    def place(self, number: int) -> Place:
        """Split and place of a kept row, by its number among the kept rows of all splits."""
        ends = list(accumulate(counts["kept"] for counts in self.rows.values()))
        split = bisect_right(ends, number)
        return list(self.rows)[split], number - (ends[split - 1] if split else 0)


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
            f"Got a catalogue of {sum(map(len, tables.splits.values()))} rows, none of which has a usable picture or "
            "a text. Check the folder of pictures and the text columns."
        )
    copy_problems, copies = find_copies_among(lambda: _kept_rows(work, shard_names))
    problems = _in_order([*tables.problems, *found.problems, *copy_problems], tables)
    summary = {
        "rows": {split: dict(counts) for split, counts in found.rows.items()},
        "problems": _counts_by_split(problems),
        "labels": _count_labels(found.files, features),
        "named_labels": {split: dict(counts) for split, counts in found.named.items()},
        "rare_labels": _rare_labels(tables, features),
        "copies": [
            {"kind": copy.kind, "row": found.place(copy.row), "earlier_row": found.place(copy.earlier_row)}
            for copy in copies[:_MOST_COPIES]
        ],
        "pictures": {
            "formats": dict(sorted(found.formats.items())),
            "num_bytes": sum(found.num_bytes.values()),
            "sizes": found.sizes(),
        },
        "options": dict(options),
        "encodings": dict(tables.encodings),
        "made_of": made_of,
    }
    write_problems(problems, dataset / "problems.jsonl")
    (dataset / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for split, paths in found.files.items():
        for number, path in enumerate(paths):
            path.rename(dataset / "data" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet")
    return dataset, summary


def _read_notes(work: Path, shard_names: Mapping[str, Sequence[str]], tables: ReleaseTables) -> _Found:
    found = _Found()
    dropped_by_reader = Counter(problem.split for problem in tables.problems if problem.action == "dropped")
    for split, table in tables.splits.items():
        counts = Counter(read=len(table) + dropped_by_reader[split], kept=0, dropped=dropped_by_reader[split])
        counts.update(with_picture=0, with_description=0)
        named = Counter(dict.fromkeys(("texts", *WAYS_OF_NAMING), 0))
        for name in shard_names[split]:
            facts = _facts(work, name)
            counts["dropped"] += facts.num_dropped
            found.problems += facts.problems
            for row in facts.rows:
                counts["kept"] += 1
                counts["with_picture"] += row.picture is not None
                counts["with_description"] += row.description is not None
                if row.named is not None:
                    named.update(("texts", *row.named))
                if row.source_size is not None and row.source_format is not None:
                    found.source_sizes.extend(row.source_size)
                    found.formats[row.source_format] += 1
            if facts.rows:
                found.files.setdefault(split, []).append(work / f"{name}.parquet")
                found.num_bytes[split] += facts.num_bytes
        found.rows[split] = counts
        found.named[split] = named
    found.problems += _unseen_labels_of_kept_rows(tables, found.problems)
    return found


def _facts(work: Path, name: str) -> ShardFacts:
    facts = read_facts(work, name)
    if facts is None:
        raise ValueError(f"Got the unfinished shard {work / name}, but all are whole by now. Run the command again.")
    return facts


def _kept_rows(work: Path, shard_names: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, RowFacts]]:
    for split, names in shard_names.items():
        for name in names:
            for row in _facts(work, name).rows:
                yield split, row


def _unseen_labels_of_kept_rows(tables: ReleaseTables, problems: Sequence[Problem]) -> list[Problem]:
    dropped = {(problem.release, problem.split, problem.row) for problem in problems if problem.action == "dropped"}
    return [
        problem
        for problem in find_unseen_labels(tables)
        if (problem.release, problem.split, problem.row) not in dropped
    ]


def _in_order(problems: list[Problem], tables: ReleaseTables) -> list[Problem]:
    """Findings by split, release and row."""
    order = {split: number for number, split in enumerate(tables.splits)}
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
            for rows in tables.splits.values()
            for label in rows[task]
            if label is not None and label not in features[task].names
        )
        for task in TASKS
    }
