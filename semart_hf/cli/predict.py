"""Classify paintings: `python scripts/predict.py --model DIR --input FILE_OR_FOLDER [--text "…"]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# A script's own folder comes first in the search path, where evaluate.py would hide the library of that name.


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        prog="semart-hf predict", description="Say type, school, timeframe and medium of paintings."
    )
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument(
        "--input",
        type=Path,
        help="a picture or a folder of them; a text file beside a picture (monet.txt beside monet.jpg) is its text",
    )
    parser.add_argument("--text", help="description of the one picture, or of a painting without a picture")
    parser.add_argument("--output", type=Path, help="write JSON lines here, instead of a table on the screen")
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
    if options.input is None and options.text is None:
        parser.error("nothing to classify: pass --input FILE_OR_FOLDER, --text, or both")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    paintings = find_paintings(options.input, options.text)

    # After the command line and the files are understood, so that --help and a wrong flag answer at once.
    import torch
    from tqdm.auto import tqdm
    from transformers import AutoModel, AutoProcessor

    from semart_hf import register
    from semart_hf.model.pipeline_semart import ArtClassificationPipeline

    register()
    classify = ArtClassificationPipeline(
        model=AutoModel.from_pretrained(options.model, trust_remote_code=False),
        processor=AutoProcessor.from_pretrained(options.model, trust_remote_code=False),
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        precision=options.precision,
    )
    answers = classify(
        inputs_of(paintings),
        top_k=options.top_k,
        min_confidence=options.min_confidence,
        batch_size=options.batch_size,
    )
    shown = tqdm(answers, total=len(paintings), unit="painting", disable=len(paintings) < 2)
    if options.output is None:
        print_table(paintings, list(shown))
    else:
        write_lines(options.output, paintings, shown)
        print(f"{len(paintings)} paintings written to {options.output}")
    if options.explain is not None:
        from semart_hf.documents.explanation_page import write_explanations

        write_explanations(options.explain, classify, [(name_of(painting), painting) for painting in paintings])
        print(f"Explained in {options.explain}")


def name_of(painting: dict[str, str | None]) -> str:
    """The picture's file name, or the beginning of the text where there is no picture."""
    return Path(painting["image"]).name if painting["image"] else (painting["text"] or "")[:60]


def find_paintings(path: Path | None, text: str | None) -> list[dict[str, str | None]]:
    """`{"image", "text"}` of each painting: paths as strings, None for what a painting lacks, sorted by path.

    Raises:
        ValueError: There is no picture at the path, or one text was given for a whole folder.
    """
    from PIL import Image

    if path is None:
        return [{"image": None, "text": text}]
    if not path.exists():
        raise ValueError(f"Got {path}, which does not exist. A picture or a folder is allowed. Correct --input.")
    if path.is_file():
        return [{"image": str(path), "text": text or text_beside(path)}]
    if text is not None:
        raise ValueError(
            f"Got --text for the folder {path}. One text describes one picture. Put a text file of the same name "
            "beside each picture instead (monet.txt beside monet.jpg)."
        )
    endings = Image.registered_extensions()
    pictures = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in endings)
    if not pictures:
        raise ValueError(f"Got the folder {path} without a picture. Allowed are {', '.join(sorted(endings))}.")
    return [{"image": str(picture), "text": text_beside(picture)} for picture in pictures]


def text_beside(picture: Path) -> str | None:
    """The text file of the picture's name, where there is one."""
    path = picture.with_suffix(".txt")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def inputs_of(paintings: Iterable[dict[str, str | None]]) -> Iterator[dict[str, str]]:
    """The pipeline's inputs: what a painting lacks is left out."""
    for painting in paintings:
        yield {name: value for name, value in painting.items() if value is not None}


def print_table(paintings: list[dict[str, str | None]], answers: list[dict[str, Any]]) -> None:
    """One line a painting, its likeliest labels with their probabilities under each task."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("painting", overflow="fold")
    for task in answers[0]:
        table.add_column(task)
    for painting, answer in zip(paintings, answers, strict=True):
        cells = ["\n".join(f"{guess['label']} {guess['score']:.0%}" for guess in ranked) for ranked in answer.values()]
        # As Text, because a name may hold what the console would take for markup.
        table.add_row(*map(Text, (name_of(painting), *cells)))
    Console().print(table)


def write_lines(path: Path, paintings: list[dict[str, str | None]], answers: Iterable[dict[str, Any]]) -> None:
    """One JSON object a painting: `image`, `text`, `predictions`; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        for painting, answer in zip(paintings, answers, strict=True):
            file.write(json.dumps({**painting, "predictions": answer}, ensure_ascii=False) + "\n")
    unfinished.replace(path)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
