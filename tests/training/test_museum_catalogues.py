from collections import Counter

import pytest
import yaml
from small_trainer import STEPS_ALONE, make_trainer

from semart_hf.catalogue.catalogue import read_catalogue
from semart_hf.catalogue.mapping import parse_mapping
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import load_splits
from semart_hf.data.rows import label_counts
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings
from semart_hf.recipes.recipe import ModelArguments
from semart_hf.training.building import build_tokenizer

# By file: its mapping, and the text.
CATALOGUES = {
    "wga_catalog_300rows.xls": (
        """
        tasks: [type, school, timeframe, medium, {name: century, column: date, rule: century}]
        columns: {author: AUTHOR, title: TITLE, date: {from: DATE, missing: "-"}, technique: TECHNIQUE, type: TYPE,
          school: SCHOOL, timeframe: TIMEFRAME}
        keep_rows: {FORM: painting}
        """,
        "{TITLE}, {DATE}",
    ),
    "aic_portraits_300rows.csv": (
        """
        tasks: [department, timeframe, {name: terms, kind: multi_label}, {name: classification, kind: multi_label}]
        columns: {title: title, author: artist, date: year, timeframe: {from: year, as: half_century}}
        """,
        "{TITLE}",
    ),
    "met_portrait_works_80rows.csv": (
        """
        tasks: [timeframe, {name: century, column: date, rule: century}]
        columns: {title: title, author: {from: artist, missing: Unknown}, date: year,
          timeframe: {from: year, as: half_century}}
        """,
        "{TITLE}",
    ),
    "dutchtabletops_300rows.csv": (
        """
        tasks: [thematic_format, medium, {name: year_early, kind: ordered, unit: years}]
        columns: {title: painting_code, description: painting_description, technique: support, date: date_string}
        """,
        "DESCRIPTION",
    ),
}


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_catalogue_becomes_a_trained_model(shared_data, tmp_path, name):
    if name.endswith("xls"):
        pytest.importorskip("python_calamine")
    mapping, text = CATALOGUES[name]
    tables = read_catalogue(shared_data / "catalogues" / name, parse_mapping(yaml.safe_load(mapping)))
    options = PreparationOptions(min_label_count=3, text_columns=text)
    summary = prepare_paintings(tables, tmp_path / "out", options, num_proc=1)
    assert summary["rows"]["train"]["with_picture"] == 0
    assert sum(counts["kept"] for counts in summary["rows"].values()) == sum(map(len, tables.splits.values()))
    data = DataArguments(data=str(tmp_path / "out"), modality="text", vocab_size=300, max_text_length=32)
    splits = load_splits(data)  # its own tasks
    assert [task["name"] for task in splits.tasks] == [task.name for task in tables.tasks]
    found = label_counts(splits["train"], splits.tasks)
    for task in splits.tasks:
        cells = [cell for cell in tables.splits["train"][task["name"]] if cell]
        counts = Counter(part for cell in cells for part in dict.fromkeys(cell.split("|")))
        frequent = {label: count for label, count in counts.items() if count >= 3}
        labels = [label for label in task["labels"] if label != "UNK"]
        having = found[task["name"]][1] if task.get("kind") == "multi_label" else found[task["name"]]
        assert dict(zip(labels, having.tolist(), strict=False)) == frequent, task["name"]
    data.tasks = [task["name"] for task in splits.tasks if task.get("kind") != "multi_label"]
    splits = load_splits(data)
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    towers = {"vision": "test_resnet", "text": None, "text_args": sizes, "pretrained": "false"}
    model = ModelArguments(**towers, image_size=32, fusion_dim=16, text_lexicon=True, trainable_text_layers=None)
    tokenizer = build_tokenizer(splits["train"], model, data)
    options = {"collation": {"modality": "text"}, "num_rows": None, "max_steps": 12, "learning_rate": 1e-2}
    trainer = make_trainer((splits, splits.tasks, model, tokenizer), tmp_path / "run", **options, **STEPS_ALONE)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before


def test_what_the_catalogues_have_of_bad_cells(shared_data):
    pytest.importorskip("python_calamine")
    tables = {}
    for name, (mapping, _) in CATALOGUES.items():
        content = {**yaml.safe_load(mapping), "splits": {"shares": {"train": 1.0}}}
        tables[name.split("_")[0]] = read_catalogue(shared_data / "catalogues" / name, parse_mapping(content))
    rows = {name: table.splits["train"] for name, table in tables.items()}
    # Rows that are no paintings are left out by what the catalogue says of them, years are numbers or words.
    assert len(rows["wga"]) == 200
    assert {problem.problem for problem in tables["wga"].problems} == {"left_out_rows"}
    assert None in rows["wga"]["date"]
    assert "-" not in rows["wga"]["date"]
    # Lists in cells, years as floats, years before Christ.
    assert rows["aic"]["terms"][0] == "engraving|paper (fiber product)|print|prints and drawing"
    assert rows["aic"]["date"][0] == "1653.0"
    assert rows["aic"]["timeframe"][:2] == ["1651-1700", "1651-1700"]
    uncertain = [problem.detail for problem in tables["aic"].problems if problem.problem == "uncertain_date"]
    assert uncertain[0] == "timeframe: '-300.0' in 29 rows of aic_portraits_300rows.csv"
    # Spans and circa, and nobody called Unknown.
    assert rows["met"]["timeframe"][rows["met"]["date"][:].index("ca. 1485–95")] == "1451-1500"
    assert "Unknown" not in rows["met"]["author"]
    # One label with and without line breaks after it, copies of descriptions.
    raw = (shared_data / "catalogues" / "dutchtabletops_300rows.csv").read_text(encoding="utf-8")
    assert raw.count("Meal w/One Main Dish\n\n") > 0
    assert Counter(rows["dutchtabletops"]["thematic_format"])["Meal w/One Main Dish"] == 141
    assert set(rows["dutchtabletops"]["medium"]) == {"wood", "canvas", "metal"}
