"""Write the demo's output and results, and the measured speeds, into README.md.

`python scripts/render_readme.py` after `make demo`; `--blocks speed` after `python scripts/benchmark.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BLOCKS = ("output", "results", "speed")
TOWERS = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0", "vit_tiny": "ViT-Tiny"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="folder of `make demo`")
    parser.add_argument(
        "--speed",
        type=Path,
        default=Path("scripts/benchmarks/results"),
        help="folder of scripts/benchmark.py's figures",
    )
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS), help="what is written anew")
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
        raise ValueError(f"{release} has no test painting with a text and all labels. Paint it anew.")
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
    tasks = list(results["tasks"])
    lines = [f"| accuracy (best reachable) | {' | '.join(tasks)} | mean |", "|---" * (len(tasks) + 2) + "|"]
    for modality, words in shown.items():
        scores = results["modalities"][modality]
        ceiling = scores["ceiling"]
        cells = [f"{scores['tasks'][task]['accuracy']:.3f} ({ceiling[task]:.3f})" for task in tasks]
        mean = sum(ceiling[task] for task in tasks) / len(tasks)
        lines.append(f"| {words} | {' | '.join(cells)} | **{scores['mean_accuracy']:.3f}** ({mean:.3f}) |")
    environment = results["environment"]
    lines.append(
        f"\nMean macro-F1 of picture and text: {results['mean_macro_f1']:.3f}. One checkpoint, "
        f"{results['num_rows']} test paintings of the miniature; {environment['processor']}, {environment['cores']} "
        f"cores, torch {environment['torch']}, transformers {environment['transformers']}, commit "
        f"{environment['commit']}. Written by `scripts/render_readme.py` from the demo's results.json."
    )
    return "\n".join(lines)


def speed_text(measured: Mapping[str, Any]) -> str:
    """What scripts/benchmark.py measured on one machine, in Markdown: tables, the machine, and what is missing."""
    sentences = (start_sentence, memory_sentence, preparation_sentence)
    parts = [speed_table(measured), means_table(measured), *(sentence(measured) for sentence in sentences)]
    environment = next(iter(measured.values()))["environment"]
    commits = dict.fromkeys(part["environment"]["commit"] for part in measured.values())  # parts are measured apart
    where = environment.get("gpu") or f"{environment['processor']}, {environment['cores']} cores"
    parts.append(
        f"Median turn (slowest–fastest) of both sides in turns, the same model, data and batch; {where}, torch "
        f"{environment['torch']}, commit {', '.join(commits)}. Written by `scripts/render_readme.py`. "
        + missing_sentence(measured)
    )
    return "\n\n".join(part for part in parts if part)


def speed_table(measured: Mapping[str, Any]) -> str:
    """Training and inference of each tower, ours over the notebook's."""
    training = measured.get("train", {}).get("towers", {})
    inference = measured.get("inference", {}).get("towers", {})
    towers = list(dict.fromkeys([*training, *inference]))
    if not towers:
        return ""

    def row(name: str, figures: Mapping[str, Any], words: Callable[[Any], str]) -> str:
        return f"| {name} | " + " | ".join(words(figures[t]) if t in figures else "–" for t in towers) + " |"

    lines = [f"| ours over the notebook's | {' | '.join(TOWERS.get(t, t) for t in towers)} |"]
    lines.append("|---" * (len(towers) + 1) + "|")
    if training:
        first = training[next(iter(training))]["cold_run"]
        reckoned = ", reckoned from its parts" if first["is_reckoned"] else ""
        rows = int(measured["train"]["data"]["rows"])
        lines += [
            row("training, paintings a second", training, lambda f: ratio_words(f["rows_per_second"], f["ratio"])),
            row(
                f"{first['epochs']} epochs of {rows:,} paintings from a cold start{reckoned}",
                training,
                lambda f: (
                    f"{f['cold_run']['seconds']['ours']:.0f} s / {f['cold_run']['seconds']['notebook']:.0f} s: "
                    f"**{f['cold_run']['ratio']:.1f}** times as fast"
                ),
            ),
            row("share of the arithmetic's limit", training, lambda f: f"{f['share_of_limit']['median']:.2f}"),
            row("peak memory in training", training, lambda f: memory_words(f["peak_mb"])),
        ]
    if inference:
        lines += [
            row("inference, paintings a second", inference, lambda f: ratio_words(f["rows_per_second"], f["ratio"])),
            row(
                "one painting with its text",
                inference,
                lambda f: (
                    f"{f['latency_ms']['ours']['median']:.0f} / {f['latency_ms']['notebook']['median']:.0f} ms: "
                    f"**{f['latency_ratio']['median']:.2f}** of its time"
                ),
            ),
            row("peak memory in inference", inference, lambda f: memory_words(f["peak_mb"])),
        ]
    return "\n".join(lines)


