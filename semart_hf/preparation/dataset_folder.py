"""Finished shards become the dataset folder: findings and summary beside the data."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from semart_hf.catalogue.kinds import labels_in
from semart_hf.catalogue.picture_files import check_enough_pictures
from semart_hf.catalogue.schema import Task
from semart_hf.catalogue.tables import (
    TEXT_COLUMNS,
    Problem,
    ReleaseTables,
    cells_of,
    count_problems,
    labels_of_task,
    numbered,
)
from semart_hf.catalogue.text import WAYS_OF_NAMING
from semart_hf.catalogue.vocabulary import UNKNOWN, numbers_of_labels
from semart_hf.files import atomic_folder, write_json, write_text

from .duplicates import Copy, find_copies
from .shards import read_note, shard_file

_MOST_SIZES = 5000  # of pictures, in the summary
_MOST_COPIES = 100  # in the summary
_MOST_ROWS = 20  # dropped ones, in an error

# The detail of each kind of copy, with the earlier row in place of `{}`.
_COPY_DETAILS = {
    "same_picture": "its file has the same content as that of {}",
    "similar_picture": "looks like the picture of {}",
    "leaked_picture": "has the picture of {}",
    "leaked_description": "has the description of {}",
}


class FinishedShards:
    """All shards of a run, with what their notes say together."""

    def __init__(self, work: Path, tables: ReleaseTables, rows_per_shard: int) -> None:
        self.tables = tables
        self.paths: dict[str, list[Path]] = {}  # by split, of the shards that have rows
        self.problems = list(tables.problems)
        self.num_bytes = 0  # of all pictures
        rows: list[dict[str, Any]] = []
        for number, (split, table) in enumerate(tables.splits.items()):
            place = 0
            for shard in range(-(-len(table) // rows_per_shard)):
                path = shard_file(work, split, shard)
                note = read_note(path)
                rows += [{"split": number, "place": place + i, **row} for i, row in enumerate(note["rows"])]
                place += len(note["rows"])
                self.problems += [Problem(**problem) for problem in note["problems"]]
                self.num_bytes += note["num_bytes"]
                if note["rows"]:
                    self.paths.setdefault(split, []).append(path)
        columns = ["split", "place", "row", "image_file", "picture", "signature", "source_size", "source_format"]
        frame = pd.DataFrame(rows, columns=[*columns, "description", "named", "release"], dtype=object)
        # Facts of the kept rows of all splits, with the number of the split and the place in it.
        self.rows = frame.where(frame.notna(), None).astype({"split": int})

    def check(self, *, strict: bool, min_pictures: float) -> None:
        """Nothing, if the shards make a dataset."""
        unusable = [problem for problem in self.problems if problem.problem != "empty_description"]
        lost = [_line(found) for found in unusable if found.action in ("dropped", "kept as text") and found.image_file]
        named = sum(name is not None for rows in self.tables.splits.values() for name in cells_of(rows, "image_file"))
        check_enough_pictures(named, self.rows["picture"].notna().sum(), lost, min_pictures)
        if not self.paths:
            raise ValueError(
                f"Got a catalogue of {sum(map(len, self.tables.splits.values()))} rows, none of which has a usable "
                "picture or a text. Check the folder of pictures and the text columns."
            )
        dropped = [found for found in unusable if found.action == "dropped"]
        if strict and dropped:
            dropped.sort(key=lambda found: (found.split or "", found.row or 0))
            more = [f"and {len(dropped) - _MOST_ROWS} more"] if len(dropped) > _MOST_ROWS else []
            raise ValueError(
                f"Got {len(dropped)} rows that would be dropped, but none may be with --strict. Correct or remove "
                "these rows and run the command again, or leave --strict out:\n  "
                + "\n  ".join([*map(_line, dropped[:_MOST_ROWS]), *more])
            )

    def counts(self) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
        """By split, numbers of rows: read, kept, … ; and of the rows with a text, those that name each label."""
        dropped_by_reader = Counter(problem.split for problem in self.tables.problems if problem.action == "dropped")
        counts, named = {}, {}
        for number, (split, table) in enumerate(self.tables.splits.items()):
            rows = self.rows[self.rows["split"] == number]
            num_read = len(table) + dropped_by_reader[split]
            counts[split] = {
                "read": num_read,
                "kept": len(rows),
                "dropped": num_read - len(rows),
                "with_picture": int(rows["picture"].notna().sum()),
                "with_description": int(rows["description"].notna().sum()),
            }
            ways = rows["named"].dropna()
            by_way = Counter(way for found in ways for way in found)
            tasks = [task.name for task in self.tables.tasks if task.source not in ("author", "date")]
            all_ways = dict.fromkeys([*WAYS_OF_NAMING, *(name for name in tasks if name != "timeframe")])
            named[split] = {"texts": len(ways), **{way: by_way[way] for way in all_ways}}
        return counts, named

    def copy_problem(self, copy: Copy) -> Problem:
        """The finding that a row is a copy."""
        row, earlier = self.rows.iloc[copy.row], self.rows.iloc[copy.earlier_row]
        splits = list(self.tables.splits)
        detail = _COPY_DETAILS[copy.kind].format(f"{splits[earlier.split]} row {earlier.row} ({earlier.image_file})")
        if copy.num_bits is not None:
            detail += f"; {copy.num_bits} of 256 bits of their signatures differ"
        return Problem(row.row, splits[row.split], row.image_file, copy.kind, detail, "kept", row.release)

    def place(self, number: int) -> tuple[str, int]:
        """Split of a kept row and its number among the split's kept rows."""
        row = self.rows.iloc[number]
        return list(self.tables.splits)[row.split], row.place


