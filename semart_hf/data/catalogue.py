"""Any catalogue of paintings, read by its mapping into the form of a SemArt release."""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import datasets
import pandas as pd

from .catalogue_files import RawTable, Selection, imagefolder_files, read_dataset, read_table
from .column_rules import apply_rule, check_columns
from .delimited import unescape_entities
from .mapping import CatalogueMapping, ColumnRule, Join, SplitRule, normal
from .problems import Problem
from .splits import SPLITS, split_by_share
from .tables import RESERVED_COLUMNS, TEXT_COLUMNS, ReleaseTables, common_frame, give_all_splits_all_columns
from .vocabulary import TASKS

logger = logging.getLogger(__name__)

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

# Names by which data sets call the splits.
_SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
    "training": "train",
    "testing": "test",
}

# Of the values that a table lacks, the most frequent are reported one by one.
_NUM_REPORTED_VALUES = 20


def read_catalogue(
    source: str | Path, mapping: CatalogueMapping, *, pictures_folder: str | Path | None = None
) -> ReleaseTables:
    """The rows of a catalogue in the columns of a SemArt release, by split.

    Rows that the mapping leaves out, and values that its tables lack, are counted in the problems.

    Args:
        source: Folder of the catalogue, one file of it, or the id of a data set on the Hub.
        mapping: What its columns and values mean; see `load_mapping`.
        pictures_folder: Where pictures that are embedded in rows are written; in the cache of `datasets` by default.

    Raises:
        ValueError: A file or a column that the mapping names is not there, or no row is left.
    """
    if pictures_folder is None:
        place = str(Path(source).resolve() if Path(source).exists() else source)
        pictures_folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / re.sub(r"\W+", "-", place).strip("-")
    selection = Selection(mapping.source_columns, mapping.keep_rows, mapping.image_column, Path(pictures_folder))
    result = ReleaseTables({})
    parts: list[pd.DataFrame] = []
    for split, table, images_folder in _read_tables(source, mapping, selection):
        if table.encoding:
            result.encodings[table.name] = table.encoding
        result.problems.extend(table.problems)
        if table.num_left_out:
            detail = f"{table.num_left_out} rows of {table.name} by keep_rows"
            result.problems.append(Problem(None, split, None, "left_out_rows", detail, "left out as the mapping says"))
        for join in mapping.joins:
            _add_joined_columns(table, join, Path(source))
        if mapping.image_column in table.frame:
            images_folder = Path(pictures_folder)
        frame, problems = _prepared_frame(table, mapping, split, images_folder)
        result.problems.extend(problems)
        parts.append(frame)
    rows = pd.concat(parts, ignore_index=True)
    result.frames.update(_by_split(rows, mapping.splits, source))
    give_all_splits_all_columns(result.frames)
    if not result.frames:
        raise ValueError(f"Got {source} without a row that the mapping keeps. Check keep_rows and splits there.")
    return result


def merge_tables(releases: Mapping[str, ReleaseTables]) -> ReleaseTables:
    """Several releases as one, split by split in their order; the column `release` and problems say whose a row is.

    Pictures of one name in two releases stay apart, since each row knows its own folder of pictures.

    Args:
        releases: Tables by the release's name.
    """
    merged = ReleaseTables({})
    for split in SPLITS:
        parts = [
            tables.frames[split].assign(release=name) for name, tables in releases.items() if split in tables.frames
        ]
        if parts:
            merged.frames[split] = pd.concat(parts, ignore_index=True)
    give_all_splits_all_columns(merged.frames)
    for name, tables in releases.items():
        merged.encodings.update({f"{name}/{file}": encoding for file, encoding in tables.encodings.items()})
        merged.problems.extend(dataclasses.replace(problem, release=name) for problem in tables.problems)
    return merged


def _read_tables(
    source: str | Path, mapping: CatalogueMapping, selection: Selection
) -> list[tuple[str | None, RawTable, Path]]:
    """Split, rows and folder of pictures of each file or split of a catalogue."""
    folder = Path(source)
    if mapping.format == "hub" or not folder.exists():
        is_id = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(source)) and mapping.format in (None, "hub")
        if (not folder.exists() and not is_id) or mapping.joins:
            raise ValueError(
                f"Got {source}, where nothing is, but the mapping reads a catalogue's files. Correct the path."
            )
        return [(split, table, folder) for split, table in read_dataset(str(source), selection).items()]
    if mapping.format == "imagefolder":
        files = imagefolder_files(folder)
        folders = {split: path.parent for split, path in files.items()}
    else:
        if folder.is_dir() and not mapping.files:
            raise ValueError(f"Got the folder {source}, but the mapping names no files. Add files, or pass one file.")
        is_file = folder.is_file()
        root = folder.parent if is_file else folder
        files = {None: folder} if is_file else {split: root / name for split, name in mapping.files.items()}
        folders = dict.fromkeys(files, root / mapping.images)
    tables = []
    for split, path in files.items():
        form = mapping.format if mapping.format in _FORMATS.values() else _FORMATS.get(path.suffix.lower())
        if form is None:
            raise ValueError(f"Got {path}, whose ending is none of {list(_FORMATS)}. Say its format in the mapping.")
        tables.append((split, read_table(path, form, selection, split=split), folders[split]))
    return tables


