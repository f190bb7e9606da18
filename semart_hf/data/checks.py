"""Findings that need more than one row: labels that train never had, copies and leaks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .duplicates import Copy, Fingerprints, find_copies
from .problems import Problem
from .shards import RowFacts
from .tables import ReleaseTables
from .vocabulary import TASKS, UNKNOWN

#: How each kind of copy is told, with the earlier row in place of `{}`.
_COPY_DETAILS = {
    "repeated_name": "names the same file as {}",
    "same_picture": "its file has the same content as that of {}",
    "similar_picture": "looks like the picture of {}",
    "leaked_picture": "has the picture of {}",
    "leaked_description": "has the description of {}",
}


def find_unseen_labels(tables: ReleaseTables) -> Iterator[Problem]:
    """A finding for each label that train never has, not even too rarely; none where there is no train."""
    if "train" not in tables.frames:
        return
    for task in TASKS:
        seen = set(tables.frames["train"][task])
        for split, frame in tables.frames.items():
            releases = frame["release"] if "release" in frame else [None] * len(frame)
            cells = zip(frame["row_number"], frame["image_file"], frame[task], releases, strict=True)
            for row, image_file, label, release in cells:
                if label is not None and label not in seen and label != UNKNOWN:
                    detail = f"train never has the {task} {label!r}"
                    yield Problem(row, split, image_file, "unseen_label", detail, f"kept, as {UNKNOWN}", release)


def find_copies_among(facts: Mapping[str, Iterable[RowFacts]]) -> tuple[list[Problem], list[Copy]]:
    """Findings and pairs of rows with equal or similar pictures or, across splits, equal descriptions.

    Rows are given by split, in the order of the splits; the pairs number them through.
    """
    fingerprints = Fingerprints()
    places: list[tuple[int, str, str | None, str | None]] = []
    for number, (split, rows) in enumerate(facts.items()):
        for row in rows:
            fingerprints.add(
                number,
                # Files of one name in two releases are two files.
                name=row.image_file and f"{row.release}/{row.image_file}",
                picture=_bytes(row.picture),
                signature=_bytes(row.signature),
                description=_bytes(row.description),
            )
            places.append((row.row, split, row.image_file, row.release))
    copies = find_copies(fingerprints)
    return [_copy_problem(copy, places) for copy in copies], copies


def _copy_problem(copy: Copy, places: Sequence[tuple[int, str, str | None, str | None]]) -> Problem:
    row, split, image_file, release = places[copy.row]
    earlier_row, earlier_split, earlier_file, _ = places[copy.earlier_row]
    detail = _COPY_DETAILS[copy.kind].format(f"{earlier_split} row {earlier_row} ({earlier_file})")
    if copy.num_bits is not None:
        detail += f"; {copy.num_bits} of 256 bits of their signatures differ"
    return Problem(row, split, image_file, copy.kind, detail, "kept", release)


def _bytes(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)
