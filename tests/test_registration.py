import gc
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_release import tiny_parts

from semart_hf import is_command_line
from semart_hf.memory import collection_paused
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import save_repository

LOOK = """
import json, sys
import semart_hf
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, pipeline
from transformers import CLIPConfig
semart_hf.register()  # a second time
folder = sys.argv[1]
autos = (AutoProcessor, AutoImageProcessor, AutoConfig, AutoModel)
loaded = [auto.from_pretrained(folder) for auto in autos]
loaded += [auto.from_pretrained(folder, trust_remote_code=True) for auto in autos]
loaded.append(AutoModel.from_config(loaded[2]))
options = [{}, {"trust_remote_code": True}, {"trust_remote_code": False}]
loaded += [pipeline("art-classification", model=folder, device="cpu", **option) for option in options]
loaded.append(pipeline("art-classification", model=loaded[3], processor=loaded[0], device="cpu"))
print(json.dumps({
    "classes": [type(one).__module__ + "." + type(one).__name__ for one in loaded],
    "scores": [one({"text": "a view"}, top_k=1)["type"][0]["score"] for one in loaded[-4:]],
    "others": [type(AutoConfig.for_model("clip")) is CLIPConfig, type(AutoConfig.for_model("bert")).__name__],
}))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return save_repository(*tiny_parts(), tmp_path_factory.mktemp("written") / "repository")


@pytest.fixture(scope="module")
def seen(repository) -> dict:
    command = [sys.executable, "-c", LOOK, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_auto_classes_and_pipeline_load_without_remote_code(seen):
    home = "semart_hf.model."
    kinds = {"Processor": "processing", "ImageProcessor": "processing", "Config": "configuration"}
    kinds["ForArtClassification"] = "modeling"
    *parts, model = (f"{home}{file}_semart.SemArt{kind}" for kind, file in kinds.items())
    pipelines = [home + "pipeline_semart.ArtClassificationPipeline"] * 4
    # The installed package is used, also where remote code was allowed.
    assert seen["classes"] == [*[*parts, model] * 2, model, *pipelines]
    assert len(set(seen["scores"])) == 1
    assert seen["others"] == [True, "BertConfig"]


def test_public_names_are_what_they_say():
    import semart_hf

    assert semart_hf.SemArtForArtClassification is SemArtForArtClassification
    assert [name for name in semart_hf.__all__ if getattr(semart_hf, name).__name__ != name] == []
    with pytest.raises(AttributeError, match="module 'semart_hf' has no attribute 'SemArtModel'"):
        semart_hf.SemArtModel  # noqa: B018


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["/usr/bin/semart-hf", "train"], True),
        (["python", "-m", "semart_hf.cli.train", "--help"], True),
        (["python", "-u", "-m", "semart_hf.cli", "train"], True),
        ([str(Path(__file__).resolve().parents[1] / "scripts" / "train.py")], True),
        (["elsewhere/scripts/train.py"], False),
        (["-c", "import semart_hf"], False),
        ([""], False),
    ],
)
def test_commands_register_after_they_have_parsed_their_arguments(monkeypatch, words, answer):
    monkeypatch.setattr(sys, "argv", ["-m", "--help"] if "-m" in words else words)
    monkeypatch.setattr(sys, "orig_argv", words)
    assert is_command_line() is answer


def test_the_search_for_garbage_goes_on_after_imports():
    assert gc.isenabled()
    with suppress(ImportError), collection_paused(), collection_paused():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