def write_dataset(
    output: Path,
    shards: FinishedShards,
    vocabularies: Mapping[str, Sequence[str]],
    *,
    options: Mapping[str, Any],
    made_of: str,
) -> dict[str, Any]:
    """The summary of the dataset folder that now lies, whole, at `output`, into which the shards have been moved."""
    tables = shards.tables
    labels = _count_labels(shards.paths, tables.tasks, vocabularies)
    copies = find_copies(shards.rows)
    problems = [*shards.problems, *map(shards.copy_problem, copies), *_unseen_labels(shards)]
    order = {split: number for number, split in enumerate(tables.splits)}
    problems.sort(
        key=lambda at: (order.get(at.split or "", len(order)), at.release or "", at.row or 0, at.problem, at.detail)
    )
    row_counts, named_labels = shards.counts()
    sizes = shards.rows["source_size"].dropna().tolist()
    summary = {
        "rows": row_counts,
        "problems": {
            kind: dict(Counter(problem.split or "all" for problem in problems if problem.problem == kind))
            for kind in count_problems(problems)
        },
        "tasks": [
            _declared(task, options["min_label_count"])
            for task in tables.tasks
            if _can_be_learned(task, labels[task.name])
        ],
        "labels": labels,
        "named_labels": named_labels,
        "rare_labels": {
            task.name: Counter(
                label
                for rows in tables.splits.values()
                for label in labels_of_task(rows, task)
                if label is not None and label not in vocabularies[task.name]
            )
            for task in tables.tasks
        },
        "copies": [
            {"kind": copy.kind, "row": shards.place(copy.row), "earlier_row": shards.place(copy.earlier_row)}
            for copy in copies[:_MOST_COPIES]
        ],
        "pictures": {
            "formats": dict(sorted(Counter(shards.rows["source_format"].dropna()).items())),
            "num_bytes": shards.num_bytes,
            "sizes": sizes[:: -(-len(sizes) // _MOST_SIZES) or 1],
        },
        "options": dict(options),
        "encodings": dict(tables.encodings),
        "is_painted_miniature": tables.is_painted_miniature,
        "made_of": made_of,
    }
    with atomic_folder(output) as folder:
        write_text(folder / "problems.jsonl", "".join(f"{problem.as_json()}\n" for problem in problems))
        write_json(folder / "summary.json", summary)
        (folder / "data").mkdir()
        for split, paths in shards.paths.items():
            for number, path in enumerate(paths):
                path.rename(folder / "data" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet")
    return summary


def _can_be_learned(task: Task, counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether there are labels to choose between, by the rows of each split and label."""
    found = {name for by_label in counts.values() for name, count in by_label.items() if count} - {"unknown"}
    return bool(found - {UNKNOWN}) and (len(found) > 1 or task.kind == "multi_label")


def _declared(task: Task, min_label_count: int) -> dict[str, Any]:
    """A task as a recipe has it that learns from the folder; columns of numbered labels have counted theirs."""
    is_counted = task.name not in TEXT_COLUMNS and task.rule is None and task.source == task.name
    is_counted = is_counted and task.kind != "multi_label"  # whose lists are read as words
    least = None if is_counted else task.min_label_count or min_label_count
    return replace(task, min_label_count=least, separator=None).entry


def _line(problem: Problem) -> str:
    return f"{problem.split} row {problem.row} ({problem.image_file}): {problem.detail}"


def _unseen_labels(shards: FinishedShards) -> Iterator[Problem]:
    """A finding for each label of a kept row that train never has, not even too rarely; none without a train."""
    splits = shards.tables.splits
    if "train" not in splits:
        return
    dropped = {
        (problem.release, problem.split, problem.row) for problem in shards.problems if problem.action == "dropped"
    }
    for task in shards.tables.tasks:
        seen = {*labels_of_task(splits["train"], task), None, UNKNOWN}
        has_several = task.kind == "multi_label"
        action = "kept, without it" if has_several else f"kept, as {UNKNOWN}"
        for split, rows in splits.items():
            releases = cells_of(rows, "release") if "release" in rows.column_names else repeat(None, len(rows))
            columns = (cells_of(rows, name) for name in ("row_number", "image_file", task.name))
            for row, image_file, cell, release in zip(*columns, releases, strict=True):
                for label in (labels_in(cell, task.separator) or ()) if has_several else (cell,):
                    if label not in seen and (release, split, row) not in dropped:
                        detail = f"train never has the {task.name} {label!r}"
                        yield Problem(row, split, image_file, "unseen_label", detail, action, release)


def _count_labels(
    files: Mapping[str, Sequence[Path]], tasks: Sequence[Task], vocabularies: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Rows by task, split and label, labels that no row has included, and `unknown` for rows without a label."""
    counts: dict[str, dict[str, dict[str, int]]] = {task: {} for task in vocabularies}
    for split, paths in files.items():
        columns = [pq.read_table(path, columns=list(vocabularies)) for path in paths]
        for task in tasks:
            labels = vocabularies[task.name]
            by_label, numbers = numbers_of_labels(labels), Counter[int | None]()
            for cell in (cell for table in columns for cell in table[task.name].to_pylist()):
                # A number, or the text of a column that texts are made of too.
                number = numbered(cell, task, by_label) if isinstance(cell, str) else cell
                numbers.update(number if isinstance(number, list) else [number])
            by_number = {label: numbers[number] for label, number in by_label.items()}
            counts[task.name][split] = {**by_number, "unknown": numbers[None]}
    return counts
