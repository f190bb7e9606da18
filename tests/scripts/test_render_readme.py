"""The README's figures: written from a results file, between marks, and nowhere else."""

import json

import pytest
from tiny_release import load_script

README = """# Title

```python
picture = "a"
text = "b"
print(sorted({"image": picture, "text": text}))
```

<!-- begin: output -->
old
<!-- end: output -->

Between.

<!-- begin: results -->
<!-- end: results -->

<!-- begin: speed -->
<!-- end: speed -->
"""


@pytest.fixture
def demo(small_release, tmp_path):
    (tmp_path / "release").symlink_to(small_release)
    scores = {
        task: {"accuracy": 0.5 + index / 10} for index, task in enumerate(("type", "school", "timeframe", "medium"))
    }
    ceiling = dict.fromkeys([*scores, "mean"], 0.9)
    modality = {"tasks": scores, "mean_accuracy": 0.65, "ceiling": ceiling}
    results = {
        "tasks": scores,
        "num_rows": 21,
        "mean_macro_f1": 0.4321,
        "modalities": dict.fromkeys(("image+text", "image", "text"), modality),
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "transformers": "5", "commit": "abc"},
    }
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "results.json").write_text(json.dumps(results))
    return tmp_path


def test_example_output_and_results_are_written(demo, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    render = load_script("render_readme")
    render.main(["--demo", str(demo), "--readme", str(readme), "--speed", str(tmp_path / "none")])
    text = readme.read_text(encoding="utf-8")
    assert "```text\n['image', 'text']\n```" in text
    assert "old" not in text
    assert "In truth: type *" in text
    assert 'picture = "' + str(demo) in text
    assert (
        "| picture and text | 0.500 (0.900) | 0.600 (0.900) | 0.700 (0.900) | 0.800 (0.900) | **0.650** (0.900) |"
        in text
    )
    assert "Mean macro-F1 of picture and text: 0.432." in text
    assert "A CPU, 2 cores" in text
    assert "commit abc" in text
    assert "Not measured yet." in text
    render.main(["--demo", str(demo), "--readme", str(readme), "--speed", str(tmp_path / "none")])
    assert readme.read_text(encoding="utf-8") == text


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="no marks <!-- begin: results -->"):
        load_script("render_readme").with_block("# Title", "results", "")


def figure(median, low, high):
    return {"median": median, "min": low, "max": high}


MEASURED = {
    "train": {
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "abc"},
        "data": {"rows": 2000, "device": "cpu"},
        "towers": {
            "resnet18": {
                "rows_per_second": {"ours": figure(20.0, 19, 21), "notebook": figure(5.0, 4.9, 5.1)},
                "ratio": figure(4.0, 3.9, 4.2),
                "share_of_limit": figure(0.9, 0.8, 0.95),
                "peak_mb": {"ours": 2048, "notebook": 3072},
                "cold_run": {
                    "is_estimated": True,
                    "epochs": 10,
                    "seconds": {"ours": 1200, "notebook": 4000},
                    "ratio": 3.3,
                },
                "without": {"frozen text computed once": {"speed": figure(0.4, 0.3, 0.5)}},
            }
        },
    },
    "inference": {
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "def"},
        "towers": {
            "resnet18": {
                "rows_per_second": {"ours": figure(30.0, 29, 31), "notebook": figure(10.0, 9, 11)},
                "ratio": figure(3.0, 2.9, 3.1),
                "latency_ms": {"ours": figure(60, 50, 70), "notebook": figure(120, 110, 130)},
                "latency_ratio": figure(0.5, 0.4, 0.6),
                "peak_mb": {"ours": 1024, "notebook": 2048},
            }
        },
    },
    "data": {
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "def"},
        "picture_bytes": 241_656,
        "prepared": {"pictures_per_second": 90.6},
        "naive": {"pictures_per_second": 16.5},
        "rows": {"5000": {"peak_mb": 896}, "50000": {"peak_mb": 806}},
    },
    "memory": {
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "def"},
        "peak_mb": {"1000": 1100, "50000": 1200},
    },
    "startup": {
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "commit": "def"},
        "starts": {"import semart_hf": {"seconds": 2.5}, "a.py --help": {"seconds": 1.0}},
    },
}


def test_speeds_are_written_with_their_machine_and_what_is_missing(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "cpu.json").write_text(json.dumps(MEASURED))

    load_script("render_readme").main(
        ["--blocks", "speed", "--readme", str(readme), "--speed", str(tmp_path / "results")]
    )

    text = readme.read_text(encoding="utf-8")
    assert "| training, paintings a second | 20.0 / 5.0: **4.0** (3.9–4.2) times as fast |" in text
    assert (
        "| 10 epochs of 2,000 paintings from a cold start, estimated from its parts | "
        "1200 s / 4000 s: **3.3** times as fast |" in text
    )
    assert "| peak memory in training | 2.0 / 3.0 GiB |" in text
    assert "| one painting with its text | 60 / 120 ms: **0.50** of its time |" in text
    assert "| frozen text computed once | 0.40 |" in text
    assert "Start: import semart_hf 2.50 s; `--help` of the scripts 1.00 to 1.00 s." in text
    assert "(242 KB each): 90.6 a second, report and all; PIL at full size in `datasets.map`, to PNG: 16.5." in text
    assert "Peak memory of the first: 5,000 rows 896 MiB, 50,000 rows 806 MiB." in text
    assert "A CPU, 2 cores, torch 2, commit abc, def. Written" in text
    assert "Peak memory of our training by the data's size, small towers: 1,000 rows 1,100 MiB, 50,000" in text
    assert "Not measured here: a GPU." in text
    assert "old" in text  # the other blocks stay


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        # 0.6 of 400 is known to 0.0245, thrice that is 0.073; the mean of 1,600 answers, 0.65, to 0.012 and 0.036.
        ("school", 0.07, None),
        ("school", 0.08, r"picture and text, school: 0\.600, measured 0\.680.*render_readme\.py"),
        ("school", -0.2, r"picture and text, school: 0\.600, measured 0\.400"),
        ("mean", 0.034, None),
        ("mean", 0.038, r"picture and text, mean: 0\.650, measured 0\.688"),
    ],
)
def test_results_of_another_commit_are_found(demo, tmp_path, task, change, message):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    render, path = load_script("render_readme"), demo / "evaluation" / "results.json"
    render.main(["--demo", str(demo), "--readme", str(readme), "--blocks", "results"])
    results = json.loads(path.read_text())
    results["num_rows"] = 400
    scored = results["modalities"]["image+text"]
    if task == "mean":
        scored["mean_accuracy"] += change
    else:
        scored["tasks"][task]["accuracy"] += change
    path.write_text(json.dumps(results))
    check = ["--readme", str(readme), "--check", str(path)]
    if message is None:
        render.main(check)
    else:
        with pytest.raises(SystemExit, match=message):
            render.main(check)


def test_a_readme_without_results_is_found(demo, tmp_path):
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    check = ["--readme", str(tmp_path / "README.md"), "--check", str(demo / "evaluation" / "results.json")]
    with pytest.raises(SystemExit, match="picture alone: 0 figures where"):
        load_script("render_readme").main(check)
