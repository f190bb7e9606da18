"""The mapping of a catalogue: a YAML file that says which of its columns is what, and what its values become."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .rules import half_century_of
from .schema import SEMART_TASKS, UNKNOWN, Task, read_tasks
from .tables import SPLITS, TEXT_COLUMNS
from .text import MAPPINGS, template_parts

#: Catalogues that are no files of rows; `hub` is a data set id, or a folder that `datasets.load_dataset` opens.
FORMATS = ("csv", "tsv", "jsonl", "parquet", "workbook", "imagefolder", "hub")
SEMART_NAMES = [task.name for task in SEMART_TASKS]
Columns = Mapping[str, Sequence[str | None]]  #: of some rows, by their names


@dataclass(frozen=True)
class ColumnRule:
    """Where one column of the prepared data comes from."""

    columns: tuple[str, ...]  # the first that has a value in a row gives it; one must be in the catalogue
    template: str | None = None  # text with these columns in braces; missing where one of them is
    pattern: re.Pattern[str] | None = None  # its first group is taken out of the value
    separator: str | None = None  # of several values in a cell, of which the first in `values` counts, or the first
    missing: tuple[str, ...] = ()  # values that say nothing, as `normal` writes them
    values: Mapping[str, str] | None = None  # the catalogue's, as `normal` writes it, to the new one
    takes_all: bool = False  # whether all of several values count, with `|` between them
    other: str = "missing"  # what a value that `values` lacks becomes: `missing`, `keep` or `unknown`
    half_century: bool = False  # whether the value is a date of which the half-century is taken
    end_column: str | None = None  # of the last year, where dates are spans
    is_optional: bool = False  # whether the catalogue may have none of `columns`

    def apply(self, cells: Columns, unforeseen: Counter[str]) -> list[str | None]:
        """The column's value for each row; a value that the rule does not foresee is counted among the others."""
        rows = zip(*(cells[name] for name in self.columns if name in cells), strict=True)
        if self.template:
            fill = re.sub(r"\{[^{}]+\}", "%s", self.template.replace("%", "%%"))
            texts = [None if None in row else fill % row for row in rows]
        else:
            texts = [next((cell for cell in row if cell is not None), None) for row in rows]
        if self.pattern:
            matches = [text and self.pattern.search(text) for text in texts]
            texts = [match[1] if match else None for match in matches]
        if not self.half_century:
            return [self._value_of(text, unforeseen) for text in texts]
        ends = cells[self.end_column] if self.end_column else [None] * len(texts)
        pairs = zip(texts, ends, strict=True)
        spans = [tuple(None if normal(one) in self.missing else one for one in pair) for pair in pairs]
        values = [half_century_of(*span) for span in spans]
        for span, value in zip(spans, values, strict=True):
            if value is None and any(map(normal, span)):  # a dash is no date
                unforeseen[" to ".join(filter(None, dict.fromkeys(span)))] += 1
        return values

    def _value_of(self, text: str | None, unforeseen: Counter[str]) -> str | None:
        pieces = map(str.strip, text.split(self.separator) if text and self.separator else [text or ""])
        parts = [piece for piece in pieces if piece and normal(piece) not in self.missing]
        if self.takes_all:
            values = [self._known([part], part, unforeseen) for part in parts]
            return "|".join(dict.fromkeys(value for value in values if value)) or None
        return self._known(parts, str(text), unforeseen) if parts else None

    def _known(self, parts: Sequence[str], text: str, unforeseen: Counter[str]) -> str | None:
        """The prepared data's value for the catalogue's, of several that which stands first in `values`."""
        if self.values is None:
            return parts[0]
        known = {normal(part) for part in parts}
        first = next((value for name, value in self.values.items() if name in known), None)
        if first is None:
            unforeseen[text] += 1
            return {"missing": None, "keep": parts[0], "unknown": UNKNOWN}[self.other]
        return first


