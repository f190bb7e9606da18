import json
from contextlib import nullcontext

import pytest
import render_docs as render

TASKS = ("type", "school", "timeframe", "medium")
README = """# Title

```python
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
def checkout(tmp_path, monkeypatch):
    scores = {task: {"accuracy": 0.5 + index / 10} for index, task in enumerate(TASKS)}
    modality = {"tasks": scores, "mean_accuracy": 0.65, "ceiling": dict.fromkeys([*TASKS, "mean"], 0.9)}
    results = {
        "tasks": scores,
        "num_rows": 400,
        "mean_macro_f1": 0.4321,
        "modalities": dict.fromkeys(("image+text", "image", "text"), modality),
        "environment": {"processor": "A CPU", "cores": 2, "torch": "2", "transformers": "5", "commit": "abc"},
    }
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "demo" / "evaluation").mkdir(parents=True)
    (tmp_path / "demo" / "evaluation" / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(render, "CHECKOUT", tmp_path)
    return tmp_path


def test_example_output_and_results_are_written(checkout):
    words = ["output", "results", "--demo", str(checkout / "demo")]
    render.main(words)
    text = (checkout / "README.md").read_text(encoding="utf-8")
    assert "```text\n['image', 'text']\n```" in text
    assert "\nold\n" not in text
    scores = "| 0.500 (0.900) | 0.600 (0.900) | 0.700 (0.900) | 0.800 (0.900) | **0.650** (0.900) |"
    assert f"| picture and text {scores}" in text
    assert "Mean macro-F1 of picture and text: 0.432." in text
    assert "A CPU, 2 cores" in text
    assert "commit abc" in text
    render.main(words)
    assert (checkout / "README.md").read_text(encoding="utf-8") == text


def test_an_example_that_fails_unknown_blocks_and_missing_marks_are_refused(checkout, capsys):
    page = checkout / "README.md"
    page.write_text(page.read_text("utf-8").replace("print(", "print(1 / 0, "), "utf-8")
    with pytest.raises(SystemExit, match=r"(?s)The README's example fails:.*ZeroDivisionError"):
        render.main(["output", "--demo", str(checkout / "demo")])
    with pytest.raises(ValueError, match="no marks <!-- begin: results -->"):
        render.with_block("# Title", "results", "")
    with pytest.raises(SystemExit, match=r"Got no nowhere/evaluation/results\.json\. Run `make demo` first"):
        render.main(["results", "--demo", "nowhere"])
    with pytest.raises(SystemExit):
        render.main(["speeds"])
    assert "got speeds; there are output, results, speed, recipes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["speed", "search", "towers"])
def test_pages_show_the_kept_figures(tmp_path, monkeypatch, name):
    kept, page = render.CHECKOUT / render.PAGES[name], tmp_path / render.PAGES[name]
    page.parent.mkdir()
    page.write_text(render.with_block(kept.read_text("utf-8"), name, "old"), "utf-8")
    monkeypatch.setattr(render, "CHECKOUT", tmp_path)
    render.main([name])
    assert page.read_text("utf-8") == kept.read_text("utf-8")


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
    with nullcontext() if message is None else pytest.raises(SystemExit, match=message):
        render.main(["--check", str(path)])