def _add_joined_columns(table: RawTable, join: Join, source: Path) -> None:
    """Look up a join's columns for each row of the table, in place."""
    path = (source if source.is_dir() else source.parent) / join.file
    form = _FORMATS.get(path.suffix.lower(), "csv")
    columns = frozenset((join.file_key, *join.columns.values(), *join.where))
    other = read_table(path, form, Selection(columns=columns, where=join.where)).frame
    check_columns((join.key,), table.frame, f"joins: by for {join.file}")
    check_columns((join.file_key, *join.columns.values()), other, f"joins: {join.file}")
    for new, column in join.columns.items():
        found: dict[str, dict[str, None]] = {}  # by key, the different values in their order
        for key, value in zip(other[join.file_key], other[column], strict=True):
            if key is not None and value is not None:
                found.setdefault(key, {})[value] = None
        texts = {key: "|".join(values) if join.take == "all" else next(iter(values)) for key, values in found.items()}
        table.frame[new] = pd.Series(
            [texts.get(key) for key in table.frame[join.key]], table.frame.index, dtype=object
        )


def _prepared_frame(
    table: RawTable, mapping: CatalogueMapping, split: str | None, images_folder: Path
) -> tuple[pd.DataFrame, list[Problem]]:
    """Frame of `ReleaseTables`' form with each row's split in a column, and what the mapping did not foresee."""
    problems: list[Problem] = []
    given = pd.DataFrame(index=table.frame.index)
    for target, rule in mapping.columns.items():
        if target == "image":
            continue
        values, unforeseen = apply_rule(rule, table.frame, f"columns.{target}")
        if target in TEXT_COLUMNS and target != "image_file":
            values = [value and unescape_entities(value) for value in values]
        given[target] = pd.Series(values, table.frame.index, dtype=object)
        problems += _value_problems(unforeseen, target, rule, table.name, split)
    if mapping.image_column in table.frame:
        given["image_file"] = table.frame[mapping.image_column]
    kept = [*table.frame.columns] if mapping.keep is None else mapping.keep
    check_columns(kept, table.frame, "keep")
    for column in kept:
        if column == mapping.image_column:
            continue
        name = re.sub(r"\W+", "_", column.lower()).strip("_")
        is_taken = name in (*TEXT_COLUMNS, *TASKS, *RESERVED_COLUMNS, "split", "release")
        given[f"catalogue_{name}" if is_taken else name] = table.frame[column]
    frame = common_frame(given, list(table.frame.index), images_folder if images_folder.is_dir() else None)
    if mapping.splits and mapping.splits.column:
        check_columns((mapping.splits.column,), table.frame, "splits.column")
        names = {**_SPLIT_NAMES, **mapping.splits.values}
        found_splits = [names.get(normal(value)) for value in table.frame[mapping.splits.column]]
        frame["split"] = pd.Series(found_splits, dtype=object)
        for number, name, found in zip(frame["row_number"], frame["image_file"], frame["split"], strict=True):
            if found is None:
                value = table.frame[mapping.splits.column][number]
                detail = f"{mapping.splits.column} is {value!r}, which names no split"
                problems.append(Problem(number, None, name, "unknown_split", detail, "dropped"))
    else:
        frame["split"] = split
    return frame, problems


def _by_split(rows: pd.DataFrame, rule: SplitRule | None, source: str | Path) -> dict[str, pd.DataFrame]:
    """Frames by split, in the order of the splits and without those that have no row."""
    shares_out = rule.column is None if rule else rows["split"].isna().any()
    if shares_out:
        rule = rule or SplitRule()
        logger.warning("%s is shared out to splits, %s, seed %d.", source, dict(rule.shares), rule.seed)
        rows = rows.drop(columns="split")
        frames = split_by_share(rows, rule.shares, seed=rule.seed, stratify_by=rule.stratify_by)
    else:
        unknown = sorted({name for name in rows["split"].dropna() if name not in _SPLIT_NAMES})
        if unknown:
            raise ValueError(
                f"Got {source} with the splits {unknown}, but they are called {sorted(_SPLIT_NAMES)}. Say in the "
                "mapping under splits how rows come to their splits."
            )
        names = rows["split"].map(_SPLIT_NAMES)
        frames = {split: rows[names == split].drop(columns="split").reset_index(drop=True) for split in SPLITS}
    return {split: frame for split, frame in frames.items() if len(frame)}


def _value_problems(
    unforeseen: Counter[str], target: str, rule: ColumnRule, table: str, split: str | None
) -> list[Problem]:
    """A problem for each of the most frequent values that a rule's table lacks, and one for the rest."""
    action = {"missing": "taken as missing", "keep": "kept as it is", "unknown": "taken as UNK"}[rule.other]
    frequent = unforeseen.most_common(_NUM_REPORTED_VALUES)
    details = [f"{target}: {value!r} in {count} rows of {table}" for value, count in frequent]
    rest = unforeseen.total() - sum(count for _, count in frequent)
    if rest:
        details.append(f"{target}: {len(unforeseen) - len(frequent)} more values in {rest} rows of {table}")
    return [Problem(None, split, None, "unmapped_value", detail, action) for detail in details]
