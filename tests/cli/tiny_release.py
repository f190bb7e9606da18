"""A model and a release small enough for tests of the scripts, and the scripts themselves as modules."""

import csv
import importlib

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from release_builder import HEADER, row
from transformers import DistilBertConfig, DistilBertTokenizer

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor

TASKS = [
    {"name": "type", "labels": ["portrait", "landscape", "UNK"]},
    {"name": "school", "labels": ["Italian", "Dutch", "UNK"]},
    {"name": "timeframe", "labels": ["1501-1550", "1551-1600", "1601-1650", "UNK"]},
    {"name": "medium", "labels": ["canvas", "wood", "UNK"]},
]
WORDS = ["a", "view", "of", "delft", "the", "lady", "with", "river", "saint", "mill", "snow", "and"]


def load_command(name):
    return importlib.import_module(f"semart_hf.cli.{name}")


def run(command, *words):
    load_command(command).main([str(word) for word in words])


def read_table(path, delimiter="\t"):
    with path.open(encoding="cp1252", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def tiny_parts(tasks=TASKS, words=WORDS, seed=0, **sizes):
    """A model with random weights whose answers differ between paintings, and its processor."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = DistilBertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=32)
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict() | {"input_size": (3, 64, 64)}
    image_processor = SemArtImageProcessor.from_timm(cfg)
    text = DistilBertConfig(vocab_size=len(vocabulary), dim=32, n_layers=2, n_heads=4, hidden_dim=64, **sizes)
    torch.manual_seed(seed)
    sizes = {"pretrained": False, "image_size": 64, "fusion_dim": 32}
    model = SemArtForArtClassification.from_towers("test_resnet", text, tasks, **sizes)
    with torch.no_grad():  # heads drawn wide
        for head in model.heads.values():
            head.weight.normal_(std=1.0)
    return model.eval(), SemArtProcessor(image_processor, tokenizer)


def save_tiny_model(folder, tasks=TASKS):
    for part in tiny_parts(tasks):
        part.save_pretrained(folder)
    return folder


def write_release(folder, *, num_rows=12, schools=("Italian", "Dutch", "Flemish")):
    """A release with validation and test: the first row lacks its picture, the second its description."""
    generator = np.random.default_rng(0)
    (folder / "Images").mkdir(parents=True)
    for split in ("val", "test"):
        rows = []
        for number in range(num_rows):
            name = f"{split}{number:02d}.jpg"
            if number:
                pixels = generator.integers(0, 255, (90, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "Images" / name)
            description = "" if number == 1 else " ".join(generator.choice(WORDS, 8))
            technique = ("Oil on canvas, 90 x 70 cm", "Oil on panel")[number % 2]
            labels = {"type": ("portrait", "landscape")[number // 2 % 2], "school": schools[number % len(schools)]}
            labels["timeframe"] = TASKS[2]["labels"][number % 3]
            cells = {"author": "VERMEER, Johannes", "title": f"View <{number}> & river", "date": "1660", **labels}
            rows.append(row(name, description=description, technique=technique, **cells))
        table, form = pd.DataFrame(rows, columns=HEADER), {"sep": "\t", "encoding": "cp1252", "quoting": csv.QUOTE_ALL}
        table.to_csv(folder / f"semart_{split}.csv", index=False, lineterminator="\r\n", **form)
    return folder
