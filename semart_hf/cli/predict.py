"""Classify paintings: semart-hf predict --model DIR --input FILE_OR_FOLDER [--text "…"]."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .command import command, load_model, print_table, usable_device

EPILOG = """A file that cannot be read has its error in its own row or line, and the others are answered; the last
line counts them. The status is 0 if a painting was answered, 1 if none was."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        prog="semart-hf predict", description="Say type, school, timeframe and medium of paintings.", epilog=EPILOG
    )
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument(
        "--input",
        type=Path,
        nargs="+",
        default=[],
        help="pictures, or folders of them; a text file beside a picture (monet.txt beside monet.jpg) is its text",
    )
    parser.add_argument("--text", help="description of the one picture, or of a painting without a picture")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="OUT.jsonl",
        help="write JSON lines here, instead of a table on the screen: image, text, and predictions or error",
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="OUT.html",
        help="write a page that shows which parts of each picture and which words moved each answer",
    )
    parser.add_argument("--top_k", type=int, default=1, help="labels shown for each task (default: 1)")
    parser.add_argument("--min_confidence", type=float, help="say unsure where the likeliest label is less probable")
    parser.add_argument("--batch_size", type=int, default=8, help="paintings at a time (default: 8)")
    parser.add_argument("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    options = parser.parse_args(arguments)
    if not options.input and options.text is None:
        parser.error("nothing to classify: pass --input FILE_OR_FOLDER, --text, or both")
    return options


@command("predict")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    paintings = find_paintings(options.input, options.text)
    check_outputs(options, paintings)

    # After the command line and the files are understood, so that --help and a wrong flag answer at once.
    from tqdm.auto import tqdm

    from semart_hf.files import write_text
    from semart_hf.model.pipeline_semart import ArtClassificationPipeline

    model, processor = load_model(options.model)
    classify = ArtClassificationPipeline(model=model, processor=processor, device=options.device)
    readable = [painting for painting in paintings if "error" not in painting]
    inputs = ({name: value for name, value in painting.items() if value is not None} for painting in readable)
    settings = {name: getattr(options, name) for name in ("top_k", "min_confidence", "batch_size")}
    answers = classify(inputs, on_error="return", **settings)
    with tqdm(answers, total=len(readable), unit="painting", disable=len(paintings) < 2) as progress:
        for painting, answer in zip(readable, progress, strict=True):
            painting.update(result_of(answer))

    errors = [painting["error"] for painting in paintings if "error" in painting]
    if options.output is not None:
        text = "".join(json.dumps(painting, ensure_ascii=False) + "\n" for painting in paintings)
        # A byte of a file's name that is no UTF-8 is written as JSON's own escape, `\udcfe`, which reads as that name.
        write_text(options.output, text.encode("utf-8", "backslashreplace").decode())
    elif len(errors) < len(paintings) or len(paintings) > 1:
        tasks = model.config.task_names
        print_table(("painting", *tasks), [row_of(painting, tasks) for painting in paintings], are_numbers=False)
    if model.config.training_notice:
        print(model.config.training_notice, file=sys.stderr)
    where = f" in {options.output}" if options.output else ""
    if len(errors) == len(paintings):
        raise ValueError(
            errors[0] if len(errors) == 1 else f"None of {len(errors)} paintings was answered; see each error{where}."
        )
    if options.explain is not None:
        from semart_hf.documents.explanation_page import write_explanations

        shown = [(name_of(one), {"image": one["image"], "text": one["text"]}) for one in readable]
        write_explanations(options.explain, classify, shown)
        print(f"Explained in {options.explain}")
    if where or errors:
        print(f"{len(paintings) - len(errors)} of {len(paintings)} paintings answered{where}, {len(errors)} failed")


def find_paintings(paths: Sequence[Path], text: str | None) -> list[dict[str, Any]]:
    """`{"image", "text"}` of each painting: `None` for what it lacks, and `error` for a broken text.

    Raises:
        ValueError: If there is no picture at a path, or one text was given for several pictures.
    """
    from semart_hf.catalogue.picture_files import ENDINGS, picture_files

    if text is not None and (len(paths) > 1 or (paths and paths[0].is_dir())):
        given = f"{len(paths)} pictures" if len(paths) > 1 else f"the folder {paths[0]}"
        raise ValueError(
            f"Got --text for {given}. One text describes one picture. Put a text file of the same name beside each "
            "picture instead (monet.txt beside monet.jpg)."
        )
    paintings = [] if paths else [{"image": None, "text": text}]
    for path in paths:
        if not path.exists():
            raise ValueError(f"Got {path}, which does not exist. A picture or a folder is allowed. Correct --input.")
        pictures = picture_files(path) if path.is_dir() else [path]
        if not pictures:
            raise ValueError(
                f"Got the folder {path} without a picture. Allowed are {', '.join(ENDINGS)}. Correct --input."
            )
        paintings += [{"image": str(path), "text": text} if text else with_text_beside(path) for path in pictures]
    return paintings


def with_text_beside(picture: Path) -> dict[str, Any]:
    """The painting of a picture and of the text file of its name, where there is one."""
    from semart_hf.catalogue.text_files import read_text_file

    painting: dict[str, Any] = {"image": str(picture), "text": None}
    path = next((path for ending in (".txt", ".TXT") if (path := picture.with_suffix(ending)).is_file()), None)
    if path is not None:
        try:
            text, encoding, doubt = read_text_file(path)
        except (ValueError, OSError) as error:
            return {**painting, "error": f"The text beside the picture cannot be read. {error}"}
        if doubt is not None:
            print(f"{path} was read as {encoding}, but {doubt}", file=sys.stderr)
        painting["text"] = text.strip() or None
    return painting


def check_outputs(options: argparse.Namespace, paintings: list[dict[str, Any]]) -> None:
    """Refuse to write over a folder or over what is read.

    Raises:
        ValueError: If --output or --explain is one of them.
    """
    read = {Path(painting["image"]).resolve() for painting in paintings if painting["image"]}
    read |= {path.with_suffix(ending) for path in read for ending in (".txt", ".TXT")}
    for name in ("output", "explain"):
        path = getattr(options, name)
        if path is not None and (path.is_dir() or path.resolve() in read):
            problem = "a folder" if path.is_dir() else "read as a painting"
            raise ValueError(
                f"Got --{name} {path}, which is {problem}. Allowed is a file of its own. Give another name."
            )
    if options.output is not None and options.output == options.explain:
        raise ValueError(f"Got {options.output} as --output and --explain. Two files are needed. Give another name.")


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's answer as `predictions`, or its `error`, which a task may be called too."""
    if isinstance(answer.get("error"), str):
        # The pipeline numbers the paintings that it was given: a row names its own.
        return {"error": re.sub(r"^Painting \d+: ", "", answer["error"])}
    return {"predictions": answer}


def row_of(painting: dict[str, Any], tasks: list[str]) -> list[str]:
    """The painting's row of the table."""
    if "error" in painting:
        return [f"{name_of(painting)}\n{painting['error']}", *["–"] * len(tasks)]
    guesses = painting["predictions"]
    lines = ["\n".join(f"{guess['label']} {guess['score']:.0%}" for guess in guesses[task]) for task in tasks]
    return [name_of(painting), *lines]


def name_of(painting: dict[str, Any]) -> str:
    """The picture's file name, or the beginning of the text where there is no picture."""
    name = Path(painting["image"]).name if painting["image"] else (painting["text"] or "")[:60]
    return name.encode("utf-8", "backslashreplace").decode()  # a name may hold bytes that are no UTF-8


if __name__ == "__main__":
    main()
