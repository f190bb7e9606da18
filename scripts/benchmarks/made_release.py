"""A release as large as SemArt, made by program: its pictures' size and detail, its texts' lengths, its labels."""

import csv
import io
import os
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

LARGEST_TINT = 8  # either way, of 255
# Tokens a description: a log-normal law with SemArt's median and 90th percentile, cut at its longest text.
MEDIAN_TOKENS, TOKENS_OF_NINE_IN_TEN, MOST_TOKENS = 86, 278, 1044
QUANTILE_90 = 1.2816  # of the standard normal law
WORDS = [f"word{number}" for number in range(6000)]  # each a token, the most frequent first
TYPES = ("portrait", "landscape", "religious", "mythological", "genre", "still-life", "historical", "study", "other")
SCHOOLS = ("Italian", "Dutch", "French", "Flemish", "German", "Spanish", "English", "Netherlandish", "Austrian")
TECHNIQUES = ("Oil on canvas", "Oil on panel", "Fresco", "Oil on copper", "Tempera on wood", "Watercolour on paper")


def make_release(
    folder: Path,
    num_rows: int,
    *,
    picture_size: tuple[int, int] = (1000, 1250),
    picture_bytes: int = 140_000,
    num_backgrounds: int = 24,
) -> int:
    """Mean bytes of a picture of the release that is written in the official layout, the same each time.

    Each row has a picture of its own: a background, shifted and tinted in its own way. Of few backgrounds, many
    pictures look alike where they are small.
    """
    (folder / "Images").mkdir(parents=True)
    random = np.random.default_rng(0)
    make_rows(random, num_rows).to_csv(
        folder / "semart_train.csv", sep="\t", quoting=csv.QUOTE_ALL, encoding="cp1252", index=False
    )
    backgrounds = [make_background(random, picture_size, picture_bytes) for _ in range(min(num_rows, num_backgrounds))]

    def write_picture(row: int) -> int:
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


def make_text_tower(folder: Path, config: Any = None, **sizes: int) -> None:
    """Write a tower of a configuration, else a DistilBERT, as large as the published one unless `sizes` say otherwise.

    Its tokenizer is beside it.
    """
    import torch
    from transformers import AutoModel, DistilBertConfig, DistilBertTokenizer

    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    torch.manual_seed(0)
    AutoModel.from_config(config or DistilBertConfig(**sizes)).save_pretrained(folder)
    DistilBertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512).save_pretrained(folder)
