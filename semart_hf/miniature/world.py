"""Which paintings the miniature has, which cues show their labels how often, and how far cues can lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

Table = npt.NDArray[np.float64]
SILENT = "silent"  # the cue of a description that does not speak of the label
MODALITIES = ("image+text", "image", "text")


@dataclass(frozen=True)
class Cue:
    """How one modality shows one task: row i of `table` (num_labels, num_values) is P(value | label i)."""

    values: tuple[str, ...]
    table: Table


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
        image={task: _cue([row[2:5] for row in rows], tasks[task]["picture"], 0) for task, rows in _ROWS.items()},
        text={
            task: _cue([row[5:] for row in rows], tasks[task]["text"], tasks[task]["silent"])
            for task, rows in _ROWS.items()
        },
        missing_text=0.04,
    )


def _cue(shown: Sequence[Sequence[str]], right: float, silent: float) -> Cue:
    """Each label shows its first value with probability `right`, none with `silent`, else one of the others."""
    values = list(dict.fromkeys([own for own, *_ in shown] + [SILENT] * (silent > 0)))
    table = np.zeros((len(shown), len(values)))
    for row, (own, *confused) in zip(table, shown, strict=True):
        row[values.index(own)] += right
        if silent:
            row[values.index(SILENT)] += silent
        for value in confused:
            row[values.index(value)] += (1 - right - silent) / len(confused)
    return Cue(tuple(values), table)


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
    reached = {}
    for modality in MODALITIES:
        images, texts = (
            [cues[task].table if name in modality else np.ones((len(world.labels[task]), 1)) for task in world.labels]
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


def search_ceilings(
    world: World, cues: Sequence[tuple[Mapping[str, str], Mapping[str, str] | None]]
) -> dict[str, dict[str, float]]:
    """Best reachable recall by way and depth, over the paintings with a description; exact for these paintings' cues.

    The likeliest picture has the largest P(picture's cues, description's cues) / (P(picture's cues) P(description's
    cues)); equal ones come in an order of chance.
    """
    pairs = [(image, text) for image, text in cues if text is not None]
    images, texts = (
        np.stack([_likelihoods(world, cues_of, shown) for shown in column])
        for cues_of, column in zip((world.image, world.text), zip(*pairs, strict=True), strict=True)
    )
    prior = world.prior.ravel()
    ratios = (images * prior) @ texts.T / np.outer(images @ prior, texts @ prior)
    return {"text_to_image": _recalls(ratios.T), "image_to_text": _recalls(ratios)}


def _likelihoods(world: World, cues: Mapping[str, Cue], shown: Mapping[str, str]) -> Table:
    """P(what is shown | labels) of all combinations of labels `(num_combinations,)`."""
    likelihood = np.ones(1)
    for task in world.labels:
        likelihood = np.outer(likelihood, cues[task].table[:, cues[task].values.index(shown[task])]).ravel()
    return likelihood


def _recalls(scores: Table) -> dict[str, float]:
    """Recall at each depth, where the own candidate of row i is column i."""
    own = np.diag(scores)[:, None]
    is_equal = np.isclose(scores, own, rtol=1e-9)
    better, equal = ((scores > own) & ~is_equal).sum(axis=1), is_equal.sum(axis=1)
    return {f"recall_at_{depth}": float(np.clip((depth - better) / equal, 0, 1).mean()) for depth in (1, 5, 10)}
