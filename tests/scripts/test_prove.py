"""The proofs: a tiny run of each part, what they compare with, and that the cards say what the results do."""

import json
import sys

import numpy as np
import pytest
from rounding import rounding
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tiny_release import load_script
from transformers import DistilBertConfig, DistilBertModel

from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.miniature.miniature import paint_miniature

prove = load_script("prove")  # puts the parts within reach of the imports below

from proofs import ablations, cards, pictures, processes, speed, text, tfidf  # noqa: E402
from proofs.scores import cell, mean_and_deviation  # noqa: E402

BRIEF = ["--fields", '{"max_steps": 1, "per_device_train_batch_size": 4}']


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return paint_miniature(tmp_path_factory.mktemp("release") / "release", num_train=30, num_val=4, num_test=6)


@pytest.fixture(scope="module")
def text_tower(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tower")
    tokenizer = learn_tokenizer(["an artist painted an episode from Ovid in the 1630s"] * 3, vocab_size=100)
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=64, pad_token_id=0)
    DistilBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_text_is_proved_and_its_card_written_again(release, text_tower, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tfidf, "STRENGTHS", (1.0, 10.0))
    files = ["--json", str(tmp_path / "text.json"), "--card", str(tmp_path / "card.md")]
    source = ["--csv", str(release / "semart_train.csv"), "--text_tower", str(text_tower)]
    prove.main(["text", *source, "--seeds", "7", *files, *BRIEF])

    results = json.loads((tmp_path / "text.json").read_text())
    (run,) = results["runs"]
    assert run["rows"] == {"train": 24, "test": 6}
    assert (run["seed"], results["csv"], results["recipe"]) == (7, "semart_train.csv", "text_proof.yaml")
    for side in (run["tfidf"]["accuracy"], run["tfidf"]["macro_f1"], run["ours"], run["tower_alone"]):
        accuracies = [task["accuracy"] for task in side["tasks"].values()]
        assert list(side["tasks"]) == ["type", "school", "timeframe", "medium"]
        assert side["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    card = (tmp_path / "card.md").read_text()
    assert f"{100 * run['ours']['mean_accuracy']:.1f} ± 0.0" in card
    assert str(tmp_path) not in card + (tmp_path / "text.json").read_text()
    assert "seed 7: tfidf accuracy" in capsys.readouterr().out
    prove.main(["card", str(tmp_path / "text.json"), "--card", str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_text() == card


def test_pictures_are_proved(release, tmp_path):
    files = ["--json", str(tmp_path / "pictures.json"), "--card", str(tmp_path / "card.md")]
    prove.main(["pictures", "--release", str(release), "--folds", "2", *files, *BRIEF])

    results = json.loads((tmp_path / "pictures.json").read_text())
    assert results["filled"]["rows"] == 40
    assert [run["rows"] for run in results["runs"]] == [{"train": 20, "test": 20}] * 2
    for run in results["runs"]:
        assert set(run["one_checkpoint"]) == {"image", "text"}
    gain = np.mean([run["image+text"]["mean_accuracy"] - run["text"]["mean_accuracy"] for run in results["runs"]])
    assert results["summary"]["gains"]["text"]["mean"] == pytest.approx(gain)
    assert f"{100 * gain:+.1f} points of mean accuracy over text alone" in (tmp_path / "card.md").read_text()


def test_a_training_that_dies_is_an_error(tmp_path, monkeypatch):
    task = (tmp_path, "plain", 7, {}, 1)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(prove.SCRIPTS)])  # as seen by it
    with pytest.raises(ChildProcessError, match="The process of 'plain', seed 7, ended without a result"):
        list(processes.train_each(ablations.train_one, [task], 1))


def test_what_others_trained_is_kept_where_one_fails(monkeypatch):
    def train(_, task):
        if task[2] == 0:
            raise ValueError("diverged")
        return {"seed": task[2]}

    monkeypatch.setattr(processes, "_train_apart", train)
    done = processes.train_each(ablations.train_one, [(None, "plain", seed, {}, 1) for seed in range(3)], 1)
    assert {next(done)["seed"], next(done)["seed"]} == {1, 2}
    with pytest.raises(ValueError, match="diverged"):
        next(done)


def test_ablations_go_on_where_they_ended(tmp_path, monkeypatch, capsys):
    # Other scripts take their folder off the path, from which the processes find the parts of this one.
    monkeypatch.setattr(sys, "path", [*sys.path, str(prove.SCRIPTS)])
    monkeypatch.setattr(ablations, "SIZES", {"num_train": 70, "num_val": 6, "num_test": 12})
    files = ["--json", str(tmp_path / "found.json"), "--card", str(tmp_path / "card.md")]
    brief = {"max_steps": 1, "per_device_train_batch_size": 4, "image_size": 32}
    words = ["ablations", "--release", str(tmp_path / "tail"), *files, "--fields", json.dumps(brief)]
    means = next(iter(ablations.MEANS))
    with pytest.raises(SystemExit, match=r"without \['plain'\], but the card compares both recipes"):
        prove.main([*words, "--seeds", "0", "--settings", "best"])
    prove.main([*words, "--seeds", "0", "--settings", "best", "plain", f"without {means}"])

    assert capsys.readouterr().out.count("best, seed 0: accuracy") == 1
    results = json.loads((tmp_path / "found.json").read_text())
    assert [run["setting"] for run in results["runs"]] == ["best", "plain", f"without {means}"]
    best, plain, _ = (run["image+text"] for run in results["runs"])
    gain = 100 * (best["mean_macro_f1"] - plain["mean_macro_f1"])
    error = best["mean_absolute_error_periods"]
    card = (tmp_path / "card.md").read_text()
    assert f"without any of the means below: {round(gain, 1) + 0.0:+.1f} points of mean macro-F1" in card
    assert f"Wrong by {error:.3f} periods on average" in card
    assert f"- **{means}**: off by " in card
    assert json.loads((tmp_path / "tail" / "ceiling.json").read_text())["settings"]["long_tail"] is True
    with pytest.raises(SystemExit, match="holds a run of 'best' by another recipe than today's"):
        prove.main([*words[:-1], "{}"])
    # A means with another value off is another setting: its run alone is trained again.
    monkeypatch.setitem(ablations.MEANS, means, {"fusion_dim": 16})
    prove.main([*words, "--seeds", "0", "--settings", "best", "plain", f"without {means}", "--renew"])
    printed = capsys.readouterr().out
    assert printed.count("Left out") == 1
    assert f"Left out, since its recipe or data has changed: without {means}, seed 0" in printed
    assert "1 of 1: without" in printed
    again = json.loads((tmp_path / "found.json").read_text())
    assert again["runs"][:2] == results["runs"][:2]
    assert again["means"][means] == {"fusion_dim": 16}
    monkeypatch.setattr(ablations, "SIZES", ablations.SIZES | {"num_train": 71})
    with pytest.raises(SystemExit, match="holds a run of 'best' by another recipe than today's, or on other data"):
        prove.main(words)
    with pytest.raises(SystemExit, match=r"Got the settings \['none'\]"):
        prove.main([*words, "--settings", "none"])


def test_speed_is_proved_with_all_means_and_with_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path, str(prove.SCRIPTS)])  # from which the processes find the parts
    monkeypatch.setattr(speed, "SIZES", {"num_train": 70, "num_val": 6, "num_test": 12})
    files = ["--json", str(tmp_path / "found.json"), "--card", str(tmp_path / "card.md")]
    brief = {"max_steps": 2, "per_device_train_batch_size": 8, "image_size": 32, "text_cache_dir": str(tmp_path / "c")}
    words = ["speed", "--release", str(tmp_path / "data"), *files, "--fields", json.dumps(brief)]
    prove.main([*words, "--seeds", "3"])

    results = json.loads((tmp_path / "found.json").read_text())
    assert [run["setting"] for run in results["runs"]] == [*speed.SETTINGS, *speed.CURVES]
    with_all, same_pictures, with_none = (run["image+text"]["mean_accuracy"] for run in results["runs"][:3])
    differences = results["summary"]["mean_accuracy"]["differences"]
    assert list(differences.values()) == pytest.approx([with_all - same_pictures, with_all - with_none])
    first, same, other = (run["losses"] for run in results["runs"][3:])
    assert len(first) == len(other) == len(same) == 2
    # Equal but for rounding, and for the filters that pictures go through: 5 layers of up to 512 terms, and their
    # gradients.
    assert first == pytest.approx(same, abs=rounding(512, layers=2 * 10, size=max(first)))
    assert first == pytest.approx(other, abs=0.02)
    assert "by one resampling in one and by torchvision's" in (tmp_path / "card.md").read_text()
    assert list((tmp_path / "c").rglob("*.safetensors")) or list((tmp_path / "c").iterdir())
    assert capsys.readouterr().out.count("seed 3: accuracy") == 3
    prove.main([*words, "--seeds", "3"])  # nothing is left to do
    assert json.loads((tmp_path / "found.json").read_text())["runs"] == results["runs"]
    with pytest.raises(SystemExit, match="holds runs of another recipe or other fields"):
        prove.main([*words[:-1], "{}"])