def ratio_words(speeds: Mapping[str, Any], ratio: Mapping[str, float]) -> str:
    """For example `20.1 / 5.0: **4.0** (3.9–4.2) times`."""
    ours, notebook = speeds["ours"]["median"], speeds["notebook"]["median"]
    spread = f"({ratio['min']:.1f}–{ratio['max']:.1f})"
    return f"{ours:.1f} / {notebook:.1f}: **{ratio['median']:.1f}** {spread} times as fast"


def memory_words(peaks: Mapping[str, float]) -> str:
    return f"{peaks['ours'] / 1024:.1f} / {peaks['notebook'] / 1024:.1f} GiB"


def means_table(measured: Mapping[str, Any]) -> str:
    """What is left of the training speed without each means; empty where that was not measured."""
    towers = {
        tower: figures["without"]
        for tower, figures in measured.get("train", {}).get("towers", {}).items()
        if figures.get("without")
    }
    if not towers:
        return ""
    names = dict.fromkeys(name for without in towers.values() for name in without)
    lines = [f"| speed left without | {' | '.join(TOWERS.get(tower, tower) for tower in towers)} |"]
    lines.append("|---" * (len(towers) + 1) + "|")
    for name in names:
        cells = [f"{without[name]['speed']['median']:.2f}" if name in without else "–" for without in towers.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def start_sentence(measured: Mapping[str, Any]) -> str:
    """Seconds of importing, and of a first prediction."""
    starts = measured.get("startup", {}).get("starts", {})
    seconds = {name: figures["seconds"] for name, figures in starts.items()}
    if not seconds:
        return ""
    words = [f"{name} {value:.2f} s" for name, value in seconds.items() if "--help" not in name]
    helps = [value for name, value in seconds.items() if "--help" in name]
    return "Start: " + ", ".join(words) + f"; `--help` of the scripts {min(helps):.2f} to {max(helps):.2f} s."


def memory_sentence(measured: Mapping[str, Any]) -> str:
    """Peak memory by the number of rows."""
    peaks = measured.get("memory", {}).get("peak_mb", {})
    words = [f"{int(rows):,} rows {peak:,} MiB" for rows, peak in peaks.items()]
    return f"Peak memory of our training by the data's size, small towers: {', '.join(words)}." if words else ""


def preparation_sentence(measured: Mapping[str, Any]) -> str:
    """Pictures a second of `prepare_data.py`, and its memory by the number of rows."""
    data = measured.get("data")
    if not data:
        return ""
    speeds = [data[way]["pictures_per_second"] for way in ("prepared", "naive")]
    peaks = [f"{int(rows):,} rows {figures['peak_mb']:,} MiB" for rows, figures in data["rows"].items()]
    return (
        f"Preparing pictures of 1,000 x 1,250 ({data['picture_bytes'] / 1000:.0f} KB each): {speeds[0]:.1f} a second, "
        f"report and all; PIL at full size in `datasets.map`, to PNG: {speeds[1]:.1f}. Peak memory of the first: "
        f"{', '.join(peaks)}."
    )


def missing_sentence(measured: Mapping[str, Any]) -> str:
    """What a reader may look for that this machine's file does not hold."""
    training = measured.get("train", {})
    towers = training.get("towers", {})
    missing = {
        "training": not towers,
        "inference": "inference" not in measured,
        "each means removed": not any(figures.get("without") for figures in towers.values()),
        "memory by the number of rows": "memory" not in measured,
        "start": "startup" not in measured,
        "preparing": "data" not in measured,
        "a GPU": training.get("data", {}).get("device") != "cuda",
    }
    words = [name for name, is_missing in missing.items() if is_missing]
    return f"Not measured here: {', '.join(words)}." if words else ""


if __name__ == "__main__":
    main()
