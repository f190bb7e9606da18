"""Classify paintings: semart-hf predict --model DIR --input FILE_OR_FOLDER [--text "…"], or a catalogue's rows."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semart_hf.catalogue.picture_files import ENDINGS, is_picture_file, picture_files
from semart_hf.documents.table import Table
from semart_hf.files import write_text
from semart_hf.memory import freed_memory_kept

from .command import READING, add_reading, answering, command, load_classifier, parser_of, print_table, usable_device

EPILOG = """Of a catalogue, OUT is the same file with columns beside its own: for each task the suggestion, its
confidence, alternatives, and a decision (known: the cell is not empty; accepted: sure enough for --risk; unsure). The
same command continues what was interrupted; under `accelerate launch -m semart_hf.cli.predict` processes share it.

A file that cannot be read has its error in its own row or line, and the others are answered; the last
line counts them. The status is 0 if a painting was answered, 1 if none was."""


@command("predict")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("predict", EPILOG)
    add = parser.add_argument
    kinds = "CSV, TSV, JSON lines, Parquet or Excel file; folder of pictures, or of data; name on the Hub"
    add("catalogue", nargs="?", help=kinds)
    add("--model", required=True, help="folder of a trained model, or its name on the Hub")
    add("--input", type=Path, nargs="+", default=[], help="pictures, or folders; monet.txt is the text of monet.jpg")
    add("--text", help="description of the one picture, or of a painting without a picture")
    add("--output", type=Path, metavar="OUT", help="the catalogue with suggestions; else JSON lines, and no table")
    add("--explain", type=Path, metavar="OUT.html", help="a page with what in picture and text moved each answer")
    add("--top_k", type=int, help="labels shown for each task (default: its answer)")
    add("--min_confidence", type=float, help="say unsure where the answer is less probable")
    add("--batch_size", type=int, default=8, help="paintings at a time (default: 8)")
    add("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    add = add_reading(parser).add_argument
    add("--risk", type=float, default=0.05, help="share of wrong ones among the accepted (default: 0.05)")
    add("--fill", action="store_true", help="put accepted suggestions into empty cells")
    options = parser.parse_args(arguments)
    if options.catalogue is not None:
        parser.refuse(options, ("input", "text", "explain", "top_k", "min_confidence"), "with a catalogue")
        if is_picture_file(options.catalogue):
            parser.error(f"got the picture {options.catalogue} as a catalogue: give it with --input")
        if options.output is None:
            parser.error("a catalogue needs --output: where it is written with suggestions")
        if not 0 < options.risk < 1:
            parser.error(f"got --risk {options.risk}: a share between 0 and 1 is allowed, such as 0.05")
    elif not options.input and options.text is None:
        parser.error("nothing to classify: pass a catalogue, --input FILE_OR_FOLDER, --text, or both")
    else:
        parser.refuse(options, ("risk", "fill", "fetch_pictures", *READING), "without a catalogue")
    with freed_memory_kept():
        (answer if options.catalogue is None else suggest)(options)


def answer(options: argparse.Namespace) -> None:
    """Classify pictures and texts, and print or write the answers."""
    paintings = find_paintings(options.input, options.text)
    check_outputs(options, paintings)

    from tqdm.auto import tqdm

    from semart_hf.model.configuration_semart import is_multi_label
    from semart_hf.model.pipeline_semart import UNSURE, error_of

    classify = load_classifier(options.model, device=options.device)
    config = classify.model.config
    readable = [painting for painting in paintings if "error" not in painting]
    inputs = ({name: value for name, value in painting.items() if value is not None} for painting in readable)
    settings = {"min_confidence": options.min_confidence, "batch_size": options.batch_size}
    top_k = "auto" if options.top_k is None else options.top_k
    answers = classify(inputs, on_error="return", top_k=top_k, **settings)
    single = [] if top_k != "auto" else [task["name"] for task in config.tasks if not is_multi_label(task)]
    with tqdm(answers, total=len(readable), unit="painting", disable=len(paintings) < 2) as progress:
        for painting, answer in zip(readable, progress, strict=True):
            error = error_of(answer)
            if error is None:
                answer |= {task: answer[task][: 1 + (answer[task][0]["label"] == UNSURE)] for task in single}
            painting.update({"predictions": answer} if error is None else {"error": error})

    errors = [painting["error"] for painting in paintings if "error" in painting]
    where = "" if options.output is None else f" in {options.output}"
    if where:
        text = "".join(json.dumps(painting, ensure_ascii=False) + "\n" for painting in paintings)
        # A byte of a file's name that is no UTF-8 is written as JSON's own escape, `\udcfe`, which reads as that name.
        write_text(options.output, text.encode("utf-8", "backslashreplace").decode())
    else:
        header = ["painting", *config.task_names]
        print_table(Table(header, [row_of(one, header[1:]) for one in paintings], num_text_columns=len(header)))
    if config.training_notice:
        print(config.training_notice, file=sys.stderr)
    if len(errors) == len(paintings):
        none = f"None of {len(errors)} paintings was answered; see each error{where or ' above'}."
        raise ValueError(none if len(errors) > 1 else errors[0])
    if options.explain is not None:
        from semart_hf.documents.evaluation_report import explanation_page

        write_text(options.explain, explanation_page(classify, [(name_of(one), one) for one in readable]))
        print(f"Explained in {options.explain}")
    if where or errors:
        print(f"{len(paintings) - len(errors)} of {len(paintings)} paintings answered{where}, {len(errors)} failed")


def suggest(options: argparse.Namespace) -> None:
    """Write a catalogue with suggestions."""
    read, output = Path(options.catalogue), options.output
    allowed = [read.suffix.lower()] if read.is_file() else [".csv", ".jsonl", ".parquet"]
    if output.suffix.lower() not in allowed or output.is_dir() or output.resolve() == read.resolve():
        rule = "A file is written in its own format to another one, other data as a table"
        advice = f"Give a name that ends in {' or '.join(allowed)}"
        raise ValueError(f"Got {output} as --output of {read}. {rule}. {advice}.")

    from semart_hf.collection import review, suggestions
    from semart_hf.model.pipeline_semart import error_of

    if (decisions := review.decisions_beside(output)).exists():
        problem = f"but the decisions in {decisions} are about what it holds now"
        raise ValueError(f"Got {output} as --output, {problem}. Give another name, or move both away.")
    classify, source, state = answering(options)
    catalogue, config, tasks = source.catalogue, classify.model.config, classify.model.config.task_names
    fill = [column for column in source.label_columns.values() if options.fill and column in catalogue.columns]
    if wrong := [column for column in fill if not catalogue.holds_text(column)]:
        problem = "which holds no text, or has merged cells"
        raise ValueError(f"Got --fill for the column {wrong[0]!r}, {problem}. Change that, or leave --fill out.")
    catalogue.check_labels(label for task in config.tasks for label in task["labels"])
    thresholds = suggestions.thresholds_at(options.risk, config.confidence_risks)
    identity = {}
    if state.is_main_process:  # which alone asks for it
        chosen = {name: getattr(options, name) for name in ("batch_size", "encoding", "delimiter", "sheet")}
        identity = suggestions.identity_of(source, classify.model, **chosen)
    # Of several labels the answer's probability is made of all.
    top_k = None if source.separators else 1 + suggestions.NUM_ALTERNATIVES

    def answers(paintings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = classify(paintings, on_error="return", top_k=top_k, batch_size=options.batch_size)
        return [one if error_of(one) else suggestions.in_one_cell(one, config.tasks) for one in found]

    suggester = suggestions.Suggester(source, tasks, thresholds, fill)
    counts = suggester.suggest(output, answers, identity, state)
    if not state.is_main_process:
        return
    names = suggestions.DECISIONS
    rows = [[task, *(counts[f"{task} {name}"] for name in names)] for task in tasks]
    answered, failed = counts["answered"], counts["failed"]
    print_table(Table(["task", *names], rows, f"{answered:,} of {answered + failed:,} rows answered"))
    if num_rows := counts["without_picture"]:
        print(f"{num_rows:,} were answered by their text alone; {output} says why their picture was not read.")
    if not config.confidence_risks:
        missing = "This model carries no calibration, so that nothing is accepted."
        print(missing, "`semart-hf evaluate --calibrate val` writes one into it.", file=sys.stderr)
    if config.training_notice:
        print(config.training_notice, file=sys.stderr)
    print("Written:", output)
    if not answered:
        raise ValueError(f"None of {failed:,} rows was answered; {output} says why of each.")


def find_paintings(paths: Sequence[Path], text: str | None) -> list[dict[str, Any]]:
    """`{"image", "text"}` of each painting: `None` for what it lacks, and `error` for a broken text."""
    if text is not None and (len(paths) > 1 or (paths and paths[0].is_dir())):
        given = f"{len(paths)} pictures" if len(paths) > 1 else f"the folder {paths[0]}"
        raise ValueError(f"Got --text for {given}. It describes one picture: put monet.txt beside monet.jpg instead.")
    paintings: list[dict[str, Any]] = [] if paths else [{"image": None, "text": text}]
    for path in paths:
        if not path.exists():
            raise ValueError(f"Got {path}, which does not exist. A picture or a folder is allowed. Correct --input.")
        pictures = picture_files(path) if path.is_dir() else [path]
        if not pictures:
            raise ValueError(f"Got the folder {path} without a picture. Allowed are {', '.join(ENDINGS)}.")
        from semart_hf.catalogue.text_files import text_beside  # takes a second

        for picture in pictures:
            painting: dict[str, Any] = {"image": str(picture), "text": None}
            paintings.append(painting)
            try:
                painting["text"], doubt = (text, None) if text else text_beside(picture)
            except ValueError as error:
                painting["error"], doubt = str(error), None
            if doubt:
                print(doubt, file=sys.stderr)
    return paintings


def check_outputs(options: argparse.Namespace, paintings: list[dict[str, Any]]) -> None:
    """Refuse to write over a folder, over what is read, or where nothing can be written."""
    read = {Path(painting["image"]).resolve() for painting in paintings if painting["image"]}
    read |= {path.with_suffix(ending) for path in read for ending in (".txt", ".TXT")}
    for path in filter(None, (options.output, options.explain)):
        problem = "a folder" if path.is_dir() else "read as a painting" if path.resolve() in read else None
        place = next(parent for parent in path.absolute().parents if parent.exists())
        if not (problem or (place.is_dir() and os.access(place, os.W_OK))):
            problem = f"in {place}, where this user cannot write"
        if problem:
            raise ValueError(f"Got {path} to write to, which is {problem}. Give the name of another file.")
    if options.output is not None and options.output == options.explain:
        raise ValueError(f"Got {options.output} as --output and --explain. Two files are needed. Give another name.")


def row_of(painting: dict[str, Any], tasks: list[str]) -> list[str]:
    if "error" in painting:
        return [f"{name_of(painting)}\n{painting['error']}", *["–"] * len(tasks)]
    guesses = painting["predictions"]
    lines = ["\n".join(f"{guess['label']} {guess['score']:.0%}" for guess in guesses[task]) or "–" for task in tasks]
    return [name_of(painting), *lines]


def name_of(painting: dict[str, Any]) -> str:
    """The picture's file name, or the beginning of the text where there is no picture."""
    name = Path(painting["image"]).name if painting["image"] else (painting["text"] or "")[:60]
    return name.encode("utf-8", "backslashreplace").decode()  # a name may hold bytes that are no UTF-8


if __name__ == "__main__":
    main()
