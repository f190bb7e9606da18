"""What the measured processes run: `benchmark.py side NAME …` is one of them."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from transformers import AutoTokenizer, TimmWrapperConfig, TimmWrapperForImageClassification

from benchmarks import notebook
from benchmarks.bench import TEXT_LENGTH, Setting, useful_for
from benchmarks.turns import Clock
from semart_hf.memory import freed_memory_kept
from semart_hf.model.pictures_semart import load_picture
from semart_hf.model.pipeline_semart import MOST_BATCHES, rows_at_once, save_repository
from semart_hf.model.techniques_semart import computes_bf16, run_model, select_kernels, weights_prepared_once
from semart_hf.model.towers_semart import FirstTokenBlock, read_class_token
from semart_hf.recipes.recipe import ModelArguments


def run_side(words: Sequence[str]) -> None:
    name, *rest = words
    if name in OWN_ARGUMENTS:
        OWN_ARGUMENTS[name](*rest)
        return
    folder, recipe, device, *more = rest
    clock = Clock()
    with freed_memory_kept(not name.startswith("notebook")):  # as the commands have it
        for rows in SIDES[name](Setting(Path(folder), Path(recipe), device), *more):
            clock.tick(rows)


def train(without: str, *words: str) -> None:
    """Train by scripts/train.py's command line, with a clock among its callbacks, and without a technique's name."""
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from semart_hf.cli.train import main
    from semart_hf.training.trainer import SemArtTrainer

    class StepClock(TrainerCallback):
        def on_train_begin(self, args: Any, *_: Any, **__: Any) -> None:
            self.clock = Clock()

        def on_step_end(self, args: Any, *_: Any, **__: Any) -> None:
            self.clock.tick(args.train_batch_size * args.gradient_accumulation_steps)

    INTEGRATION_TO_CALLBACK["step_clock"] = StepClock  # the library's table of what `report_to` names
    SemArtTrainer.techniques = tuple(one for one in SemArtTrainer.techniques if one.name != without)
    main([*words, "--report_to", "step_clock"])


def predict(setting: Setting, model: str) -> Iterator[int]:
    """Classify all paintings by the pipeline, in one call a step."""
    classify, paintings = load(setting, model)
    while True:
        yield len(classify(paintings, batch_size=32, num_workers=2, top_k=None))


def answer(setting: Setting, model: str) -> Iterator[int]:
    classify, paintings = load(setting, model)
    for painting in itertools.cycle(paintings):
        classify(painting, top_k=None)
        yield 1


def suggest(setting: Setting, model: str) -> Iterator[int]:
    """Write suggestions beside the release's rows as `semart-hf predict` does: none at first, then all in a step."""
    from accelerate import PartialState

    from semart_hf.collection.own_format import open_catalogue
    from semart_hf.collection.sources import find_source
    from semart_hf.collection.suggestions import NUM_ALTERNATIVES, Suggester

    classify = load_pipeline(setting, model)
    answers = partial(classify, on_error="return", top_k=1 + NUM_ALTERNATIVES, batch_size=32)
    tasks = classify.model.config.task_names
    suggester = Suggester(find_source(open_catalogue(setting.release / "semart_train.csv"), tasks), tasks)
    yield 0
    while True:
        counts = suggester.suggest(setting.folder / "suggestions.csv", answers, {}, PartialState())
        yield counts["answered"]


def load_pipeline(setting: Setting, model: str) -> Any:
    from transformers import pipeline

    import semart_hf

    semart_hf.register()  # as a program of its own would have by importing it
    return pipeline("art-classification", model=model, device=setting.device)


def load(setting: Setting, model: str) -> tuple[Any, list[dict[str, str]]]:
    """The pipeline of a saved folder, and the release's paintings as it takes them."""
    frame = pd.read_csv(setting.release / "semart_train.csv", sep="\t", encoding="cp1252")
    paintings = [
        {"image": str(setting.release / "Images" / name), "text": text}
        for name, text in zip(frame["IMAGE_FILE"], frame["DESCRIPTION"], strict=True)
    ]
    return load_pipeline(setting, model), paintings


