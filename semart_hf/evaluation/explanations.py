"""Why a painting was answered so: which parts of the picture and which words moved the decision, and by how much.

Integrated gradients, because they ask nothing of the towers but a gradient, so that ResNet, EfficientNet, ViT and
DistilBERT are read by one method and their contributions add up on one scale: from a blank picture with every word
masked to the painting as it is, the contributions sum to the change in the answer's log odds.

Source: Sundararajan, Taly & Yan 2017, Axiomatic Attribution for Deep Networks, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from semart_hf.model.pictures_semart import load_picture

if TYPE_CHECKING:
    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.processing_semart import SemArtProcessor

NUM_STEPS = 24
STEPS_AT_ONCE = 8


@dataclass(frozen=True)
class Explanation:
    """What spoke for one answer, in log odds: positive for it, negative against it.

    Args:
        task: The task that was asked.
        label: The answer that is explained.
        probability: The model's probability of it.
        picture: What the model saw, uint8 (height, width, 3); None without a picture.
        heat: Contribution of each pixel and its surroundings (height, width); None without a picture.
        words: The description's words in their order with their contributions; a word that the model did not read,
            because the text was cut, has None.
        picture_total: The picture's contribution as a whole.
        text_total: The description's contribution as a whole.
    """

    task: str
    label: str
    probability: float
    picture: npt.NDArray[np.uint8] | None
    heat: npt.NDArray[np.float32] | None
    words: list[tuple[str, float | None]]
    picture_total: float
    text_total: float


def explain(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    *,
    task: str,
    image: Any = None,
    text: str | None = None,
    label: str | None = None,
) -> Explanation:
    """What moved the model to one task's answer about one painting; `label` asks for another one than its own.

    Raises:
        ValueError: The painting has neither picture nor text, or the task or label is unknown.
    """
    text = text if text and text.strip() else None
    if image is None and text is None:
        raise ValueError(
            "Got neither a picture nor a text. At least one is needed to explain. Pass image=, text= or both."
        )
    labels = model.config.labels(task)
    if label is not None and label not in labels:
        raise ValueError(f"Got the {task} label {label!r}. Known are {labels}. Ask for one of these.")
    picture = None if image is None else load_picture(image)
    inputs = dict(processor(images=picture, text=text, return_tensors="pt").to(model.device))
    model.eval()
    with torch.no_grad():
        logits = model(**inputs).logits[task][0].float()
    index = int(logits.argmax()) if label is None else labels.index(label)
    temperature = (model.config.temperatures or {}).get(task, 1.0)
    pixels, tokens = integrated_gradients(model, processor, inputs, task, index)
    return Explanation(
        task=task,
        label=labels[index],
        probability=float((logits / temperature).softmax(-1)[index]),
        picture=None if pixels is None else seen_picture(processor, inputs["pixel_values"][0]),
        heat=None if pixels is None else _smooth(pixels).cpu().numpy(),
        words=[] if text is None or tokens is None else _word_weights(processor, text, tokens.tolist()),
        picture_total=0.0 if pixels is None else float(pixels.sum()),
        text_total=0.0 if tokens is None else float(tokens.sum()),
    )


def integrated_gradients(
    model: SemArtForArtClassification, processor: SemArtProcessor, inputs: dict[str, Tensor], task: str, index: int
) -> tuple[Tensor | None, Tensor | None]:
    """Contributions of the pixels (height, width) and of the tokens (tokens,) to one label's log odds.

    The blank picture has the mean colour that the tower was normalised by; masked words are `[MASK]`.
    """
    pixels = inputs.get("pixel_values")
    pixel_sum, token_sum = None, None
    alphas = (torch.arange(NUM_STEPS, device=model.device) + 0.5) / NUM_STEPS
    for chunk in alphas.split(STEPS_AT_ONCE):
        batch = {name: value.expand(len(chunk), *value.shape[1:]) for name, value in inputs.items()}
        leaves = []
        if pixels is not None:
            batch["pixel_values"] = (chunk[:, None, None, None] * pixels).requires_grad_(True)
            leaves.append(batch["pixel_values"])
        with torch.enable_grad(), _masked_words(model, processor, inputs.get("input_ids"), chunk) as words:
            log_odds = log_odds_of(model(**batch).logits[task].float(), index)
            gradients = list(torch.autograd.grad(log_odds.sum(), leaves + [path for path, _ in words]))
        if pixels is not None:
            piece = (gradients.pop(0).sum(0) * pixels[0]).sum(0) / NUM_STEPS
            pixel_sum = piece if pixel_sum is None else pixel_sum + piece
        for (_, way), gradient in zip(words, gradients, strict=True):
            piece = (gradient.sum(0) * way).sum(-1) / NUM_STEPS
            token_sum = piece if token_sum is None else token_sum + piece
    return pixel_sum, token_sum


def log_odds_of(logits: Tensor, index: int) -> Tensor:
    """Log odds (batch,) of one label against all others together."""
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=-1)
    return logits[:, index] - (others.logsumexp(-1) if others.shape[-1] else 0)


@contextmanager
def _masked_words(
    model: SemArtForArtClassification, processor: SemArtProcessor, input_ids: Tensor | None, alphas: Tensor
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While open, the text is read on the way from `[MASK]` to its words; yields that way and its length.

    That is, the tower reads embeddings on that way, and a lexicon, which says nothing of `[MASK]`, a share of what
    each token tells it.
    """
    found: list[tuple[Tensor, Tensor]] = []
    if input_ids is None:
        yield found
        return
    embedding = model.text_tower.embeddings.word_embeddings
    special = torch.tensor(processor.tokenizer.all_special_ids, device=input_ids.device)
    masked_ids = torch.where(torch.isin(input_ids, special), input_ids, processor.tokenizer.mask_token_id)
    with torch.no_grad():
        masked, words = embedding(masked_ids)[0], embedding(input_ids)[0]

    def travel(*_: Any) -> Tensor:
        path = (masked + alphas[:, None, None] * (words - masked)).requires_grad_(True)
        found.append((path, words - masked))
        return path

    def speak_up(*_: Any) -> Tensor:
        path = (alphas[:, None, None] * told).requires_grad_(True)
        found.append((path, told))
        return path.sum(1)

    hooks = [embedding.register_forward_hook(travel)]
    if model.lexicon is not None:
        told = model.lexicon.contributions(input_ids).detach()[0]
        hooks.append(model.lexicon.register_forward_hook(speak_up))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def seen_picture(processor: SemArtProcessor, pixel_values: Tensor) -> npt.NDArray[np.uint8]:
    """The picture as the model saw it, uint8 (height, width, 3), of `pixel_values` (3, height, width)."""
    mean, std = (
        torch.tensor(values, device=pixel_values.device)[:, None, None]
        for values in (processor.image_processor.image_mean, processor.image_processor.image_std)
    )
    colors = ((pixel_values * std + mean).clamp(0, 1) * 255).round().byte()
    return np.asarray(colors.permute(1, 2, 0).cpu().numpy())


