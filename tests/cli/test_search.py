import json
import random
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_release import WORDS, load_command, read_table
from warm_python import Python, run_python

pytest.importorskip("lancedb", reason="no lancedb, which keeps the index: pip install 'semart-hf[search]'")

from semart_hf.model.loading_semart import digest_of_weights
from semart_hf.search import vector_index
from semart_hf.search.vector_index import SearchIndex, query_vector

index, search = load_command("index"), load_command("search")


@pytest.fixture(scope="module")
def indexed(model, release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed") / "index"
    run(index, release / "semart_test.csv", "--model", model, "--output", folder)
    return folder


def run(command, *words):
    command.main([*map(str, words), "--device", "cpu"])


def write_texts(path, rows):
    pd.DataFrame(rows, columns=["id", "description"]).to_csv(path, sep=";", index=False)
    return path


def texts(count):
    chance = random.Random(0)
    return [(str(number), " ".join(chance.choices(WORDS, k=8))) for number in range(count)]


def content(folder):
    found = SearchIndex(folder)
    columns = ["key", "vector", *found._columns]
    return {row["row"]: row for row in found._table.search().select(columns).limit(10_000).to_list()}


def test_a_painting_is_the_sum_of_its_vectors_with_the_pipelines_labels(indexed, classify, release):
    found = SearchIndex(indexed)
    for number, row in enumerate(read_table(release / "semart_test.csv")):
        picture = release / "Images" / row["IMAGE_FILE"]
        painting = {"text": row["DESCRIPTION"] or None, "image": str(picture) if picture.exists() else None}
        features = classify.embed([painting])
        total = features["image"][0] + features["text"][0]
        np.testing.assert_allclose(found.vector_of(number), total / np.linalg.norm(total), atol=1e-5)
        (hit,) = found.hits([number])
        assert hit.cells == {name: value for name, value in row.items() if value}
        for task, answers in classify(painting, top_k=1).items():
            assert hit.labels[task][0] == [answers[0]["label"]]
            assert hit.labels[task][1] == pytest.approx(answers[0]["score"], abs=1e-4)
    assert found.hits([0])[0].problem == "there is no file test00.jpg"
    assert sorted(found.thumbnails(range(12))) == list(range(1, 12))


def test_the_nearest_come_first_whoever_asks(indexed, classify, release, tmp_path, capsys):
    vectors = np.stack([SearchIndex(indexed).vector_of(row) for row in range(12)])
    picture = release / "Images" / "test05.jpg"
    both = query_vector(classify, "a view of delft", str(picture))[0]
    for words, query in {
        ("a view of delft",): classify.embed([{"text": "a view of delft"}])["text"][0],
        (str(picture),): classify.embed([{"image": str(picture)}])["image"][0],
        ("--text", "a view of delft", "--image", str(picture)): both,
    }.items():
        output = tmp_path / "found.jsonl"
        run(search, indexed, *words, "--output", output, "--top_k", 5)
        hits = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        scores = vectors @ query
        assert [hit["row"] for hit in hits] == np.argsort(-scores)[:5].tolist()
        assert [hit["score"] for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:5], abs=1e-4)
    assert "trained without contrastive_weight" in capsys.readouterr().err
    search.main([str(indexed), "--like", "3", "--top_k", "2", "--where", "TYPE = 'portrait'"])
    printed = capsys.readouterr().out
    nearest = [row for row in np.argsort(-(vectors @ vectors[3])) if row != 3 and row // 2 % 2 == 0][:2]
    assert re.findall(r"^│ +(\d+) ", printed, flags=re.MULTILINE) == [str(row) for row in nearest]
    labels = [[cell.strip() for cell in line.split("│")[5:9]] for line in printed.splitlines() if "│" in line]
    rows = [one for one in labels if one[0] == "portrait"]  # the catalogue's, which the filter asked for
    assert len(rows) == 2
    assert all(re.fullmatch(r"\w+ \d+%", medium) for *_, medium in rows)  # of which it has none


def test_filters_are_about_cells_and_about_suggestions(indexed):
    found = SearchIndex(indexed)
    query = found.vector_of(0)
    rows = {hit.row: hit for hit in found.search(query, top_k=100)}
    label = rows[0].labels["medium"][0][0]
    where = f"medium = '{label}' and medium_confidence > 0.01 and school_suggested != 'x' and timeframe < '1551'"
    labelled = {row for row, hit in rows.items() if hit.labels["medium"][0] == [label]}
    expected = {row for row in labelled if rows[row].cells["TIMEFRAME"] < "1551"}
    assert {hit.row for hit in found.search(query, top_k=100, where=where)} == expected


def test_a_page_escapes_what_the_catalogue_holds(indexed, tmp_path):
    where = "title = 'View <5> & river' or title != ''"
    run(search, indexed, "view of delft", "--where", where, "--output", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "View &lt;5&gt; &amp; river" in page
    assert "View <5>" not in page
    assert page.count("data:image/jpeg;base64,") == 9


def test_a_changed_catalogue_costs_its_changes_alone(model, tmp_path, capsys):
    rows = texts(40)
    source, folder = write_texts(tmp_path / "a.csv", [*rows, rows[3]]), tmp_path / "index"
    run(index, source, "--model", model, "--output", folder)
    assert "41 rows added, 0 rows removed, 0 rows kept, 0 rows failed" in capsys.readouterr().out
    before = content(folder)
    run(index, source, "--model", model, "--output", folder)
    assert "0 rows added, 0 rows removed, 41 rows kept" in capsys.readouterr().out
    changed = [("new", "a mill"), *rows[:10], ("10", "snow"), *rows[12:], ("empty", "")]
    run(index, write_texts(source, changed), "--model", model, "--output", folder)
    printed = capsys.readouterr()
    assert "2 rows added, 3 rows removed, 38 rows kept, 1 rows failed" in printed.out
    assert "row 40: The row has neither a picture nor a text." in printed.err
    after = content(folder)
    fresh = tmp_path / "fresh"
    run(index, source, "--model", model, "--output", fresh)
    for number, row in content(fresh).items():
        np.testing.assert_allclose(after[number].pop("vector"), row.pop("vector"), atol=1e-6)
        assert after[number].keys() == row.keys()
        assert [name for name in row if after[number][name] != row[name] and not name.startswith("confidence")] == []
    assert after[1]["key"] == before[0]["key"]
    assert len(after) == 40


def test_a_changed_picture_is_another_painting(model, release, tmp_path, capsys):
    shutil.copytree(release, tmp_path / "museum")
    words = [tmp_path / "museum" / "semart_test.csv", "--model", model, "--output", tmp_path / "index"]
    run(index, *words)
    before = SearchIndex(tmp_path / "index").vector_of(4)
    Image.new("RGB", (50, 60), "red").save(tmp_path / "museum" / "Images" / "test04.jpg")
    run(index, *words)
    assert "1 rows added, 1 rows removed, 11 rows kept" in capsys.readouterr().out
    assert not np.allclose(SearchIndex(tmp_path / "index").vector_of(4), before, atol=1e-3)


def test_a_killed_run_and_two_processes_end_with_the_same_index(model, tmp_path):
    source = write_texts(tmp_path / "texts.csv", texts(600))

    def words(output):
        return ["-m", "semart_hf.cli.index", source, "--model", model, "--device", "cpu", "--output", output]

    logs, one, two = tmp_path / "logs", tmp_path / "one", tmp_path / "two"
    run_python(*words(one), logs=logs, OMP_NUM_THREADS="1")
    with Python(*words(two), output=logs / "killed", OMP_NUM_THREADS="1") as process:
        process.wait_until(lambda: list(two.glob("paintings.lance/data/*")))
    with pytest.raises(ValueError, match=r"half written. Give the same `semart-hf index` command again"):
        SearchIndex(two)
    run_python(*words(two), logs=logs, num_processes=2, OMP_NUM_THREADS="1")
    assert content(two) == content(one)


def test_an_approximate_index_states_its_recall_and_its_filters_find_the_nearest(monkeypatch, tmp_path):
    for name, value in {"EXACT_ROWS": 500, "EXACT_MATCHES": 50, "_PARTITION_ROWS": 250}.items():
        monkeypatch.setattr(vector_index, name, value)
    from benchmarks import search_scale
    from benchmarks.figures import search_text

    figures = search_scale.write_index(str(tmp_path / "index"), 1200)
    assert figures["recall"]["recall_at_10"] >= 0.9
    found = SearchIndex(tmp_path / "index")
    for where in (None, "school = 'Dutch'", "title = 'Painting 7'", "year < 1310"):
        hits = found.search(found.vector_of(7), where=where)
        exact = found.search(found.vector_of(7), where=where, exact=True)
        assert [hit.row for hit in hits][:1] == [hit.row for hit in exact][:1]
        assert len({hit.row for hit in hits} & {hit.row for hit in exact}) >= 0.8 * len(exact)
    scale = search_scale.search_index(str(tmp_path / "index"))
    measured = {"environment": {"processor": "x", "cores": 2, "commit": "y"}, "dimension": 512, "clusters": 9}
    figures |= {"bytes": 1, "peak_mb": 2048, "search": {**scale, "peak_mb": 1024}}
    assert "| 2.0 / 1.0 |" in search_text({"search": {**measured, "rows": {"1200": figures}}})


def test_another_model_another_format_and_no_index_are_refused_by_name(indexed, classify, release, tmp_path):
    copy, other = shutil.copytree(indexed, tmp_path / "index"), tmp_path / "model"
    with torch.no_grad():
        classify.model.absent_text.add_(1)
    classify.save_pretrained(other)
    weights = digest_of_weights(classify.model)[:12]
    with torch.no_grad():
        classify.model.absent_text.sub_(1)
    for command, words in ((index, [release / "semart_test.csv", "--output", copy]), (search, [copy, "view"])):
        with pytest.raises(SystemExit, match=f"(?s)weights {weights}.*Vectors of two models cannot be compared"):
            run(command, *words, "--model", other)
    with pytest.raises(SystemExit, match="index of one with"):
        run(index, write_texts(tmp_path / "b.csv", texts(2)), "--model", classify.model.name_or_path, "--output", copy)
    about = vector_index.read_about(str(copy))
    vector_index.write_about(vector_index.connect(str(copy)), {**about, "format": "2.0"})
    with pytest.raises(ValueError, match=r"of format 2\.0, but this code reads 1\.0"):
        SearchIndex(copy)
    for place in (tmp_path / "none", release):
        with pytest.raises(ValueError, match=r"no index\. `semart-hf index .* --output INDEX` makes"):
            SearchIndex(place)
    with pytest.raises(SystemExit, match="a folder that is not empty and no index"):
        run(index, release / "semart_test.csv", "--model", classify.model.name_or_path, "--output", release)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("paintings.lance/data", "gone"),
        ("paintings.lance/data", "zeros"),
        ("paintings.lance/_versions", "half"),
        ("about.lance/data", "zeros"),
    ],
)
def test_an_index_with_a_damaged_file_is_refused_in_words(indexed, model, release, tmp_path, part, fault):
    copy = shutil.copytree(indexed, tmp_path / "index")
    for path in (copy / part).iterdir():
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: size // 2] if fault == "half" else bytes(size))
        if fault == "gone":
            path.unlink()
    words = "damaged or not to be reached .*make it again with `semart-hf index` into a new folder"
    with pytest.raises(ValueError, match=words):
        SearchIndex(copy).search(np.eye(vector_index.read_about(str(indexed))["dimension"], dtype=np.float32)[0])
    with pytest.raises(SystemExit, match=words):
        run(search, copy, "--like", "3")
    with pytest.raises(SystemExit, match=words):
        run(index, release / "semart_test.csv", "--model", model, "--output", copy)


