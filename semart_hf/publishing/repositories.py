"""What is put together for the Hub: a model with its card, results and figures, and a Space that serves it."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import CardData, SpaceCard, hf_hub_url
from packaging.requirements import Requirement

import semart_hf
from semart_hf.documents.model_card import EXAMPLE_TEXT, CardFacts, render_card
from semart_hf.documents.page import render_page, small_picture
from semart_hf.files import output_folder, read_json, write_json, write_text
from semart_hf.model.loading_semart import digest_of_weights
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline, save_repository
from semart_hf.model.processing_semart import SemArtProcessor

PACKAGE = Path(semart_hf.__file__).parent
EXAMPLE_PICTURE = "example.jpg"
# Everything that an assembled repository may hold: nothing else is ever replaced.
_OWN_FILES = (
    *("README.md", "LICENSE", "config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("*.safetensors", "model.safetensors.index.json", "*_semart.py", "results*.json", EXAMPLE_PICTURE),
    *("figures/*.png", "onnx/*"),
)
#: The Gradio that the app was tried with: a Space wants one version, and installs it itself.
GRADIO = "6.31.0"
_SPACE_NEEDS = ("jinja2",)  # of the extra `train`: it writes explanations
_SPACE_FILES = ("README.md", "app.py", "requirements.txt", "model.json", "semart_hf/*")  # model.json: earlier ones
_SPACE_APP = '''"""Serves a model."""

from semart_hf.cli.app import main

main({})  # the Space is a container: its visitors come from outside
'''


def assemble_repository(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    folder: Path,
    repo_id: str,
    *,
    results: Sequence[Path] = (),
    trained: Path | None = None,
    recipe: Mapping[str, Any] = {},
    picture: Path | None = None,
    text: str | None = None,
    onnx: Path | None = None,
    **card: Any,
) -> Path:
    """The folder with everything that belongs into the repository; an earlier one is replaced once this is whole."""
    contents = [read_results(path, repo_id) for path in results]
    if contents and trained is not None and "training" in (written := read_results(trained, repo_id)):
        contents[0].setdefault("training", {**written["training"], "environment": written.get("environment")})
    figures = sorted((results[0].parent / "figures").glob("*.png")) if results else []
    # Without folders of this machine and the options of pushing.
    kept = {name: value for name, value in recipe.items() if not name.startswith(("hub_", "push_to_hub"))}
    published = {name: without_folders(value) for name, value in kept.items()}
    with output_folder(folder, _OWN_FILES, "repository that this command assembled") as repository:
        save_repository(model, processor, repository)
        for index, content in enumerate(contents):
            write_json(repository / ("results.json" if index == 0 else f"results_{index + 1}.json"), content)
        painting, answer = make_example(model, processor, repository, picture, text)
        if picture:
            painting["image"] = hf_hub_url(repo_id, EXAMPLE_PICTURE, endpoint="https://huggingface.co")
        if onnx:
            card["onnx"] = dict(read_json(onnx / "onnx.json") or {})
            if card["onnx"].get("weights") != digest_of_weights(model):
                raise ValueError(f"Got {onnx}, which has no graphs of this model. Export it again: semart-hf export.")
            (repository / "onnx").mkdir()
            for path in sorted(onnx.glob("*onnx*")):
                shutil.copyfile(path, repository / "onnx" / path.name)
        facts = CardFacts(repo_id, painting, answer, contents, published, [path.stem for path in figures], **card)
        page = render_card(model, facts)
        page.save(repository / "README.md")
        for path in [path for path in figures if f"(figures/{path.name})" in page.text]:
            (repository / "figures").mkdir(exist_ok=True)
            shutil.copyfile(path, repository / "figures" / path.name)
        for file in distribution("semart-hf").files or []:
            if file.name == "LICENSE" and Path(str(file.locate())).is_file():
                shutil.copyfile(str(file.locate()), repository / "LICENSE")
    return folder


def read_results(path: Path, repo_id: str) -> dict[str, Any]:
    """A results file as it is published: with the model's name on the Hub, and without folders of this machine."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        problem = "" if {"num_rows", "tasks"} <= content.keys() else "without num_rows and tasks"
    except (OSError, ValueError, AttributeError) as error:
        problem = f"which cannot be read: {error}"
    if problem:
        allowed = "Allowed is the results.json that `semart-hf evaluate` writes"
        raise ValueError(f"Got the results file {path}, {problem}. {allowed}. Pass its path.")
    return {**without_folders(content), "model": repo_id}  # type: ignore[dict-item]  # a mapping stays one


def without_folders(value: object) -> object:
    """The value of a JSON file, with every absolute path, and every path that leads outside, cut to its last part."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(/|\.\.?[/\\]|~[/\\]|[A-Za-z]:[/\\])\S", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def make_example(
    model: SemArtForArtClassification, processor: SemArtProcessor, folder: Path, picture: Path | None, text: str | None
) -> tuple[dict[str, str], Any]:
    """The card's example, and the model's own answer; its picture is put into the folder, small and without EXIF."""
    painting: dict[str, str] = {}
    if picture:
        image = small_picture(picture, 1024)
        image.info = {}
        image.save(folder / EXAMPLE_PICTURE, quality=90)
        painting["image"] = str(folder / EXAMPLE_PICTURE)
    if text or not picture:
        painting["text"] = text or EXAMPLE_TEXT
    classify = ArtClassificationPipeline(model=model, processor=processor, device="cpu")
    return painting, classify(painting, top_k=1)


def copy_card(folder: Path, target: Path) -> None:
    """Write an assembled repository's card to a file elsewhere, its figures into a folder of that name."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    write_text(target, card.replace("(figures/", f"({quote(target.stem)}/"))
    if (folder / "figures").is_dir():
        shutil.copytree(folder / "figures", target.with_suffix(""), dirs_exist_ok=True)


def write_space(folder: Path, model: str, revision: str | None = None) -> Path:
    """The folder of a Space that serves a model, with the package; an earlier one is replaced once this is whole."""
    requirements = map(Requirement, distribution("semart-hf").requires or [])
    needed = {f"{one.name}{one.specifier}" for one in requirements if one.marker is None or one.name in _SPACE_NEEDS}
    title = f"Read a painting with {model.split('/')[-1]}"
    served: dict[str, Any] = {"sdk": "gradio", "sdk_version": GRADIO, "app_file": "app.py", "models": [model]}
    metadata = CardData(title=title, colorFrom="indigo", colorTo="yellow", license="apache-2.0", **served)
    with output_folder(folder, _SPACE_FILES, "Space that this command assembled") as unfinished:
        shutil.copytree(PACKAGE, unfinished / "semart_hf", ignore=shutil.ignore_patterns("__pycache__"))
        words = ["--model", model, "--host", "0.0.0.0"]
        if revision is not None:
            words += ["--revision", revision]
        write_text(unfinished / "app.py", _SPACE_APP.format(words))
        write_text(unfinished / "requirements.txt", "\n".join(sorted(needed)) + "\n")
        card = render_page("space.md", metadata=metadata, title=title, model=model)
        SpaceCard(card).save(unfinished / "README.md")
    return folder
