"""Where paintings come from: a catalogue's file, a data set or a folder of pictures, and what its columns are."""

import hashlib
import ipaddress
import logging
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets

from semart_hf.catalogue.catalogue_files import as_text, with_named_labels
from semart_hf.catalogue.mapping import CatalogueMapping, normal
from semart_hf.catalogue.picture_files import find_picture, picture_files
from semart_hf.catalogue.schema import labels_in
from semart_hf.catalogue.tables import PIECE_ROWS
from semart_hf.catalogue.text import unescaped
from semart_hf.catalogue.text_files import text_beside
from semart_hf.data.loading import is_release, load_paintings
from semart_hf.data.streaming import url_of
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.picture_sources_semart import download

from .own_format import Addition, Catalogue, Row, open_catalogue

logger = logging.getLogger(__name__)

#: Between the columns in a cell of `filled_by_suggestion`.
FILLED_SEPARATOR = " | "
_IMAGE_NAMES = (
    "image_file", "image", "picture", "photo", "filename", "file_name", "file", "img", "image_path", "path",
)  # fmt: skip
_URL_NAMES = ("image_url", "iiif", "iiif_url", "picture_url", "thumbnail", "url")
_TEXT_NAMES = (
    "text", "description", "painting_description", "comment", "caption", "abstract", "notes", "title", "name",
)  # fmt: skip
#: Seconds before the second and the third attempt.
PAUSES = (1.0, 4.0)
# A IIIF image service without a request: its base address, or that of its description.
_IIIF_BASE = re.compile(r"(https?://.*/iiif/.*?)(?:/info\.json)?/?$", re.IGNORECASE)
_IIIF_REQUEST = re.compile(r"/[^/]+/[^/]+/!?\d+/(?:default|color|gray|bitonal|native)\.\w+$")
_PICTURE_SIDE = 1024


class Source(NamedTuple):
    """A catalogue, which of its columns are what, and where its pictures are."""

    catalogue: Catalogue
    images: Path  # the folder of its pictures
    image_column: str | None = None  # of names of picture files, or their URLs
    text_columns: Sequence[str] = ()  # that make up the text, in their order
    label_columns: Mapping[str, str] = {}  # by task whose labels the catalogue has
    separators: Mapping[str, str] = {}  # by task with several labels, what stands between them in a cell
    mapping: CatalogueMapping | None = None  # makes further cells, `image_file`, `description`, …, of a row's own
    fetch: Callable[[str], bytes] | None = None  # gets a picture at a URL, where they are fetched
    follow_links: bool = False  # whether links in the folder of pictures may lead out of it
    uses_own_pictures: bool = False  # those that the catalogue itself has

    def rows(self) -> Iterator[Row]:
        """The catalogue's rows, and beside their cells those of the mapping."""
        if self.mapping is None:
            yield from self.catalogue.rows()
            return
        columns = {*self.catalogue.columns}
        rules = {name: rule for name, rule in self.mapping.columns.items() if not columns.isdisjoint(rule.columns)}
        for row in self.catalogue.rows():
            cells = {name: [row.cells.get(name)] for name in columns}
            made = {name: rule.apply(cells, Counter())[0] for name, rule in rules.items()}
            kept = (normal(row.cells.get(name)) in allowed for name, allowed in self.mapping.keep_rows.items())
            problem = row.problem or (None if all(kept) else "The mapping leaves this row out.")
            yield row._replace(cells={**row.cells, **made}, problem=problem)

    def painting(self, row: Row) -> tuple[dict[str, Any], str | None]:
        """What the pipeline is asked about a row, `image` of folder or URL and `text`, and why there is no picture."""
        if row.problem is not None:
            raise ValueError(row.problem)
        text = "\n".join(unescaped(value) for column in self.text_columns if (value := row.cells.get(column)))
        name = row.cells.get(self.image_column) if self.image_column else None
        painting: dict[str, Any] = {"text": text} if text else {}
        problem = None
        if (own := row.picture() if row.picture and self.uses_own_pictures else None) is not None:
            painting["image"] = own
        elif name and name.lower().startswith(("http://", "https://")):
            try:
                if self.fetch is None:
                    raise OSError(f"The picture is a URL, {name}; predict and index fetch it with --fetch_pictures.")
                content = self.fetch(name)
                # On disk: the pictures of a part would take gigabytes of memory. The file is gone with the painting.
                file = tempfile.TemporaryFile(prefix="semart_hf-")  # noqa: SIM115
                file.write(content)
                painting["image"] = file
            except OSError as error:
                problem = str(error)
        elif name:
            found = find_picture(str(self.images), name, follow_links=self.follow_links)
            if isinstance(found, Path):
                painting["image"] = str(found)
            else:
                problem = found[1]
        if not painting:
            raise ValueError(problem or "The row has neither a picture nor a text.")
        return painting, problem

    def cell(self, row: Row, task: str) -> str | None:
        """What stands in the column of a task, if there is one."""
        return row.cells.get(self.label_columns[task]) if task in self.label_columns else None

    def label(self, row: Row, task: str) -> str | None:
        """The label in a task's column, if a person wrote it there or decided on it."""
        cell, separator = self.cell(row, task), self.separators.get(task)
        is_filled = self.label_columns.get(task) in filled_columns(row.cells)
        if is_filled and not row.cells.get(f"{task}_decided"):
            return None
        return joined(split_labels(cell, separator), separator) if cell and separator else cell

    def in_words(self) -> str:
        """What was found in the catalogue, in a sentence or three."""
        known = ", ".join(f"{task} in {column!r}" for task, column in self.label_columns.items()) or "none"
        pictures = f"column {self.image_column!r}, files in {self.images}" if self.image_column else "none"
        pictures = "its own" if self.uses_own_pictures else pictures
        texts = ", ".join(map(repr, self.text_columns)) or "none"
        return f"Pictures: {pictures}. Text: {texts}. Labels that are known: {known}."


