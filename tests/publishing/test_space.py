import importlib.util
import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard

from semart_hf.publishing.space import GRADIO, core_requirements, pin_model, write_space

APP = Path(__file__).resolve().parents[2] / "semart_hf" / "cli" / "app.py"


def load_app(path):
    spec = importlib.util.spec_from_file_location("space_app", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Classifier:
    """Answers as the pipeline does, and keeps what it was asked."""

    def __call__(self, painting, top_k):
        self.asked = (painting, top_k)
        return {"type": [{"label": "portrait", "score": 0.75}, {"label": "UNK", "score": 0.25}]}


def test_a_space_has_what_the_hub_starts(tmp_path):
    folder = write_space(tmp_path / "space", "anna/delft", app=APP)

    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "app.py", "model.json", "requirements.txt"]
    metadata = SpaceCard((folder / "README.md").read_text()).data.to_dict()
    assert (metadata["sdk"], metadata["sdk_version"], metadata["app_file"]) == ("gradio", GRADIO, "app.py")
    assert metadata["models"] == ["anna/delft"]
    needed = (folder / "requirements.txt").read_text()
    assert "transformers>=" in needed
    assert "timm>=" in needed
    assert "semart" not in needed
    assert "gradio" not in needed  # the Space installs the version of its metadata
    assert core_requirements() == needed.split()


def test_the_app_serves_the_model_that_is_pinned_beside_it(tmp_path):
    folder = write_space(tmp_path / "space", "anna/delft", app=APP)
    pin_model(folder, "anna/delft", "0123abc")

    app = load_app(folder / "app.py")

    assert json.loads((folder / "model.json").read_text()) == {"model": "anna/delft", "revision": "0123abc"}
    assert app.parse_arguments([]).model == "anna/delft"
    assert app.parse_arguments([]).revision == "0123abc"
    assert app.parse_arguments(["--model", "elsewhere"]).model == "elsewhere"


def test_the_app_needs_a_model(capsys):
    with pytest.raises(SystemExit):
        load_app(APP).parse_arguments([])
    assert "got no --model: name the folder of a model" in capsys.readouterr().err


def test_the_app_gives_probabilities_by_label():
    classifier = Classifier()

    answers = load_app(APP).classify(classifier, None, "  A view of Delft ")

    assert answers == [{"portrait": 0.75, "UNK": 0.25}]
    assert classifier.asked == ({"text": "A view of Delft"}, None)
    load_app(APP).classify(classifier, "picture", None)
    assert classifier.asked == ({"image": "picture"}, None)


def test_the_app_asks_for_something():
    with pytest.raises(ValueError, match="Give a picture, a description, or both"):
        load_app(APP).classify(Classifier(), None, "  ")


def test_the_app_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)

    with pytest.raises(ImportError, match=r"no gradio in this environment.*pip install 'semart-hf\[app\]'"):
        load_app(APP).import_gradio()


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ValueError, match=r"holds something else than a Space\. Allowed is a new folder"):
        write_space(tmp_path, "anna/delft", app=APP)
    with pytest.raises(ValueError, match=r"absent\.py, which is no file\. Allowed is scripts/app\.py"):
        write_space(tmp_path / "space", "anna/delft", app=tmp_path / "absent.py")
    assert (tmp_path / "notes.txt").read_text() == "mine"
