"""What the report of a prepared dataset is made of, and how single rows of it are fetched."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from PIL import Image

from semart_hf.catalogue.problems import Problem

#: What each kind of finding means.
MEANINGS = {
    "missing_picture": "no such file among the pictures",
    "unnamed_picture": "the row names no picture",
    "unsafe_name": "the name leads outside the folder of pictures",
    "not_a_file": "a folder or device stands where the picture should be",
    "unreadable_picture": "the file could not be read",
    "not_a_picture": "the file is something else than a picture",
    "truncated_picture": "the file ends before the picture does",
    "broken_picture": "the picture could not be decoded",
    "absurd_size": "far too large, too small, or too long to be a painting",
    "several_frames": "an animation or several pages, of which the first was taken",
    "empty_description": "no description",
    "unseen_label": "a label that train never has",
    "repeated_name": "two rows name the same file",
    "same_picture": "the same file under two names",
    "similar_picture": "nearly the same picture under two names",
    "leaked_picture": "a picture of another split",
    "leaked_description": "a description of another split",
    "malformed_row": "the row has a wrong number of fields",
    "stray_quote": "quotation marks that do not pair",
    "undecodable_text": "bytes that are no text in the file's encoding",
}

_THUMBNAIL_HEIGHT = 240

#: A kept row: its split and its number among the split's kept rows, from 0.
Place = tuple[str, int]


@dataclass(frozen=True)
class ReportSource:
    """What the page is made of.

    Attributes:
        features: Columns of the dataset.
        files: Parquet files by split, in their order.
        summary: As in `summary.json`.
        problems: All findings.
        sample: Rows of which the pictures are shown.
        source_sizes: Width and height of the catalogue's picture files, in turn.
        copies: Kind, row and earlier row of each pair of copies.
        rejected: Findings about unusable pictures, with what can be seen of them as JPEG.
        rare_labels: By task, the labels that became `UNK` with their counts.
    """

    features: datasets.Features
    files: Mapping[str, Sequence[Path]]
    summary: Mapping[str, Any]
    problems: Sequence[Problem]
    sample: Sequence[Place]
    source_sizes: Sequence[int]
    copies: Sequence[tuple[str, Place, Place]]
    rejected: Sequence[tuple[Problem, bytes | None]]
    rare_labels: Mapping[str, Mapping[str, int]]


def rows_at(files: Sequence[Path], indices: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and cells of the rows at the given places of a split's files, in rising order; no other group is read."""
    wanted = sorted(set(indices))
    start = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                here = [index for index in wanted if start <= index < end]
                if here:
                    content = file.read_row_group(group)
                    for index in here:
                        yield index, content.slice(index - start, 1).to_pylist()[0]
                start = end


def thumbnail(content: bytes | None) -> bytes | None:
    """A small JPEG of a stored picture."""
    if content is None:
        return None
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture.thumbnail((3 * _THUMBNAIL_HEIGHT, _THUMBNAIL_HEIGHT))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return file.getvalue()
