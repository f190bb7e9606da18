"""Finished shards become the dataset folder: findings and summary beside the data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from semart_hf.catalogue.picture_files import check_enough_pictures
from semart_hf.catalogue.schema import UNKNOWN, Problem, numbers_of_labels
from semart_hf.catalogue.tables import TEXT_COLUMNS, ReleaseTables, cells_of, labels_of_task, numbered
from semart_hf.catalogue.text import WAYS_OF_NAMING
from semart_hf.files import atomic_folder, write_json, write_text

from .duplicates import Copy, find_copies
from .shards import PreparationOptions, read_note, shard_file

_MOST_SIZES, _MOST_COPIES = 5000, 100  # in the summary
_MOST_ROWS = 20  # dropped ones, in an error
# The detail of each kind of copy, with the earlier row in place of `{}`.
_COPY_DETAILS = {
    "same_picture": "its file has the same content as that of {}",
    "similar_picture": "looks like the picture of {}",
    "leaked_picture": "has the picture of {}",
    "leaked_description": "has the description of {}",
}


def write_dataset(
    output: Path,
    work: Path,
    tables: ReleaseTables,
    vocabularies: Mapping[str, Sequence[str]],
    options: PreparationOptions,
    *,
    made_of: str,
    strict: bool,
    min_pictures: float,
) -> None:
    """Make a dataset folder of finished shards, which then lies, whole, at `output`; or refuse what they hold."""
    problems = list(tables.problems)
    rows: list[dict[str, Any]] = []  # facts of the kept rows, each with its split and its number there
    files: dict[str, list[Path]] = {}  # of the shards that have rows
    for split, table in tables.splits.items():
        paths = [shard_file(work, split, number) for number in range(-(-len(table) // options.rows_per_shard))]
        notes = [read_note(path) for path in paths]
        rows += [{"place": (split, n), **row} for n, row in enumerate(row for note in notes for row in note["rows"])]
        problems += [Problem(**problem) for note in notes for problem in note["problems"]]
        if with_rows := [path for path, note in zip(paths, notes, strict=True) if note["rows"]]:
            files[split] = with_rows
    pictured = [row for row in rows if "picture" in row]
    _check(tables, problems, len(rows), len(pictured), strict, min_pictures)
    copies = find_copies(rows)
    problems += [_copy_problem(copy, rows[copy.row], rows[copy.earlier_row]) for copy in copies]
    order = {split: number for number, split in enumerate(tables.splits)}
    problems.sort(
        key=lambda at: (order.get(at.split or "", len(order)), at.release or "", at.row or 0, at.problem, at.detail)
    )
    formats, sizes = Counter(row["source_format"] for row in pictured), [row["source_size"] for row in pictured]
    summary = {
        **_counts(tables, rows, problems),
        **_labels(tables, files, vocabularies, options.min_label_count),
        "copies": [
            {"kind": copy.kind, "row": rows[copy.row]["place"], "earlier_row": rows[copy.earlier_row]["place"]}
            for copy in copies[:_MOST_COPIES]
        ],
        "pictures": {
            "formats": dict(sorted(formats.items())),
            "num_bytes": sum(row["num_bytes"] for row in pictured),
            "sizes": sizes[:: -(-len(sizes) // _MOST_SIZES) or 1],
        },
        "options": vars(options),
        "encodings": tables.encodings,
        "is_painted_miniature": tables.is_painted_miniature,
        "made_of": made_of,
    }
    with atomic_folder(output) as folder:
        write_text(folder / "problems.jsonl", "".join(f"{problem.as_json()}\n" for problem in problems))
        write_json(folder / "summary.json", summary)
        (folder / "data").mkdir()
        for split, paths in files.items():
            for number, path in enumerate(paths):
                path.rename(folder / "data" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet")


def _copy_problem(copy: Copy, row: Mapping[str, Any], earlier: Mapping[str, Any]) -> Problem:
    named = f"{earlier['place'][0]} row {earlier['row']} ({earlier['image_file']})"
    detail = _COPY_DETAILS[copy.kind].format(named)
    if copy.num_bits is not None:
        detail += f"; {copy.num_bits} of 256 bits of their signatures differ"
    return Problem(row["row"], row["place"][0], row["image_file"], copy.kind, detail, "kept", row["release"])


def _check(
    tables: ReleaseTables, problems: Sequence[Problem], num_kept: int, num_pictures: int, strict: bool, least: float
) -> None:
    """Refuse rows that make no dataset; `least` is the share of the named pictures that can be read."""
    unusable = [problem for problem in problems if problem.problem != "empty_description"]
    lost = [_line(found) for found in unusable if found.action in ("dropped", "kept as text") and found.image_file]
    named = sum(name is not None for rows in tables.splits.values() for name in cells_of(rows, "image_file"))
    check_enough_pictures(named, num_pictures, lost, least)
    if not num_kept:
        raise ValueError(
            f"Got a catalogue of {sum(map(len, tables.splits.values()))} rows, none of which has a usable picture or "
            "a text. Check the folder of pictures and the text columns."
        )
    dropped = [found for found in unusable if found.action == "dropped"]
    if strict and dropped:
        dropped.sort(key=lambda found: (found.split or "", found.row or 0))
        more = [f"and {len(dropped) - _MOST_ROWS} more"] if len(dropped) > _MOST_ROWS else []
        raise ValueError(
            f"Got {len(dropped)} rows that would be dropped, but none may be with --strict. Correct or remove these "
            "rows and run the command again, or leave --strict out:\n  "
            + "\n  ".join([*map(_line, dropped[:_MOST_ROWS]), *more])
        )


def _line(problem: Problem) -> str:
    return f"{problem.split} row {problem.row} ({problem.image_file}): {problem.detail}"


def _counts(
    tables: ReleaseTables, rows: Sequence[Mapping[str, Any]], problems: Sequence[Problem]
) -> dict[str, dict[str, dict[str, int]]]:
    """By split, numbers of rows (read, kept, …), of findings, and of the rows with a text that name each label."""
    dropped_by_reader = Counter(problem.split for problem in tables.problems if problem.action == "dropped")
    tasks = [task.name for task in tables.tasks if task.source not in ("author", "date") and task.name != "timeframe"]
    counts, named = {}, {}
    for split, table in tables.splits.items():
        kept = [row for row in rows if row["place"][0] == split]
        num_read = len(table) + dropped_by_reader[split]
        counts[split] = {
            "read": num_read,
            "kept": len(kept),
            "dropped": num_read - len(kept),
            "with_picture": sum("picture" in row for row in kept),
            "with_description": sum(row["description"] is not None for row in kept),
        }
        texts = [row["named"] for row in kept if row["named"] is not None]
        by_way = Counter(chain.from_iterable(texts))
        named[split] = {"texts": len(texts), **{way: by_way[way] for way in (*WAYS_OF_NAMING, *tasks)}}
    found = {
        kind: dict(Counter(problem.split or "all" for problem in problems if problem.problem == kind))
        for kind, _ in Counter(problem.problem for problem in problems).most_common()
    }
    return {"rows": counts, "problems": found, "named_labels": named}


def _labels(
    tables: ReleaseTables,
    files: Mapping[str, Sequence[Path]],
    vocabularies: Mapping[str, Sequence[str]],
    min_label_count: int,
) -> dict[str, Any]:
    """Rows by task, split and label (`unknown`: without one), rare labels, and the tasks that can be learned."""
    cells = {split: pq.read_table(paths, columns=[*vocabularies]) for split, paths in files.items()}
    labels: dict[str, dict[str, dict[str, int]]] = {}
    rare: dict[str, Counter[str]] = {}
    learned = []
    for task in tables.tasks:
        by_label, counts = numbers_of_labels(vocabularies[task.name]), labels.setdefault(task.name, {})
        for split, columns in cells.items():
            numbers = Counter[int | None]()
            for cell in columns[task.name].to_pylist():
                # A number, or the text of a column that texts are made of too.
                number = numbered(cell, task, by_label) if isinstance(cell, str) else cell
                numbers.update(number if isinstance(number, list) else [number])
            counts[split] = {label: numbers[n] for label, n in by_label.items()} | {"unknown": numbers[None]}
        all_labels = labels_of_task(tables.splits.values(), task)
        rare[task.name] = Counter(label for label in all_labels if label not in by_label)
        found = {name for by_name in counts.values() for name, count in by_name.items() if count} - {"unknown"}
        if found - {UNKNOWN} and (len(found) > 1 or task.kind == "multi_label"):  # there is a choice between labels
            # As a recipe has it that learns from the folder; columns of numbered labels have counted theirs.
            is_text = task.name in TEXT_COLUMNS or task.kind == "multi_label"  # whose lists are read as words
            is_counted = not (is_text or task.rule or task.source != task.name)
            least = None if is_counted else task.min_label_count or min_label_count
            learned.append(replace(task, min_label_count=least, separator=None).entry)
    return {"tasks": learned, "labels": labels, "rare_labels": rare}
