"""Shards: rows of a catalogue as a Parquet file with their pictures in it, and a note of what was found on the way."""

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

import semart_hf
from semart_hf.catalogue.picture_files import NUM_EXAMPLES, check_enough_pictures, find_picture
from semart_hf.catalogue.schema import UNKNOWN, numbers_of_labels
from semart_hf.catalogue.tables import TEXT_COLUMNS, ReleaseTables, labels_of_task
from semart_hf.catalogue.text import answers_in_text, is_description_alone, mask_label_words, named_labels, text_of
from semart_hf.files import atomic_file, read_json, write_text
from semart_hf.model.picture_sources_semart import picture_error, read_file
from semart_hf.model.pictures_semart import PictureError, open_picture, reduce_jpeg, to_rgb

logger = logging.getLogger(__name__)
#: Rows that are read together from a shard: few enough to stream, enough for a download.
ROWS_PER_GROUP = 64
_FORMAT = 5  # a shard whose note was written under another number is written again
#: How a prepared picture can be stored: ending of its name and Pillow's options; from 92 on no losses are seen.
ENCODINGS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": (".jpg", {"format": "JPEG", "quality": 92, "subsampling": "4:4:4"}),
    "png": (".png", {"format": "PNG"}),
    "webp": (".webp", {"format": "WEBP", "quality": 92}),
}
_MIN_SIDE = 16  # pixels; a shorter one shows no painting
_MAX_ASPECT = 25  # a long handscroll is about 1 to 20; more comes from broken files
# What Pillow notes of a JPEG that carries nothing beside its pixels, such as EXIF, a profile or a comment.
_PLAIN_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"}
_COSINE = np.cos(np.pi / 64 * np.outer(np.arange(16), np.arange(64) + 0.5)).astype(np.float32)
#: Bits (of 256) in which the signatures of two files of one picture may differ. Recompression, halving, brightening
#: and greying of 421 real paintings change 24 at most; the closest two different paintings among them differ in 88.
MAX_BITS = 32
# The split, the number in it from 0, and rows: with the schema's columns but `image`, with `label_names` by task and
# the author's, with `findings`, and with `picture_found` by `find_picture` and `picture_status`, its size and time.
Shard = tuple[str, int, list[dict[str, Any]]]


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


