"""Publish a model: semart-hf push --model DIR --repo_id USER/NAME [--results FILE …] [--push].

Without --push the repository is put together, checked, and shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import command, load_model

if TYPE_CHECKING:
    from semart_hf.publishing.upload import Destination

PACKAGE = Path(__file__).resolve().parents[1]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        prog="semart-hf push",
        description="Put a repository together, check that it loads elsewhere, show it; with --push, publish it.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="folder of a trained model, or its name on the Hub")
    what.add_argument("--dataset", type=Path, help="folder that `semart-hf prepare` wrote: publish it instead")
    parser.add_argument("--repo_id", required=True, help="USER/NAME on the Hub")
    parser.add_argument("--push", action="store_true", help="publish; without it nothing is sent")
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        help="whether a new repository is private (default: a model is public, a dataset private)",
    )
    parser.add_argument("--revision", help="branch of the Hub to commit to (default: main)")
    parser.add_argument("--message", help="the commit's message")
    parser.add_argument("--output_dir", type=Path, help="where it is put together (default: outputs/hub/NAME)")
    card = parser.add_argument_group("the card of a model")
    card.add_argument(
        "--results",
        type=Path,
        nargs="+",
        help="results.json of `evaluate`, the most important first (default: the one in the model's folder)",
    )
    card.add_argument(
        "--recipe", type=Path, help="recipe that trained it (default: recipe.yaml in the model's folder)"
    )
    card.add_argument("--data_name", help="what the training data are called")
    card.add_argument("--data_id", help="their id on the Hub, for the metadata")
    card.add_argument("--license", default="apache-2.0", help="of the weights (default: apache-2.0)")
    card.add_argument("--example", type=Path, help="picture for the card's example, which will be published with it")
    card.add_argument("--example_text", help="text for the card's example")
    card.add_argument("--template", type=Path, default=PACKAGE / "templates" / "model_card.md", help="of the card")
    card.add_argument("--card", type=Path, help="write the card, with its figures, here too: model_cards/NAME.md")
    card.add_argument("--space", metavar="USER/NAME", help="put a Space together too, that serves the model")
    return parser.parse_args(arguments)


@command("push")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)

    # After the command line is understood, so that --help and a wrong flag answer at once.
    from transformers.utils import logging

    from semart_hf.publishing.upload import Destination

    logging.disable_progress_bar()
    kind = "model" if options.model else "dataset"
    private = kind == "dataset" if options.private is None else options.private
    destination = Destination(options.repo_id, kind, private, options.revision)
    if options.dataset:
        publish_dataset(options, destination)
    else:
        publish_model(options, destination)
    if not options.push:
        print("Nothing was sent. Add --push to publish.")


def publish_model(options: argparse.Namespace, destination: Destination) -> None:
    """Put the repository together, check it, show it; with --push send it, and load it back from the Hub."""
    from huggingface_hub import get_token

    from semart_hf.publishing.check import check_published, check_repository
    from semart_hf.publishing.model_repository import CardChoices, assemble_repository, copy_card

    source = Path(options.model)
    folder = options.output_dir or Path("outputs", "hub", destination.repo_id.split("/")[1])
    if folder.resolve() == source.resolve():
        raise ValueError(f"Got {folder} as --model and as --output_dir. Two folders are needed. Give another.")
    model, processor = load_model(options.model)
    trained = source / "results.json" if (source / "results.json").is_file() else None
    choices = CardChoices(
        options.template, options.data_name, options.data_id, options.license, options.example, options.example_text
    )
    assemble_repository(
        model,
        processor,
        folder,
        destination.repo_id,
        choices=choices,
        results=options.results or ([trained] if trained else []),
        trained=trained,
        recipe=options.recipe or source / "recipe.yaml",
    )
    if options.card:
        copy_card(folder, options.card)
    print(f"Checking {folder}")
    machine_folders = [source] if source.exists() else []
    show_checks(check_repository(folder, model, processor, destination.repo_id, machine_folders=machine_folders))
    show_files(folder, destination)
    space = assemble_space(options, destination) if options.space else None
    if not options.push:
        return
    revision = push(folder, destination, options.message or "Publish the model with its code and card")
    print(f"Loading {destination.repo_id} back at {revision}")
    # Without the token nobody sees a private repository.
    show_checks(check_published(folder, destination.repo_id, revision, model, processor, token=get_token()))
    if space is not None:
        from semart_hf.publishing.space import pin_model

        space_folder, space_destination = space
        pin_model(space_folder, destination.repo_id, revision)
        push(space_folder, space_destination, "Serve the model")


def assemble_space(options: argparse.Namespace, destination: Destination) -> tuple[Path, Destination]:
    """The Space's folder, shown, and where it goes."""
    from semart_hf.publishing.space import write_space
    from semart_hf.publishing.upload import Destination

    space = Destination(options.space, "space", destination.private)
    name = options.space.split("/")[1]
    parent = options.output_dir.parent if options.output_dir else Path("outputs", "hub")
    folder = write_space(parent / f"{name}-space", destination.repo_id)
    show_files(folder, space)
    return folder, space


def publish_dataset(options: argparse.Namespace, destination: Destination) -> None:
    """Check a prepared dataset and show it; with --push send it."""
    from semart_hf.documents.dataset_card import SEMART_LICENCE
    from semart_hf.publishing.check import check_dataset

    print(SEMART_LICENCE)
    print(f"Checking {options.dataset}")
    show_checks(check_dataset(options.dataset))
    show_files(options.dataset, destination)
    if options.push:
        push(options.dataset, destination, options.message or "Publish the dataset with its card")


def push(folder: Path, destination: Destination, message: str) -> str:
    """The revision that the folder has on the Hub."""
    from semart_hf.publishing.upload import push_folder

    commit = push_folder(folder, destination, message)
    print(f"Pushed {destination} at {commit.oid}: {commit.commit_url}")
    return str(commit.oid)


def show_checks(checks: Any) -> None:
    """One line for each part, as soon as it is checked."""
    for part, found in checks:
        print(f"  {part:16} {found}", flush=True)


def show_files(folder: Path, destination: Destination) -> None:
    """What would go where."""
    from semart_hf.publishing.upload import list_files

    files = list_files(folder)
    print(f"{folder} -> {destination}: {len(files)} files, {sum(files.values()):,} bytes")
    for name, size in files.items():
        print(f"  {size:>14,}  {name}")


if __name__ == "__main__":
    main()
