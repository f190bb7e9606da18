"""Classify paintings: semart-hf predict --model DIR --input FILE_OR_FOLDER [--text "…"]."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .command import choose_device, command, load_model, print_table

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
    parser.add_argument("--device", help="cpu, cuda, … (default: the GPU where there is one)")
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="what the model computes in (default: bf16 where the hardware multiplies in it)",
    )
    options = parser.parse_args(arguments)
    if not options.input and options.text is None:
        parser.error("nothing to classify: pass --input FILE_OR_FOLDER, --text, or both")
    if options.batch_size < 1:
        parser.error(f"got --batch_size {options.batch_size}: give 1 or more")
    return options


@command("predict")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    paintings = find_paintings(options.input, options.text)
    check_outputs(options, paintings)

    # After the command line and the files are understood, so that --help and a wrong flag answer at once.
    from tqdm.auto import tqdm

    from semart_hf.model.pipeline_semart import ArtClassificationPipeline

    model, processor = load_model(options.model)
    classify = ArtClassificationPipeline(
        model=model, processor=processor, device=choose_device(options.device), precision=options.precision
    )
    settings = {name: getattr(options, name) for name in ("top_k", "min_confidence", "batch_size")}
    answers = tqdm(
        answer_each(classify, paintings, **settings),
        total=len(paintings),
        unit="painting",
        disable=len(paintings) < 2,
    )
    errors = show(options.output, paintings, answers, model.config.task_names)
    if notice := getattr(model.config, "training_notice", None):
        print(notice, file=sys.stderr)
    if len(errors) == len(paintings):
        where = f"; {options.output} says why of each" if options.output else ""
        raise ValueError(errors[0] if len(errors) == 1 else f"None of {len(errors)} paintings was answered{where}.")
    if options.explain is not None:
        from semart_hf.documents.explanation_page import write_explanations

        readable = [(name_of(painting), painting) for painting in paintings if "error" not in painting]
        write_explanations(options.explain, classify, readable)
        print(f"Explained in {options.explain}")
    where = f" in {options.output}" if options.output else ""
    if where or errors:
        print(f"{len(paintings) - len(errors)} of {len(paintings)} paintings answered{where}, {len(errors)} failed")


def find_paintings(paths: Sequence[Path], text: str | None) -> list[dict[str, Any]]:
    """`{"image", "text"}` of each painting: `None` for what it lacks, and `error` for a broken text.

    Raises:
        ValueError: If there is no picture at a path, or one text was given for several pictures.
    """
    if not paths:
        return [{"image": None, "text": text}]
    if text is not None and len(paths) > 1:
        raise ValueError(
            f"Got --text for {len(paths)} pictures. One text describes one picture. Put a text file of the same name "
            "beside each picture instead (monet.txt beside monet.jpg)."
        )
    return [painting for path in paths for painting in paintings_of(path, text)]


def paintings_of(path: Path, text: str | None) -> list[dict[str, Any]]:
    """The paintings of one picture or folder; see `find_paintings`."""
    from semart_hf.catalogue.picture_files import ENDINGS, picture_files

    if not path.exists():
        raise ValueError(f"Got {path}, which does not exist. A picture or a folder is allowed. Correct --input.")
    if not path.is_dir():
        return [{"image": str(path), "text": text} if text else with_text_beside(path)]
    if text is not None:
        raise ValueError(
            f"Got --text for the folder {path}. One text describes one picture. Put a text file of the same name "
            "beside each picture instead (monet.txt beside monet.jpg)."
        )
    pictures = picture_files(path)
    if not pictures:
        raise ValueError(
            f"Got the folder {path} without a picture. Allowed are {', '.join(ENDINGS)}. Correct --input."
        )
    return [with_text_beside(picture) for picture in pictures]


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
            what = "a folder" if path.is_dir() else "read as a painting"
            raise ValueError(f"Got --{name} {path}, which is {what}. Allowed is a file of its own. Give another name.")
    if options.output is not None and options.explain is not None and options.output == options.explain:
        raise ValueError(f"Got {options.output} as --output and --explain. Two files are needed. Give another name.")


def answer_each(classify: Any, paintings: list[dict[str, Any]], **settings: Any) -> Iterator[dict[str, Any]]:
    """The pipeline's answer to each painting as it is computed, or `{"error": …}`."""
    readable = (
        {name: value for name, value in painting.items() if value is not None}
        for painting in paintings
        if "error" not in painting
    )
    answers = iter(classify(readable, on_error="return", **settings))
    for painting in paintings:
        yield {"error": painting["error"]} if "error" in painting else next(answers)


def show(
    output: Path | None, paintings: list[dict[str, Any]], answers: Iterable[dict[str, Any]], tasks: list[str]
) -> list[str]:
    """Write or print the answers; the errors of the paintings that have none."""
    errors = []
    if output is None:
        rows = []
        for painting, answer in zip(paintings, answers, strict=True):
            if (error := error_of(answer)) is not None:
                errors.append(error)
                rows.append((f"{name_of(painting)}\n{error}", *["–"] * len(tasks)))
                continue
            guesses = ["\n".join(f"{guess['label']} {guess['score']:.0%}" for guess in answer[task]) for task in tasks]
            rows.append((name_of(painting), *guesses))
        if len(errors) < len(rows) or len(rows) > 1:
            print_table(("painting", *tasks), rows, are_numbers=False)
        return errors

    from semart_hf.files import atomic_file

    # A byte of a file's name that is no UTF-8 is written as JSON's own escape, `\udcfe`, which reads as that name.
    with atomic_file(output) as unfinished, unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for painting, answer in zip(paintings, answers, strict=True):
            line = {"image": painting["image"], "text": painting["text"]}
            if (error := error_of(answer)) is not None:
                errors.append(error)
                line["error"] = error
            else:
                line["predictions"] = answer
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return errors


def error_of(answer: dict[str, Any]) -> str | None:
    """Why there is no answer; `None` where there is one, even if a task is called `error`."""
    error = answer.get("error")
    # The pipeline numbers the paintings that it was given: a row names its own.
    return re.sub(r"^Painting \d+: ", "", error) if isinstance(error, str) else None


def name_of(painting: dict[str, Any]) -> str:
    """The picture's file name, or the beginning of the text where there is no picture."""
    name = Path(painting["image"]).name if painting["image"] else (painting["text"] or "")[:60]
    return name.encode("utf-8", "backslashreplace").decode()  # a name may hold bytes that are no UTF-8


if __name__ == "__main__":
    main()
