"""A catalogue's tables and pictures become a dataset folder that `datasets.load_dataset` opens anywhere."""

import json
import logging
import multiprocessing
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from semart_hf.catalogue.picture_files import check_enough_pictures
from semart_hf.catalogue.schema import UNKNOWN, Problem
from semart_hf.catalogue.tables import TEXT_COLUMNS, ReleaseTables, cells_of, labels_of_task
from semart_hf.catalogue.text import WAYS_OF_NAMING
from semart_hf.files import atomic_folder, full_disk_explained, locked, read_json, write_json, write_text
from semart_hf.memory import allowed_cores

from .shards import MAX_BITS, Mirror, Preparation, PreparationOptions, shard_file, write_shard

logger = logging.getLogger(__name__)
_FEW_ROWS = 200  # for so many, further processes take longer to start than they save
_MOST_SIZES, _MOST_COPIES = 5000, 100  # in the summary
_MOST_ROWS = 20  # dropped ones, in an error
# By column, what a copy within a split and one between splits are called. The first that a row has of each counts.
_KINDS = {
    "picture": ("same_picture", "leaked_picture"),
    "signature": ("similar_picture", "leaked_picture"),
    "description": (None, "leaked_description"),
}
# The detail of each kind, with the earlier row in place of `{}`.
_COPY_DETAILS = {
    "same_picture": "its file has the same content as that of {}",
    "similar_picture": "looks like the picture of {}",
    "leaked_picture": "has the picture of {}",
    "leaked_description": "has the description of {}",
}


def prepare_paintings(
    tables: ReleaseTables,
    output_dir: str | Path,
    options: PreparationOptions | None = None,
    *,
    num_proc: int | None = None,  # `None`: one for each core
    strict: bool = False,  # refuse a catalogue of which a row would be dropped
    min_pictures: float = 0.5,  # least share of the named pictures that can be read
    wait: float | None = None,  # seconds, for another process that prepares the same folder
    state: Any = None,  # Accelerate's, of processes that share the work
    mirror: Mirror | None = None,  # where machines without a common disk do; `output_dir` is its `folder` then
) -> dict[str, Any]:
    """The summary of a dataset folder that now lies, whole, at `output_dir`.

    An interrupted run is continued by the next one with the same arguments, and ends with the same bytes. A folder
    that was made of the same catalogue with the same options is left as it is.
    """
    output = Path(output_dir).absolute()
    preparation = Preparation(tables, options or PreparationOptions())
    index, count, barrier = 0, 1, lambda: None
    if state is not None:
        index, count, barrier = state.process_index, state.num_processes, state.wait_for_everyone
    if num_proc is None:
        num_rows = sum(map(len, tables.splits.values())) // count
        cores = allowed_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        num_proc = max(cores, 1) if num_rows > _FEW_ROWS else 1
    key = preparation.key(min_pictures=min_pictures)
    work = output.parent / f".{output.name}.preparing"
    advice = "A dataset needs some 40 KB a picture of 288 pixels. Make room and run the same command again: what is "
    alone = nullcontext() if index else locked(output, "preparing", wait=wait)
    with alone, full_disk_explained(output.parent, f"{advice}done is kept."):
        existing = _summary_at(output, key)
        barrier()  # nobody makes the folder before all have seen that there is none
        if count > 1:  # machines of a mirror have folders of their own
            (existing,) = broadcast_object_list([existing])
        if existing is not None:
            logger.warning("%s was made of the same catalogue with the same options: nothing to do.", output)
            return existing
        work.mkdir(parents=True, exist_ok=True)
        if mirror is not None:
            mirror.fetch(work)
        _write_shards(preparation, work, index, count, num_proc, mirror)
        barrier()
        if index == 0:
            if mirror is not None:
                mirror.fetch(work)
                mirror.fetch(work, ".parquet")
            write_dataset(output, work, preparation, made_of=key, strict=strict, min_pictures=min_pictures)
        barrier()
        summary = None if index and mirror is not None else _summary_at(output, key)
        shutil.rmtree(work, ignore_errors=True)
    return summary or {}


