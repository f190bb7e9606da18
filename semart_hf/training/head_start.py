"""Logistic regressions on the towers' features: what heads start as, or what a probe beside the network is."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from semart_hf.data.streaming import PaintingStream
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.lexicon_semart import Lexicon
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.techniques_semart import run_model

from .losses import ArtLoss, TaskLoss, log_frequencies

# Of the squared weights, of features whose rows are about 1 long: from 0.01 to 0.1 it hardly matters for accuracy, and
# rare labels want less than cross-validation by likelihood chooses.
PENALTY = 0.03
# A text's features are shorter by this: there are fewer texts than pictures, and their words are rarer.
TEXT_SCALE = 0.7
# Of the logarithm of a label's frequency, which its logit loses in the answer: rare labels gain more than others lose.
LOGIT_ADJUSTMENT = 0.2
# More numbers than these are multiplied as a sparse table.
MOST_DENSE = 1 << 26
# What a painting weighs where it is shown with one of its two modalities, or with none that it has.
PART_WEIGHT = 0.5


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


def regress_heads(
    model: SemArtForArtClassification,
    collator: Callable[..., dict[str, Any]],
    train_dataset: Any,
    args: Any,
    loss: ArtLoss,
) -> float:
    """`start_heads` on the training rows of a trainer, if its arguments or model ask for it; the seconds it took."""
    if args.head_init == "random" and model.probe is None:
        return 0.0
    start, precision = time.perf_counter(), "bf16" if args.bf16 else "fp32"
    rows = getattr(train_dataset, "paintings", train_dataset)
    found = features_of(model, collator, rows, batch_size=args.per_device_eval_batch_size, precision=precision)
    start_heads(model, found, loss)
    if args.process_index == 0:
        fitted = "The heads start as" if model.probe is None else "The probe is of"
        print(f"{fitted} logistic regressions on the towers' features of {len(found.labels):,d} paintings")
    return time.perf_counter() - start


def start_heads(model: SemArtForArtClassification, features: Features, loss: ArtLoss) -> None:
    """Make the model, or where it has one its probe, give the logits of a logistic regression for each task.

    The regression learns every painting as it is and, at half the weight, with each modality alone, so that the model
    serves both. It minimises each task's own `loss`. Towers are not changed, and nothing is drawn at random.

    Raises:
        ValueError: If the fused features are too few to hold the logits of all labels.
    """
    sizes = [len(task["labels"]) for task in model.config.tasks or []]
    if (num_labels := sum(sizes)) > model.config.fusion_dim and model.probe is None:
        raise ValueError(
            f"Got head_init: logistic_regression with {num_labels} labels and fusion_dim {model.config.fusion_dim}, "
            f"which must be as large. Set fusion_dim: {-(-num_labels // 64) * 64}, or head_init: random."
        )
    blocks = [
        _Block.of(features.image, features.has_image, 1.0),
        _Block.of(features.text, features.has_text, TEXT_SCALE),
    ]
    views = _Views.of(blocks, features)
    columns = model.config.label_columns
    tasks = model.config.tasks or []
    labels = [features.labels[:, columns[task["name"]]] for task in tasks]
    fitted = torch.cat(
        [_fit(views, own, part) for own, part in zip(labels, deepcopy(loss).cpu().losses, strict=True)], 1
    )
    shift = LOGIT_ADJUSTMENT * torch.cat([_log_priors(own, task) for own, task in zip(labels, tasks, strict=True)])
    _write(model, blocks, fitted[:-1], fitted[-1] - shift, features.tokens)
    if model.probe is not None:  # which has a part in the answers on pictures, and is the answer on texts alone
        with torch.no_grad():
            model.probe.vision_projection.bias.add_((shift * (1 - 1 / model.config.probe_share)).to(model.device))


def features_of(
    model: SemArtForArtClassification,
    collator: Callable[..., dict[str, Any]],
    paintings: Any,
    *,
    batch_size: int,
    precision: str,
) -> Features:
    """The towers' features of training rows as validation shows them; of several processes each reads all rows.

    Raises:
        ValueError: If the rows are streamed.
    """
    if isinstance(paintings, PaintingStream):
        raise ValueError(
            "Got head_init: logistic_regression with streaming: true, but it reads every row before training. Set "
            "streaming: false, or head_init: random."
        )
    loader: DataLoader[Any] = DataLoader(paintings, batch_size=batch_size, collate_fn=collator)
    seen: dict[str, Tensor] = {}
    reader: Any = model.probe or model
    projections = {"image": reader.vision_projection, "text": reader.text_projection}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name, layer in projections.items()
    ]
    found: dict[str, list[Tensor]] = {key: [] for key in ("image", "text", "has_image", "has_text", "labels")}
    words = []
    try:
        for batch in loader:
            labels = batch.pop("labels")
            inputs = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            seen.clear()
            with torch.inference_mode():
                run_model(model, inputs, precision=precision)
            for name, sources in {"image": {"pixel_values"}, "text": {"input_ids", "text_hidden"}}.items():
                is_there = torch.full((len(labels),), not sources.isdisjoint(batch))
                is_there = batch.get(f"has_{name}", is_there)
                rows = torch.zeros(len(labels), projections[name].in_features)
                if name in seen:
                    rows[is_there] = seen[name].float().cpu()
                found[name].append(rows)
                found[f"has_{name}"].append(is_there)
            found["labels"].append(labels)
            if reader.lexicon is not None:
                words.append(_word_shares(reader.lexicon, batch, len(labels)))
    finally:
        for hook in hooks:
            hook.remove()
    shares, tokens = _of_known_tokens(torch.cat(words).coalesce()) if words else (None, torch.empty(0).long())
    return Features(words=shares, tokens=tokens, **{name: torch.cat(parts) for name, parts in found.items()})


def _of_known_tokens(words: Tensor) -> tuple[Tensor, Tensor]:
    """The columns that are not empty, and their tokens: a vocabulary is much larger than what few texts have of it."""
    row, token = words.indices()
    tokens, column = token.unique(return_inverse=True)
    places, size = torch.stack((row, column)), (words.shape[0], len(tokens))
    return torch.sparse_coo_tensor(places, words.values(), size, check_invariants=False), tokens


@torch.no_grad()
def _word_shares(lexicon: Lexicon, batch: dict[str, Any], num_rows: int) -> Tensor:
    """The lexicon's input `(rows, vocabulary)`, sparse."""
    size = len(lexicon.idf)
    if "input_ids" not in batch:
        nothing = torch.empty(2, 0, dtype=torch.long), torch.empty(0)
        return torch.sparse_coo_tensor(*nothing, (num_rows, size), check_invariants=False)
    ids = batch["input_ids"]
    mask = None if "text_hidden" in batch else batch.get("attention_mask")
    shares = lexicon.shares(ids.to(lexicon.idf.device), mask if mask is None else mask.to(lexicon.idf.device)).cpu()
    if "has_text" in batch:
        shares = shares * batch["has_text"].unsqueeze(1)
    rows = torch.arange(num_rows).unsqueeze(1).expand_as(ids)
    kept = shares > 0
    places = torch.stack((rows[kept], ids[kept]))
    return torch.sparse_coo_tensor(places, shares[kept], (num_rows, size), check_invariants=False)


