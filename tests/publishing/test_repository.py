"""The folder that `save_repository` writes; what it loads as where the package is not installed: tests/hub."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from semart_hf.model import pipeline_semart
from semart_hf.model.pipeline_semart import save_repository

CODE = {path.name: path.read_bytes() for path in Path(pipeline_semart.__file__).parent.glob("*_semart.py")}
FILES = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json", *CODE}


@pytest.fixture
def other_model(saved_model):
    model = copy.deepcopy(saved_model[0]).train()
    with torch.no_grad():
        model.absent_text.add_(1)
    return model


def test_holds_weights_configuration_processor_and_code(saved_model, other_model, tmp_path):
    weights = {name: values.clone() for name, values in other_model.state_dict().items()}
    folder = save_repository(other_model, saved_model[1], tmp_path / "outputs" / "repository")
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["repository"]
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "configuration_semart.SemArtConfig"}
    assert config["auto_map"] == names | {"AutoModel": "modeling_semart.SemArtForArtClassification"}
    pipeline = {"impl": "pipeline_semart.ArtClassificationPipeline", "pt": ["AutoModel"], "type": "multimodal"}
    assert config["custom_pipelines"] == {"art-classification": pipeline}
    again = type(other_model.config).from_pretrained(folder).to_dict()
    assert again["custom_pipelines"] == config["custom_pipelines"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.py")} == CODE
    written = load_file(folder / "model.safetensors")
    assert other_model.training
    for name, values in other_model.state_dict().items():
        assert torch.equal(values, weights[name])
        assert torch.equal(values, written[name])


def test_has_nothing_of_the_machine_and_a_file_is_no_folder(saved_model, tmp_path):
    first = save_repository(*saved_model, tmp_path / "first")
    loaded = AutoModel.from_pretrained(first), AutoProcessor.from_pretrained(first)
    for path in save_repository(*loaded, tmp_path / "second").glob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert "local" not in path.read_text()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        save_repository(*saved_model, tmp_path / "file")


def test_a_folder_that_is_there_keeps_what_is_not_of_the_model(saved_model, other_model, tmp_path):
    folder = tmp_path / "output"
    (folder / "checkpoint-7").mkdir(parents=True)
    for name in ("results.json", "checkpoint-7/model.safetensors"):
        (folder / name).write_text("kept")
    for name in ("model-00001-of-00002.safetensors", "config.json"):
        (folder / name).write_text("of an older model")
    for model in (saved_model[0], other_model):
        save_repository(model, saved_model[1], folder)
        assert {path.name for path in folder.iterdir()} == FILES | {"results.json", "checkpoint-7"}
        assert (folder / "checkpoint-7" / "model.safetensors").read_text() == "kept"
        assert [path.name for path in tmp_path.iterdir()] == ["output"]
        assert torch.equal(AutoModel.from_pretrained(folder).absent_text, model.absent_text)
