"""The miniature's world: which paintings there are, which cues show their labels how often, and how far cues can lead.

A painting is a joint draw of type, school, timeframe and medium. Each label then shows itself twice, independently:
once in the picture (composition, brushwork, palette, surface) and once in the description (words). What is shown is a
*cue*, drawn from a table of probabilities given the true label: mostly the right one, sometimes a confusable one, and
in descriptions often none at all. Painter and writer see the cues and never the labels, so the accuracy of the best
possible classifier follows from the tables alone, without an approximation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float64]

SILENT = "silent"
"""The cue of a description that does not speak of the label."""

MODALITIES = ("image+text", "image", "text")


@dataclass(frozen=True)
class Cue:
    """How one modality shows one task: row i of `table` (num_labels, num_values) is P(value | label i)."""

    values: tuple[str, ...]
    table: Table


@dataclass(frozen=True)
class World:
    """A joint distribution of labels with the cues that show them.

    Attributes:
        labels: The labels of each task, in the order of the axes of `prior`.
        prior: P(labels), one axis a task.
        image: What the picture shows of each task.
        text: What the description says of each task.
        missing_text: Probability that a painting has no description at all, whatever its labels.
    """

    labels: Mapping[str, tuple[str, ...]]
    prior: Table
    image: Mapping[str, Cue]
    text: Mapping[str, Cue]
    missing_text: float


def ceilings(world: World, rare: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Best reachable accuracy, modality → task → fraction, with the mean over tasks; exact.

    For each task it is the sum over all cue combinations of max over classes of P(class, cues), where the labels of
    the other tasks are summed out: a word about the school also informs the timeframe. A painting without a
    description shows its image cues only, and nothing where the text is judged alone.

    Args:
        world: The paintings and their cues.
        rare: Labels of each task that count as one common class (`UNK`).
    """
    cues = {
        "image": [world.image[task].table for task in world.labels],
        "text": [world.text[task].table for task in world.labels],
        "nothing": [np.ones((len(labels), 1)) for labels in world.labels.values()],
    }
    cues["image+text"] = [_both(image, text) for image, text in zip(cues["image"], cues["text"], strict=True)]
    reached = {
        modality: {task: _best_accuracy(world, tables, task, rare.get(task, ())) for task in world.labels}
        for modality, tables in cues.items()
    }
    missing = world.missing_text
    for modality, without_text in (("image+text", "image"), ("text", "nothing")):
        for task, best in reached[modality].items():
            reached[modality][task] = best * (1 - missing) + missing * reached[without_text][task]
    return {
        modality: {**reached[modality], "mean": float(np.mean(list(reached[modality].values())))}
        for modality in MODALITIES
    }


def _both(image: Table, text: Table) -> Table:
    """P(image cue, text cue | label): (num_labels, num_pairs), without the pairs that no label ever shows."""
    pairs = (image[:, :, None] * text[:, None, :]).reshape(len(image), -1)
    return pairs[:, pairs.any(axis=0)]


def _best_accuracy(world: World, likelihoods: Sequence[Table], task: str, rare: Sequence[str]) -> float:
    """Accuracy of always answering the most probable class of the task, given the cues of all tasks."""
    axis, labels = list(world.labels).index(task), world.labels[task]
    classes = [[index] for index, label in enumerate(labels) if label not in rare]
    unknown = [index for index, label in enumerate(labels) if label in rare]
    classes += [unknown] if unknown else []
    joint = np.moveaxis(world.prior, axis, 0)
    for likelihood in [table for other, table in enumerate(likelihoods) if other != axis]:
        joint = np.tensordot(joint, likelihood, axes=(1, 0))  # the next task's labels give way to its cues, at the end
    joint = joint.reshape(joint.shape[0], -1)
    best = 0.0
    for shown in likelihoods[axis].T:  # one cue value of the task itself at a time: all at once are 50 million numbers
        weighted = joint * shown[:, None]
        best += float(np.max([weighted[members].sum(axis=0) for members in classes], axis=0).sum())
    return best