def find_source(
    catalogue: Catalogue,
    tasks: Sequence[str],
    *,
    separators: Mapping[str, str] = {},
    mapping: CatalogueMapping | None = None,
    images: str | Path | None = None,
    image_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    fetch_pictures: bool = False,
    follow_links: bool = False,
    has_suggestions: bool = False,
) -> Source:
    """A catalogue's columns by a mapping, or by obvious names, whatever their case: `Image_File`, a task's own name.

    Of these a title is the text where there is no description, and URLs of pictures are preferred to files where
    pictures are fetched. An empty `image_column` is none. Columns that suggestions are written to are refused unless
    it `has_suggestions`.
    """
    names = catalogue.columns
    named = {normal(column).replace(" ", "_"): column for column in reversed(names)}
    labels = {task: named[key] for task in tasks if (key := normal(task).replace(" ", "_")) in named}
    known = [*names, *(() if mapping is None else mapping.columns)]
    if missing := [name for name in (image_column, *(text_columns or ())) if name and name not in known]:
        problem = f"Got the column {missing[0]!r}, which {catalogue.path} lacks"
        raise ValueError(f"{problem}. Allowed are {known}. Name one.")
    if images and not Path(images).is_dir():
        raise ValueError(f"Got the folder of pictures {images}, which is not there. Correct --images.")
    # Any column, or none, is in the place of the catalogue's own pictures.
    uses_own = isinstance(catalogue, DatasetRows) and image_column is None
    if mapping is not None:
        _check_mapping(mapping, catalogue)
        if image_column is None and "image_file" in mapping.columns:
            image_column = "image_file"
        text_columns = text_columns or ["description" if "description" in mapping.columns else "title"]
        for task in mapping.columns.keys() & {*tasks}:  # the catalogue's own column where that is the label as it is
            rule = mapping.columns[task]
            changes = rule.template or rule.pattern or rule.separator or rule.values or rule.half_century
            labels[task] = task if changes or rule.missing or len(rule.columns) > 1 else rule.columns[0]
    else:
        if image_column is None:
            obvious = (*_URL_NAMES, *_IMAGE_NAMES) if fetch_pictures else _IMAGE_NAMES
            image_column = next((named[name] for name in obvious if name in named), None)
        text_columns = text_columns or [named[name] for name in _TEXT_NAMES if name in named][:1]
        if not (image_column or text_columns or uses_own):
            advice = "Name them: --image_column COLUMN, --text_columns COLUMN [COLUMN …]."
            raise ValueError(f"Got the columns {names}, none of which is obviously a picture or a text. {advice}")
    if taken := [] if has_suggestions else [name for name in added_columns(tasks) if name in names]:
        problem = f"Got {catalogue.path}, which has the column {taken[0]!r} already"
        raise ValueError(f"{problem}. Suggestions are written beside a catalogue without them. Give that.")
    source = Source(
        catalogue,
        Path(images or ""),
        image_column=image_column or None,
        text_columns=tuple(text_columns),
        label_columns=labels,
        separators=separators,
        mapping=mapping,
        fetch=fetch_picture if fetch_pictures else None,
        follow_links=follow_links,
        uses_own_pictures=uses_own,
    )
    return source if images else source._replace(images=_pictures_of(source))


