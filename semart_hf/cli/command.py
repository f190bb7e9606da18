"""What all commands share: how they end, how they load a model, and how they print a table."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol


class Main(Protocol):
    """A command; without arguments it takes those of the process."""

    def __call__(self, arguments: list[str] | None = None) -> None:
        """Run it."""


def command(name: str) -> Callable[[Callable[[list[str]], None]], Main]:
    """Decorator that makes a command's `main` of a function of its arguments.

    What the user can put right ends with one line and status 1, without a traceback: `semart-hf predict: Got …`.

    Args:
        name: The command, as `semart-hf` calls it.
    """

    def decorate(work: Callable[[list[str]], None]) -> Main:
        @functools.wraps(work)
        def main(arguments: list[str] | None = None) -> None:
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


def load_model(name: str, *, revision: str | None = None, **options: Any) -> tuple[Any, Any]:
    """Model and processor of a folder or of a repository on the Hub.

    Args:
        name: The folder, or USER/NAME.
        revision: Of a repository.
        **options: Of the model's `from_pretrained`.
    """
    from transformers import AutoModel, AutoProcessor
    from transformers.utils import logging

    from semart_hf import register

    register()
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(name, revision=revision, trust_remote_code=False, **options)
    return model.eval(), AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=False)


def choose_device(name: str | None) -> str:
    """The device to compute on: the one that is named, else the GPU where there is one.

    Raises:
        ValueError: If torch has no such device here.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"Got the device {name!r}, which cannot be used: {reason}. Allowed are cpu and the GPUs of this machine "
            "(cuda, cuda:1, mps). Correct --device."
        ) from error
    return name


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    are_numbers: bool = True,
    total: Sequence[str] | None = None,
) -> None:
    """Print a table.

    Args:
        columns: Their names.
        rows: Cells, as they are shown.
        title: Printed above it.
        are_numbers: Whether the columns after the first are numbers, which stand to the right.
        total: A last row, below a line.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # As Text, because a name may hold what the console would take for markup.
    table = Table(title=None if title is None else Text(title), title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if are_numbers and position else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    if total is not None:
        table.add_section()
        table.add_row(*map(Text, total))
    Console().print(table)
