"""What the measured processes run: `benchmark.py side NAME …` is one of them, with a clock that counts its steps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import arithmetic_limit, notebook
from benchmarks.bench import Bench, Setting
from benchmarks.clock import Clock

PAINTINGS_PER_CALL = 256


def run_side(words: Sequence[str]) -> None:
    """Run the side that the first word names."""
    name, *rest = words
    if name == "ours-train":
        train(*rest)
        return
    setting = Setting(**json.loads(rest[0]))
    SIDES[name](setting, *rest[1:])


def train(without: str, *words: str) -> None:
    """Train by scripts/train.py's command line, with a clock among its callbacks, and without a technique's name."""
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from benchmarks.techniques import list_without
    from semart_hf.cli.train import main
    from semart_hf.training.trainer import SemArtTrainer

    class StepClock(TrainerCallback):
        def on_train_begin(self, args: Any, *_: Any, **__: Any) -> None:
            self.clock = Clock()

        def on_step_end(self, args: Any, *_: Any, **__: Any) -> None:
            self.clock.tick(args.train_batch_size * args.gradient_accumulation_steps)

    INTEGRATION_TO_CALLBACK["step_clock"] = StepClock  # the library's table of what `report_to` names
    SemArtTrainer.techniques = list_without(without)
    main([*words, "--report_to", "step_clock"])


def predict(setting: Setting, model: str, batch_size: str = "32", num_workers: str = "2") -> None:
    """Classify paintings in batches by the pipeline for as long as the clock asks; a step is one call of it."""
    classify, paintings = load(setting, model)
    rows, number = itertools.cycle(paintings), min(PAINTINGS_PER_CALL, len(paintings))
    calls = (list(itertools.islice(rows, number)) for _ in itertools.repeat(None))
    options = {"batch_size": int(batch_size), "num_workers": int(num_workers), "top_k": None}
    count(len(classify(paintings, **options)) for paintings in calls)


def answer(setting: Setting, model: str) -> None:
    """Classify one painting after the other by the pipeline, each from its file and text."""
    classify, paintings = load(setting, model)
    count(len([classify(painting, top_k=None)]) for painting in itertools.cycle(paintings))


def count(steps: Iterable[int], **facts: Any) -> None:
    """Let the clock count steps that give their numbers of rows."""
    clock = Clock(**facts)
    for rows in steps:
        clock.tick(rows)


def load(setting: Setting, model: str) -> tuple[Any, list[dict[str, str]]]:
    """The pipeline of a saved folder, and the release's paintings as it takes them."""
    from transformers import pipeline

    import semart_hf  # noqa: F401

    release = Path(setting.release)
    frame = pd.read_csv(release / "semart_train.csv", sep="\t", encoding="cp1252")
    paintings = [
        {"image": str(release / "Images" / name), "text": text}
        for name, text in zip(frame["IMAGE_FILE"], frame["DESCRIPTION"], strict=True)
    ]
    return pipeline("art-classification", model=model, device=setting.device), paintings


def save_model(bench: Bench, recipe: Path) -> str:
    """The folder of a model as the recipe has it, with random weights in the vision tower and the heads."""
    from transformers import AutoTokenizer

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.publishing.repository import write_repository
    from semart_hf.training.building import build_processor

    setting, folder = bench.setting(recipe), bench.folder / f"saved-{recipe.stem}"
    tasks = [
        {"name": name, "labels": [f"{name} {number}" for number in range(size)]}
        for name, size in notebook.NUM_LABELS.items()
    ]
    names = ("image_size", "frozen_vision_stages", "trainable_text_layers", "fusion_dim", "fusion_dropout")
    fields = {name: setting.recipe[name] for name in names if name in setting.recipe}
    model = SemArtForArtClassification.from_towers(
        setting.vision, setting.text_tower, tasks, pretrained="text", **fields
    )
    tokenizer = AutoTokenizer.from_pretrained(setting.text_tower, model_max_length=setting.text_length)
    write_repository(model, build_processor(model, tokenizer), folder)
    return str(folder)


SIDES = {
    "ours-predict": predict,
    "ours-answer": answer,
    "notebook-train": notebook.train,
    "notebook-predict": notebook.predict,
    "notebook-answer": notebook.answer,
    "limit-train": arithmetic_limit.train,
    "limit-predict": arithmetic_limit.predict,
}
