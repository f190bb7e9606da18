"""What all commands share; they import what is slow after they have parsed, so that `--help` answers at once."""

import argparse
import atexit
import errno
import gc
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from semart_hf import is_command_line
from semart_hf.documents.table import Table, as_cell
from semart_hf.memory import allowed_cores

COMMANDS = {
    "train": "Train a model by a recipe",
    "tune": "Search a recipe's best values",
    "evaluate": "Score a model on a split, and write results, figures and a report",
    "predict": "Classify paintings",
    "audit": "Find labels that are probably wrong",
    "index": "Embed a catalogue, to be searched",
    "search": "Find paintings by words, by a picture, by labels",
    "prepare": "Check a release or a catalogue and write it as a dataset of small pictures",
    "compare": "Train several towers under one recipe and compare them",
    "push": "Write a model repository, check it, and push it to the Hub",
    "export": "Write a model as ONNX graphs",
    "app": "Serve a model in the browser",
    "miniature": "Paint a small picture collection to try everything on",
}
CONTINUED = ("train", "tune", "audit", "index", "prepare", "compare")  # after Ctrl-C
#: Options by which a catalogue is read; see `add_reading`.
READING = ("mapping", "images", "image_column", "text_columns", "follow_links", "encoding", "delimiter", "sheet")
# Spins of a waiting thread of GNU's OpenMP before it sleeps: more gain nothing, and cost speed beside busy processes.
SPIN_COUNT = "1000"
LAUNCHERS = ("accelerate", "accelerate-launch", "torchrun")
LAUNCHER_MODULES = ("accelerate.commands.", "torch.distributed.")


@contextmanager
def command(name: str) -> Iterator[None]:
    """Decorator of a command's `main`, after which what the user can correct ends with one line and status 1."""
    set_up_threads()
    if isinstance(sys.stdout, io.TextIOWrapper):  # no command fails for a sign that a terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.set_threshold(20_000)  # importing torch makes a million objects, which the default of 700 looks through often
    try:
        yield
    except (ValueError, OSError, ImportError, TypeError) as error:
        if isinstance(error, TypeError) and not str(error).endswith("."):
            raise  # no sentence that was written for the user: a fault of the program
        advice = ""
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = ". Allow this user to read and write there, or give another place (of caches: HF_HOME)."
        raise SystemExit(f"semart-hf {name}: {error}{advice}") from error
    except KeyboardInterrupt:
        advice = ". The same command continues it." if name in CONTINUED else ""
        raise SystemExit(f"semart-hf {name}: interrupted{advice}") from None


def run_command(main: Callable[[], None]) -> None:
    """Run a command; its process then ends at once, unless others work in it: Python's own way takes a second."""
    main()
    is_alone = all(one.daemon for one in threading.enumerate() if one is not threading.main_thread())
    if is_command_line() and is_alone and os.environ.get("WORLD_SIZE", "1") == "1":
        atexit._run_exitfuncs()
        with suppress(BrokenPipeError):  # whoever read this, as `head`, has seen enough
            sys.stdout.flush()
        os._exit(0)


def set_up_threads() -> None:
    """Let threads that wait for others sleep after a moment, and undo a launcher's default of one thread."""
    # Else, where another program has the core that a thread needs, the others spin for its whole time slice. The
    # moment: to wake a thread takes longer than most operations let it wait.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if os.environ.get("OMP_NUM_THREADS") != "1" or not is_launchers_default():
        return
    threads = cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if threads > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            chosen = f"Threads: {threads}, where the launcher's default is 1."
            print(chosen, "OMP_NUM_THREADS sets another number.", file=sys.stderr)


def is_launchers_default() -> bool:
    """Whether a launcher started this process and chose the number of its threads by itself."""
    import psutil

    try:
        launcher = psutil.Process(os.getppid())
        environment, words = launcher.environ(), launcher.cmdline()
    except psutil.Error:
        return False
    is_launcher = any(Path(word).stem in LAUNCHERS or word.startswith(LAUNCHER_MODULES) for word in words[:4])
    is_chosen = "OMP_NUM_THREADS" in environment or any("num_cpu_threads" in one.replace("-", "_") for one in words)
    return is_launcher and not is_chosen


def cores() -> int:
    """Cores that this process may use and that compute on their own, as torch counts its threads."""
    import psutil

    return min(allowed_cores(), psutil.cpu_count(logical=False) or sys.maxsize)


class Parser(argparse.ArgumentParser):
    """A parser of options of which some have no effect beside others."""

    def refuse(self, options: argparse.Namespace, names: Sequence[str], when: str) -> None:
        """End with an error where one of the named options is given."""
        if given := [f"--{name}" for name in names if getattr(options, name) != self.get_default(name)]:
            self.error(f"got {', '.join(given)} {when}, which has no effect; leave it out")


def parser_of(name: str, epilog: str | None = None) -> Parser:
    """The parser of a command, described as in the list of commands."""
    layout: dict[str, Any] = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
    return Parser(f"semart-hf {name}", description=f"{COMMANDS[name]}.", epilog=epilog, **layout)


def split_name(name: str) -> str:
    return {"val": "validation"}.get(name, name)


