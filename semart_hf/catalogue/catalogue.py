"""Any catalogue of paintings, read by its mapping into the form of a SemArt release."""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from .catalogue_files import RawTable, Selection, imagefolder_files, read_dataset, read_table
from .column_rules import apply_rule, check_columns
from .delimited import unescape_entities
from .mapping import CatalogueMapping, ColumnRule, Join, SplitRule, normal
from .problems import Problem
from .splits import SPLITS, divide, share_out, shares_in_words
from .stored_rows import ChosenRows, Rows, StoredRows, all_columns
from .tables import RESERVED_COLUMNS, TEXT_COLUMNS, ReleaseTables, common_frame
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
    source: str | Path,
    mapping: CatalogueMapping,
    *,
    pictures_folder: str | Path | None = None,
    follow_links: bool = False,
) -> ReleaseTables:
    """The rows of a catalogue in the columns of a SemArt release, by split.

    They are kept on disk, so that memory does not grow with their number; only what joins look up is held. Rows that
    the mapping leaves out, and values that its tables lack, are counted in the problems.

    Args:
        source: Folder of the catalogue, one file of it, or the id of a data set on the Hub.
        mapping: What its columns and values mean; see `load_mapping`.
        pictures_folder: Where pictures that are embedded in rows are written; in the cache of `datasets` by default.
        follow_links: Whether links in the folder of pictures may lead out of it.

    Raises:
        ValueError: A file or a column that the mapping names is not there, or no row is left.
    """
    if pictures_folder is None:
        place = str(Path(source).resolve() if Path(source).exists() else source)
        pictures_folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / re.sub(r"\W+", "-", place).strip("-")
    selection = Selection(
        mapping.source_columns,
        mapping.keep_rows,
        mapping.image_column,
        Path(pictures_folder),
        mapping.encoding,
        mapping.delimiter,
    )
    joins = [_Lookup(join, Path(source), selection) for join in mapping.joins]
    result = ReleaseTables({}, follow_links=follow_links)
    parts: list[StoredRows] = []
    for split, table, images_folder in _read_tables(source, mapping, selection):
        is_embedded = mapping.image_column in table.columns
        part = CatalogueReader(table, mapping, split, Path(pictures_folder) if is_embedded else images_folder, joins)
        parts.append(part.read())
        result.problems.extend(part.problems)
        if table.encoding:
            result.encodings[table.name] = table.encoding
    result.splits.update(_by_split(parts, mapping.splits, source))
    if not result.splits:
        raise ValueError(f"Got {source} without a row that the mapping keeps. Check keep_rows and splits there.")
    return result


def merge_tables(releases: Mapping[str, ReleaseTables]) -> ReleaseTables:
    """Several releases as one, split by split in their order; the column `release` and problems say whose a row is.

    Pictures of one name in two releases stay apart, since each row knows its own folder of pictures.

    Args:
        releases: Tables by the release's name.
    """
    merged = ReleaseTables(
        {},
        follow_links=all(tables.follow_links for tables in releases.values()),
        is_painted_miniature=all(tables.is_painted_miniature for tables in releases.values()),
    )
    columns: dict[str, None] = {}
    for tables in releases.values():
        columns |= dict.fromkeys([*all_columns(tables.splits.values()), "release"])
    for split in SPLITS:
        rows = {name: tables.splits[split] for name, tables in releases.items() if split in tables.splits}
        if rows:
            merged.splits[split] = ChosenRows(list(rows.values()), list(columns), releases=list(rows))
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
            raise ValueError(
                f"Got {path}, whose ending is none of {list(_FORMATS)}. Save a workbook's table as CSV in UTF-8; of "
                "another file say its format in the mapping."
            )
        tables.append((split, read_table(path, form, selection, split=split), folders[split]))
    return tables


class _Lookup:
    """A join's file as a table by its key, read when it is first asked."""

    def __init__(self, join: Join, source: Path, selection: Selection) -> None:
        self.join = join
        self._selection = dataclasses.replace(
            selection,
            columns=frozenset((join.file_key, *join.columns.values(), *join.where)),
            where=join.where,
            image_column=None,
        )
        self._path = (source if source.is_dir() else source.parent) / join.file
        self._texts: dict[str, dict[str, str]] | None = None

    def add_columns(self, frame: pd.DataFrame) -> None:
        """Look the columns up for each row of the frame, in place."""
        check_columns((self.join.key,), frame, f"joins: by for {self.join.file}")
        if self._texts is None:
            self._texts = self._read()
        for new, texts in self._texts.items():
            found = [texts.get(key) for key in frame[self.join.key]]
            frame[new] = pd.Series(found, frame.index, dtype=object)

    def _read(self) -> dict[str, dict[str, str]]:
        """By new column and key, the text of the file."""
        join = self.join
        form = _FORMATS.get(self._path.suffix.lower(), "csv")
        table = read_table(self._path, form, self._selection)
        found: dict[str, dict[str, dict[str, None]]] = {new: {} for new in join.columns}  # different values, in order
        for frame in table.pieces:
            check_columns((join.file_key, *join.columns.values()), frame, f"joins: {join.file}")
            for new, column in join.columns.items():
                for key, value in zip(frame[join.file_key], frame[column], strict=True):
                    if key is not None and value is not None:
                        found[new].setdefault(key, {})[value] = None
        return {
            new: {
                key: "|".join(values) if join.take == "all" else next(iter(values)) for key, values in by_key.items()
            }
            for new, by_key in found.items()
        }


