"""Any catalogue of paintings, read by its mapping into the form of a SemArt release."""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from .catalogue_files import (
    FORMAT_OF_ENDING,
    check_columns,
    imagefolder_files,
    read_dataset,
    read_table,
    selected_pieces,
)
from .column_rules import Columns, apply_rule
from .delimited import SourceTable, unescape_entities
from .mapping import CatalogueMapping, ColumnRule, SplitRule, normal
from .problems import Problem
from .splits import SPLITS, divide, share_out
from .stored_rows import cells_of, stored_rows, with_same_columns
from .tables import RESERVED_COLUMNS, TEXT_COLUMNS, ReleaseTables, common_table
from .vocabulary import TASKS

logger = logging.getLogger(__name__)

# Names by which data sets call the splits.
_SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
    "training": "train",
    "testing": "test",
}

# Of the values that a table lacks, the most frequent are reported one by one.
_NUM_REPORTED_VALUES = 20

# By new column of a join the text of each key, and the column that has the keys.
_Lookup = tuple[str, dict[str, dict[str, str]]]


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
        mapping: What its columns and values are; see `load_mapping`.
        pictures_folder: Where pictures that are embedded in rows are written; in the cache of `datasets` by default.
        follow_links: Whether links in the folder of pictures may lead out of it.

    Raises:
        ValueError: A file or a column that the mapping names is not there, or no row is left.
    """
    if pictures_folder is None:
        place = str(Path(source).resolve() if Path(source).exists() else source)
        pictures_folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / re.sub(r"\W+", "-", place).strip("-")
    tables = ReleaseTables({}, follow_links=follow_links)
    parts: list[datasets.Dataset] = []
    lookups: list[_Lookup] | None = None
    for split, table, images_folder in _source_tables(source, mapping):
        lookups = _read_joins(mapping, Path(source)) if lookups is None else lookups
        reader = _Reader(table, mapping, split, images_folder, Path(pictures_folder), lookups)
        parts.append(reader.read())
        tables.problems.extend(reader.problems)
        if table.encoding:
            tables.encodings[table.name] = table.encoding
    tables.splits.update(_by_split(parts, mapping.splits, source))
    if not tables.splits:
        raise ValueError(
            f"Got {source} without a readable row that the mapping keeps. Check the download, and in the mapping "
            "keep_rows and splits."
        )
    return tables


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
    places = [(split, name) for split in SPLITS for name in releases if split in releases[name].splits]
    named = []
    for split, name in places:
        rows = releases[name].splits[split]
        named.append(rows.add_column("release", [name] * len(rows), feature=datasets.Value("string")))
    parts: dict[str, list[datasets.Dataset]] = {}
    for (split, _), rows in zip(places, with_same_columns(named), strict=True):
        parts.setdefault(split, []).append(rows)
    merged.splits.update({split: datasets.concatenate_datasets(tables) for split, tables in parts.items()})
    for name, tables in releases.items():
        merged.encodings.update({f"{name}/{file}": encoding for file, encoding in tables.encodings.items()})
        merged.problems.extend(dataclasses.replace(problem, release=name) for problem in tables.problems)
    return merged


def _source_tables(source: str | Path, mapping: CatalogueMapping) -> Iterator[tuple[str | None, SourceTable, Path]]:
    """Split, rows and folder of pictures of each file or split of a catalogue."""
    folder = Path(source)
    if mapping.format == "hub" or not folder.exists():
        is_id = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(source)) and mapping.format in (None, "hub")
        if (not folder.exists() and not is_id) or mapping.joins:
            raise ValueError(
                f"Got {source}, where nothing is, but the mapping reads a catalogue's files. Correct the path."
            )
        for name, rows in read_dataset(str(source), mapping.source_columns).items():
            yield name, rows, folder
        return
    images_folder = (folder if folder.is_dir() else folder.parent) / mapping.images
    is_imagefolder = mapping.format == "imagefolder"
    if is_imagefolder:
        files = imagefolder_files(folder)
    elif folder.is_file():
        files = {None: folder}
    elif mapping.files:
        files = {split: folder / name for split, name in mapping.files.items()}
    else:
        raise ValueError(f"Got the folder {source}, but the mapping names no files. Add files, or pass one file.")
    options = {"encoding": mapping.encoding, "delimiter": mapping.delimiter}
    for split, path in files.items():
        form = None if is_imagefolder else mapping.format
        table = read_table(path, form, mapping.source_columns, split=split, **options)
        if mapping.has_upper_header:
            table.header = [name.upper() for name in table.header]
        yield split, table, path.parent if is_imagefolder else images_folder


def _read_joins(mapping: CatalogueMapping, source: Path) -> list[_Lookup]:
    lookups = []
    for join in mapping.joins:
        columns = {join.by[1], *join.columns.values(), *join.where}
        path = (source if source.is_dir() else source.parent) / join.file
        form = FORMAT_OF_ENDING.get(path.suffix.lower(), "csv")  # a join names no format of its own
        table = read_table(path, form, columns, encoding=mapping.encoding, delimiter=mapping.delimiter)
        check_columns([(f"joins: {join.file}", column) for column in columns], table.header, table.reading)
        texts: dict[str, dict[str, str]] = {new: {} for new in join.columns}
        for _, cells in selected_pieces(table, columns, join.where):
            for new, column in join.columns.items():
                for key, value in zip(cells[join.by[1]], cells[column], strict=True):
                    if key is not None and value is not None:
                        known = texts[new].setdefault(key, value)
                        if join.take == "all" and value not in known.split("|"):
                            texts[new][key] = f"{known}|{value}"
        lookups.append((join.by[0], texts))
    return lookups


class _Reader:
    """One file or split of a catalogue, and what its mapping makes of it.

    Attributes:
        problems: What was odd about rows, and what the mapping did not foresee; complete when the rows were read.
    """

    def __init__(
        self,
        table: SourceTable,
        mapping: CatalogueMapping,
        split: str | None,
        images_folder: Path,
        pictures_folder: Path,
        lookups: Sequence[_Lookup],
    ) -> None:
        self.problems: list[Problem] = []
        self._table = table
        self._mapping = mapping
        self._split = split
        self._is_embedded = mapping.image_column in table.header
        self._images_folder = pictures_folder if self._is_embedded else images_folder
        self._lookups = lookups
        self._unforeseen: dict[str, Counter[str]] = {target: Counter() for target in mapping.columns}

    def read(self) -> datasets.Dataset:
        """Rows of the form of `ReleaseTables`, with each one's split in the column `split`."""
        table, mapping = self._table, self._mapping
        self._check_columns()
        pieces = selected_pieces(
            table, mapping.source_columns, mapping.keep_rows, mapping.image_column, self._images_folder
        )
        rows = stored_rows(self._common(*piece) for piece in pieces)
        findings = [
            (
                "left_out_rows",
                f"{table.num_left_out} rows of {table.name} by keep_rows",
                "left out as the mapping says",
            )
        ]
        findings *= bool(table.num_left_out)
        for target, unforeseen in self._unforeseen.items():
            findings += _unforeseen_values(unforeseen, target, mapping.columns[target], table.name)
        table.problems.extend(Problem(None, self._split, None, *finding) for finding in findings)
        self.problems[:0] = table.problems
        return rows

    def _check_columns(self) -> None:
        mapping, columns = self._mapping, list(self._table.header)
        named = [("keep_rows", column) for column in mapping.keep_rows]
        check_columns(named, columns, self._table.reading)
        for key, texts in self._lookups:
            check_columns([("joins: by", key)], columns, self._table.reading)
            columns += texts
        named = [("keep", column) for column in mapping.keep or ()]
        named += [("splits.column", mapping.splits.column)] if mapping.splits and mapping.splits.column else []
        for target, rule in mapping.columns.items():
            if rule.template or (not set(rule.columns) & {*columns} and not rule.is_optional and target != "image"):
                named += [(f"columns.{target}", column) for column in rule.columns]
            named += [(f"columns.{target}.to", rule.end_column)] if rule.end_column else []
        check_columns(named, columns, self._table.reading)

    def _common(self, numbers: list[int], cells: dict[str, list[str | None]]) -> pa.Table:
        mapping = self._mapping
        for key, texts in self._lookups:
            cells |= {new: [found.get(cell or "") for cell in cells[key]] for new, found in texts.items()}
        given: dict[str, Sequence[str | None]] = {}
        for target, rule in mapping.columns.items():
            if target == "image" or not set(rule.columns) & set(cells):
                continue
            values, unforeseen = apply_rule(rule, cells)
            self._unforeseen[target].update(unforeseen)
            is_text = target in TEXT_COLUMNS and target != "image_file"
            given[target] = [unescape_entities(value) for value in values] if is_text else values
        if self._is_embedded:
            given["image_file"] = cells[str(mapping.image_column)]
        for column in cells if mapping.keep is None else mapping.keep:
            name = re.sub(r"\W+", "_", column.lower()).strip("_")
            is_read = name in mapping.columns and mapping.columns[name].columns == (column,)
            if column != mapping.image_column and not is_read:
                is_taken = name in (*TEXT_COLUMNS, *TASKS, *RESERVED_COLUMNS)
                given[f"catalogue_{name}" if is_taken else name] = [unescape_entities(cell) for cell in cells[column]]
        given["split"] = self._split_names(numbers, given.get("image_file"), cells)
        return common_table(given, numbers, self._images_folder)

    def _split_names(
        self, numbers: Sequence[int], pictures: Sequence[str | None] | None, cells: Columns
    ) -> list[str | None]:
        """Name of each row's split, `None` where it is yet to be shared out, or names none."""
        rule = self._mapping.splits
        if rule is None or rule.column is None:
            return [self._split] * len(numbers)
        names = {**_SPLIT_NAMES, **rule.values}
        found = [names.get(normal(cell)) for cell in cells[rule.column]]
        for place, split in enumerate(found):
            if split is None:
                detail = f"{rule.column} is {cells[rule.column][place]!r}, which names no split"
                picture = pictures[place] if pictures else None
                self.problems.append(Problem(numbers[place], None, picture, "unknown_split", detail, "dropped"))
        return found


