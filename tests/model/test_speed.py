"""Channels, kernels and precision are chosen where it pays, and freed memory stays with the process."""

import copy
import platform
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest
import timm
import torch
from rounding import rounding
from safetensors.torch import load_file
from torch import nn
from transformers import DistilBertConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.speed_semart import (
    MOST_TOKENS,
    DepthwiseConv2d,
    answering_in,
    answers_in_bf16,
    choose_kernels,
    order_channels,
)

PROCESS = """
import resource, sys
import torch
from semart_hf.model.speed_semart import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(32):  # the first ones make room
    torch.ones(8, 1024, 1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(8, 1024, 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_large_tensors_are_not_paged_in_again():
    faults = {}
    for choice in ("keep", "give"):
        command = [sys.executable, "-c", PROCESS, choice]
        faults[choice] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    pages = 8 * 32 * 2**20 / resource.getpagesize()
    assert faults["keep"] < 0.02 * pages
    assert faults["keep"] < faults["give"] / 10


@pytest.mark.parametrize(
    ("vision", "is_last"),
    [("test_resnet", True), ("test_efficientnet", True), ("test_convnext", True), ("test_vit", False)],
)
def test_channels_are_last_where_a_tower_convolves(vision, is_last, tmp_path):
    torch.manual_seed(0)
    text = DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    tasks = [{"name": "type", "labels": ["a", "b"]}]
    model = SemArtForArtClassification.from_towers(vision, text, tasks, pretrained=False, fusion_dim=8).eval()
    size = model.config.vision_config.pretrained_cfg["input_size"]
    pixels = torch.randn(2, *size)
    with torch.no_grad():
        expected = model(pixel_values=pixels).logits["type"]
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    order_channels(model)
    with torch.no_grad():
        found = model(pixel_values=pixels).logits["type"]
    # 30 layers of at most 1,024 terms.
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(1024, layers=30))
    kernels = [tensor for tensor in model.vision_tower.parameters() if tensor.ndim == 4 and min(tensor.shape[1:]) > 1]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) is is_last for kernel in kernels)
    model.save_pretrained(tmp_path)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, values[name]), name


@pytest.mark.parametrize("vision", ["test_efficientnet", "test_vit", "test_resnet"])
def test_the_kernels_for_bfloat16_compute_the_same(vision):
    torch.manual_seed(0)
    usual = timm.create_model(vision, num_classes=0, drop_rate=0.0).train()
    if not vision.endswith("vit"):
        usual.to(memory_format=torch.channels_last)
    chosen = copy.deepcopy(usual)
    choose_kernels(chosen, bf16=True)
    pixels = torch.randn(4, 3, 64, 64) if vision != "test_vit" else torch.randn(4, *usual.default_cfg["input_size"])
    exact = copy.deepcopy(usual)
    gradients = {}
    for name, tower, is_reduced in (("exact", exact, False), ("usual", usual, True), ("chosen", chosen, True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_reduced):
            features = tower(pixels)
        (features.float() * torch.linspace(-1, 1, features.shape[1])).sum().backward()
        gradients[name] = torch.cat([parameter.grad.flatten() for parameter in tower.parameters()])
    assert chosen.state_dict().keys() == usual.state_dict().keys()
    distance = {name: (gradients[name] - gradients["exact"]).norm() for name in ("usual", "chosen")}
    # About as near to the exact gradient as what torch does by itself: roundings of one size, not one outcome.
    assert distance["chosen"] < 2 * distance["usual"]
    assert distance["chosen"] < 0.5 * gradients["exact"].norm()


def test_a_depthwise_gradient_is_that_of_float32():
    torch.manual_seed(0)
    usual = nn.Sequential(nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6), nn.Conv2d(6, 6, 1))
    chosen = copy.deepcopy(usual)
    choose_kernels(chosen, bf16=True)
    assert [type(layer) for layer in chosen] == [DepthwiseConv2d, nn.Conv2d]
    pixels = torch.randn(3, 6, 9, 9).bfloat16().float()
    usual[0].weight.data = chosen[0].weight.data = usual[0].weight.data.bfloat16().float()
    outputs, of_pixels = [], []
    for layers, is_reduced in ((usual, False), (chosen, True)):
        given = pixels.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_reduced):
            outputs.append(layers[0](given))
        outputs[-1].backward(torch.ones_like(outputs[-1]))
        of_pixels.append(given.grad)
    assert outputs[1].dtype == torch.bfloat16
    torch.testing.assert_close(outputs[1].float(), outputs[0], rtol=1e-2, atol=1e-2)
    for name in ("weight", "bias"):  # sums over 3 pictures of 5 x 5 places
        found, expected = getattr(chosen[0], name).grad, getattr(usual[0], name).grad
        torch.testing.assert_close(found, expected, rtol=0, atol=rounding(75, size=75**0.5))
    torch.testing.assert_close(of_pixels[1], of_pixels[0], rtol=1e-2, atol=1e-2)
    choose_kernels(chosen, bf16=False)
    torch.testing.assert_close(chosen(pixels), usual(pixels), rtol=0, atol=rounding(25, layers=2, size=4))


def test_attention_is_written_down_where_it_is_slow_fused_and_small():
    tower = timm.create_model("test_vit", num_classes=0)
    assert tower.patch_embed.num_patches <= MOST_TOKENS
    large = timm.create_model("test_vit", num_classes=0, img_size=16 * 20)
    for choice in (True, False):
        choose_kernels(tower, bf16=choice)
        choose_kernels(large, bf16=choice)
        assert {block.attn.fused_attn for block in tower.blocks} == {not choice}
        assert {block.attn.fused_attn for block in large.blocks} == {True}


@pytest.mark.parametrize(
    ("precision", "dtype", "is_reduced"),
    [
        ("auto", torch.float32, True),
        ("fp32", torch.float32, False),
        ("bf16", torch.float32, True),
        ("auto", torch.bfloat16, False),
        ("bf16", torch.float64, False),
    ],
)
def test_a_model_answers_in_what_is_fast_or_asked_for(multiplies_in_bf16, precision, dtype, is_reduced):
    model = SimpleNamespace(device=torch.device("cpu"), dtype=dtype)
    assert answers_in_bf16(model, precision) is is_reduced
    with answering_in(model, precision):
        assert torch.is_autocast_enabled("cpu") is is_reduced


def test_by_itself_a_model_answers_in_float32_where_bfloat16_is_emulated():
    model = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
    assert not answers_in_bf16(model)
    assert answers_in_bf16(model, "bf16")
    with pytest.raises(ValueError, match=r"precision is 'fp16'. Allowed are \['auto', 'bf16', 'fp32'\]"):
        answering_in(model, "fp16")
