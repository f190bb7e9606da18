"""The limit: what the arithmetic of a training step takes when its tensors lie ready, in the best format found."""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.bench import TEXT_LENGTH, Setting, useful_for
from benchmarks.notebook import NUM_LABELS, NotebookModel
from benchmarks.turns import Clock
from semart_hf.model.techniques_semart import computes_bf16, select_kernels
from semart_hf.model.text_semart import FirstTokenBlock
from semart_hf.training.techniques import keep_freed_memory


def train(setting: Setting) -> None:
    """Run the training step of the fastest format that this machine multiplies in, for as long as the clock asks."""
    keep_freed_memory()
    precisions = (False, True) if computes_bf16(setting.device) else (False,)
    formats = itertools.product((torch.contiguous_format, torch.channels_last), precisions)
    steps = [training_step(setting, layout, bf16) for layout, bf16 in formats]
    fastest = min(steps, key=lambda step: min(timeit.repeat(step, number=1, repeat=4)))
    del steps
    clock = Clock()
    while True:
        fastest()
        clock.tick(setting.batch_size)


def training_step(setting: Setting, layout: torch.memory_format, bf16: bool) -> Callable[[], None]:
    """A step: the frozen stages' forward, and forward and backward of what learns.

    DistilBERT's frozen layers have been computed, and its last layer answers for the first token alone.
    """
    torch.manual_seed(0)
    model = NotebookModel(setting, list(NUM_LABELS.values())).to(setting.device).train()
    model.vision.to(memory_format=layout)
    techniques = useful_for(model.vision, setting.device, bf16=bf16)
    config = model.text.config
    learning = model.text.transformer.layer[config.n_layers - setting.recipe.get("trainable_text_layers", 1) :]
    if learning:
        learning[-1] = FirstTokenBlock(learning[-1], config)
    batch, size, device = setting.batch_size, setting.image_size, setting.device
    pictures = torch.randn(batch, 3, size, size, device=device).to(memory_format=layout)
    hidden = torch.randn(batch, TEXT_LENGTH, config.dim, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        model.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16), select_kernels(techniques):
            text = hidden
            for layer in learning:
                text = layer(text, None)
            logits = model.answers(model.vision_projection(model.vision(pictures)), model.text_projection(text[:, 0]))
            loss = sum(F.cross_entropy(task_logits.float(), labels) for task_logits in logits)
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return step
