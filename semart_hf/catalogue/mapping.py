"""The mapping of a catalogue: a YAML file that says which of its columns is what, and what its values mean."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .splits import DEFAULT_SHARES, SPLITS, check_shares
from .tables import TEXT_COLUMNS
from .vocabulary import TASKS

#: Where the shipped mappings lie.
MAPPINGS = Path(__file__).parents[1] / "mappings"

#: Kinds of catalogue that can be read; `hub` is a data set id, or a folder that `datasets.load_dataset` opens.
FORMATS = ("csv", "tsv", "jsonl", "parquet", "imagefolder", "hub")

#: What a mapping may fill: `image` is a column of embedded pictures, `image_file` names files where there is none.
TARGETS = ("image", *TEXT_COLUMNS, *TASKS)

#: What becomes of a value that a table of values lacks.
OTHERS = ("missing", "keep", "unknown")


@dataclass(frozen=True)
class ColumnRule:
    """Where one column of the prepared data comes from.

    Attributes:
        columns: The catalogue's columns; the first that has a value in a row gives it. Columns that are not there
            count as empty, but one must be there.
        template: Text with column names in braces, instead of `columns`; missing where one of them is.
        pattern: Regular expression whose first group is taken out of the value.
        separator: What stands between several values in one cell. Then the one that stands first in `values` counts,
            without `values` the first in the cell.
        values: Value of the catalogue to value of the prepared data. Case, underscores and hyphens do not matter.
        other: What becomes of a value that `values` lacks: one of `OTHERS`.
        half_century: Whether the value is a year of which the half-century is taken.
        end_column: The column of the last year where dates are spans, for `half_century`.
        is_optional: Whether the column is missing in every row where the catalogue has none of `columns`.
    """

    columns: tuple[str, ...] = ()
    template: str | None = None
    pattern: re.Pattern[str] | None = None
    separator: str | None = None
    values: Mapping[str, str] | None = None
    other: str = "missing"
    half_century: bool = False
    end_column: str | None = None
    is_optional: bool = False

    @property
    def template_columns(self) -> list[str]:
        """Columns that the template names."""
        return [name for _, name, _, _ in string.Formatter().parse(self.template or "") if name]


@dataclass(frozen=True)
class Join:
    """Columns that are looked up in another file of the catalogue.

    Attributes:
        file: Its name in the catalogue's folder.
        key: Column of the rows so far.
        file_key: Column of the file that equals it.
        where: Rows of the file that count: column to the values it may have.
        columns: New column to column of the file.
        take: `first` matching row of the file, or `all`: their different values with a `|` between them.
    """

    file: str
    key: str
    file_key: str
    columns: Mapping[str, str]
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    take: str = "first"


@dataclass(frozen=True)
class SplitRule:
    """How rows come to their splits: by the values of a column, or by shares.

    Attributes:
        column: Column that names the split. `None` shares the rows out.
        values: Value of the column to split. Common names need none: `val`, `dev`, `valid` are validation.
        shares: Fractions by split; see `split_by_share`.
        seed: Of the sharing out.
        stratify_by: Columns of the prepared data that are divided evenly.
    """

    column: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    seed: int = 0
    stratify_by: tuple[str, ...] = ("type", "school", "timeframe")


@dataclass(frozen=True)
class CatalogueMapping:
    """How a catalogue is read. See the files in `semart_hf/mappings`.

    Attributes:
        columns: Rule by column of the prepared data: `TEXT_COLUMNS`, tasks, and `image` for embedded pictures.
        files: File by split; `None` is the split of a catalogue that has no files by split. Empty for a catalogue
            that is named when it is read.
        format: One of `FORMATS`; `None` goes by the files' endings.
        images: Folder of the pictures, in the catalogue's folder.
        encoding: Of text files, by Python's name; `None` finds it.
        delimiter: Of CSV files: a character, or one of `DELIMITERS`; `None` finds it.
        keep_rows: Rows that count: column to the values it may have.
        joins: Look-ups in further files, in their order.
        keep: Further columns that are kept, or `None` for all.
        splits: How rows come to their splits; `None` goes by the files.
    """

    columns: Mapping[str, ColumnRule]
    files: Mapping[str | None, str] = field(default_factory=dict)
    format: str | None = None
    images: str = "Images"
    encoding: str | None = None
    delimiter: str | None = None
    keep_rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    keep: tuple[str, ...] | None = ()
    splits: SplitRule | None = None

    @property
    def image_column(self) -> str | None:
        """Column of embedded pictures; a catalogue may be without it where there is a rule for `image_file` too."""
        return self.columns["image"].columns[0] if "image" in self.columns else None

    @property
    def source_columns(self) -> frozenset[str] | None:
        """Columns of the catalogue that are read, joined ones included; `None` where all are kept."""
        if self.keep is None:
            return None
        columns = {*self.keep, *self.keep_rows, *(join.key for join in self.joins)}
        for rule in self.columns.values():
            columns |= {*rule.columns, *rule.template_columns, *([rule.end_column] if rule.end_column else [])}
        if self.splits and self.splits.column:
            columns.add(self.splits.column)
        return frozenset(columns)


def load_mapping(name_or_path: str | Path) -> CatalogueMapping:
    """The mapping in a YAML file, or the one of this name that is shipped.

    Raises:
        ValueError: There is none, the file is no YAML, or a key is unknown, missing or of the wrong kind; the message
            names it.
    """
    path, shipped = Path(name_or_path), MAPPINGS / f"{name_or_path}.yaml"
    path = path if path.is_file() or not shipped.is_file() else shipped
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        names = sorted(file.stem for file in MAPPINGS.glob("*.yaml"))
        raise ValueError(
            f"Got the mapping {name_or_path}, but there is no such file, and the names are {names}. Correct it."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Got {path}, which is no YAML: {error}. Correct it there.") from error
    try:
        return parse_mapping(content)
    except ValueError as error:
        raise ValueError(f"In the mapping {path}: {error}") from error


def parse_mapping(content: Any) -> CatalogueMapping:
    """The mapping that a YAML file's content describes.

    Raises:
        ValueError: See `load_mapping`.
    """
    known = (
        "about",
        "files",
        "format",
        "encoding",
        "delimiter",
        "images",
        "keep_rows",
        "joins",
        "columns",
        "keep",
        "splits",
    )
    given = _section(content, "the mapping", known, required=("columns",))
    columns = {
        name: _column_rule(value, f"columns.{name}")
        for name, value in _section(given["columns"], "columns", TARGETS).items()
    }
    if not set(columns) & {*TASKS, "technique"}:
        raise ValueError(
            f"Got columns {list(columns)}, but none of {list(TASKS)} is among them, nor technique, which gives the "
            "medium. Add one to columns."
        )
    files = given.get("files", {})
    if isinstance(files, str):
        files = {None: files}
    else:
        files = {split: _text(name, f"files.{split}") for split, name in _section(files, "files", SPLITS).items()}
    keep = given.get("keep", [])
    return CatalogueMapping(
        columns=columns,
        files=files,
        format=_one_of(given["format"], FORMATS, "format") if "format" in given else None,
        images=_text(given.get("images", "Images"), "images"),
        encoding=_text(given["encoding"], "encoding") if "encoding" in given else None,
        delimiter=_text(given["delimiter"], "delimiter") if "delimiter" in given else None,
        keep_rows=_conditions(given.get("keep_rows", {}), "keep_rows"),
        joins=tuple(
            _join(join, f"joins.{number}") for number, join in enumerate(_list(given.get("joins", []), "joins"))
        ),
        keep=None if keep == "all" else tuple(_text(column, "keep") for column in _list(keep, "keep")),
        splits=_split_rule(given["splits"]) if "splits" in given else None,
    )


def normal(value: str | None) -> str:
    """A value as tables of values compare it: in one case, with spaces for underscores and hyphens."""
    return " ".join(re.sub(r"[-_\s]+", " ", value or "").casefold().split())


def _column_rule(value: Any, key: str) -> ColumnRule:
    if isinstance(value, str) and "{" in value:
        return ColumnRule(template=_template(value, key))
    if isinstance(value, (str, list)):
        return ColumnRule(columns=_names(value, key))
    known = ("from", "to", "as", "pattern", "separator", "values", "other", "optional")
    given = _section(value, key, known, required=("from",))
    if "as" in given:
        _one_of(given["as"], ("half_century",), f"{key}.as")
    source = given["from"]
    template = _template(source, f"{key}.from") if isinstance(source, str) and "{" in source else None
    table = given.get("values")
    if table is not None:
        table = {
            normal(str(old)): _text(new, f"{key}.values.{old}")
            for old, new in _section(table, f"{key}.values").items()
        }
    return ColumnRule(
        columns=() if template else _names(source, f"{key}.from"),
        template=template,
        pattern=_pattern(given["pattern"], f"{key}.pattern") if "pattern" in given else None,
        separator=_text(given["separator"], f"{key}.separator") if "separator" in given else None,
        values=table,
        other=_one_of(given.get("other", "missing"), OTHERS, f"{key}.other"),
        half_century="as" in given,
        end_column=_text(given["to"], f"{key}.to") if "to" in given else None,
        is_optional=_one_of(given.get("optional", False), (True, False), f"{key}.optional"),
    )


def _join(value: Any, key: str) -> Join:
    given = _section(value, key, ("file", "by", "where", "columns", "take"), required=("file", "by", "columns"))
    by = given["by"]
    if isinstance(by, Mapping) and len(by) != 1:
        raise ValueError(f"Got {key}.by = {dict(by)}, but rows are joined by one column. Write `here: there`.")
    here, there = next(iter(by.items())) if isinstance(by, Mapping) else (by, by)
    columns = _section(given["columns"], f"{key}.columns")
    return Join(
        file=_text(given["file"], f"{key}.file"),
        key=_text(here, f"{key}.by"),
        file_key=_text(there, f"{key}.by"),
        columns={new: _text(column, f"{key}.columns.{new}") for new, column in columns.items()},
        where=_conditions(given.get("where", {}), f"{key}.where"),
        take=_one_of(given.get("take", "first"), ("first", "all"), f"{key}.take"),
    )


def _split_rule(value: Any) -> SplitRule:
    given = _section(value, "splits", ("column", "values", "shares", "seed", "stratify_by"))
    if ("column" in given) == ("shares" in given):
        raise ValueError("Got splits with both or neither of column and shares, but one of them says it. Give one.")
    seed = given.get("seed", 0)
    if not isinstance(seed, int):
        raise ValueError(f"Got splits.seed = {seed!r}, but it is a whole number. Correct it.")
    if "column" in given:
        values = _section(given.get("values", {}), "splits.values")
        table = {normal(str(old)): _one_of(new, SPLITS, f"splits.values.{old}") for old, new in values.items()}
        return SplitRule(column=_text(given["column"], "splits.column"), values=table, seed=seed)
    shares = _section(given["shares"], "splits.shares", SPLITS)
    check_shares(shares)
    stratify_by = _names(given.get("stratify_by", list(SplitRule().stratify_by)), "splits.stratify_by")
    for column in stratify_by:
        _one_of(column, (*TASKS, *TEXT_COLUMNS), "splits.stratify_by")
    return SplitRule(shares=shares, seed=seed, stratify_by=stratify_by)


def _conditions(value: Any, key: str) -> dict[str, tuple[str, ...]]:
    return {
        column: tuple(normal(str(entry)) for entry in (values if isinstance(values, list) else [values]))
        for column, values in _section(value, key).items()
    }


def _section(
    value: Any, key: str, known: tuple[str, ...] | None = None, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The value as a mapping of names, with no key outside `known` and every one of `required`."""
    if not isinstance(value, Mapping):
        raise ValueError(f"Got {key} = {value!r}, but it is a section of `name: value` lines. Write it so.")
    unknown = [name for name in value if known is not None and name not in known]
    missing = [name for name in required if name not in value]
    if unknown or missing:
        fault = f"the unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
        raise ValueError(f"Got {key} with {fault}, but its keys are {list(known or ())}. Correct the mapping.")
    return dict(value)


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"Got {key} = {value!r}, but it is a list. Write it as `- entry` lines.")
    return value