def predict_limit(setting: Setting, model: str) -> Iterator[int]:
    """The model with prepared weights on batches that lie ready, formed as the pipeline does, all in a step."""
    classify, batches, rows = ready_batches(setting, model)
    also = [weights_prepared_once(classify.model)]

    @torch.no_grad()
    def step() -> None:
        for inputs in batches:
            run_model(classify.model, inputs, also=also)
        if setting.device == "cuda":
            torch.cuda.synchronize()

    ways = [[lambda: step] * number for number in parallelisms(setting.device)]
    return run_fastest(ways, rows, repeat=2)


def graph(setting: Setting, model: str, path: str) -> Iterator[int]:
    """An ONNX graph on the batches of `predict_limit`, all in a step."""
    from semart_hf.publishing.onnx_export import open_graph

    run = open_graph(Path(path))
    _, batches, rows = ready_batches(setting, model)
    while True:
        for inputs in batches:
            run(inputs)
        yield rows


def ready_batches(setting: Setting, model: str) -> tuple[Any, list[dict[str, Any]], int]:
    """The pipeline of a saved folder, its inputs for the release in batches, long texts first, and their rows."""
    classify, paintings = load(setting, model)
    least_side = classify.processor.image_processor.least_side
    paintings = sorted(paintings, key=lambda painting: len(painting["text"]), reverse=True)
    most = rows_at_once(parallelisms(setting.device)[-1]) if setting.device == "cpu" else 32
    size = min(most, len(paintings))
    batches = []
    for first in range(0, len(paintings) - size + 1, size):
        parts = paintings[first : first + size]
        pictures = [load_picture(one["image"], least_side=least_side) for one in parts]
        inputs = classify.processor(images=pictures, text=[one["text"] for one in parts])
        batches.append({name: value.to(setting.device) for name, value in inputs.items()})
    return classify, batches, size * len(batches)


def train_limit(setting: Setting) -> Iterator[int]:
    """Training steps on tensors that lie ready, in the best format and parallelism found."""
    precisions = (False, True) if computes_bf16(setting.device) else (False,)
    formats = itertools.product((torch.contiguous_format, torch.channels_last), precisions)
    steps = [partial(training_step, setting, *one) for one in formats]
    ways = [[step] * number for step in steps for number in parallelisms(setting.device)]
    return run_fastest(ways, setting.batch_size)


def parallelisms(device: str) -> list[int]:
    """How many steps may run side by side: one, and on a CPU as many as the pipeline's batches."""
    return sorted({1, min(torch.get_num_threads(), MOST_BATCHES) if device == "cpu" else 1})


