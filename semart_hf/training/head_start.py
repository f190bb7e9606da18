"""Starts in closed form from the towers' features: regressions for heads or a probe, correlations for projections."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from semart_hf.data.collator import ArtCollator
from semart_hf.data.streaming import PaintingStream, column_of, undecoded
from semart_hf.evaluation.retrieval import DEPTHS, rank_bounds
from semart_hf.memory import freed_memory_kept
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.linear_semart import Lexicon
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.model.techniques_semart import run_model

from .losses import ArtLoss, TaskLoss, log_frequencies

# Of the squared weights, of features whose rows are about 1 long: from 0.01 to 0.1 it hardly matters for accuracy, and
# rare labels want less than cross-validation by likelihood chooses. Of texts there are fewer than of pictures.
PENALTY, TEXT_PENALTY = 0.03, 0.2
# Of a label that no row has, neither a regression nor the frequency that it is compared with falls without end.
BIAS_PENALTY = 1e-3
# How long the rows of what a text's tower gives are, beside words of length 1: of titles the tower knows more than
# words that few of them share, of descriptions less. Each task takes that with the smaller loss of held-out texts.
TEXT_SCALES = (0.7, 0.25)
NUM_FOLDS = 3
# Of the logarithm of a label's frequency, which its logit loses in the answer: rare labels gain more than others lose,
# also after a loss that weighs labels alike.
LOGIT_ADJUSTMENT = 0.2
# More numbers than these are multiplied as a sparse table; and of more rows it costs more to find what they span.
MOST_DENSE, MOST_ROTATED = 1 << 26, 4000
# Of correlations: shares of the largest variance that are added to all.
RIDGES = (0.03, 0.1, 0.3, 1.0)
MOST_PAIRS, PAIR_FOLDS, PAIR_BATCH = 20_000, 5, 32


@dataclass
class Features:
    """What the projections and the lexicon read `(rows, …)`, zeros where a row has none of it; and the labels."""

    image: Tensor
    text: Tensor
    words: Tensor | None  # sparse, as the lexicon weighs them, a column for each of its `tokens` in these rows
    tokens: Tensor
    has_image: Tensor
    has_text: Tensor
    labels: Tensor


def start_heads(model: SemArtForArtClassification, features: Features, loss: ArtLoss) -> None:
    """Make the model, or where it has one its probe, give the logits of a logistic regression for each task.

    The logits add up those of two regressions, of pictures and of texts, less what texts say without being read, which
    pictures say as well. Each minimises the training's own loss of the rows that have its modality, so that it serves
    alone, too. Towers are not changed, and nothing is drawn at random.

    Source: Kittler et al. 1998, On combining classifiers, the product rule.
    """
    num_labels = model.config.num_labels
    if num_labels > model.config.fusion_dim and model.probe is None:
        raise ValueError(
            f"Got head_init: logistic_regression with {num_labels} labels and fusion_dim {model.config.fusion_dim}, "
            f"which must be as large. Set fusion_dim: {-(-num_labels // 64) * 64}, or head_init: random."
        )
    image, text = _scaled(features.image, features.has_image), _scaled(features.text, features.has_text)
    words = features.words
    if words is not None and words.numel() < MOST_DENSE:
        words = words.to_dense()
    image_blocks, from_image = _rotated([image.values])
    texts = {scale: _rotated([scale * text.values, *([] if words is None else [words])]) for scale in TEXT_SCALES}
    columns, found = model.config.label_columns, []
    for task, own_loss in zip(model.config.tasks or [], deepcopy(loss.losses).cpu(), strict=True):
        labels = features.labels[:, columns[task["name"]]]
        of_image = labels.masked_fill(~features.has_image.unsqueeze(1), UNKNOWN_LABEL)
        of_text = labels.masked_fill(~features.has_text.unsqueeze(1), UNKNOWN_LABEL)
        by_image = from_image(_fit(image_blocks, of_image, own_loss, PENALTY))
        by_text, scale = _fit_texts(texts, of_text, own_loss)
        has_image, has_text = ((one != UNKNOWN_LABEL).any() for one in (of_image, of_text))
        prior = _fit([], of_text if has_text else labels, own_loss, 0)[0]
        if not has_image:  # nothing is known of what pictures, or texts, say
            by_image[-1] = prior
        if not has_text:
            by_text[-1] = prior
        shift = torch.zeros(len(task["labels"]))
        if not is_multi_label(task):
            counts = torch.bincount(labels[labels != UNKNOWN_LABEL], minlength=len(shift))
            shift = LOGIT_ADJUSTMENT * log_frequencies(counts)
        by_tower, by_words = by_text[:-1].tensor_split([features.text.shape[1]])
        found.append((by_image[:-1], by_image[-1], scale * by_tower, by_words, by_text[-1] - prior, prior, shift))
    _write(model, (image, text), [torch.cat(part, -1) for part in zip(*found, strict=True)], features.tokens)


def features_of(
    model: Any, collator: Callable[..., Any], paintings: Any, *, batch_size: int, precision: str
) -> Features:
    """The towers' features of training rows as validation shows them; of several processes each reads all rows."""
    if isinstance(paintings, PaintingStream):
        raise ValueError(
            "Got head_init: logistic_regression with streaming: true, but it reads every row before training. Set "
            "streaming: false, or head_init: random."
        )
    texts = list(column_of(paintings, "text")) or [None] * len(paintings)
    # Long texts first: a batch of like lengths is padded least, and memory shows at once.
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row] or ""))
    loader: DataLoader[Any] = DataLoader(Subset(paintings, order), batch_size=batch_size, collate_fn=collator)
    seen: dict[str, tuple[Any, ...]] = {}
    reader: Any = model.probe or model
    layers = {"image": reader.vision_projection, "text": reader.text_projection}
    layers |= {} if reader.lexicon is None else {"words": reader.lexicon}
    found: dict[str, list[Tensor]] = {key: [] for key in ("image", "text", "has_image", "has_text", "labels")}
    words = []
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args})))
        for batch in loader:
            labels = batch.pop("labels")
            inputs = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            seen.clear()
            with torch.inference_mode():
                run_model(model, inputs, precision=precision)
            for name, sources in {"image": {"pixel_values"}, "text": {"input_ids", "text_hidden"}}.items():
                is_there = batch.get(f"has_{name}", torch.full((len(labels),), not sources.isdisjoint(batch)))
                rows = torch.zeros(len(labels), layers[name].in_features)
                if name in seen:
                    rows[is_there] = seen[name][0].float().cpu()
                found[name].append(rows)
                found[f"has_{name}"].append(is_there)
            found["labels"].append(labels)
            if reader.lexicon is not None:
                words.append(_word_shares(reader.lexicon, len(labels), *seen.get("words", ())))
    back = torch.tensor(order).argsort()
    shares, tokens = None, torch.empty(0).long()
    if words:
        shares = torch.cat(words).index_select(0, back).coalesce()
        # A vocabulary is much larger than what few texts have of it.
        tokens, columns = shares.indices()[1].unique(return_inverse=True)
        places, size = torch.stack((shares.indices()[0], columns)), (len(order), len(tokens))
        shares = torch.sparse_coo_tensor(places, shares.values(), size, is_coalesced=True, check_invariants=False)
    return Features(words=shares, tokens=tokens, **{name: torch.cat(parts)[back] for name, parts in found.items()})


