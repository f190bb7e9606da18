"""Blocks between marks: written from results files, the dataclasses and the example, and nowhere else."""

import json

import pytest
import render_docs as render

from semart_hf.data.loading import load_paintings

TASKS = ("type", "school", "timeframe", "medium")
README = """# Title

```python
picture = "demo/release/Images/PICTURE"
text = "TEXT"
print(sorted({"image": 1, "text": 2}))
```

<!-- begin: output -->
old
<!-- end: output -->

Between.

<!-- begin: results -->
<!-- end: results -->
"""


@pytest.fixture
def painting(small_release):
    """A test painting with picture, text and all labels, by their names."""
    test = load_paintings(small_release, min_label_count=1)["test"].remove_columns("image")
    row = next(row for row in test if row["text"] and None not in [row[task] for task in TASKS])
    return {**row, **{task: test.features[task].int2str(row[task]) for task in TASKS}}


@pytest.fixture
def checkout(tmp_path, monkeypatch, small_release, painting):
    """A folder with the pages and the results of a demo and a benchmark."""
    scores = {task: {"accuracy": 0.5 + index / 10} for index, task in enumerate(TASKS)}
    modality = {"tasks": scores, "mean_accuracy": 0.65, "ceiling": dict.fromkeys([*TASKS, "mean"], 0.9)}
    results = {
        "tasks": scores,
        "num_rows": 400,
        "mean_macro_f1": 0.4321,
        "modalities": dict.fromkeys(("image+text", "image", "text"), modality),
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "transformers": "5", "commit": "abc"},
    }
    (tmp_path / "docs").mkdir()
    readme = README.replace("PICTURE", painting["image_file"]).replace("TEXT", painting["text"])
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    (tmp_path / "docs" / "speed.md").write_text("Speed\n<!-- begin: speed -->\n<!-- end: speed -->\n")
    (tmp_path / "demo" / "evaluation").mkdir(parents=True)
    (tmp_path / "demo" / "release").symlink_to(small_release)
    (tmp_path / "demo" / "evaluation" / "results.json").write_text(json.dumps(results))
    (tmp_path / "speeds").mkdir()
    (tmp_path / "speeds" / "cpu.json").write_text(json.dumps(MEASURED))
    monkeypatch.setattr(render, "SPEEDS", tmp_path / "speeds")
    monkeypatch.setattr(render, "CHECKOUT", tmp_path)
    return tmp_path


def test_example_output_and_results_are_written(checkout, painting):
    words = ["output", "results", "--demo", str(checkout / "demo")]
    render.main(words)
    text = (checkout / "README.md").read_text(encoding="utf-8")
    assert "```text\n['image', 'text']\n```" in text
    assert "In truth: " + ", ".join(f"{task} *{painting[task]}*" for task in TASKS) + "." in text
    assert "\nold\n" not in text
    scores = "| 0.500 (0.900) | 0.600 (0.900) | 0.700 (0.900) | 0.800 (0.900) | **0.650** (0.900) |"
    assert f"| picture and text {scores}" in text
    assert "Mean macro-F1 of picture and text: 0.432." in text
    assert "A CPU, 2 cores" in text
    assert "commit abc" in text
    render.main(words)
    assert (checkout / "README.md").read_text(encoding="utf-8") == text


def test_an_example_that_the_demo_lacks_is_refused(checkout):
    page = checkout / "README.md"
    page.write_text(page.read_text("utf-8").replace('text = "', 'text = "Another '), "utf-8")
    with pytest.raises(SystemExit, match=r"Got the example .*, which is not in .*release with its text"):
        render.main(["output", "--demo", str(checkout / "demo")])


def test_unknown_blocks_and_missing_marks_are_refused(checkout, capsys):
    with pytest.raises(ValueError, match="no marks <!-- begin: results -->"):
        render.with_block("# Title", "results", "")
    with pytest.raises(SystemExit):
        render.main(["speeds"])
    assert "got speeds; there are output, results, speed, recipes" in capsys.readouterr().err


def figure(median, low, high):
    return {"median": median, "min": low, "max": high}


