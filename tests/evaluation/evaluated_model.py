"""A tiny model with its processor, and a few paintings: made once, used by every test of the evaluation."""

import datasets
import numpy as np
import pytest
from PIL import Image
from tiny_release import TASKS as TINY
from tiny_release import tiny_parts

TASKS = [TINY[0], {"name": "school", "labels": ["Italian", "Dutch", "French", "UNK"]}, *TINY[2:]]
WORDS = ["a", "view", "of", "delft", "the", "lady", "with", "river", "saint", "##s", "mill", "snow", "and", ".", ","]


@pytest.fixture(scope="session")
def tiny_processor():
    return tiny_parts(TASKS, WORDS)[1]


@pytest.fixture(scope="session")
def tiny_model():
    return tiny_parts(TASKS, WORDS, max_position_embeddings=64)[0]


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory, tiny_model, tiny_processor):
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def paintings():
    """Ten paintings; number 3 lacks its picture, number 5 its text, number 7 its school."""
    generator = np.random.default_rng(3)
    pictures = [Image.fromarray(generator.integers(0, 255, (80, 70, 3), dtype=np.uint8)) for _ in range(10)]
    pictures[3] = None
    texts = [" ".join(generator.choice(WORDS, 6)) for _ in range(10)]
    texts[5] = None
    columns = {
        "image": pictures,
        "image_file": [f"{index:05d}-view.jpg" for index in range(10)],
        "title": [f"View <{index}> & river" for index in range(10)],
        "author": ["Vermeer"] * 10,
        "text": texts,
    }
    names = ("image_file", "title", "author", "text")
    features = {"image": datasets.Image(), **dict.fromkeys(names, datasets.Value("string"))}
    for task in TASKS:
        features[task["name"]] = datasets.ClassLabel(names=task["labels"])
        columns[task["name"]] = generator.integers(0, len(task["labels"]), 10).tolist()
    columns["school"][7] = None
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
