"""The options that say how a command reads a catalogue, and what is read by them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Options by which a catalogue is read; see `add_catalogue_options`.
READING = ("mapping", "images", "image_column", "text_columns", "encoding", "delimiter", "sheet")


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
    pictures, text = "its own" if catalogue.has_pictures else pictures, ", ".join(map(repr, columns.text)) or "none"
    return f"Pictures: {pictures}. Text: {text}. Labels that are known: {known or 'none'}."
