import csv
import html
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from release_builder import contents

from semart_hf.catalogue.rules import medium_of
from semart_hf.cli.miniature import main
from semart_hf.miniature import miniature as module
from semart_hf.miniature.miniature import COLUMNS, SUBJECTS, ceilings, paint_miniature, sample_paintings
from semart_hf.miniature.painter import SHORT_SIDE, paint

# Labels too rare to be learned from the default number of paintings.
RARE = {"type": ("study",), "school": ("Greek", "Swedish"), "timeframe": ("1351-1400",), "medium": ("other",)}
SIZES = {"num_train": 30, "num_val": 3, "num_test": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paint_miniature(tmp_path_factory.mktemp("miniature") / "release", seed=3, **SIZES)


@pytest.fixture(scope="module")
def history():
    return module.art_history()


@pytest.fixture(scope="module")
def tail(history):
    return module.with_long_tail(history)


def rows_of(folder, split):
    with (folder / f"semart_{split}.csv").open(encoding="cp1252", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", strict=True))


def tiny_world():
    """Two labels a task, dependent labels, cues of different strength, one silent text cue."""
    tasks = ("type", "school", "timeframe", "medium")
    prior = np.random.default_rng(5).random((2, 2, 2, 2)) ** 2
    strong, weak = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.1, 0.3], [0.2, 0.5, 0.3]])
    blind = np.array([[0.5, 0.5], [0.5, 0.5]])
    return module.World(
        labels=dict.fromkeys(tasks, ("a", "b")),
        prior=prior / prior.sum(),
        image={task: dict(zip("xy", (blind if task == "school" else strong).T, strict=True)) for task in tasks},
        text={task: dict(zip(("x", "y", module.SILENT), weak.T, strict=True)) for task in tasks},
        missing_text=0.25,
    )


def best_by_hand(world, axis, cues):
    """Accuracy of the best answer on one axis, by walking through every state and every combination of cues."""
    best = 0.0
    states = list(np.ndindex(world.prior.shape))
    for shown in itertools.product(*(range(len(cue)) for _, cue in cues)):
        posterior = Counter()
        for state in states:
            probability = world.prior[state]
            for value, (task_axis, cue) in zip(shown, cues, strict=True):
                probability *= [*cue.values()][value][state[task_axis]]
            posterior[state[axis]] += probability
        best += max(posterior.values())
    return best


def test_ceilings_of_a_tiny_world_equal_a_walk_through_all_its_states():
    world = tiny_world()
    image, text = list(enumerate(world.image.values())), list(enumerate(world.text.values()))
    reached = ceilings(world, {})
    for axis, task in enumerate(world.labels):
        seen, read = best_by_hand(world, axis, image), best_by_hand(world, axis, text)
        assert reached["image"][task] == pytest.approx(seen)
        assert reached["text"][task] == pytest.approx(0.75 * read + 0.25 * best_by_hand(world, axis, []))
        both = best_by_hand(world, axis, image + text)
        assert reached["image+text"][task] == pytest.approx(0.75 * both + 0.25 * seen)
    for scores in reached.values():
        assert scores["mean"] == pytest.approx(np.mean([scores[task] for task in world.labels]))
    assert ceilings(world, {"school": ("a", "b")})["text"]["school"] == pytest.approx(1.0)
    assert ceilings(world, {"school": ("b",)}) == ceilings(world, {})  # one rare label is a class like any other


def test_the_best_reachable_search_is_an_order_by_what_cues_say_of_each_other():
    """Two labels that pictures always show: a description that speaks leaves its label's paintings, in any order."""
    shown = np.eye(2)
    said = np.array([[0.75, 0.0], [0.0, 0.75], [0.25, 0.25]])
    image, text = {"x": shown[0], "y": shown[1]}, {"x": said[0], "y": said[1], module.SILENT: said[2]}
    world = module.World({"type": ("a", "b")}, np.array([0.5, 0.5]), {"type": image}, {"type": text}, 0)
    paintings = [("x", "x"), ("x", "x"), ("y", "y"), ("y", module.SILENT), ("y", None)]
    cues = [module.Painting((0, 0, 0), {}, {"type": image}, text and {"type": text}) for image, text in paintings]
    found = module.search_ceilings(world, cues)
    # By text one of two, three times, and one of four; by picture one of two, twice, then y before the silent one.
    assert found["text_to_image"]["recall_at_1"] == pytest.approx((0.5 + 0.5 + 0.5 + 0.25) / 4)
    assert found["image_to_text"]["recall_at_1"] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    assert {way: scores["recall_at_5"] for way, scores in found.items()} == {"text_to_image": 1, "image_to_text": 1}


