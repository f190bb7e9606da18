"""Put a repository together, check and show it; with --push, publish it: semart-hf push --model DIR --repo_id NAME."""

import argparse
from pathlib import Path
from typing import Any

from .command import check_folders, command, load_model, parser_of


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = parser_of("push")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="folder of a trained model, or its name on the Hub")
    source.add_argument("--dataset", type=Path, help="folder that `semart-hf prepare` wrote: publish it instead")
    add = parser.add_argument
    add("--repo_id", required=True, type=repository_name, help="USER/NAME on the Hub")
    add("--push", action="store_true", help="publish; without it nothing is sent")
    private = "whether a new repository is private (default: a model is public, a dataset private)"
    add("--private", action=argparse.BooleanOptionalAction, help=private)
    add("--output_dir", type=Path, help="where it is put together (default: outputs/hub/NAME)")
    add = parser.add_argument_group("the card of a model").add_argument
    results = "results.json of `evaluate`, the most important first (default: the one in the model's folder)"
    add("--results", type=Path, nargs="+", help=results)
    add("--recipe", type=Path, help="recipe that trained it (default: recipe.yaml in the model's folder)")
    add("--data_name", help="what the training data are called")
    add("--license", default="apache-2.0", help="of the weights (default: apache-2.0)")
    add("--example", type=Path, help="picture for the card's example, which will be published with it")
    add("--example_text", help="text for the card's example")
    add("--card", type=Path, help="write the card, with its figures, here too: model_cards/NAME.md")
    space = "put a Space together too, that serves the model"
    add("--space", metavar="USER/NAME", type=repository_name, help=space)
    return parser.parse_args(arguments)


def repository_name(value: str) -> str:
    """The name, as an argument's type, if it may be a repository's."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(value)
        if value.count("/") == 1:
            return value
    except HFValidationError:
        pass
    raise argparse.ArgumentTypeError(f"Got the repository {value!r}. Give USER/NAME, as anna/semart-resnet18.")


@command("push")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    if options.private is None:
        options.private = options.dataset is not None
    (publish_dataset if options.dataset else publish_model)(options)
    if not options.push:
        print("Nothing was sent. Add --push to publish.")


def publish_model(options: argparse.Namespace) -> None:
    from semart_hf.publishing.check import check_published, check_repository
    from semart_hf.publishing.model_repository import assemble_repository, copy_card
    from semart_hf.publishing.space import write_space

    source, repo_id = Path(options.model), options.repo_id
    folder = options.output_dir or Path("outputs", "hub", repo_id.split("/")[1])
    check_folders("output_dir", folder, model=source)
    model, processor = load_model(options.model)
    trained, recipe = (path if (path := source / name).is_file() else None for name in ("results.json", "recipe.yaml"))
    sources = {"results": options.results or [trained] * bool(trained), "recipe": options.recipe or recipe}
    example = {"picture": options.example, "text": options.example_text}
    card = {"data_name": options.data_name, "license": options.license}
    assemble_repository(model, processor, folder, repo_id, trained=trained, **sources, **example, **card)
    if options.card:
        copy_card(folder, options.card)
    print(f"Checking {folder}")
    show_checks(check_repository(folder, model, processor, repo_id))
    show_files(folder, repo_id, "model", options.private)
    if options.space:
        space = folder.parent / f"{options.space.split('/')[1]}-space"
        show_files(write_space(space, repo_id), options.space, "space", options.private)
    if not options.push:
        return
    revision = push(folder, repo_id, "model", options.private)
    print(f"Loading {repo_id} back at {revision}")
    show_checks(check_published(folder, repo_id, revision, model, processor))
    if options.space:
        push(write_space(space, repo_id, revision), options.space, "space", options.private)


def publish_dataset(options: argparse.Namespace) -> None:
    from semart_hf.documents.dataset_card import LICENCE_NOTICE
    from semart_hf.publishing.check import check_dataset

    print(f"{LICENCE_NOTICE}\nChecking {options.dataset}")
    show_checks(check_dataset(options.dataset))
    show_files(options.dataset, options.repo_id, "dataset", options.private)
    if options.push:
        push(options.dataset, options.repo_id, "dataset", options.private)


def push(folder: Path, repo_id: str, repo_type: str, private: bool) -> str:
    """The revision that the folder has on the Hub."""
    from semart_hf.publishing.pushing import push_folder

    commit = push_folder(folder, repo_id, f"Publish the {repo_type}", repo_type=repo_type, private=private)
    print(f"Pushed {repo_id} at {commit.oid}: {commit.commit_url}")
    return str(commit.oid)


def show_checks(checks: Any) -> None:
    for part, found in checks:
        print(f"  {part:16} {found}", flush=True)


def show_files(folder: Path, repo_id: str, repo_type: str, private: bool) -> None:
    from semart_hf.publishing.pushing import list_files

    files = list_files(folder)
    where = f"{repo_id} ({'private' if private else 'public'} {repo_type})"
    print(f"{folder} -> {where}: {len(files)} files, {sum(files.values()):,} bytes")
    for name, size in files.items():
        print(f"  {size:>14,}  {name}")


if __name__ == "__main__":
    main()
