"""The embedded miniature: paintings by program in the layout of a SemArt release, with a known ceiling."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import chain, compress, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from tqdm.auto import tqdm

from semart_hf.files import atomic_folder, read_json, write_json

from .painter import paint

COLUMNS = ("IMAGE_FILE", "DESCRIPTION", "AUTHOR", "TITLE", "TECHNIQUE", "DATE", "TYPE", "SCHOOL", "TIMEFRAME")
SUBJECTS = "SUBJECTS"  # a further column: what is to be seen, for a task with several labels
_PROGRAM_VERSION = 3  # goes up when the same settings give other files
_MIN_LABEL_COUNT = 10  # what `typed_splits` takes for a class of its own by default
_MISSING_TECHNIQUE = 0.03
_WITH_ENTITIES = 0.3  # of the descriptions that hold a special character
_PHRASES = yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text("utf-8"))
_ENTITIES = str.maketrans({character: f"&#{ord(character)};" for character in "çé"} | {"–": "&#150;", "œ": "&#339;"})
_PARTS = {"school": "school", "period": "timeframe", "support": "medium"}  # of an opening, by the task they speak of
_METHOD = (
    "exact: sum over all cue combinations of the largest class posterior; rows without a description show their image "
    f"cues, or nothing; labels with fewer than {_MIN_LABEL_COUNT} train rows count as the one class UNK; "
    "the text is the DESCRIPTION column alone"
)
Table = npt.NDArray[np.float64]
#: How one modality shows a task: by each value that it may show P(value | label) of all labels `(num_labels,)`.
Cue = Mapping[str, Table]
SILENT = "silent"  # the cue of a description that does not speak of the label
MODALITIES = ("image+text", "image", "text")


@dataclass(frozen=True)
class World:
    """A joint distribution of labels, each shown twice, independently, by a *cue*: in the picture and in words.

    Painter and writer see the cues and never the labels, so the best possible accuracy follows from the tables alone.
    """

    labels: Mapping[str, tuple[str, ...]]  # of each task, in the order of the axes of `prior`
    prior: Table  # P(labels), one axis a task
    image: Mapping[str, Cue]  # what the picture shows of each task
    text: Mapping[str, Cue]  # what the description says of it
    missing_text: float  # probability that a painting has no description at all, whatever its labels


_HISTORY = yaml.safe_load((Path(__file__).parent / "art_history.yaml").read_text("utf-8"))
_ROWS = {task: [line.split() for line in cues["labels"].splitlines()] for task, cues in _HISTORY["tasks"].items()}
COUNTS: Mapping[str, Mapping[str, int]] = {task: {row[0]: int(row[1]) for row in rows} for task, rows in _ROWS.items()}
"""SemArt's paintings of each label."""


def art_history() -> World:
    """The world that the miniature is painted from."""
    regions, *columns = zip(*_HISTORY["schools"].values(), strict=True)
    painted, types = (np.array(column, float) for column in columns)
    eras, tasks = _HISTORY["eras"], _HISTORY["tasks"]
    types = types[:, None] * np.array(_HISTORY["types_of_era"])[eras]
    media = np.array([np.array(_HISTORY["media_of_era"][region])[eras] for region in regions])
    types, media = (table / table.sum(axis=-1, keepdims=True) for table in (types, media))
    return World(
        labels={task: tuple(counts) for task, counts in COUNTS.items()},
        # When each school painted, times what it painted then, times on what.
        prior=np.einsum("st,sty,stm->ystm", painted / painted.sum(), types, media),
        image={task: _cue(rows, 2, tasks[task]["picture"], 0) for task, rows in _ROWS.items()},
        text={task: _cue(rows, 5, tasks[task]["text"], tasks[task]["silent"]) for task, rows in _ROWS.items()},
        missing_text=0.04,
    )


def _cue(rows: Sequence[Sequence[str]], first: int, right: float, silent: float) -> Cue:
    """Each label shows its `first` value with probability `right`, none with `silent`, else one of the next two."""
    cue = {value: np.zeros(len(rows)) for value in [row[first] for row in rows] + [SILENT] * (silent > 0)}
    for label, row in enumerate(rows):
        own, *confused = row[first : first + 3]
        cue[own][label] += right
        if silent:
            cue[SILENT][label] += silent
        for value in confused:
            cue[value][label] += (1 - right - silent) / len(confused)
    return cue