def test_neither_image_nor_text_suffices(history, tail):
    reached = ceilings(history, RARE)
    assert 0.92 < reached["image+text"]["mean"] < 0.98
    for task in history.labels:
        assert reached["image+text"][task] > max(reached["image"][task], reached["text"][task]) + 0.02
    for alone in ("image", "text"):
        assert 0.7 < reached[alone]["mean"] < reached["image+text"]["mean"] - 0.1
    assert tail.image is history.image
    assert tail.text is history.text
    reached = ceilings(tail, {})
    assert max(reached["image"]["mean"], reached["text"]["mean"]) + 0.05 < reached["image+text"]["mean"] < 0.97


def test_labels_and_cues_come_as_often_as_stated(history):
    paintings = sample_paintings(history, 0, 0, 5000)
    for axis, (task, labels) in enumerate(history.labels.items()):
        stated = history.prior.sum(axis=tuple(other for other in range(4) if other != axis))
        found = Counter(painting.labels[task] for painting in paintings)
        for label, probability in zip(labels, stated, strict=True):
            spread = (probability * (1 - probability) / len(paintings)) ** 0.5
            assert found[label] / len(paintings) == pytest.approx(probability, abs=5 * spread), (task, label)
    for name in ("image", "text"):
        for task, cue in getattr(history, name).items():
            for label, *stated in zip(history.labels[task], *cue.values(), strict=True):
                own = [painting for painting in paintings if painting.labels[task] == label and painting.text_cues]
                shown = [getattr(painting, f"{name}_cues")[task] for painting in own]
                for value, probability in zip(cue, stated, strict=True):
                    if len(shown) * probability < 5:  # too few for the normal approximation of the spread
                        continue
                    spread = (probability * (1 - probability) / len(shown)) ** 0.5
                    frequency = shown.count(value) / len(shown)
                    assert frequency == pytest.approx(probability, abs=5 * spread), (name, task, label, value)
    silent = sum(painting.text_cues is None for painting in paintings) / len(paintings)
    assert silent == pytest.approx(history.missing_text, abs=0.015)


def test_labels_are_long_tailed_and_only_the_rare_ones_stay_under_ten(history):
    paintings = sample_paintings(history, 0, 0, 2400)
    counts = {task: Counter(painting.labels[task] for painting in paintings) for task in history.labels}
    for task, labels in history.labels.items():
        assert {label for label in labels if counts[task][label] < 10} == set(RARE[task])
        ordered = sorted(counts[task][label] for label in labels if label not in RARE[task])
        assert ordered[-1] > 2 * ordered[0]
    assert counts["medium"]["canvas"] > 3 * counts["medium"]["paper"]
    assert sample_paintings(history, 1, 0, 8)[:5] == sample_paintings(history, 1, 0, 5)
    assert sample_paintings(history, 1, 0, 5) != sample_paintings(history, 1, 1, 5)


def test_schools_keep_to_their_times_and_media(history):
    def probability(**labels):
        tasks = history.labels.items()
        index = [names.index(labels[task]) if task in labels else slice(None) for task, names in tasks]
        return history.prior[tuple(index)].sum()

    italian = {"school": "Italian", "timeframe": "1451-1500"}
    french = {"school": "French", "timeframe": "1851-1900"}
    assert probability(**italian, medium="wall") > 0.3 * probability(**italian)
    assert probability(**french, medium="canvas") > 0.6 * probability(**french)
    assert probability(school="Dutch", timeframe="1601-1650", medium="wall") == 0
    assert probability(school="American", timeframe="1601-1650") == 0
    shape = tuple(len(labels) for labels in history.labels.values())
    assert history.prior.shape == shape
    assert history.prior.sum() == pytest.approx(1)
    for modality in (history.image, history.text):
        for task, cue in modality.items():
            table = np.stack([*cue.values()])
            assert table.shape == (len(cue), len(history.labels[task]))
            assert table.sum(axis=0) == pytest.approx(1)
            assert (table >= 0).all()


