"""Search as a score: how often a picture is found by its text among all pictures of a split, and the reverse."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .scores import NUM_RESAMPLES, interval_of

DEPTHS = (1, 5, 10)
WAYS = ("text_to_image", "image_to_text")
# Of the abstract: the image was within the first ten for 45.5 % of the test split's texts.
PUBLISHED = {
    "source": "Garcia & Vogiatzis 2018, Text2Art challenge, their model on SemArt's test split of 1,069 paintings",
    "text_to_image": {"recall_at_10": 0.455},
}
_ROUNDING = np.float32(1e-6)
_BLOCK = 1 << 24  # similarities that are in memory at a time

Vectors = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


def retrieval_scores(
    image: Vectors,
    text: Vectors,
    texts: Sequence[str | None],
    *,
    ceilings: Mapping[str, Mapping[str, float]] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """For both `WAYS` recall at each of `DEPTHS`, median rank, 95 % intervals and chance; `num_rows` and `published`.

    The candidates of a painting are those of all others whose text is not equal to its own, and its own. Where some
    are exactly as similar as the own one, their order is one of chance, and its mean counts.
    `image` and `text` are unit vectors `(rows, dim)`, of which rows of zeros are left out; `ceilings` are the best
    reachable recalls by way, which stand beside the reached ones.

    Source: intervals by the percentile bootstrap over the paintings, as in `bootstrap_intervals`.
    """
    rows = np.flatnonzero(image.any(axis=1) & text.any(axis=1))
    image, text = image[rows], text[rows]
    found: dict[str, Any] = {"num_rows": len(rows)} | ({} if ceilings else {"published": PUBLISHED})
    places = rank_bounds(image, text, [texts[row] or "" for row in rows.tolist()])
    for way, (better, equal, candidates) in zip(WAYS, places, strict=True):
        hits = [np.clip((depth - better) / equal, 0, 1) for depth in DEPTHS]
        reached = np.stack([*hits, better + (equal + 1) / 2], axis=1)
        chance = np.stack([*(np.minimum(depth / candidates, 1) for depth in DEPTHS), (candidates + 1) / 2], axis=1)
        generator = np.random.default_rng(0)
        draws = (generator.integers(len(rows), size=len(rows)) for _ in range(num_resamples))
        drawn = np.array([list(_summary(reached[chosen]).values()) for chosen in draws])
        scores = _summary(reached)
        found[way] = {
            **scores,
            "intervals": {name: interval_of(values) for name, values in zip(scores, drawn.T, strict=True)},
            "chance": _summary(chance),
            **({"ceiling": dict(ceilings[way])} if ceilings else {}),
        }
    return found


def _summary(hits_and_ranks: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of `(rows, depths + 1)` the mean hits by depth, and the median rank."""
    recalls = hits_and_ranks[:, :-1].mean(axis=0).tolist()
    found = {f"recall_at_{depth}": recall for depth, recall in zip(DEPTHS, recalls, strict=True)}
    return {**found, "median_rank": float(np.median(hits_and_ranks[:, -1]))}


def rank_bounds(image: Vectors, text: Vectors, texts: Sequence[str]) -> list[tuple[Counts, Counts, Counts]]:
    """Both ways, `(rows,)` each: better candidates, equally good ones with a row's own, and all; in blocks of rows."""
    _, groups = np.unique([" ".join(one.casefold().split()) for one in texts], return_inverse=True)
    sizes = np.bincount(groups)[groups]
    own = np.einsum("nd,nd->n", text, image)
    # A product of matrices rounds otherwise than one of vectors.
    below, above = own - _ROUNDING, own + _ROUNDING
    better, at_least = (np.zeros((2, len(groups)), dtype=np.int64) for _ in range(2))
    block = max(1, _BLOCK // max(1, len(groups)))
    for start in range(0, len(groups), block):
        rows = slice(start, start + block)
        similarities = text[rows] @ image.T
        for row in start + np.flatnonzero(sizes[rows] > 1):
            similarities[row - start, (groups == groups[row]) & (np.arange(len(groups)) != row)] = -np.inf
        better[0, rows] = np.count_nonzero(similarities > above[rows, None], axis=1)
        at_least[0, rows] = np.count_nonzero(similarities >= below[rows, None], axis=1)
        better[1] += np.count_nonzero(similarities > above, axis=0)
        at_least[1] += np.count_nonzero(similarities >= below, axis=0)
    return [(better[way], at_least[way] - better[way], len(groups) - sizes + 1) for way in range(2)]
