"""What suggestions are written for: a catalogue's file, by a mapping or without, a data set, a folder of pictures."""

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets

from semart_hf.catalogue.catalogue_files import as_text
from semart_hf.catalogue.mapping import CatalogueMapping, normal
from semart_hf.catalogue.picture_files import find_picture, picture_files
from semart_hf.catalogue.text_files import text_beside
from semart_hf.data.loading import is_release, load_paintings
from semart_hf.data.streaming import url_of

from .own_format import Addition, Catalogue, Row, open_catalogue
from .suggestions import Columns, find_columns

logger = logging.getLogger(__name__)

# By ending of the output, how `datasets` writes rows.
_WRITERS: dict[str, Callable[..., Any]] = {
    ".csv": datasets.Dataset.to_csv,
    ".jsonl": partial(datasets.Dataset.to_json, force_ascii=False),
    ".parquet": datasets.Dataset.to_parquet,
}


class DatasetRows(Catalogue):
    """Rows of a data set, with pictures in it or without; written as CSV, JSON lines or Parquet, without pictures."""

    def __init__(self, path: Path, rows: datasets.Dataset, problems: dict[int, str] | None = None) -> None:
        self.path, self._problems = path, problems or {}
        is_picture = {name: isinstance(feature, datasets.Image) for name, feature in rows.features.items()}
        self._cells = rows.select_columns([name for name in is_picture if not is_picture[name]])
        pictures = [name for name in is_picture if is_picture[name]]
        self._images = rows.select_columns(pictures[:1]).cast_column(pictures[0], datasets.Image(decode=False))
        self.columns, self.has_pictures = self._cells.column_names, True

    def rows(self) -> Iterator[Row]:
        """Its rows; pictures are read when they are asked for."""
        features = self._cells.features
        names = {
            name: [*found.names, ""] for name, found in features.items() if isinstance(found, datasets.ClassLabel)
        }
        for number, row in enumerate(self._cells):
            for name, labels in names.items():
                row[name] = labels[-1 if row[name] is None else row[name]]  # datasets writes -1 for none
            cells = {name: as_text(value) for name, value in row.items()}
            yield Row(cells, self._problems.get(number), partial(self._picture, number))

    def _picture(self, number: int) -> str | io.BytesIO | None:
        (image,) = self._images[number].values()
        if image is None:
            return None
        return io.BytesIO(image["bytes"]) if image["bytes"] else str(image["path"])

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        """Write its cells as a table."""
        named = self._cells
        for column, feature in named.features.items():
            if isinstance(feature, datasets.ClassLabel):
                texts = [row.cells[column] for row in self.rows()]
                named = named.remove_columns(column).add_column(column, texts, feature=datasets.Value("string"))
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            plain = Path(folder, output.name)
            _WRITERS[output.suffix.lower()](named.select_columns(self.columns), str(plain))
            open_catalogue(plain).write(output, names, additions)

    def digest(self) -> str:
        """Of what `datasets` knows its rows by."""
        return hashlib.sha256(f"{self._cells._fingerprint} {self._images._fingerprint}".encode()).hexdigest()


