"""A Space that serves a model: the application with the package's code, what it needs, and which model it serves."""

import shutil
from importlib.metadata import requires
from pathlib import Path

from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import CardData
from packaging.requirements import Requirement

import semart_hf
from semart_hf.files import write_json, write_text

from .output_folder import output_folder

#: The Gradio that the app was tried with: a Space wants one version, and installs it itself.
GRADIO = "6.31.0"
MODEL_FILE = "model.json"
#: Of the extra `train`: what the application needs besides the core.
NEEDED = ("jinja2", "markupsafe")
_OWN_FILES = ("README.md", "app.py", "requirements.txt", MODEL_FILE, "semart_hf/*")

_APP = '''"""Serves the model of model.json."""

from semart_hf.cli.app import main

main(["--host", "0.0.0.0"])  # the Space is a container: its visitors come from outside
'''
_BODY = """
# {title}

A picture of a painting, its description, or both go in; ranked labels of each task come out, and on demand what spoke
for each. The model is [{model}](https://huggingface.co/{model}), pinned in `{model_file}`.
"""


def write_space(folder: Path, model: str, *, revision: str | None = None) -> Path:
    """The folder with `app.py`, the package, `requirements.txt`, `model.json` and the `README.md` of a Space.

    Args:
        folder: New, empty, or an earlier Space, which is replaced once this one is whole.
        model: The model's name on the Hub.
        revision: Of the model; `None`: its main branch.

    Raises:
        ValueError: If the folder holds other files.
    """
    with output_folder(folder, _OWN_FILES, "Space that this command assembled") as unfinished:
        package = Path(semart_hf.__file__).parent
        shutil.copytree(package, unfinished / "semart_hf", ignore=shutil.ignore_patterns("__pycache__"))
        write_text(unfinished / "app.py", _APP)
        write_text(unfinished / "requirements.txt", "\n".join(space_requirements()) + "\n")
        pin_model(unfinished, model, revision)
        space_card(model).save(unfinished / "README.md")
    return folder


def pin_model(folder: Path, model: str, revision: str | None) -> None:
    """Write which model the Space serves, at which revision."""
    write_json(folder / MODEL_FILE, {"model": model, "revision": revision})


def space_requirements() -> list[str]:
    """What the application needs: the package's own dependencies, and what writes explanations."""
    found = map(Requirement, requires("semart-hf") or [])
    return sorted({f"{one.name}{one.specifier}" for one in found if one.marker is None or one.name in NEEDED})


def space_card(model: str) -> SpaceCard:
    """The Space's page, with the metadata that start it."""
    title = f"Read a painting with {model.split('/')[-1]}"
    metadata = CardData(
        title=title,
        colorFrom="indigo",
        colorTo="yellow",
        sdk="gradio",
        sdk_version=GRADIO,
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        models=[model],
    )
    body = _BODY.format(title=title, model=model, model_file=MODEL_FILE)
    return SpaceCard(f"---\n{metadata.to_yaml()}\n---\n{body}")