def with_long_tail(world: World) -> World:
    """The world whose labels are as frequent as in SemArt, and go together as in the given one.

    Source: Deming & Stephan 1940, On a least squares adjustment of a sampled frequency table, section 5 (iterative
        proportional fitting).
    """
    prior, farthest = world.prior, 1.0
    while farthest > 1e-9:  # the largest difference between a label's share and the wanted one
        farthest = 0
        for axis, (task, labels) in enumerate(world.labels.items()):
            wanted = np.array([COUNTS[task][label] for label in labels]) / sum(COUNTS[task].values())
            others = tuple(other for other in range(prior.ndim) if other != axis)
            found = prior.sum(axis=others)
            farthest = max(farthest, float(np.abs(found - wanted).max()))
            prior = prior * np.expand_dims(wanted / found, others)
    return replace(world, prior=prior / prior.sum())


def ceilings(world: World, rare: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Best reachable accuracy, modality → task → fraction, with the mean over tasks; exact.

    For each task it is the sum over all cue combinations of max over classes of P(class, cues), where the labels of
    the other tasks are summed out. The `rare` labels of each task count as one common class (`UNK`).
    """
    reached: dict[str, dict[str, float]] = {}
    for modality in MODALITIES:
        images, texts = (
            [
                np.column_stack([*cues[task].values()]) if name in modality else np.ones((len(labels), 1))
                for task, labels in world.labels.items()
            ]
            for name, cues in (("image", world.image), ("text", world.text))
        )
        both = [np.einsum("li,lt->lit", *tables) for tables in zip(images, texts, strict=True)]
        pairs = [cues[:, cues.any(axis=0)] for cues in both]  # without those that no label ever shows
        found = {}
        for task in world.labels:
            found[task] = _best_accuracy(world, pairs, task, rare.get(task, ()))
            if "text" in modality:  # rows without one show their image cues alone, or nothing
                without = _best_accuracy(world, images, task, rare.get(task, ()))
                found[task] = found[task] * (1 - world.missing_text) + world.missing_text * without
        reached[modality] = {**found, "mean": float(np.mean(list(found.values())))}
    return reached


def _best_accuracy(world: World, likelihoods: Sequence[Table], task: str, rare: Sequence[str]) -> float:
    """Accuracy of always answering the most probable class of the task, given the cues of all tasks."""
    axis, is_rare = list(world.labels).index(task), np.array([label in rare for label in world.labels[task]])
    joint = np.moveaxis(world.prior, axis, 0)
    for likelihood in [table for other, table in enumerate(likelihoods) if other != axis]:
        joint = np.tensordot(joint, likelihood, axes=(1, 0))  # the next task's labels give way to its cues, at the end
    joint = joint.reshape(joint.shape[0], -1)
    best = 0.0
    for shown in likelihoods[axis].T:  # one cue value of the task itself at a time: all at once are 50 million numbers
        weighted = joint * shown[:, None]
        best += float(np.vstack([weighted[~is_rare], weighted[is_rare].sum(axis=0)]).max(axis=0).sum())
    return best


def search_ceilings(world: World, paintings: Sequence["Painting"]) -> dict[str, dict[str, float]]:
    """Best reachable recall by way and depth, over the paintings with a description; exact for these paintings' cues.

    The likeliest picture has the largest P(picture's cues, description's cues) / (P(picture's cues) P(description's
    cues)); equal ones come in an order of chance.
    """
    images = np.stack([_likelihoods(world, world.image, one.image_cues) for one in paintings if one.text_cues])
    texts = np.stack([_likelihoods(world, world.text, one.text_cues) for one in paintings if one.text_cues])
    prior = world.prior.ravel()
    ratios = (images * prior) @ texts.T / np.outer(images @ prior, texts @ prior)
    return {"text_to_image": _recalls(ratios.T), "image_to_text": _recalls(ratios)}


def _likelihoods(world: World, cues: Mapping[str, Cue], shown: Mapping[str, str]) -> Table:
    """P(what is shown | labels) of all combinations of labels `(num_combinations,)`."""
    return reduce(np.multiply.outer, (cues[task][shown[task]] for task in world.labels)).ravel()


def _recalls(scores: Table) -> dict[str, float]:
    """Recall at each depth, where the own candidate of row i is column i."""
    own = np.diag(scores)[:, None]
    is_equal = np.isclose(scores, own, rtol=1e-9)
    better, equal = ((scores > own) & ~is_equal).sum(axis=1), is_equal.sum(axis=1)
    return {f"recall_at_{depth}": float(np.clip((depth - better) / equal, 0, 1).mean()) for depth in (1, 5, 10)}


@dataclass(frozen=True)
class Painting:
    """A painting before it is painted: its labels by task, and what picture and description show of them."""

    key: tuple[int, int, int]  # seed, split and number; all that chance decides follows from it
    labels: dict[str, str]
    image_cues: dict[str, str]
    text_cues: dict[str, str] | None  # `None` where there is no description


def sample_paintings(world: World, seed: int, split: int, count: int) -> list[Painting]:
    """The first `count` paintings of a split: more of them never changes the ones before."""
    chances = np.random.default_rng((seed, split)).random((count, 2 + 2 * len(world.labels)))
    states = np.unravel_index(_draw(world.prior.ravel(), chances[:, 0]), world.prior.shape)
    paintings = []
    for number, (state, chance) in enumerate(zip(np.transpose(states).tolist(), chances, strict=True)):
        shown = [
            {
                task: [*cues[task]][_draw([column[label] for column in cues[task].values()], one)]
                for task, label, one in zip(world.labels, state, chance[first::2], strict=True)
            }
            for first, cues in ((2, world.image), (3, world.text))
        ]
        labels = {task: names[label] for (task, names), label in zip(world.labels.items(), state, strict=True)}
        text_cues = shown[1] if chance[1] >= world.missing_text else None
        paintings.append(Painting((seed, split, number), labels, shown[0], text_cues))
    return paintings


def _draw(weights: Table | Sequence[float], chance: Any) -> Any:
    """Index whose share of the weights holds the chance, for one number between 0 and 1 or an array of them."""
    sums = np.cumsum(weights)
    return np.searchsorted(sums, chance * sums[-1], side="right")


def paint_miniature(
    folder: str | Path,
    *,
    seed: int = 0,
    num_train: int = 2400,
    num_val: int = 200,
    num_test: int = 400,
    long_tail: bool = False,
    workers: int = 1,
) -> Path:
    """The folder, holding semart_{train,val,test}.csv, Images/ and ceiling.json; the same bytes for the same settings.

    It appears whole or not at all. One that already holds the miniature of these settings is left as it is. With a
    `long_tail`, labels are as unevenly frequent as in SemArt; otherwise nearly all of them can be learned.
    """
    folder = Path(folder)
    sizes = {"num_train": num_train, "num_val": num_val, "num_test": num_test}
    for name, value in {"seed": seed, **sizes, "workers": workers}.items():
        least = 0 if name == "seed" else 1
        if value < least:
            raise ValueError(f"Got {name}={value}, but it is {least} or more. Pass another {name}.")
    settings = {"version": _PROGRAM_VERSION, "seed": seed, **sizes, "long_tail": long_tail}
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _check_finished(folder, settings, sum(sizes.values()))
        return folder
    world = with_long_tail(art_history()) if long_tail else art_history()
    splits = [sample_paintings(world, seed, split, count) for split, count in enumerate(sizes.values())]
    with atomic_folder(folder) as draft:
        (draft / "Images").mkdir()
        written = iter(tqdm(_rows(draft / "Images", splits, workers), total=sum(sizes.values()), desc="painting"))
        rows = [list(islice(written, len(paintings))) for paintings in splits]
        for split, split_rows in zip(("train", "val", "test"), rows, strict=True):
            table = pd.DataFrame(split_rows, columns=[*COLUMNS, SUBJECTS])
            table.to_csv(draft / f"semart_{split}.csv", sep="\t", index=False, encoding="cp1252", lineterminator="\n")
        rare = {}
        for task, labels in world.labels.items():
            known = [task != "medium" or row["TECHNIQUE"] for row in rows[0]]  # a medium counts where it is named
            counts = Counter(painting.labels[task] for painting in compress(splits[0], known))
            rare[task] = [label for label in labels if counts[label] < _MIN_LABEL_COUNT]
        search = {
            name: search_ceilings(world, paintings)
            for name, paintings in zip(("validation", "test"), splits[1:], strict=True)
            if any(one.text_cues for one in paintings)
        }
        reached = {**ceilings(world, rare), "search": search, "method": _METHOD, "settings": settings}
        write_json(draft / "ceiling.json", reached)
    return folder


def _check_finished(folder: Path, settings: Mapping[str, object], num_pictures: int) -> None:
    found = (read_json(folder / "ceiling.json") or {}).get("settings", "something that is no miniature")
    if found != settings:
        raise ValueError(
            f"Got {folder}, which holds {found}. Allowed is a new or empty folder, or a miniature of the settings "
            f"{settings}. Choose another folder, or remove this one."
        )
    if len(list((folder / "Images").glob("*.jpg"))) != num_pictures:
        raise ValueError(f"Got {folder}, a miniature without all its pictures. Remove the folder and paint it again.")


def _rows(images: Path, splits: Sequence[Sequence[Painting]], workers: int) -> Iterator[dict[str, str]]:
    """The rows of the paintings in their order, each when its picture is written."""
    paintings = list(chain(*splits))
    if workers == 1:
        yield from map(partial(_produce, images), paintings)
        return
    # A spawned process starts alike on every system and inherits no locks of a parent with threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_produce, images), paintings, chunksize=16)


def _produce(images: Path, painting: Painting) -> dict[str, str]:
    picture, subjects = paint(painting.image_cues, np.random.default_rng((*painting.key, 1)))
    rng = np.random.default_rng((*painting.key, 2))
    description = "" if painting.text_cues is None else describe(painting.text_cues, rng)
    if rng.random() < _WITH_ENTITIES:
        description = description.translate(_ENTITIES)
    columns = catalogue(painting.labels, picture.width / picture.height, rng)
    if rng.random() < _MISSING_TECHNIQUE:
        columns["TECHNIQUE"] = ""
    _, split, number = painting.key
    slug = "".join(letter for letter in columns["TITLE"].lower() if letter.isalpha())[:8]
    name = f"{split}{number:05d}-{slug}.jpg"
    picture.save(images / name, quality=93)
    labels = {task.upper(): label for task, label in painting.labels.items() if task != "medium"}
    return {"IMAGE_FILE": name, "DESCRIPTION": description, **columns, **labels, SUBJECTS: "; ".join(subjects)}


def describe(cues: Mapping[str, str], rng: np.random.Generator) -> str:
    """A description of 10 to 40 words that speaks of each task's cue and of nothing else but chance."""
    subject, opening = rng.choice(_PHRASES["subject"][cues["type"]]), rng.choice(_PHRASES["openings"])
    words = {part: rng.choice(_PHRASES[part][cues[task]]) for part, task in _PARTS.items()}
    sentence = opening.format(subject=subject, Subject=subject[0].upper() + subject[1:], **words)
    sentences = [re.sub(r"\b([Aa]) (?=[AEIOUaeiou])", r"\1n ", sentence)]
    remarks = _PHRASES["remarks"]
    for index in rng.permutation(len(remarks))[: int(rng.integers(0, 3))]:
        if sum(len(words.split()) for words in (*sentences, remarks[index])) <= 40:
            sentences.insert(0 if rng.random() < 0.25 else len(sentences), remarks[index])
    return " ".join(sentences)


def catalogue(labels: Mapping[str, str], aspect: float, rng: np.random.Generator) -> dict[str, str]:
    """AUTHOR, TITLE, TECHNIQUE and DATE of a painting with the given labels and width-to-height ratio."""
    technique = rng.choice(_PHRASES["techniques"][labels["medium"]])
    if rng.random() < 0.75 and labels["medium"] != "wall":
        height = float(rng.integers(24, 180))
        technique += f", {height:.0f} x {height * aspect:.0f} cm"
    first, last = (int(year) for year in labels["timeframe"].split("-"))
    year = int(rng.integers(first, last - 2))
    date = rng.choice((f"{year}", f"c. {year}", f"{year}-{(year + 2) % 100:02d}", "-"))
    return {
        "AUTHOR": rng.choice(_PHRASES["surnames"][labels["school"]]),
        "TITLE": rng.choice(_PHRASES["titles"][labels["type"]]),
        "TECHNIQUE": technique,
        "DATE": date,
    }
