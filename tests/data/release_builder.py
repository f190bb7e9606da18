"""Small releases whose every picture and cell a test chooses."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings

HEADER = ["IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME"]
FILES = {"train": "semart_train.csv", "validation": "semart_val.csv", "test": "semart_test.csv"}


def painting(seed: int, size: tuple[int, int] = (60, 80)) -> Image.Image:
    """A picture with coarse and fine patches of colour, as paintings have them; different for each seed."""
    random = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for octave in range(5):
        patches = Image.fromarray(random.integers(0, 256, (5 << octave, 4 << octave, 3), dtype=np.uint8))
        total += np.asarray(patches.resize(size, Image.Resampling.BICUBIC), dtype=float) / 2 ** (0.7 * octave)
    low, high = total.min(), total.max()
    return Image.fromarray(((total - low) * 255 / (high - low)).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def row(name: str | None, **cells: str) -> dict[str, str]:
    """Cells of a row; what is not given is a plain Dutch portrait on canvas."""
    given = [name or "", f"This is {name}.", "HALS, Frans", f"Portrait {name}", "Oil on canvas, 80 x 60 cm", "1630"]
    plain = dict(zip(HEADER, [*given, "portrait", "Dutch", "1601-1650"], strict=True))
    return {**plain, **{column.upper(): value for column, value in cells.items()}}


def write_release(folder: Path, splits: Mapping[str, Sequence[dict[str, str]]], pictures: Mapping[str, bytes]) -> Path:
    (folder / "Images").mkdir(parents=True)
    for split, rows in splits.items():
        columns = [*HEADER, *(column for column in rows[0] if column not in HEADER)]
        with (folder / FILES[split]).open("w", newline="", encoding="cp1252") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    for name, content in pictures.items():
        path = folder / "Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_plain_release(folder: Path, *, num_train: int = 12, num_val: int = 3, num_test: int = 5) -> Path:
    """A release in which nothing is amiss: every row has a picture of its own and a description."""
    splits, pictures = {}, {}
    for split, number in {"train": num_train, "validation": num_val, "test": num_test}.items():
        if not number:
            continue
        names = [f"{split}-{index}.jpg" for index in range(number)]
        splits[split] = [row(name, type="portrait" if index % 2 else "landscape") for index, name in enumerate(names)]
        pictures |= {name: encoded(painting(len(pictures) + index)) for index, name in enumerate(names)}
    return write_release(folder, splits, pictures)


def prepare_stream(folder: Path, num_rows: int, *, image_size: int, rows_per_shard: int) -> Path:
    """A prepared dataset of plain rows, 5 of them for validation and one to test, in groups of 6 and what is left."""
    release = write_plain_release(folder / "release", num_train=num_rows, num_val=5, num_test=1)
    options = PreparationOptions(image_size, min_label_count=2, rows_per_shard=rows_per_shard)
    with mock.patch("semart_hf.preparation.shards.ROWS_PER_GROUP", 6):
        prepare_paintings(read_rows(release), folder / "prepared", options, num_proc=1)
    return folder / "prepared"


def contents(folder: Path) -> dict[str, str]:
    files = {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(path): hashlib.sha256(content).hexdigest() for path, content in files.items()}


def problems_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