def _write_shards(
    preparation: Preparation, work: Path, index: int, count: int, num_proc: int, mirror: Mirror | None
) -> None:
    """Write the shards of one of `count` processes, in `num_proc` ones of its own."""
    write = partial(write_shard, folder=work, schema=preparation.schema, options=preparation.options, mirror=mirror)
    num_rows = sum(map(len, preparation.tables.splits.values()))
    shards = preparation.shards(index, count)
    with tqdm(total=num_rows // count, unit="row", desc="Preparing", smoothing=0.1, disable=index > 0) as bar:
        if num_proc == 1:
            for shard in shards:
                bar.update(write(shard))
            return
        # A forked process has what this one has imported; elsewhere than on Linux, libraries do not bear forking.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        executor = ProcessPoolExecutor(num_proc, context, _end_with_parent)
        try:
            running = {executor.submit(write, shard) for shard in islice(shards, 2 * num_proc)}  # held at a time
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    bar.update(future.result())
                running |= {executor.submit(write, shard) for shard in islice(shards, len(done))}
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"Got a worker process that died after row {bar.n:,} or so, as happens when memory runs out. What is "
                "done is kept: run the same command again, with a smaller --num_proc if memory is short."
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)


def _summary_at(output: Path, key: str) -> dict[str, Any] | None:
    """Summary of a folder that was made with this key; `None` where there is room for a new one."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    summary: dict[str, Any] = read_json(output / "summary.json") or {}
    if summary.get("made_of") == key:
        return summary
    raise ValueError(
        f"Got the output folder {output}, where something else lies already, but a dataset appears whole in a folder "
        "of its own. Remove what is there, or choose another folder."
    )


def _end_with_parent() -> None:
    """Let this process end once its parent has: one that is killed cannot tell it."""

    def watch(parent: Any) -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, args=[multiprocessing.parent_process()], daemon=True).start()


def write_dataset(
    output: Path, work: Path, preparation: Preparation, *, made_of: str, strict: bool, min_pictures: float
) -> None:
    """Make a dataset folder of finished shards, which then lies, whole, at `output`; or refuse what they hold."""
    tables, options, problems = preparation.tables, preparation.options, list(preparation.tables.problems)
    rows: list[dict[str, Any]] = []  # facts of the kept rows, each with its split and its number there
    files: dict[str, list[Path]] = {}  # of the shards that have rows
    for split, table in tables.splits.items():
        paths = [shard_file(work, split, number) for number in range(-(-len(table) // options.rows_per_shard))]
        notes = [json.loads(path.with_suffix(".json").read_text("utf-8")) for path in paths]  # or which is missing
        rows += [{"place": (split, n), **row} for n, row in enumerate(row for note in notes for row in note["rows"])]
        problems += [Problem(**problem) for note in notes for problem in note["problems"]]
        if with_rows := [path for path, note in zip(paths, notes, strict=True) if note["rows"]]:
            files[split] = with_rows
    pictured = [row for row in rows if "picture" in row]
    _check(tables, rows, problems, strict, min_pictures)
    copies = find_copies(rows)
    for copy in copies:
        row, earlier = rows[copy.row], rows[copy.earlier_row]
        named = f"{earlier['place'][0]} row {earlier['row']} ({earlier['image_file']})"
        detail = _COPY_DETAILS[copy.kind].format(named)
        if copy.num_bits is not None:
            detail += f"; {copy.num_bits} of 256 bits of their signatures differ"
        place = (row["row"], row["place"][0], row["image_file"])
        problems.append(Problem(*place, copy.kind, detail, "kept", row["release"]))
    order = {split: number for number, split in enumerate(tables.splits, start=-len(tables.splits))}  # others last
    problems.sort(key=lambda at: (order.get(at.split or "", 0), at.release or "", at.row or 0, at.problem, at.detail))
    formats, sizes = Counter(row["source_format"] for row in pictured), [row["source_size"] for row in pictured]
    summary = {
        **_counts(tables, rows, problems),
        **_labels(preparation, files),
        "copies": [
            {"kind": copy.kind, "row": rows[copy.row]["place"], "earlier_row": rows[copy.earlier_row]["place"]}
            for copy in copies[:_MOST_COPIES]
        ],
        "pictures": {"formats": dict(sorted(formats.items())), "sizes": sizes[:: -(-len(sizes) // _MOST_SIZES) or 1]},
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


def _check(tables: ReleaseTables, rows: list[Any], problems: Sequence[Problem], strict: bool, least: float) -> None:
    """Refuse rows that make no dataset; `least` is the share of the named pictures that can be read."""
    unusable = [problem for problem in problems if problem.problem != "empty_description"]
    lost = [found.sentence for found in unusable if found.action in ("dropped", "kept as text") and found.image_file]
    named = sum(name is not None for table in tables.splits.values() for name in cells_of(table, "image_file"))
    check_enough_pictures(named, sum("picture" in row for row in rows), lost, least)
    if not rows:
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
            + "\n  ".join([*(found.sentence for found in dropped[:_MOST_ROWS]), *more])
        )


def _counts(tables: ReleaseTables, rows: Sequence[Mapping[str, Any]], problems: Sequence[Problem]) -> dict[str, Any]:
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


def _labels(preparation: Preparation, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Rows by task, split and label (`unknown`: without one), rare labels, and the tasks that can be learned."""
    tables, columns = preparation.tables, [*preparation.vocabularies]
    cells = {split: pq.read_table(paths, columns=columns) for split, paths in files.items()}
    labels: dict[str, dict[str, dict[str, int]]] = {}
    rare: dict[str, Counter[str]] = {}
    learned = []
    for task in tables.tasks:
        by_label, counts = preparation.numbers[task.name], labels.setdefault(task.name, {})
        for split, table in cells.items():
            column = table[task.name].to_pylist()
            if task.name in TEXT_COLUMNS:  # which texts are made of too
                column = [task.number_of(cell, by_label) for cell in column]
            numbers = Counter(number for cell in column for number in (cell if isinstance(cell, list) else [cell]))
            counts[split] = {label: numbers[n] for label, n in by_label.items()} | {"unknown": numbers[None]}
        all_labels = labels_of_task(tables.splits.values(), task)
        rare[task.name] = Counter(label for label in all_labels if label not in by_label)
        found = {name for by_name in counts.values() for name, count in by_name.items() if count} - {"unknown"}
        if found - {UNKNOWN} and (len(found) > 1 or task.kind == "multi_label"):  # there is a choice between labels
            # As a recipe has it that learns from the folder; columns of numbered labels have counted theirs.
            is_text = task.name in TEXT_COLUMNS or task.kind == "multi_label"  # whose lists are read as words
            is_counted = not (is_text or task.rule or task.source != task.name)
            least = None if is_counted else task.min_label_count or preparation.options.min_label_count
            learned.append(replace(task, min_label_count=least, separator=None).entry)
    return {"tasks": learned, "labels": labels, "rare_labels": rare}