def _by_split(
    parts: Sequence[datasets.Dataset], rule: SplitRule | None, source: str | Path
) -> dict[str, datasets.Dataset]:
    """Rows by split, in the order of the splits and without those that have no row."""
    splits = {split for part in parts for split in cells_of(part, "split")}
    if rule.column is None if rule else None in splits:
        rule = rule or SplitRule()
        shares = ", ".join(f"{share * 100:g} % {split}" for split, share in rule.shares.items())
        logger.warning("%s is shared out to splits: %s (seed %d).", source, shares, rule.seed)
        return share_out(parts, rule.shares, rule.seed)
    unknown = sorted(split for split in splits if split is not None and split not in _SPLIT_NAMES)
    if unknown:
        raise ValueError(
            f"Got {source} with the splits {unknown}, but they are called {sorted(_SPLIT_NAMES)}. Say in the "
            "mapping under splits how rows come to their splits."
        )
    number_of = {name: SPLITS.index(split) for name, split in _SPLIT_NAMES.items()}
    numbers = (number_of.get(split, -1) for part in parts for split in cells_of(part, "split"))
    chosen = np.fromiter(numbers, dtype=np.int8, count=sum(map(len, parts)))
    return divide(parts, chosen, SPLITS)


def _unforeseen_values(
    unforeseen: Counter[str], target: str, rule: ColumnRule, table: str
) -> list[tuple[str, str, str]]:
    """Findings of the most frequent values that the rule does not foresee, or uncertain dates, and of the rest."""
    action = {"missing": "taken as missing", "keep": "kept as it is", "unknown": "taken as UNK"}[rule.other]
    frequent = unforeseen.most_common(_NUM_REPORTED_VALUES)
    details = [f"{target}: {value!r} in {count} rows of {table}" for value, count in frequent]
    rest = unforeseen.total() - sum(count for _, count in frequent)
    if rest:
        details.append(f"{target}: {len(unforeseen) - len(frequent)} more values in {rest} rows of {table}")
    return [("uncertain_date" if rule.half_century else "unmapped_value", detail, action) for detail in details]