@torch.no_grad()
def _word_shares(lexicon: Lexicon, num_rows: int, ids: Any = None, mask: Any = None, has_text: Any = None) -> Tensor:
    """What the lexicon reads of a batch `(rows, vocabulary)`, sparse, by what `forward` is given."""
    size = num_rows, len(lexicon.weight)
    if ids is None:
        return torch.zeros(size, layout=torch.sparse_coo)
    shares = lexicon.shares(ids, mask)
    if has_text is not None:
        shares = shares * has_text.unsqueeze(1)
    rows, places = (shares > 0).nonzero(as_tuple=True)
    found = torch.stack((rows, ids[rows, places])), shares[rows, places]
    return torch.sparse_coo_tensor(*found, size, check_invariants=False).cpu()


class _Scaled(NamedTuple):
    """Features of mean 0 and deviation 1 where they are there, with rows about 1 long."""

    values: Tensor
    mean: Tensor  # of the features before
    factor: Tensor


def _scaled(values: Tensor, is_there: Tensor) -> _Scaled:
    own = values[is_there] if is_there.any() else values
    mean, deviation = own.mean(0), own.std(0, correction=0)
    factor = values.shape[1] ** -0.5 / deviation.clamp(min=1e-3)
    return _Scaled((values - mean) * factor * is_there.unsqueeze(1), mean, factor)


