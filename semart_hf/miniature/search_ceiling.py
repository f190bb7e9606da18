"""How often the best possible search of a miniature's split finds a picture by its description, and the reverse."""

from collections.abc import Mapping, Sequence

import numpy as np

from .world import Cue, Table, World

DEPTHS = (1, 5, 10)


def search_ceilings(
    world: World, cues: Sequence[tuple[Mapping[str, str], Mapping[str, str] | None]]
) -> dict[str, dict[str, float]]:
    """Best reachable recall by way and depth, over the paintings with a description; exact for these paintings' cues.

    Nothing but the cues connects a picture with its description, so that the likeliest picture is the one with the
    largest P(picture's cues, description's cues) / (P(picture's cues) P(description's cues)). Equal ones come in an
    order of chance.
    """
    pairs = [(image, text) for image, text in cues if text is not None]
    images, texts = (
        np.stack([_likelihoods(world, cues_of, shown) for shown in column])
        for cues_of, column in zip((world.image, world.text), zip(*pairs, strict=True), strict=True)
    )
    prior = world.prior.ravel()
    ratios = (images * prior) @ texts.T / np.outer(images @ prior, texts @ prior)
    return {"text_to_image": _recalls(ratios.T), "image_to_text": _recalls(ratios)}


def _likelihoods(world: World, cues: Mapping[str, Cue], shown: Mapping[str, str]) -> Table:
    """P(what is shown | labels) of all combinations of labels `(num_combinations,)`."""
    likelihood = np.ones(1)
    for task in world.labels:
        likelihood = np.outer(likelihood, cues[task].table[:, cues[task].values.index(shown[task])]).ravel()
    return likelihood


def _recalls(scores: Table) -> dict[str, float]:
    """Recall at each depth, where the own candidate of row i is column i."""
    own = np.diag(scores)[:, None]
    is_equal = np.isclose(scores, own, rtol=1e-9)
    better, equal = ((scores > own) & ~is_equal).sum(axis=1), is_equal.sum(axis=1)
    return {f"recall_at_{depth}": float(np.clip((depth - better) / equal, 0, 1).mean()) for depth in DEPTHS}