def test_the_folder_has_the_release_layout(folder):
    pictures = set()
    for split in ("train", "val", "test"):
        rows = rows_of(folder, split)
        assert len(rows) == SIZES[f"num_{split}"]
        assert all(tuple(row) == (*COLUMNS, SUBJECTS) for row in rows)
        pictures |= {row["IMAGE_FILE"] for row in rows}
    assert len(pictures) == sum(SIZES.values())
    tables = {f"semart_{split}.csv" for split in ("train", "val", "test")}
    assert set(contents(folder)) == {"ceiling.json", *tables, *(f"Images/{name}" for name in pictures)}
    for name in pictures:
        with Image.open(folder / "Images" / name) as picture:
            assert (picture.mode, min(picture.size)) == ("RGB", SHORT_SIDE)
            assert 0.7 < picture.width / picture.height < 1.52
    report = json.loads((folder / "ceiling.json").read_text(encoding="utf-8"))
    assert {"seed": 3, **SIZES}.items() <= report["settings"].items()
    assert report["method"].startswith("exact")
    for modality in ("image+text", "image", "text"):
        assert list(report[modality]) == ["type", "school", "timeframe", "medium", "mean"]


def test_the_same_settings_give_the_same_bytes_and_a_finished_folder_is_kept(folder, tmp_path):
    again = paint_miniature(tmp_path / "again", seed=3, **SIZES)
    assert contents(again) == contents(folder)
    other = paint_miniature(tmp_path / "other", seed=4, num_train=2, num_val=1, num_test=1)
    assert not set(contents(other).values()) & set(contents(folder).values())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert paint_miniature(folder, seed=3, **SIZES) == folder
    with pytest.raises(ValueError, match=r"which holds .*'seed': 3, .* settings .*'seed': 4, "):
        paint_miniature(folder, seed=4, **SIZES)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    for name, value, least in (("seed", -1, 0), ("num_val", 0, 1)):
        with pytest.raises(ValueError, match=f"Got {name}={value}, but it is {least} or more"):
            paint_miniature(tmp_path / "release", **{name: value})


def test_a_few_cells_are_empty_and_a_few_descriptions_have_entities(tmp_path, monkeypatch):
    plain = Image.new("RGB", (8, 8))
    monkeypatch.setattr("semart_hf.miniature.miniature.paint", lambda cues, rng: (plain, []))
    rows = rows_of(paint_miniature(tmp_path / "blank", num_train=800, num_val=1, num_test=1), "train")
    for column in ("DESCRIPTION", "TECHNIQUE"):
        assert 0.01 < sum(not row[column] for row in rows) / len(rows) < 0.07
    with_entities = [row["DESCRIPTION"] for row in rows if re.search(r"&#\d+;", row["DESCRIPTION"])]
    assert 0.01 < len(with_entities) / len(rows) < 0.15
    assert any(set("éçœ–") & set(row["DESCRIPTION"]) for row in rows)
    assert all(set("éçœ–") & set(html.unescape(description)) for description in with_entities)
    assert any('"' in row["DESCRIPTION"] for row in rows)


def test_every_cue_value_can_be_painted_and_described(history):
    usual = {"type": "genre", "school": "enamel", "timeframe": "clear", "medium": "canvas"}
    seen = []
    for task, cue in history.image.items():
        pictures = {paint({**usual, task: value}, np.random.default_rng(0))[0].tobytes() for value in cue}
        assert len(pictures) == len(cue)
        seen.append(len(pictures))
    assert seen == [8, 4, 7, 5]
    rng = np.random.default_rng(0)
    paintings = [painting for painting in sample_paintings(history, 0, 0, 600) if painting.text_cues]
    descriptions = [module.describe(painting.text_cues, rng) for painting in paintings]
    assert all(10 <= len(description.split()) <= 40 for description in descriptions)
    assert all(description[0].isupper() and description[-1] in '.e"' for description in descriptions)
    assert not any(re.search(r"[{}]|\b[Aa] [AEIOUaeiou]|\b[Aa]n [^AEIOUaeiou]", text) for text in descriptions)
    assert len(set(descriptions)) > 550
    for description in descriptions:
        description.encode("cp1252")
    for medium in history.labels["medium"]:
        labels = {"type": "genre", "school": "Dutch", "timeframe": "1601-1650", "medium": medium}
        techniques = {module.catalogue(labels, 1.2, rng)["TECHNIQUE"] for _ in range(40)}
        assert {medium_of(technique) for technique in techniques} == {medium}, techniques


