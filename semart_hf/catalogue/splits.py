"""Rows that come without splits are shared out to them: by share, seeded, each label in each split by its share."""

from collections.abc import Iterable, Mapping, Sequence

import datasets
import numpy as np
import numpy.typing as npt

from .stored_rows import cells_of, chosen_rows, with_same_columns

#: The splits' names in `datasets`, in their order.
SPLITS = ("train", "validation", "test")

#: Shares of a catalogue that has no splits of its own.
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

# Tasks whose labels are divided evenly, the most important first.
_STRATIFIED = ("type", "school", "timeframe")


def share_out(
    parts: Sequence[datasets.Dataset], shares: Mapping[str, float], seed: int
) -> dict[str, datasets.Dataset]:
    """Rows by split, each with its share of them and, as far as counts allow, of every label; row order is kept.

    The rows are sorted by their labels, at random within equal ones, and dealt out along this order, always to the
    split that is furthest behind its share. So every run of equal labels is divided by the shares to within one row.
    The same rows, shares and seed give the same splits.

    Args:
        parts: Tables whose rows follow each other.
        shares: Fractions by split; see `check_shares`.
        seed: Of the order within equal labels.
    """
    num_rows = sum(map(len, parts))
    random_order = np.random.default_rng(seed).permutation(num_rows)
    labels = [_ranks(value for part in parts for value in cells_of(part, task)) for task in _STRATIFIED]
    order = np.lexsort([random_order, *reversed(labels)])
    names = [split for split in SPLITS if split in shares]
    fractions = np.array([shares[split] for split in names])
    dealt = np.zeros(len(names))
    chosen = np.empty(num_rows, dtype=np.int8)
    for number, row in enumerate(order, start=1):
        chosen[row] = np.argmax(fractions * number - dealt)
        dealt[chosen[row]] += 1
    return divide(parts, chosen, names)


def divide(
    parts: Sequence[datasets.Dataset], chosen: npt.NDArray[np.int8], names: Sequence[str]
) -> dict[str, datasets.Dataset]:
    """Rows by split, in their order and without the column `split`; splits without a row are left out.

    Args:
        parts: Tables whose rows follow each other.
        chosen: For each row the position of its split in `names`, -1 for a row of none.
        names: The splits.
    """
    rows = datasets.concatenate_datasets(with_same_columns(parts))
    rows = rows.select_columns([column for column in rows.column_names if column != "split"])
    return {
        split: chosen_rows(rows, np.flatnonzero(chosen == number))
        for number, split in enumerate(names)
        if (chosen == number).any()
    }


def check_shares(shares: Mapping[str, float]) -> None:
    """Nothing, if `shares` divides a catalogue into splits.

    Raises:
        ValueError: A share has an unknown split, is not positive, or they do not sum to 1.
    """
    are_positive = all(isinstance(share, (int, float)) and share > 0 for share in shares.values())
    if not are_positive or abs(sum(shares.values()) - 1) > 1e-6 or not set(shares) <= set(SPLITS):
        raise ValueError(
            f"Got the shares {dict(shares)}, but they are positive fractions of {list(SPLITS)} that sum to 1. "
            "Write for example {'train': 0.8, 'validation': 0.2}."
        )


def _ranks(values: Iterable[str | None]) -> npt.NDArray[np.int64]:
    """Place of each value among the different ones in their order; a missing value counts as an empty string."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(value or "", len(numbers)) for value in values), dtype=np.int64)
    return np.argsort(np.argsort(np.array(list(numbers), dtype=object)))[codes]
