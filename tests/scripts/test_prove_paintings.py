import json
import shutil

import numpy as np
import pandas as pd
import pytest
from proofs import anchors, paintings_runs, proof_cards
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from semart_hf.recipes.recipe import read_recipe


def test_words_and_features_in_rotated_columns_give_the_same_answers():
    generator = np.random.default_rng(0)
    words = ["saint", "river", "delft", "lady", "mill", "snow", "rome", "ovid"]
    texts = [" ".join(generator.choice(words, 12)) for _ in range(60)]
    features = generator.normal(size=(60, 70)) * 3 + 1
    labels = np.array([int(text.count("saint") > 1) + int("rome" in text) for text in texts])
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts[:40]).transform(texts).toarray()
    scaled = (features - features[:40].mean(axis=0)) / features[:40].std(axis=0) / np.sqrt(70)
    found = anchors.word_columns(texts[:40], texts[40:]), anchors.feature_columns(features[:40], features[40:])
    both = anchors.rotated(*(np.hstack(parts) for parts in zip(*found, strict=True)))
    for strength in (0.1, 10.0):
        model = LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
        pairs = zip((plain, scaled, np.hstack([plain, scaled])), (*found, both), strict=True)
        for columns, (learned, judged) in pairs:
            expected = model.fit(columns[:40], labels[:40]).predict_proba(columns[40:])
            answers = model.fit(learned, labels[:40]).predict_proba(judged)
            assert answers == pytest.approx(expected, abs=1e-4)  # the solver's tolerance
            assert learned.shape[1] <= 40


def test_each_metric_is_tuned_for_and_unknown_labels_are_left_out(monkeypatch):
    monkeypatch.setitem(anchors.GRID, "C", (0.1, 10.0))
    texts = ["saint rome"] * 30 + ["river mill"] * 10 + ["snow"] * 4
    labels = np.array([0] * 30 + [1] * 10 + [anchors.UNKNOWN_LABEL] * 4)
    learned, asked = anchors.word_columns(texts, ["a saint in rome", "a mill by a river"])
    found = anchors.tune_and_predict(learned, labels, asked, seed=0)
    assert set(found) == {"accuracy", "macro_f1"}
    for predictions, chosen in found.values():
        assert predictions.tolist() == [0, 1]
        assert (chosen["C"] in (0.1, 10.0), chosen["class_weight"] in (None, "balanced")) == (True, True)
    # Of one label there is nothing to tune, and of none the first is the answer.
    for known, answer in (([1, 1, 1, 0], 1), ([anchors.UNKNOWN_LABEL] * 4, 0)):
        (predictions, chosen), _ = anchors.tune_and_predict(learned[:4], np.array(known), asked, seed=0).values()
        assert (predictions.tolist(), chosen) == ([answer] * 2, {})


TINY_RECIPE = """
frozen_vision_stages: 1
fusion_dim: 16
min_label_count: 3
text_lexicon: true
num_train_epochs: 1
learning_rate: 1e-2
logging_steps: 1
"""


@pytest.fixture
def tiny_paintings(monkeypatch, tmp_path):
    """The proof on paintings by a tiny recipe, on three folds, with one choice."""
    (tmp_path / "paintings.yaml").write_text(TINY_RECIPE)
    (tmp_path / "semart-efficientnet_b0.yaml").write_text(TINY_RECIPE.replace("count: 3", "count: 5"))
    name_of = paintings_runs.recipe_of
    monkeypatch.setattr(paintings_runs, "recipe_of", lambda setting: str(tmp_path / f"{name_of(setting)}.yaml"))
    monkeypatch.setattr(paintings_runs, "SIZES", ())
    monkeypatch.setattr(paintings_runs, "CHOICES", {"as it was": {}, "averaged weights": {"ema_decay": 0.5}})
    monkeypatch.setattr(paintings_runs, "CHOICE_FOLDS", {"averaged weights": [0, 1]})
    monkeypatch.setattr(anchors, "GRID", {"C": (1.0,)})


def accuracy_by_hand(run, side):
    """The share of a run's known labels that are answered rightly, by task and in the mean."""
    found = {}
    for task, line in run["truth"].items():
        pairs = zip(line.split(), run["answers"][side][task].split(), strict=True)
        found[task] = np.mean([a == b for a, b in pairs if int(a) >= 0])
    return found | {"mean": np.mean([*found.values()])}


