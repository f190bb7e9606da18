"""The goals of scripts/demo.py, its choice of paintings and its table."""

import datasets
import pytest
from tiny_release import load_script

TASKS = ("type", "school", "timeframe", "medium")


@pytest.fixture(scope="module")
def demo():
    return load_script("demo")


def results(both=0.90, image=0.60, text=0.70):
    """Results whose ceilings are 0.95, 0.65 and 0.75 for every task."""
    modalities = {
        "image+text": {"mean_accuracy": both, "ceiling": dict.fromkeys(TASKS, 0.95)},
        "image": {"mean_accuracy": image, "ceiling": {**dict.fromkeys(TASKS, 0.65), "mean": 0.0}},
        "text": {"mean_accuracy": text, "ceiling": dict.fromkeys(TASKS, 0.75)},
    }
    tasks = {task: {"accuracy": both, "macro_f1": 0.5} for task in TASKS}
    return {"num_rows": 400, "tasks": tasks, "mean_accuracy": both, "mean_macro_f1": 0.5, "modalities": modalities}


def test_the_share_of_the_ceiling_is_that_of_the_tasks_mean(demo):
    assert demo.share_of_ceiling(results(), "image+text") == pytest.approx(0.90 / 0.95)
    assert demo.share_of_ceiling(results(), "image") == pytest.approx(0.60 / 0.65)


def test_a_ceiling_that_is_not_known_for_every_task_is_none(demo):
    known = results()
    del known["modalities"]["text"]["ceiling"]["school"]

    assert demo.mean_ceiling(known, "text") is None
    assert demo.share_of_ceiling(known, "text") is None
    assert demo.decimals(None) == "–"


def test_no_goal_is_missed_at_the_goals(demo):
    assert list(demo.missed_goals(results(both=0.92 * 0.95, image=0.86 * 0.65, text=0.86 * 0.75))) == []


@pytest.mark.parametrize(
    ("reached", "message"),
    [
        ({"both": 0.87}, r"image\+text reaches 0.916 of its ceiling, the goal is 0.92"),
        ({"image": 0.55}, "image reaches 0.846 of its ceiling, the goal is 0.85"),
        ({"text": 0.63}, "text reaches 0.840 of its ceiling, the goal is 0.85"),
        ({"text": 0.86}, r"image\+text is 0.040 better than text alone, the goal is 0.05"),
    ],
)
def test_a_missed_goal_is_named(demo, reached, message):
    (missed,) = demo.missed_goals(results(**reached))

    with pytest.raises(ValueError, match=f"^{message}$"):
        raise ValueError(missed)


def test_the_paintings_have_texts_and_labels_and_differ(demo):
    kinds = datasets.ClassLabel(names=["portrait", "landscape", "genre", "UNK"])
    schools = datasets.ClassLabel(names=["Dutch", "UNK"])
    split = datasets.Dataset.from_dict(
        {
            "row": [0, 1, 2, 3, 4, 5, 6, 7],
            "text": ["a", None, "a", "a", "a", "a", "a", "a"],
            "type": [0, 1, 0, 1, 1, 3, 2, None],
            "school": [0, 0, 0, None, 0, 0, 1, 0],
        },
        features=datasets.Features(
            {"row": datasets.Value("int64"), "text": datasets.Value("string"), "type": kinds, "school": schools}
        ),
    )

    chosen = demo.first_of_each(split, "type", ["type", "school"], count=3)

    assert [painting["row"] for painting in chosen] == [0, 4]


def test_the_scores_fit_into_eighty_columns(demo, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    demo.show_scores(results())

    lines = [line.split() for line in capsys.readouterr().out.replace("│", " ").splitlines()]
    assert ["image+text", "0.900", "0.950", "0.947", "0.92"] in lines
    assert ["image", "0.600", "0.650", "0.923", "0.85"] in lines
