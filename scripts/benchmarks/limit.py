"""The limit: what the arithmetic of a step takes when its tensors lie ready in memory, in the best format found."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.clock import Clock
from benchmarks.notebook import NUM_LABELS, NotebookModel, Setting, image_size
from semart_hf.model.techniques_semart import ATTENTION_IN_STEPS, select_kernels
from semart_hf.model.text_semart import FirstTokenBlock
from semart_hf.model.vision_semart import read_class_token
from semart_hf.training.techniques import DEPTHWISE_GRADIENT, KeptMemory


@dataclass(frozen=True)
class Format:
    """How the tower computes.

    Args:
        channels_last: Whether channels are the innermost dimension of pictures and kernels.
        bf16: Whether it runs under bfloat16 autocast.
        compiled: Whether torch.compile has seen it.
    """

    channels_last: bool
    bf16: bool
    compiled: bool

    def __str__(self) -> str:
        """For example `channels_last bf16`."""
        names = (("contiguous", "channels_last")[self.channels_last], ("fp32", "bf16")[self.bf16])
        return " ".join([*names, "compiled"] if self.compiled else names)


def formats_to_try(*, bf16: bool, compiled: bool) -> list[Format]:
    """All combinations, without those that this machine is known to compute slowly."""
    choices = itertools.product((False, True), (False, True) if bf16 else (False,), (False, True)[: 1 + compiled])
    return [Format(*choice) for choice in choices]


def limit_of_training(setting: Setting, *, bf16: bool, compiled: bool) -> None:
    """Run the fastest format's step for as long as the clock asks.

    A step is the frozen stages' forward, and forward and backward of what learns; DistilBERT's frozen layers have been
    computed, and its last layer answers for the first token alone.
    """
    KeptMemory().apply()
    tried = {
        format_: fastest_of(training_step(setting, format_))
        for format_ in formats_to_try(bf16=bf16, compiled=compiled)
    }
    best = min(tried, key=lambda format_: tried[format_])
    run(training_step(setting, best), batch_of(setting), best, tried)


def limit_of_inference(setting: Setting, *, bf16: bool, compiled: bool) -> None:
    """Run the fastest format's forward for as long as the clock asks, on texts of the padded length."""
    KeptMemory().apply()
    tried = {
        format_: fastest_of(forward(setting, format_)) for format_ in formats_to_try(bf16=bf16, compiled=compiled)
    }
    best = min(tried, key=lambda format_: tried[format_])
    run(forward(setting, best), batch_of(setting), best, tried)


def run(step: Callable[[], None], rows: int, best: Format, tried: dict[Format, float]) -> None:
    clock = Clock(format=str(best), formats={str(name): round(rows / seconds, 2) for name, seconds in tried.items()})
    while True:
        step()
        clock.tick(rows)


def fastest_of(step: Callable[[], None], repeats: int = 3) -> float:
    """Seconds of the fastest of some steps, after one to warm up."""
    step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def training_step(setting: Setting, format_: Format) -> Callable[[], None]:
    """A step on tensors that lie ready."""
    model, pictures, context = ready(setting, format_)
    model.train()
    config, layers = model.text.config, model.text.transformer.layer
    depth = config.n_layers - setting.recipe.get("trainable_text_layers", 1)
    learning = list(layers[depth:])
    if learning:
        last = FirstTokenBlock(config).to(setting.device).train()
        last.load_state_dict(learning[-1].state_dict())
        learning[-1] = last
    batch = len(pictures)
    hidden = torch.randn(batch, setting.text_length, config.dim, device=setting.device)
    labels = torch.zeros(batch, dtype=torch.long, device=setting.device)
    parameters = [
        *(parameter for parameter in model.parameters() if parameter.requires_grad),
        *(parameter for layer in learning for parameter in layer.parameters()),
    ]

    def logits() -> list[Tensor]:
        text = hidden
        for layer in learning:
            text = layer(text, None)
        return model.answers(model.vision_projection(model.vision(pictures)), model.text_projection(text[:, 0]))

    call = torch.compile(logits) if format_.compiled else logits

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        with context():
            loss = sum(F.cross_entropy(task_logits.float(), labels) for task_logits in call())
        loss.backward()
        wait(setting.device)

    return step


def forward(setting: Setting, format_: Format) -> Callable[[], None]:
    """The whole model's forward on tensors that lie ready."""
    model, pictures, context = ready(setting, format_)
    model.eval()
    tokens = torch.ones(len(pictures), setting.text_length, dtype=torch.long, device=setting.device)
    call = torch.compile(model) if format_.compiled else model

    def step() -> None:
        with torch.inference_mode(), context():
            call(pictures, tokens, torch.ones_like(tokens))
        wait(setting.device)

    return step


def ready(setting: Setting, format_: Format) -> tuple[NotebookModel, Tensor, Callable[[], ExitStack]]:
    """The model, its pictures, and the context that it runs in."""
    size = image_size(setting)
    layout = torch.channels_last if format_.channels_last else torch.contiguous_format
    torch.manual_seed(0)
    model = NotebookModel(setting, list(NUM_LABELS.values())).to(setting.device)
    read_class_token(model.vision)
    model.vision.to(memory_format=layout)
    pictures = torch.randn(batch_of(setting), 3, size, size, device=setting.device).to(memory_format=layout)

    def context() -> ExitStack:
        stack = ExitStack()
        if format_.bf16:
            stack.enter_context(torch.autocast(setting.device, dtype=torch.bfloat16))
            if setting.device == "cpu":
                stack.enter_context(select_kernels([ATTENTION_IN_STEPS, DEPTHWISE_GRADIENT]))
        return stack

    return model, pictures, context


def batch_of(setting: Setting) -> int:
    return int(setting.recipe["per_device_train_batch_size"])


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
