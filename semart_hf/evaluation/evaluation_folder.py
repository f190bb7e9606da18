"""The folder of an evaluation: what is written into it, what is never overwritten, and what is compared with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Dataset

from semart_hf.files import locked
from semart_hf.model.output_semart import UNKNOWN_LABEL

from .comparison import check_same_rows
from .outcomes import Outcomes
from .predictions import open_predictions, read_predictions, row_names

OUTPUTS = ("predictions.parquet", "results.json", "report.html")


@contextmanager
def evaluation_folder(folder: Path) -> Iterator[Path]:
    """An empty place to write an evaluation to; its files replace an earlier one's when the block ends.

    Raises:
        ValueError: The folder holds files of these names that no evaluation wrote, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Got the --output_dir {folder}, which is a file. A folder is needed. Give another name.")
    found = [name for name in OUTPUTS if (folder / name).exists()]
    if found and not _earlier_files(folder):
        raise ValueError(
            f"Got the --output_dir {folder}, which holds {found} of something else than an evaluation. Allowed is a "
            "new folder, or an earlier evaluation, which is replaced. Give another --output_dir."
        )
    with locked(folder, "an evaluation"):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        for killed in folder.glob(".unfinished.*"):
            shutil.rmtree(killed)
        try:
            # Within the folder: only there is it certain that files can be written and moved.
            with TemporaryDirectory(dir=folder, prefix=".unfinished.") as place:
                yield Path(place)
                written = [path.relative_to(place) for path in Path(place).rglob("*") if path.is_file()]
                for name in set(_earlier_files(folder)) - set(written):
                    (folder / name).unlink(missing_ok=True)
                for name in written:
                    (folder / name).parent.mkdir(exist_ok=True)
                    Path(place, name).replace(folder / name)
        finally:
            if is_new:
                with suppress(OSError):  # not empty: it succeeded
                    folder.rmdir()


def _earlier_files(folder: Path) -> list[Path]:
    """The files that the evaluation in a folder may have written; none where there is no evaluation."""
    try:
        _, tasks = open_predictions(folder / OUTPUTS[0])
    except ValueError:
        return []
    figures = [f"{name}_{task['name']}" for name in ("confusion", "reliability", "risk_coverage") for task in tasks]
    return [*map(Path, OUTPUTS), *(Path("figures", f"{name}.{kind}") for name in figures for kind in ("png", "svg"))]


def read_compared(folder: Path, tasks: list[dict[str, Any]], paintings: Dataset) -> tuple[Outcomes, str]:
    """The outcomes of another evaluation, and its model's name, for a model with these tasks and paintings.

    Raises:
        ValueError: The folder holds no predictions, or those of other paintings or labels.
    """
    others, names = read_predictions(folder / OUTPUTS[0]), [task["name"] for task in tasks]
    columns = [paintings[name] if name in paintings.column_names else [None] * len(paintings) for name in names]
    truth = np.array([[UNKNOWN_LABEL if label is None else label for label in column] for column in columns]).T
    if others.task_names == names and others.num_rows == len(truth):
        # Of paintings whose picture could not be read, and that have no text, the labels do not count.
        found = np.stack([others.task(name).references for name in names], axis=1)
        truth = np.where(found == UNKNOWN_LABEL, UNKNOWN_LABEL, truth)
    expected = Outcomes(tasks)
    expected.add(np.zeros_like(truth), truth, row_names(paintings))
    check_same_rows(expected, others, ("this model", str(folder)))
    try:
        return others, str(json.loads((folder / "results.json").read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, TypeError, KeyError):
        return others, str(folder)
