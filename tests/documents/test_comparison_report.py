import json
from itertools import combinations

import numpy as np
import pytest
from page_reader import Page
from tiny_release import TASKS as TINY

from semart_hf.documents.charts import draw_trade_off
from semart_hf.documents.comparison_report import comparison_tables, conclude, write_comparison
from semart_hf.documents.page import ENVIRONMENT
from semart_hf.documents.table import as_cell
from semart_hf.evaluation.comparison import (
    SIGNIFICANCE,
    TowerRun,
    bootstrap_p,
    compare_runs,
    correct_for_many,
    enough_resamples,
    holm,
    pareto_front,
    recipe_differences,
)
from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.results import scores_with_intervals

TASKS = [*TINY[:2], {"name": "timeframe", "labels": ["1501-1550", "1551-1600", "UNK"]}, TINY[3]]
SUBJECTS = {"name": "subjects", "kind": "multi_label", "labels": ["boat", "cat"]}
NUM_ROWS = 400
RECIPE = {"learning_rate": 0.001, "data": "a-release"}


def make_run(name, accuracy, seconds=10.0, ms=5.0, parameters=1_000_000, tasks=TASKS, num_columns=4, recipe=RECIPE):
    """A run whose every answer is right with this probability, drawn by the length of the name."""
    references = np.random.default_rng(0).integers(0, 2, (NUM_ROWS, num_columns))
    references[:4, 1] = -100
    generator = np.random.default_rng(len(name))
    is_right = generator.random(references.shape) < accuracy
    predictions = np.where(is_right, np.maximum(references, 0), 1 - np.maximum(references, 0))
    outcomes = Outcomes(tasks)
    outcomes.add(predictions, references, [f"row {row}" for row in range(NUM_ROWS)])
    machine = {"processor": "A", "cores": 2, "torch": "2.15.0"}
    cost = {
        **{"training_paintings": 2000, "epochs": 4.0, "seconds_per_epoch": seconds},
        "training_peak_memory_bytes": 900_000_000,
        **{"parameters": parameters, "trained_parameters": parameters // 2, "flops_forward": 10**9},
        **{"text_tokens": 40, "inference_device": "cpu", "inference_threads": 2, "weights_bytes": 4 * parameters},
        **{"milliseconds_per_painting": ms, "inference_peak_memory_bytes": 700_000_000},
        **{"best_batch_size": 16, "paintings_per_second_best": 4000 / ms},
    }
    scores = dict.fromkeys(("image+text", "image", "text"), scores_with_intervals(outcomes))
    entry = {
        **{"model": f"outputs/{name}", "vision": name, "image_size": 64, "frozen_vision_stages": 3},
        **{"scores": scores, "cost": cost, "trained_on": machine},
    }
    return TowerRun(name, recipe, outcomes, entry, {"data": "a-release", "split": "test", "environment": machine})


@pytest.fixture(scope="module")
def comparison():
    """ResNet18 is clearly worse; the other two differ by a point, and the ViT costs more."""
    runs = [
        make_run("resnet18", 0.70, seconds=8.0, ms=4.0, parameters=11_000_000),
        make_run("efficientnet_b0", 0.91, seconds=10.0, ms=9.0, parameters=4_000_000),
        make_run("vit_tiny", 0.885, seconds=20.0, ms=6.0, parameters=5_500_000),
    ]
    found = {"recipe": "recipe.yaml", **compare_runs(runs, num_resamples=300)}
    return {**found, "conclusion": conclude(found)}


def cells(comparison, title):
    (table,) = [table for table in comparison_tables(comparison) if table.title.startswith(title)]
    return {str(row[0]): dict(zip(table.header[1:], map(as_cell, row[1:]), strict=True)) for row in table.rows}


def test_every_pair_is_compared_and_corrected(comparison):
    pairs = [(pair["first"], pair["second"]) for pair in comparison["pairs"]]
    assert pairs == [*combinations(("resnet18", "efficientnet_b0", "vit_tiny"), 2)]
    entries = [pair["tasks"][task]["accuracy"] for pair in comparison["pairs"] for task in comparison["tasks"]]
    raw = sorted(entry["mcnemar"]["p"] for entry in entries)
    # The smallest of twelve counts twelvefold.
    assert min(entry["p_corrected"] for entry in entries) == pytest.approx(min(1, 12 * raw[0]))
    assert all(entry["p_corrected"] >= entry["mcnemar"]["p"] for entry in entries)
    clear, level = comparison["pairs"][0]["mean"]["accuracy"], comparison["pairs"][2]["mean"]["accuracy"]
    assert clear["difference"] == pytest.approx(-0.2, abs=0.03)
    assert (clear["is_significant_among_all"], level["is_significant_among_all"]) == (True, False)


def test_tasks_with_several_labels_are_compared_by_scores_of_their_own():
    tasks = {"tasks": [TASKS[0], SUBJECTS], "num_columns": 3}
    runs = [make_run(name, share, **tasks) for name, share in (("a", 0.7), ("bb", 0.9))]
    found = compare_runs(runs, num_resamples=50)
    for score, title in (("micro_f1", "Micro F1"), ("mean_average_precision", "Mean average precision")):
        first, second = (run.entry["scores"]["image+text"]["tasks"]["subjects"][score] for run in runs)
        shown = cells(found, title)
        assert list(shown["a"]) == ["subjects"]
        assert (shown["a"]["subjects"].text, shown["bb"]["subjects"].is_strong) == (f"{100 * first:.1f}", True)
        difference = cells(found, f"Differences of {title[0].lower()}{title[1:]}")["a − bb"]["subjects"]
        assert difference.text == f"−{100 * (second - first):.1f}"
        assert difference.is_strong
    assert list(cells(found, "Macro F1")["a"]) == ["type", "subjects", "mean"]


def test_a_difference_that_only_chance_finds_is_not_significant():
    def entry(p):
        return {"interval": [0.01, 0.09], "is_significant": True, "bootstrap_p": p, "mcnemar": {"p": p}}

    pairs = [{"mean": {}, "tasks": {task: {"accuracy": entry(p)} for task, p in (("type", 0.03), ("school", 0.2))}}]
    correct_for_many(pairs)
    assert pairs[0]["tasks"]["type"]["accuracy"]["p_corrected"] == pytest.approx(0.06)
    assert not pairs[0]["tasks"]["type"]["accuracy"]["is_significant_among_all"]


def tower(cost, accuracy):
    return {"cost": {"seconds_per_epoch": cost}, "scores": {"image+text": {"mean_accuracy": accuracy}}}


@pytest.mark.parametrize("num_towers", [2, 3, 6, 10])
def test_many_comparisons_leave_a_clear_difference_significant(num_towers):
    num_comparisons = num_towers * (num_towers - 1) // 2 * len(TASKS)
    clearest = bootstrap_p(np.full(enough_resamples(num_towers, len(TASKS)), 0.2))
    assert holm([clearest] * num_comparisons)[0] < SIGNIFICANCE / 2


def test_the_pareto_front():
    towers = {"dear and best": tower(9, 0.9), "cheap": tower(1, 0.6), "beaten": tower(5, 0.5)}
    towers |= {"as good, dearer": tower(2, 0.6), "middle": tower(4, 0.8), "not measured": tower(None, 0.99)}
    towers["as the middle"] = tower(4, 0.8)
    assert pareto_front(towers, "seconds_per_epoch") == ["cheap", "middle", "as the middle", "dear and best"]


def test_the_conclusion_says_what_is_significant_and_what_is_not(comparison):
    ranking, lead, not_significant, by_task, caveat = comparison["conclusion"]
    mean = 100 * comparison["towers"]["efficientnet_b0"]["scores"]["image+text"]["mean_accuracy"]
    assert ranking.startswith("On the 400 paintings of the test split the mean accuracy over type, school, timeframe")
    assert f"efficientnet_b0 {mean:.1f} % (" in ranking
    assert ranking.index("efficientnet_b0") < ranking.index("vit_tiny") < ranking.index("resnet18")
    assert lead.startswith("efficientnet_b0 is ahead of resnet18 by 19.0 points (16.")
    assert not_significant.startswith("Not significant: efficientnet_b0 ahead of vit_tiny by ")
    test = "By task (McNemar's test, corrected for 12 comparisons): "
    assert by_task.startswith(f"{test}efficientnet_b0 is better than resnet18 on type (17.")
    assert by_task.endswith(". No other difference by task is significant.")
    assert caveat.startswith("Every tower was trained once: ")


def test_a_conclusion_where_nothing_differs_recipes_do_or_a_label_is_missing():
    runs = [make_run(name, 0.8, seconds=seconds) for name, seconds in (("a", None), ("b", None))]
    sentences = conclude(compare_runs(runs, num_resamples=100))
    assert "Not significant: a ahead of b by 0.0 points (0.0 to 0.0, p = 1)." in sentences
    assert "By task (McNemar's test, corrected for 4 comparisons): no difference is significant." in sentences
    recipes = {"b": {"learning_rate": 0.01, "data": "a-release"}, "c": {}}
    runs = [make_run("a", 0.8), *(make_run(name, 0.8, recipe=recipe) for name, recipe in recipes.items())]
    assert recipe_differences(runs) == {"learning_rate": {"a": 0.001, "b": 0.01}}
    comparison = compare_runs(runs, num_resamples=50)
    assert conclude(comparison)[-1].endswith("not trained by one recipe, but with different learning_rate.")
    runs = [make_run("a", 0.8), make_run("b", 0.7)]
    for run in runs:
        for scored in run.entry["scores"].values():
            scored["tasks"]["medium"] = {"num_rows": 0, "accuracy": None, "macro_f1": None}
        run.outcomes.task("medium").references[:] = -100
    comparison = compare_runs(runs, num_resamples=50)
    found = cells({**comparison, "conclusion": conclude(comparison)}, "Accuracy, picture and text")
    assert found["a"]["medium"].text == "no label"
    assert "medium" not in " ".join(conclude(comparison)[1:])


def test_the_tables_mark_the_best_and_what_others_published_and_the_figure_joins_the_front(comparison):
    accuracy = cells(comparison, "Accuracy, picture and text")
    scores = comparison["towers"]["efficientnet_b0"]["scores"]["image+text"]
    best = accuracy["efficientnet_b0"]["mean"]
    assert (best.text, best.is_strong) == (f"{100 * scores['mean_accuracy']:.1f}", True)
    low, high = scores["intervals"]["mean_accuracy"]
    assert best.small == f"{100 * low:.1f}–{100 * high:.1f}"
    assert not accuracy["vit_tiny"]["mean"].is_strong
    with_text = cells(comparison, "Accuracy, picture and text")["EfficientNet-B0, the study †"]
    assert [cell.text for cell in with_text.values()] == ["81.0", "79.0", "60.0", "80.0", "–"]
    alone = cells(comparison, "Accuracy, picture alone")["best of ICMR 2019 †"]
    assert [cell.text for cell in alone.values()] == ["81.5", "69.1", "63.2", "–", "–"]
    costs = cells(comparison, "Cost")
    theirs = costs["an epoch of the study, on its GPU and SemArt †"]
    assert [theirs[name].text for name in ("resnet18", "efficientnet_b0")] == ["22 min", "20 min"]
    assert costs["seconds an epoch"]["vit_tiny"].text == "20.0"
    assert costs["parameters"]["resnet18"].text == "11.00 M"
    assert costs["operations a painting, forward"]["resnet18"].text == "1.00 G"
    assert costs["weights on disk"]["resnet18"].text == "44.0 MB"
    figure = draw_trade_off(comparison)
    (seconds, *_) = figure.axes
    front = seconds.lines[-1].get_xydata()
    scores = {name: tower["scores"]["image+text"]["mean_accuracy"] for name, tower in comparison["towers"].items()}
    assert front[0].tolist() == [8.0, scores["resnet18"]]
    assert [10.0, scores["efficientnet_b0"]] in front.tolist()


def test_the_page_and_the_markdown_have_the_same_cells(comparison, tmp_path):
    hostile = {**comparison, "data": "<script>alert(1)</script>"}
    assert write_comparison(tmp_path, hostile) == comparison["conclusion"]
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    page = Page(html)
    lines = (tmp_path / "comparison.md").read_text(encoding="utf-8").splitlines()
    for table in comparison_tables(comparison):
        shown = str(ENVIRONMENT.get_template("parts.html").module.table(table))
        assert shown in html.replace("\N{NO-BREAK SPACE}", " ")
        at = lines.index(f"## {table.title}")
        header, rule, *rows = lines[at + 2 : at + 4 + len(table.rows)]
        assert header.count("|") == rule.count("|") == len(table.header) + 1
        assert all(row.count("|") == len(table.header) + 1 for row in rows)
    assert "| EfficientNet-B0, the study † | 81.0 | 79.0 | 60.0 | 80.0 | – |" in lines
    # Between a number and its sign the line may not end.
    assert comparison["conclusion"][0].replace(" %", "\N{NO-BREAK SPACE}%") in page.text
    assert (tmp_path / "figures" / "trade_off.svg").stat().st_size > 1000
    assert json.loads((tmp_path / "comparison.json").read_text())["towers"].keys() == comparison["towers"].keys()
