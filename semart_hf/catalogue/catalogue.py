"""Any catalogue of paintings, read by its mapping into the form of a SemArt release, and such releases themselves."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .catalogue_files import FORMAT_OF_ENDING, SourceTable, read_table, source_tables
from .mapping import SEMART_NAMES, CatalogueMapping, ColumnRule, Columns, SplitRule, normal
from .rules import label_text, medium_of
from .schema import SEMART_TASKS, Problem, Task, separator_of
from .tables import RESERVED_COLUMNS, SPLITS, TEXT_COLUMNS, ReleaseTables, cells_of, divided_rows, stored_rows
from .text import unescaped

logger = logging.getLogger(__name__)
RELEASE_FILES = {"train": "semart_train.csv", "validation": "semart_val.csv", "test": "semart_test.csv"}
MINIATURE_FILE = "ceiling.json"  #: lies beside the painted miniature alone: its best reachable accuracies
_REQUIRED = ("image_file", "type", "school", "timeframe")
_SPLIT_NAMES = {split: split for split in SPLITS} | dict.fromkeys(("val", "valid", "dev"), "validation")
_SPLIT_NAMES |= {"training": "train", "testing": "test"}
_NUM_REPORTED_VALUES = 20  # that a mapping does not foresee, the most frequent
_NUM_STRATIFIED = 3  # first tasks whose labels are divided evenly
# The column that has a join's keys, and by new column the text of each key.
_Lookup = tuple[str, dict[str, dict[str, str]]]


def read_rows(
    folder: str | Path,
    *,
    splits: SplitRule | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    follow_links: bool = False,
    tasks: Sequence[Task] = SEMART_TASKS,
) -> ReleaseTables:
    """The rows of a release's folder, or of one CSV file of its form, which is shared out to splits.

    Any column of the files may be a task, by its name in lower case. For the other options see `CatalogueMapping`.
    """
    folder = Path(folder)
    files: dict[str | None, str] = {split: name for split, name in RELEASE_FILES.items() if (folder / name).is_file()}
    if not files and not folder.is_file():
        found = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else "nothing"
        raise ValueError(
            f"Got the folder {folder} with {found}, but a SemArt release holds {list(RELEASE_FILES.values())} and "
            "Images/. Pass the folder that holds them, or one such CSV file; what another catalogue's columns are, "
            "a mapping says (--mapping, docs/catalogue.md)."
        )
    names = (*_REQUIRED, "medium", *TEXT_COLUMNS)
    rules = {name: ColumnRule((name.upper(),), is_optional=name not in _REQUIRED) for name in names}
    mapping = CatalogueMapping(
        rules, tuple(tasks), files, encoding=encoding, delimiter=delimiter, keep=None, splits=splits, is_release=True
    )
    tables = read_catalogue(folder, mapping, follow_links=follow_links)
    for split, name in files.items():
        if splits is None and split not in tables.splits:
            raise ValueError(f"Got {name} without a readable row, but a split has at least one. Check the download.")
    for name, found in tables.encodings.items():
        if encoding is None and found != "cp1252":
            logger.warning("%s is read as %s, not cp1252 as the official release.", name, found)
    place = folder.parent if folder.is_file() else folder
    return replace(tables, is_painted_miniature=(place / MINIATURE_FILE).is_file())


def read_catalogue(source: str | Path, mapping: CatalogueMapping, *, follow_links: bool = False) -> ReleaseTables:
    """The rows of a catalogue in the columns of a SemArt release, by split.

    The source is a folder, a file, or the id of a data set on the Hub. Rows are kept on disk; what joins look up is
    held. Embedded pictures are written into the cache of `datasets`.
    """
    place = str(Path(source).resolve() if Path(source).exists() else source)
    digest = hashlib.blake2b(os.fsencode(place), digest_size=8).hexdigest()
    pictures_folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / digest
    sources = list(source_tables(source, mapping))
    names = {table.split for table in sources}
    unknown = sorted(name for name in names if name and name not in _SPLIT_NAMES)
    if unknown and mapping.splits is None:
        raise ValueError(
            f"Got {source} with the splits {unknown}, but they are called {sorted(_SPLIT_NAMES)}. Say in the "
            "mapping under splits how rows come to their splits."
        )
    lookups, problems = _read_joins(mapping, Path(source))
    parts = []
    for table in sources:
        table.split = _SPLIT_NAMES.get(table.split or "", table.split)
        if mapping.image_column in table.header:
            table.images_folder = pictures_folder
        parts.append(_read_table(table, mapping, lookups, problems))
    rows, rule = datasets.concatenate_datasets(parts), mapping.splits or SplitRule()
    if rule.column is None and (mapping.splits or None in names):
        splits = _shared_out(rows, rule, mapping.tasks, source)
    else:
        numbers = pc.index_in(rows.data.column("split"), pa.array(SPLITS)).fill_null(-1)
        splits = divided_rows(rows, numbers.to_numpy())
    if not splits:
        raise ValueError(
            f"Got {source} without a readable row that the mapping keeps. Check the file, keep_rows and splits."
        )
    tasks = tuple(_with_separator(task, mapping, splits) for task in mapping.tasks)
    encodings = {table.name: table.encoding for table in sources if table.encoding}
    return ReleaseTables(splits, tasks, encodings, problems, follow_links=follow_links)


def merge_tables(releases: Mapping[str, ReleaseTables]) -> ReleaseTables:
    """Several releases by their names as one; the column `release` and problems say whose a row is."""
    tasks: dict[str, Task] = {}
    for name, tables in releases.items():
        for task in tables.tasks:
            if tasks.setdefault(task.name, task) != task:
                raise ValueError(
                    f"Got {name} with the task {task.entry}, which another release has as {tasks[task.name].entry}. A "
                    "task is the same in all releases that are merged. Correct a mapping, or give --tasks."
                )
    parts, split_numbers = [], []
    for number, split in enumerate(SPLITS):
        for name, tables in releases.items():
            if rows := tables.splits.get(split):
                parts.append(rows.add_column("release", [name] * len(rows), feature=datasets.Value("string")))
                split_numbers += [number] * len(rows)
    return ReleaseTables(
        divided_rows(datasets.concatenate_datasets(parts), np.array(split_numbers, dtype=np.int8)),
        tuple(tasks.values()),
        {f"{name}/{file}": found for name, tables in releases.items() for file, found in tables.encodings.items()},
        [replace(problem, release=name) for name, tables in releases.items() for problem in tables.problems],
        follow_links=all(tables.follow_links for tables in releases.values()),
        is_painted_miniature=all(tables.is_painted_miniature for tables in releases.values()),
    )


def _read_joins(mapping: CatalogueMapping, source: Path) -> tuple[list[_Lookup], list[Problem]]:
    lookups, problems = [], dict[Problem, None]()  # of a file once, however many joins read it
    for join in mapping.joins:
        columns = {join.by[1], *join.columns.values(), *join.where}
        path = (source if source.is_dir() else source.parent) / join.file
        form = FORMAT_OF_ENDING.get(path.suffix.lower(), "csv")  # a join names no format of its own
        table = read_table(path, mapping, columns, form)
        table.check_columns((f"joins: {join.file}", column) for column in columns)
        texts: dict[str, dict[str, str]] = {new: {} for new in join.columns}
        for _, cells in table.pieces(columns, join.where):
            for new, column in join.columns.items():
                for key, value in zip(cells[join.by[1]], cells[column], strict=True):
                    if key is not None and value is not None:
                        known = texts[new].setdefault(key, value)
                        if join.take == "all" and value not in known.split("|"):
                            texts[new][key] = f"{known}|{value}"
        lookups.append((join.by[0], texts))
        for found in table.problems:
            detail, action = f"{join.file}: {found.detail}", f"{found.action} there"
            problems[Problem(None, None, None, found.problem, detail, action)] = None
    return lookups, [*problems]


def _with_separator(task: Task, mapping: CatalogueMapping, splits: Mapping[str, datasets.Dataset]) -> Task:
    """A task with several labels as its cells hold them."""
    if task.kind != "multi_label":
        return task
    cells = (cell for rows in splits.values() for cell in cells_of(rows, task.name))
    if not task.separator:
        return replace(task, separator=separator_of(cells, None, task.source))
    mark = mapping.columns[task.source].separator if task.source in mapping.columns else None
    if mark not in (None, "|") and not any("|" in cell for cell in cells if cell):
        raise ValueError(
            f"Got the separator {mark!r} for the task {task.name}, which no cell of its column has. Correct it."
        )
    return task


def _read_table(
    table: SourceTable, mapping: CatalogueMapping, lookups: Sequence[_Lookup], problems: list[Problem]
) -> datasets.Dataset:
    """Rows of one file or split in the form of `ReleaseTables`, with the column `split`; odd ones join `problems`."""
    _check_columns(table, mapping, lookups)
    unforeseen: dict[str, Counter[str]] = {target: Counter() for target in mapping.columns}
    names_of_splits = {**_SPLIT_NAMES, **(mapping.splits.values if mapping.splits else {})}

    def pieces() -> Iterator[pa.Table]:
        for numbers, cells in table.pieces(mapping.source_columns, mapping.keep_rows, mapping.image_column):
            for key, texts in lookups:
                cells |= {new: [found.get(cell or "") for cell in cells[key]] for new, found in texts.items()}
            columns = _common_columns(mapping, cells, len(numbers), unforeseen)
            own = {"images_folder": str(table.images_folder), "split": table.split}
            columns |= {name: [value] * len(numbers) for name, value in own.items()}
            if mapping.splits and mapping.splits.column:
                values = cells[mapping.splits.column]
                columns["split"] = [names_of_splits.get(normal(value)) for value in values]
                of_rows = zip(numbers, values, columns["split"], columns["image_file"], strict=True)
                for number, value, split, name in of_rows:
                    if split is None:
                        detail = f"{mapping.splits.column} is {value!r}, which names no split"
                        problems.append(Problem(number, None, name, "unknown_split", detail, "dropped"))
            arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
            yield pa.table({"row_number": pa.array(numbers, pa.int64())} | arrays)

    rows, finding = stored_rows(pieces()), partial(Problem, None, table.split, None)
    problems += [replace(problem, split=table.split) for problem in table.problems]
    if table.num_left_out:
        detail = f"{table.num_left_out} rows of {table.name} by keep_rows"
        problems.append(finding("left_out_rows", detail, "left out as the mapping says"))
    for target, counts in unforeseen.items():
        rule = mapping.columns[target]
        kind = "uncertain_date" if rule.half_century else "unmapped_value"
        action = {"missing": "taken as missing", "keep": "kept as it is", "unknown": "taken as UNK"}[rule.other]
        frequent = counts.most_common(_NUM_REPORTED_VALUES)
        details = [f"{value!r} in {count} rows" for value, count in frequent]
        if rest := counts.total() - sum(count for _, count in frequent):
            details.append(f"{len(counts) - len(frequent)} more values in {rest} rows")
        problems += [finding(kind, f"{target}: {detail} of {table.name}", action) for detail in details]
    return rows


def _check_columns(table: SourceTable, mapping: CatalogueMapping, lookups: Sequence[_Lookup]) -> None:
    table.check_columns(("keep_rows", column) for column in mapping.keep_rows)
    joined: list[str] = []
    for key, texts in lookups:
        table.check_columns([("joins: by", key)], joined)
        joined += texts
    named = [("keep", column) for column in mapping.keep or ()]
    if mapping.splits and mapping.splits.column:
        named.append(("splits.column", mapping.splits.column))
    table.check_columns([*named, *mapping.needed_columns({*table.header, *joined})], joined)


def _common_columns(
    mapping: CatalogueMapping, cells: Columns, num_rows: int, unforeseen: Mapping[str, Counter[str]]
) -> dict[str, Sequence[str | None]]:
    """The columns of `ReleaseTables` as the mapping makes them of a catalogue's; `medium` also of `technique`."""
    tasks, semart = [task.name for task in mapping.tasks], SEMART_NAMES
    names = [name for name in (*TEXT_COLUMNS, *semart, *mapping.columns) if name != "image"]
    columns: dict[str, Sequence[str | None]] = dict.fromkeys(names, [None] * num_rows)
    given: dict[str, Sequence[str | None]] = {}
    for target, rule in mapping.columns.items():
        if target != "image" and not set(rule.columns).isdisjoint(cells):
            values = rule.apply(cells, unforeseen[target])
            is_text = target in TEXT_COLUMNS and target != "image_file"
            given[target] = [value and unescaped(value) for value in values] if is_text else values
    if mapping.image_column and mapping.image_column in cells:
        given["image_file"] = cells[mapping.image_column]
    taken = {"", *TEXT_COLUMNS, *semart, *mapping.columns, *RESERVED_COLUMNS}
    for column in cells if mapping.keep is None else mapping.keep:
        name = re.sub(r"\W+", "_", column.lower()).strip("_")
        is_read = name in mapping.columns and mapping.columns[name].columns == (column,)
        if column != mapping.image_column and not is_read:
            while name in taken:
                name = f"catalogue_{name}"
            taken.add(name)
            given[name] = [cell and unescaped(cell) for cell in cells[column]]
    if "technique" in given and "medium" in tasks:
        columns["medium"] = [medium_of(technique) for technique in given["technique"]]
    columns |= given
    for task in mapping.tasks:
        if task.source not in columns:
            raise ValueError(
                f"Got the task {task.name} with labels in the column {task.source!r}, but the columns are "
                f"{list(columns)}. Correct the task, or name its column in the mapping under columns."
            )
        if task.rule or task.source != task.name:
            columns[task.name] = [label_text(cell, task.rule) for cell in columns[task.source]]
    return {name: cells for name, cells in columns.items() if name in tasks or name not in semart or name in given}


