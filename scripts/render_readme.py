"""Write the demo's output and results, and the measured speeds, into README.md, or check the results that it shows.

`python scripts/render_readme.py` after `make demo`; `--blocks speed` after `python scripts/benchmark.py`;
`--check outputs/demo/evaluation/results.json` ends with status 1 where README.md shows other accuracies.
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

from benchmarks.speed_tables import speed_text

from semart_hf.documents.result_tables import modality_words
from semart_hf.documents.table import Cell, Table
from semart_hf.files import write_text

BLOCKS = ("output", "results", "speed")
SHOWN = ("image+text", "image", "text")
# Standard deviations that two runs of one commit may lie apart. Another machine rounds otherwise, and trains another
# model of the same kind, as another seed does; both are judged on the same n paintings. If a painting's answers were
# independent, the variance of the difference of two accuracies would be 2 a (1 - a) / n; hard paintings are hard for
# both, and with a correlation of a half it is a (1 - a) / n: 0.017 squared for 0.87 on 400. Three of these are passed
# by chance in one of 25 checks of 15 figures. A mean over tasks is over as many answers more.
DEVIATIONS = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="folder of `make demo`")
    parser.add_argument(
        "--speed", type=Path, default=Path("scripts/benchmarks/results"), help="benchmark.py's figures"
    )
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS), help="what is written again")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="the file that is rewritten")
    parser.add_argument("--check", type=Path, metavar="RESULTS", help="write nothing; compare with this results.json")
    options = parser.parse_args(arguments)

    readme = options.readme.read_text(encoding="utf-8")
    if options.check:
        check_results(readme, json.loads(options.check.read_text(encoding="utf-8")))
        print(f"{options.readme} shows the accuracies of {options.check}, within what machines differ by")
        return
    if "output" in options.blocks:
        readme, truth = with_example(readme, options.demo / "release")
        readme = with_block(readme, "output", f"```text\n{output_of(readme)}```\n\n{truth}")
    if "results" in options.blocks:
        results = json.loads((options.demo / "evaluation" / "results.json").read_text(encoding="utf-8"))
        readme = with_block(readme, "results", results_text(results))
    if "speed" in options.blocks:
        measured = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.speed.glob("*.json"))]
        readme = with_block(readme, "speed", "\n\n".join(map(speed_text, measured)) or "Not measured yet.")
    write_text(options.readme, readme)
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

    # Every label counts as itself here, however rare: the truth is given in the release's own words.
    test = load_paintings(release, min_label_count=1)["test"]
    tasks = ("type", "school", "timeframe", "medium")
    rows = [row for row in test.remove_columns("image") if row["text"] and None not in {row[task] for task in tasks}]
    if not rows:
        raise ValueError(f"{release} has no test painting with a text and all labels. Paint it again.")
    row = min(rows, key=lambda row: len(row["text"]))
    picture = (release / "Images" / row["image_file"]).as_posix()
    for name, value in (("picture", picture), ("text", row["text"])):
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        readme = re.sub(rf"^{name} = .*$", lambda _, line=line: line, readme, count=1, flags=re.MULTILINE)
    truth = ", ".join(f"{task} *{test.features[task].int2str(row[task])}*" for task in tasks)
    return readme, f"In truth: {truth}."


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


def results_text(results: Mapping[str, Any]) -> str:
    """The accuracies by task and by what is shown, in Markdown, with the machine that they come from."""
    tasks = [*results["tasks"], "mean"]
    rows = []
    for modality in SHOWN:
        ceiling = results["modalities"][modality]["ceiling"]
        found = _accuracies(results, modality)
        cells = [Cell(f"{found[task]:.3f}", f"{ceiling[task]:.3f}", is_strong=task == "mean") for task in tasks]
        rows.append([modality_words(modality), *cells])
    where = "{processor}, {cores} cores, torch {torch}, transformers {transformers}, commit {commit}"
    return (
        f"{Table(['accuracy (best reachable)', *tasks], rows).markdown()}\n\nMean macro-F1 of picture and text: "
        f"{results['mean_macro_f1']:.3f}. One checkpoint, {results['num_rows']} test paintings of the miniature; "
        f"{where.format_map(results['environment'])}. "
        "Written by `scripts/render_readme.py` from the demo's results.json."
    )


def check_results(readme: str, results: Mapping[str, Any]) -> None:
    """Refuse a README whose table of results differs from a run by more than machines differ.

    Raises:
        SystemExit: An accuracy differs by more than `tolerance`, or is not there.
    """
    wrong = []
    for modality in SHOWN:
        words = re.escape(modality_words(modality))
        row = re.search(rf"^\| {words} \|(.*)\|$", readme, flags=re.MULTILINE)
        shown = [float(number) for number in re.findall(r"\| *\**([\d.]+)", f"|{row[1]}")] if row else []
        found = _accuracies(results, modality)
        if len(shown) != len(found):
            wrong.append(f"{modality_words(modality)}: {len(shown)} figures where {list(found)} belong")
            continue
        wrong += [
            f"{modality_words(modality)}, {task}: {figure:.3f}, measured {accuracy:.3f}"
            for (task, accuracy), figure in zip(found.items(), shown, strict=True)
            if abs(figure - accuracy)
            > tolerance(accuracy, results["num_rows"] * (len(found) - 1 if task == "mean" else 1))
        ]
    if wrong:
        raise SystemExit(
            f"The README's results differ from this run's by more than machines do: {'; '.join(wrong)}. Write them "
            "again: python scripts/render_readme.py"
        )


def tolerance(accuracy: float, num_answers: int) -> float:
    """How far an accuracy on so many answers may lie from another machine's run of the same commit."""
    return float(DEVIATIONS * (accuracy * (1 - accuracy) / num_answers) ** 0.5)


def _accuracies(results: Mapping[str, Any], modality: str) -> dict[str, float]:
    scored = results["modalities"][modality]
    found = {task: scored["tasks"][task]["accuracy"] for task in results["tasks"]}
    return {**found, "mean": scored["mean_accuracy"]}


if __name__ == "__main__":
    main()
