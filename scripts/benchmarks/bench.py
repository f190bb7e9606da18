"""Where a measurement takes place: made data, recipes, techniques of speed, commands of the measured processes."""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from transformers import AutoModel, DistilBertConfig, DistilBertTokenizer, PreTrainedConfig

from benchmarks.turns import Side
from semart_hf.model.techniques_semart import Technique, computes_bf16, useful_techniques
from semart_hf.recipes.recipe import RECIPES, read_recipe
from semart_hf.training.techniques import TRAINING_TECHNIQUES

FRONT = Path(__file__).resolve().parents[1] / "benchmark.py"
TEXT_LENGTH = 128  # tokens that texts are padded or cut to
# Techniques of speed that a field of the recipe switches off.
FIELDS: dict[str, dict[str, Any]] = {
    "frozen text computed once": {"cache_frozen_text": "false"},
    "pictures made small once": {"prepare": False},  # these go through another filter than the painting's own file
    "bfloat16": {"precision": "fp32"},
    "freed memory kept": {"keep_freed_memory": False},
}
LARGEST_TINT = 8  # either way, of 255
# Tokens a description: a log-normal law with SemArt's median and 90th percentile, cut at its longest text.
MEDIAN_TOKENS, TOKENS_OF_NINE_IN_TEN, MOST_TOKENS = 86, 278, 1044
QUANTILE_90 = 1.2816  # of the standard normal law
WORDS = [f"word{number}" for number in range(6000)]  # each a token, the most frequent first
TYPES = ("portrait", "landscape", "religious", "mythological", "genre", "still-life", "historical", "study", "other")
SCHOOLS = ("Italian", "Dutch", "French", "Flemish", "German", "Spanish", "English", "Netherlandish", "Austrian")
TECHNIQUES = ("Oil on canvas", "Oil on panel", "Fresco", "Oil on copper", "Tempera on wood", "Watercolour on paper")


class Setting:
    """What both sides share: a folder with made data, a recipe's file, and the device that computes."""

    def __init__(self, folder: Path, path: Path, device: str = "cpu") -> None:
        self.folder, self.path, self.device = folder, path, device
        self.release, self.text_tower = folder / "release", folder / "text_tower"
        self.recipe: Mapping[str, Any] = read_recipe(path)
        # The timm architecture of `timm/resnet18.a1_in1k`, or a name as it stands.
        self.vision = str(self.recipe["vision"]).split("/")[-1].split(".")[0]
        self.image_size = int(self.recipe.get("image_size") or 224)
        self.batch_size = int(self.recipe["per_device_train_batch_size"])

    def side(self, name: str, part: str, *words: str) -> Side:
        """A process that runs one of `sides.SIDES`."""
        return self._side(name, [], part, str(self.folder), str(self.path), self.device, *words)

    def training_side(self, name: str, *, without: str = "", **fields: Any) -> Side:
        """A training by the recipe with some fields changed, without validation, and without a technique if named."""
        fixed = {"overwrite_output_dir": True, "load_best_model_at_end": False, "max_text_length": TEXT_LENGTH}
        fixed |= dict.fromkeys(("image_dropout", "text_dropout"), 0)  # a row without picture or text would cost less
        fixed |= dict.fromkeys(("eval_strategy", "save_strategy"), "no")
        towers = {"vision": self.vision, "text": self.text_tower, "pretrained": "text"}
        output = self.folder / f"model-{name.replace(' ', '-')}"
        changed = {"data": self.release, "output_dir": output, **fixed, **towers, **fields}
        words = [word for field, value in changed.items() for word in (f"--{field}", str(value))]
        one_process = str(RECIPES / "accelerate" / "one_process.yaml")
        launch = ["-m", "accelerate.commands.launch", "--config_file", one_process]
        return self._side(name, launch, "ours-train", without, str(self.path), *words)

    def _side(self, name: str, launch: list[str], *words: str) -> Side:
        """Nothing is downloaded, and caches begin empty."""
        environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["HF_DATASETS_CACHE"] = str(self.folder / "cache")
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return Side(name, [sys.executable, *launch, str(FRONT), "side", *words], environment)


def recipe_of(tower: str) -> Path:
    path = Path(tower) if tower.endswith(".yaml") else RECIPES / f"semart-{tower}.yaml"
    if not path.is_file():
        allowed = "Allowed are resnet18, efficientnet_b0, vit_tiny and paths of recipes"
        raise ValueError(f"Got the tower {tower!r}, but there is no {path}. {allowed}. Correct --tower.")
    return path


def techniques_of(vision: str, device: str) -> dict[str, dict[str, Any]]:
    """Techniques that serve a timm architecture on a device, by name, with the fields that switch them off."""
    bf16 = computes_bf16(device)
    serves = {"bfloat16": bf16, "freed memory kept": device == "cpu"}
    switched = {name: off for name, off in FIELDS.items() if serves.get(name, True)}
    return switched | {technique.name: {} for technique in useful_for(timm.create_model(vision), device, bf16=bf16)}


