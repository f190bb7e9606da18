"""A trained model with its card, results, figures and licence in one folder, as it will be on the Hub."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import files as installed_files
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

import semart_hf
from semart_hf.documents.model_card import EXAMPLE_TEXT, CardFacts, Example, render_card
from semart_hf.documents.paths import without_folders
from semart_hf.files import atomic_file, write_json, write_text
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pictures_semart import load_picture
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor

from .output_folder import output_folder
from .repository import write_repository

EXAMPLE_PICTURE = "example.jpg"
_LARGEST_EXAMPLE = 1024  # pixels of its longer side
_FIGURE_COLOURS = 64
# Everything that an assembled repository may hold: nothing else is ever replaced.
_OWN_FILES = (
    *("README.md", "LICENSE", "config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("*.safetensors", "model.safetensors.index.json", "*_semart.py", "results*.json", EXAMPLE_PICTURE),
    "figures/*.png",
)


@dataclass(frozen=True)
class CardChoices:
    """What the author decides about a card.

    Args:
        template: The card's template.
        data_name: What the training data are called; `None`: see `CardFacts`.
        data_id: Their id on the Hub; `None`: see `CardFacts`.
        license: Of the weights.
        picture: Picture of the example; it will be published. `None`: the example is a text alone.
        text: Text of the example; `None`: none beside a picture, else a made one.
    """

    template: Path
    data_name: str | None = None
    data_id: str | None = None
    license: str = "apache-2.0"
    picture: Path | None = None
    text: str | None = None


def assemble_repository(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    folder: Path,
    repo_id: str,
    *,
    choices: CardChoices,
    results: Sequence[Path] = (),
    trained: Path | None = None,
    recipe: Path | None = None,
) -> Path:
    """The folder with everything that belongs into the repository, and nothing else.

    Args:
        model: Whose weights and code are published.
        processor: Its processor.
        folder: Where it is put together; an earlier repository there is replaced once this one is whole.
        repo_id: `user/name` on the Hub.
        choices: What the author decides about the card.
        results: Results files, the most important first; figures of the folder `figures` beside the first go into the
            card.
        trained: The results file that the training wrote, which says what it took; an evaluation's does not.
        recipe: The recipe that trained the model.

    Raises:
        ValueError: If the folder holds other files, or a results file cannot be read.
    """
    contents = [read_results(path, repo_id) for path in results]
    if contents and trained is not None and "training" in (written := read_results(trained, repo_id)):
        contents[0].setdefault("training", {**written["training"], "environment": written.get("environment")})
    drawn = sorted((results[0].parent / "figures").glob("*.png")) if results else []
    published_recipe = read_recipe(recipe)
    with output_folder(folder, _OWN_FILES, "repository that this command assembled") as repository:
        write_repository(model, processor, repository)
        for index, content in enumerate(contents):
            write_json(repository / ("results.json" if index == 0 else f"results_{index + 1}.json"), content)
        facts = CardFacts(
            repo_id=repo_id,
            example=make_example(model, processor, repository, choices),
            results=contents,
            recipe=published_recipe,
            figures={path.stem: f"figures/{path.name}" for path in drawn},
            data_name=choices.data_name,
            data_id=choices.data_id,
            license=choices.license,
        )
        card = render_card(model, facts, choices.template)
        card.save(repository / "README.md")
        for path in drawn:
            if f"(figures/{path.name})" in card.text:
                (repository / "figures").mkdir(exist_ok=True)
                shutil.copyfile(path, repository / "figures" / path.name)
        if license_file := find_license():
            shutil.copyfile(license_file, repository / "LICENSE")
    return folder


def read_results(path: Path, repo_id: str) -> dict[str, Any]:
    """A results file as it is published: with the model's name on the Hub, and without folders of this machine.

    Raises:
        ValueError: If it is no results file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"Got the results file {path}, which cannot be read: {error}. Allowed is the results.json that "
            "`semart-hf evaluate` writes. Evaluate the model, and pass its path."
        ) from error
    missing = [name for name in ("num_rows", "tasks") if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(
            f"Got {path} without {missing}. Allowed is the results.json of `semart-hf evaluate`. Pass its path."
        )
    published: dict[str, Any] = without_folders(content)  # type: ignore[assignment]  # a mapping stays one
    return published | {"model": repo_id}


def read_recipe(path: Path | None) -> dict[str, Any]:
    """The recipe's fields, without folders of this machine; empty where there is none.

    Raises:
        ValueError: If the file is no recipe.
    """
    if path is None or not path.is_file():
        return {}
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(
            f"Got the recipe {path}, which is no YAML: {error}. Allowed are `name: value` lines."
        ) from error
    if not isinstance(recipe, dict):
        raise ValueError(
            f"Got the recipe {path} with {type(recipe).__name__}. Allowed are `name: value` lines. Correct it."
        )
    published: dict[str, Any] = without_folders(recipe)  # type: ignore[assignment]
    return {name: value for name, value in published.items() if not name.startswith("hub_") and name != "push_to_hub"}


def make_example(
    model: SemArtForArtClassification, processor: SemArtProcessor, folder: Path, choices: CardChoices
) -> Example:
    """The card's example with the model's own answer; its picture is put into the folder, small and without EXIF."""
    text = choices.text if choices.text or choices.picture else EXAMPLE_TEXT
    painting: dict[str, str] = {"text": text} if text else {}
    if choices.picture:
        picture = load_picture(choices.picture).copy()
        picture.thumbnail((_LARGEST_EXAMPLE, _LARGEST_EXAMPLE))
        picture.info = {}
        picture.save(folder / EXAMPLE_PICTURE, quality=90)
        painting["image"] = str(folder / EXAMPLE_PICTURE)
    device = None if getattr(model, "hf_device_map", None) else "cpu"
    answer = ArtClassificationPipeline(model=model, processor=processor, device=device)(painting)
    return Example(text, EXAMPLE_PICTURE if choices.picture else None, answer)


def copy_card(folder: Path, target: Path) -> None:
    """Write an assembled repository's card to a file elsewhere, its figures, made small, in a folder of that name."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    figures = target.with_suffix("")
    for path in sorted((folder / "figures").glob("*.png")):
        with Image.open(path, formats=("PNG",)) as figure:
            # By the one method that keeps what is transparent: figures are read by day and by night.
            method = Image.Quantize.FASTOCTREE
            small = figure.convert("RGBA").quantize(_FIGURE_COLOURS, method=method, dither=Image.Dither.NONE)
        with atomic_file(figures / path.name) as unfinished:
            small.save(unfinished, "PNG", optimize=True)
        card = card.replace(f"(figures/{path.name})", f"({figures.name}/{path.name})")
    write_text(target, card)


def find_license() -> Path | None:
    """The package's licence: of the checkout, or as it was installed."""
    checkout = Path(semart_hf.__file__).parents[1] / "LICENSE"
    if checkout.is_file():
        return checkout
    candidates = [file for file in installed_files("semart-hf") or [] if file.name == "LICENSE"]
    return Path(str(candidates[0].locate())) if candidates else None
