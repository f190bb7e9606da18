import os
import subprocess
import sys

import pytest
from huggingface_hub import SpaceCard

from semart_hf.publishing.repositories import GRADIO, write_space


def test_a_space_has_what_the_hub_starts_and_runs_the_package_beside_it(tmp_path):
    folder = write_space(tmp_path / "space", "anna/delft", "0123abc")
    names = ["README.md", "app.py", "requirements.txt", "semart_hf"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "semart_hf" / "templates" / "model_card.md").is_file()
    assert not list(folder.rglob("*.pyc"))
    metadata = SpaceCard((folder / "README.md").read_text()).data.to_dict()
    assert (metadata["sdk"], metadata["sdk_version"], metadata["app_file"]) == ("gradio", GRADIO, "app.py")
    assert metadata["models"] == ["anna/delft"]
    needed = (folder / "requirements.txt").read_text()
    for name in ("transformers", "timm", "jinja2"):
        assert name in needed
    for name in ("semart", "gradio", "datasets"):  # the Space installs the Gradio of its metadata
        assert name not in needed
    pinned = ["--model", "anna/delft", "--host", "0.0.0.0", "--revision", "0123abc"]
    assert f"main({pinned})" in (folder / "app.py").read_text()
    (folder / "gradio.py").write_text("raise ImportError('as far as here')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["SPACE_ID"] = "anna/delft"  # as a Space has it: whoever comes is let in
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "app.py"], check=False, **options)
    assert done.returncode == 1
    assert done.stderr.startswith("semart-hf app: Got no gradio in this environment")


def test_other_files_are_not_replaced(tmp_path):
    for model in ("anna/delft", "anna/haarlem"):
        write_space(tmp_path / "space", model)
    (tmp_path / "space" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"which holds notes\.txt\. Only an earlier Space"):
        write_space(tmp_path / "space", "anna/delft")
    assert (tmp_path / "space" / "notes.txt").read_text() == "mine"
    assert "['--model', 'anna/haarlem', '--host'" in (tmp_path / "space" / "app.py").read_text()