def test_a_query_is_a_picture_by_its_ending(indexed, release, tmp_path, monkeypatch, capsys):
    shutil.copy(release / "Images" / "test05.jpg", tmp_path / "view")
    monkeypatch.chdir(tmp_path)
    run(search, indexed, "view", "--top_k", 1)
    by_words = capsys.readouterr().out
    run(search, indexed, "--image", "view", "--top_k", 1)
    by_picture = capsys.readouterr().out
    assert by_picture != by_words
    (tmp_path / "view").rename("view.JPG")
    run(search, indexed, "view.JPG", "--top_k", 1)
    assert capsys.readouterr().out == by_picture


def test_a_model_that_is_elsewhere_now_is_asked_for(indexed, model, tmp_path):
    copy = shutil.copytree(indexed, tmp_path / "index")
    about = {**vector_index.read_about(str(copy)), "model": str(tmp_path / "gone")}
    vector_index.write_about(vector_index.connect(str(copy)), about)
    with pytest.raises(SystemExit, match=r"gone, which is not there any more. Give it as --model"):
        run(search, copy, "view")
    run(search, copy, "view", "--model", model)


def test_a_catalogue_of_which_nothing_can_be_read_ends_with_its_reasons(model, tmp_path, capsys):
    source = write_texts(tmp_path / "a.csv", [("1", ""), ("2", "")])
    with pytest.raises(SystemExit, match="None of 2 rows could be read"):
        run(index, source, "--model", model, "--output", tmp_path / "index")
    assert "row 1: The row has neither" in capsys.readouterr().err
    with pytest.raises(ValueError, match="an index without a painting"):
        SearchIndex(tmp_path / "index")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([" "], "Got an empty query"),
        (["stürmische see"], r"of which the text tower's vocabulary knows no word. It knows the language"),
        (["none.jpg"], "none.jpg.*cannot be read"),
        (["view", "--where", "painter = 'x'"], "Got the column 'painter' in a filter"),
        (["view", "--where", "school = 'x'; DROP TABLE paintings"], "Got ';' at character 13"),
        (["view", "--where", "school = 'nowhere'"], "No painting passes the filter"),
        (["--like", "99"], "Got the row 99, which is not in the index"),
        (["--like", "9" * 20], "Got the row 9+, which is not in the index"),
        (["view", "--top_k", "0"], "top_k is 0"),
        (["--like", "1", "--top_k", "0"], "top_k is 0"),
        (["view", "--like", "1"], "2"),
        ([], "2"),
        (["view", "--text", "view"], "2"),
        (["view", "--output", "found.pdf"], "2"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_in_words(indexed, words, message):
    with pytest.raises(SystemExit, match=message):
        run(search, indexed, *words)


def test_a_picture_of_one_colour_is_refused_and_words_in_pieces_are_said(classify, monkeypatch):
    for colour in ("white", (3, 80, 200)):
        with pytest.raises(ValueError, match="a picture of one colour"):
            query_vector(classify, None, Image.new("RGB", (90, 60), colour))
    assert any("knows of the 3 words 'view'" in notice for notice in query_vector(classify, "view qua zzz")[1])
    assert not any("vocabulary" in notice for notice in query_vector(classify, "a view of delft")[1])
    assert "without contrastive_weight" in query_vector(classify, "a view of delft")[1][0]
    monkeypatch.setattr(classify.model, "logit_scale", torch.zeros(1), raising=False)
    monkeypatch.setattr(classify.model.config, "contrastive", True)
    assert query_vector(classify, "a view of delft")[1] == []