def test_the_spread_is_that_of_the_setting_whose_seeds_are_further_apart():
    def run(setting, seed, accuracy):
        return {"setting": setting, "seed": seed, "image+text": {"mean_accuracy": accuracy, "mean_macro_f1": 0.5}}

    same = speed.SETTINGS[1]
    runs = [run("all", 0, 0.8), run("all", 1, 0.9), run("none", 0, 0.8), run("none", 1, 0.82), run("none", 2, 0.1)]
    runs += [run(same, 0, 0.9), run(same, 1, 0.7)]
    curves = [
        {"setting": name, "losses": losses}
        for name, losses in zip(speed.CURVES, ([3, 2], [3.5, 2], [3, 2.25]), strict=True)
    ]
    summary = speed.summarise([*runs, *curves])
    assert summary["seeds"] == [0, 1]
    assert summary["mean_accuracy"]["differences"] == pytest.approx({same: 0.05, "none": 0.04})
    assert summary["mean_accuracy"]["spreads"] == pytest.approx({same: 0.2, "none": 0.1})
    assert [summary["losses"][name]["largest_difference"] for name in speed.CURVES[1:]] == pytest.approx([0.5, 0.25])
    assert "losses" not in speed.summarise(runs)


def test_changes_against_the_best_are_taken_seed_by_seed():
    def run(setting, seed, accuracy, macro_f1, periods):
        both = {
            "tasks": {"type": {"accuracy": accuracy, "macro_f1": macro_f1}},
            "mean_accuracy": accuracy,
            "mean_macro_f1": macro_f1,
            "mean_absolute_error_periods": periods,
        }
        return {"setting": setting, "seed": seed, "image+text": both, "image": both, "text": both}

    summary = ablations.summarise(
        [run("best", 0, 0.8, 0.7, 0.2), run("best", 1, 0.9, 0.8, 0.1), run("plain", 1, 0.85, 0.6, 0.4)]
    )
    assert summary["best"]["seeds"] == [0, 1]
    assert summary["best"]["macro_f1"]["mean"]["mean"] == pytest.approx(0.75)
    assert summary["plain"]["change"]["mean_macro_f1"]["mean"] == pytest.approx(-0.2)
    assert summary["plain"]["change"]["mean_accuracy"]["mean"] == pytest.approx(-0.05)
    assert "change" not in summary["best"]