@dataclass
class _Block:
    """One modality's features, of mean 0 and deviation 1 where it is there, and rows about `scale` long."""

    values: Tensor
    mean: Tensor
    factor: Tensor

    @staticmethod
    def of(values: Tensor, is_there: Tensor, scale: float) -> "_Block":
        own = values[is_there] if is_there.any() else values
        mean, deviation = own.mean(0), own.std(0, correction=0)
        factor = scale / values.shape[1] ** 0.5 / deviation.clamp(min=1e-3)
        return _Block((values - mean) * factor * is_there.unsqueeze(1), mean, factor)


@dataclass
class _Views:
    """Every painting as it is, and with each modality alone: the regression's rows.

    A row has the number of its `painting`, whether picture and text are `shown (rows, 2)`, and a `weight`.
    """

    image: Tensor
    text: Tensor
    words: Tensor | None
    painting: Tensor
    shown: Tensor
    weight: Tensor

    @classmethod
    def of(cls, blocks: Sequence[_Block], features: Features) -> "_Views":
        whole = torch.stack((features.has_image, features.has_text), 1)
        views = torch.stack([whole, whole & torch.tensor([True, False]), whole & torch.tensor([False, True])])
        weight = torch.where((views != whole).any(-1), PART_WEIGHT, torch.tensor([[1.0], [0.0], [0.0]]))
        view, painting = (weight > 0).nonzero(as_tuple=True)
        words = None if features.words is None else TEXT_SCALE * features.words
        if words is not None and words.numel() < MOST_DENSE:
            words = words.to_dense()
        return cls(blocks[0].values, blocks[1].values, words, painting, views[view, painting], weight[view, painting])

    def select(self, paintings: Tensor) -> "_Views":
        """The rows of some paintings, which are numbered again."""
        number = torch.full((len(self.image),), -1)
        number[paintings] = torch.arange(len(paintings))
        rows = (number[self.painting] >= 0).nonzero().squeeze(1)
        words = None if self.words is None else self.words.index_select(0, paintings)
        parts = self.image[paintings], self.text[paintings], words
        return _Views(*parts, number[self.painting[rows]], self.shown[rows], self.weight[rows])

    @property
    def num_features(self) -> int:
        """Columns of the regression: both modalities' features, a vector where each lacks, and the words."""
        return self.image.shape[1] + self.text.shape[1] + 2 + (0 if self.words is None else self.words.shape[1])

    def logits(self, fitted: Tensor) -> Tensor:
        """`(rows, labels)` by weights in the columns' order, the biases last; each painting is multiplied once."""
        sizes = [self.image.shape[1], self.text.shape[1], 2]
        image, text, absent, words, bias = fitted.split([*sizes, len(fitted) - sum(sizes) - 1, 1])
        by_text = self.text @ text if self.words is None else self.text @ text + self.words @ words
        shown = self.shown.float()
        found: Tensor = shown[:, :1] * (self.image @ image)[self.painting] + shown[:, 1:] * by_text[self.painting]
        return found + (1 - shown) @ absent + bias


