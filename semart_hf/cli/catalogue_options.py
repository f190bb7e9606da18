"""The options that say how a command reads a catalogue, and what is read by them."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Options by which a catalogue is read; see `add_catalogue_options`.
READING = ("mapping", "images", "image_column", "text_columns", "encoding", "delimiter", "sheet")


def add_catalogue_options(parser: ArgumentParser, *, fetches: bool = True) -> Any:
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


def reading_of(options: Namespace) -> dict[str, Any]:
    """The options of `add_catalogue_options` in JSON's types, for a process in another folder."""
    found = {name: getattr(options, name) for name in READING}
    paths = (name for name in ("images", "mapping") if found[name] and Path(found[name]).exists())
    return found | {name: str(Path(found[name]).resolve()) for name in paths}


def catalogue_of(options: Namespace) -> Any:
    """The catalogue that the options name."""
    from semart_hf.collection.sources import open_rows

    reading = {name: getattr(options, name) for name in ("encoding", "delimiter", "sheet")}
    return open_rows(str(options.catalogue), **reading)


def source_of(options: Namespace, catalogue: Any, tasks: Sequence[Any], *, has_suggestions: bool = False) -> Any:
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
        has_suggestions=has_suggestions,
    )
