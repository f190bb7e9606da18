import math

import pytest
import torch
from torch.nn import functional as F

from semart_hf.catalogue.schema import scale_of
from semart_hf.model.output_semart import whole_rows
from semart_hf.training.losses import ArtLoss, MultiLabelLoss, TaskLoss, ordinal_targets

PERIODS = ["1501-1550", "1551-1600", "1651-1700", "UNK"]
TASKS = [{"name": "type", "labels": ["a", "b", "UNK"]}, {"name": "timeframe", "labels": PERIODS}]
COUNTS = {"type": torch.tensor([70, 20, 10]), "timeframe": torch.tensor([40, 30, 20, 10])}


def task_loss(parts, counts=(70, 20, 10), labels=("a", "b", "UNK"), **settings):
    return TaskLoss({"name": "type", "labels": list(labels)}, torch.tensor(counts), set(parts), **settings)


@pytest.fixture
def logits():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 0, -100, 1])


def mean(loss, logits, labels=LABELS):
    labels = labels.reshape(len(labels), -1)
    return loss(logits, labels).sum() / loss.label_weights(labels).sum()


WEIGHTS = torch.tensor([100 / 210, 100 / 60, 100 / 30])
PRIOR = torch.tensor([0.7, 0.2, 0.1])


@pytest.mark.parametrize(
    ("part", "settings", "shift", "options"),
    [
        ("cross_entropy", {}, 0.0, {}),
        ("cross_entropy", {"label_smoothing": 0.1}, 0.0, {"label_smoothing": 0.1}),
        ("class_weighted", {}, 0.0, {"weight": WEIGHTS}),
        ("logit_adjusted", {"logit_adjustment_tau": 1.5}, 1.5 * PRIOR.log(), {}),
    ],
)
def test_each_part_equals_torch(logits, part, settings, shift, options):
    loss = task_loss({part}, **settings)
    assert torch.allclose(mean(loss, logits), F.cross_entropy(logits + shift, LABELS, **options))
    assert loss(logits, LABELS[:, None])[4] == 0


def test_a_label_that_train_never_has_stays_possible_and_parts_combine(logits):
    for part in ("logit_adjusted", "class_weighted"):
        loss = task_loss({part}, counts=(80, 20, 0))
        assert torch.isfinite(loss(logits, LABELS[:, None])).all()
    adjusted = logits + PRIOR.log()
    loss = task_loss({"logit_adjusted", "class_weighted"}, label_smoothing=0.1)
    known = LABELS >= 0
    by_hand = -(0.9 * adjusted.log_softmax(-1)[known, LABELS[known]] + 0.1 * adjusted.log_softmax(-1)[known].mean(-1))
    by_hand = (WEIGHTS[LABELS[known]] * by_hand).sum() / WEIGHTS[LABELS[known]].sum()
    assert torch.allclose(mean(loss, logits), by_hand)


def test_ordinal_targets_fall_with_the_distance_of_any_order():
    near, far = math.exp(-50 / 25), math.exp(-150 / 25)
    targets = ordinal_targets(scale_of({"labels": PERIODS}), 25.0)
    assert targets[0].tolist() == pytest.approx([v / (1 + near + far) for v in (1, near, far, 0)])
    assert targets[3].tolist() == [0, 0, 0, 1]
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 2, 3])
    loss = task_loss({"ordinal"}, (4, 3, 2, 1), PERIODS)
    assert torch.allclose(mean(loss, logits, labels), F.cross_entropy(logits, targets[labels].float()))
    sizes = scale_of({"labels": ["small", "medium", "large", "UNK"], "kind": "ordered"})
    assert sizes.steps.tolist()[:3] == [0, 1, 2]
    near, far = math.exp(-2), math.exp(-4)
    task = {"labels": ["1", "3", "5", "UNK"], "kind": "ordered", "positions": [1, 3, 5, None]}
    loss = TaskLoss(task, HAVING, {"ordinal"})
    assert loss.targets[0].tolist() == pytest.approx([v / (1 + near + far) for v in (1, near, far, 0)])
    with pytest.raises(ValueError, match="needs labels with an order"):
        MultiLabelLoss(SUBJECTS, HAVING, {"ordinal"})


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    logits = {"type": torch.randn(8, 3, generator=generator), "timeframe": torch.randn(8, 4, generator=generator)}
    labels = torch.tensor([[0, 1], [1, -100], [2, 0], [0, 3], [-100, 2], [1, 1], [0, 0], [2, 2]])
    return logits, labels


def whole(loss, logits, labels):
    return loss.total(loss.sums(logits, labels), loss.weight_sums(labels))


