"""Suggestions for every row of a catalogue: computed in parts that survive a kill, written beside the cells."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from semart_hf.files import full_disk_explained, locked, read_json, write_json, write_text
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.loading_semart import digest_of_weights
from semart_hf.model.pipeline_semart import answer_of, error_of

from .own_format import Addition, Cell, Row, printable
from .sources import FILLED_SEPARATOR, Source, added_columns, joined, separators_of

#: Rows that are answered together, and that a kill costs.
PART_ROWS = 256
NUM_ALTERNATIVES = 3
DECISIONS = ("known", "accepted", "unsure", "not calibrated")
Asked = list[dict[str, Any]]
Classify = Callable[[Asked], Asked]


class Answer(NamedTuple):
    """Ranked labels by task, if there is an answer; and why there is none, or why its picture was left out."""

    predictions: dict[str, Any] | None
    problem: str


def thresholds_at(risk: float, confidence_risks: dict[str, list[list[float]]] | None) -> dict[str, float | None]:
    """By task the lowest confidence, if any, at which no larger share of the accepted answers is wrong."""
    return {
        task: next((confidence for confidence, share in reversed(points) if share <= risk), None)
        for task, points in (confidence_risks or {}).items()
    }


def in_one_cell(predictions: dict[str, Any], tasks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The pipeline's answer by task with few alternatives; several labels become one entry, joined as in a cell.

    All labels must be ranked in it. The score of several is how probable it is that they are exactly these.
    """
    found = dict(predictions)
    for task in tasks:
        ranked = predictions[task["name"]]
        if is_multi_label(task):
            chosen, confidence = answer_of([(one["label"], one["score"]) for one in ranked], task)
            first = {"label": joined(chosen, separators_of([task])[task["name"]]), "score": confidence}
            ranked = [first, *(one for one in ranked if one["label"] not in chosen)]
        found[task["name"]] = ranked[: 1 + NUM_ALTERNATIVES]
    return found


