"""A catalogue's tables and pictures become a dataset folder that `datasets.load_dataset` opens anywhere."""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from semart_hf.catalogue.picture_files import check_enough_pictures, find_picture
from semart_hf.catalogue.schema import UNKNOWN, numbers_of_labels
from semart_hf.catalogue.tables import ReleaseTables, labels_of_task, numbered
from semart_hf.catalogue.text import answers_in_text, is_description_alone, text_of
from semart_hf.files import full_disk_explained, locked

from .dataset_folder import write_dataset
from .shards import Mirror, PreparationOptions, Shard, write_shard

__all__ = ["Preparation", "PreparationOptions", "prepare_paintings"]
logger = logging.getLogger(__name__)
# For so many rows further processes take longer to start than they save.
_FEW_ROWS = 200
_SINGLE: tuple[int, int, Callable[[], None]] = (0, 1, lambda: None)


class Preparation:
    """All that is decided about a dataset before its first picture is opened: columns, labels, rows of each shard."""

    def __init__(self, tables: ReleaseTables, options: PreparationOptions) -> None:
        self.tables = tables
        self.options = options
        if "train" not in tables.splits:
            logger.warning("There is no train split: labels are learned from %s.", list(tables.splits))
        if remark := answers_in_text(options.text_columns, ((task.name, task.source) for task in tables.tasks)):
            logger.warning(remark)
        self.vocabularies = tables.vocabularies(options.min_label_count)
        self.numbers = {name: numbers_of_labels(labels) for name, labels in self.vocabularies.items()}
        self.labelled = tables.labelled_tasks
        train = [rows for split, rows in tables.splits.items() if split == "train"]
        self.seen = {task.name: {*labels_of_task(train, task), UNKNOWN} for task in tables.tasks if train}
        has_text = options.mask_label_words or not is_description_alone(options.text_columns)
        self.features = tables.features(self.vocabularies, has_text)

    def shards(self, index: int = 0, count: int = 1) -> Iterator[Shard]:
        """The shards of every split, made one at a time; of `count` processes those of one, by its `index`."""
        pieces = (
            (split, number, rows)
            for split, table in self.tables.splits.items()
            for number, rows in enumerate(table.with_format("arrow").iter(self.options.rows_per_shard))
        )
        for split, number, rows in islice(pieces, index, None, count):
            yield split, number, [*map(self._row, rows.to_pylist())]

    def key(self, with_times: bool = False, min_pictures: float = 0.0) -> str:
        """Digest of the catalogue's words, the names and sizes of its pictures (and their times), and the options."""
        digest = hashlib.blake2b(digest_size=16)
        entries = [entry for task in self.tables.tasks if len(entry := task.entry) > 1]
        digest.update(json.dumps([asdict(self.options), self.vocabularies, *entries]).encode())
        num_named, num_found, examples = 0, 0, list[str]()
        for split, _, rows in self.shards():
            for row in rows:
                path = find_picture(row["images_folder"], row["image_file"], follow_links=self.tables.follow_links)
                num_named += row["image_file"] is not None
                picture: object = None
                if isinstance(path, Path):
                    status = path.stat()
                    picture = (status.st_size, status.st_mtime_ns if with_times else 0)
                    num_found += 1
                elif row["image_file"] is not None and len(examples) < 3:
                    examples.append(f"{split} row {row['row_number']}: {path[1]}")
                words = {name: value for name, value in row.items() if name not in ("images_folder", "findings")}
                digest.update(json.dumps([words, picture], default=str).encode())
        check_enough_pictures(num_named, num_found, examples, min_pictures)
        return digest.hexdigest()

    def _row(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        row = dict(cells)
        label_names: dict[str, Any] = {}
        findings: list[tuple[str, str, str]] = []
        for task in self.tables.tasks:
            several, labels = task.kind == "multi_label", task.labels_of(cells[task.name])
            # A task that is made of the author or the date is given away by names and years.
            if task.source not in ("author", "date"):
                label_names[task.name] = labels if several else cells[task.name]
            for label in labels or ():
                if self.seen and label not in self.seen[task.name]:  # not even too rarely
                    action = "kept, without it" if several else f"kept, as {UNKNOWN}"
                    findings.append(("unseen_label", f"train never has the {task.name} {label!r}", action))
        row["label_names"] = label_names | {"author": row["author"]}
        for name, task in self.labelled.items():
            row[name] = numbered(row[name], task, self.numbers[name])
        return row | {"text": text_of(cells, self.options.text_columns), "findings": findings}


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
    index, count, barrier = (
        _SINGLE if state is None else (state.process_index, state.num_processes, state.wait_for_everyone)
    )
    if num_proc is None:
        num_rows = sum(map(len, tables.splits.values())) // count
        cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
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
            made = (output, work, tables, preparation.vocabularies, preparation.options)
            write_dataset(*made, made_of=key, strict=strict, min_pictures=min_pictures)
        barrier()
        summary = None if index and mirror is not None else _summary_at(output, key)
        shutil.rmtree(work, ignore_errors=True)
    return summary or {}


def _write_shards(
    preparation: Preparation, work: Path, index: int, count: int, num_proc: int, mirror: Mirror | None
) -> None:
    """Write the shards of one of `count` processes, in `num_proc` ones of its own."""
    write = partial(
        write_shard,
        folder=work,
        schema=preparation.features.arrow_schema,
        options=preparation.options,
        follow_links=preparation.tables.follow_links,
        mirror=mirror,
    )
    num_rows = sum(map(len, preparation.tables.splits.values()))
    shards = preparation.shards(index, count)
    with tqdm(total=num_rows // count, unit="row", desc="Preparing", smoothing=0.1, disable=index > 0) as bar:
        if num_proc == 1:
            for shard in shards:
                bar.update(write(shard))
            return
        # A forked process has what this one has imported; elsewhere than on Linux, libraries do not bear forking.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        executor = ProcessPoolExecutor(num_proc, context, _end_with_parent, (os.getpid(),))
        try:
            running = {executor.submit(write, shard) for shard in islice(shards, 2 * num_proc)}  # held at a time
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    bar.update(future.result())
                running |= {executor.submit(write, shard) for shard in islice(shards, len(done))}
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"Got a worker process that died after row {bar.n:,} or so, as happens when memory runs out. What is "
                "done is kept: run the same command again, with a smaller --num_proc if memory is short."
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)


def _summary_at(output: Path, key: str) -> dict[str, Any] | None:
    """Summary of a folder that was made with this key; `None` where there is room for a new one."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    summary_file = output / "summary.json"
    if summary_file.is_file():
        summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
        if summary.get("made_of") == key:
            return summary
    raise ValueError(
        f"Got the output folder {output}, where something else lies already, but a dataset appears whole in a folder "
        "of its own. Remove what is there, or choose another folder."
    )


def _end_with_parent(parent: int) -> None:
    """Let this process end once its parent has: one that is killed cannot tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