class Copy(NamedTuple):
    """A row whose picture or description an earlier row has too, by their positions among the rows of all splits."""

    row: int
    earlier_row: int
    kind: str  # one of `_KINDS`
    num_bits: int | None = None  # in which the signatures differ; `None` where files or texts are equal


def find_copies(rows: Sequence[Mapping[str, Any]]) -> list[Copy]:
    """Every row that repeats an earlier one, by row and kind; a row is a copy of one row of its split at most.

    The rows, split by split, have a `place` that begins with the split's name, and some of the digests of `_KINDS`.
    """
    splits = pd.factorize(np.array([row["place"][0] for row in rows], dtype=object))[0]  # numbered as they come
    copies: dict[tuple[int, str], Copy] = {}
    for column, kinds in _KINDS.items():
        places = np.array([place for place, row in enumerate(rows) if row.get(column) is not None], dtype=np.int64)
        values, their_splits = [rows[place][column] for place in places.tolist()], splits[places]
        found: Iterator[tuple[int, int, int | None]] = _equal_digests(values, their_splits)
        if column == "signature":
            signatures = np.frombuffer(bytes.fromhex("".join(values)), np.uint8).reshape(-1, 32)
            found = find_similar(signatures, their_splits)
        for *pair, num_bits in found:
            row, earlier = places[pair].tolist()
            is_leak = bool(splits[row] != splits[earlier])
            if (kind := kinds[is_leak]) is not None:
                copies.setdefault((row, kind if is_leak else "copy"), Copy(row, earlier, kind, num_bits))
    return sorted(copies.values(), key=lambda copy: (copy.row, copy.kind))


def find_similar(signatures: npt.NDArray[Any], splits: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Row, first earlier row of a similar picture, and the bits between them: one before the split, one within it.

    Every pair is compared: 50,000 rows `(rows, bytes)` take some ten seconds. The splits' numbers do not decrease.
    """
    words = np.ascontiguousarray(signatures.view(np.uint64).T)
    for row, start in enumerate(np.searchsorted(splits, splits).tolist()):
        num_bits = np.bitwise_count(words[:, :row] ^ words[:, row, None]).sum(axis=0, dtype=np.uint16)
        similar = np.flatnonzero(num_bits <= MAX_BITS)
        for candidates in (similar[similar < start], similar[similar >= start]):
            if len(candidates):
                yield row, int(candidates[0]), int(num_bits[candidates[0]])


def _equal_digests(digests: Sequence[str], splits: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, None]]:
    """Row and first earlier row of an equal digest: one before the row's own split and one within it."""
    first: dict[tuple[str, int | None], int] = {}
    for row, (digest, split) in enumerate(zip(digests, splits.tolist(), strict=True)):
        for earlier in {first.setdefault((digest, None), row), first.setdefault((digest, split), row)} - {row}:
            yield row, earlier, None