@dataclass(frozen=True)
class Join:
    """Columns that are looked up in another file of the catalogue."""

    file: str
    by: tuple[str, str]  # column of the rows so far, and the column of the file that equals it
    columns: Mapping[str, str]  # new column to column of the file
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # as `keep_rows`, of the file
    take: str = "first"  # matching row of the file, or `all`: their different values with a `|` between them


@dataclass(frozen=True)
class SplitRule:
    """How rows come to their splits: by a column, or by seeded shares where there is none."""

    column: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)  # split by cell; common names such as `val` need none
    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1})
    seed: int = 0
    by: str | None = None  # `author`: all rows of one come to one split, so that scores are of authors not seen

    def __post_init__(self) -> None:
        shares = self.shares.values()
        are_positive = all(isinstance(share, (int, float)) and share > 0 for share in shares)
        if not are_positive or abs(sum(shares) - 1) > 1e-6 or not set(self.shares) <= set(SPLITS):
            raise ValueError(
                f"Got the shares {dict(self.shares)}, but they are positive fractions of {list(SPLITS)} that sum to "
                "1. Write for example {'train': 0.8, 'validation': 0.2}."
            )


@dataclass(frozen=True)
class CatalogueMapping:
    """How a catalogue is read. See the files in `semart_hf/mappings`."""

    # By `TEXT_COLUMNS` and tasks of the prepared data, and `image` for embedded pictures.
    columns: Mapping[str, ColumnRule]
    tasks: tuple[Task, ...] = SEMART_TASKS
    files: Mapping[str | None, str] = field(default_factory=dict)  # by split; none where the file is named later
    format: str | None = None  # one of `FORMATS`; `None` goes by the files' endings
    images: str = "Images"  # folder of the pictures, in the catalogue's folder
    encoding: str | None = None  # of text files, by Python's name; `None` finds it
    delimiter: str | None = None  # of CSV files: a character, or one of `DELIMITERS`; `None` finds it
    keep_rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # column to the values it may have
    joins: tuple[Join, ...] = ()
    keep: tuple[str, ...] | None = ()  # further columns; `None` for all
    splits: SplitRule | None = None  # `None` goes by the files
    is_release: bool = False  # of SemArt, whose columns are called by their names in upper case

    @property
    def image_column(self) -> str | None:
        """Column of embedded pictures; a catalogue may be without it where there is a rule for `image_file` too."""
        return self.columns["image"].columns[0] if "image" in self.columns else None

    def needed_columns(self, names: Set[str]) -> Iterator[tuple[str, str]]:
        """Key and name of the columns that a catalogue with these names must have."""
        for target, rule in self.columns.items():
            is_there = not names.isdisjoint(rule.columns)
            if rule.template if is_there else not (rule.is_optional or target == "image"):
                yield from ((f"columns.{target}", column) for column in rule.columns)
            if rule.end_column and (is_there or not rule.is_optional):
                yield f"columns.{target}.to", rule.end_column

    @property
    def source_columns(self) -> frozenset[str] | None:
        """Columns of the catalogue that are read, joined ones included; `None` where all are kept."""
        if self.keep is None:
            return None
        named = [*self.keep, *self.keep_rows, *(join.by[0] for join in self.joins)]
        named += [self.splits.column] if self.splits and self.splits.column else []
        named += [column for rule in self.columns.values() for column in (*rule.columns, rule.end_column) if column]
        return frozenset(named)


