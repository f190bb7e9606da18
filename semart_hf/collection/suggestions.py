"""Suggestions for every row of a catalogue: computed in parts that survive a kill, written beside the cells."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.files import write_json, write_text

from .own_format import Addition, Catalogue, Cell, Row

#: Rows that are answered together, and that a kill costs.
PART_ROWS = 256
#: What stands beside the cells: of each task, and once.
TASK_COLUMNS = ("suggested", "confidence", "alternatives", "decision")
FILLED_COLUMN = "filled_by_suggestion"
PROBLEM_COLUMN = "suggestion_problem"
_NUM_ALTERNATIVES = 3
_IMAGE_NAMES = (
    "image_file",
    "image",
    "picture",
    "photo",
    "filename",
    "file_name",
    "file",
    "img",
    "image_path",
    "path",
)
_URL_NAMES = ("image_url", "iiif", "iiif_url", "picture_url", "thumbnail", "url")
_TEXT_NAMES = ("text", "description", "painting_description", "comment", "caption", "abstract", "notes")

Answer = dict[str, Any]
Classify = Callable[[list[dict[str, Any]]], list[Answer]]


@dataclass(frozen=True)
class Columns:
    """Which columns of a catalogue are what.

    Attributes:
        image: Names of picture files, or their URLs; `None` where there are no pictures.
        text: Columns that make up the text, in their order.
        tasks: Column of each task whose labels the catalogue has.
    """

    image: str | None
    text: tuple[str, ...]
    tasks: Mapping[str, str]


def guess_columns(columns: Sequence[str], tasks: Sequence[str], *, with_urls: bool = False) -> Columns:
    """The columns that have obvious names, whatever their case: `Image_File`, `DESCRIPTION`, a task's own name.

    A title is the text where there is no description.

    Args:
        columns: Of the catalogue.
        tasks: Names of the model's tasks.
        with_urls: Whether pictures may be given by URL, which are preferred to files then.

    Raises:
        ValueError: If there is neither a picture nor a text.
    """
    found = {column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)}

    def first(names: Iterable[str]) -> str | None:
        return next((found[name] for name in names if name in found), None)

    image = first((*_URL_NAMES, *_IMAGE_NAMES) if with_urls else _IMAGE_NAMES)
    text = first(_TEXT_NAMES) or first(("title", "name"))
    if image is None and text is None:
        raise ValueError(
            f"Got a catalogue with the columns {list(columns)}, none of which is obviously a picture or a text. Name "
            "them: --image_column COLUMN, --text_columns COLUMN [COLUMN …]."
        )
    return Columns(image, () if text is None else (text,), {task: found[task] for task in tasks if task in found})


def check_columns(columns: Columns, catalogue: Catalogue, tasks: Sequence[str]) -> None:
    """Nothing, if the catalogue has the columns, and none that a suggestion would be written to.

    Raises:
        ValueError: If one is missing, or taken.
    """
    named = [name for name in (columns.image, *columns.text, *columns.tasks.values()) if name is not None]
    missing = [name for name in named if name not in catalogue.columns]
    if missing:
        raise ValueError(
            f"Got the column {missing[0]!r}, which {catalogue.path} lacks. Allowed are {catalogue.columns}. Name one."
        )
    taken = [name for name in added_columns(tasks) if name in catalogue.columns]
    if taken:
        raise ValueError(
            f"Got {catalogue.path}, which has the column {taken[0]!r} already. Suggestions are written beside a "
            "catalogue without them. Give the catalogue itself, or rename its columns."
        )


def added_columns(tasks: Sequence[str]) -> list[str]:
    """Names of the columns that are written beside a catalogue's own."""
    return [*(f"{task}_{name}" for task in tasks for name in TASK_COLUMNS), FILLED_COLUMN, PROBLEM_COLUMN]


def painting_of(
    row: Row, columns: Columns, folder: Path, fetch: Callable[[str], bytes] | None = None
) -> dict[str, Any]:
    """What the pipeline is asked about a row: `image` and `text` that there are.

    Args:
        row: Of the catalogue.
        columns: Which of its columns are what.
        folder: Of the pictures.
        fetch: Gets the picture of a URL; `None`: none is fetched.

    Raises:
        ValueError: If the row cannot be read, or has neither picture nor text.
        OSError: If a picture cannot be fetched.
    """
    if row.problem is not None:
        raise ValueError(row.problem)
    text = "\n".join(value for column in columns.text if (value := row.cells.get(column)))
    painting: dict[str, Any] = {"text": text} if text else {}
    name = row.cells.get(columns.image) if columns.image else None
    if name and name.lower().startswith(("http://", "https://")):
        if fetch is None:
            if not text:
                raise ValueError(f"The picture is a URL, {name}. It is fetched with --fetch_pictures.")
        else:
            painting["image"] = fetch(name)
    elif name:
        found = find_picture(str(folder), name)
        if isinstance(found, tuple):
            raise ValueError(found[1])
        painting["image"] = str(found)
    if not painting:
        raise ValueError("The row has neither a picture nor a text.")
    return painting