class Preparation:
    """All that is decided about a dataset before its first picture is opened: columns, labels, rows of each shard."""

    def __init__(self, tables: ReleaseTables, options: PreparationOptions) -> None:
        self.tables = tables
        self.options = options
        if "train" not in tables.splits:
            logger.warning("There is no train split: labels are learned from %s.", list(tables.splits))
        if remark := answers_in_text(options.text_columns, ((task.name, task.source) for task in tables.tasks)):
            logger.warning(remark)
        self.vocabularies = tables.vocabularies(options.min_label_count)
        self.numbers = {name: numbers_of_labels(labels) for name, labels in self.vocabularies.items()}
        train = [rows for split, rows in tables.splits.items() if split == "train"]
        self.seen = {task.name: {*labels_of_task(train, task), UNKNOWN} for task in tables.tasks if train}
        has_text = options.mask_label_words or not is_description_alone(options.text_columns)
        self.schema = tables.features(self.vocabularies, has_text).arrow_schema

    def shards(self, index: int = 0, count: int = 1) -> Iterator[Shard]:
        """The shards of every split, made one at a time; of `count` processes those of one, by its `index`."""
        processes = cycle(range(count))
        for split, table in self.tables.splits.items():
            for number, rows in enumerate(table.with_format("arrow").iter(self.options.rows_per_shard)):
                if next(processes) == index:
                    yield split, number, [*map(self._row, rows.to_pylist())]

    def key(self, with_times: bool = False, min_pictures: float = 0.0) -> str:
        """Digest of the catalogue's words, the names and sizes of its pictures (and their times), and the options."""
        digest = hashlib.blake2b(digest_size=16)
        entries = [entry for task in self.tables.tasks if len(entry := task.entry) > 1]
        digest.update(json.dumps([asdict(self.options), self.vocabularies, *entries]).encode())
        num_named, num_found, examples = 0, 0, list[str]()
        for split, _, rows in self.shards():
            for row in rows:
                found, status = row.pop("picture_found"), row.pop("picture_status")
                num_named += row["image_file"] is not None
                num_found += status is not None
                if row["image_file"] is not None and status is None and len(examples) < NUM_EXAMPLES:
                    examples.append(f"{split} row {row['row_number']}: {found[1]}")
                words = {name: value for name, value in row.items() if name not in ("images_folder", "findings")}
                size_and_time = status and (status[0], status[1] if with_times else 0)
                digest.update(json.dumps([split, words, size_and_time], default=str).encode())
        check_enough_pictures(num_named, num_found, examples, min_pictures)
        return digest.hexdigest()

    def _row(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        row = dict(cells)
        label_names: dict[str, Any] = {}
        findings: list[tuple[str, str, str]] = []
        for task in self.tables.tasks:
            several, labels = task.kind == "multi_label", task.labels_of(cells[task.name])
            # A task that is made of the author or the date is given away by names and years.
            if task.source not in ("author", "date"):
                label_names[task.name] = labels if several else cells[task.name]
            for label in labels or ():
                if self.seen and label not in self.seen[task.name]:  # not even too rarely
                    action = "kept, without it" if several else f"kept, as {UNKNOWN}"
                    findings.append(("unseen_label", f"train never has the {task.name} {label!r}", action))
            if task.name not in TEXT_COLUMNS:
                row[task.name] = task.number_of(cells[task.name], self.numbers[task.name])
        row["label_names"] = label_names | {"author": row["author"]}
        found = find_picture(row["images_folder"], row["image_file"], follow_links=self.tables.follow_links)
        status = found.stat() if isinstance(found, Path) else None
        row |= {"picture_found": found, "picture_status": status and (status.st_size, status.st_mtime_ns)}
        return row | {"text": text_of(cells, self.options.text_columns), "findings": findings}


class Mirror:
    """An address, in any form that fsspec knows, where machines store the shards that they finish in a `folder`."""

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._work = f"{self._root}.preparing"
        digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        self.folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "mirrors" / digest
        self._marker = f"{self._work}/publishing"
        if self._files.exists(self._root) and self._files.ls(self._root) and not self._files.exists(self._marker):
            raise ValueError(f"Got {url}, where something lies already. Remove it, or choose another address.")

    def fetch(self, work: Path, ending: str = ".json") -> None:
        """Bring what is stored, the shards' notes or their files; what lies here may be half, or of an earlier run."""
        for path in self._files.glob(f"{self._work}/*{ending}"):
            place = work / Path(path).name
            place.with_suffix(".parquet").unlink(missing_ok=True)  # a note is stored after its file
            self._files.get_file(path, str(place))

    def store(self, file: Path) -> None:
        """Store a finished shard, its note last, and keep the note alone here."""
        self._files.makedirs(self._work, exist_ok=True)
        for path in (file, file.with_suffix(".json")):
            place = f"{self._work}/{path.name}"
            self._files.put_file(str(path), f"{place}.unfinished")
            self._files.mv(f"{place}.unfinished", place)
        file.unlink()

    def publish(self) -> None:
        """Store the finished dataset of `folder`, its summary last, instead of the shards that it was made of."""
        self._files.makedirs(self._work, exist_ok=True)
        self._files.touch(self._marker)
        if self._files.exists(self._root) and self._files.ls(self._root):  # an empty one may be a mounted volume
            self._files.rm(self._root, recursive=True)
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == "summary.json", path)):
            place = f"{self._root}/{path.relative_to(self.folder).as_posix()}"
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), place)
        self._files.rm(self._work, recursive=True)


def write_shard(
    shard: Shard, *, folder: Path, schema: pa.Schema, options: PreparationOptions, mirror: Mirror | None
) -> int:
    """The number of rows of a shard, whose note now lies in the folder, and its file there or at the mirror.

    The note holds the facts of the kept rows that the checks of all rows need, and the findings. It is written last: a
    shard that has one is not written again.
    """
    split, number, rows = shard
    columns = schema.to_string(truncate_metadata=False)
    depends_on = json.dumps((_FORMAT, pa.__version__, columns, vars(options), rows), default=str)
    key = hashlib.blake2b(depends_on.encode(), digest_size=16).hexdigest()
    file = shard_file(folder, split, number)
    done = read_json(file.with_suffix(".json")) if file.is_file() or mirror is not None else None
    if done is None or done["key"] != key:
        note: dict[str, Any] = {"key": key, "rows": [], "problems": []}
        _write_parquet(file, _kept_rows(shard, options, note), schema)
        write_text(file.with_suffix(".json"), json.dumps(note, ensure_ascii=False))
    if mirror is not None and file.is_file():
        mirror.store(file)
    return len(rows)


def shard_file(folder: Path, split: str, number: int) -> Path:
    """The Parquet file of a shard; its note lies beside it."""
    return folder / f"{split}-{number:05d}.parquet"


