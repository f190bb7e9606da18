"""Our side: scripts/train.py itself with a clock among its callbacks, and the pipeline of a saved folder."""

from __future__ import annotations

import importlib.util
import itertools
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from benchmarks.clock import Clock
from benchmarks.means import WITHOUT_VARIABLE, do_without
from benchmarks.notebook import NUM_LABELS, Setting

SCRIPTS = Path(__file__).resolve().parents[1]
PAINTINGS_PER_CALL = 256


class StepClock(TrainerCallback):
    """Tells the clock of every step that the Trainer has done."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Connect to the process that measures."""
        self.clock = Clock()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One step is done."""
        self.clock.tick(args.train_batch_size * args.gradient_accumulation_steps)


def train(words: list[str]) -> None:
    """Run scripts/train.py with these words on its command line."""
    INTEGRATION_TO_CALLBACK["step_clock"] = StepClock
    if WITHOUT_VARIABLE in os.environ:
        do_without(os.environ[WITHOUT_VARIABLE])
    path = SCRIPTS / "train.py"
    spec = importlib.util.spec_from_file_location("measured_training", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"There is no script {path}. Run the benchmark from a whole checkout.")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main([*words, "--report_to", "step_clock"])


def predict(setting: Setting, model: Path, *, batch_size: int = 32, num_workers: int = 2) -> None:
    """Classify paintings in batches by the pipeline for as long as the clock asks; a step is one call of it."""
    classify, paintings = load(setting, model)
    clock = Clock()
    rows = itertools.cycle(paintings)
    while True:
        batch = list(itertools.islice(rows, min(PAINTINGS_PER_CALL, len(paintings))))
        answers = classify(batch, batch_size=batch_size, num_workers=num_workers, top_k=None)
        clock.tick(len(answers))


def answer_one_by_one(setting: Setting, model: Path) -> None:
    """Classify one painting after the other by the pipeline, each from its file and text."""
    classify, paintings = load(setting, model)
    clock = Clock()
    for painting in itertools.cycle(paintings):
        classify(painting, top_k=None)
        clock.tick(1)


def load(setting: Setting, model: Path) -> tuple[Any, list[dict[str, str]]]:
    """The pipeline of a saved folder, and the release's paintings as it takes them."""
    import pandas as pd
    from transformers import pipeline

    import semart_hf  # noqa: F401

    frame = pd.read_csv(setting.release / "semart_train.csv", sep="\t", encoding="cp1252")
    paintings = [
        {"image": str(setting.release / "Images" / name), "text": text}
        for name, text in zip(frame["IMAGE_FILE"], frame["DESCRIPTION"], strict=True)
    ]
    return pipeline("art-classification", model=str(model), device=setting.device), paintings


def save_model(setting: Setting, folder: Path) -> None:
    """Write the folder of a model as the recipe has it, with random weights in the vision tower and the heads."""
    from transformers import AutoTokenizer

    from semart_hf.model.modeling_semart import SemArtForArtClassification
    from semart_hf.model.pipeline_semart import ArtClassificationPipeline
    from semart_hf.training.building import build_processor

    recipe = setting.recipe
    tasks = [
        {"name": name, "labels": [f"{name} {number}" for number in range(size)]} for name, size in NUM_LABELS.items()
    ]
    model = SemArtForArtClassification.from_towers(
        setting.vision,
        setting.text_tower,
        tasks,
        pretrained="text",
        image_size=recipe.get("image_size"),
        frozen_vision_stages=recipe.get("frozen_vision_stages", 0),
        trainable_text_layers=recipe.get("trainable_text_layers", 1),
        fusion_dim=recipe.get("fusion_dim", 512),
        fusion_dropout=recipe.get("fusion_dropout", 0.1),
    )
    tokenizer = AutoTokenizer.from_pretrained(setting.text_tower, model_max_length=setting.text_length)
    processor = build_processor(model, tokenizer)
    ArtClassificationPipeline(model=model, processor=processor).save_pretrained(folder)
