"""Put a repository together, check and show it; with --push, publish it: semart-hf push --model DIR --repo_id NAME."""

import argparse
from pathlib import Path
from typing import Any

from .command import command, load_model, parser_of


def repository_name(value: str) -> str:
    """The name, as an argument's type, if it may be a repository's."""
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(value)
        _, _ = value.split("/")
    except ValueError as error:
        message = f"Got the repository {value!r}. Give USER/NAME, as anna/semart-resnet18."
        raise argparse.ArgumentTypeError(message) from error
    return value


@command("push")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("push")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="folder of a trained model, or its name on the Hub")
    source.add_argument("--dataset", type=Path, help="folder that `semart-hf prepare` wrote: publish it instead")
    add = parser.add_argument
    add("--repo_id", required=True, type=repository_name, help="USER/NAME on the Hub")
    add("--push", action="store_true", help="publish; without it nothing is sent")
    add("--private", action=argparse.BooleanOptionalAction, help="default: a model is public, a dataset private")
    add("--output_dir", type=Path, help="where it is put together (default: outputs/hub/NAME)")
    add = parser.add_argument_group("the card of a model").add_argument
    add("--results", type=Path, nargs="+", help="of `evaluate`, the most important first (default: the model's own)")
    add("--recipe", type=Path, help="recipe that trained it (default: recipe.yaml in the model's folder)")
    add("--data_name", help="what the training data are called")
    add("--data_id", help="their id on the Hub, for the metadata")
    add("--license", default="apache-2.0", help="of the weights (default: apache-2.0)")
    add("--example", type=Path, help="picture for the card's example, which will be published with it")
    add("--example_text", help="text for the card's example")
    add("--onnx", type=Path, metavar="DIR", help="of `semart-hf export`: publish its graphs, too, in onnx/")
    add("--card", type=Path, help="write the card, with its figures, here too: model_cards/NAME.md")
    add("--space", metavar="USER/NAME", type=repository_name, help="put a Space together too, that serves the model")
    options = parser.parse_args(arguments)
    if options.private is None:
        options.private = options.dataset is not None
    if options.dataset:
        of_models = ("output_dir", "results", "recipe", "data_name", "data_id", "license", "example", "example_text")
        parser.refuse(options, (*of_models, "onnx", "card", "space"), "with --dataset")
        from semart_hf.documents.data_report import LICENCE_NOTICE
        from semart_hf.publishing.check import check_dataset

        print(f"{LICENCE_NOTICE}\nChecking {options.dataset}")
        show_checks(check_dataset(options.dataset))
        publish(options.dataset, options.repo_id, "dataset", options)
    else:
        publish_model(options)
    if not options.push:
        print("Nothing was sent. Add --push to publish.")


def publish_model(options: argparse.Namespace) -> None:
    from semart_hf.publishing.check import check_published, check_repository
    from semart_hf.publishing.repositories import assemble_repository, copy_card, write_space
    from semart_hf.recipes.recipe import read_recipe

    source, repo_id = Path(options.model), options.repo_id
    folder = options.output_dir or Path("outputs", "hub", repo_id.split("/")[1])
    if folder.resolve() == source.resolve():
        raise ValueError(f"Got {folder} as --model and as --output_dir. Two folders are needed. Give another one.")
    model, processor = load_model(options.model)
    trained, recipe = (path if (path := source / name).is_file() else None for name in ("results.json", "recipe.yaml"))
    card: dict[str, Any] = {"picture": options.example, "text": options.example_text, "trained": trained}
    recipe = options.recipe or recipe
    card |= {"results": options.results or [trained] * bool(trained), "recipe": read_recipe(recipe) if recipe else {}}
    card |= {name: getattr(options, name) for name in ("data_name", "data_id", "license", "onnx")}
    assemble_repository(model, processor, folder, repo_id, **card)
    if options.card:
        copy_card(folder, options.card)
    print(f"Checking {folder}")
    show_checks(check_repository(folder, model, processor))
    if options.space:
        space = write_space(folder.parent / f"{options.space.split('/')[1]}-space", repo_id)
    revision = publish(folder, repo_id, "model", options)
    if revision:
        print(f"Loading {repo_id} back at {revision}")
        show_checks(check_published(folder, repo_id, revision, model, processor))
    if options.space:
        publish(write_space(space, repo_id, revision), options.space, "space", options)


def show_checks(checks: Any) -> None:
    for part, found in checks:
        print(f"  {part:16} {found}", flush=True)


def publish(folder: Path, repo_id: str, repo_type: str, options: argparse.Namespace) -> str | None:
    """Show what a repository will hold and, with --push, send it: its revision is given then."""
    from semart_hf.publishing.pushing import list_files, push_folder

    files = {name: path.stat().st_size for name, path in list_files(folder).items()}
    where = f"{repo_id} ({'private' if options.private else 'public'} {repo_type})"
    print(f"{folder} -> {where}: {len(files)} files, {sum(files.values()):,} bytes")
    for name, size in files.items():
        print(f"  {size:>14,}  {name}")
    if not options.push:
        return None
    commit = push_folder(folder, repo_id, f"Publish the {repo_type}", repo_type=repo_type, private=options.private)
    print(f"Pushed {repo_id} at {commit.oid}: {commit.commit_url}")
    return str(commit.oid)
