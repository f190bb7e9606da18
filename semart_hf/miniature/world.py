"""Which paintings the miniature has, which cues show their labels how often, and how far cues can lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

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


# By task: how often picture and description are right and the description silent, and a row a label: its paintings in
# SemArt's train split (the media by the named techniques), what the picture shows and two values that it is confused
# with, and the same of the description. Neighbours paint alike, and neighbouring half-centuries share palettes. Words
# are wrong across these lines, so that picture and description correct each other.
_TASKS = {
    "type": (0.90, 0.60, 0.36, """
        religious    7476 religious    mythological portrait     religious    mythological portrait
        portrait     3288 portrait     religious    genre        portrait     religious    genre
        landscape    2487 landscape    historical   mythological landscape    historical   mythological
        mythological 1860 mythological landscape    religious    mythological landscape    religious
        genre        1630 genre        interior     portrait     genre        interior     portrait
        still-life    924 still-life   interior     genre        still-life   interior     genre
        interior      452 interior     genre        still-life   interior     genre        still-life
        historical    544 historical   landscape    mythological historical   landscape    mythological
        study          57 portrait     still-life   landscape    silent       portrait     landscape"""),
    "school": (0.90, 0.88, 0.07, """
        Italian  8005 hatched enamel  swept   Italian  French  Flemish
        Dutch    2944 enamel  swept   hatched Dutch    German  French
        French   2552 dabbed  swept   enamel  French   Italian Flemish
        Flemish  2015 enamel  swept   hatched Flemish  German  Italian
        German   1172 swept   hatched enamel  German   Dutch   Italian
        Spanish   852 hatched swept   dabbed  Spanish  Flemish French
        English   411 dabbed  swept   hatched English  American Dutch
        American  113 swept   dabbed  enamel  American English French
        Greek      37 enamel  hatched swept   silent   Italian Spanish
        Swedish    23 dabbed  swept   enamel  silent   German  French"""),
    "timeframe": (0.94, 0.84, 0.12, """
        1451-1500 2059 gilded    clear     clear     1451-1500 1501-1550 1551-1600
        1501-1550 2575 clear     gilded    tenebrist 1501-1550 1451-1500 1601-1650
        1551-1600 1580 clear     tenebrist gilded    1551-1600 1601-1650 1651-1700
        1601-1650 3399 tenebrist silvery   clear     1601-1650 1551-1600 1651-1700
        1651-1700 2085 silvery   tenebrist pastel    1651-1700 1601-1650 1701-1750
        1701-1750 1442 pastel    silvery   sunset    1701-1750 1651-1700 1801-1850
        1751-1800 1112 pastel    sunset    silvery   1751-1800 1651-1700 1801-1850
        1801-1850 1054 sunset    pastel    sunlit    1801-1850 1751-1800 1851-1900
        1851-1900 1744 sunlit    sunset    pastel    1851-1900 1801-1850 1751-1800
        1351-1400   14 gilded    clear     clear     silent    1451-1500 1501-1550"""),
    "medium": (0.90, 0.52, 0.45, """
        canvas 4182 canvas wood   paper  canvas wood   paper
        wood   2645 wood   canvas metal  wood   canvas metal
        wall    241 wall   paper  canvas wall   paper  canvas
        paper   187 paper  wall   canvas paper  wall   canvas
        metal   106 metal  wood   canvas metal  wood   canvas
        other    36 metal  wall   paper  silent canvas wood"""),
}  # fmt: skip
_ROWS = {task: [line.split() for line in table.strip().splitlines()] for task, (*_, table) in _TASKS.items()}
COUNTS: Mapping[str, Mapping[str, int]] = {task: {row[0]: int(row[1]) for row in rows} for task, rows in _ROWS.items()}
"""SemArt's paintings of each label."""

