"""A Space that serves a model: the app, what it needs, and which model at which revision."""

import json
import shutil
from importlib.metadata import requires
from pathlib import Path

from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import CardData
from packaging.requirements import Requirement

#: The Gradio that the app was tried with: a Space wants one version, and installs it itself.
GRADIO = "6.31.0"
MODEL_FILE = "model.json"

_BODY = """
# {title}

A picture of a painting, its description, or both go in; ranked labels of each task come out. The model is
[{model}](https://huggingface.co/{model}), pinned in `{model_file}`.
"""


def write_space(folder: Path, model: str, *, app: Path, revision: str | None = None) -> Path:
    """The folder with `app.py`, `requirements.txt`, `model.json` and the `README.md` that makes it a Space.

    Args:
        folder: Made where it is missing; an earlier Space there is replaced.
        model: The model's name on the Hub.
        app: scripts/app.py.
        revision: Of the model; `None`: its main branch.

    Raises:
        ValueError: If the folder holds something else, or the app is no file.
    """
    if not app.is_file():
        raise ValueError(
            f"Got the app {app}, which is no file. Allowed is scripts/app.py of the checkout. Pass its path."
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / MODEL_FILE).is_file():
        raise ValueError(
            f"Got {folder}, which holds something else than a Space. Allowed is a new folder. Remove what is there, "
            "or give another --output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(app, folder / "app.py")
    (folder / "requirements.txt").write_text("\n".join(core_requirements()) + "\n", encoding="utf-8")
    pin_model(folder, model, revision)
    space_card(model).save(folder / "README.md")
    return folder


def pin_model(folder: Path, model: str, revision: str | None) -> None:
    """Write which model the Space serves, at which revision."""
    content = json.dumps({"model": model, "revision": revision}, indent=2)
    (folder / MODEL_FILE).write_text(content + "\n", encoding="utf-8")


def core_requirements() -> list[str]:
    """What loading and running a model needs: the package's own dependencies, and not the package."""
    found = map(Requirement, requires("semart-hf") or [])
    return sorted(f"{one.name}{one.specifier}" for one in found if one.marker is None)


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