def test_every_means_changes_the_best_recipe_and_the_plain_one_has_none():
    from semart_hf.training.recipe import read_recipe

    best, plain = (read_recipe(ablations.RECIPES / name) for name in (ablations.BEST, ablations.PLAIN))
    for fields in ablations.MEANS.values():
        assert all(name in best and best[name] != value for name, value in fields.items())
        assert all(plain.get(name, value) == value for name, value in fields.items() if name != "loss")
    switched = {name for fields in ablations.MEANS.values() for name in fields}
    apart = {name for name in best.keys() | plain.keys() if best.get(name) != plain.get(name)}
    assert apart - switched - {"output_dir"} <= ablations.NUMBERS_OF_MEANS
    assert plain.get("loss", "cross_entropy") == "cross_entropy"


def test_every_painting_is_judged_once(release, tmp_path):
    small = pictures.shrink(release, tmp_path / "small")
    folds = list(pictures.divide_into_folds(small, 5, seed=0))
    judged = [name for splits in folds for name in splits["test"]["image_file"]]
    assert len(judged) == len(set(judged)) == 40
    for splits in folds:
        assert not set(splits["train"]["image_file"]) & set(splits["test"]["image_file"])
        assert splits["train"].features == splits["test"].features
    assert min(folds[0]["train"][0]["image"].size) == pictures.SHORTER_SIDE