def load_model(name: str, revision: str | None = None) -> tuple[Any, Any]:
    """Model and processor of a folder or of a repository on the Hub."""
    from transformers import AutoModel, AutoProcessor
    from transformers.utils import logging

    from semart_hf import register

    register()
    logging.disable_progress_bar()
    allowed = "Allowed is the folder of a trained model, or its name on the Hub."
    if not Path(name, "config.json").is_file() and (Path(name).exists() or "/" not in name):  # USER/NAME on the Hub
        raise ValueError(f"Got the model {name}, which has no config.json. {allowed} Give one.")
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        return AutoModel.from_pretrained(name, **options).eval(), AutoProcessor.from_pretrained(name, **options)
    except OSError as error:  # which may name no model
        raise OSError(f"Got the model {name}. {allowed} {error}") from error


def load_classifier(name: str, revision: str | None = None, device: Any = None) -> Any:
    """The pipeline of a folder or of a repository on the Hub."""
    from semart_hf.model.pipeline_semart import ArtClassificationPipeline

    model, processor = load_model(name, revision)
    return ArtClassificationPipeline(model=model, processor=processor, device=device)


def process_state(device: str | None) -> Any:
    """Accelerate's state of the processes that share a command's work."""
    from accelerate import PartialState

    # A process that is done waits for the others, however long they take.
    return PartialState(cpu=device == "cpu", timeout=timedelta(days=30))


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


def print_table(table: Table, title: str = "") -> None:
    """Print a table under a title or its own, the small text of a cell below its text, and the total below a line."""
    from rich import console
    from rich import table as rich_table
    from rich.text import Text

    # As Text, because a name may hold what the console would take for markup.
    shown = rich_table.Table(title=Text(title or table.title) or None, title_justify="left", title_style="bold")
    for place, column in enumerate(table.header):
        shown.add_column(Text(column), justify="left" if place < table.num_text_columns else "right", overflow="fold")
    for row in filter(None, (*table.rows, table.total)):
        if row is table.total:
            shown.add_section()
        shown.add_row(*(Text("\n".join(filter(None, (cell.text, cell.small)))) for cell in map(as_cell, row)))
    console.Console().print(shown)


def add_reading(parser: argparse.ArgumentParser, *, fetches: bool = True) -> Any:
    """The group of options that say how a catalogue is read; see `catalogue_of`."""
    group = parser.add_argument_group("for a catalogue")
    add = group.add_argument
    add("--mapping", help="file that says which column is what, or the name of one that is shipped")
    add("--images", type=Path, help="folder of its pictures (default: Images beside it, or its own)")
    add("--image_column", help="its column of picture files or URLs, '' for none (default: by its name)")
    add("--text_columns", nargs="+", metavar="COLUMN", help="its columns of text (default: likewise)")
    add("--follow_links", action="store_true", help="take pictures that are links out of their folder")
    if fetches:
        add("--fetch_pictures", action="store_true", help="fetch pictures that are URLs, of public hosts alone")
    add("--encoding", help="of a text file, by Python's name (default: found)")
    add("--delimiter", help="of a text file: a character, or tab, comma, semicolon, pipe (default: found)")
    add("--sheet", help="of an Excel workbook (default: the one that it opens with)")
    return group


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_reading` in JSON's types, for a process in another folder."""
    found = {name: getattr(options, name) for name in READING}
    paths = (name for name in ("images", "mapping") if found[name] and Path(found[name]).exists())
    return found | {name: str(Path(found[name]).resolve()) for name in paths}


def catalogue_of(options: argparse.Namespace) -> Any:
    """The catalogue that the options name."""
    from semart_hf.catalogue.mapping import load_mapping
    from semart_hf.collection.sources import open_rows

    mapping = None if options.mapping is None else load_mapping(options.mapping)
    names = ("encoding", "delimiter", "sheet")
    reading = {name: getattr(options, name) or getattr(mapping, name, None) for name in names}
    catalogue = open_rows(str(options.catalogue), **reading)
    if idle := [f"--{name}" for name in names if getattr(options, name) and name not in catalogue.options]:
        raise ValueError(f"Got {', '.join(idle)} for {options.catalogue}, where it has no effect. Leave it out.")
    return catalogue


def source_of(
    options: argparse.Namespace, catalogue: Any, tasks: Sequence[Any], *, has_suggestions: bool = False
) -> Any:
    """What a catalogue's columns are for a model's tasks, and where its pictures are, by the options."""
    from semart_hf.catalogue.mapping import load_mapping
    from semart_hf.collection.sources import find_source, separators_of

    return find_source(
        catalogue,
        [task["name"] for task in tasks],
        separators=separators_of(tasks),
        mapping=None if options.mapping is None else load_mapping(options.mapping),
        **{name: getattr(options, name) for name in ("images", "image_column", "text_columns")},
        fetch_pictures=getattr(options, "fetch_pictures", False),
        follow_links=bool(options.follow_links),
        has_suggestions=has_suggestions,
    )


def answering(options: argparse.Namespace, *, has_suggestions: bool = False) -> tuple[Any, Any, Any]:
    """The pipeline, a catalogue's source, and the state of the processes that answer its rows together."""
    catalogue, state = catalogue_of(options), process_state(options.device)
    device = options.device or (state.device if state.num_processes > 1 else None)
    classify = load_classifier(options.model, device=device)
    source = source_of(options, catalogue, classify.model.config.tasks, has_suggestions=has_suggestions)
    if state.is_main_process:
        print(source.in_words(), file=sys.stderr)
    return classify, source, state