# Of each school: paintings in each half-century out of about a thousand, and how much it cared for each type.
_SCHOOLS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "Italian": ((58, 60, 44, 34, 18, 36, 16, 4, 4, 1.5), (1.6, 0.9, 0.8, 1.6, 0.4, 0.5, 0.6, 1, 1)),
    "Dutch": ((0, 4, 6, 60, 56, 6, 3, 3, 14, 0), (0.4, 1, 1.5, 0.3, 1.8, 1.8, 2.4, 0.8, 1)),
    "French": ((3, 3, 4, 18, 14, 24, 26, 26, 54, 0), (0.8, 1, 1.1, 1.3, 1.2, 1, 0.8, 1.3, 1)),
    "Flemish": ((18, 22, 18, 42, 18, 4, 2, 1, 0, 0.2), (1, 0.9, 1.1, 1, 1.3, 1.5, 1.6, 0.8, 1)),
    "German": ((10, 40, 5, 4, 3, 3, 7, 18, 8, 0), (1, 1.3, 1.1, 0.8, 0.6, 0.6, 0.6, 1, 1)),
    "Spanish": ((5, 5, 18, 24, 12, 2, 6, 12, 4, 0.2), (1.6, 1.1, 0.3, 0.5, 1, 1.4, 0.3, 0.9, 1)),
    "English": ((0, 0, 1, 2, 3, 10, 32, 18, 8, 0), (0.2, 1.8, 1.4, 0.4, 0.6, 0.3, 0.5, 1.1, 1)),
    "American": ((0, 0, 0, 0, 0, 0, 8, 18, 32, 0), (0.1, 1.2, 1.9, 0.2, 1, 0.7, 0.5, 1.6, 1)),
    "Greek": ((0.3, 0.5, 0.3, 0.2, 0, 0, 0, 0, 0, 0.2), (3, 1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 1)),
    "Swedish": ((0, 0, 0, 0, 0, 0.3, 0.5, 0.2, 0.5, 0), (0.3, 2, 1, 0.5, 1, 0.5, 0.5, 1, 1)),
}
# Of each half-century: the early centuries, the high Renaissance, the late Baroque, the moderns.
_ERA = [0, 0, 1, 1, 2, 2, 3, 3, 3, 0]
_TYPES_OF_ERA = (
    (60, 18, 4, 8, 3, 2, 2, 4, 0.2),
    (34, 18, 12, 13, 9, 8, 4, 5, 0.2),
    (16, 18, 20, 12, 14, 11, 7, 5, 0.2),
    (5, 28, 30, 5, 13, 8, 6, 8, 0.2),
)
# Italy paints its walls, the North its oak, Spain and the later centuries canvas; paper and copper come in between.
_MEDIA_OF_ERA = {
    "Italian": ((8, 44, 44, 2, 2, 0.2), (62, 6, 20, 2, 10, 0.2), (66, 2, 20, 6, 6, 0.2), (60, 4, 12, 20, 4, 0.2)),
    "northern": ((4, 86, 2, 4, 4, 0.2), (30, 50, 0, 4, 16, 0.2), (60, 24, 0, 8, 8, 0.2), (68, 8, 4, 18, 2, 0.2)),
    "other": ((20, 68, 6, 3, 3, 0.2), (78, 8, 4, 3, 7, 0.2), (82, 3, 3, 9, 3, 0.2), (72, 5, 2, 20, 1, 0.2)),
}
_REGIONS = {"Italian": "Italian", **dict.fromkeys(("Dutch", "Flemish", "German", "Swedish"), "northern")}


def art_history() -> World:
    """The world that the miniature is painted from."""
    painted, types = (np.array(columns, float) for columns in zip(*_SCHOOLS.values(), strict=True))
    types = types[:, None] * np.array(_TYPES_OF_ERA)[_ERA]
    media = np.array([np.array(_MEDIA_OF_ERA[_REGIONS.get(school, "other")])[_ERA] for school in _SCHOOLS])
    types, media = (table / table.sum(axis=-1, keepdims=True) for table in (types, media))
    return World(
        labels={task: tuple(counts) for task, counts in COUNTS.items()},
        # When each school painted, times what it painted then, times on what.
        prior=np.einsum("st,sty,stm->ystm", painted / painted.sum(), types, media),
        image={task: _cue([row[2:5] for row in _ROWS[task]], right, 0) for task, (right, *_) in _TASKS.items()},
        text={task: _cue([row[5:] for row in _ROWS[task]], *shares) for task, (_, *shares, _) in _TASKS.items()},
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
