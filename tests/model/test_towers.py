import copy
import json

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import build, small_text
from torch import nn
from transformers import DistilBertModel, GPT2Config, TimmWrapperConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtImageProcessor
from semart_hf.model.towers_semart import (
    ClassTokenBlock,
    check_arrived,
    read_class_token,
    resolve_vision_config,
    saved_weights,
    vision_stages,
)


@pytest.fixture
def vision_folder(tmp_path):
    """A folder in the form of timm's Hub repositories, with random weights."""
    folder = tmp_path / "timm-test_resnet"
    folder.mkdir()
    torch.manual_seed(3)
    model = timm.create_model("test_resnet", num_classes=5)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict()
    config = {"architecture": "test_resnet", "num_classes": 5, "num_features": 384, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def text_folder(tmp_path):
    """A folder in the form of DistilBERT's Hub repository: masked-language-model names, with their prefix."""
    folder = tmp_path / "distilbert"
    torch.manual_seed(4)
    DistilBertModel(small_text()).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    renamed = {f"distilbert.{name}": tensor for name, tensor in weights.items()}
    renamed["vocab_projector.bias"] = torch.zeros(100)
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("architecture", "stages", "first_of_second"),
    [
        ("resnet18", 5, "layer1.0.conv1.weight"),
        ("efficientnet_b0", 8, "blocks.0.0.conv_dw.weight"),
        ("vit_tiny_patch16_224", 13, "blocks.0.norm1.weight"),
    ],
)
def test_stages_mean_the_same_for_every_family(architecture, stages, first_of_second):
    with torch.device("meta"):
        tower = timm.create_model(architecture, num_classes=0)
    names = vision_stages(tower)
    assert len(names) == stages
    assert architecture != "efficientnet_b0" or "conv_head.weight" in names[-1]  # the tail is of the last stage
    assert names[1][0] == first_of_second
    assert sorted(name for stage in names for name in stage) == sorted(name for name, _ in tower.named_parameters())