def _check_mapping(mapping: CatalogueMapping, catalogue: Catalogue) -> None:
    """Raise ValueError for a mapping of several files, or of columns that the catalogue lacks."""
    if mapping.joins:
        problem = f"{mapping.joins[0].file} to {catalogue.path}, but suggestions are written into one file"
        raise ValueError(f"Got a mapping that joins {problem}. Give what `semart-hf prepare --mapping` makes of both.")
    needed = [*mapping.keep_rows, *(column for _, column in mapping.needed_columns({*catalogue.columns}))]
    if missing := [column for column in needed if column not in catalogue.columns]:
        has = f"{catalogue.path} has the columns {catalogue.columns}"
        raise ValueError(f"Got a mapping that reads {missing}, but {has}. Correct the mapping.")


def added_columns(tasks: Sequence[str]) -> list[str]:
    """Names of the columns that suggestions are written to, beside a catalogue's own."""
    names = ("suggested", "confidence", "alternatives", "decision")
    return [*(f"{task}_{name}" for task in tasks for name in names), "filled_by_suggestion", "suggestion_problem"]


def filled_columns(cells: Mapping[str, str | None]) -> list[str]:
    """Columns of a row with suggestions whose cells were filled with them."""
    cell = cells.get("filled_by_suggestion") or ""
    # Earlier versions wrote several with blanks between them.
    return cell.split(FILLED_SEPARATOR if FILLED_SEPARATOR in cell or cell in cells else None)


def _pictures_of(source: Source) -> Path:
    """The mapping's folder, or `Images`, or a catalogue's own, whichever the names of the first rows lie in."""
    own, column = Path(source.catalogue.path).parent, source.image_column
    beside = own / (source.mapping.images if source.mapping else "Images")
    if not beside.is_dir():
        return own
    names = [row.cells.get(column) for row in islice(source.rows(), 100)] if column else []
    options = {"follow_links": source.follow_links}
    found = ((folder, find_picture(str(folder), name, **options)) for name in names for folder in (beside, own))
    return next((folder for folder, picture in found if isinstance(picture, Path)), beside)