@pytest.mark.parametrize("tower", ["resnet18", "efficientnet_b0", "vit_tiny"])
def test_the_semart_recipes_have_what_was_adopted(tower):
    recipe, adopted = read_recipe(f"semart-{tower}"), paintings_runs.CHOICES[paintings_runs.ADOPTED]
    assert {name: recipe[name] for name in adopted} == adopted


def test_paintings_are_proved_beside_their_anchors(main, tiny_paintings, small_release, towers, tmp_path, capsys):
    words = ["--releases", small_release, "--release", tmp_path / "rows", "--vision_tower", towers["vision"]]
    words += ["--text_tower", towers["text"], "--seeds", 1]
    results, card = main("paintings", *words, "--parts", "choices")
    plain, *alone = results["runs"]
    assert "nor have the anchors." in card
    as_it_was, averaged = (100 * accuracy_by_hand(run, "image+text")["mean"] for run in (plain, alone[0]))
    gains = results["summary"]["choices"]["averaged weights"]["image+text"]["gains"]["accuracy"]
    assert 100 * gains["value"] == pytest.approx(averaged - as_it_was)
    assert f"| as it was |  | 1 | {as_it_was:.1f} |  |" in card
    assert f"| {averaged - as_it_was:+.1f} (" in card.split("| averaged weights | `ema_decay: 0.5` | 2 (")[1]
    results, card = main("paintings", *words)
    names = ["anchors", "paintings", "semart-efficientnet_b0", "semart-efficientnet_b0: as it was"]
    assert [run["setting"] for run in results["runs"]] == [*names, *["semart-efficientnet_b0: averaged weights"] * 2]
    theirs, ours, _, choice, *averaged = results["runs"]
    assert [choice, *averaged] == [plain, *alone]
    assert results["rows"]["number"] == 110 == ours["rows"]["train"] + ours["rows"]["judged"]
    folds = paintings_runs.joined_rows([small_release], tmp_path / "rows")["fold"]
    assert choice["rows"]["train"] + choice["rows"]["judged"] == (folds != 0).sum()
    accuracy, anchor = accuracy_by_hand(ours, "image+text"), accuracy_by_hand(theirs, "image+text, accuracy")
    gains = results["summary"]["recipes"]["paintings"]["gains"]["image+text"]["accuracy"]
    for task, gain in gains.items():
        assert gain["value"] == pytest.approx(accuracy[task] - anchor[task])
    assert gains["mean"]["interval"][0] <= gains["mean"]["value"] <= gains["mean"]["interval"][1]
    assert f"{100 * gains['mean']['value']:+.1f} (" in card
    assert "fold 1 |" in card
    assert str(tmp_path) not in card + json.dumps(results)
    assert not [*(tmp_path / "rows").glob("run-*")]
    main("paintings", *words)  # nothing is left to do
    assert capsys.readouterr().out.count("setting anchors, seed 1") == 1


def test_labels_of_the_judged_fold_change_nothing_else(main, tiny_paintings, small_release, towers, tmp_path):
    table = paintings_runs.joined_rows([small_release], tmp_path)
    is_judged = (table["fold"] == 0).to_numpy()
    permuted = table.copy()
    order = np.random.default_rng(0).permutation(is_judged.sum())
    for column in paintings_runs.LABELS:
        permuted.loc[is_judged, column] = table.loc[is_judged, column].to_numpy()[order]
    place = {"seed": 0, "folder": tmp_path, "towers": towers, "num_rows": 110, "fields": {}}
    for setting in (paintings_runs.ANCHORS, paintings_runs.RECIPE):
        about = paintings_runs.about_of(setting, {})
        first, second = (paintings_runs.run_one(setting, about=about, table=t, **place) for t in (table, permuted))
        assert first["truth"] != second["truth"]
        for name in ("labels", "answers", "chosen", "model"):  # the last is of all tensors and of the configuration
            assert first.get(name) == second.get(name)
    permuted.loc[~is_judged, "TYPE"] = table.loc[~is_judged, "TYPE"].to_numpy()[::-1]
    about = paintings_runs.about_of(paintings_runs.RECIPE, {})
    other = paintings_runs.run_one(paintings_runs.RECIPE, about=about, table=permuted, **place)
    assert other["model"] != first["model"]