def useful_for(tower: torch.nn.Module, device: str, *, bf16: bool) -> tuple[Technique, ...]:
    """Techniques of the trainer's list that serve a vision tower on a device."""
    model: Any = SimpleNamespace(vision_tower=tower, device=torch.device(device))
    return useful_techniques(model, bf16=bf16, techniques=TRAINING_TECHNIQUES)


@contextmanager
def made_data(rows: int, text_config: PreTrainedConfig | None = None, **release: Any) -> Iterator[Path]:
    """A folder with a made release and text tower, removed at the end."""
    print(f"Making {rows} paintings ...", flush=True)
    # A process that was just ended may still write.
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        make_release(Path(folder, "release"), rows, **release)
        make_text_tower(Path(folder, "text_tower"), text_config)
        yield Path(folder)


def make_release(
    folder: Path,
    num_rows: int,
    *,
    picture_size: tuple[int, int] = (1000, 1250),
    picture_bytes: int = 140_000,
    num_backgrounds: int = 24,
) -> int:
    """Mean bytes of a picture of the release that is written in the official layout; SemArt's size by default."""
    (folder / "Images").mkdir(parents=True)
    random = np.random.default_rng(0)
    make_rows(random, num_rows).to_csv(
        folder / "semart_train.csv", sep="\t", quoting=csv.QUOTE_ALL, encoding="cp1252", index=False
    )
    backgrounds = [make_background(random, picture_size, picture_bytes) for _ in range(min(num_rows, num_backgrounds))]

    def write_picture(row: int) -> int:  # a picture of its own, the same each time
        random = np.random.default_rng(row)
        picture, quality = backgrounds[row % len(backgrounds)]
        shifted = np.roll(picture, random.integers(0, picture.shape[:2]), axis=(0, 1))
        tint = random.integers(-LARGEST_TINT, LARGEST_TINT + 1, 3)
        content = as_jpeg(shifted + tint.astype(np.uint8), quality)  # a negative tint wraps round, and back again
        return (folder / "Images" / f"{row:06d}.jpg").write_bytes(content)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return round(sum(threads.map(write_picture, range(num_rows))) / num_rows)


def make_rows(random: np.random.Generator, number: int) -> pd.DataFrame:
    frequencies = 1 / np.arange(1, len(WORDS) + 1)
    frequencies /= frequencies.sum()
    years = random.integers(1300, 1900, number)
    periods = (years - 1) // 50 * 50 + 1
    texts = [" ".join(random.choice(WORDS, length, p=frequencies)) for length in description_lengths(random, number)]
    return pd.DataFrame(
        {
            "IMAGE_FILE": [f"{row:06d}.jpg" for row in range(number)],
            "DESCRIPTION": texts,
            "AUTHOR": [f"Painter {row % 900}" for row in range(number)],
            "TITLE": [f"Title {row}" for row in range(number)],
            "TECHNIQUE": [f"{technique}, 40 x 50 cm" for technique in random.choice(TECHNIQUES, number)],
            "DATE": years,
            "TYPE": random.choice(TYPES, number),
            "SCHOOL": random.choice(SCHOOLS, number),
            "TIMEFRAME": [f"{period}-{period + 49}" for period in periods],
        }
    )


def description_lengths(random: np.random.Generator, number: int) -> np.ndarray:
    sigma = np.log(TOKENS_OF_NINE_IN_TEN / MEDIAN_TOKENS) / QUANTILE_90
    return random.lognormal(np.log(MEDIAN_TOKENS), sigma, number).round().astype(int).clip(5, MOST_TOKENS)


def make_background(random: np.random.Generator, size: tuple[int, int], num_bytes: int) -> tuple[np.ndarray, int]:
    """A picture `(height, width, 3)` with coarse forms and fine texture, and the JPEG quality that fits the bytes."""
    total = np.zeros((size[1], size[0], 3), dtype=np.float32)
    octave = 0
    while (side := 3 << octave) < max(size):
        grid = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(grid.resize(size, Image.Resampling.BILINEAR), dtype=np.float32) / 1.5**octave
        octave += 1
    scaled = np.interp(total, (total.min(), total.max()), (LARGEST_TINT, 255 - LARGEST_TINT)).astype(np.uint8)
    return scaled, max(5, bisect_right(range(1, 96), num_bytes, key=lambda quality: len(as_jpeg(scaled, quality))))


def as_jpeg(picture: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def make_text_tower(folder: Path, config: PreTrainedConfig | None = None) -> None:
    """Write a tower of a configuration, the published DistilBERT's by default, and its tokenizer beside it."""
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    torch.manual_seed(0)
    AutoModel.from_config(config or DistilBertConfig()).save_pretrained(folder)
    DistilBertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512).save_pretrained(folder)
