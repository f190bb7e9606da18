"""Findings that need more than one row: labels that train never had, copies and leaks."""

from collections.abc import Callable, Iterator
from itertools import repeat

from semart_hf.catalogue.problems import Problem
from semart_hf.catalogue.tables import ReleaseTables
from semart_hf.catalogue.vocabulary import TASKS, UNKNOWN

from .duplicates import Copy, Fingerprints, find_copies
from .shards import RowFacts

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
    if "train" not in tables.splits:
        return
    for task in TASKS:
        seen = set(tables.splits["train"][task])
        for split, rows in tables.splits.items():
            releases = rows["release"] if "release" in rows else repeat(None, len(rows))
            cells = zip(rows["row_number"], rows["image_file"], rows[task], releases, strict=True)
            for row, image_file, label, release in cells:
                if label is not None and label not in seen and label != UNKNOWN:
                    detail = f"train never has the {task} {label!r}"
                    yield Problem(row, split, image_file, "unseen_label", detail, f"kept, as {UNKNOWN}", release)


def find_copies_among(kept_rows: Callable[[], Iterator[tuple[str, RowFacts]]]) -> tuple[list[Problem], list[Copy]]:
    """Findings and pairs of rows with equal or similar pictures or, across splits, equal descriptions.

    Args:
        kept_rows: Gives the split and facts of every row, in the order of the splits; the pairs number them through.
            It is called a second time for the rows that are copies, so that not all need be remembered.
    """
    fingerprints = Fingerprints()
    splits: dict[str, int] = {}
    for split, row in kept_rows():
        fingerprints.add(
            splits.setdefault(split, len(splits)),
            # Files of one name in two releases are two files.
            name=row.image_file and f"{row.release}/{row.image_file}",
            picture=_bytes(row.picture),
            signature=_bytes(row.signature),
            description=_bytes(row.description),
        )
    copies = find_copies(fingerprints)
    concerned = {number for copy in copies for number in (copy.row, copy.earlier_row)}
    rows = {number: place for number, place in enumerate(kept_rows()) if number in concerned} if copies else {}
    return [_copy_problem(copy, rows[copy.row], rows[copy.earlier_row]) for copy in copies], copies


def _copy_problem(copy: Copy, place: tuple[str, RowFacts], earlier_place: tuple[str, RowFacts]) -> Problem:
    (split, row), (earlier_split, earlier) = place, earlier_place
    detail = _COPY_DETAILS[copy.kind].format(f"{earlier_split} row {earlier.row} ({earlier.image_file})")
    if copy.num_bits is not None:
        detail += f"; {copy.num_bits} of 256 bits of their signatures differ"
    return Problem(row.row, split, row.image_file, copy.kind, detail, "kept", row.release)


def _bytes(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)