class CatalogueReader:
    """One file or split of a catalogue, and what its mapping makes of it.

    Attributes:
        problems: What was odd about rows, and what the mapping did not foresee; complete when the rows were read.
    """

    def __init__(
        self,
        table: RawTable,
        mapping: CatalogueMapping,
        split: str | None,
        images_folder: Path,
        joins: Sequence[_Lookup] = (),
    ) -> None:
        self.problems: list[Problem] = []
        self._table = table
        self._mapping = mapping
        self._split = split
        self._images_folder = images_folder
        self._joins = joins
        self._unforeseen: dict[str, Counter[str]] = {target: Counter() for target in mapping.columns}

    def read(self) -> StoredRows:
        """Rows of the form of `ReleaseTables`, with each one's split in the column `split`."""
        table = self._table
        first = next(table.pieces)
        columns = self._piece(first.iloc[:0]).columns
        for counter in self._unforeseen.values():
            counter.clear()
        rows = StoredRows(map(self._piece, chain([first], table.pieces)), list(columns))
        left_out = f"{table.num_left_out} rows of {table.name} by keep_rows"
        place = (None, self._split, None)
        self.problems[:0] = [
            *table.problems,
            *([Problem(*place, "left_out_rows", left_out, "left out as the mapping says")] * bool(table.num_left_out)),
            *(
                problem
                for target, unforeseen in self._unforeseen.items()
                for problem in _value_problems(
                    unforeseen, target, self._mapping.columns[target], table.name, self._split
                )
            ),
        ]
        return rows

    def _piece(self, frame: pd.DataFrame) -> pd.DataFrame:
        mapping = self._mapping
        frame = frame.copy()
        for lookup in self._joins:
            lookup.add_columns(frame)
        given = pd.DataFrame(index=frame.index)
        for target, rule in mapping.columns.items():
            if target == "image":
                continue
            values, unforeseen = apply_rule(rule, frame, f"columns.{target}")
            self._unforeseen[target].update(unforeseen)
            if target in TEXT_COLUMNS and target != "image_file":
                values = [value and unescape_entities(value) for value in values]
            given[target] = pd.Series(values, frame.index, dtype=object)
        if mapping.image_column in frame:
            given["image_file"] = frame[mapping.image_column]
        kept = [*frame.columns] if mapping.keep is None else mapping.keep
        check_columns(kept, frame, "keep")
        for column in kept:
            if column == mapping.image_column:
                continue
            name = re.sub(r"\W+", "_", column.lower()).strip("_")
            if name in mapping.columns and mapping.columns[name].columns == (column,):
                continue
            is_taken = name in (*TEXT_COLUMNS, *TASKS, *RESERVED_COLUMNS)
            texts = [value and unescape_entities(value) for value in frame[column]]
            given[f"catalogue_{name}" if is_taken else name] = pd.Series(texts, frame.index, dtype=object)
        rows = common_frame(given, list(frame.index), self._images_folder)
        return rows.assign(split=self._splits_of(frame, rows))

    def _splits_of(self, frame: pd.DataFrame, rows: pd.DataFrame) -> list[str | None]:
        """Name of each row's split, `None` where it is yet to be shared out, or names none."""
        rule = self._mapping.splits
        if rule is None or rule.column is None:
            return [self._split] * len(rows)
        check_columns((rule.column,), frame, "splits.column")
        names = {**_SPLIT_NAMES, **rule.values}
        found = [names.get(normal(value)) for value in frame[rule.column]]
        for number, name, split, value in zip(
            rows["row_number"], rows["image_file"], found, frame[rule.column], strict=True
        ):
            if split is None:
                detail = f"{rule.column} is {value!r}, which names no split"
                self.problems.append(Problem(number, None, name, "unknown_split", detail, "dropped"))
        return found


def _by_split(parts: Sequence[Rows], rule: SplitRule | None, source: str | Path) -> dict[str, Rows]:
    """Rows by split, in the order of the splits and without those that have no row."""
    counts = Counter(split for part in parts for split in part["split"])
    shares_out = rule.column is None if rule else None in counts
    if shares_out:
        rule = rule or SplitRule()
        logger.warning("%s is shared out to splits: %s.", source, shares_in_words(rule.shares, rule.seed))
        return share_out(parts, rule.shares, seed=rule.seed, stratify_by=rule.stratify_by, leave_out=("split",))
    unknown = sorted(split for split in counts if split is not None and split not in _SPLIT_NAMES)
    if unknown:
        raise ValueError(
            f"Got {source} with the splits {unknown}, but they are called {sorted(_SPLIT_NAMES)}. Say in the "
            "mapping under splits how rows come to their splits."
        )
    number_of = {name: SPLITS.index(split) for name, split in _SPLIT_NAMES.items()}
    chosen = np.fromiter((number_of.get(split, -1) for part in parts for split in part["split"]), dtype=np.int8)
    return divide(parts, chosen, SPLITS, leave_out=("split",))


def _value_problems(
    unforeseen: Counter[str], target: str, rule: ColumnRule, table: str, split: str | None
) -> list[Problem]:
    """A problem for each of the most frequent values that the table lacks, or uncertain dates, and the rest."""
    action = {"missing": "taken as missing", "keep": "kept as it is", "unknown": "taken as UNK"}[rule.other]
    frequent = unforeseen.most_common(_NUM_REPORTED_VALUES)
    details = [f"{target}: {value!r} in {count} rows of {table}" for value, count in frequent]
    rest = unforeseen.total() - sum(count for _, count in frequent)
    if rest:
        details.append(f"{target}: {len(unforeseen) - len(frequent)} more values in {rest} rows of {table}")
    kind = "uncertain_date" if rule.half_century else "unmapped_value"
    return [Problem(None, split, None, kind, detail, action) for detail in details]
