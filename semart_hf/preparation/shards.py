"""Rows of a catalogue become one Parquet file with their pictures in it, and a note of what was found on the way."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.catalogue.tables import Problem
from semart_hf.catalogue.text import is_description_alone, mask_label_words, named_labels
from semart_hf.files import atomic_file, write_text
from semart_hf.model.pictures_semart import PictureError

from .duplicates import text_digest
from .prepared_pictures import ENCODINGS, PreparedPicture, prepare_picture

#: Rows that are read together from a shard: few enough to stream, enough for a download.
ROWS_PER_GROUP = 64
_FORMAT = 4  # a shard whose note was written under another number is written again


@dataclass(frozen=True)
class PreparationOptions:
    """What a prepared dataset depends on beside its catalogue."""

    image_size: int = 288  # shorter side of a stored picture in pixels; smaller ones are not enlarged
    encoding: str = "jpeg"  # one of `ENCODINGS`
    min_label_count: int = 10  # how often train must have a label that is not to become `UNK`
    text_columns: tuple[str, ...] | str = ("DESCRIPTION",)  # of the model's text in their order, or a template
    mask_label_words: bool = False  # see `catalogue.text.mask_label_words`
    rows_per_shard: int = 512  # before any is dropped

    def __post_init__(self) -> None:
        for name, least, example in (("image_size", 16, 288), ("rows_per_shard", 1, 512)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"Got {name}={value}, but {least} is the least. Use for example {example}.")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"Got encoding={self.encoding!r}, but it is one of {list(ENCODINGS)}. Use one of these.")

    @property
    def has_text_column(self) -> bool:
        """Whether the text is something else than the column `description`."""
        return self.mask_label_words or not is_description_alone(self.text_columns)


class Shard(NamedTuple):
    """Rows that go into one file, the shard's number in its split from 0.

    Their cells by column are the schema's but `image`, what the catalogue's tables have beside, the `text` that the
    model reads, and `label_names`, the catalogue's label by task, and the author.
    """

    split: str
    number: int
    rows: list[dict[str, Any]]


def write_shard(
    shard: Shard,
    *,
    folder: Path,
    schema: pa.Schema,
    options: PreparationOptions,
    follow_links: bool = False,
    needs_file: bool = True,
) -> int:
    """The number of rows of a shard, whose file and note now lie in the folder.

    The note holds the kept rows' facts that the checks of all rows need, the findings, and the bytes of the pictures.
    It is written last: a shard that has one, and its file where that is needed, is not written again. The file has the
    same bytes whenever rows, pictures, schema and options are the same.
    """
    paths = [find_picture(row["images_folder"], row["image_file"], follow_links=follow_links) for row in shard.rows]
    key = _key(shard, paths, schema, options)
    file = shard_file(folder, shard.split, shard.number)
    has_files = file.with_suffix(".json").is_file() and (file.is_file() or not needs_file)
    if has_files and read_note(file)["key"] == key:
        return len(shard.rows)
    facts: list[dict[str, Any]] = []
    problems: list[Problem] = []
    num_bytes = 0

    def kept_rows() -> Iterator[dict[str, Any]]:
        nonlocal num_bytes
        for row, path in zip(shard.rows, paths, strict=True):
            picture, findings = _picture_of(row, path, shard.split, options)
            problems.extend(findings)
            if picture is None and row["text"] is None:
                continue
            facts.append(_facts_of(row, picture))
            image = None
            if picture is not None:
                num_bytes += len(picture.content)
                name = Path(row["image_file"].replace("\\", "/")).stem + ENCODINGS[options.encoding][0]
                image = {"bytes": picture.content, "path": name}
            text = mask_label_words(row["text"], row["label_names"]) if options.mask_label_words else row["text"]
            yield {**row, "image": image, "text": text}

    _write_parquet(file, kept_rows(), schema)
    # vars and not asdict, which takes longer than all else that is done with a row without a picture
    content = {"key": key, "rows": facts, "problems": [*map(vars, problems)], "num_bytes": num_bytes}
    write_text(file.with_suffix(".json"), json.dumps(content, ensure_ascii=False))
    return len(shard.rows)


def shard_file(folder: Path, split: str, number: int) -> Path:
    """The Parquet file of a shard; its note lies beside it."""
    return folder / f"{split}-{number:05d}.parquet"


def read_note(file: Path) -> dict[str, Any]:
    """What `write_shard` noted beside a shard's file."""
    note: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return note


def _key(shard: Shard, paths: Sequence[Path | tuple[str, str]], schema: pa.Schema, options: PreparationOptions) -> str:
    """Digest of all that a shard's file depends on, of the pictures their sizes and times of change."""
    statuses = [path.stat() if isinstance(path, Path) else None for path in paths]
    pictures = [status and (status.st_size, status.st_mtime_ns) for status in statuses]
    columns = schema.to_string(truncate_metadata=False)
    content = json.dumps((_FORMAT, pa.__version__, columns, vars(options), shard.rows, pictures), default=str)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _picture_of(
    row: dict[str, Any], path: Path | tuple[str, str], split: str, options: PreparationOptions
) -> tuple[PreparedPicture | None, list[Problem]]:
    """The picture of a row, `None` where it has no usable one, and the findings."""
    problems: list[tuple[str, str, str]] = []
    picture = None
    without_picture = "dropped" if row["text"] is None else "kept as text"
    if isinstance(path, Path):
        try:
            picture = prepare_picture(path, image_size=options.image_size, encoding=options.encoding)
        except PictureError as error:
            problems.append((error.problem, error.reason, without_picture))
    else:
        problems.append((*path, without_picture))
    if picture is not None and picture.num_frames > 1:
        detail = f"{picture.source_format} of {picture.num_frames} frames or pages"
        problems.append(("several_frames", detail, "kept, the first of them"))
    if row.get("description") is None:
        action = without_picture if picture is None else "kept as picture"
        problems.append(("empty_description", "no description", action))
    place = (row["row_number"], split, row["image_file"])
    return picture, [Problem(*place, *problem, release=row.get("release")) for problem in problems]


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> None:
    compression = dict.fromkeys(schema.names, "zstd") | {"image.bytes": "none", "image.path": "zstd"}
    del compression["image"]
    options = {"compression": compression, "write_page_index": True, "write_page_checksum": True}
    with atomic_file(path) as unfinished, pq.ParquetWriter(unfinished, schema, **options) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _facts_of(row: dict[str, Any], picture: PreparedPicture | None) -> dict[str, Any]:
    facts = {
        "row": row["row_number"],
        "image_file": row["image_file"],
        "description": text_digest(row["description"]) if row.get("description") is not None else None,
        "named": sorted(named_labels(row["text"], row["label_names"])) if row["text"] is not None else None,
        "release": row.get("release"),
    }
    if picture is not None:
        facts |= {
            "picture": picture.source_digest.hex(),
            "signature": picture.signature.hex(),
            "source_size": picture.source_size,
            "source_format": picture.source_format,
        }
    return facts
