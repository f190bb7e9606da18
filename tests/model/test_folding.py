"""A frozen BatchNorm that its convolution does the work of gives the same numbers, and learns when it may."""

import copy

import pytest
import timm
import torch
from torch import nn

from semart_hf.model.folding_semart import fold_norms
from semart_hf.model.speed_semart import choose_kernels


def tower_of(name, **options):
    torch.manual_seed(0)
    tower = timm.create_model(name, num_classes=0, **options)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.3)
    return tower


@pytest.mark.parametrize(
    ("name", "options", "num_norms"),
    [
        ("resnet18", {"drop_path_rate": 0.2}, 20),
        ("efficientnet_b0", {"drop_rate": 0.2}, 49),
        ("test_resnet", {}, None),
        ("test_vit", {}, 0),
    ],
)
def test_answers_are_the_same_with_every_norm_folded(name, options, num_norms):
    usual = tower_of(name, **options).eval().double()
    folded = copy.deepcopy(usual)
    choose_kernels(folded, bf16=True)
    found = fold_norms(folded)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in usual.modules())
    assert found == (norms if num_norms is None else num_norms)
    assert {name: value.shape for name, value in folded.state_dict().items()} == {
        name: value.shape for name, value in usual.state_dict().items()
    }
    pixels = torch.randn(4, *usual.default_cfg["input_size"]).double()
    calls = []
    for module in folded.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, given, made: calls.append(made is given[0]))
    with torch.inference_mode():
        expected, answer = usual(pixels), folded(pixels)
    assert ((answer - expected).abs().max() / expected.abs().max()) < 1e-9
    assert len(calls) == found
    if name == "resnet18":
        assert all(calls)  # its activations stand alone: nothing is left for a norm to do


def test_frozen_layers_are_folded_in_training_and_others_learn_as_ever():
    usual = tower_of("test_resnet")
    frozen = [usual.conv1, usual.bn1, usual.layer1] if isinstance(usual.conv1, nn.Module) else []
    for module in frozen:
        module.requires_grad_(False)
    folded = copy.deepcopy(usual)
    assert fold_norms(folded) > 0
    pixels = torch.randn(4, 3, 64, 64)
    for tower in (usual, folded):
        tower.train()
        for module in (tower.conv1, tower.bn1, tower.layer1):
            module.eval()
        tower(pixels).square().mean().backward()
    for (name, expected), parameter in zip(usual.named_parameters(), folded.parameters(), strict=True):
        assert (expected.grad is None) == (parameter.grad is None), name
        if expected.grad is not None:
            torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, expected), buffer in zip(usual.named_buffers(), folded.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-4, atol=1e-5, msg=name)


def test_new_weights_and_learning_ones_are_seen():
    tower, other = tower_of("test_resnet").eval(), tower_of("test_resnet").eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    plain = copy.deepcopy(other)
    fold_norms(tower)
    pixels = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        before = tower(pixels)
        tower.load_state_dict(other.state_dict())
        expected = plain(pixels)
        assert not torch.allclose(before, expected, atol=1e-3)
        torch.testing.assert_close(tower(pixels), expected, rtol=1e-4, atol=1e-5)
        for module in (plain, tower):
            module.get_submodule("bn1").running_mean.data.add_(0.5)
        torch.testing.assert_close(tower(pixels), plain(pixels), rtol=1e-4, atol=1e-5)
    for module in (plain, tower):  # gradients reach what learns, though statistics stand still
        module(pixels).sum().backward()
    for (name, expected), parameter in zip(plain.named_parameters(), tower.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-3, msg=name)
    for module in (plain, tower):
        module.train()
        module(pixels)
    torch.testing.assert_close(dict(tower.named_buffers())["bn1.running_var"], plain.bn1.running_var)


def test_a_tower_that_cannot_be_traced_or_shares_an_output_stays_as_it_is():
    class Branching(nn.Module):
        def __init__(self, is_shared):
            super().__init__()
            self.conv, self.norm, self.is_shared = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), is_shared

        def forward(self, x):
            y = self.conv(x)
            if self.is_shared:
                return self.norm(y) + y
            return self.norm(y) if y.mean() > 0 else y

    for is_shared in (True, False):
        tower = Branching(is_shared)
        assert fold_norms(tower) == 0
        assert type(tower.conv) is nn.Conv2d


def test_one_picture_is_answered_without_folding():
    tower = tower_of("test_resnet").eval()
    fold_norms(tower)
    made = []
    tower.bn1.register_forward_hook(lambda module, given, output: made.append(output is given[0]))
    with torch.no_grad():
        for count in (1, 4):
            tower(torch.randn(count, 3, 64, 64))
    assert made == [False, True]
