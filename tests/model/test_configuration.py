import json

import pytest
from transformers import BertConfig, DistilBertConfig, GPT2Config, ResNetConfig

from semart_hf.model.configuration_semart import SemArtConfig

TASKS = [
    {"name": "type", "labels": ["portrait", "landscape"]},
    {"name": "school", "labels": ["Italian", "Dutch", "UNK"]},
    {"name": "medium", "labels": ["canvas"]},
]


def test_json_gives_back_an_equal_config_and_a_newer_minor_format_is_read(tmp_path):
    config = SemArtConfig(
        tasks=TASKS,
        task_weights={"school": 2.0},
        text_config=DistilBertConfig(dim=32, n_layers=2, n_heads=4),
        frozen_vision_stages=3,
        trainable_text_layers=None,
    )
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert [task["name"] for task in written["tasks"]] == ["type", "school", "medium"]
    loaded = SemArtConfig.from_pretrained(tmp_path)
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert loaded.task_names == ["type", "school", "medium"]
    assert loaded.labels("school") == ["Italian", "Dutch", "UNK"]
    with pytest.raises(ValueError, match=r"Unknown task 'style': this model's tasks are \['type', 'school', "):
        loaded.labels("style")
    assert loaded.trainable_text_layers is None
    assert loaded.text_config.dim == 32
    assert loaded.vision_config.model_type == "timm_wrapper"
    assert SemArtConfig(format_version="1.7").format_version == "1.7"
    with pytest.raises(Exception, match="frozen_vision_stages"):
        SemArtConfig(frozen_vision_stages="three")


def test_a_model_of_the_miniature_says_that_it_has_seen_no_real_painting(tmp_path):
    assert SemArtConfig(tasks=TASKS).training_notice is None
    assert SemArtConfig(training_data={"name": "semart", "is_painted_miniature": False}).training_notice is None
    SemArtConfig(training_data={"name": "mini", "is_painted_miniature": True}).save_pretrained(tmp_path)
    assert "never seen a real painting" in SemArtConfig.from_pretrained(tmp_path).training_notice


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": [{"name": "type"}]}, "must have a 'name'"),
        ({"tasks": [{"name": "two words", "labels": ["a"]}]}, "must have a 'name'"),
        ({"tasks": [{"name": "type", "labels": []}]}, "labels of task 'type' must be a list of names"),
        ({"tasks": [{"name": "type", "labels": ["a", "a"]}]}, r"labels of task 'type' have \['a'\] more than once"),
        ({"tasks": 2 * [{"name": "type", "labels": ["a"]}]}, r"tasks have \['type'\] more than once"),
        ({"text_config": GPT2Config()}, "text_config has model_type 'gpt2', but it must be an encoder of distilbert"),
        ({"text_config": BertConfig(is_decoder=True)}, "text_config has model_type 'bert' and is_decoder=True, but"),
        ({"vision_config": ResNetConfig()}, "vision_config has model_type 'resnet', but it must be 'timm_wrapper'"),
        ({"tasks": TASKS, "task_weights": {"style": 1.0}}, r"task_weights names \['style'\]"),
        ({"tasks": TASKS, "temperatures": {"style": 1.0}}, r"temperatures names \['style'\]"),
        ({"tasks": TASKS, "temperatures": {"type": 0.0}}, "numbers above 0"),
        ({"tasks": TASKS, "task_weights": dict.fromkeys(("type", "school", "medium"), 0.0)}, "at least one above it"),
        ({"confidence_risks": {"genre": [[0.5, 0.1]]}}, r"confidence_risks names \['genre'\]"),
        ({"format_version": "2.0"}, "format_version '2.0', but this code reads versions up to 1.x"),
    ],
)
def test_what_no_model_can_have_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SemArtConfig(**fields)