def _smooth(pixels: Tensor) -> Tensor:
    """Each pixel's contribution with its surroundings': single pixels mean nothing to a person."""
    radius = max(1, pixels.shape[-1] // 24)
    offsets = torch.arange(-2 * radius, 2 * radius + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-0.5 * (offsets / radius) ** 2)
    kernel = kernel / kernel.sum()
    image = pixels[None, None]
    image = F.conv2d(F.pad(image, (2 * radius, 2 * radius, 0, 0), mode="replicate"), kernel[None, None, None, :])
    image = F.conv2d(F.pad(image, (0, 0, 2 * radius, 2 * radius), mode="replicate"), kernel[None, None, :, None])
    return image[0, 0]


def _word_weights(processor: SemArtProcessor, text: str, tokens: list[float]) -> list[tuple[str, float | None]]:
    """The text's words with the sum of their tokens' contributions."""
    encoding = processor.tokenizer(text, truncation=True, max_length=len(tokens), return_offsets_mapping=True)
    weights: dict[int, float] = {}
    words = text.split()
    starts: list[int] = []
    position = 0
    for word in words:
        position = text.index(word, position)
        starts.append(position)
        position += len(word)
    for (start, end), weight in zip(encoding["offset_mapping"], tokens, strict=False):
        if end > start:
            number = int(np.searchsorted(starts, start, side="right")) - 1
            weights[number] = weights.get(number, 0.0) + weight
    return [(word, weights.get(index)) for index, word in enumerate(words)]