def _rotated(blocks: Sequence[Tensor]) -> tuple[Sequence[Tensor], Callable[[Tensor], Tensor]]:
    """Blocks of as few columns as rows are not empty, and what turns weights of theirs, biases last, into the given's.

    Weights with an L2 penalty lie in what the rows span, so that those fitted in fewer columns are the same.
    """
    num_rows, num_columns = len(blocks[0]), sum(block.shape[1] for block in blocks)
    if num_columns <= num_rows or num_rows > MOST_ROTATED or any(block.is_sparse for block in blocks):
        return blocks, lambda fitted: fitted
    table = torch.cat(list(blocks), 1)
    spanning = table[table.any(1)].double()  # rows without a text are 0, and many of them let `eigh` fail
    try:
        lengths, vectors = torch.linalg.eigh(spanning @ spanning.T)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if not spanning.isfinite().all():
            raise
        return blocks, lambda fitted: fitted
    kept = lengths > 1e-9 * lengths[-1:]
    basis = (spanning.T @ (vectors[:, kept] / lengths[kept].sqrt())).float()
    return [table @ basis], lambda fitted: torch.cat((basis @ fitted[:-1], fitted[-1:]))


def _fit_texts(texts: Mapping[float, Any], labels: Tensor, loss: TaskLoss) -> tuple[Tensor, float]:
    """`_fit` of what `_rotated` gives by scale, at the scale that held-out texts are for; and the scale."""
    fold = (torch.arange(len(labels)) % NUM_FOLDS).unsqueeze(1)
    losses = dict.fromkeys(texts, 0.0)
    for scale, (blocks, _) in texts.items():
        for number in range(NUM_FOLDS):
            fitted = _fit(blocks, labels.masked_fill(fold == number, UNKNOWN_LABEL), loss, TEXT_PENALTY)
            held_out = labels.masked_fill(fold != number, UNKNOWN_LABEL)
            losses[scale] += loss(_logits(blocks, fitted), held_out).sum().item()
    best = min(losses, key=losses.__getitem__)
    blocks, from_text = texts[best]
    return from_text(_fit(blocks, labels, loss, TEXT_PENALTY)), best


