"""The folder that `write_repository` writes, also as somebody sees it who never installed the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from rounding import rounding
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, DistilBertConfig, DistilBertTokenizer

from semart_hf.model import pipeline_semart
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing.repository import write_repository

TASKS = [{"name": "type", "labels": ["landscape", "portrait", "UNK"]}, {"name": "medium", "labels": ["canvas", "UNK"]}]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "view", "of", "delft"]
TEXT = "a view of Delft"
FILES = {
    "config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    *(path.name for path in Path(pipeline_semart.__file__).parent.glob("*_semart.py")),
}
LOADING = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "semart_hf":
            raise ModuleNotFoundError("No module named 'semart_hf'")

sys.meta_path.insert(0, Absent())
try:
    import semart_hf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("semart_hf can be imported")

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, pipeline

folder, picture, text, again = sys.argv[1:]
autos = (AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer)
classes = [type(auto.from_pretrained(folder, trust_remote_code=True)) for auto in autos]
classify = pipeline("art-classification", model=folder, trust_remote_code=True, device="cpu", precision="fp32")
answers = classify([{"image": picture, "text": text}, picture, {"text": text}], batch_size=2)
classify.save_pretrained(again)
unnamed = pipeline(model=again, trust_remote_code=True, device="cpu", precision="fp32")
print(json.dumps({
    "classes": [(one.__name__, one.__module__.split(".")[0]) for one in (*classes, type(classify), type(unnamed))],
    "answers": answers,
    "again": unnamed([{"image": picture, "text": text}, picture, {"text": text}]),
}))
"""


def make_model(tasks=TASKS, seed=0) -> SemArtForArtClassification:
    torch.manual_seed(seed)
    text = DistilBertConfig(vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    return SemArtForArtClassification.from_towers(
        "test_resnet", text, tasks, pretrained=False, image_size=32, fusion_dim=16
    ).eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def processor():
    tokenizer = DistilBertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}, model_max_length=32)
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict()
    return SemArtProcessor(SemArtImageProcessor.from_timm(cfg, 32), tokenizer)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "delft.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return path


def scores(answer):
    return {task: {guess["label"]: guess["score"] for guess in ranked} for task, ranked in answer.items()}


def test_holds_weights_configuration_processor_and_code(model, processor, tmp_path):
    folder = write_repository(model, processor, tmp_path / "outputs" / "repository")

    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["repository"]
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_semart.SemArtConfig",
        "AutoModel": "modeling_semart.SemArtForArtClassification",
    }
    assert config["custom_pipelines"] == {
        "art-classification": {
            "impl": "pipeline_semart.ArtClassificationPipeline",
            "pt": ["AutoModel"],
            "type": "multimodal",
        }
    }
    source = Path(sys.modules[SemArtForArtClassification.__module__].__file__).parent
    for path in folder.glob("*.py"):
        assert path.read_bytes() == (source / path.name).read_bytes()
    for name, tensor in model.state_dict().items():
        assert torch.equal(load_file(folder / "model.safetensors")[name], tensor)


def test_says_nothing_of_the_machine(model, processor, tmp_path):
    first = write_repository(model, processor, tmp_path / "first")
    loaded = AutoModel.from_pretrained(first), AutoProcessor.from_pretrained(first)
    second = write_repository(*loaded, tmp_path / "second")

    for path in second.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert "local" not in path.read_text()


def test_the_model_stays_as_it_is(processor, tmp_path):
    model = make_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    write_repository(model, processor, tmp_path / "repository")

    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_folder_that_is_there_keeps_what_is_not_of_the_model(model, processor, tmp_path):
    folder = tmp_path / "output"
    (folder / "checkpoint-7").mkdir(parents=True)
    for name in ("results.json", "checkpoint-7/model.safetensors"):
        (folder / name).write_text("kept")
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json"):
        (folder / name).write_text("of an older model")

    write_repository(model, processor, folder)

    assert {path.name for path in folder.iterdir()} == FILES | {"results.json", "checkpoint-7"}
    assert (folder / "checkpoint-7" / "model.safetensors").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["output"]

    tasks = [{"name": "school", "labels": ["Dutch", "UNK"]}]
    write_repository(make_model(tasks), processor, folder)
    assert AutoModel.from_pretrained(folder).config.task_names == ["school"]


def test_a_failure_leaves_the_folder_alone(model, processor, tmp_path, monkeypatch):
    folder = write_repository(model, processor, tmp_path / "repository")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*arguments, **options):
        raise OSError("no space left on device")

    monkeypatch.setattr(SemArtProcessor, "save_pretrained", fail)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match="no space left"):
            write_repository(make_model(seed=1), processor, target)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_a_file_is_no_folder(model, processor, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match=r"file, which is a file\. Allowed is a folder.*Give another output_dir"):
        write_repository(model, processor, tmp_path / "file")


def test_loads_where_the_package_cannot_be_imported(model, processor, picture, tmp_path):
    folder = write_repository(model, processor, tmp_path / "repository")
    here = ArtClassificationPipeline(model=model, processor=processor, device="cpu")
    expected = here([{"image": picture, "text": TEXT}, picture, {"text": TEXT}])
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("PYTHONPATH", None)
    arguments = [str(folder), str(picture), TEXT, str(tmp_path / "again")]

    done = subprocess.run(
        [sys.executable, "-c", LOADING, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    remote = "transformers_modules"
    assert seen["classes"] == [
        ["SemArtConfig", remote],
        ["SemArtImageProcessor", remote],
        ["SemArtForArtClassification", remote],
        ["SemArtProcessor", remote],
        ["DistilBertTokenizer", "transformers"],
        ["ArtClassificationPipeline", remote],
        ["ArtClassificationPipeline", remote],
    ]
    for answers in (seen["answers"], seen["again"]):
        for answer, known in zip(answers, expected, strict=True):
            assert list(answer) == ["type", "medium"]
            for task, labels in scores(known).items():
                assert scores(answer)[task] == pytest.approx(labels, abs=rounding(1024, layers=20))
    assert {path.name for path in (tmp_path / "again").iterdir()} == FILES
