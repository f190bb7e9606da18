"""Suggestions for every row of a catalogue: computed in parts that survive a kill, written beside the cells."""

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.files import full_disk_explained, locked, write_json, write_text
from semart_hf.model.pipeline_semart import error_of

from .own_format import Addition, Catalogue, Cell, Row

#: Rows that are answered together, and that a kill costs.
PART_ROWS = 256
DECISIONS = ("known", "accepted", "unsure", "not calibrated")
# What stands beside the cells: of each task, and once.
_TASK_COLUMNS = ("suggested", "confidence", "alternatives", "decision")
_ROW_COLUMNS = ("filled_by_suggestion", "suggestion_problem")
_IMAGE_NAMES = (
    "image_file", "image", "picture", "photo", "filename", "file_name", "file", "img", "image_path", "path",
)  # fmt: skip
_URL_NAMES = ("image_url", "iiif", "iiif_url", "picture_url", "thumbnail", "url")
_TEXT_NAMES = ("text", "description", "painting_description", "comment", "caption", "abstract", "notes")


class Answer(NamedTuple):
    """Ranked labels by task, if there is an answer; and why there is none, or why its picture was left out."""

    predictions: dict[str, Any] | None
    problem: str


class Columns(NamedTuple):
    """Which columns of a catalogue are what.

    Attributes:
        image: Names of picture files, or their URLs; `None` where there are no pictures.
        text: Columns that make up the text, in their order.
        tasks: Column of each task whose labels the catalogue has.
        separators: By task with several labels, what stands between them in a cell.
    """

    image: str | None
    text: tuple[str, ...]
    tasks: Mapping[str, str]
    separators: Mapping[str, str] = {}


def find_columns(
    catalogue: Catalogue,
    tasks: Sequence[str],
    *,
    image: str | None = None,
    text: Sequence[str] | None = None,
    with_urls: bool = False,
    has_suggestions: bool = False,
) -> Columns:
    """The columns that have obvious names, whatever their case: `Image_File`, `DESCRIPTION`, a task's own name.

    A title is the text where there is no description.

    Args:
        catalogue: It has none of the columns that a suggestion is written to, unless it `has_suggestions`.
        tasks: Names of the model's tasks.
        image: The column of pictures; empty: there are none; `None`: it is guessed.
        text: The columns of text, likewise.
        with_urls: Whether pictures may be given by URL, which are preferred to files then.
        has_suggestions: Whether they are in it.
    """
    names = catalogue.columns
    found = {column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in reversed(names)}

    def first(names: Iterable[str]) -> str | None:
        return next((found[name] for name in names if name in found), None)

    if image is None:
        image = first((*_URL_NAMES, *_IMAGE_NAMES) if with_urls else _IMAGE_NAMES)
    image = image or None
    texts = tuple(text or filter(None, [first((*_TEXT_NAMES, "title", "name"))]))
    if image is None and not texts and not catalogue.has_pictures:
        raise ValueError(
            f"Got a catalogue with the columns {names}, none of which is obviously a picture or a text. Name them: "
            "--image_column COLUMN, --text_columns COLUMN [COLUMN …]."
        )
    missing = [name for name in (image, *texts) if name is not None and name not in names]
    if missing:
        raise ValueError(
            f"Got the column {missing[0]!r}, which {catalogue.path} lacks. Allowed are {names}. Name one."
        )
    taken = [name for name in added_columns(tasks) if name in names]
    if taken and not has_suggestions:
        raise ValueError(
            f"Got {catalogue.path}, which has the column {taken[0]!r} already. Suggestions are written beside a "
            "catalogue without them. Give the catalogue itself, or rename its columns."
        )
    return Columns(image, texts, {task: found[task] for task in tasks if task in found})


def added_columns(tasks: Sequence[str]) -> list[str]:
    """Names of the columns that are written beside a catalogue's own."""
    return [*(f"{task}_{name}" for task in tasks for name in _TASK_COLUMNS), *_ROW_COLUMNS]


