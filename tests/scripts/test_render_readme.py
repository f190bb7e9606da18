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
"""


@pytest.fixture
def demo(small_release, tmp_path):
    (tmp_path / "release").symlink_to(small_release)
    scores = {
        task: {"accuracy": 0.5 + index / 10} for index, task in enumerate(("type", "school", "timeframe", "medium"))
    }
    ceiling = dict.fromkeys(scores, 0.9)
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
    render.main(["--demo", str(demo), "--readme", str(readme)])
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
    render.main(["--demo", str(demo), "--readme", str(readme)])
    assert readme.read_text(encoding="utf-8") == text


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="no marks <!-- begin: results -->"):
        load_script("render_readme").with_block("# Title", "results", "")