def test_pretrained_weights_arrive_in_both_towers_and_what_does_not_is_found(vision_folder, text_folder):
    model = build(vision_folder, text_folder, pretrained=True)
    source = load_file(vision_folder / "model.safetensors")
    for name, tensor in model.vision_tower.timm_model.state_dict().items():
        assert torch.equal(tensor, source[name]), name
    source = load_file(text_folder / "model.safetensors")
    for name, tensor in model.text_tower.state_dict().items():
        assert torch.equal(tensor, source[f"distilbert.{name}"]), name
    assert model.config.vision_config.num_labels == 0
    assert model.config.vision_config.pretrained_cfg["input_size"] == [3, 160, 160]
    saved = saved_weights(model.vision_tower, vision_folder)
    with torch.no_grad():
        model.vision_tower.timm_model.layer1[0].bn1.weight[0] += 1e-3
    with pytest.raises(ValueError, match=r"did not arrive: .* 0 are not .* and 1 differ \(first: 'timm_model.layer1"):
        check_arrived(vision_folder, model.vision_tower.state_dict(), saved)
    weights = load_file(vision_folder / "model.safetensors")
    del weights["layer2.0.conv1.weight"]
    save_file(weights, vision_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 are not in .* and 0 differ \(first: 'timm_model\.layer2"):
        build(vision_folder, text_folder, pretrained="vision")


def test_only_the_named_tower_is_loaded_and_half_precision_is_trained_in_full(vision_folder, text_folder):
    model = build(vision_folder, text_folder, pretrained="text")
    source = load_file(vision_folder / "model.safetensors")
    assert not torch.equal(model.vision_tower.timm_model.state_dict()["conv1.0.weight"], source["conv1.0.weight"])
    name, words = "embeddings.word_embeddings.weight", load_file(text_folder / "model.safetensors")
    assert torch.equal(model.text_tower.get_parameter(name), words[f"distilbert.{name}"])
    trained = [name for name, parameter in model.text_tower.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("transformer.layer.1.") for name in trained)
    DistilBertModel(small_text()).half().save_pretrained(text_folder)
    assert json.loads((text_folder / "config.json").read_text())["dtype"] == "float16"
    model = build(vision_folder, str(text_folder), pretrained=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model(input_ids=torch.ones(1, 4, dtype=torch.long))


@pytest.mark.parametrize("architecture", ["resnet18", "efficientnet_b0"])
def test_from_scratch_a_tower_starts_as_timm_starts_it(architecture):
    tower = build(architecture).vision_tower.timm_model
    reference = timm.create_model(architecture, num_classes=0)
    for (name, tensor), expected in zip(tower.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(tensor.std(), expected.std(), rtol=0.35, atol=1e-3), name
    small = build("test_vit", image_size=64)
    assert small.vision_tower.timm_model.patch_embed.img_size == (64, 64)
    assert small.config.vision_config.pretrained_cfg["input_size"] == [3, 64, 64]


@pytest.mark.parametrize(("crop_pct", "is_seen"), [(None, False), (1, True)])
def test_the_whole_picture_is_shown_where_it_is_asked(crop_pct, is_seen, tmp_path):
    build(image_size=64, crop_pct=crop_pct).save_pretrained(tmp_path)
    config = SemArtForArtClassification.from_pretrained(tmp_path).config.vision_config
    processor = SemArtImageProcessor.from_timm(config.pretrained_cfg)
    picture = Image.new("RGB", (128, 160), "black")
    picture.paste("white", (0, 0, 3, 160))
    left = processor(picture, return_tensors="pt")["pixel_values"][0, 0, 32, 0]
    assert (left.item() > 0) == is_seen


@pytest.mark.parametrize(("mode", "is_squashed"), [("squash", True), ("border", False)])
def test_a_tower_is_shown_squashed_pictures_or_crops(mode, is_squashed):
    names = timm.list_models("eva*" if is_squashed else "*")
    name = next(name for name in names if timm.get_pretrained_cfg(name).crop_mode == mode)
    config = resolve_vision_config(name, pretrained=False)
    size = SemArtImageProcessor.from_timm(config.pretrained_cfg).size
    assert bool(size.shortest_edge) is not is_squashed
    assert size.height == (config.pretrained_cfg["input_size"][-1] if is_squashed else None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_pct": 0}, "crop_pct is 0, but it is the share of a picture's sides"),
        ({"crop_pct": 1.2}, r"crop_pct is 1\.2, but it is the share of a picture's sides"),
        ({"vision": "resnet81"}, "Unknown vision tower 'resnet81'.*Did you mean resnet"),
        ({"vision": TimmWrapperConfig(architecture="no_such_net")}, "Unknown vision tower 'no_such_net'"),
        ({"vision": "resnet18", "pretrained": "vision"}, r"Give 'timm/resnet18\.a1_in1k', or pretrained=False"),
        ({"text": GPT2Config()}, "has model_type 'gpt2', but it must be an encoder of distilbert, bert"),
        ({"pretrained": "text"}, "Got a configuration as text tower"),
        ({"fusion_size": 16}, r"Got the fields \['fusion_size'\]\. Allowed are .*'fusion_dim'"),
        ({"pretrained": "both"}, r"pretrained is 'both'\. Allowed are"),
        ({"frozen_vision_stages": 6}, "frozen_vision_stages is 6, but test_resnet has 5 stages"),
        ({"trainable_text_layers": 3}, "trainable_text_layers is 3, but the text tower has 2 layers"),
    ],
)
def test_what_no_tower_is_or_has_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        build(**fields)


def test_a_folder_may_have_the_name_of_its_tower(tmp_path, monkeypatch):
    tower = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    timm.models.save_for_hf(tower, tmp_path / "test_resnet", safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_vision_config("test_resnet", pretrained=True).architecture == "test_resnet"
    with pytest.raises(ValueError, match="Unknown vision tower 'None'"):
        resolve_vision_config(None, pretrained=False)


def make_vit(**options):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "depth": 2, "num_classes": 0}
    tower = timm.create_model("vit_tiny_patch16_224", **sizes, **options)
    for parameter in tower.parameters():  # biases, norms and the class token are zero or one at first
        nn.init.normal_(parameter, std=0.3)
    return tower.double()


@pytest.mark.parametrize("more", [{"init_values": 0.5}, {"reg_tokens": 4, "qk_norm": True}, {"drop_path_rate": 0.9}])
def test_a_vit_that_computes_the_class_token_alone_gives_its_features_and_gradients(more):
    whole = make_vit(**more).train()
    short = copy.deepcopy(whole)
    read_class_token(short)
    assert short.state_dict().keys() == whole.state_dict().keys()
    assert short.forward_features(torch.zeros(3, 3, 32, 32, dtype=torch.double)).shape == (3, 1, 24)
    pixels, weights = torch.randn(3, 3, 32, 32, dtype=torch.double), torch.randn(3, 24, dtype=torch.double)
    features = []
    for tower in (whole, short):
        torch.manual_seed(1)  # paths are dropped alike
        features.append(tower(pixels))
        (features[-1] * weights).sum().backward()
    torch.testing.assert_close(features[1], features[0], rtol=0, atol=1e-12)
    for (name, expected), parameter in zip(whole.named_parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("pooling", ["avg", "map"])
def test_a_vit_of_which_more_is_read_stays_as_it_is(pooling):
    tower = make_vit(global_pool=pooling)
    read_class_token(tower)
    assert not any(isinstance(module, ClassTokenBlock) for module in tower.modules())


@pytest.mark.parametrize("pooling", ["last", "stages"])
def test_a_model_computes_the_class_token_alone_unless_stages_are_read(pooling):
    model = build("test_vit", vision_pooling=pooling)
    assert isinstance(model.vision_tower.timm_model.blocks[-1], ClassTokenBlock) is (pooling == "last")
