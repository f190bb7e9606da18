"""The limit: what the arithmetic of a step takes when its tensors lie ready in memory, in the best format found."""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.bench import Setting
from benchmarks.clock import Clock
from benchmarks.notebook import NUM_LABELS, NotebookModel
from benchmarks.techniques import useful_for
from semart_hf.model.techniques_semart import computes_bf16, select_kernels
from semart_hf.model.text_semart import FirstTokenBlock
from semart_hf.training.techniques import KeptMemory

Step = Callable[[], None]


class Format(NamedTuple):
    """How the tower computes: `channels_last` or `contiguous`, in `bf16` or `fp32`."""

    layout: str
    precision: str


def train(setting: Setting) -> None:
    """Run the fastest format's training step for as long as the clock asks.

    A step is the frozen stages' forward, and forward and backward of what learns; DistilBERT's frozen layers have been
    computed, and its last layer answers for the first token alone.
    """
    run_fastest(setting, training_step)


def predict(setting: Setting) -> None:
    """Run the fastest format's forward for as long as the clock asks, on texts of the padded length."""
    run_fastest(setting, forward_step)


def run_fastest(setting: Setting, make_step: Callable[[Setting, Format], Step]) -> None:
    """Try all formats that this machine multiplies in, then run the fastest."""
    KeptMemory().apply()
    precisions = ("fp32", "bf16") if computes_bf16(setting.device) else ("fp32",)
    formats = [Format(*choice) for choice in itertools.product(("contiguous", "channels_last"), precisions)]
    seconds = {format_: min(timeit.repeat(make_step(setting, format_), number=1, repeat=4)) for format_ in formats}
    best = min(formats, key=lambda format_: seconds[format_])
    rows, step = setting.batch_size, make_step(setting, best)
    speeds = {" ".join(format_): round(rows / seconds[format_], 2) for format_ in formats}
    clock = Clock(format=" ".join(best), formats=speeds)
    while True:
        step()
        clock.tick(rows)


def training_step(setting: Setting, format_: Format) -> Step:
    """A training step on tensors that lie ready."""
    model, pictures, context = ready(setting, format_)
    model.train()
    config, layers = model.text.config, model.text.transformer.layer
    learning = list(layers[config.n_layers - setting.recipe.get("trainable_text_layers", 1) :])
    if learning:
        learning[-1] = FirstTokenBlock(learning[-1], config)
    hidden = torch.randn(len(pictures), setting.text_length, config.dim, device=setting.device)
    labels = torch.zeros(len(pictures), dtype=torch.long, device=setting.device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parameters += [parameter for layer in learning for parameter in layer.parameters()]

    def logits() -> list[Tensor]:
        text = hidden
        for layer in learning:
            text = layer(text, None)
        return model.answers(model.vision_projection(model.vision(pictures)), model.text_projection(text[:, 0]))

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        with context():
            loss = sum(F.cross_entropy(task_logits.float(), labels) for task_logits in logits())
        loss.backward()
        wait(setting.device)

    return step


def forward_step(setting: Setting, format_: Format) -> Step:
    """The whole model's forward on tensors that lie ready."""
    model, pictures, context = ready(setting, format_)
    model.eval()
    tokens = torch.ones(len(pictures), setting.text_length, dtype=torch.long, device=setting.device)

    def step() -> None:
        with torch.inference_mode(), context():
            model(pictures, tokens, torch.ones_like(tokens))
        wait(setting.device)

    return step


def ready(
    setting: Setting, format_: Format
) -> tuple[NotebookModel, Tensor, Callable[[], AbstractContextManager[Any]]]:
    """The model, its pictures, and the context that it runs in."""
    layout = torch.channels_last if format_.layout == "channels_last" else torch.contiguous_format
    bf16 = format_.precision == "bf16"
    torch.manual_seed(0)
    model = NotebookModel(setting, list(NUM_LABELS.values())).to(setting.device)
    model.vision.to(memory_format=layout)
    techniques = useful_for(model.vision, setting.device, bf16=bf16)
    size = setting.image_size
    pictures = torch.randn(setting.batch_size, 3, size, size, device=setting.device).to(memory_format=layout)

    @contextmanager
    def context() -> Iterator[None]:
        with torch.autocast(setting.device, torch.bfloat16, enabled=bf16), select_kernels(techniques):
            yield

    return model, pictures, context


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
