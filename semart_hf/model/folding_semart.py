"""BatchNorm that no longer learns is a part of the convolution before it."""

from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, fx, nn
from transformers import PreTrainedModel

from .speed_semart import DepthwiseConv2d, answers_in_bf16, choose_kernels, keep_freed_memory, order_channels

# Folding reads and writes every kernel, however few the pictures are that it saves a pass over.
LEAST_PICTURES = 4


def make_fast(model: PreTrainedModel, precision: str = "auto") -> None:
    """Prepare a model for many answers where it is now, in the precision of `answering_in`."""
    order_channels(model)
    choose_kernels(model, bf16=answers_in_bf16(model, precision))
    fold_norms(model.vision_tower.timm_model)
    if model.device.type == "cpu":
        keep_freed_memory()


def fold_norms(tower: nn.Module) -> int:
    """Number of a tower's BatchNorm layers that from now on are folded into their convolutions where they are frozen.

    In evaluation, and in training for layers that are frozen, BatchNorm multiplies and adds constants: so can the
    convolution's kernel, which saves a pass over the pictures. The numbers are the same but for rounding. Parameters,
    their names and values stay; whatever changes them, or lets them learn, is seen at the next call.

    Args:
        tower: A timm tower. One whose forward cannot be traced stays as it is.
    """
    pairs = _pairs(tower)
    for convolution, norm in pairs:
        convolution.__class__ = _FOLDED[type(convolution)]
        convolution.folded_norm = (norm,)  # in a tuple, or it would be a part of the convolution's state
        norm.__class__ = _FOLDED[type(norm)]
        norm.folding_convolution = (convolution,)
    return len(pairs)


def _pairs(tower: nn.Module) -> list[tuple[Any, Any]]:
    """Convolutions whose output goes into a BatchNorm and nowhere else."""
    if not any(type(module) in (nn.BatchNorm2d, BatchNormAct2d) for module in tower.modules()):
        return []
    try:
        graph = _Tracer().trace(tower)
    except Exception:  # noqa: BLE001 - a tower's forward may do anything that a trace does not bear
        return []
    modules = dict(tower.named_modules())
    calls = {node: modules[node.target] for node in graph.nodes if node.op == "call_module" and node.args}
    return [
        (calls[node.args[0]], norm)
        for node, norm in calls.items()
        if type(norm) in (nn.BatchNorm2d, BatchNormAct2d)
        and norm.affine
        and norm.track_running_stats
        and type(calls.get(node.args[0])) in (nn.Conv2d, DepthwiseConv2d)
        and len(node.args[0].users) == 1
        # A module that is called twice would be folded twice.
        and sum(module is norm for module in calls.values()) == 1
        and sum(module is calls[node.args[0]] for module in calls.values()) == 1
    ]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def _is_folded(convolution: Any, norm: Any, pictures: Tensor) -> bool:
    if norm.training or len(pictures) < LEAST_PICTURES:
        return False
    learns = convolution.weight.requires_grad or norm.weight.requires_grad or norm.bias.requires_grad
    return not (learns and torch.is_grad_enabled())


class _FoldedConvolution(nn.Conv2d):
    folded_norm: Any

    def forward(self, input: Tensor) -> Tensor:
        (norm,) = self.folded_norm
        if not _is_folded(self, norm, input):
            return super().forward(input)
        # Anew for each batch: no version counter tells of all changes of a weight or a statistic.
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        bias = bias if self.bias is None else bias + self.bias * scale
        return self._conv_forward(input, self.weight * scale.view(-1, 1, 1, 1), bias)


class _FoldedDepthwiseConvolution(_FoldedConvolution, DepthwiseConv2d):
    pass


class _FoldedNorm(nn.BatchNorm2d):
    folding_convolution: Any

    def forward(self, input: Tensor) -> Tensor:
        (convolution,) = self.folding_convolution
        return input if _is_folded(convolution, self, input) else super().forward(input)


class _FoldedNormAct(BatchNormAct2d):
    folding_convolution: Any

    def forward(self, x: Tensor) -> Tensor:
        (convolution,) = self.folding_convolution
        if not _is_folded(convolution, self, x):
            normed: Tensor = super().forward(x)
            return normed
        activated: Tensor = self.act(self.drop(x))
        return activated


_FOLDED: dict[type, type] = {
    nn.Conv2d: _FoldedConvolution,
    DepthwiseConv2d: _FoldedDepthwiseConvolution,
    nn.BatchNorm2d: _FoldedNorm,
    BatchNormAct2d: _FoldedNormAct,
}