def separators_of(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What stands between the labels in a cell, by each task of a model's configuration that has several."""
    return {task["name"]: task.get("separator") or ";" for task in tasks if is_multi_label(task)}


def joined(labels: Iterable[str], separator: str) -> str:
    """The labels as they stand in one cell."""
    return f"{separator} ".join(labels) if separator in ";," else separator.join(labels)


def split_labels(cell: str | None, separator: str) -> list[str]:
    """The labels of a cell, each once; also of a list, which is read with `|` between its parts."""
    return labels_in(cell and cell.replace("|", separator), separator) or []


class DatasetRows(Catalogue):
    """Rows of a data set, with pictures in it or without; written as CSV, JSON lines or Parquet, without pictures."""

    def __init__(self, path: Path, rows: datasets.Dataset, problems: Mapping[int, str] = {}) -> None:
        self.path, self._fingerprint, self._problems = path, rows._fingerprint, problems
        pictures = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
        self._images = rows.select_columns(pictures[:1]).cast_column(pictures[0], datasets.Image(decode=False))
        cells = rows.remove_columns(pictures)
        self.columns = cells.column_names
        self._cells = with_named_labels(cells).select_columns(self.columns)

    def rows(self) -> Iterator[Row]:
        """Its rows; pictures are read when they are asked for."""
        pieces = (zip(*piece.values(), strict=True) for piece in self._cells.iter(PIECE_ROWS))  # one by one takes long
        for number, values in enumerate(chain.from_iterable(pieces)):
            cells = dict(zip(self.columns, map(as_text, values), strict=True))
            yield Row(cells, self._problems.get(number), partial(self._picture, number))

    def _picture(self, number: int) -> str | bytes | None:
        (image,) = self._images[number].values()
        return image and (image["bytes"] or str(image["path"]))

    def write(self, output: Path, names: Sequence[str], additions: Iterable[Addition]) -> None:
        """Write its cells as a table."""
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            plain, cells = Path(folder, output.name), self._cells
            writers = {".csv": cells.to_csv, ".jsonl": partial(cells.to_json, force_ascii=False)}
            writers.get(output.suffix.lower(), cells.to_parquet)(str(plain))
            open_catalogue(plain).write(output, names, additions)

    def digest(self) -> str:
        """Of what `datasets` knows its rows by."""
        return hashlib.sha256(self._fingerprint.encode()).hexdigest()


def open_rows(address: str, **reading: str | None) -> Catalogue:
    """What lies at an address: a catalogue's file, prepared data (also a name on the Hub), or a folder of pictures."""
    path = Path(address)
    if path.is_file():
        return open_catalogue(path, **reading)
    if is_release(path):
        files = sorted(file.name for file in path.glob("*.csv"))
        raise ValueError(f"Got {address}, a release of {files}. Each of these files is a catalogue. Give one.")
    if path.is_dir() and not any(path.glob("data/*.parquet")):
        return open_pictures(path)
    if not path.exists() and url_of(address) == address:
        problem = f"Got the catalogue {address}, which does not exist. Give a CSV, JSON lines, Parquet or Excel file"
        raise ValueError(f"{problem}, a folder of pictures, or data by its folder or name on the Hub.")
    parts = [
        rows if "split" in rows.column_names else rows.add_column("split", [name] * len(rows))
        for name, rows in load_paintings(address).items()
    ]
    return DatasetRows(path, datasets.concatenate_datasets(parts))


def open_pictures(folder: Path) -> Catalogue:
    """The pictures of a folder and its sub-folders, each with the text of the file beside it (`a.txt`, `a.jpg`)."""
    paths, problems = picture_files(folder), {}
    if not paths:
        raise ValueError(f"Got the folder {folder}, which has neither a picture nor data. Correct the address.")
    texts: list[str | None] = [None] * len(paths)
    for number, picture in enumerate(paths):
        try:
            texts[number], doubt = text_beside(picture)
            if doubt:
                logger.warning(doubt)
        except ValueError as error:
            problems[number] = str(error)
    names = [str(path.relative_to(folder)) for path in paths]
    columns = {"image_file": names, "text": texts, "image": [str(path) for path in paths]}
    features = {"image_file": datasets.Value("string"), "text": datasets.Value("string"), "image": datasets.Image()}
    return DatasetRows(folder, datasets.Dataset.from_dict(columns, features=datasets.Features(features)), problems)


def fetch_picture(url: str) -> bytes:
    """The bytes of a picture on the web, or of the image of a IIIF service, about 1,024 pixels large.

    Source: IIIF Image API 3.0, https://iiif.io/api/image/3.0/#4-image-requests
    """
    base = _IIIF_BASE.match(url)
    if base and not _IIIF_REQUEST.search(url):
        url = f"{base[1]}/full/!{_PICTURE_SIDE},{_PICTURE_SIDE}/0/default.jpg"
    opener = urllib.request.build_opener(_PublicHosts)
    pauses = iter(PAUSES)
    while True:
        try:
            return download(url, opener)
        except OSError as error:
            pause = next(pauses, None)
            if pause is None or not _may_pass(error.__cause__ or error):
                raise OSError(f"The picture {url} cannot be fetched: {error}") from error
            time.sleep(pause)


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed: the server is busy, or the connection broke off."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (429, 500, 502, 503, 504)
    kinds = (TimeoutError, ConnectionError)
    return isinstance(error, kinds) or isinstance(getattr(error, "reason", None), kinds) or "broke off" in str(error)


class _PublicHosts(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **http_conn_args: Any) -> Any:
        class Public(http_class):
            def connect(self) -> None:
                super().connect()
                _check_public(self)

        return super().do_open(Public, req, **http_conn_args)


def _check_public(connection: Any) -> None:
    """Refuse a connection to this machine or its network by its own address: a name looked up twice could give two."""
    address = ipaddress.ip_address(connection.sock.getpeername()[0].split("%")[0])
    if not (getattr(address, "ipv4_mapped", None) or address).is_global:
        connection.close()
        raise PermissionError(f"{connection.host} has the private address {address}; only public ones are fetched")