def test_folds_keep_copies_together(small_release, tmp_path):
    for name in ("one", "other"):
        shutil.copytree(small_release, tmp_path / name)
    reading = {"sep": "\t", "dtype": str, "keep_default_na": False, "encoding": "cp1252"}
    rows = pd.read_csv(tmp_path / "other" / "semart_train.csv", **reading)
    files = rows["IMAGE_FILE"].tolist()
    for name in ("train", "val", "test"):
        path = tmp_path / "other" / f"semart_{name}.csv"
        path.write_bytes(path.read_bytes().replace(b".jpg", b"b.jpg"))
    for path in (tmp_path / "other" / "Images").iterdir():
        path.rename(path.with_name(path.stem + "b.jpg"))
    better = pd.DataFrame({"IMAGE_FILE": files[:1], "TYPE": "genre", "SCHOOL": "", "TIMEFRAME": "", "TECHNIQUE": ""})
    better.assign(semart_file="a.jpg").to_csv(tmp_path / "one" / "relabelled.csv", index=False)
    table = paintings_runs.joined_rows([tmp_path / "one", tmp_path / "other"], tmp_path / "rows")
    assert len(table) == 220
    folds = table.set_index("IMAGE_FILE")["fold"]
    assert all(folds[name] == folds[name.replace(".jpg", "b.jpg")] for name in files)
    assert table.groupby("group")["fold"].nunique().max() == 1
    row, kept = (table[table["IMAGE_FILE"] == files[0]].iloc[0], rows.iloc[0])
    assert (row["TYPE"], row["SCHOOL"], row["work"]) == ("genre", kept["SCHOOL"], "a.jpg")
    learned, judged = paintings_runs.divided(table, 2)
    assert (judged["fold"] == 2).all()
    assert (learned["fold"] != 2).all()
    with pytest.raises(ValueError, match=r"in two of .*A picture has a name of its own"):
        paintings_runs.joined_rows([tmp_path / "one", tmp_path / "one"], tmp_path / "rows")


def test_text_alone_is_judged_where_there_is_a_text():
    run = {"labels": {"type": ["genre", "UNK"]}, "truth": {"type": "0 0 -100 1"}, "has_text": "1 0 1 1"}
    other = {"labels": {"type": ["portrait", "genre", "UNK"]}, "truth": {"type": "1 0"}, "has_text": "1 1"}
    runs = [
        {**run, "answers": {"text": {"type": "0 1 0 0"}, "image": {"type": "0 1 0 0"}}},
        {**other, "answers": {"text": {"type": "1 2"}, "image": {"type": "1 2"}}},
    ]
    by_text, by_picture = (paintings_runs.pooled(runs, side).task("type") for side in ("text", "image"))
    assert by_text.labels == ("genre", "UNK", "portrait")
    assert by_picture.references.tolist() == [0, 0, -100, 1, 0, 2]
    assert by_text.references.tolist() == [0, -100, -100, 1, 0, 2]
    assert by_text.predictions.tolist() == by_picture.predictions.tolist() == [0, 1, 0, 0, 0, 1]


def test_few_rows_are_compared_fold_by_fold(tmp_path):
    def run(**answers):
        truth = {"type": "0 0 1 1"}
        by_side = {side.replace("_and_", "+"): {"type": line} for side, line in answers.items()}
        return {"labels": {"type": ["genre", "portrait"]}, "truth": truth, "answers": by_side}

    def anchor(accuracy, macro_f1):
        answers = {"image+text, accuracy": {"type": accuracy}, "image+text, macro_f1": {"type": macro_f1}}
        return run() | {"answers": answers}

    anchors = {0: anchor("0 0 0 1", "0 0 0 0"), 1: anchor("0 1 1 1", "0 0 1 1"), 2: anchor("0 0", "0 0")}
    runs = {"paintings, 50 rows": {0: run(image_and_text="0 0 1 1"), 1: run(image_and_text="0 0 0 0")}}
    runs["anchors, 50 rows"] = anchors
    found = paintings_runs.few_rows(runs)
    assert [*found] == ["50"]
    assert found["50"]["accuracy"]["paintings"]["mean"] == pytest.approx((1 + 0.5) / 2)
    assert found["50"]["accuracy"]["gains"] == pytest.approx([0.25, -0.25])
    assert found["50"]["macro_f1"]["gains"] == pytest.approx([1 - 1 / 3, 1 / 3 - 1])
    proof_cards.write_charts({"summary": {"few": found}}, tmp_path / "paintings")
    assert (tmp_path / "paintings" / "few_rows.png").stat().st_size > 1000