def painting_of(
    row: Row, columns: Columns, folder: Path, fetch: Callable[[str], bytes] | None = None
) -> tuple[dict[str, Any], str | None]:
    """What the pipeline is asked about a row, `image` of folder or URL and `text`, and why there is no picture."""
    if row.problem is not None:
        raise ValueError(row.problem)
    text = "\n".join(value for column in columns.text if (value := row.cells.get(column)))
    name = row.cells.get(columns.image) if columns.image else None
    painting: dict[str, Any] = {"text": text} if text else {}
    problem = None
    own = row.picture() if row.picture else None
    if own is not None:
        painting["image"] = own
    elif name and name.lower().startswith(("http://", "https://")):
        try:
            if fetch is None:
                raise OSError(f"The picture is a URL, {name}. It is fetched with --fetch_pictures.")
            content = fetch(name)
            # On disk: the pictures of a part would take gigabytes of memory. The file is gone with the painting.
            file = tempfile.TemporaryFile(prefix="semart_hf-")  # noqa: SIM115
            file.write(content)
            painting["image"] = file
        except OSError as error:
            problem = str(error)
    elif name:
        found = find_picture(str(folder), name)
        if isinstance(found, Path):
            painting["image"] = str(found)
        else:
            problem = found[1]
    if not painting:
        raise ValueError(problem or "The row has neither a picture nor a text.")
    return painting, problem


def thresholds_at(
    risk: float, confidence_risks: Mapping[str, Sequence[Sequence[float]]] | None
) -> dict[str, float | None]:
    """By task the lowest confidence at which no larger share of the accepted answers is wrong; `None`: there is none.

    `confidence_risks` are those of a model's config; tasks that it lacks are left out.

    Example:
        >>> thresholds_at(0.05, {"type": [[0.9, 0.0], [0.7, 0.04], [0.3, 0.2]]})
        {'type': 0.7}
    """
    return {
        task: next((confidence for confidence, share in reversed(points) if share <= risk), None)
        for task, points in (confidence_risks or {}).items()
    }


def addition_of(
    answer: Answer,
    row: Row,
    columns: Columns,
    tasks: Sequence[str],
    thresholds: Mapping[str, float | None],
    *,
    fill: Container[str] = (),
) -> Addition:
    """What is written beside a row; accepted suggestions also go into empty cells of the columns in `fill`.

    A task without a threshold was not calibrated; one whose threshold is `None` has no suggestion accepted.
    """
    if answer.predictions is None:
        return Addition([*[""] * len(tasks) * len(_TASK_COLUMNS), "", answer.problem])
    cells: list[Cell] = []
    filled = {}
    for task in tasks:
        best, *others = answer.predictions[task]
        column, least = columns.tasks.get(task), thresholds.get(task)
        if column is not None and row.cells.get(column):
            decision = "known"
        elif task not in thresholds:
            decision = "not calibrated"
        else:
            is_sure = best["label"] and least is not None and best["score"] >= least
            decision = "accepted" if is_sure else "unsure"
        if column is not None and column in fill and decision == "accepted":
            filled[column] = best["label"]
        alternatives = " | ".join(f"{other['label']} {other['score']:.2f}" for other in others)
        cells += [best["label"], round(best["score"], 4), alternatives, decision]
    return Addition([*cells, " ".join(filled), answer.problem], filled)


