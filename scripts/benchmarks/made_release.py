"""A release as large as SemArt, made by program: its pictures' size and detail, its texts' lengths, its labels."""

from __future__ import annotations

import csv
import io
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.guarded import end_with_parent

COLUMNS = ["IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME"]
PICTURE_SIZE = (1000, 1250)
PICTURE_BYTES = 140_000
NUM_BACKGROUNDS = 24
LARGEST_TINT = 8  # either way, of 255

# Words a description: a log-normal law with SemArt's median and 90th percentile, cut at its longest text.
MEDIAN_WORDS, WORDS_OF_NINE_IN_TEN, MOST_WORDS = 66, 212, 797
QUANTILE_90 = 1.2816  # of the standard normal law

TYPES = ("portrait", "landscape", "religious", "mythological", "genre", "still-life", "historical", "study", "other")
SCHOOLS = ("Italian", "Dutch", "French", "Flemish", "German", "Spanish", "English", "Netherlandish", "Austrian")
TECHNIQUES = ("Oil on canvas", "Oil on panel", "Fresco", "Oil on copper", "Tempera on wood", "Watercolour on paper")

SYLLABLES = tuple(c + v + e for c in "bcdfglmnprstv" for v in "aeiou" for e in ("", "n", "r", "s"))
# So many of the made words are entries of the tokenizer; the others fall apart, so that a word has 1.3 tokens as
# SemArt's have in BERT's vocabulary.
NUM_WORDS, NUM_WHOLE_WORDS = 6000, 2200


def make_release(
    folder: Path,
    num_rows: int,
    *,
    num_validation_rows: int = 0,
    picture_size: tuple[int, int] = PICTURE_SIZE,
    picture_bytes: int = PICTURE_BYTES,
    num_backgrounds: int = NUM_BACKGROUNDS,
    seed: int = 0,
) -> dict[str, float]:
    """What the made release is like: mean bytes of a picture, and words of a description.

    The layout is the official one. Each row has a picture of its own, made of one of the backgrounds: of few, many
    pictures look alike where they are small. Equal seeds give equal files.
    """
    random = np.random.default_rng(seed)
    (folder / "Images").mkdir(parents=True)
    backgrounds = [make_background(random, picture_size, picture_bytes) for _ in range(min(num_rows, num_backgrounds))]
    total = num_rows + num_validation_rows
    words = make_words(np.random.default_rng(0))  # the tokenizer's, whatever the seed
    frequencies = 1 / np.arange(1, len(words) + 1)
    frequencies /= frequencies.sum()
    lengths = description_lengths(random, total)
    splits = {"train": range(num_rows), "val": range(num_rows, total)}
    for split, rows in splits.items():
        if not rows:
            continue
        with (folder / f"semart_{split}.csv").open("w", newline="", encoding="cp1252") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
            writer.writerow(COLUMNS)
            for row in rows:
                text = make_description(random, words, frequencies, int(lengths[row]))
                writer.writerow([f"{row:06d}.jpg", text, f"Painter {row % 900}", f"Title {row}", *make_labels(random)])
    workers = max(1, min(len(os.sched_getaffinity(0)), total // 64))
    with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
        write = partial(write_pictures, folder / "Images", backgrounds, seed)
        sizes = list(pool.map(write, np.array_split(np.arange(total), workers)))
    return {
        "rows": num_rows,
        "picture_bytes": round(sum(sizes) / total),
        "median_words": float(np.median(lengths)),
        "mean_words": round(float(lengths.mean()), 1),
        "most_words": int(lengths.max()),
    }


def description_lengths(random: np.random.Generator, num_rows: int) -> np.ndarray:
    """Words of each description, at least 5."""
    spread = np.log(WORDS_OF_NINE_IN_TEN / MEDIAN_WORDS) / QUANTILE_90
    lengths = np.exp(random.normal(np.log(MEDIAN_WORDS), spread, num_rows))
    return lengths.round().astype(int).clip(5, MOST_WORDS)


def make_words(random: np.random.Generator) -> list[str]:
    """Words of one to four syllables, the most frequent first."""
    words: dict[str, None] = {}
    while len(words) < NUM_WORDS:
        words["".join(random.choice(SYLLABLES, random.integers(1, 5)))] = None
    return list(words)


def make_description(random: np.random.Generator, words: list[str], frequencies: np.ndarray, num_words: int) -> str:
    """Sentences of about 15 words."""
    chosen = [words[index] for index in random.choice(len(words), num_words, p=frequencies)]
    sentences = [" ".join(chosen[start : start + 15]).capitalize() for start in range(0, num_words, 15)]
    return ". ".join(sentences) + "."


def make_labels(random: np.random.Generator) -> list[str]:
    """Technique, date, type, school and timeframe of a row."""
    year = int(random.integers(1300, 1900))
    start = (year - 1) // 50 * 50 + 1
    return [
        f"{random.choice(TECHNIQUES)}, {random.integers(20, 200)} x {random.integers(20, 200)} cm",
        str(year),
        str(random.choice(TYPES)),
        str(random.choice(SCHOOLS)),
        f"{start}-{start + 49}",
    ]


def make_background(random: np.random.Generator, size: tuple[int, int], num_bytes: int) -> tuple[np.ndarray, int]:
    """A picture `(height, width, 3)` with coarse forms and fine texture, and the JPEG quality that fits the bytes."""
    total = np.zeros((size[1], size[0], 3), dtype=np.float32)
    octave = 0
    while 3 << octave < max(size):
        grid = random.integers(0, 256, (3 << octave, 3 << octave, 3), dtype=np.uint8)
        patches = Image.fromarray(grid).resize(size, Image.Resampling.BILINEAR)
        total += np.asarray(patches, dtype=np.float32) / 1.5**octave
        octave += 1
    darkest, brightest = LARGEST_TINT, 255 - LARGEST_TINT
    picture = (darkest + (total - total.min()) * (brightest - darkest) / np.ptp(total)).astype(np.uint8)
    low, high = 5, 95
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(as_jpeg(picture, middle)) <= num_bytes else (low, middle - 1)
    return picture, low


def as_jpeg(picture: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def write_pictures(images: Path, backgrounds: list[tuple[np.ndarray, int]], seed: int, rows: np.ndarray) -> int:
    """Bytes of the pictures that were written: each row's is a background, shifted and tinted in its own way."""
    num_bytes = 0
    for row in rows.tolist():
        random = np.random.default_rng((seed, row))
        picture, quality = backgrounds[row % len(backgrounds)]
        shifted = np.roll(picture, random.integers(0, picture.shape[:2]), axis=(0, 1))
        tint = random.integers(-LARGEST_TINT, LARGEST_TINT + 1, 3)
        content = as_jpeg(shifted + tint.astype(np.uint8), quality)  # a negative tint wraps round, and back again
        (images / f"{row:06d}.jpg").write_bytes(content)
        num_bytes += len(content)
    return num_bytes


def make_text_tower(folder: Path, **sizes: int) -> None:
    """Write a DistilBERT, as large as the published one unless `sizes` say otherwise, a tokenizer of made words."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel, DistilBertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *letters, *(f"##{c}" for c in letters)]
    entries += [*make_words(np.random.default_rng(0))[:NUM_WHOLE_WORDS], *SYLLABLES, *(f"##{s}" for s in SYLLABLES)]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    torch.manual_seed(0)
    DistilBertModel(DistilBertConfig(**{"vocab_size": max(30_522, len(vocabulary)), **sizes})).save_pretrained(folder)
    DistilBertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512).save_pretrained(folder)
