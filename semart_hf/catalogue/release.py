"""The official SemArt folder (CSV files and Images), read and checked row by row, as a typed `DatasetDict`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
from datasets.table import InMemoryTable

from .delimited import DelimitedFile, read_delimited
from .picture_files import find_picture
from .problems import Problem, count_problems
from .splits import DEFAULT_SHARES, share_out
from .stored_rows import PIECE_ROWS, Rows, StoredRows, stored_table
from .tables import (
    RESERVED_COLUMNS,
    TEXT_COLUMNS,
    ReleaseTables,
    clean_cell,
    common_columns,
    common_frame,
)
from .text import mask_label_words as masked
from .text import text_of
from .vocabulary import TASKS, UNKNOWN, label_number, learn_vocabularies

logger = logging.getLogger(__name__)

#: The official files by split.
RELEASE_FILES = {"train": "semart_train.csv", "validation": "semart_val.csv", "test": "semart_test.csv"}

REQUIRED_COLUMNS = ("IMAGE_FILE", "TYPE", "SCHOOL", "TIMEFRAME")
OPTIONAL_COLUMNS = ("DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE")


def read_release(
    folder: str | Path,
    *,
    min_label_count: int = 10,
    text_columns: Sequence[str] | str = ("DESCRIPTION",),
    mask_label_words: bool = False,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    follow_links: bool = False,
) -> datasets.DatasetDict:
    """The splits of a release as typed datasets, their pictures decoded when a row is read.

    Each split has the columns `image`, `image_file`, `description`, `author`, `title`, `technique`, `date`, `type`,
    `school`, `timeframe`, `medium`, `text`, then the release's further columns in lower case. An empty cell is `None`,
    as is `image` where the file is missing; what was missing, odd or dropped is logged and counted.

    Args:
        folder: A release's folder, or one CSV file of its form, which is then shared out to splits.
        min_label_count: How often train must have a label that is not to become `UNK`.
        text_columns: Columns of the model's text input in their order, or a template: `"{TITLE}. {DESCRIPTION}"`.
        mask_label_words: Whether words in the text that name a label are masked, to judge a model without the answer.
        vocabularies: Labels by task to use instead of learning them from train, such as those of a trained model.
        shares: Fractions by split for a single file, 0.8/0.1/0.1 by default. Not for a folder, which has splits.
        seed: Of the division by `shares`.
        follow_links: Whether links in the folder of pictures may lead out of it.

    Raises:
        ValueError: There is no release at `folder`, a file has no rows or lacks a required column, or there is no
            train split to learn labels from.
    """
    return typed_splits(
        read_rows(folder, shares=shares, seed=seed, follow_links=follow_links),
        min_label_count=min_label_count,
        text_columns=text_columns,
        mask_label_words=mask_label_words,
        vocabularies=vocabularies,
    )


def read_rows(
    folder: str | Path,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    encoding: str | None = None,
    delimiter: str | None = None,
    follow_links: bool = False,
) -> ReleaseTables:
    """The rows of a release folder, or of one CSV file that is shared out to splits, as strings by split.

    They are kept on disk, so that memory does not grow with their number.

    Args:
        folder: See `read_release`.
        shares: See `read_release`.
        seed: See `read_release`.
        encoding: Of the files, by Python's name; `None` finds it.
        delimiter: What stands between fields: a character, or one of `DELIMITERS`; `None` finds it.
        follow_links: See `read_release`.

    Raises:
        ValueError: There is no release at `folder`, or a file has no rows or lacks a required column.
    """
    folder = Path(folder)
    if folder.is_file():
        shares = DEFAULT_SHARES if shares is None else shares
        file = _ReleaseFile(folder, None, encoding, delimiter)
        rows = file.read(file.columns)
        logger.warning(
            "%s has no splits of its own: its rows are shared out, %s, seed %d.", folder, dict(shares), seed
        )
        splits = share_out([rows], shares, seed=seed)
        return ReleaseTables(splits, {folder.name: file.encoding}, file.problems, follow_links)
    files = {split: folder / name for split, name in RELEASE_FILES.items() if (folder / name).is_file()}
    if not files:
        found = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else "nothing"
        raise ValueError(
            f"Got the folder {folder} with {found}, but a SemArt release holds {list(RELEASE_FILES.values())} and "
            "Images/. Pass the folder that holds them, or one such CSV file."
        )
    if shares is not None:
        raise ValueError(
            f"Got shares={dict(shares)} for {folder}, but its files {[file.name for file in files.values()]} are "
            "splits already. Leave shares out, or pass one CSV file."
        )
    opened = {split: _ReleaseFile(path, split, encoding, delimiter) for split, path in files.items()}
    columns = list(dict.fromkeys(column for file in opened.values() for column in file.columns))
    tables = ReleaseTables({}, follow_links=follow_links)
    for split, file in opened.items():
        tables.splits[split] = file.read(columns)
        tables.encodings[file.path.name] = file.encoding
        tables.problems.extend(file.problems)
    return tables


def typed_splits(
    tables: ReleaseTables,
    *,
    min_label_count: int = 10,
    text_columns: Sequence[str] | str = ("DESCRIPTION",),
    mask_label_words: bool = False,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> datasets.DatasetDict:
    """The splits of a catalogue's tables as typed datasets; see `read_release` for columns and arguments.

    Raises:
        ValueError: There is no train split to learn labels from, or a text column is not there.
    """
    if vocabularies is None:
        if "train" not in tables.splits:
            raise ValueError(
                f"Got only the splits {list(tables.splits)}, but labels are learned from train "
                f"({RELEASE_FILES['train']}). Add it, or pass vocabularies=, for example a model's."
            )
        train = tables.splits["train"]
        vocabularies = learn_vocabularies({task: train[task] for task in TASKS}, min_label_count=min_label_count)
        _report_empty_vocabularies(vocabularies, min_label_count)
    problems = list(tables.problems)
    splits = datasets.DatasetDict()
    for split, rows in tables.splits.items():

        def typed_pieces(rows: Rows = rows, split: str = split) -> Iterator[pa.Table]:
            for frame in rows.pieces():  # of all rows at once, memory would hold a copy for each form that they take
                pictures, picture_problems = find_pictures(frame, split, follow_links=tables.follow_links)
                problems.extend(picture_problems)
                texts = texts_of(frame, text_columns, mask_label_words=mask_label_words)
                piece = _typed_dataset(frame, pictures, texts, vocabularies, tables.extra_columns, split)
                yield piece.data.table

        table, digest = stored_table(typed_pieces())
        # In memory as the library sees it: pickled, it takes its rows along. The library's own fingerprint is the
        # digest of a pickle, a second copy of all rows.
        splits[split] = datasets.Dataset(InMemoryTable(table), split=datasets.NamedSplit(split), fingerprint=digest)
    _report_problems(problems)
    return splits


class _ReleaseFile:
    """One file of a release: its columns at once, its rows as they are asked for.

    Raises:
        ValueError: It has no header, or lacks a required column.
    """

    def __init__(self, path: Path, split: str | None, encoding: str | None, delimiter: str | None) -> None:
        self.path = path
        self.split = split
        self._file: DelimitedFile = read_delimited(path, delimiter=delimiter, encoding=encoding, split=split)
        self.encoding = self._file.encoding
        self.problems: list[Problem] = []
        if self.encoding != "cp1252" and encoding is None:
            logger.warning(
                "%s is %s, not cp1252 as the official release; it is read as %s.", path, *[self.encoding] * 2
            )
        header = enumerate(self._file.header, start=1)
        self._header = [name.strip().upper() or f"COLUMN_{number}" for number, name in header]
        _check_columns(self._header, self._file.reading, path)
        self.columns = common_columns(column.lower() for column in self._header)

    def read(self, columns: Sequence[str]) -> StoredRows:
        """The file's rows with these columns; what was odd about them is then in `problems`.

        Raises:
            ValueError: No row can be read.
        """
        rows = StoredRows(self._pieces(), columns)
        self.problems[:0] = self._file.problems
        if not rows:
            raise ValueError(
                f"Got {self.path} without a readable row under its header, but a split has at least one. Check the "
                "download."
            )
        return rows

    def _pieces(self) -> Iterator[pd.DataFrame]:
        # The name of a file is no text: it may well hold "&amp;".
        cleaners = [str.strip if column == "IMAGE_FILE" else clean_cell for column in self._header]
        folder = self.path.parent / "Images"
        names = [column.lower() for column in self._header]
        numbers: list[int] = []
        rows: list[list[str | None]] = []
        for number, cells in self._file.rows:
            row = [clean(cell) or None for clean, cell in zip(cleaners, cells, strict=True)]
            if not any(row):
                self.problems.append(Problem(number, self.split, None, "empty_row", "every field is empty", "dropped"))
                continue
            numbers.append(number)
            rows.append(row)
            if len(rows) == PIECE_ROWS:
                yield common_frame(pd.DataFrame(rows, columns=names, dtype=object), numbers, folder)
                numbers, rows = [], []
        if rows:
            yield common_frame(pd.DataFrame(rows, columns=names, dtype=object), numbers, folder)


def _check_columns(columns: list[str], reading: str, path: Path) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise ValueError(
            f"Got {path} with {reading}, in which the columns {missing} are missing: {list(REQUIRED_COLUMNS)} are "
            f"required, {list(OPTIONAL_COLUMNS)} optional. Pass --delimiter or --encoding if it was read wrongly; if "
            "it names its columns otherwise, describe it in a catalogue mapping."
        )
    taken = [column for column in columns if column.lower() in RESERVED_COLUMNS]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if taken or twice:
        raise ValueError(
            f"Got {path} with the columns {taken + twice}, but each name stands once and "
            f"{[name.upper() for name in RESERVED_COLUMNS]} are made here. Rename them in the file."
        )


def texts_of(
    frame: pd.DataFrame, text_columns: Sequence[str] | str, *, mask_label_words: bool = False
) -> list[str | None]:
    """Text input of each row of a frame; see `read_release` for the arguments."""
    rows = frame.to_dict("records")
    texts = [text_of(row, text_columns) for row in rows]
    if not mask_label_words:
        return texts
    return [masked(text, author=row["author"]) for text, row in zip(texts, rows, strict=True)]


def find_pictures(
    frame: pd.DataFrame, split: str, *, follow_links: bool = False
) -> tuple[list[str | None], list[Problem]]:
    """Path of each row's picture, `None` where it has none to open, with a problem for each `None`."""
    paths: list[str | None] = []
    problems: list[Problem] = []
    for row, folder, name in zip(frame["row_number"], frame["images_folder"], frame["image_file"], strict=True):
        found = find_picture(folder, name, follow_links=follow_links)
        if isinstance(found, Path):
            paths.append(str(found))
        else:
            paths.append(None)
            problems.append(Problem(row, split, name, *found, "kept without a picture"))
    return paths, problems