def test_what_is_no_picture_is_left_as_it_is(tmp_path):
    (tmp_path / "release" / "Images").mkdir(parents=True)
    (tmp_path / "release" / "Images" / "broken.jpg").write_bytes(b"no picture")
    small = pictures.shrink(tmp_path / "release", tmp_path / "small")
    assert (small / "Images" / "broken.jpg").read_bytes() == b"no picture"


def test_real_paintings_have_gaps(shared_data):
    filled = pictures.count_filled(shared_data / "open_paintings")
    assert {name: filled[name] for name in ("rows", "description", "type", "school", "timeframe")} == {
        "rows": 421,
        "description": 44,
        "type": 227,
        "school": 254,
        "timeframe": 288,
    }


def test_rotated_features_give_the_same_answers():
    generator = np.random.default_rng(0)
    words = ["saint", "river", "delft", "lady", "mill", "snow", "rome", "ovid"]
    texts = [" ".join(generator.choice(words, 12)) for _ in range(60)]
    labels = np.array([int(text.count("saint") > 1) + int("rome" in text) for text in texts])
    own, others = tfidf.features(texts[:40], texts[40:])
    assert own.shape[1] <= 40
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    plain = LogisticRegression(C=10.0, max_iter=2000).fit(vectorizer.fit_transform(texts[:40]), labels[:40])
    expected = plain.predict(vectorizer.transform(texts[40:]))
    assert len(set(expected)) > 1
    assert tfidf.fit_and_predict(own, labels[:40], others, 10.0, None).tolist() == expected.tolist()


def test_each_metric_is_tuned_for_and_unknown_labels_are_left_out():
    texts = ["saint rome"] * 30 + ["river mill"] * 10 + ["snow"] * 4
    labels = np.array([0] * 30 + [1] * 10 + [tfidf.MISSING] * 4)
    found = tfidf.tune_and_predict(texts, labels, ["a saint in rome", "a mill by a river"], seed=0)
    assert set(found) == {"accuracy", "macro_f1"}
    for tuned in found.values():
        assert tuned["predictions"].tolist() == [0, 1]
        assert tuned["C"] in tfidf.STRENGTHS


def test_a_single_label_is_the_answer():
    own = np.eye(3)
    assert tfidf.fit_and_predict(own, np.array([4, 4, 4]), own[:2], 1.0, None).tolist() == [4, 4]


def scores(accuracy, macro_f1):
    tasks = {task: {"accuracy": accuracy, "macro_f1": macro_f1} for task in ("type", "school")}
    return {"tasks": tasks, "mean_accuracy": accuracy, "mean_macro_f1": macro_f1}


def test_tfidf_is_judged_by_what_was_tuned_for_the_metric():
    runs = [
        {
            "tfidf": {"accuracy": scores(0.6, 0.1), "macro_f1": scores(0.2, 0.5)},
            "ours": scores(accuracy, 0.4),
            "tower_alone": scores(0.5, 0.3),
        }
        for accuracy in (0.7, 0.58)
    ]
    summary = text.summarise(runs)
    assert summary["scores"]["accuracy"]["tfidf"]["mean"] == {"mean": pytest.approx(0.6), "deviation": 0.0}
    assert summary["scores"]["macro_f1"]["tfidf"]["mean"]["mean"] == pytest.approx(0.5)
    assert summary["gains"]["accuracy"]["type"]["mean"] == pytest.approx(0.04)
    assert summary["gains"]["accuracy"]["type"]["positive"] == 1
    assert summary["gains"]["macro_f1"]["mean"]["mean"] == pytest.approx(-0.1)
    assert summary["tasks_with_better_accuracy"] == ["type", "school"]
    assert summary["is_better"] is False


def test_figures_are_means_with_the_deviation_of_one_run():
    figure = mean_and_deviation([0.5, 0.6])
    assert figure == {"mean": pytest.approx(0.55), "deviation": pytest.approx(np.std([0.5, 0.6], ddof=1))}
    assert cell(figure) == "55.0 ± 7.1"
    assert cell(mean_and_deviation([-0.02]), sign=True) == "-2.0 ± 0.0"


@pytest.mark.parametrize("path", sorted(prove.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_cards_are_those_of_the_kept_results(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    card = prove.card_of(path.stem).read_text(encoding="utf-8")
    assert card == cards.CARDS_BY_PART[path.stem](results)


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"prove\.py: Got the folder"):
        prove.main(["pictures", "--release", str(tmp_path)])
