"""Prepare a catalogue of paintings: `semart-hf prepare --release DIR --output_dir OUT`."""

import argparse
import logging
import os
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from .command import command, parser_of, print_table, process_state

EXAMPLES = """examples:
  semart-hf prepare --release SemArt --output_dir outputs/semart
  semart-hf prepare --release SemArt --text_columns "{TITLE}. {DESCRIPTION}" --output_dir outputs/titles
  semart-hf prepare --release openaccess --mapping met --output_dir outputs/met
  semart-hf prepare --release SemArt --release openaccess \\
      --mapping official --mapping met --output_dir outputs/both

A run that was interrupted is continued by the same command. Processes and machines share the work under `accelerate
launch -m semart_hf.cli.prepare`. The folder opens with datasets.load_dataset(OUT)."""


@command("prepare")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("prepare", EXAMPLES)
    add = parser.add_argument
    release = "folder of a SemArt release, one such CSV file, or what --mapping reads; several are merged"
    add("--release", action="append", required=True, metavar="DIR", help=release)
    mapping = "YAML file of what columns are, or met, nga, wikiart, official (SemArt's): for all, or one for each"
    add("--mapping", action="append", metavar="FILE", help=mapping)
    add("--encoding", metavar="NAME", help="of a catalogue's files, such as cp1250 (default: found)")
    add("--delimiter", metavar="CHARACTER", help="of a catalogue's files, or tab, comma, … (default: found)")
    add("--follow_links", action="store_true", help="take pictures that are links out of their folder")
    add("--min_pictures", type=float, default=0.5, metavar="SHARE", help="of named pictures that can be read (0.5)")
    add("--output_dir", required=True, help="new or empty folder, or an address, such as s3://bucket/paintings")
    add("--image_size", type=int, default=288, help="shorter side in pixels (default: 288)")
    add("--image_format", choices=("jpeg", "png", "webp"), default="jpeg", help="default: jpeg, quality 92")
    add("--num_proc", type=int, help="processes (default: one for each core)")
    add("--strict", action="store_true", help="make no dataset if a row would be dropped")
    add("--tasks", nargs="+", metavar="TASK", help="label columns, or tables as in a recipe (default: --mapping's)")
    add("--min_label_count", type=int, default=10, help="labels rarer than this in train become UNK (default: 10)")
    add("--text_columns", nargs="+", default=["DESCRIPTION"], help='columns, or a template: "{TITLE}. {DESCRIPTION}"')
    add("--mask_label_words", action="store_true", help="mask words that name labels, time and painter in the text")
    options = parser.parse_args(arguments)
    if options.mapping and len(options.mapping) not in (1, len(options.release)):
        parser.error(f"{len(options.mapping)} mappings for {len(options.release)} releases: give one, or one for each")
    if options.num_proc is not None and options.num_proc < 1:
        parser.error(f"got --num_proc {options.num_proc}: give 1 or more")
    if not 0 <= options.min_pictures <= 1:
        parser.error(f"got --min_pictures {options.min_pictures:g}: give a share from 0 to 1")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)

    from semart_hf.catalogue.text import columns_or_template
    from semart_hf.documents.data_report import write_data_report, write_dataset_card
    from semart_hf.preparation.preparation import prepare_paintings
    from semart_hf.preparation.shards import Mirror, PreparationOptions

    given = {name: getattr(options, name) for name in ("image_size", "min_label_count", "mask_label_words")}
    given |= {"encoding": options.image_format, "text_columns": columns_or_template(options.text_columns)}
    how = {name: getattr(options, name) for name in ("num_proc", "strict", "min_pictures")}
    mirror = Mirror(options.output_dir) if "://" in options.output_dir else None
    folder = mirror.folder if mirror else Path(options.output_dir)
    state = process_state("cpu") if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
    tables, settings = read_releases(options), PreparationOptions(**given)
    try:
        summary = prepare_paintings(tables, folder, settings, state=state, mirror=mirror, **how)
    except RuntimeError as error:  # another process has ended
        raise ValueError(str(error)) from error
    if state is not None and not state.is_main_process:
        return
    write_dataset_card(folder)
    write_data_report(folder)
    if mirror:
        mirror.publish()
    print_summary(summary, options.output_dir)


def read_releases(options: argparse.Namespace) -> Any:
    """Tables of all releases, merged where there are several, each read by its mapping."""
    from semart_hf.catalogue.catalogue import merge_tables, read_catalogue, read_rows
    from semart_hf.catalogue.mapping import load_mapping
    from semart_hf.catalogue.schema import SEMART_TASKS, read_tasks
    from semart_hf.recipes.recipe import effective_recipe

    entries = effective_recipe({}, ["--tasks", *options.tasks])["tasks"] if options.tasks else None
    mappings = options.mapping or ["official"]
    files = {"encoding": options.encoding, "delimiter": options.delimiter}
    tables: dict[str, Any] = {}
    for release, mapping in zip(options.release, mappings * (len(options.release) // len(mappings)), strict=True):
        if mapping == "official":
            tasks = read_tasks(entries) if entries else SEMART_TASKS
            table = read_rows(release, follow_links=options.follow_links, tasks=tasks, **files)
        else:
            given = {key: value for key, value in files.items() if value is not None}
            read = replace(load_mapping(mapping, entries), **given)
            table = read_catalogue(release, read, follow_links=options.follow_links)
        name = Path(release).name or "release"
        tables[name if name not in tables else f"{name}-{len(tables) + 1}"] = table
    return merge_tables(tables) if len(tables) > 1 else table


def print_summary(summary: dict[str, Any], folder: str) -> None:
    from semart_hf.documents.data_report import finding_table, split_table

    print_table(split_table(summary["rows"]))
    if summary["problems"]:
        print_table(finding_table(summary))
    several = {task["name"] for task in summary.get("tasks", ()) if task.get("kind") == "multi_label"}
    for task, splits in summary["labels"].items():
        print(f"{task}: {labels_in_words(splits, has_several=task in several)}")
    print(f"Every finding is a line of {folder}/problems.jsonl; look at {folder}/report.html.")
    word = shlex.quote(folder)
    if summary["tasks"]:  # which have labels to learn
        print(f"Train on it with: semart-hf train {recipe_for(summary)} --data {word} --output_dir OUT")
    print(f"Publish it with: semart-hf push --dataset {word} --repo_id USER/NAME")
    print(f"Open it with: datasets.load_dataset({folder!r})")


def recipe_for(summary: dict[str, Any]) -> str:
    """The recipe that shows what the dataset has."""
    if not any(counts["with_picture"] for counts in summary["rows"].values()):
        return "semart-text_only"
    has_texts = any(counts["texts"] for counts in summary["named_labels"].values())
    return "semart-efficientnet_b0" if has_texts else "semart-image_only"


def labels_in_words(splits: dict[str, dict[str, int]], has_several: bool = False) -> str:
    """How many labels a task has and how often, from its counts by split and label."""
    counts: Counter[str] = sum((Counter(by_label) for by_label in splits.values()), Counter())
    num_rare, num_unlabelled = counts.pop("UNK", 0), counts.pop("unknown", 0)
    rare = f", {num_rare:,} rare ones (UNK, see --min_label_count)" if num_rare else ""
    often = f"{len(counts)} label{'s' * (len(counts) != 1)} {counts.total():,} times{rare}"
    can_be_learned = len(counts) > 1 or (counts and (num_rare or has_several))
    return f"{often}; {num_unlabelled:,} rows without{'' if can_be_learned else ': nothing to learn'}"


if __name__ == "__main__":
    main()
