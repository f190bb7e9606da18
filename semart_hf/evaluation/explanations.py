"""Which parts of the picture and which words moved an answer, by integrated gradients."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.linear_semart import lexicons
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pictures_semart import load_picture
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor
from semart_hf.model.techniques_semart import autocast_context, evaluation_mode, run_model

NUM_STEPS, STEPS_AT_ONCE = 24, 8


class Explanation(NamedTuple):
    """What spoke for (positive) or against one answer, in log odds; nothing of what was not given."""

    task: str
    label: str
    probability: float
    picture: Image.Image | None  # upright and in RGB
    seen: tuple[float, float, float, float]  # of it by the model: left, top, right and bottom as shares of its sides
    heat: npt.NDArray[np.float32] | None  # of each pixel of the model's input and its surroundings (height, width)
    words: list[tuple[str, float | None]]  # None for one beyond what the model reads
    picture_total: float
    text_total: float


def explain(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    *,
    task: str,
    label: str | None = None,
    image: Any = None,
    text: str | None = None,
    precision: str = "auto",
) -> Explanation:
    """What moved the model to one task's answer about one painting, or to a label of it; by default the likeliest."""
    text = text if text and text.strip() else None
    if image is None and text is None:
        raise ValueError("Got neither a picture nor a text. One is needed to explain. Pass image=, text= or both.")
    labels = model.config.labels(task)
    if label is not None and label not in labels:
        raise ValueError(f"Got the label {label!r} of task {task}. Allowed are {labels}. Choose one.")
    has_several = is_multi_label(model.config.tasks[model.config.task_names.index(task)])
    picture = None if image is None else load_picture(image)
    inputs = dict(processor(images=picture, text=text, return_tensors="pt").to(model.device))
    with torch.no_grad():
        logits = run_model(model, inputs, precision=precision).logits[task][0].float()
    index = int(logits.argmax()) if label is None else labels.index(label)
    with evaluation_mode(model), autocast_context(model, precision):
        pixels, tokens = integrated_gradients(model, processor, inputs, task, index)
    heat = None
    if pixels is not None:  # with its surroundings: a single pixel says nothing to a person
        radius = max(1, pixels.shape[-1] // 24)
        heat = gaussian_blur(pixels.float()[None], [4 * radius + 1] * 2, [float(radius)] * 2)[0].cpu().numpy()
    logits = logits / (model.config.temperatures or {}).get(task, 1.0)
    return Explanation(
        task=task,
        label=labels[index],
        probability=float((logits.sigmoid() if has_several else logits.softmax(-1))[index]),
        picture=picture,
        seen=(0, 0, 1, 1) if picture is None else seen_part(processor.image_processor, picture.size),
        heat=heat,
        words=[] if text is None or tokens is None else _word_weights(processor, text, tokens.tolist()),
        picture_total=0.0 if pixels is None else float(pixels.sum()),
        text_total=0.0 if tokens is None else float(tokens.sum()),
    )


def integrated_gradients(
    model: SemArtForArtClassification, processor: SemArtProcessor, inputs: dict[str, Tensor], task: str, index: int
) -> tuple[Tensor | None, Tensor | None]:
    """Contributions of the pixels (height, width) and of the tokens (tokens,) to one label's log odds.

    From a blank picture with every word masked to the painting as it is, they sum to the change in the log odds.

    Source: Sundararajan, Taly & Yan 2017, Axiomatic Attribution for Deep Networks, section 3.
    """
    has_picture, has_text, parts = "pixel_values" in inputs, "input_ids" in inputs, []
    has_several = is_multi_label(model.config.tasks[model.config.task_names.index(task)])
    alphas = (torch.arange(NUM_STEPS, device=model.device) + 0.5) / NUM_STEPS
    for chunk in alphas.split(STEPS_AT_ONCE):
        batch = {name: value.expand(len(chunk), *value.shape[1:]) for name, value in inputs.items()}
        text: Any = _masked_words(model, processor, inputs["input_ids"], chunk) if has_text else nullcontext([])
        with torch.enable_grad(), text as paths:
            if has_picture:
                batch["pixel_values"] = (chunk[:, None, None, None] * inputs["pixel_values"]).requires_grad_(True)
                paths.append((batch["pixel_values"], inputs["pixel_values"][0]))
            log_odds = log_odds_of(model(**batch).logits[task].float(), index, has_several)
            gradients = torch.autograd.grad(log_odds.sum(), [path for path, _ in paths])
        parts.append([g.sum(0) * length for (_, length), g in zip(paths, gradients, strict=True)])
    totals = [torch.stack(part).sum(0) / NUM_STEPS for part in zip(*parts, strict=True)]
    pixels = totals.pop(0).sum(0) if has_picture else None
    return pixels, torch.stack([total.sum(-1) for total in totals]).sum(0) if totals else None


def log_odds_of(logits: Tensor, index: int, has_several: bool = False) -> Tensor:
    """Log odds (batch,) of one label: against all others together, or against its absence where there are several."""
    if has_several:
        return logits[:, index]
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=-1)
    return logits[:, index] - (others.logsumexp(-1) if others.shape[-1] else 0)


@contextmanager
def _masked_words(
    model: SemArtForArtClassification, processor: SemArtProcessor, input_ids: Tensor, alphas: Tensor
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While open, the text is read on the path from `[MASK]` to its words; yields each path and its whole length."""
    found: list[tuple[Tensor, Tensor]] = []
    embedding = model.get_input_embeddings()
    special = torch.tensor(processor.tokenizer.all_special_ids, device=input_ids.device)
    masked_ids = torch.where(torch.isin(input_ids, special), input_ids, processor.tokenizer.mask_token_id)
    with torch.no_grad():
        masked, words = embedding(masked_ids)[0], embedding(input_ids)[0]

    def path_to(end: Tensor, start: Tensor | float) -> Tensor:
        found.append(((start + alphas[:, None, None] * (end - start)).requires_grad_(True), end - start))
        return found[-1][0]

    with ExitStack() as hooks:
        hooks.enter_context(embedding.register_forward_hook(lambda *_: path_to(words, masked)))
        for lexicon in lexicons(model):  # its logits of `[MASK]` are 0
            end = lexicon.contributions(input_ids).detach()[0]
            hooks.enter_context(lexicon.register_forward_hook(lambda *_, end=end: path_to(end, 0.0).sum(1)))
        yield found


def seen_part(image_processor: SemArtImageProcessor, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a picture of this width and height that is cropped: left, top, right and bottom, from 0 to 1."""
    edge, margins = image_processor.size.get("shortest_edge"), []
    for name, side in zip(("width", "height"), size, strict=True):
        resized = side * edge / min(size) if edge else image_processor.size[name]
        margins.append(max(0.0, 1 - image_processor.crop_size[name] / resized) / 2)
    return margins[0], margins[1], 1 - margins[0], 1 - margins[1]


def _word_weights(processor: SemArtProcessor, text: str, tokens: list[float]) -> list[tuple[str, float | None]]:
    """The text's words with the sum of their tokens' contributions."""
    encoding = processor.tokenizer(text, truncation=True, max_length=len(tokens), return_offsets_mapping=True)
    words = list(re.finditer(r"\S+", text))
    starts = [word.start() for word in words]
    weights: dict[int, float] = {}
    for (start, end), weight in zip(encoding["offset_mapping"], tokens, strict=False):
        if end > start:
            number = int(np.searchsorted(starts, end - 1, side="right")) - 1
            weights[number] = weights.get(number, 0.0) + weight
    return [(word[0], weights.get(index)) for index, word in enumerate(words)]
