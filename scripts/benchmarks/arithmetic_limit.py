"""The limit: what the arithmetic takes when its tensors lie ready, in the best format and parallelism found."""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch.nn import functional as F

from benchmarks.bench import TEXT_LENGTH, Setting, useful_for
from benchmarks.notebook import NUM_LABELS, NotebookModel
from benchmarks.turns import Clock
from semart_hf.model.pipeline_semart import MOST_BATCHES
from semart_hf.model.techniques_semart import computes_bf16, select_kernels
from semart_hf.model.towers_semart import FirstTokenBlock
from semart_hf.training.techniques import keep_freed_memory


def train(setting: Setting) -> None:
    """Run training steps as the machine does them fastest, for as long as the clock asks."""
    keep_freed_memory()
    precisions = (False, True) if computes_bf16(setting.device) else (False,)
    formats = list(itertools.product((torch.contiguous_format, torch.channels_last), precisions))
    ways = [[one] * number for one in formats for number in parallelisms(setting.device)]
    run_fastest([lambda way=way: [training_step(setting, *one) for one in way] for way in ways], setting.batch_size)


def parallelisms(device: str) -> list[int]:
    """How many steps may run side by side: one, and on a CPU as many as the pipeline's batches."""
    return sorted({1, min(torch.get_num_threads(), MOST_BATCHES) if device == "cpu" else 1})


def run_fastest(ways: Sequence[Callable[[], list[Callable[[], object]]]], rows: int, *, repeat: int = 4) -> None:
    """Run the fastest way while the clock asks: a way makes steps of so many rows, for threads side by side."""
    cores = torch.get_num_threads()

    def run(steps: list[Callable[[], object]], pool: ThreadPoolExecutor) -> None:
        for done in [pool.submit(step) for step in steps]:
            done.result()

    def threads(number: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(max(1, cores // number),))

    seconds = []  # a row, of each way
    for way in ways:
        steps = way()
        with threads(len(steps)) as pool:
            seconds.append(min(timeit.repeat(partial(run, steps, pool), number=1, repeat=repeat)) / len(steps))
        del steps
    steps = ways[seconds.index(min(seconds))]()
    clock = Clock()
    with threads(len(steps)) as pool:
        while True:
            run(steps, pool)
            clock.tick(rows * len(steps))


def training_step(setting: Setting, layout: torch.memory_format, bf16: bool) -> Callable[[], None]:
    """A step: the frozen stages' forward, and forward and backward of what learns; frozen text lies ready."""
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