def test_the_total_is_the_weighted_mean_of_the_tasks_whatever_their_kind(batch):
    logits, labels = batch
    loss = ArtLoss(TASKS, COUNTS, task_weights={"type": 3.0})
    by_type = F.cross_entropy(logits["type"], labels[:, 0])
    expected = (3 * by_type + F.cross_entropy(logits["timeframe"], labels[:, 1])) / 4
    assert torch.allclose(whole(loss, logits, labels), expected)
    labels = labels.clone()
    labels[:, 1] = -100
    loss = ArtLoss(TASKS, COUNTS)
    assert torch.allclose(whole(loss, logits, labels), F.cross_entropy(logits["type"], labels[:, 0]) / 2)
    logits, labels = batch
    logits["subjects"] = torch.randn(8, 3, generator=torch.Generator().manual_seed(3))
    several = torch.cat([SEVERAL, SEVERAL[:2]])
    loss = ArtLoss([*TASKS, SUBJECTS], {**COUNTS, "subjects": HAVING})
    expected = F.cross_entropy(logits["type"], labels[:, 0]) + F.cross_entropy(logits["timeframe"], labels[:, 1])
    known = several >= 0
    expected += F.binary_cross_entropy_with_logits(logits["subjects"][known], several[known].float())
    assert torch.allclose(whole(loss, logits, torch.cat([labels, several], dim=1)), expected / 3)


@pytest.mark.parametrize("division", [[8], [5, 3], [1, 7], [2, 2, 2, 2]])
def test_the_division_into_batches_does_not_change_the_loss(batch, division):
    logits, labels = batch
    loss = ArtLoss(TASKS, COUNTS, {"type": "class_weighted", "timeframe": "ordinal+logit_adjusted"})
    weights, parts = loss.weight_sums(labels), 0.0
    for rows in torch.arange(8).split(division):
        part = {task: values[rows] for task, values in logits.items()}
        parts = parts + loss.total(loss.sums(part, labels[rows]), weights)
    assert torch.allclose(parts, whole(loss, logits, labels))


@pytest.mark.parametrize(
    ("inputs", "places"),
    [
        ({"pixel_values": 1, "input_ids": 1}, [0, 1, 2]),
        ({"pixel_values": 1, "text_hidden": 1, "has_image": [1, 0, 1], "has_text": [1, 1, 0]}, [0]),
        ({"pixel_values": 1}, []),
        ({"input_ids": 1, "has_text": [1, 0, 1]}, []),
    ],
)
def test_rows_that_lack_a_modality_are_not_whole(inputs, places):
    inputs = {name: torch.tensor(value).bool() for name, value in inputs.items()}
    assert whole_rows(inputs, 3).nonzero().flatten().tolist() == places


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("focall", r"\['focall'\] are unknown\. Join some of"),
        ({"type": "ordinal+hinge"}, r"The loss of type is 'ordinal\+hinge'"),
        ({"genre": "ordinal"}, r"loss names \['genre'\], but the tasks are \['type', 'timeframe'\]"),
        ({"type": "ordinal"}, "needs labels with an order, got"),
    ],
)
def test_wrong_losses_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        ArtLoss(TASKS, COUNTS, loss)


SUBJECTS = {"name": "subjects", "kind": "multi_label", "labels": ["angel", "boat", "cat"]}
HAVING = torch.tensor([[60, 90, 75], [40, 10, 25]])  # rows without and with each label
SEVERAL = torch.tensor([[1, 0, 0], [1, 1, -100], [0, 0, 1], [-100, -100, -100], [0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize(
    ("parts", "settings", "shift", "weights"),
    [
        ({"cross_entropy"}, {}, 0.0, (1.0, 1.0)),
        ({"cross_entropy"}, {"label_smoothing": 0.1}, 0.0, (1.0, 1.0)),
        ({"class_weighted"}, {}, 0.0, (100 / (2 * HAVING[0]), 100 / (2 * HAVING[1]))),
        ({"logit_adjusted"}, {"logit_adjustment_tau": 2.0}, 2.0 * (HAVING[1] / HAVING[0]).log(), (1.0, 1.0)),
    ],
)
def test_the_parts_of_several_labels_equal_torch(logits, parts, settings, shift, weights):
    loss = MultiLabelLoss(SUBJECTS, HAVING, parts, **settings)
    known = SEVERAL >= 0
    smoothing = settings.get("label_smoothing", 0.0)
    targets = SEVERAL.clamp(min=0) * (1 - smoothing) + smoothing / 2
    by_label = F.binary_cross_entropy_with_logits(logits + shift, targets, reduction="none")
    weight = known * torch.where(SEVERAL > 0, torch.as_tensor(weights[1]), torch.as_tensor(weights[0]))
    assert torch.allclose(mean(loss, logits, SEVERAL), (by_label * weight).sum() / weight.sum())
    assert loss(logits, SEVERAL)[3] == 0
