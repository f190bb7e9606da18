"""Write the demo's output and results, and the measured speeds, into README.md.

`python scripts/render_readme.py` after `make demo`; `--blocks speed` after `python scripts/benchmark.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed_tables import speed_text, table

BLOCKS = ("output", "results", "speed")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="folder of `make demo`")
    parser.add_argument(
        "--speed",
        type=Path,
        default=Path("scripts/benchmarks/results"),
        help="folder of scripts/benchmark.py's figures",
    )
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS), help="what is written")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="the file that is rewritten")
    options = parser.parse_args(arguments)

    readme = options.readme.read_text(encoding="utf-8")
    if "output" in options.blocks:
        readme, truth = with_example(readme, options.demo / "release")
        readme = with_block(readme, "output", f"```text\n{output_of(readme)}```\n\n{truth}")
    if "results" in options.blocks:
        results = json.loads((options.demo / "evaluation" / "results.json").read_text(encoding="utf-8"))
        readme = with_block(readme, "results", results_tables(results))
    if "speed" in options.blocks:
        measured = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.speed.glob("*.json"))]
        readme = with_block(readme, "speed", "\n\n".join(map(speed_text, measured)) or "Not measured yet.")
    options.readme.write_text(readme, encoding="utf-8")
    print(f"Wrote {', '.join(options.blocks)} to {options.readme}")


def with_block(readme: str, name: str, content: str) -> str:
    """The text with what stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->` replaced.

    Raises:
        ValueError: If the text lacks the marks.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"The README has no marks {begin} and {end}. Put them where the {name} belongs.")
    before, rest = readme.split(begin, 1)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"


def with_example(readme: str, release: Path) -> tuple[str, str]:
    """The text with the test painting of the shortest text in its example, and a sentence of its true labels."""
    from semart_hf.data.loading import load_paintings

    # Every label counts as itself here, however rare: the truth is told in the release's own words.
    test = load_paintings(release, min_label_count=1)["test"]
    tasks = ("type", "school", "timeframe", "medium")
    rows = [row for row in test.remove_columns("image") if row["text"] and None not in {row[task] for task in tasks}]
    if not rows:
        raise ValueError(f"{release} has no test painting with a text and all labels. Paint it again.")
    row = min(rows, key=lambda row: len(row["text"]))
    text = row["text"]
    labels = {task: test.features[task].int2str(row[task]) for task in tasks}
    picture = (release / "Images" / row["image_file"]).as_posix()
    for name, value in (("picture", picture), ("text", text)):
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        readme = re.sub(rf"^{name} = .*$", lambda _, line=line: line, readme, count=1, flags=re.MULTILINE)
    return readme, "In truth: " + ", ".join(f"{task} *{label}*" for task, label in labels.items()) + "."


def output_of(readme: str) -> str:
    """What the first Python block prints.

    Raises:
        ValueError: If it fails.
    """
    block = re.search(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        raise ValueError("The README has no ```python block. Write the example first.")
    ran = subprocess.run([sys.executable, "-c", block[1]], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ValueError(f"The README's example fails:\n{ran.stderr}")
    return ran.stdout


def results_tables(results: Mapping[str, Any]) -> str:
    """The accuracies by task and by what is shown, in Markdown, with the machine that they come from."""
    shown = {"image+text": "picture and text", "image": "picture alone", "text": "text alone"}
    tasks, rows = list(results["tasks"]), []
    for modality, words in shown.items():
        scores = results["modalities"][modality]
        ceiling = scores["ceiling"]
        cells = [f"{scores['tasks'][task]['accuracy']:.3f} ({ceiling[task]:.3f})" for task in tasks]
        mean = sum(ceiling[task] for task in tasks) / len(tasks)
        rows.append([words, *cells, f"**{scores['mean_accuracy']:.3f}** ({mean:.3f})"])
    environment = results["environment"]
    return (
        table(["accuracy (best reachable)", *tasks, "mean"], rows)
        + f"\n\nMean macro-F1 of picture and text: {results['mean_macro_f1']:.3f}. One checkpoint, "
        f"{results['num_rows']} test paintings of the miniature; {environment['processor']}, {environment['cores']} "
        f"cores, torch {environment['torch']}, transformers {environment['transformers']}, commit "
        f"{environment['commit']}. Written by `scripts/render_readme.py` from the demo's results.json."
    )


if __name__ == "__main__":
    main()
