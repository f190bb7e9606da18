from types import SimpleNamespace

import numpy as np
import pytest
from small_recipe import small_recipe
from tiny_release import read_table, run

from semart_hf.cli.audit import in_words
from semart_hf.collection.own_format import open_catalogue
from semart_hf.collection.review import begin_review
from semart_hf.collection.sources import find_source
from semart_hf.training.trainer import SemArtTrainer

pytest.importorskip("cleanlab", reason="no cleanlab: pip install 'semart-hf[audit]'")


def test_an_audit_ranks_a_models_doubts_and_opens_the_review_on_them(model, classify, release, tmp_path, capsys):
    source, output = release / "semart_test.csv", tmp_path / "audit"
    run("audit", source, "--model", model, "--output_dir", output, "--device", "cpu")
    printed, errors = capsys.readouterr()
    assert "Not judged, the catalogue has no column of them: medium" in errors
    assert "Row 1 is read by its text alone: there is no file" in errors
    ranked = read_table(output / "audit.csv", ",")
    assert [int(entry["rank"]) for entry in ranked] == list(range(1, len(ranked) + 1))
    assert sorted(float(entry["quality"]) for entry in ranked) == [float(entry["quality"]) for entry in ranked]
    rows = read_table(source)
    for entry in ranked[:6]:
        row = rows[int(entry["row"]) - 1]
        assert entry["label"] == row[entry["task"].upper()]
        picture = release / "Images" / row["IMAGE_FILE"]
        painting = {"text": row["DESCRIPTION"] or None, "image": str(picture) if picture.exists() else None}
        answers = {one["label"]: one["score"] for one in classify(painting, top_k=None)[entry["task"]]}
        assert float(entry["suggested_probability"]) == pytest.approx(max(answers.values()), abs=2e-4)
    page = (output / "audit.html").read_text("utf-8")
    assert page.count("<article") == len(ranked)
    assert page.count("data:image/jpeg") == sum(entry["row"] != "1" for entry in ranked)  # it lacks its picture
    assert "labels are flagged. If all were right, about" in printed
    catalogue = open_catalogue(output / "semart_test.csv")
    tasks = ["type", "school", "timeframe"]
    review = begin_review(find_source(catalogue, tasks, has_suggestions=True), tasks)
    asked = review.next_painting("ada", "labels that the model doubts")
    doubted = [one for one in asked.suggestions if one.state == "doubted"]
    assert doubted
    assert all(one.known == rows[asked.row][one.task.upper()] != one.label for one in doubted)


def test_a_catalogue_without_its_pictures_is_not_judged_by_its_texts(model, release, tmp_path):
    source = tmp_path / "moved.csv"
    source.write_bytes((release / "semart_test.csv").read_bytes())
    with pytest.raises(SystemExit, match=r"none can be read \(Row 1 .*: there is no file"):
        run("audit", source, "--model", model, "--output_dir", tmp_path / "audit", "--device", "cpu")
    assert not (tmp_path / "audit").exists()


def test_each_row_is_judged_by_a_training_that_has_not_seen_it(small_release, tmp_path, capsys, monkeypatch):
    words = ["--recipe", tmp_path / "recipe.yaml", "--folds", "2", "--output_dir", tmp_path / "out"]
    century = {"name": "century", "column": "date", "rule": "century"}
    tasks = ["type", {"name": "subjects", "kind": "multi_label"}, century]
    (tmp_path / "recipe.yaml").write_text(small_recipe(min_label_count=2, tasks=tasks))
    with monkeypatch.context() as patched:  # killed in the second part
        patched.setattr(SemArtTrainer, "train", once_then_killed(SemArtTrainer.train))
        with pytest.raises(SystemExit, match="interrupted"):
            run("audit", small_release / "semart_train.csv", *words)
    first = next(line for line in capsys.readouterr()[0].splitlines() if line.startswith("Part 1"))
    assert not (tmp_path / "out").exists()
    run("audit", small_release / "semart_train.csv", *words)
    printed, errors = capsys.readouterr()
    assert "Part 1 of 2: done before" in printed
    printed += first
    assert "Not judged, they have several labels, or derived ones: subjects, century" in errors
    rows = read_table(small_release / "semart_train.csv")
    sizes = [int(line.rsplit(" ", 2)[1]) for line in printed.splitlines() if " trained on " in line]
    assert sum(sizes) == len(rows)  # of two parts each is trained on once
    assert len(read_table(tmp_path / "out" / "audit.csv", ",")) == len(rows)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(SystemExit, match="is not empty"):
        run("audit", small_release / "semart_train.csv", *words)


def once_then_killed(train):
    done = []

    def killed(self, *options, **named):
        if done:
            raise KeyboardInterrupt
        done.append(train(self, *options, **named))

    return killed


def test_a_task_whose_labels_are_all_the_same_is_not_judged():
    one = SimpleNamespace(is_flagged=np.zeros(3, dtype=bool), expected_false_alarms=0.0)
    assert in_words("type", np.array([2, -100, 2]), one) == ("type: not judged, its 2 labels are all the same.")
    assert in_words("type", np.array([2, 1, 2]), one).startswith("type: 0 of 3 labels are flagged. ")
