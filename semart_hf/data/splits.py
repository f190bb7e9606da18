"""Rows that come without splits are shared out to them: by share, seeded, each label in each split by its share."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

#: The splits' names in `datasets`, in their order.
SPLITS = ("train", "validation", "test")

#: Shares of a catalogue that has no splits of its own.
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split_by_share(
    frame: pd.DataFrame,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    *,
    seed: int = 0,
    stratify_by: Sequence[str] = ("type", "school", "timeframe"),
) -> dict[str, pd.DataFrame]:
    """Frames by split, each with its share of the rows and, as far as counts allow, of every label; row order is kept.

    The rows are sorted by their labels, at random within equal ones, and dealt out along this order, always to the
    split that is furthest behind its share. So every run of equal labels is divided by the shares to within one row.
    The same rows, shares and seed give the same splits.

    Args:
        frame: Rows with at least the columns of `stratify_by`.
        shares: Fractions by split, which sum to 1.
        seed: Of the order within equal labels.
        stratify_by: Columns whose values are divided evenly, the most important first. A missing value is one too.

    Raises:
        ValueError: A share has an unknown split, is not positive, or they do not sum to 1.
    """
    check_shares(shares)
    random_order = np.random.default_rng(seed).permutation(len(frame))
    labels = [["" if pd.isna(value) else str(value) for value in frame[column]] for column in stratify_by]
    order = sorted(range(len(frame)), key=lambda row: (*(column[row] for column in labels), random_order[row]))
    names = [split for split in SPLITS if split in shares]
    fractions = np.array([shares[split] for split in names])
    dealt = np.zeros(len(names))
    chosen = np.empty(len(frame), dtype=int)
    for number, row in enumerate(order, start=1):
        chosen[row] = int(np.argmax(fractions * number - dealt))
        dealt[chosen[row]] += 1
    return {split: frame[chosen == number].reset_index(drop=True) for number, split in enumerate(names)}


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
