"""What all commands share: how they end, how they load a model, and how they print a table.

Commands import what is slow to import after they have understood their arguments: `--help` and a wrong one answer at
once.
"""

import argparse
import functools
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semart_hf.documents.table import Table, as_cell

from .threads import set_up_threads

#: Options by which a catalogue is read; see `add_catalogue_options`.
READING = ("mapping", "images", "image_column", "text_columns", "encoding", "delimiter", "sheet")


def command(name: str) -> Callable[[Callable[[list[str]], None]], Callable[..., None]]:
    """Decorator that makes a command's `main` of a function of its arguments, by default the process's.

    What the user can correct ends with one line and status 1, without a traceback: `semart-hf predict: Got …`.
    """

    def decorate(work: Callable[[list[str]], None]) -> Callable[..., None]:
        @functools.wraps(work)
        def main(arguments: list[str] | None = None) -> None:
            set_up_threads()
            # Importing torch and transformers makes a million objects, which the default of 700 looks through often.
            gc.set_threshold(20_000)
            try:
                work(sys.argv[1:] if arguments is None else list(arguments))
            except (ValueError, OSError, ImportError, TypeError) as error:
                if isinstance(error, TypeError) and not str(error).endswith("."):
                    raise  # no sentence that was written for the user: a fault of the program
                raise SystemExit(f"semart-hf {name}: {error}") from error
            except KeyboardInterrupt:
                raise SystemExit(f"semart-hf {name}: interrupted") from None

        return main

    return decorate


def check_folders(option: str, output: Path, **read: Path | None) -> None:
    """Refuse to write into a folder that is read, each named by its option."""
    for name, folder in read.items():
        if folder is not None and folder.resolve() == output.resolve():
            raise ValueError(f"Got {folder} as --{name} and as --{option}. Two folders are needed. Give another one.")


def load_model(name: str, revision: str | None = None) -> tuple[Any, Any]:
    """Model and processor of a folder or of a repository on the Hub."""
    from transformers import AutoModel, AutoProcessor
    from transformers.utils import logging

    from semart_hf import register

    register()
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(name, revision=revision, trust_remote_code=False)
    return model.eval(), AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=False)


def process_state(device: str | None) -> Any:
    """Accelerate's state of the processes that share a command's work."""
    from datetime import timedelta

    from accelerate import PartialState

    # A process that is done waits for the others, however long they take.
    return PartialState(cpu=device == "cpu", timeout=timedelta(days=30))


def add_catalogue_options(parser: argparse.ArgumentParser, *, fetches: bool = True) -> Any:
    """The group of options that say how a catalogue is read; see `catalogue_of`."""
    group = parser.add_argument_group("for a catalogue")
    add = group.add_argument
    add("--mapping", help="file that says which column is what, or the name of one that is shipped")
    add("--images", type=Path, help="folder of its pictures (default: Images beside it, or its own)")
    add("--image_column", help="its column of picture files or URLs, '' for none (default: by its name)")
    add("--text_columns", nargs="+", metavar="COLUMN", help="its columns of text (default: likewise)")
    if fetches:
        add("--fetch_pictures", action="store_true", help="fetch pictures that are URLs, of public hosts alone")
    add("--encoding", help="of a text file, by Python's name (default: found)")
    add("--delimiter", help="of a text file: a character, or tab, comma, semicolon, pipe (default: found)")
    add("--sheet", help="of an Excel workbook (default: the one that it opens with)")
    return group


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_catalogue_options` in JSON's types, for a process in another folder."""
    found = {name: getattr(options, name) for name in READING}
    paths = (name for name in ("images", "mapping") if found[name] and Path(found[name]).exists())
    return found | {name: str(Path(found[name]).resolve()) for name in paths}


def catalogue_of(options: argparse.Namespace) -> Any:
    """The catalogue that the options name."""
    from semart_hf.collection.sources import MappedCatalogue, open_source

    reading = {name: getattr(options, name) for name in ("encoding", "delimiter", "sheet")}
    catalogue = open_source(str(options.catalogue), **reading)
    if options.mapping is None:
        return catalogue
    from semart_hf.catalogue.mapping import load_mapping

    return MappedCatalogue(catalogue, load_mapping(options.mapping))


def columns_of(
    options: argparse.Namespace, catalogue: Any, tasks: Sequence[str], *, has_suggestions: bool = False
) -> tuple[Any, Path]:
    """Which columns of a catalogue are what, and the folder of its pictures."""
    from semart_hf.collection.sources import pictures_of
    from semart_hf.collection.suggestions import find_columns

    if options.mapping is None:
        named = {"image": options.image_column, "text": options.text_columns}
        fetches = getattr(options, "fetch_pictures", False)
        columns = find_columns(catalogue, tasks, **named, with_urls=fetches, has_suggestions=has_suggestions)
    else:
        columns = catalogue.columns_of(tasks, has_suggestions=has_suggestions)
    return columns, Path(options.images) if options.images else pictures_of(catalogue, columns.image)


def described(catalogue: Any, columns: Any, images: Path) -> str:
    """What was found in a catalogue, in a sentence or three."""
    known = ", ".join(f"{task} in {column!r}" for task, column in columns.tasks.items())
    pictures = f"column {columns.image!r}, files in {images}" if columns.image else "none"
    return (
        f"Pictures: {'its own' if catalogue.has_pictures else pictures}. "
        f"Text: {', '.join(map(repr, columns.text)) or 'none'}. Labels that are known: {known or 'none'}."
    )


def usable_device(name: str) -> str:
    """The name of a device, as an argument's type, if torch can compute there."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise argparse.ArgumentTypeError(
            f"Got the device {name!r}, which cannot be used: {reason}. Give cpu, or a GPU of this machine."
        ) from error
    return name


def print_table(table: Table) -> None:
    """Print a table, the small text of a cell below its text, and the total below a line."""
    from rich import console
    from rich import table as rich_table
    from rich.text import Text

    # As Text, because a name may hold what the console would take for markup.
    title = Text(table.title) if table.title else None
    shown = rich_table.Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(table.header):
        shown.add_column(Text(column), justify="left" if place < table.num_text_columns else "right", overflow="fold")
    for row in filter(None, (*table.rows, table.total)):
        if row is table.total:
            shown.add_section()
        shown.add_row(*(Text("\n".join(filter(None, (cell.text, cell.small)))) for cell in map(as_cell, row)))
    console.Console().print(shown)
