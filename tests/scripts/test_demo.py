import demo
import pytest
from tiny_release import tiny_parts

from semart_hf.data.loading import load_paintings
from semart_hf.model.pipeline_semart import save_repository

TASKS = ("type", "school", "timeframe", "medium")


def results(both=0.90, image=0.60, text=0.70):
    """Results whose ceilings are 0.95, 0.65 and 0.75."""
    found = {"image+text": (both, 0.95), "image": (image, 0.65), "text": (text, 0.75)}
    modalities = {name: {"mean_accuracy": mean, "ceiling": {"mean": best}} for name, (mean, best) in found.items()}
    return {"modalities": modalities}


@pytest.mark.parametrize(
    ("reached", "message"),
    [
        ({"both": 0.92 * 0.95, "image": 0.86 * 0.65, "text": 0.86 * 0.75}, None),
        ({"both": 0.87}, "image+text reaches 0.916 of its ceiling, the goal is 0.92"),
        ({"image": 0.55}, "image reaches 0.846 of its ceiling, the goal is 0.85"),
        ({"text": 0.63}, "text reaches 0.840 of its ceiling, the goal is 0.85"),
        ({"text": 0.86}, "image+text is 0.040 better than text alone, the goal is 0.05"),
    ],
)
def test_a_missed_goal_is_named(reached, message):
    missed = [words for words, is_reached in demo.check_goals(results(**reached)) if not is_reached]
    assert missed == ([] if message is None else [message])


def test_three_paintings_are_shown_with_their_labels(small_release, tmp_path, capsys):
    train = load_paintings(small_release, min_label_count=1)["train"]
    tasks = [{"name": task, "labels": [*train.features[task].names]} for task in TASKS]
    save_repository(*tiny_parts(tasks), tmp_path / "model")
    demo.show_paintings(tmp_path / "model", small_release)
    shown = capsys.readouterr().out
    assert shown.count("predicted") == shown.count(".jpg") == 3
    assert shown.count("medium") >= 3