class MappedCatalogue(Catalogue):
    """A catalogue whose rows also have the cells that a mapping makes of them, as `image_file`, `description`, …."""

    def __init__(self, catalogue: Catalogue, mapping: CatalogueMapping) -> None:
        self.path, self.columns, self._catalogue, self._mapping = catalogue.path, catalogue.columns, catalogue, mapping
        if mapping.joins:
            raise ValueError(
                f"Got a mapping that joins {mapping.joins[0].file} to {self.path}, but suggestions are written into "
                "one file. Give the file that `semart-hf prepare --mapping` makes of both, or a mapping without joins."
            )
        needed = {rule.columns for rule in mapping.columns.values() if not rule.is_optional}
        missing = [columns for columns in needed if not {*columns} & {*self.columns}]
        if missing:
            raise ValueError(
                f"Got a mapping that reads {list(missing[0])}, but {self.path} has the columns {self.columns}. "
                "Correct the mapping."
            )

    def rows(self) -> Iterator[Row]:
        """Its rows, and beside their cells those of the mapping."""
        for row in self._catalogue.rows():
            cells = {name: [value] for name, value in row.cells.items()}
            made = {name: rule.apply(cells)[0][0] for name, rule in self._mapping.columns.items()}
            kept = (normal(row.cells.get(name)) in allowed for name, allowed in self._mapping.keep_rows.items())
            problem = row.problem or (None if all(kept) else "The mapping leaves this row out.")
            yield row._replace(cells={**row.cells, **made}, problem=problem)

    def columns_of(self, tasks: Sequence[str], *, has_suggestions: bool = False) -> Columns:
        """Columns of the mapping; a task's is the catalogue's own where that is its label as it stands."""
        rules = self._mapping.columns
        named = find_columns(
            self._catalogue, tasks, text=self.columns[:1], has_suggestions=has_suggestions
        )  # refuses columns that are taken
        plain = {
            name: rule.columns[0]
            for name, rule in rules.items()
            if len(rule.columns) == 1
            and not (rule.template or rule.pattern or rule.separator or rule.values or rule.half_century)
        }
        known = {task: plain.get(task, task) for task in tasks if task in rules or task in named.tasks}
        texts = ("description",) if "description" in rules else ("title",)
        return Columns("image_file" if "image_file" in rules else None, texts, known)

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        """Write the catalogue itself."""
        self._catalogue.write(output, names, additions)

    def holds_text(self, column: str) -> bool:
        """Whether it is a column of the catalogue that holds text."""
        return column in self.columns and self._catalogue.holds_text(column)

    def check_labels(self, labels: Iterable[str]) -> None:
        """See the catalogue's own."""
        self._catalogue.check_labels(labels)


def pictures_of(catalogue: Catalogue, column: str | None) -> Path:
    """The folder of a catalogue's pictures: `Images` beside it, or its own, whichever the column's names lie in."""
    own = Path(catalogue.path).parent
    beside = own / "Images"
    if not beside.is_dir():
        return own
    for row in islice(catalogue.rows(), 100 if column else 0):
        for folder in (beside, own):
            if isinstance(find_picture(str(folder), row.cells.get(column or "")), Path):
                return folder
    return beside


def open_source(source: str, **reading: str | None) -> Catalogue:
    """What lies at an address: a catalogue's file, prepared data (also a name on the Hub), or a folder of pictures."""
    path = Path(source)
    if path.is_file():
        return open_catalogue(path, **reading)
    if is_release(path):
        files = sorted(file.name for file in path.glob("*.csv"))
        raise ValueError(f"Got {source}, a release of {files}. Each of these files is a catalogue. Give one.")
    if path.is_dir() and not any(path.glob("data/*.parquet")):
        return open_pictures(path)
    if not path.exists() and url_of(source) == source:
        raise ValueError(
            f"Got the catalogue {source}, which does not exist. Give a CSV, JSON lines, Parquet or Excel file, a "
            "folder of pictures, or data by its folder or its name on the Hub."
        )
    splits = load_paintings(source)
    parts = [
        rows if "split" in rows.column_names else rows.add_column("split", [name] * len(rows))
        for name, rows in splits.items()
    ]
    return DatasetRows(path, datasets.concatenate_datasets(parts))


def open_pictures(folder: Path) -> Catalogue:
    """The pictures of a folder and its sub-folders, each with the text of the file beside it (`a.txt`, `a.jpg`)."""
    texts: list[str | None] = []
    problems = {}
    paths = picture_files(folder)
    if not paths:
        raise ValueError(f"Got the folder {folder}, which has neither a picture nor data. Correct the address.")
    for number, picture in enumerate(paths):
        texts.append(None)
        try:
            texts[-1], doubt = text_beside(picture)
        except ValueError as error:
            problems[number] = str(error)
            continue
        if doubt:
            logger.warning(doubt)
    names = [str(path.relative_to(folder)) for path in paths]
    columns = {"image_file": names, "text": texts, "image": [str(path) for path in paths]}
    features = {"image_file": datasets.Value("string"), "text": datasets.Value("string"), "image": datasets.Image()}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    return DatasetRows(folder, rows, problems)