def suggest(
    catalogue: Catalogue,
    output: Path,
    classify: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    painting_of: Callable[[Row], tuple[dict[str, Any], str | None]],
    addition_of: Callable[[Answer, Row], Addition],
    tasks: Sequence[str],
    identity: Mapping[str, Any],
    state: Any,
) -> Counter[str]:
    """Write a catalogue with suggestions.

    The answers are kept in a hidden folder beside the output, `PART_ROWS` rows a file, until the output is written:
    the same command continues there, with as many processes as it then has.

    Args:
        classify: The pipeline's answers to a list of paintings, an error in the place of each that cannot be read.
        painting_of: What is asked about a row; a ValueError is that row's answer.
        identity: All that an answer depends on: answers of another identity are not continued.
        state: Accelerate's, of the processes that share the work; the first writes the output.

    Returns:
        How many rows were `answered`, of these `without_picture` because theirs cannot be read, how many `failed`,
        and how often `TASK DECISION` was written.
    """
    folder, is_first = output.with_name(f".{output.name}.answers"), state.process_index == 0
    counts: Counter[str] = Counter(answered=0, failed=0, without_picture=0)

    def part(number: int) -> Path:
        return folder / f"{number:06d}.jsonl"

    def additions() -> Iterator[Addition]:
        answers = (
            Answer(*json.loads(line)) for number in range(num_parts) for line in part(number).read_bytes().splitlines()
        )
        for row, answer in zip(catalogue.rows(), answers, strict=True):
            counts["failed" if answer.predictions is None else "answered"] += 1
            counts["without_picture"] += answer.predictions is not None and answer.problem != ""
            addition = addition_of(answer, row)
            counts.update(f"{task} {cell}" for task, cell in zip(tasks, addition.added[3::4], strict=True))
            yield addition

    alone = locked(folder, "suggesting labels") if is_first else nullcontext()
    with alone, full_disk_explained(output.parent, "What is answered is kept. Make room and give the same command."):
        if is_first:
            begin_or_continue(folder, {"part_rows": PART_ROWS, **identity})
        state.wait_for_everyone()
        num_rows = sum(1 for _ in catalogue.rows())
        num_parts = -(-num_rows // PART_ROWS)
        missing = [number for number in range(num_parts) if not part(number).is_file()]
        state.wait_for_everyone()  # before anybody writes what another might still look for
        mine = set(missing[state.process_index :: state.num_processes])
        rows = catalogue.rows()
        with tqdm(total=min(num_rows, len(mine) * PART_ROWS), unit="row", disable=not is_first) as bar:
            for number in range(num_parts):
                some = list(islice(rows, PART_ROWS))
                if number in mine:
                    answers = answer_rows(some, classify, painting_of)
                    write_text(part(number), "".join(json.dumps(answer) + "\n" for answer in answers))
                    bar.update(len(some))
        state.wait_for_everyone()
        if is_first:
            catalogue.write(output, added_columns(tasks), additions())
            shutil.rmtree(folder)
        state.wait_for_everyone()
    return counts


def identity_of(catalogue: Catalogue, model: Any, columns: Columns, **options: Any) -> dict[str, Any]:
    """All that the answers to a catalogue's rows depend on, as JSON: its bytes, the model, and the options."""
    settings = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    digest = hashlib.blake2b(f"{digest_of_weights(model)} {settings}".encode(), digest_size=16).hexdigest()
    chosen = json.loads(json.dumps(columns))
    return {"model": digest, "catalogue": catalogue.digest(), "columns": chosen, **options}


def digest_of_weights(model: Any) -> str:
    """Of the bytes of a model's tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def begin_or_continue(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make a folder of answers, or leave that of the same work as it is; one of other work goes."""
    path = folder / "manifest.json"
    try:
        if json.loads(path.read_text(encoding="utf-8")) == manifest:
            return
    except (OSError, ValueError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(path, manifest)


def answer_rows(rows: Sequence[Row], classify: Callable[..., Any], painting_of: Callable[..., Any]) -> list[Answer]:
    """The answer to each row: by its text alone where its picture cannot be read."""
    asked: dict[int, dict[str, Any]] = {}
    answers = []
    for place, row in enumerate(rows):
        try:
            asked[place], problem = painting_of(row)
        except ValueError as error:
            problem = str(error)
        answers.append(Answer(None, printable(problem or "")))
    while asked:
        again: dict[int, dict[str, Any]] = {}
        for place, predictions in zip(asked, classify(list(asked.values())), strict=True):
            reason = error_of(predictions)
            if reason is None:
                answers[place] = Answer(predictions, answers[place].problem)
                continue
            answers[place] = Answer(None, printable(reason))
            if asked[place].keys() == {"image", "text"}:
                again[place] = {"text": asked[place]["text"]}
        asked = again
    return answers


def printable(text: str) -> str:
    """The text in signs that every format can hold: a file's name may have bytes that are no UTF-8, and tabs."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", readable(text))


def readable(text: str) -> str:
    """The text with an escape for a byte that is no UTF-8, which neither SQLite nor a browser takes."""
    return text.encode("utf-8", "backslashreplace").decode()
