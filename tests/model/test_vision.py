"""The last block that reads the class token alone equals timm's own block."""

import copy

import pytest
import timm
import torch
from rounding import rounding
from timm.models.vision_transformer import Block
from torch import nn

from semart_hf.model.vision_semart import ClassTokenBlock, read_class_token

SMALL = {"pretrained": False, "num_classes": 0, "img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3}


def vit(**options) -> nn.Module:
    torch.manual_seed(0)
    tower = timm.create_model("vit_tiny_patch16_224", **{**SMALL, "depth": 2, **options})
    for parameter in tower.parameters():  # biases, norms and the class token are zero or one at first
        nn.init.normal_(parameter, std=0.3)
    return tower


@pytest.mark.parametrize(
    "options", [{}, {"qkv_bias": False}, {"init_values": 0.5}, {"reg_tokens": 4}], ids=lambda options: str(options)
)
def test_a_tower_that_reads_the_class_token_gives_the_same_features_and_gradients(options):
    whole = vit(**options).double()
    short = copy.deepcopy(whole)
    read_class_token(short)
    assert isinstance(short.blocks[-1], ClassTokenBlock)
    assert type(short.blocks[0]) is Block
    assert short.state_dict().keys() == whole.state_dict().keys()
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.double)
    weights = torch.randn(3, 24, dtype=torch.double)
    for tower in (whole, short):
        (tower(pixels) * weights).sum().backward()
    assert short.forward_features(pixels).shape == (3, 1, 24)
    torch.testing.assert_close(short(pixels), whole(pixels), rtol=0, atol=1e-12)
    for (name, expected), parameter in zip(whole.named_parameters(), short.parameters(), strict=True):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-9, atol=1e-9, msg=name)


def test_features_in_float32_differ_by_rounding_alone():
    whole = vit().eval()
    short = copy.deepcopy(whole)
    read_class_token(short)
    pixels = torch.randn(4, 3, 32, 32)
    features = whole(pixels)
    # 2 blocks of 6 sums with at most 96 terms.
    assert ((short(pixels) - features).abs().max() / features.abs().max()) < rounding(96, layers=2 * 6)


def test_a_dropped_path_is_drawn_as_in_the_whole_block():
    whole = vit(drop_path_rate=0.9).train()
    short = copy.deepcopy(whole)
    read_class_token(short)
    pixels = torch.randn(16, 3, 32, 32)
    outputs = []
    for tower in (whole, short):
        torch.manual_seed(1)
        outputs.append(tower(pixels))
    bound = rounding(96, layers=2 * 6, size=float(outputs[0].detach().abs().max()))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=bound)


def test_dropped_attention_has_the_mean_of_attention_without_dropout():
    tower = vit(depth=1, attn_drop_rate=0.5)
    read_class_token(tower)
    block = tower.blocks[-1].train()
    tokens = torch.randn(1, 5, 24)
    with torch.no_grad():
        expected = block.eval()._attend(tokens)
        mean = block.train()._attend(tokens.expand(40_000, -1, -1)).mean(0)
    assert (mean - expected[0]).abs().max() < 0.03 * expected.abs().max()


def test_an_adapter_on_the_projection_is_not_passed_by():
    class Adapter(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1.0

    whole = vit()
    adapter = Adapter(24, 72)
    adapter.load_state_dict(whole.blocks[-1].attn.qkv.state_dict())
    whole.blocks[-1].attn.qkv = adapter
    short = copy.deepcopy(whole)
    read_class_token(short)
    pixels = torch.randn(2, 3, 32, 32)
    expected = whole(pixels)
    bound = rounding(96, layers=2 * 6, size=float(expected.detach().abs().max()))
    torch.testing.assert_close(short(pixels), expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    "options",
    [{"global_pool": "avg"}, {"global_pool": "map"}, {"qk_norm": True}, {"scale_attn_norm": True}],
    ids=lambda options: str(options),
)
def test_towers_that_read_more_stay_as_they_are(options):
    tower = vit(**options)
    read_class_token(tower)
    assert not any(isinstance(module, ClassTokenBlock) for module in tower.modules())