def load_mapping(name_or_path: str | Path, tasks: Sequence[Any] | None = None) -> CatalogueMapping:
    """The mapping in a YAML file, or the one of this name that is shipped; with its own tasks, or with `tasks`."""
    shipped = {path.stem: path for path in sorted(MAPPINGS.glob("*.yaml"))}
    path = Path(name_or_path) if Path(name_or_path).is_file() else shipped.get(str(name_or_path))
    if path is None:
        raise ValueError(
            f"Got the mapping {name_or_path}, but there is no such file, and the names are {[*shipped]}. Correct it."
        )
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        if tasks and isinstance(content, Mapping):
            own = {task.name: task.entry for task in read_tasks(content.get("tasks") or SEMART_NAMES)}
            content = {**content, "tasks": [own.get(task, task) if isinstance(task, str) else task for task in tasks]}
        return parse_mapping(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Got {path}, which is no YAML: {error}. Correct it there.") from error
    except ValueError as error:
        raise ValueError(f"In the mapping {path}: {error}") from error


def parse_mapping(content: Any) -> CatalogueMapping:
    """The mapping that a YAML file's content describes."""
    given = _read(content, _KEYS, "the mapping", required=("columns",))
    tasks = given.get("tasks", ())
    targets = ("image", *TEXT_COLUMNS, *SEMART_NAMES, *(task.name for task in tasks))
    columns = given["columns"] = _read(given["columns"], dict.fromkeys(targets, _column_rule), "columns")
    if not tasks and not set(columns) & {*SEMART_NAMES, "technique"}:
        raise ValueError(
            f"Got columns {list(columns)}, but none of {SEMART_NAMES} is among them, nor technique, which gives the "
            "medium. Add one to columns, or say under tasks which other columns have labels."
        )
    if tasks:
        given["tasks"] = tuple(_with_column(task, columns) for task in tasks)
    return CatalogueMapping(**{key: value for key, value in given.items() if key != "about"})


def _with_column(task: Task, columns: dict[str, ColumnRule]) -> Task:
    """The task as the prepared data has it; a column of the catalogue itself that it names gets a rule."""
    is_mapped = task.source in columns or (task.name == "medium" and "technique" in columns)
    if task.rule and not is_mapped:
        raise ValueError(
            f"Got the task {task.name} from {task.source!r}, which {list(columns)} lack. Add {task.source} to columns."
        )
    if not is_mapped:
        columns[task.name] = ColumnRule((task.source,))
        task = replace(task, column=None)
    if task.kind != "multi_label" or task.source not in columns:
        return task
    rule = columns[task.source]
    separator = rule.separator or task.separator or "|"  # as lists are read
    columns[task.source] = replace(rule, takes_all=True, separator=separator)
    return replace(task, separator="|")


def normal(value: str | None) -> str:
    """A value as tables of values compare it: in one case and Unicode form, with a space for `_` and `-`."""
    return " ".join(re.sub(r"[-_\s]+", " ", unicodedata.normalize("NFC", value or "")).casefold().split())


def _read(value: Any, form: Any, key: str, required: Sequence[str] = ()) -> Any:
    """What a value in YAML says by its form, or an error that names its key.

    A form is `str`, `object` for anything, a tuple of what is allowed, a list for one or several, `{str: form}` for
    lines with any name, a dictionary for a section of named ones, or a function.
    """
    if form is object:
        return value
    if isinstance(form, tuple):
        if value not in form:
            raise ValueError(f"Got {key} = {value!r}, but it is one of {list(form)}. Choose among these.")
        return value
    if isinstance(form, list):
        if not isinstance(value, list):
            return (_read(value, form[0], key),)
        return tuple(_read(one, form[0], f"{key}.{number}") for number, one in enumerate(value))
    if form is str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"Got {key} = {value!r}, but it is a text. Put it in quotes.")
        return value
    if not isinstance(form, dict):
        return form(value, key)
    if not isinstance(value, Mapping):
        raise ValueError(f"Got {key} = {value!r}, but it is a section of `name: value` lines. Write it so.")
    faults = [f"the key {name}" for name in value if name is None or isinstance(name, bool)]
    if faults:
        raise ValueError(f"Got {key} with {faults[0]}, as YAML reads null, yes, no, on and off. Put it in quotes.")
    faults = [f"the unknown key {name!r}" for name in value if not {name, str} & {*form}]
    faults += [f"no {name!r}" for name in required if name not in value]
    if faults:
        raise ValueError(f"Got {key} with {faults[0]}, but its keys are {list(form)}. Correct the mapping.")
    place = "" if key == "the mapping" else f"{key}."
    return {str(name): _read(one, form.get(name, form.get(str)), f"{place}{name}") for name, one in value.items()}


