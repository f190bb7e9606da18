"""What the people at the Hub on loopback have in hand, as source for their interpreters."""

import pytest

# What both can do: all scores of paintings, label by label.
_SCORES = """
from pathlib import Path

def scores(pipe, paintings):
    answers = pipe(list(paintings), top_k=None)
    return [{task: {entry["label"]: entry["score"] for entry in ranked} for task, ranked in answer.items()}
            for answer in answers]
"""

AUTHOR = (
    _SCORES
    + """
import torch
from transformers import DistilBertConfig
from semart_hf import ArtClassificationPipeline, SemArtForArtClassification, SemArtImageProcessor, SemArtProcessor
from semart_hf.data.tokenizer import learn_tokenizer

TASKS = [
    {"name": "type", "labels": ["portrait", "landscape", "UNK"]},
    {"name": "school", "labels": ["Italian", "Dutch", "French", "UNK"]},
    {"name": "timeframe", "labels": ["1501-1550", "1551-1600", "UNK"]},
    {"name": "medium", "labels": ["canvas", "wood", "UNK"]},
]
TEXTS = ["A mill by the river", "The lady with a view of Delft", "A mill, a view, a river"]

def build(seed):
    torch.manual_seed(seed)
    tokenizer = learn_tokenizer(TEXTS, vocab_size=200, max_length=32)
    text = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=64,
                            max_position_embeddings=64)
    model = SemArtForArtClassification.from_towers("test_resnet", text, TASKS, pretrained=False, image_size=64,
                                                   fusion_dim=32)
    with torch.no_grad():  # heads drawn wide, so that different paintings get different answers
        for head in model.heads.values():
            head.weight.normal_(std=1.0)
    processor = SemArtProcessor(SemArtImageProcessor.from_timm(model.config.vision_config.pretrained_cfg), tokenizer)
    return model.eval(), ArtClassificationPipeline(model=model.eval(), processor=processor, device="cpu")
"""
)

# What the author needs to train, after AUTHOR.
TRAINER = """
import json
import numpy as np
from PIL import Image
from semart_hf.data.collator import ArtCollator
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
    return SemArtTrainer(model, arguments, processor=pipe.processor, collator=ArtCollator(pipe.processor, TASKS),
                         train_paintings=rows)

def folder_scores(folder, paintings):
    from transformers import pipeline
    return scores(pipeline("art-classification", model=str(folder), device="cpu"), paintings)
"""

STRANGER = (
    _SCORES
    + """
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, pipeline

def load(repo, **options):
    return pipeline("art-classification", model=repo, trust_remote_code=True, device="cpu", **options)
"""
)


def assert_same_scores(first: list[dict[str, dict[str, float]]], second: list[dict[str, dict[str, float]]]) -> None:
    """Whether two answers to the same paintings agree to 1e-5."""
    assert [list(answer) for answer in first] == [list(answer) for answer in second]
    for one, other in zip(first, second, strict=True):
        for task, labels in one.items():
            assert other[task] == pytest.approx(labels, abs=1e-5), task