def addition_of(
    answer: Answer,
    row: Row,
    columns: Columns,
    tasks: Sequence[str],
    thresholds: Mapping[str, float | None],
    *,
    fill: bool,
) -> Addition:
    """What is written beside a row.

    Args:
        answer: Of the pipeline: ranked labels by task, or `error`.
        row: Of the catalogue.
        columns: Which of its columns are what.
        tasks: Names of the model's tasks.
        thresholds: By task the confidence from which a suggestion is accepted; `None`: from none; a task that is left
            out was not calibrated.
        fill: Whether accepted suggestions go into the task's empty cells.
    """
    if isinstance(answer.get("error"), str):
        return Addition([*[""] * len(tasks) * len(TASK_COLUMNS), "", answer["error"]])
    cells: list[Cell] = []
    filled = {}
    for task in tasks:
        best, *others = answer[task]
        column = columns.tasks.get(task)
        if column is not None and row.cells.get(column):
            decision = "known"
        elif task not in thresholds:
            decision = "not calibrated"
        else:
            least = thresholds[task]
            decision = "accepted" if least is not None and best["score"] >= least else "unsure"
        if fill and column is not None and decision == "accepted":
            filled[column] = best["label"]
        alternatives = " | ".join(f"{other['label']} {other['score']:.2f}" for other in others)
        cells += [best["label"], round(best["score"], 4), alternatives, decision]
    return Addition([*cells, " ".join(filled), ""], filled)


def suggest(
    catalogue: Catalogue,
    output: Path,
    classify: Classify,
    paintings: Callable[[Row], dict[str, Any]],
    additions: Callable[[Answer, Row], Addition],
    tasks: Sequence[str],
    identity: Mapping[str, Any],
    *,
    process_index: int = 0,
    num_processes: int = 1,
    wait_for_everyone: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write a catalogue with suggestions, and return how many rows were answered, and how many were not.

    The answers are kept in a hidden folder beside the output, `PART_ROWS` rows a file, until the output is written:
    the same command continues there, with as many processes as it then has.

    Args:
        catalogue: What is read and written.
        output: The new file.
        classify: The pipeline's answers to a list of paintings, an error in the place of each that cannot be read.
        paintings: What is asked about a row; an error of it is that row's answer.
        additions: What is written beside a row.
        tasks: Names of the model's tasks.
        identity: All that an answer depends on: answers of another identity are not continued.
        process_index: Which of the processes this is; the first writes the output.
        num_processes: How many share the work.
        wait_for_everyone: Returns when all of them have called it.
    """
    folder = output.with_name(f".{output.name}.answers")
    manifest = {"part_rows": PART_ROWS, **identity}
    if process_index == 0:
        _begin(folder, manifest)
    wait_for_everyone()
    num_rows = sum(1 for _ in catalogue.rows())
    missing = [number for number in range(-(-num_rows // PART_ROWS)) if not _part(folder, number).is_file()]
    wait_for_everyone()  # before anybody writes what another might still look for
    mine = set(missing[process_index::num_processes])
    total = sum(min(PART_ROWS, num_rows - number * PART_ROWS) for number in mine)
    with tqdm(total=total, unit="row", disable=process_index > 0) as bar:
        for number, rows in enumerate(_parts(catalogue.rows())):
            if number in mine:
                answers = _answers(rows, classify, paintings)
                lines = (json.dumps(answer, ensure_ascii=False) for answer in answers)
                write_text(_part(folder, number), "\n".join(lines) + "\n")
                bar.update(len(rows))
    wait_for_everyone()
    counts = {"answered": 0, "failed": 0}
    if process_index == 0:
        stored = _stored(folder, -(-num_rows // PART_ROWS))

        def beside() -> Iterator[Addition]:
            for row, answer in zip(catalogue.rows(), stored, strict=True):
                counts["failed" if isinstance(answer.get("error"), str) else "answered"] += 1
                yield additions(answer, row)

        catalogue.write(output, added_columns(tasks), beside())
        shutil.rmtree(folder)
    wait_for_everyone()
    return counts


def identity_of(catalogue: Catalogue, model: Any, columns: Columns, **options: Any) -> dict[str, Any]:
    """All that the answers to a catalogue's rows depend on, as JSON.

    Args:
        catalogue: Its bytes count.
        model: Its weights and configuration count.
        columns: Which column is what.
        **options: Whatever else answers depend on.
    """
    digest = hashlib.blake2b(digest_size=16)
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    content = hashlib.blake2b(digest_size=16)
    with catalogue.path.open("rb") as file:
        while piece := file.read(1 << 20):
            content.update(piece)
    return {
        "model": digest.hexdigest(),
        "catalogue": content.hexdigest(),
        "columns": json.loads(json.dumps(asdict(columns))),
        **options,
    }


def _begin(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make the folder of answers, or leave that of the same work as it is; one of other work goes."""
    path = folder / "manifest.json"
    try:
        if json.loads(path.read_text(encoding="utf-8")) == manifest:
            return
    except (OSError, ValueError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(path, manifest)


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while part := list(islice(rows, PART_ROWS)):
        yield part


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jsonl"


def _answers(rows: Sequence[Row], classify: Classify, paintings: Callable[[Row], dict[str, Any]]) -> list[Answer]:
    """The answer to each row, or its error."""
    answers: list[Answer | None] = []
    asked = []
    for row in rows:
        try:
            asked.append(paintings(row))
            answers.append(None)
        except (ValueError, OSError) as error:
            answers.append({"error": str(error)})
    found = iter(classify(asked) if asked else [])
    return [next(found) if answer is None else answer for answer in answers]


def _stored(folder: Path, num_parts: int) -> Iterator[Answer]:
    for number in range(num_parts):
        with _part(folder, number).open(encoding="utf-8") as file:
            yield from map(json.loads, file)