class Suggester(NamedTuple):
    """What suggestions are for, and from which confidence on they are accepted.

    A task without a threshold was not calibrated; one whose threshold is `None` has no suggestion accepted.
    """

    source: Source
    tasks: Sequence[str]
    thresholds: Mapping[str, float | None] = {}
    fill: Container[str] = ()  # columns whose empty cells get accepted suggestions, too

    def addition(self, answer: Answer, row: Row) -> Addition:
        """What is written beside a row."""
        if answer.predictions is None:
            return Addition([*[""] * (len(added_columns(self.tasks)) - 1), answer.problem])
        cells: list[Cell] = []
        filled = {}
        for task in self.tasks:
            best, *others = answer.predictions[task]
            column, least = self.source.label_columns.get(task), self.thresholds.get(task)
            if self.source.cell(row, task):
                decision = "known"
            elif task not in self.thresholds:
                decision = "not calibrated"
            else:
                is_sure = best["label"] and least is not None and best["score"] >= least
                decision = "accepted" if is_sure else "unsure"
            if column is not None and column in self.fill and decision == "accepted":
                filled[column] = best["label"]
            alternatives = " | ".join(f"{other['label']} {other['score']:.2f}" for other in others)
            cells += [best["label"], round(best["score"], 4), alternatives, decision]
        return Addition([*cells, FILLED_SEPARATOR.join(filled), answer.problem], filled)

    def suggest(self, output: Path, classify: Classify, identity: Mapping[str, Any], state: Any) -> Counter[str]:
        """Write a catalogue with suggestions; how many rows were `answered`, of these `without_picture`, and `failed`.

        It also counts how often `TASK DECISION` was written. The answers are kept in a hidden folder beside the
        output, `PART_ROWS` rows a file, until that is written: the same command continues there, unless another
        `identity` says that its answers would differ, with as many processes as its `state` then has.
        """
        folder, is_first = output.with_name(f".{output.name}.answers"), state.process_index == 0
        counts: Counter[str] = Counter(answered=0, failed=0, without_picture=0)

        def additions() -> Iterator[Addition]:
            lines = (line for part in parts for line in part.read_bytes().splitlines())
            for row, line in zip(self.source.rows(), lines, strict=True):
                answer = Answer(*json.loads(line))
                counts["failed" if answer.predictions is None else "answered"] += 1
                counts["without_picture"] += answer.predictions is not None and answer.problem != ""
                addition = self.addition(answer, row)
                counts.update(f"{task} {cell}" for task, cell in zip(self.tasks, addition.added[3::4], strict=True))
                yield addition

        alone = locked(folder, "suggesting labels") if is_first else nullcontext()
        advice = "What is answered is kept. Make room and give the same command."
        with alone, full_disk_explained(output.parent, advice):
            if is_first:
                begin_or_continue(folder, {"part_rows": PART_ROWS, **identity})
            state.wait_for_everyone()
            num_rows = sum(1 for _ in self.source.rows())
            parts = [folder / f"{number:06d}.jsonl" for number in range(-(-num_rows // PART_ROWS))]
            is_missing = np.array([not part.is_file() for part in parts], dtype=bool).repeat(PART_ROWS)[:num_rows]
            state.wait_for_everyone()  # before anybody writes what another might still look for
            for numbers, _, answers in answered_parts(self.source, is_missing, PART_ROWS, classify, state):
                write_text(parts[numbers[0] // PART_ROWS], "".join(json.dumps(answer) + "\n" for answer in answers))
            state.wait_for_everyone()
            if is_first:
                self.source.catalogue.write(output, added_columns(self.tasks), additions())
                shutil.rmtree(folder)
            state.wait_for_everyone()
        return counts


def identity_of(source: Source, model: Any, **options: Any) -> dict[str, Any]:
    """All that the answers to a catalogue's rows depend on, as JSON: its bytes, the model, and the options."""
    settings = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    digest = hashlib.blake2b(f"{digest_of_weights(model)} {settings}".encode(), digest_size=16).hexdigest()
    columns = [source.image_column, source.text_columns, source.label_columns, source.separators]
    how = [source.fetch is not None, source.follow_links, source.mapping, source.uses_own_pictures]
    reading = json.dumps([str(source.images.resolve()), *columns, *how], default=str)
    return {"model": digest, "catalogue": source.catalogue.digest(), "reading": reading, **options}


def begin_or_continue(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make a folder of answers, or leave that of the same work as it is; one of other work goes."""
    path = folder / "manifest.json"
    with suppress(OSError, ValueError):
        if read_json(path) == manifest:
            return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(path, manifest)


def answered_parts(
    source: Source, is_missing: npt.NDArray[np.bool_], part_rows: int, classify: Classify, state: Any
) -> Iterator[tuple[Sequence[int], Sequence[Row], list[Answer]]]:
    """Numbers, rows and answers of each part of the missing rows that is this process's, in their order.

    The parts are the same, however many of them are done already.
    """
    part_of = (np.cumsum(is_missing) - 1) // part_rows
    is_mine = is_missing & (part_of % state.num_processes == state.process_index)
    mine = ((number, row) for number, row in enumerate(source.rows()) if is_mine[number])
    with tqdm(total=int(is_mine.sum()), unit="row", disable=state.process_index > 0) as bar:
        for _, part in groupby(mine, key=lambda one: part_of[one[0]]):
            numbers, rows = zip(*part, strict=True)
            yield numbers, rows, answer_rows(rows, classify, source)
            bar.update(len(rows))


def answer_rows(rows: Sequence[Row], classify: Classify, source: Source) -> list[Answer]:
    """The answer to each row: by its text alone where its picture cannot be read."""
    asked: dict[int, dict[str, Any]] = {}
    answers = []
    for place, row in enumerate(rows):
        try:
            asked[place], problem = source.painting(row)
        except ValueError as error:
            problem = str(error)
        answers.append(Answer(None, printable(problem or "")))
    while asked:
        again: dict[int, dict[str, Any]] = {}
        for place, predictions in zip(asked, classify(list(asked.values())), strict=True):
            if (reason := error_of(predictions)) is None:
                answers[place] = Answer(predictions, answers[place].problem)
            else:
                answers[place] = Answer(None, printable(reason))
                if asked[place].keys() == {"image", "text"}:
                    again[place] = {"text": asked[place]["text"]}
        asked = again
    return answers