def _shared_out(
    rows: datasets.Dataset, rule: SplitRule, tasks: Sequence[Task], source: str | Path
) -> dict[str, datasets.Dataset]:
    """Rows by split, each with its share of them and, as far as counts allow, of every label; row order is kept."""
    groups = np.arange(len(rows))
    if rule.by:  # what has one value there, case and spaces aside, is dealt out together
        values = (" ".join((cell or "").casefold().split()) for cell in cells_of(rows, rule.by))
        groups = pd.factorize(np.array([value or row for row, value in enumerate(values)], dtype=object))[0]
        if not any(cells_of(rows, rule.by)):
            raise ValueError(
                f"Got splits by {rule.by} for {source}, but no row has one. Map it under columns, or leave by out."
            )
    shares = ", ".join(f"{share * 100:g} % {split}" for split, share in rule.shares.items())
    whole = f", each {rule.by} in one split" if rule.by else ""
    logger.warning("%s is shared out to splits: %s%s (seed %d).", source, shares, whole, rule.seed)
    random_order = np.random.default_rng(rule.seed).permutation(len(rows))
    columns = [rows.data.column(task.name).to_pandas() for task in tasks[:_NUM_STRATIFIED]]
    labels = [pd.factorize(column, sort=True)[0] for column in columns]  # in their order, none first
    fractions = np.array([rule.shares.get(split, 0) for split in SPLITS])
    sizes = np.bincount(groups)
    dealt = np.zeros(len(SPLITS))
    chosen = np.full(len(sizes), -1, dtype=np.int8)
    for group in groups[np.lexsort([random_order, *reversed(labels)])]:
        if chosen[group] < 0:  # goes to the split that is furthest behind its share
            chosen[group] = np.argmax(fractions * (dealt.sum() + sizes[group]) - dealt)
            dealt[chosen[group]] += sizes[group]
    return divided_rows(rows, chosen[groups])