def _fit(views: _Views, labels: Tensor, loss: TaskLoss) -> Tensor:
    """Weights and in the last row biases that minimise the weighted sum of losses and penalty / 2 · Σ weight²."""
    known = (labels != UNKNOWN_LABEL).any(1).nonzero().squeeze(1)
    rows, own = views.select(known), labels[known]
    own = own[rows.painting]
    fitted = torch.zeros(views.num_features + 1, loss.weights.shape[-1], requires_grad=True)
    weight = rows.weight * own.shape[1]  # the loss of several labels is their mean
    optimizer = torch.optim.LBFGS(
        [fitted], max_iter=100, history_size=10, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = (loss(rows.logits(fitted), own) * weight).sum() + PENALTY / 2 * fitted[:-1].square().sum()
        total.backward()
        return total

    if len(known):
        optimizer.step(closure)
    return fitted.detach()


def _log_priors(labels: Tensor, task: Any) -> Tensor:
    """Of a task's labels; 0 where a painting has several."""
    if is_multi_label(task):
        return torch.zeros(len(task["labels"]))
    return log_frequencies(torch.bincount(labels[labels != UNKNOWN_LABEL], minlength=len(task["labels"])))


@torch.no_grad()
def _write(
    model: SemArtForArtClassification, blocks: Sequence[_Block], weight: Tensor, bias: Tensor, tokens: Tensor
) -> None:
    """Write a regression `(features, labels)` into projections, absence vectors, lexicon, and heads or probe."""
    num_labels, device = weight.shape[1], model.device
    reader: Any = model.probe or model
    basis = torch.eye(num_labels)
    if model.probe is None:  # orthonormal rows: what the projections write for a label, its head alone reads
        basis = nn.init.orthogonal_(
            torch.empty(num_labels, model.config.fusion_dim), generator=torch.Generator().manual_seed(0)
        )
    stop = 0
    for layer, block in zip((reader.vision_projection, reader.text_projection), blocks, strict=True):
        own = weight[stop : stop + len(block.mean)] * block.factor.unsqueeze(1)
        stop += len(block.mean)
        layer.weight.copy_((own @ basis).T)
        layer.bias.copy_(-(block.mean @ own) @ basis)
    for place, vector in enumerate((reader.absent_image, reader.absent_text)):
        vector.copy_(weight[stop + place] @ basis)
    if reader.lexicon is not None:
        reader.lexicon.weight.zero_()
        reader.lexicon.weight[tokens] = (TEXT_SCALE * weight[stop + 2 :]).to(device)
    if model.probe is not None:  # each row has one of the two
        for vector in (reader.vision_projection.bias, reader.absent_image):
            vector.add_(bias.to(device))
        return
    nn.init.zeros_(model.fusion.weight)
    nn.init.zeros_(model.fusion.bias)
    rows = [len(task["labels"]) for task in model.config.tasks or []]
    for name, own, shift in zip(model.config.task_names, basis.split(rows), bias.split(rows), strict=True):
        head: Any = model.heads[f"head_{name}"]
        head.weight.copy_(own)
        head.bias.copy_(shift)