def _source(value: Any, key: str) -> dict[str, Any]:
    if isinstance(value, str) and "{" in value:
        return {"template": value, "columns": tuple(name for _, name in template_parts(value, f"{key} =") if name)}
    if value == []:
        raise ValueError(f"Got {key} without an entry, but it names at least one column. Add it.")
    return {"columns": _read(value, [str], key)}


def _pattern(value: Any, key: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(_read(value, str, key))
    except re.error as error:
        raise ValueError(f"Got {key} = {value!r}, which is no regular expression ({error}). Correct it.") from error
    if pattern.groups != 1:
        raise ValueError(f"Got {key} = {value!r}, but it has one group, the part to take. Put that in parentheses.")
    return pattern


def _conditions(value: Any, key: str) -> dict[str, tuple[str, ...]]:
    """Column to the values that a row may have there."""
    lines = _read(value, {str: [object]}, key)
    return {column: tuple(normal(str(entry)) for entry in entries) for column, entries in lines.items()}


def _column_rule(value: Any, key: str) -> ColumnRule:
    if isinstance(value, (str, list)):
        return ColumnRule(**_source(value, key))
    names = {*value} if isinstance(value, Mapping) else set()
    form = _DATE_KEYS if "as" in names else _LABEL_KEYS
    given = _read(value, form, key, required=("from", "values") if "other" in names else ("from",))
    if "values" in given:
        given["values"] = {normal(name): label for name, label in given["values"].items()}
    return ColumnRule(
        **given.pop("from"),
        half_century=given.pop("as", None) is not None,
        end_column=given.pop("to", None),
        is_optional=given.pop("optional", False),
        missing=tuple(map(normal, given.pop("missing", ()))),
        **given,
    )


def _by(value: Any, key: str) -> tuple[str, str]:
    if isinstance(value, Mapping) and len(value) != 1:
        raise ValueError(f"Got {key} = {dict(value)}, but rows are joined by one column. Write `here: there`.")
    here, there = next(iter(value.items())) if isinstance(value, Mapping) else (value, value)
    return _read(here, str, key), _read(there, str, key)


def _split_rule(value: Any, key: str) -> SplitRule:
    given = _read(value, _SPLIT_KEYS, key)
    if type(given.get("seed", 0)) is not int:
        raise ValueError(f"Got {key}.seed = {given['seed']!r}, but it is a whole number. Correct it.")
    allowed = {"column", "values"} if "column" in given else {"shares", "by", "seed"}
    if not given.keys() <= allowed or given.keys().isdisjoint(("column", "shares")):
        raise ValueError(f"Got splits with {[*given]}. Allowed is column with values, or shares with by and seed.")
    return SplitRule(**given | {"values": {normal(name): split for name, split in given.get("values", {}).items()}})


_RULE_KEYS: dict[str, Any] = {"from": _source, "pattern": _pattern, "missing": [str], "optional": (True, False)}
_DATE_KEYS = _RULE_KEYS | {"as": ("half_century",), "to": str}
_LABEL_KEYS = _RULE_KEYS | {"separator": str, "values": {str: str}, "other": ("missing", "keep", "unknown")}
_JOIN_KEYS = {"file": str, "by": _by, "where": _conditions, "columns": {str: str}, "take": ("first", "all")}
_SPLIT_KEYS = {"column": str, "values": {str: SPLITS}, "shares": {str: object}, "seed": object, "by": ("author",)}
_KEYS = {
    "about": str,
    "files": lambda value, key: (
        {None: value} if isinstance(value, str) else _read(value, dict.fromkeys(SPLITS, str), key)
    ),
    "format": FORMATS,
    "encoding": str,
    "delimiter": str,
    "images": str,
    "keep_rows": _conditions,
    "joins": [lambda value, key: Join(**_read(value, _JOIN_KEYS, key, required=("file", "by", "columns")))],
    "tasks": lambda value, _: tuple(read_tasks(value)),
    "columns": {str: object},
    "keep": lambda value, key: None if value == "all" else _read(value, [str], key),
    "splits": _split_rule,
}
