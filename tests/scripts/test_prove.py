import importlib
import json
import os

import numpy as np
import prove
import pytest
from proofs import ablations_runs, finetune_runs, proof_cards, retrieval_runs, review_runs, runner, speed_runs
from proofs.anchors import GRID
from proofs.runner import mean_and_deviation
from rounding import rounding
from tiny_release import save_tiny_model
from warm_python import PROCESSES

from semart_hf.data.loading import load_paintings
from semart_hf.recipes.recipe import RECIPES, read_recipe
from semart_hf.training.trainer import SemArtTrainer

TINY = {"num_train": 70, "num_val": 6, "num_test": 12}


def test_text_is_proved(main, small_release, towers, monkeypatch, capsys):
    monkeypatch.setitem(GRID, "C", (1.0, 10.0))
    words = ["--csv", small_release / "semart_train.csv", "--text_tower", towers["text"]]
    results, card = main("text", *words, "--seeds", 7)
    (run,) = results["runs"]
    assert run["rows"] == {"train": 56, "test": 14}
    assert (run["seed"], results["csv"], results["recipe"]) == (7, "semart_train.csv", "text_proof.yaml")
    for side in (run["tfidf"]["accuracy"], run["tfidf"]["macro_f1"], run["ours"], run["tower_alone"]):
        accuracies = [task["accuracy"] for task in side["tasks"].values()]
        assert list(side["tasks"]) == ["type", "school", "timeframe", "medium"]
        assert side["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert f"{100 * run['ours']['mean_accuracy']:.1f} ± 0.0" in card
    assert str(small_release) not in card + json.dumps(results)
    assert "1 of 1: seed 7" in capsys.readouterr().out


@pytest.fixture(scope="module")
def museum_words(tmp_path_factory):
    """The command line of a proof on tiny museums, with a model that has not seen them."""
    folder = tmp_path_factory.mktemp("museums")
    return ["--model", save_tiny_model(folder / "model"), "--release", folder / "museums", "--seeds", 0]


def test_orders_of_a_review_are_proved(main, museum_words, monkeypatch):
    for name, value in (("SIZES", TINY), ("ROUNDS", 2), ("DECISIONS", 12)):
        monkeypatch.setattr(review_runs, name, value)
    results, card = main("review", *museum_words)
    curves = results["runs"][0]["curves"]
    assert len(curves) == 6
    for curve in curves.values():
        assert [point["decisions"] for point in curve] == [12, 24, 36]
        assert curve[0] == curves["at random"][0]  # the same first decisions
    # Four questions about each painting, or each about another.
    assert curves["at random"][-1]["paintings"] <= 10 < curves["most expected gain first"][-1]["paintings"]
    summary = results["summary"]
    assert summary["orders"]["at random"]["share"] <= 1
    assert summary["winner"] in card.split("**")[1].lower()
    assert review_runs.decisions_until(0.5, [0, 10, 20], [0.2, 0.4, 0.6]) == pytest.approx(15)
    assert review_runs.decisions_until(0.7, [0, 10, 20], [0.2, 0.4, 0.6]) is None


def test_an_audit_is_proved(main, museum_words, monkeypatch):
    pytest.importorskip("cleanlab", reason="no cleanlab: pip install 'semart-hf[audit]'")
    from proofs import audit_runs

    monkeypatch.setattr(audit_runs, "SIZES", TINY)
    results, card = main("audit", *museum_words)
    (run,) = results["runs"]
    for task in run["tasks"].values():
        assert task["replaced"] == round(0.05 * task["labels"])
        assert 0 <= task["found"] <= task["replaced"]
        assert task["flagged_right"] <= task["flagged"]
    assert run["all"]["replaced"] == sum(task["replaced"] for task in run["tasks"].values())
    assert f"{100 * run['all']['found'] / run['all']['replaced']:.1f} % are replaced ones" in card
    wrong, sure = np.array([True, False, True, False]), np.array([0.1, 0.2, 0.9, 0.8])
    expected = {"labels": 4, "replaced": 2, "found": 1, "found_by_model": 2, "found_by_margin": 1}
    assert audit_runs.first_labels(wrong, sure, np.array([0.0, 0.3, 0.1, 0.3]), sure) == expected


def test_ablations_continue_where_they_ended(main, tmp_path, monkeypatch, capsys):
    longer = ablations_runs.TECHNIQUES["longer training"]
    monkeypatch.setattr(ablations_runs, "SIZES", TINY)
    monkeypatch.setattr(ablations_runs, "TECHNIQUES", {"lexicon": {"text_lexicon": False}, "longer training": longer})
    words = ["--release", tmp_path / "tail", "--seeds", "0"]
    results, card = main("ablations", *words)
    names = ["best", "plain", "plain, as long", "without lexicon", "without longer training"]
    assert [run["setting"] for run in results["runs"]] == names
    best, plain = (run["image+text"] for run in results["runs"][:2])
    gain = 100 * (best["mean_macro_f1"] - plain["mean_macro_f1"])
    assert f"without any of the techniques below: {round(gain, 1) + 0.0:+.1f} points of mean macro-F1" in card
    assert f"Wrong by {best['mean_absolute_error_periods']:.3f} periods on average" in card
    assert "- **lexicon**: off by " in card
    assert json.loads((tmp_path / "tail" / "ceiling.json").read_text())["settings"]["long_tail"] is True
    with pytest.raises(ValueError, match="results of ablations that are not complete"):
        proof_cards.card(results | {"summary": {"best": results["summary"]["best"]}})
    # What was lost is trained again, what was trained by the same recipe is kept.
    (tmp_path / "ablations.json").write_text(json.dumps(results | {"runs": results["runs"][1:]}))
    capsys.readouterr()
    again, _ = main("ablations", *words)
    assert "1 of 1: setting best, seed 0" in capsys.readouterr().out
    assert again["runs"][1:] == results["runs"][1:]
    monkeypatch.setitem(ablations_runs.TECHNIQUES, "lexicon", {"fusion_dim": 16})
    with pytest.raises(SystemExit, match=r"a run \(setting best, seed 0\) by another recipe than today's"):
        main("ablations", *words)


def test_a_published_model_is_proved_as_a_start(main, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_runs, "SIZES", {"num_train": 140, "num_val": 1, "num_test": 1})
    monkeypatch.setattr(finetune_runs, "NUM_PAINTINGS", 8)
    results, card = main("finetune", "--release", tmp_path / "release", "--seeds", 0)
    names = [finetune_runs.START, finetune_runs.TOWERS, finetune_runs.WHOLE]
    assert [run["setting"] for run in results["runs"]] == names
    start, towers, whole = (run["image+text"]["mean_accuracy"] for run in results["runs"])
    gains = {name: gain["mean"] for name, gain in results["summary"]["accuracy"]["gains"].items()}
    assert list(gains.values()) == pytest.approx([start - towers, start - whole])
    assert f"better by {100 * (start - towers):+.1f} ± 0.0 points than the run from towers alone, by" in card
    rows = load_paintings(tmp_path / "release", min_label_count=1)["train"]
    halves = [finetune_runs.half_of(rows, number) for number in (0, 1)]
    assert results["runs"][0]["rows"]["train"] == 8
    for task in finetune_runs.HALVED:
        assert not {*halves[0][task]} & {*halves[1][task]}
    ours = finetune_runs.renamed(halves[1])
    for label, name in zip(halves[1]["type"], ours["type"], strict=True):
        assert ours.features["type"].names[name] == f"our {rows.features['type'].names[label]}"


def test_speed_is_proved_with_all_techniques_and_with_none(main, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed_runs, "SIZES", TINY)
    uses = []
    train = SemArtTrainer.train

    def noted(trainer, *args, **kwargs):
        cache = trainer.data_collator.frozen_text
        uses.append((len(trainer.techniques) > 0, trainer.args.keep_freed_memory, cache is not None))
        return train(trainer, *args, **kwargs)

    monkeypatch.setattr(SemArtTrainer, "train", noted)
    monkeypatch.setitem(speed_runs.EXACT, "max_steps", 2)
    words = ["--release", tmp_path / "data", "--seeds", "3"]
    results, card = main("speed", *words)
    assert [run["setting"] for run in results["runs"]] == [*speed_runs.SETTINGS, *speed_runs.CURVES]
    assert uses == [(True, True, True), (False, False, False), (False, False, False)] * 2
    with_all, same_pictures, with_none = (run["image+text"]["mean_accuracy"] for run in results["runs"][:3])
    differences = results["summary"]["mean_accuracy"]["differences"]
    assert list(differences.values()) == pytest.approx([with_all - same_pictures, with_all - with_none])
    first, same, other = (run["losses"] for run in results["runs"][3:])
    assert len(first) == len(other) == len(same) == 2
    # Equal but for rounding, and for the filters that pictures go through: 10 layers of up to 512 terms, and their
    # gradients.
    assert first == pytest.approx(same, abs=rounding(512, layers=2 * 10, size=max(first)))
    assert first == pytest.approx(other, abs=0.02)
    assert "where pictures go through another filter" in card
    main("speed", *words)  # nothing is left to do
    assert capsys.readouterr().out.count("setting all, seed 3") == 1


def test_retrieval_is_proved_beside_canonical_correlations(main, small_release, towers, tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval_runs, "SIZES", TINY)
    monkeypatch.setattr(retrieval_runs, "COMPONENTS", (2, 3))
    monkeypatch.setattr(retrieval_runs, "REDUCTIONS", (None, 8))
    monkeypatch.setattr(runner, "IN_PROCESS", runner.IN_PROCESS | {"frozen_vision_stages": 5})
    words = ["--paintings", small_release, "--vision_tower", towers["vision"], "--text_tower", towers["text"]]
    results, card = main("retrieval", *words, "--release", tmp_path / "data", "--seeds", "0")
    assert [run["setting"] for run in results["runs"]] == ["real paintings", "joint", "tasks alone"]
    real, joint, alone = results["runs"]
    assert "retrieval" not in alone
    for way, ceiling in results["ceilings"]["search"].items():
        assert joint["retrieval"][way]["ceiling"] == ceiling
    recalls = [joint["retrieval"][way][f"recall_at_{depth}"] for way in retrieval_runs.WAYS for depth in (1, 5, 10)]
    assert results["summary"]["miniature"]["mean"]["mean"] == pytest.approx(np.mean(recalls))
    cost = joint["image+text"]["mean_accuracy"] - alone["image+text"]["mean_accuracy"]
    assert results["summary"]["costs"]["mean_accuracy"]["mean"] == pytest.approx(cost)
    for kind, columns in (("plain", None), ("reduced", 8)):
        assert real["correlations"][kind]["columns"] == columns
        assert real["correlations"][kind]["retrieval"]["num_rows"] == real["retrieval"]["num_rows"]
    assert f"{results['summary']['real']['times']['plain']:.1f} times what plain CCA has" in card


def run_or_die(setting, seed):
    if seed == 0:
        os._exit(3)
    return {"seconds": 1.0, "commit": "abc"}


def test_what_others_trained_is_kept_where_one_dies_and_what_was_about_something_else_is_not(monkeypatch):
    monkeypatch.setattr(runner, "get_context", lambda kind: PROCESSES)
    found = runner.run_each(run_or_die, [{"setting": "plain", "seed": seed} for seed in (0, 1)], processes=2)
    run = next(found)
    assert (run["seed"], run["setting"]) == (1, "plain")
    with pytest.raises(ChildProcessError, match=r"run \(setting plain, seed 0\) ended without a result"):
        next(found)
    assert runner.kept_runs({}, [{"setting": "plain"}], {"runs": [run]}) == [run]
    assert runner.kept_runs({}, [{"setting": "plain", "about": 1}], {"runs": [run | {"about": 2}]}) == []
    numbered = run | {"about": {"200": 0}}
    assert runner.kept_runs({}, [{"setting": "plain", "about": {200: 0}}], {"runs": [numbered]}) == [numbered]


def test_every_technique_changes_the_best_recipe_and_the_plain_one_has_none():
    best, plain = (read_recipe(RECIPES / name) for name in (ablations_runs.BEST, ablations_runs.PLAIN))
    for fields in ablations_runs.TECHNIQUES.values():
        assert all(name in best and best[name] != value for name, value in fields.items())
        assert all(plain.get(name, value) == value for name, value in fields.items() if name != "loss")
    switched = {name for fields in ablations_runs.TECHNIQUES.values() for name in fields}
    apart = {name for name in best.keys() | plain.keys() if best.get(name) != plain.get(name)}
    # The last two say nothing where their technique is off.
    assert apart - switched <= {"output_dir", "lexicon_penalty", "logit_adjustment_tau"}
    assert plain.get("loss", "cross_entropy") == "cross_entropy"
    figure = mean_and_deviation([0.5, 0.6])
    assert figure == {"mean": pytest.approx(0.55), "deviation": pytest.approx(np.std([0.5, 0.6], ddof=1))}
    assert proof_cards.cell(figure) == "55.0 ± 7.1"
    assert proof_cards.cell(mean_and_deviation([-0.02]), sign=True) == "-2.0 ± 0.0"


@pytest.mark.parametrize("part", [part for part in prove.PARTS if (prove.RESULTS / f"{part}.json").is_file()])
def test_summaries_and_cards_are_those_of_the_kept_runs(part, tmp_path, monkeypatch):
    if part == "audit":
        pytest.importorskip("cleanlab", reason="no cleanlab: pip install 'semart-hf[audit]'")
    results = json.loads((prove.RESULTS / f"{part}.json").read_text(encoding="utf-8"))
    summary = importlib.import_module(f"proofs.{part}_runs").summarise(results["runs"])
    found, expected = (  # machines round otherwise
        json.loads(json.dumps(one), parse_float=lambda digits: round(float(digits), 6))
        for one in (summary, results["summary"])
    )
    assert found == expected
    kept = prove.CARDS
    monkeypatch.setattr(prove, "CARDS", tmp_path)
    prove.write_card(part)
    (card,) = tmp_path.glob("*.md")
    assert card.read_text(encoding="utf-8") == (kept / card.name).read_text(encoding="utf-8")