def _fit(blocks: Sequence[Tensor], labels: Tensor, loss: TaskLoss, penalty: float) -> Tensor:
    """Weights, and biases in the last row, that minimise the known rows' losses and penalty / 2 · Σ weight²."""
    known = (labels != UNKNOWN_LABEL).any(1).nonzero().squeeze(1)
    blocks, labels = [block.index_select(0, known) for block in blocks], labels[known]
    num_features = sum(block.shape[1] for block in blocks)
    fitted = torch.zeros(num_features + 1, loss.weights.shape[-1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [fitted], max_iter=100, history_size=10, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = _logits(blocks, fitted).expand(len(labels), -1)
        each = loss(logits, labels) * labels.shape[1]  # of several labels the sum
        total = each.sum() + (penalty * fitted[:-1].square().sum() + BIAS_PENALTY * fitted[-1].square().sum()) / 2
        total.backward()
        return total

    if len(known):
        optimizer.step(closure)
    return fitted.detach()


def _logits(blocks: Sequence[Tensor], fitted: Tensor) -> Tensor:
    """`(rows, labels)` by weights in the blocks' order, the biases last; without a block one row for all."""
    parts = fitted[:-1].split([block.shape[1] for block in blocks])
    return sum((block @ part for block, part in zip(blocks, parts, strict=True)), fitted[-1:])


@torch.no_grad()
def _write(
    model: SemArtForArtClassification, blocks: Sequence[_Scaled], found: Sequence[Tensor], tokens: Tensor
) -> None:
    """Write regressions of `_scaled` features into projections, absence vectors, lexicon, and heads or probe."""
    by_image, image_bias, by_text, by_words, text_bias, prior, shift = found
    reader: Any = model.probe or model
    basis = torch.eye(len(shift))
    if model.probe is None:  # orthonormal rows: what the projections write for a label, its head alone reads
        size = len(shift), model.config.fusion_dim
        basis = nn.init.orthogonal_(torch.empty(size), generator=torch.Generator().manual_seed(0))
    sides = (reader.vision_projection, by_image, image_bias), (reader.text_projection, by_text, text_bias)
    for (layer, weight, bias), block in zip(sides, blocks, strict=True):
        own = weight * block.factor.unsqueeze(1)
        layer.weight.copy_((own @ basis).T)
        layer.bias.copy_((bias - block.mean @ own) @ basis)
    reader.absent_image.copy_(prior @ basis)
    reader.absent_text.zero_()
    if reader.lexicon is not None:
        reader.lexicon.weight.zero_()
        reader.lexicon.weight[tokens.to(model.device)] = by_words.to(model.device)
    if model.probe is not None:  # each row has one of the two; on pictures the probe is a part of the answer
        reader.absent_image.sub_(shift.to(model.device))
        reader.vision_projection.bias.sub_((shift / model.config.probe_share).to(model.device))
        return
    nn.init.zeros_(model.fusion.weight)
    nn.init.zeros_(model.fusion.bias)
    rows = [len(task["labels"]) for task in model.config.tasks or []]
    for name, own, bias in zip(model.config.task_names, basis.split(rows), shift.split(rows), strict=True):
        head: Any = model.heads[f"head_{name}"]
        head.weight.copy_(own)
        head.bias.copy_(-bias)


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
    with freed_memory_kept():  # the model stays on the device, where it is trained
        collator = ArtCollator(processor, [])
        found = features_of(model.to(device), collator, rows, batch_size=PAIR_BATCH, precision="fp32")
    is_pair = found.has_image & found.has_text
    image, text = found.image[is_pair].double(), found.text[is_pair].double()
    texts = [text for text, is_whole in zip(rows["text"], is_pair.tolist(), strict=True) if is_whole]
    if len(texts) < 2 * PAIR_FOLDS:
        raise ValueError(
            f"contrastive_start is correlations, but {len(texts)} paintings have a picture and a text. It needs at "
            f"least {2 * PAIR_FOLDS}. Set contrastive_start: random."
        )
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(texts)) % PAIR_FOLDS)
    recalls = torch.zeros(len(RIDGES))
    dim = model.config.fusion_dim
    for number in range(PAIR_FOLDS):
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


def canonical_projections(image: Tensor, text: Tensor, ridges: Sequence[float], dim: int) -> list[Any]:
    """For each ridge weight `(features, dim)` and bias of both sides' projections, with mean 0 and mean square 1.

    A ridge is a share of a side's largest variance. Where there are fewer directions than `dim`, other numbers are 0.
    """
    sides = []
    for rows in (image, text):
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        scale = torch.where(deviation > 1e-6 * deviation.max(), 1 / deviation, 0)
        standard = (rows - mean) * scale
        variances, directions = torch.linalg.eigh(standard.T @ standard / len(rows))
        sides.append((mean, scale, standard, variances.clamp(min=0), directions))
    (_, _, images, _, image_directions), (_, _, texts, _, text_directions) = sides
    cross = image_directions.T @ (images.T @ texts / len(image)) @ text_directions
    found = []
    for ridge in ridges:
        roots = [(variances + ridge * variances[-1]).rsqrt() for *_, variances, _ in sides]
        left, strengths, right = torch.linalg.svd(roots[0][:, None] * cross * roots[1], full_matrices=False)
        projections = []
        for (mean, scale, standard, _, directions), root, axes in zip(sides, roots, (left, right.T), strict=True):
            weight = (directions * root) @ (axes * strengths)[:, :dim]
            weight = F.pad(weight, (0, dim - weight.shape[1]))
            weight = scale[:, None] * weight / (standard @ weight).square().mean().sqrt()
            projections.append((weight, -mean @ weight))
        found.append(projections)
    return found
