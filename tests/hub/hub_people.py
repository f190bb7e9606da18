"""What the people at the Hub on loopback have in hand, as source for their interpreters."""

import os
from pathlib import Path
from typing import Any

import pytest
from rounding import rounding

# Each is a canary: none of them may be found in what was printed, or in any file.
TOKENS = {name: f"hf_{name}{'Canary' * 4}" for name in ("painter", "visitor")}

_SCORES = """
from pathlib import Path

def scores(pipe, paintings):
    answers = pipe(list(paintings), top_k=None)
    return [{task: {entry["label"]: entry["score"] for entry in ranked} for task, ranked in answer.items()}
            for answer in answers]
"""

# By each Auto class and `pipeline`, whose parts are to say the same together as alone. AutoModel gives its scores
# through a pipeline that is put together by hand.
_MATRIX = """
import torch
import PIL.Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, pipeline

def load_everything(source, paintings, **options):
    config, model, processor, image_processor, tokenizer = [
        auto.from_pretrained(source, **options)
        for auto in (AutoConfig, AutoModel, AutoProcessor, AutoImageProcessor, AutoTokenizer)
    ]
    pipe = pipeline("art-classification", model=source, precision="fp32", device="cpu", **options)
    picture = PIL.Image.open(paintings[0]["image"])
    inputs = processor(images=picture, text=paintings[0]["text"])
    tokens = tokenizer(paintings[0]["text"])["input_ids"]
    pixel_values = image_processor(picture, return_tensors="pt")["pixel_values"]
    parts = {"config": config, "model": model, "processor": processor, "image": image_processor, "pipeline": pipe}
    return {
        "homes": {name: type(part).__module__.rpartition(".")[0] for name, part in parts.items()},
        "pipeline": scores(pipe, paintings),
        "parts": scores(type(pipe)(model=model, processor=processor, device="cpu", precision="fp32"), paintings),
        "training": model.training,
        "same tasks": config.tasks == model.config.tasks,
        "same pixels": torch.equal(pixel_values, inputs["pixel_values"]),
        "same tokens": inputs["input_ids"][0, :len(tokens)].tolist() == tokens,
    }
"""

_ROOMS = [str(Path(__file__).parents[1] / room) for room in ("cli", "data")]
AUTHOR = f"""
import sys
sys.path += {_ROOMS}
{_SCORES}{_MATRIX}
from semart_hf import ArtClassificationPipeline
from tiny_release import TASKS, tiny_parts

TEXTS = ["A mill by the river", "The lady with a view of Delft", "A mill, a view, a river"]

def build(seed):
    model, processor = tiny_parts(TASKS, seed=seed)
    return model, ArtClassificationPipeline(model=model, processor=processor, device="cpu", precision="fp32")
"""

TRAINER = """
import json
import numpy as np
from PIL import Image
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.trainer import SemArtTrainer

def make_trainer(folder, **options):
    model, pipe = build(seed=2)
    generator = np.random.default_rng(0)
    rows = [
        {"image": Image.fromarray(generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)), "text": TEXTS[row % 3],
         "type": row % 2, "school": row % 3, "timeframe": row % 2, "medium": None}
        for row in range(8)
    ]
    arguments = SemArtTrainingArguments(
        output_dir=folder, report_to="none", disable_tqdm=True, num_train_epochs=2, per_device_train_batch_size=4,
        learning_rate=1e-2, eval_strategy="no", load_best_model_at_end=False, save_total_limit=1,
        **options)
    return SemArtTrainer(model, arguments, processing_class=pipe.processor, train_dataset=rows)

def folder_scores(folder, paintings):
    from transformers import pipeline
    return scores(pipeline("art-classification", model=str(folder), precision="fp32", device="cpu"), paintings)
"""

RUN_SCRIPT = """
import contextlib, io, runpy, sys

def run_script(path, *words):
    printed = io.StringIO()
    sys.argv = [path, *words]
    with contextlib.redirect_stdout(printed):
        runpy.run_path(path, run_name="__main__")
    return printed.getvalue()
"""

LOADING = f"""
{_SCORES}{_MATRIX}
def load(repo, **options):
    options |= {{"device": "cpu", "precision": "fp32"}}
    return pipeline("art-classification", model=repo, trust_remote_code=True, **options)
"""


def assert_whole(loaded: dict[str, Any], expected: list[dict[str, dict[str, float]]], home: str) -> None:
    """Whether what `load_everything` found is the model with these scores, and runs the code of that home."""
    assert_same_scores(loaded["pipeline"], expected)
    assert_same_scores(loaded["parts"], expected)
    assert all(module.startswith(home) for module in loaded["homes"].values()), loaded["homes"]
    assert loaded["training"] is False
    assert [loaded[f"same {what}"] for what in ("tasks", "pixels", "tokens")] == [True] * 3


def assert_same_scores(
    first: list[dict[str, dict[str, float]]],
    second: list[dict[str, dict[str, float]]],
    tolerance: float = rounding(1024, layers=20),
) -> None:
    assert [list(answer) for answer in first] == [list(answer) for answer in second]
    for one, other in zip(first, second, strict=True):
        for task, labels in one.items():
            assert other[task] == pytest.approx(labels, abs=tolerance), task


def files_with(words: Any, folder: Path) -> list[str]:
    """Files below a folder that hold one of the words; links are not followed."""
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    contents = {path: path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}
    return [str(path) for path, content in contents.items() if any(word.encode() in content for word in words)]
