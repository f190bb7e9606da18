"""Rows of a catalogue become one Parquet file with their pictures in it, and a note of what was found on the way."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.catalogue.problems import Problem
from semart_hf.catalogue.text import mask_label_words, named_labels
from semart_hf.files import atomic_file, write_text

from .duplicates import text_digest
from .prepared_pictures import ENCODINGS, PreparedPicture, UnusablePictureError, prepare_picture

#: Rows that are read together from a shard: few enough to stream, enough for a download.
ROWS_PER_GROUP = 64

# A shard whose note was written under another number is written again.
_FORMAT = 2


@dataclass(frozen=True)
class ShardRecipe:
    """What is the same for all shards of a run.

    Attributes:
        schema: Columns of the file, `image` first, with the features that `datasets` reads from its metadata.
        image_size: Shorter side of a stored picture, in pixels.
        encoding: How pictures are stored, a key of `prepared_pictures.ENCODINGS`.
        mask_label_words: Whether words that name labels are masked in the column `text`.
        follow_links: Whether links in the folder of pictures may lead out of it.
    """

    schema: pa.Schema
    image_size: int
    encoding: str
    mask_label_words: bool = False
    follow_links: bool = False


@dataclass(frozen=True)
class Shard:
    """Rows that go into one file.

    Attributes:
        split: Their split.
        number: Of the shard in its split, from 0.
        rows: Cells by column: the schema's ones but `image`, the `ORIGIN_COLUMNS`, `text`, which the model reads, and
            `label_names`, the catalogue's label by task.
    """

    split: str
    number: int
    rows: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Name of the shard's files without ending."""
        return f"{self.split}-{self.number:05d}"


@dataclass(frozen=True)
class RowFacts:
    """What is remembered of a row that was kept, for the checks that need all rows.

    Attributes:
        row: Its number in its file.
        image_file: Its picture's name.
        picture: Digest of its picture's file; `None` where it has no usable picture, as in the next three.
        signature: Signature of its picture.
        source_size: Width and height of the picture's file.
        source_format: Format of the picture's file.
        description: Digest of its description.
        named: What its text names, of `text.WAYS_OF_NAMING`; `None` where it has no text.
        release: Name of its release, where several are merged.
    """

    row: int
    image_file: str | None
    picture: str | None
    signature: str | None
    source_size: tuple[int, int] | None
    source_format: str | None
    description: str | None
    named: list[str] | None
    release: str | None


@dataclass(frozen=True)
class ShardFacts:
    """What came of a shard: its kept rows in the order of the file, its findings, the bytes of its pictures."""

    rows: list[RowFacts]
    problems: list[Problem]
    num_dropped: int
    num_bytes: int


def write_shard(shard: Shard, on_row: Callable[[], None], *, recipe: ShardRecipe, folder: Path) -> None:
    """Write a shard's file, and its facts beside it, unless they lie there already.

    The note with the facts is written last, so a shard counts as written only when all of it is there. The file has
    the same bytes whenever rows, pictures and recipe are the same. `on_row` is called after each row.
    """
    key = _key(shard, recipe)
    if read_facts(folder, shard.name, key) is not None:
        for _ in shard.rows:
            on_row()
        return
    rows: list[RowFacts] = []
    problems: list[Problem] = []
    num_bytes = 0

    def kept_rows() -> Iterator[dict[str, Any]]:
        nonlocal num_bytes
        for row in shard.rows:
            picture, findings = _picture_of(row, shard.split, recipe)
            problems.extend(findings)
            on_row()
            if picture is None and row["text"] is None:
                continue
            rows.append(_facts_of(row, picture))
            image = None
            if picture is not None:
                num_bytes += len(picture.content)
                name = Path(row["image_file"].replace("\\", "/")).stem + ENCODINGS[recipe.encoding][0]
                image = {"bytes": picture.content, "path": name}
            text = mask_label_words(row["text"], author=row["author"]) if recipe.mask_label_words else row["text"]
            yield {**row, "image": image, "text": text}

    _write_parquet(folder / f"{shard.name}.parquet", kept_rows(), recipe.schema)
    # vars and not asdict, which takes longer than all else that is done with a row without a picture
    record = {
        "key": key,
        "rows": [*map(vars, rows)],
        "problems": [*map(vars, problems)],
        "num_dropped": len(shard.rows) - len(rows),
        "num_bytes": num_bytes,
    }
    write_text(folder / f"{shard.name}.json", json.dumps(record, ensure_ascii=False))


def read_facts(folder: Path, name: str, key: str | None = None) -> ShardFacts | None:
    """Facts of a shard that lies complete in `folder`; `None` if it does not, or was written under another key."""
    note = folder / f"{name}.json"
    if not note.is_file() or not (folder / f"{name}.parquet").is_file():
        return None
    record = json.loads(note.read_text(encoding="utf-8"))
    if key is not None and record["key"] != key:
        return None
    rows = [RowFacts(**row) for row in record["rows"]]
    problems = [Problem(**problem) for problem in record["problems"]]
    return ShardFacts(rows, problems, record["num_dropped"], record["num_bytes"])


def _key(shard: Shard, recipe: ShardRecipe) -> str:
    """Digest of everything that a shard's file depends on; pictures count by size and time of change."""
    pictures: list[object] = []
    for row in shard.rows:
        path = find_picture(row["images_folder"], row["image_file"], follow_links=recipe.follow_links)
        status = path.stat() if isinstance(path, Path) else None
        pictures.append(path if status is None else (status.st_size, status.st_mtime_ns))
    schema = recipe.schema.to_string(truncate_metadata=False)
    options = {**vars(recipe), "schema": schema}
    content = json.dumps((_FORMAT, pa.__version__, options, shard.rows, pictures), default=str, sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _picture_of(row: dict[str, Any], split: str, recipe: ShardRecipe) -> tuple[PreparedPicture | None, list[Problem]]:
    """The picture of a row, `None` where it has no usable one, and what there is to say about its picture and text."""
    problems: list[tuple[str, str, str]] = []
    picture = None
    without_picture = "dropped" if row["text"] is None else "kept as text"
    path = find_picture(row["images_folder"], row["image_file"], follow_links=recipe.follow_links)
    if isinstance(path, Path):
        try:
            picture = prepare_picture(path, image_size=recipe.image_size, encoding=recipe.encoding)
        except UnusablePictureError as error:
            problems.append((error.problem, str(error), without_picture))
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
    group: list[dict[str, Any]] = []
    with atomic_file(path) as unfinished, pq.ParquetWriter(unfinished, schema, **options) as writer:
        for row in rows:
            group.append(row)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema))


def _facts_of(row: dict[str, Any], picture: PreparedPicture | None) -> RowFacts:
    description = row.get("description")
    return RowFacts(
        row=row["row_number"],
        image_file=row["image_file"],
        picture=None if picture is None else picture.source_digest.hex(),
        signature=None if picture is None else picture.signature.hex(),
        source_size=None if picture is None else (picture.source_width, picture.source_height),
        source_format=None if picture is None else picture.source_format,
        description=None if description is None else text_digest(description),
        named=None if row["text"] is None else sorted(named_labels(row["text"], row["label_names"])),
        release=row.get("release"),
    )
