"""Write what programs know between the marks of README.md and docs/, or check the results that README.md shows.

`python scripts/render_docs.py output results` after `make demo`; `speed` after `python scripts/benchmark.py`;
`recipes` after a change of fields; `--check outputs/demo/evaluation/results.json` ends with status 1 where README.md
shows other accuracies.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from benchmarks import figures

from semart_hf.data.data_arguments import DataArguments
from semart_hf.documents.result_tables import VIEWS
from semart_hf.documents.table import Cell, Table
from semart_hf.files import write_text
from semart_hf.recipes.recipe import RECIPES, LearningArguments, ModelArguments
from semart_hf.training.arguments import SemArtTrainingArguments, field_rows

CHECKOUT = Path(__file__).resolve().parents[1]
SPEEDS = CHECKOUT / "scripts" / "benchmarks" / "results"
PAGES = {"output": "README.md", "results": "README.md", "speed": "docs/speed.md", "recipes": "docs/recipes.md"}
PAGES |= {"search": "docs/search.md", "towers": "docs/semart.md"}
SHOWN = ("image+text", "image", "text")
# Standard deviations that two runs of one commit may lie apart: another machine rounds otherwise, and trains another
# model, as another seed does. If the answers of both to n paintings are correlated by a half, the variance of the
# difference of their accuracies is a (1 - a) / n. Three are passed by chance in one of 25 checks of 15 figures.
DEVIATIONS = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blocks", nargs="*", help=f"what is written again: {', '.join(PAGES)}; default: all")
    parser.add_argument("--demo", type=Path, default=CHECKOUT / "outputs" / "demo", help="folder of `make demo`")
    parser.add_argument("--check", type=Path, metavar="RESULTS", help="write nothing; compare with this results.json")
    options = parser.parse_args(arguments)
    if unknown := {*options.blocks} - {*PAGES}:
        parser.error(f"got {', '.join(unknown)}; there are {', '.join(PAGES)}")
    try:
        if options.check:
            check_results((CHECKOUT / "README.md").read_text(encoding="utf-8"), read_json(options.check))
            print(f"README.md shows the accuracies of {options.check}, within what machines differ by")
            return
        for name in options.blocks or PAGES:
            path = CHECKOUT / PAGES[name]
            write_text(path, rendered(name, path.read_text(encoding="utf-8"), options.demo))
            print(f"Wrote {name} to {path}")
    except FileNotFoundError as error:
        raise SystemExit(f"render_docs.py: Got no {error.filename}. Run `make demo` first.") from error
    except (ValueError, OSError) as error:
        raise SystemExit(f"render_docs.py: {error}") from error


def rendered(name: str, page: str, demo: Path) -> str:
    """The page with what a program knows under this name written again."""
    if name == "recipes":
        return with_recipes(page)
    if name == "output":  # what the first Python block prints
        block = re.search(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
        if block is None:
            raise ValueError("The README has no ```python block. Write the example first.")
        ran = subprocess.run([sys.executable, "-c", block[1]], cwd=CHECKOUT, capture_output=True, text=True)
        if ran.returncode:
            raise ValueError(f"The README's example fails:\n{ran.stderr}")
        content = f"```text\n{ran.stdout}```"
    elif name == "results":
        content = results_text(read_json(demo / "evaluation" / "results.json"))
    elif name == "speed":
        machines = sorted(SPEEDS.glob("*.json"))  # named by their processor and what it computes in
        content = "\n\n".join(f"### {one.stem}\n\n{figures.speed_text(read_json(one))}" for one in machines)
    else:
        content = "\n\n".join(figures.TEXTS[name](read_json(one)) for one in sorted((SPEEDS / name).glob("*.json")))
    return with_block(page, name, content)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def with_block(page: str, name: str, content: str) -> str:
    """The text with what stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->` replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"The page has no marks {begin} and {end}. Put them where the {name} belongs.")
    return f"{page.split(begin)[0]}{begin}\n{content}\n{end}{page.split(end)[1]}"


def results_text(results: Mapping[str, Any]) -> str:
    """The accuracies by task and by what is shown, in Markdown, with the machine that they come from."""
    tasks = [*results["tasks"], "mean"]
    rows = []
    for modality in SHOWN:
        ceiling = results["modalities"][modality]["ceiling"]
        found = accuracies(results, modality)
        cells = [Cell(f"{found[task]:.3f}", f"{ceiling[task]:.3f}", is_strong=task == "mean") for task in tasks]
        rows.append([VIEWS[modality], *cells])
    accuracy_table = Table(["accuracy (best reachable)", *tasks], rows).markdown()
    return figures.rendered("results.md", table=accuracy_table, results=results)


def check_results(readme: str, results: Mapping[str, Any]) -> None:
    """Refuse a README whose table of results differs from a run by more than `DEVIATIONS`, or lacks an accuracy."""
    wrong = []
    for modality in SHOWN:
        words, found = VIEWS[modality], accuracies(results, modality)
        row = re.search(rf"^\| {re.escape(words)} (\|.*)\|$", readme, flags=re.MULTILINE)
        shown = re.findall(r"\| *\**([\d.]+)", row[1]) if row else []
        if len(shown) != len(found):
            wrong.append(f"{words}: {len(shown)} figures where {list(found)} belong")
            continue
        for (task, accuracy), figure in zip(found.items(), map(float, shown), strict=True):
            answers = results["num_rows"] * (len(found) - 1 if task == "mean" else 1)
            if abs(figure - accuracy) > DEVIATIONS * (accuracy * (1 - accuracy) / answers) ** 0.5:
                wrong.append(f"{words}, {task}: {figure:.3f}, measured {accuracy:.3f}")
    if wrong:
        raise SystemExit(
            f"The README's results differ from this run's by more than machines do: {'; '.join(wrong)}. Write them "
            "again: python scripts/render_docs.py results"
        )


def accuracies(results: Mapping[str, Any], modality: str) -> dict[str, float]:
    scored = results["modalities"][modality]
    found = {task: scored["tasks"][task]["accuracy"] for task in results["tasks"]}
    return {**found, "mean": scored["mean_accuracy"]}


def with_recipes(page: str) -> str:
    """docs/recipes.md with its tables as the dataclasses and the recipes have them."""
    recipes = []
    for path in sorted(RECIPES.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        recipes.append((f"`{path.stem}`", comment.split(". ")[0].rstrip(".") + "."))
    own = [field for field in fields(SemArtTrainingArguments) if field.name in ("precision", "overwrite_output_dir")]
    learning = [*own, *fields(LearningArguments)]
    groups = {"model": fields(ModelArguments), "data": fields(DataArguments), "learning": learning}
    page = with_block(page, "recipes", table(("recipe", "what it is"), recipes))
    for name, group in groups.items():
        page = with_block(page, name, table(("field", "default", "what it is"), map(field_row, group)))
    return with_block(page, "arguments", table(("field", "here", "remark"), field_rows()))


def field_row(field: Field[Any]) -> tuple[str, str, str]:
    default = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    words = str(field.metadata["help"])
    if "choices" in field.metadata:
        words += f" One of {', '.join(map(str, field.metadata['choices']))}."
    value = (default or '""') if isinstance(default, str) else json.dumps(default)
    return f"`{field.name}`", f"`{value}`", words


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
