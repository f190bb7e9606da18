"""The rows of the proof on real paintings: two releases joined, copies found, and divided into folds."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from semart_hf.catalogue.catalogue import RELEASE_FILES, read_rows
from semart_hf.files import write_text
from semart_hf.preparation.prepared_pictures import picture_signature

NUM_FOLDS = 5
FOLDS_SEED = 0
LABELS = ("TYPE", "SCHOOL", "TIMEFRAME", "TECHNIQUE")
COLUMNS = ("IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME")
# Files beside a release, of which one corrects its labels, and either may name the work that a picture shows.
CORRECTIONS, SOURCES = "relabelled.csv", "sources.csv"
# Twice what the preparation takes for copies: a painter's versions, and details of one painting, too.
NEAR_BITS = 64


def joined_rows(releases: Sequence[Path], folder: Path) -> pd.DataFrame:
    """The rows of all releases with the `COLUMNS`, `work`, `group` and `fold`; their pictures come to `folder`/Images.

    A release's labels are corrected by its relabelled.csv, where it has one.

    Raises:
        ValueError: Two releases have a picture of one name.
    """
    parts = []
    for release in releases:
        rows = pd.concat([split.to_pandas() for split in read_rows(release).splits.values()], ignore_index=True)
        rows = rows.rename(columns=str.upper).assign(release=release.name, work="").fillna("")
        for name in (CORRECTIONS, SOURCES):
            if (release / name).is_file():
                others = pd.read_csv(release / name, dtype=str, keep_default_na=False).set_index("IMAGE_FILE")
                for column in LABELS if name == CORRECTIONS else ():
                    better = rows["IMAGE_FILE"].map(others[column]).fillna("")
                    rows[column] = better.where(better != "", rows[column])
                rows["work"] = rows["IMAGE_FILE"].map(others["semart_file"]).fillna(rows["work"])
        parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    if twice := table["IMAGE_FILE"][table["IMAGE_FILE"].duplicated()].tolist():
        raise ValueError(f"Got {twice[:3]} in two of {list(map(str, releases))}. A picture has a name of its own.")
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    for source, name in zip(table["IMAGES_FOLDER"], table["IMAGE_FILE"], strict=True):
        if not (folder / "Images" / name).exists():
            shutil.copyfile(Path(source, name), folder / "Images" / name)
    table = table[[*COLUMNS, "release", "work"]]
    table["group"] = groups_of(table, folder / "Images")
    table["fold"] = folds_of(table)
    return table


def groups_of(table: pd.DataFrame, images: Path) -> npt.NDArray[np.int32]:
    """A number for each row, the same for rows of one work, of one title or of pictures that are nearly the same."""
    bits = []
    for name in table["IMAGE_FILE"]:
        with Image.open(images / name) as picture:
            signature = np.frombuffer(picture_signature(picture.convert("RGB")), dtype=np.uint8)
        bits.append(2 * np.unpackbits(signature).astype(np.float32) - 1)
    signs = np.stack(bits)
    is_same = signs @ signs.T >= signs.shape[1] - 2 * NEAR_BITS
    for column in ("work", "TITLE"):
        values = np.array([" ".join(value.casefold().split()) for value in table[column]], dtype=object)
        is_same |= (values[:, None] == values[None]) & (values != "")
    found: npt.NDArray[np.int32] = connected_components(is_same, directed=False)[1]
    return found


def folds_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The fold of each row: groups stay together, and each fold has its share of every label, as far as they allow.

    Rows are stratified by their rarest kind of label that is known: school, else timeframe, else technique, else type.
    """
    strata = np.full(len(table), "", dtype=object)
    for column in ("TYPE", "TECHNIQUE", "TIMEFRAME", "SCHOOL"):
        values = table[column].to_numpy(dtype=object)
        strata = np.where(values != "", column + values, strata)
    folds = np.full(len(table), -1)
    divider = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=FOLDS_SEED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, rows) in enumerate(divider.split(strata, strata, table["group"])):
            folds[rows] = fold
    return folds


def divided(table: pd.DataFrame, fold: int, num_rows: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and judged rows of a fold; of the training rows so many at random, smaller numbers within larger.

    The order of the training rows is random in any case, and the fold is its seed.
    """
    order = np.random.default_rng(fold).permutation(np.flatnonzero(table["fold"] != fold))
    return table.iloc[order[:num_rows]], table[table["fold"] == fold]


def write_release(folder: Path, images: Path, **splits: pd.DataFrame) -> Path:
    """A release of the rows of each split, whose pictures are links to the files in `images`."""
    (folder / "Images").mkdir(parents=True)
    for split, rows in splits.items():
        content = rows[list(COLUMNS)].to_csv(sep="\t", index=False, quoting=1)
        write_text(folder / RELEASE_FILES[split], content)
        for name in rows["IMAGE_FILE"]:
            os.link(images / name, folder / "Images" / name)
    return folder


def digest_of(table: pd.DataFrame) -> str:
    """What the rows, their labels and their folds are, in 16 hexadecimal digits."""
    return hashlib.blake2b(table.to_csv(index=False).encode(), digest_size=8).hexdigest()
