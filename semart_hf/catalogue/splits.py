"""Rows that come without splits are shared out to them: by share, seeded, each label in each split by its share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .stored_rows import ChosenRows, Rows, all_columns

#: The splits' names in `datasets`, in their order.
SPLITS = ("train", "validation", "test")

#: Shares of a catalogue that has no splits of its own.
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def shares_in_words(shares: Mapping[str, float], seed: int) -> str:
    """`80 % train, 10 % validation, 10 % test (seed 0)`."""
    return ", ".join(f"{share * 100:g} % {split}" for split, share in shares.items()) + f" (seed {seed})"


def share_out(
    parts: Sequence[Rows],
    shares: Mapping[str, float] = DEFAULT_SHARES,
    *,
    seed: int = 0,
    stratify_by: Sequence[str] = ("type", "school", "timeframe"),
    leave_out: Sequence[str] = (),
) -> dict[str, Rows]:
    """Rows by split, each with its share of them and, as far as counts allow, of every label; row order is kept.

    The rows are sorted by their labels, at random within equal ones, and dealt out along this order, always to the
    split that is furthest behind its share. So every run of equal labels is divided by the shares to within one row.
    The same rows, shares and seed give the same splits.

    Args:
        parts: Tables with at least the columns of `stratify_by`, whose rows follow each other.
        shares: Fractions by split, which sum to 1.
        seed: Of the order within equal labels.
        stratify_by: Columns whose values are divided evenly, the most important first. A missing value is one too.
        leave_out: Columns that are not wanted any longer.

    Raises:
        ValueError: A share has an unknown split, is not positive, or they do not sum to 1.
    """
    check_shares(shares)
    num_rows = sum(map(len, parts))
    random_order = np.random.default_rng(seed).permutation(num_rows)
    labels = [_ranks(value for part in parts for value in part[column]) for column in stratify_by]
    keys: list[npt.NDArray[Any]] = [random_order, *reversed(labels)]
    order = np.lexsort(keys)
    names = [split for split in SPLITS if split in shares]
    fractions = np.array([shares[split] for split in names])
    dealt = np.zeros(len(names))
    chosen = np.empty(num_rows, dtype=np.int8)
    for number, row in enumerate(order, start=1):
        chosen[row] = np.argmax(fractions * number - dealt)
        dealt[chosen[row]] += 1
    return divide(parts, chosen, names, leave_out=leave_out)


def divide(
    parts: Sequence[Rows], chosen: npt.NDArray[np.int8], names: Sequence[str], *, leave_out: Sequence[str] = ()
) -> dict[str, Rows]:
    """Rows by split, in their order; splits without a row are left out.

    Args:
        parts: Tables whose rows follow each other.
        chosen: For each row the position of its split in `names`, -1 for a row of none.
        names: The splits.
        leave_out: Columns that are not wanted any longer.
    """
    columns = [column for column in all_columns(parts) if column not in leave_out]
    return {
        split: ChosenRows(parts, columns, chosen == number)
        for number, split in enumerate(names)
        if (chosen == number).any()
    }


def _ranks(values: Iterable[str | None]) -> npt.NDArray[np.int32]:
    """Place of each value among the different ones in their order; a missing value counts as an empty string."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(value or "", len(numbers)) for value in values), dtype=np.int32)
    rank = {value: place for place, value in enumerate(sorted(numbers))}
    ranks = np.array([rank[value] for value in numbers], dtype=np.int32)
    return ranks[codes] if len(codes) else codes


def check_shares(shares: Mapping[str, float]) -> None:
    """Nothing, if `shares` divides a catalogue into splits.

    Raises:
        ValueError: A share has an unknown split, is not positive, or they do not sum to 1.
    """
    is_partition = shares and all(share > 0 for share in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6
    if not is_partition or not set(shares) <= set(SPLITS):
        raise ValueError(
            f"Got the shares {dict(shares)}, but they are positive fractions of {list(SPLITS)} that sum to 1. "
            "Write for example {'train': 0.8, 'validation': 0.2}."
        )
