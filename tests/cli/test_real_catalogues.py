import csv
import html
import json
import shutil

import pytest
from served_app import called, served
from tiny_release import TASKS, run, save_tiny_model

from semart_hf.cli.train import decided_splits
from semart_hf.collection.labelled_rows import export_decisions
from semart_hf.collection.own_format import open_catalogue
from semart_hf.collection.review import Review
from semart_hf.collection.sources import find_source
from semart_hf.data.data_arguments import DataArguments

TERMS = {"name": "terms", "kind": "multi_label", "labels": ["print", "engraving", "etching"], "separator": ";"}
DEPARTMENTS = {"name": "department", "labels": ["Prints and Drawings", "Photography and Media", "UNK"]}
DOUBTS, MAPPING = "labels that the model doubts", "columns: {title: title, type: type_decided}"
# By file: the model's tasks, columns of text, what is decided about in which order, and the label that is audited.
CATALOGUES = {
    "open_paintings/semart_test.csv": (TASKS, ["TITLE", "DESCRIPTION"], ("at random", "type"), "TYPE"),
    "catalogues/aic_portraits_300rows.csv": ([DEPARTMENTS, TERMS], ["title"], (DOUBTS, "terms"), "department"),
    "catalogues/met_portrait_works_80rows.csv": (TASKS[:1], ["title"], ("at random", "type"), "type_decided"),
}
NUM_DECISIONS = 30


def records(path, delimiter):
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open(encoding="latin-1", newline="") as file:
        reader, first = csv.reader(file, delimiter=delimiter), 0
        for _ in reader:
            yield b"".join(lines[first : reader.line_num]).rstrip(b"\r\n")
            first = reader.line_num


def cells_of(path):
    catalogue = open_catalogue(path)
    return [{name: row.cells.get(name) or "" for name in catalogue.columns} for row in catalogue.rows()]


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_catalogue_is_suggested_reviewed_learned_from_and_audited(shared_data, tmp_path, capsys, name):
    pytest.importorskip("gradio", reason="no gradio, which makes the page: pip install 'semart-hf[app]'")
    pytest.importorskip("cleanlab", reason="no cleanlab: pip install 'semart-hf[audit]'")
    tasks, texts, (order, task), audited = CATALOGUES[name]
    source = shutil.copy(shared_data / name, tmp_path / "catalogue.csv")
    model, output = save_tiny_model(tmp_path / "model", tasks), tmp_path / "suggested.csv"
    has_pictures = "open_paintings" in name
    delimiter = "\t" if has_pictures else ","
    pictures = ["--images", shared_data / "open_paintings" / "Images"] if has_pictures else ["--image_column", ""]
    reading = ["--text_columns", *texts, *pictures]
    run("predict", source, "--model", model, "--output", output, *reading, "--device", "cpu")
    for old, new in zip(records(source, delimiter), records(output, delimiter), strict=True):
        assert new.startswith(old + delimiter.encode())
    decided = {}
    with served(model, "--catalogue", output, *reading, log=tmp_path / "log") as (address, _):
        for number in range(NUM_DECISIONS):
            row = called(address, "next", "Ada", order, task)["row"]
            assert row not in decided
            decided[row] = ["seascape", *tasks[-1]["labels"]][number % 3]
            progress = called(address, "decide", row, task, decided[row], "Ada")
        assert progress[task]["decided"] == NUM_DECISIONS
    review, reviewed = Review(tmp_path / "suggested.csv.decisions.sqlite3"), tmp_path / "reviewed.csv"
    with_suggestions = find_source(open_catalogue(output), [task], has_suggestions=True)
    assert export_decisions(review, with_suggestions, reviewed) == NUM_DECISIONS
    before, after, column = cells_of(output), cells_of(reviewed), with_suggestions.label_columns.get(task)
    assert {row: cells[f"{task}_decided"] for row, cells in enumerate(after) if cells[f"{task}_decided"]} == decided
    if column:
        expected = [cells[column] or decided.get(row, "") for row, cells in enumerate(before)]
        assert [cells[column] for cells in after] == expected
    words = ["--data", output, "--decisions", review.path, "--num_train_epochs", 1, "--output_dir", tmp_path / "new"]
    run("train", "finetune", "--init_from", model, *words)
    assert f"Decisions: {NUM_DECISIONS} of " in capsys.readouterr().out
    assert json.loads((tmp_path / "new" / "results.json").read_text())["comparison_with_start"]["tasks"]
    data = DataArguments(data=str(output), min_label_count=3)
    rows = [row for split in decided_splits(data, str(model), review.path, print).values() for row in split]
    assert {row["row"]: row[task] for row in rows if row["row"] in decided} == decided
    for row in rows:
        text = "\n".join(filter(None, (before[row["row"]][name] for name in texts)))
        assert (row["text"] or "") == html.unescape(text)
        assert (row["image"] is not None) == has_pictures
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    words = reading if audited in before[0] else ["--mapping", tmp_path / "mapping.yaml"]
    run("audit", reviewed, "--model", model, "--output_dir", tmp_path / "audit", *words)
    ranked = [entry for entry in cells_of(tmp_path / "audit" / "audit.csv") if entry["task"] == tasks[0]["name"]]
    assert len(ranked) == sum(bool(cells[audited]) for cells in after)
    assert all(entry["label"] == after[int(entry["row"]) - 1][audited] for entry in ranked)