MACHINE = {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "def"}
TRAINED = {
    "rows_per_second": {"ours": figure(20.0, 19, 21), "notebook": figure(5.0, 4.9, 5.1)},
    **{"ratio": figure(4.0, 3.9, 4.2), "share_of_limit": figure(0.9, 0.8, 0.95)},
    "beside": {"processes": 1, "speed": {"ours": figure(0.61, 0.5, 0.7), "notebook": figure(0.45, 0.4, 0.5)}},
    "peak_mb": {"ours": 2048, "notebook": 3072},
    "cold_run": {"epochs": 10, "seconds": {"ours": 1200, "notebook": 4000}, "ratio": 3.3},
    "without": {"frozen text computed once": {"speed": figure(0.4, 0.3, 0.5)}},
}
ANSWERED = {
    "rows_per_second": {"ours": figure(30.0, 29, 31), "notebook": figure(10.0, 9, 11)},
    "latency_ms": {"ours": figure(60, 50, 70), "notebook": figure(120, 110, 130)},
    **{"ratio": figure(3.0, 2.9, 3.1), "latency_ratio": figure(0.5, 0.4, 0.6)},
    "peak_mb": {"ours": 1024, "notebook": 2048},
}
MEASURED = {
    "train": {
        "environment": MACHINE | {"commit": "abc"},
        "data": {"rows": 2000, "device": "cpu"},
        "towers": {"resnet18": TRAINED},
    },
    "inference": {"environment": MACHINE, "towers": {"resnet18": ANSWERED}},
    "data": {
        "environment": MACHINE,
        "picture_bytes": 241_656,
        "prepared": {"pictures_per_second": 90.6},
        "naive": {"pictures_per_second": 16.5},
        "rows": {"5000": {"peak_mb": 896}, "50000": {"peak_mb": 806}},
    },
    "memory": {
        "environment": MACHINE,
        "ways": {
            "read": {"peak_mb": {"1000": 1100, "50000": 1200}},
            "streamed": {"peak_mb": {"1000": 1050}, "rows_per_second": {"1000": 80.4}},
        },
    },
    "startup": {
        "environment": MACHINE,
        "starts": {"import semart_hf": {"seconds": 2.5}, "a.py --help": {"seconds": 1.0}},
        "profile": {"torch": 2.125, "timm": 0.5},
    },
}


def test_speeds_are_written_with_their_machine_and_what_is_missing(checkout):
    render.main(["speed"])
    text = (checkout / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "| training, times as fast; paintings a second | **4.0** (3.9–4.2; 20.0 / 5.0) |" in text
    assert "| 10 epochs of 2,000 paintings from a cold start, estimated; seconds | **3.3** (1200 / 4000) |" in text
    assert "| peak memory in training, GiB | 2.0 / 3.0 |" in text
    assert "| one painting with its text, share of the time; milliseconds | **0.50** (0.40–0.60; 60 / 120) |" in text
    assert "| frozen text computed once | 0.40 |" in text
    assert "Start: import semart_hf 2.50 s; `--help` of the scripts 1.00 to 1.00 s." in text
    assert "(242 KB each): 90.6 a second, report and all; PIL at full size in `datasets.map`, to PNG: 16.5." in text
    assert "Peak memory of the first: 5,000 rows 896 MiB, 50,000 rows 806 MiB." in text
    assert "A CPU, 2 cores, torch 2, commit abc, def. Written" in text
    assert "Peak memory of our training by the data's size, read, small towers: 1,000 rows 1,100 MiB, 50,000" in text
    assert "size, streamed, small towers: 1,000 rows 1,050 MiB. Rows a second: 1,000 rows 80." in text
    assert "| training, speed left beside 1 busy process | 0.61 / 0.45 |" in text
    assert "| share of the arithmetic's limit | 0.90 |" in text
    assert "What `semart-hf predict` imports, by package: torch 2.12 s, timm 0.50 s." in text
    assert "Not measured here: a GPU." in text
    assert text.startswith("Speed\n")


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        # 0.6 of 400 is known to 0.0245, thrice that is 0.073; the mean of 1,600 answers, 0.65, to 0.012 and 0.036.
        ("school", 0.07, None),
        ("school", 0.08, r"picture and text, school: 0\.600, measured 0\.680.*render_docs\.py results"),
        ("school", -0.2, r"picture and text, school: 0\.600, measured 0\.400"),
        ("mean", 0.034, None),
        ("mean", 0.038, r"picture and text, mean: 0\.650, measured 0\.688"),
    ],
)
def test_results_of_another_commit_are_found(checkout, task, change, message):
    path = checkout / "demo" / "evaluation" / "results.json"
    with pytest.raises(SystemExit, match="picture alone: 0 figures where"):
        render.main(["--check", str(path)])
    render.main(["results", "--demo", str(checkout / "demo")])
    results = json.loads(path.read_text())
    scored = results["modalities"]["image+text"]
    if task == "mean":
        scored["mean_accuracy"] += change
    else:
        scored["tasks"][task]["accuracy"] += change
    path.write_text(json.dumps(results))
    if message is None:
        render.main(["--check", str(path)])
    else:
        with pytest.raises(SystemExit, match=message):
            render.main(["--check", str(path)])
