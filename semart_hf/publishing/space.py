"""A Space that serves a model: the application with the package's code, what it needs, and which model it serves."""

import shutil
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import CardData
from packaging.requirements import Requirement

import semart_hf
from semart_hf.files import output_folder, write_json, write_text

#: The Gradio that the app was tried with: a Space wants one version, and installs it itself.
GRADIO = "6.31.0"
_NEEDED = ("jinja2",)  # of the extra `train`: it writes explanations
_OWN_FILES = ("README.md", "app.py", "requirements.txt", "model.json", "semart_hf/*")
_APP = '''"""Serves the model of model.json."""

from semart_hf.cli.app import main

main(["--host", "0.0.0.0"])  # the Space is a container: its visitors come from outside
'''
_CARD = """---
{metadata}
---

# {title}

A picture of a painting, its description, or both go in; ranked labels of each task come out, and on demand what spoke
for each. The model is [{model}](https://huggingface.co/{model}), pinned in `model.json`.
"""


def write_space(folder: Path, model: str, revision: str | None = None) -> Path:
    """The folder of a Space that serves a model, with the package; an earlier one is replaced once this is whole."""
    requirements = map(Requirement, requires("semart-hf") or [])
    needed = {f"{one.name}{one.specifier}" for one in requirements if one.marker is None or one.name in _NEEDED}
    title = f"Read a painting with {model.split('/')[-1]}"
    served: dict[str, Any] = {"sdk": "gradio", "sdk_version": GRADIO, "app_file": "app.py", "models": [model]}
    metadata = CardData(title=title, colorFrom="indigo", colorTo="yellow", license="apache-2.0", **served)
    with output_folder(folder, _OWN_FILES, "Space that this command assembled") as unfinished:
        package = Path(semart_hf.__file__).parent
        shutil.copytree(package, unfinished / "semart_hf", ignore=shutil.ignore_patterns("__pycache__"))
        write_text(unfinished / "app.py", _APP)
        write_text(unfinished / "requirements.txt", "\n".join(sorted(needed)) + "\n")
        write_json(unfinished / "model.json", {"model": model, "revision": revision})
        SpaceCard(_CARD.format(metadata=metadata, title=title, model=model)).save(unfinished / "README.md")
    return folder