def _names(value: Any, key: str) -> tuple[str, ...]:
    names = tuple(_text(name, key) for name in (value if isinstance(value, list) else [value]))
    if not names:
        raise ValueError(f"Got {key} without an entry, but it names at least one column. Add it.")
    return names


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"Got {key} = {value!r}, but it is a text. Put it in quotes.")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...], key: str) -> Any:
    if value not in allowed:
        raise ValueError(f"Got {key} = {value!r}, but it is one of {list(allowed)}. Choose among these.")
    return value


def _template(value: str, key: str) -> str:
    try:
        fields = list(string.Formatter().parse(value))
    except ValueError as error:
        raise ValueError(
            f"Got {key} = {value!r}, which is no template ({error}). Write column names in braces."
        ) from error
    if not any(name for _, name, _, _ in fields) or any(
        name == "" or form or conversion for _, name, form, conversion in fields
    ):
        raise ValueError(f"Got {key} = {value!r}, but braces hold a column's name alone. Write it so.")
    return value


def _pattern(value: Any, key: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(_text(value, key))
    except re.error as error:
        raise ValueError(f"Got {key} = {value!r}, which is no regular expression ({error}). Correct it.") from error
    if pattern.groups != 1:
        raise ValueError(f"Got {key} = {value!r}, but it has one group, the part to take. Put that in parentheses.")
    return pattern
