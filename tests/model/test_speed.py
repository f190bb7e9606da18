"""Channels are ordered where it pays, and freed memory stays with the process."""

import platform
import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import DistilBertConfig

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.speed_semart import order_channels

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
        torch.testing.assert_close(model(pixel_values=pixels).logits["type"], expected, rtol=1e-4, atol=1e-5)
    kernels = [tensor for tensor in model.vision_tower.parameters() if tensor.ndim == 4 and min(tensor.shape[1:]) > 1]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) is is_last for kernel in kernels)
    model.save_pretrained(tmp_path)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, values[name]), name