def _kept_rows(shard: Shard, options: PreparationOptions, note: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows with their pictures, without those that have neither picture nor text; the note is filled meanwhile."""
    split, _, rows = shard
    for row in rows:
        found, text, description, picture, image = row["picture_found"], row["text"], row["description"], None, None
        findings: list[tuple[str, str, str]] = []
        without_picture = "dropped" if text is None else "kept as text"
        try:
            if isinstance(found, Path):
                picture = prepare_picture(found, image_size=options.image_size, encoding=options.encoding)
            else:
                findings.append((*found, without_picture))
        except PictureError as error:
            findings.append((error.problem, error.reason, without_picture))
        if picture is not None and picture.num_frames > 1:
            detail = f"{picture.facts['source_format']} of {picture.num_frames} frames or pages"
            findings.append(("several_frames", detail, "kept, the first of them"))
        if description is None:
            findings.append(("empty_description", "no description", "kept as picture" if picture else without_picture))
        is_kept = picture is not None or text is not None
        place = {"row": row["row_number"], "image_file": row["image_file"], "release": row.get("release")}
        for kind, detail, action in [*findings, *(row["findings"] if is_kept else ())]:
            note["problems"].append({**place, "split": split, "problem": kind, "detail": detail, "action": action})
        if not is_kept:
            continue
        facts = place | {"description": None if description is None else text_digest(description), "named": None}
        if text is not None:
            facts["named"] = sorted(named_labels(text, row["label_names"]))
            text = mask_label_words(text, row["label_names"]) if options.mask_label_words else text
        if picture is not None:
            facts |= picture.facts
            name = Path(row["image_file"].replace("\\", "/")).stem + ENCODINGS[options.encoding][0]
            image = {"bytes": picture.content, "path": name}
        note["rows"].append(facts)
        yield {**row, "image": image, "text": text}


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> None:
    compression = dict.fromkeys(schema.names, "zstd") | {"image.bytes": "none", "image.path": "zstd"}
    options = {"compression": compression, "write_page_index": True, "write_page_checksum": True}
    with atomic_file(path) as unfinished, pq.ParquetWriter(unfinished, schema, **options) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


class PreparedPicture(NamedTuple):
    """A picture as it is stored, and what was learned on the way."""

    content: bytes  # the encoded file
    num_frames: int  # more than 1 for an animation or a file of several pages, of which the first is stored
    # `picture`, a digest of the source's file, and `signature`, by `picture_signature`, both in hexadecimal digits;
    # `source_size`, width and height before EXIF rotation; `source_format`, by Pillow's name.
    facts: dict[str, Any]


def prepare_picture(path: Path, *, image_size: int, encoding: str = "jpeg") -> PreparedPicture:
    """The picture of a file in RGB, its shorter side `image_size` pixels, or less where the file has less.

    A plain JPEG that is small enough stays as it is, byte by byte: coding it again would only lose.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is raised or reported
        semart_hf.register_heif()
        source = read_file(path)
        picture = open_picture(source)
        source_size, source_format = picture.size, str(picture.format)
        shorter, longer = sorted(source_size)
        if shorter < _MIN_SIDE or longer > _MAX_ASPECT * shorter:
            limits = f"sides of {_MIN_SIDE} pixels or more and at most {_MAX_ASPECT} to 1 show a painting"
            raise picture_error("absurd_size", f"{picture.width:,} x {picture.height:,} pixels; {limits}")
        num_frames = 1
        with suppress(Exception):  # a later frame is broken; whether this one is shows itself in decoding
            num_frames = int(getattr(picture, "n_frames", 1))
        is_plain = source_format == "JPEG" and picture.mode == "RGB" and set(picture.info) <= _PLAIN_INFO
        reduce_jpeg(picture, image_size)
        rgb = to_rgb(picture)
    is_small = min(rgb.size) <= image_size
    small = rgb if is_small else ImageOps.cover(rgb, (image_size, image_size), Image.Resampling.LANCZOS)
    content = source
    if not (is_plain and small.size == source_size and encoding == "jpeg"):
        file, bare = io.BytesIO(), Image.new(small.mode, small.size)  # else PNG and WebP have its profile and EXIF
        bare.paste(small)
        bare.save(file, **ENCODINGS[encoding][1])
        content = file.getvalue()
    digest, signature = hashlib.blake2b(source, digest_size=16).hexdigest(), picture_signature(small).hex()
    facts = {"picture": digest, "signature": signature, "source_size": source_size, "source_format": source_format}
    return PreparedPicture(content, num_frames, facts)


def picture_signature(picture: Image.Image) -> bytes:
    """32 bytes that say how light and dark lie in the picture, at its 256 coarsest frequencies.

    Source: the perceptual hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
        section 3.2.1, with 16 x 16 instead of 8 x 8 coefficients.
    """
    grey = picture.resize((64, 64), Image.Resampling.BOX).convert("L")
    # einsum and not @, whose threads would wait for each other in every worker.
    rows = np.einsum("fy,yx->fx", _COSINE, np.asarray(grey, dtype=np.float32))
    frequencies = np.einsum("fx,gx->fg", rows, _COSINE)
    bits = frequencies > np.median(frequencies.ravel()[1:])  # the first one is the mean brightness
    return np.packbits(bits).tobytes()


def text_digest(text: str) -> str:
    """16 hexadecimal digits that are equal for texts of the same words, whatever their case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).hexdigest()