def run_fastest(
    ways: Sequence[Sequence[Callable[[], Callable[[], object]]]], rows: int, *, repeat: int = 4
) -> Iterator[int]:
    """Run the fastest way; a way is makers of steps of so many rows, for threads side by side."""
    cores = torch.get_num_threads()

    def run(steps: list[Callable[[], object]], pool: ThreadPoolExecutor) -> None:
        for done in [pool.submit(step) for step in steps]:
            done.result()

    def threads(number: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(max(1, cores // number),))

    seconds = []  # a row, of each way
    for way in ways:
        steps = [make() for make in way]
        with threads(len(steps)) as pool:
            seconds.append(min(timeit.repeat(partial(run, steps, pool), number=1, repeat=repeat)) / len(steps))
        del steps
    steps = [make() for make in ways[seconds.index(min(seconds))]]
    with threads(len(steps)) as pool:
        while True:
            run(steps, pool)
            yield rows * len(steps)


def training_step(setting: Setting, layout: torch.memory_format, bf16: bool) -> Callable[[], None]:
    """A step: the frozen stages' forward, and forward and backward of what learns; frozen text lies ready."""
    torch.manual_seed(0)
    batch, size, device = setting.batch_size, setting.image_size, setting.device
    model = notebook.NotebookModel(setting, list(notebook.NUM_LABELS.values())).to(device).train()
    model.vision.to(memory_format=layout)
    techniques = useful_for(model.vision, device, bf16=bf16)
    config = model.text.config
    learning = model.text.transformer.layer[config.n_layers - setting.recipe.get("trainable_text_layers", 1) :]
    if learning:
        learning[-1] = FirstTokenBlock(learning[-1], config)
    read_class_token(model.vision)
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


def build_new_model(setting: Setting) -> tuple[Any, Any]:
    """A model as the recipe has it, with random weights in the vision tower and the heads, and its tokenizer."""
    from semart_hf.training.building import build_model

    sizes = notebook.NUM_LABELS.items()
    tasks = [{"name": name, "labels": [f"{name} {number}" for number in range(size)]} for name, size in sizes]
    towers = {"vision": setting.vision, "text": str(setting.text_tower), "pretrained": "text"}
    given = {one.name: setting.recipe[one.name] for one in fields(ModelArguments) if one.name in setting.recipe}
    tokenizer = AutoTokenizer.from_pretrained(setting.text_tower, model_max_length=TEXT_LENGTH)
    return build_model(tasks, ModelArguments(**given | towers), tokenizer), tokenizer


def save_model(setting: Setting) -> str:
    """The folder of what `build_new_model` gives."""
    from semart_hf.training.building import build_processor

    model, tokenizer = build_new_model(setting)
    folder = setting.folder / f"saved-{setting.path.stem}"
    save_repository(model, build_processor(model, tokenizer), folder)
    return str(folder)


def save_graphs(setting: Setting, model: str) -> dict[str, str]:
    """By precision the ONNX graph for picture and text of a saved folder."""
    from semart_hf.cli.command import load_model
    from semart_hf.publishing.onnx_export import quantize, write_graph

    paths = {name: str(setting.folder / f"{setting.path.stem}-{name}.onnx") for name in ("fp32", "int8")}
    write_graph(load_model(model)[0], "image_text", Path(paths["fp32"]))
    shutil.copyfile(paths["fp32"], paths["int8"])
    quantize(Path(paths["int8"]))
    return paths


def save_vision_model(setting: Setting) -> str:
    """The folder of transformers' own classifier on the same vision tower, with random weights."""
    about = {"architecture": setting.vision, "pretrained_cfg": timm.get_pretrained_cfg(setting.vision).to_dict()}
    model = TimmWrapperForImageClassification(TimmWrapperConfig.from_dict(about, num_labels=2))
    folder = setting.folder / f"vision-{setting.path.stem}"
    model.save_pretrained(folder)
    return str(folder)


def prepare(release: str, output: str) -> None:
    from semart_hf.catalogue.catalogue import read_rows
    from semart_hf.preparation.preparation import prepare_paintings

    start = time.perf_counter()
    prepare_paintings(read_rows(Path(release)), Path(output), num_proc=os.cpu_count())
    print(time.perf_counter() - start)


def prepare_naively(release: str, output: str) -> None:
    """The usual way: PIL at full size, `datasets.map` to PNG, saved to disk; print the seconds."""
    import datasets

    def shrink(row: dict[str, Any]) -> dict[str, Any]:
        picture = Image.open(Path(release, "Images", row["IMAGE_FILE"]), formats=["JPEG"]).convert("RGB")
        file = io.BytesIO()
        ImageOps.cover(picture, (288, 288), Image.Resampling.LANCZOS).save(file, "PNG")
        return {"image": {"bytes": file.getvalue(), "path": None}}

    start = time.perf_counter()
    frame = pd.read_csv(Path(release, "semart_train.csv"), sep="\t", encoding="cp1252")
    dataset = datasets.Dataset.from_pandas(frame).map(shrink, num_proc=os.cpu_count())
    dataset.cast_column("image", datasets.Image()).save_to_disk(output)
    print(time.perf_counter() - start)


OWN_ARGUMENTS = {"ours-train": train, "prepared": prepare, "naive": prepare_naively}
# Each does step after step, and yields its number of rows.
SIDES: dict[str, Callable[..., Iterator[int]]] = {
    "ours-predict": predict,
    "ours-answer": answer,
    "ours-suggest": suggest,
    "predict-limit": predict_limit,
    "graph": graph,
    "notebook-train": notebook.train,
    "notebook-predict": notebook.predict,
    "notebook-answer": partial(notebook.predict, batch_size=1, num_workers=0),
    "limit": train_limit,
}