def _typed_dataset(
    frame: pd.DataFrame,
    pictures: list[str | None],
    texts: list[str | None],
    vocabularies: Mapping[str, Sequence[str]],
    extra_columns: list[str],
    split: str,
) -> datasets.Dataset:
    """Dataset of one split; see `read_release` for its columns."""
    columns: dict[str, list[object]] = {"image": list(pictures)}
    features: dict[str, object] = {"image": datasets.Image()}
    for column in TEXT_COLUMNS:
        columns[column], features[column] = list(frame[column]), datasets.Value("string")
    for task in TASKS:
        labels = list(vocabularies[task])
        columns[task] = [label_number(value, labels) for value in frame[task]]
        features[task] = datasets.ClassLabel(names=labels)
    columns["text"], features["text"] = list(texts), datasets.Value("string")
    for column in extra_columns:
        columns[column], features[column] = list(frame[column]), datasets.Value("string")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features), split=datasets.NamedSplit(split))


def _report_empty_vocabularies(vocabularies: Mapping[str, Sequence[str]], min_label_count: int) -> None:
    for task, labels in vocabularies.items():
        if list(labels) == [UNKNOWN]:
            logger.warning(
                "No %s occurs %d times in train: its only label is %s. Lower min_label_count to learn it.",
                task,
                min_label_count,
                UNKNOWN,
            )


def _report_problems(problems: Sequence[Problem]) -> None:
    for kind, count in count_problems(problems).items():
        first = next(problem for problem in problems if problem.problem == kind)
        logger.warning(
            "%s in %d rows, first in %s row %s: %s (%s).",
            kind,
            count,
            first.split,
            first.row,
            first.detail,
            first.action,
        )
