"""A start in closed form for pictures and texts that are to find each other: canonical correlations of two towers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional as F

from semart_hf.data.collator import ArtCollator
from semart_hf.data.streaming import undecoded
from semart_hf.evaluation.retrieval import DEPTHS, rank_bounds
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

from .head_start import features_of

#: Shares of the largest variance that are added to all.
RIDGES = (0.03, 0.1, 0.3, 1.0)
MOST_PAIRS = 20_000
_FOLDS, _BATCH = 5, 32
#: Weight `(features, dim)` and bias `(dim,)` of a projection.
Projection = tuple[Tensor, Tensor]


def correlate_projections(
    model: SemArtForArtClassification, processor: SemArtProcessor, paintings: Any, device: torch.device | str
) -> str:
    """Let both projections be canonical correlations of what the towers give of these paintings; what was chosen.

    The ridge is the one of `RIDGES` with the best mean recall in cross-validation.

    Source: Vinod 1976, Canonical ridge and econometrics of joint production; directions weighted by their correlation.
    """
    if not isinstance(paintings, Dataset):
        raise ValueError("contrastive_start is correlations, which needs all rows at once. Set streaming: false.")
    rows = undecoded(paintings.select_columns(["image", "text"]))
    if len(rows) > MOST_PAIRS:
        rows = rows.select(np.sort(np.random.default_rng(0).choice(len(rows), MOST_PAIRS, replace=False)))
    home = model.device
    try:
        found = features_of(model.to(device), ArtCollator(processor, []), rows, batch_size=_BATCH, precision="fp32")
    finally:
        model.to(home)
    is_pair = found.has_image & found.has_text
    image, text = found.image[is_pair].double(), found.text[is_pair].double()
    texts = [text for text, is_whole in zip(rows["text"], is_pair.tolist(), strict=True) if is_whole]
    if len(texts) < 2 * _FOLDS:
        raise ValueError(
            f"contrastive_start is correlations, but {len(texts)} paintings have a picture and a text. It needs at "
            f"least {2 * _FOLDS}. Set contrastive_start: random."
        )
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(texts)) % _FOLDS)
    recalls = torch.zeros(len(RIDGES))
    dim = model.config.fusion_dim
    for number in range(_FOLDS):
        known, held_out = fold != number, fold == number
        some = [texts[row] for row in held_out.nonzero().flatten().tolist()]
        for place, sides in enumerate(canonical_projections(image[known], text[known], RIDGES, dim)):
            shown = zip((image[held_out], text[held_out]), sides, strict=True)
            vectors = [F.normalize(side @ weight + bias, dim=1).float().numpy() for side, (weight, bias) in shown]
            for better, equal, _ in rank_bounds(vectors[0], vectors[1], some):
                recalls[place] += sum(float(np.clip((depth - better) / equal, 0, 1).mean()) for depth in DEPTHS)
    ridge = RIDGES[int(recalls.argmax())]
    (chosen,) = canonical_projections(image, text, [ridge], dim)
    with torch.no_grad():
        for side, (weight, bias) in zip((model.vision_projection, model.text_projection), chosen, strict=True):
            side.weight.copy_(weight.T)
            side.bias.copy_(bias)
    pairs = f"canonical correlations of {len(texts):,} pairs"
    return f"Projections: {pairs} with the ridge {ridge} of {RIDGES}, by cross-validation"


def canonical_projections(
    image: Tensor, text: Tensor, ridges: Sequence[float], dim: int
) -> list[tuple[Projection, Projection]]:
    """For each ridge the projections to `dim` numbers, of mean 0 and a mean square of 1 over the rows, of both sides.

    A ridge is a share of a side's largest variance. Where there are fewer directions than `dim`, other numbers are 0.
    """
    sides, standard = [], []
    for rows in (image, text):
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        scale = torch.where(deviation > 1e-6 * deviation.max(), 1 / deviation, 0)
        standard.append((rows - mean) * scale)
        variances, directions = torch.linalg.eigh(standard[-1].T @ standard[-1] / len(rows))
        sides.append((mean, scale, variances.clamp(min=0), directions))
    cross = sides[0][3].T @ (standard[0].T @ standard[1] / len(image)) @ sides[1][3]
    found = []
    for ridge in ridges:
        roots = [(variances + ridge * variances[-1]).rsqrt() for _, _, variances, _ in sides]
        left, strengths, right = torch.linalg.svd(roots[0][:, None] * cross * roots[1], full_matrices=False)
        projections = []
        for (mean, scale, _, directions), rows, root, axes in zip(
            sides, standard, roots, (left, right.T), strict=True
        ):
            weight = (directions * root) @ (axes * strengths)[:, :dim]
            weight = F.pad(weight, (0, dim - weight.shape[1]))
            weight = scale[:, None] * weight / (rows @ weight).square().mean().sqrt()
            projections.append((weight, -mean @ weight))
        found.append((projections[0], projections[1]))
    return found