def test_an_interrupted_painting_leaves_nothing_and_a_folder_that_lost_files_is_refused(tmp_path, monkeypatch):
    def interrupt(cues, rng):
        raise KeyboardInterrupt

    monkeypatch.setattr("semart_hf.miniature.miniature.paint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        paint_miniature(tmp_path / "release", num_train=2, num_val=1, num_test=1)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    paint_miniature(tmp_path, num_train=1, num_val=1, num_test=1)
    next((tmp_path / "Images").iterdir()).unlink()
    with pytest.raises(ValueError, match=r"without all its pictures\. Remove the folder"):
        paint_miniature(tmp_path, num_train=1, num_val=1, num_test=1)


def test_labels_go_together_as_before_and_each_is_as_frequent_as_in_semart(history, tail):
    """Every odds ratio is kept: the new table is the old one times a factor for each label."""
    possible = history.prior > 0
    assert (possible == (tail.prior > 0)).all()
    rest = np.where(possible, np.log(np.where(possible, tail.prior, 1) / np.where(possible, history.prior, 1)), np.nan)
    for axis in [0, 1, 2, 3] * 200:  # taking one label's factor away at a time leaves nothing
        rest = rest - np.nanmean(rest, axis=tuple(other for other in range(4) if other != axis), keepdims=True)
    assert np.nanmax(np.abs(rest)) < 1e-6
    for axis, (task, labels) in enumerate(tail.labels.items()):
        shares = tail.prior.sum(axis=tuple(other for other in range(4) if other != axis))
        counts = np.array([module.COUNTS[task][label] for label in labels])
        assert shares == pytest.approx(counts / counts.sum(), abs=1e-8)
        assert len(labels) == len(module.COUNTS[task])


def test_a_long_tail_is_painted_and_is_another_miniature(tail, tmp_path, monkeypatch, capsys):
    plain = Image.new("RGB", (8, 8))
    monkeypatch.setattr("semart_hf.miniature.miniature.paint", lambda cues, rng: (plain, []))
    sizes = {"num_train": 40, "num_val": 1, "num_test": 1}
    folder = paint_miniature(tmp_path / "tail", long_tail=True, **sizes)
    report = json.loads((folder / "ceiling.json").read_text(encoding="utf-8"))
    assert report["settings"]["long_tail"] is True
    train = (folder / "semart_train.csv").read_text(encoding="cp1252").splitlines()
    schools = Counter(painting.labels["school"] for painting in sample_paintings(tail, 0, 0, 40))
    assert Counter(line.split("\t")[-3] for line in train[1:]) == schools
    with pytest.raises(ValueError, match=r"which holds .* 'long_tail': True\}.* 'long_tail': False\}"):
        paint_miniature(folder, **sizes)
    command = [f"--{name}={value}" for name, value in sizes.items()]
    main([str(folder), *command, "--long_tail", "--workers", "1"])
    assert "40/1/1 paintings; ceilings: image+text" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"semart-hf miniature: .* holds something that is no miniature"):
        main([str(tmp_path), *command])
    assert [path.name for path in tmp_path.iterdir()] == ["tail"]


def test_subjects_are_the_things_that_were_drawn(tmp_path):
    shown = {}
    for kind in ("landscape", "portrait", "religious"):
        cues = {"type": kind, "school": "enamel", "timeframe": "clear", "medium": "canvas"}
        shown[kind] = [paint(cues, np.random.default_rng(seed))[1] for seed in range(12)]
    assert {tuple(subjects) for subjects in shown["landscape"]} == {("boats",), ("trees",), ("trees", "windmill")}
    assert {subjects[0] for subjects in shown["portrait"]} == {"sitter"}  # and no part of a drawing, such as the face
    assert {"Madonna" in subjects for subjects in shown["religious"]} == {True, False}
    assert all(("Madonna" in subjects) != ("Crucifixion" in subjects) for subjects in shown["religious"])
    rows = rows_of(paint_miniature(tmp_path / "new", num_train=4, num_val=1, num_test=1), "train")
    world = sample_paintings(module.art_history(), 0, 0, 4)
    drawn = [paint(one.image_cues, np.random.default_rng((*one.key, 1)))[1] for one in world]
    assert [row[SUBJECTS] for row in rows] == ["; ".join(subjects) for subjects in drawn]
