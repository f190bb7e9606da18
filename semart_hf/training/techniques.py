"""What makes training fast beside the techniques of inference."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.techniques_semart import INFERENCE_TECHNIQUES, Technique
from semart_hf.model.towers_semart import text_layers


def conv2d_with_fast_gradient(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d`, with other gradients where oneDNN's are slow in bfloat16."""
    is_reduced = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and weight.requires_grad
    function = _function_of(weight, groups) if is_reduced and not isinstance(padding, str) else None
    if function is None:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = [[value] * 2 if isinstance(value, int) else list(value) for value in (stride, padding, dilation)]
    if function is _DenseConvolution:
        input, weight = input.bfloat16(), weight.bfloat16()
    return function.apply(input, weight, bias, *pairs)


def _function_of(weight: Tensor, groups: int) -> Any:
    """What computes a convolution whose gradients oneDNN computes slowly, by its weights; `None` where it is fast."""
    if weight.shape[1] == 1 and 1 < groups == len(weight):
        return _DepthwiseConvolution
    # Of fewer channels its kernel is faster than products. AMX was not measured, and a graph cannot ask for it.
    is_wide = groups == 1 and len(weight) >= 256 and weight.shape[1] >= 64 and not torch.compiler.is_compiling()
    return _DenseConvolution if is_wide and not torch.cpu.get_capabilities().get("amx_tile") else None


class _DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution with gradients in float32: oneDNN has no fast kernel for them in bfloat16."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, *form: list[int]) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.form, ctx.bias_size = form, None if bias is None else list(bias.shape)
        stride, padding, dilation = form
        return F.conv2d(input, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            tensors = gradient.float(), input.float(), weight.float()
            options = ctx.bias_size, *ctx.form, False, [0, 0], len(weight), list(ctx.needs_input_grad[:3])
            input_gradient, *gradients = torch.ops.aten.convolution_backward(*tensors, *options)
        return None if input_gradient is None else input_gradient.to(input.dtype), *gradients, None, None, None


class _DenseConvolution(torch.autograd.Function):
    """A convolution with the gradient of its weights by matrix products.

    In oneDNN's kernel, threads spin for each other: beside a busy process it takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, *form: list[int]) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.form = stride, padding, dilation = form
        return F.conv2d(input, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, _, of_bias = ctx.needs_input_grad[:3]
        options = None, *ctx.form, False, [0, 0], 1, [of_input, False, False]
        with torch.autocast("cpu", enabled=False):
            input_gradient = torch.ops.aten.convolution_backward(gradient, input, weight, *options)[0]
            weight_gradient = _products(gradient, input, weight, *ctx.form)
            bias_gradient = gradient.sum((0, 2, 3)) if of_bias else None
        return input_gradient, weight_gradient, bias_gradient, None, None, None


def _products(
    gradient: Tensor, input: Tensor, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    """The gradient of a dense convolution's weights: a product over all positions for each place of the kernel."""
    channels = gradient.permute(0, 2, 3, 1).flatten(0, 2).T
    padded = F.pad(input, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else input
    padded = padded.permute(0, 2, 3, 1)
    found = weight.new_empty(*weight.shape[2:], *weight.shape[:2])
    for place in itertools.product(*map(range, weight.shape[2:])):
        rows, columns = (
            slice(number * apart, number * apart + (size - 1) * step + 1, step)
            for number, apart, size, step in zip(place, dilation, gradient.shape[2:], stride, strict=True)
        )
        torch.mm(channels, padded[:, rows, columns].flatten(0, 2), out=found[place])
    return found.permute(2, 3, 0, 1).contiguous()


def _has_slow_gradients(model: PreTrainedModel, bf16: bool) -> bool:
    layers = (layer for layer in model.vision_tower.modules() if isinstance(layer, nn.Conv2d))
    is_slow = (_function_of(layer.weight, layer.groups) is not None for layer in layers)
    return bf16 and model.device.type == "cpu" and any(is_slow)


CONVOLUTION_GRADIENTS = Technique(
    "gradients of convolutions", _has_slow_gradients, kernels={F.conv2d: conv2d_with_fast_gradient}
)
TRAINING_TECHNIQUES = (*INFERENCE_TECHNIQUES, CONVOLUTION_GRADIENTS)


def compile_options(accelerator: Accelerator) -> dict[str, Any] | None:
    """How the accelerator would compile, if it would, which it no longer does: see `compile_towers`."""
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return None
    # The plugin's own choice is never: a graph for every number of rows.
    options = {**plugin.to_kwargs(), "dynamic": None}
    plugin.backend = DynamoBackend.NO
    return options


def compile_towers(model: SemArtForArtClassification, options: Mapping[str, Any]) -> None:
    """Compile the towers' parts: the accelerator would compile a forward whose choice of rows splits graphs."""
    for part in (model.vision_tower, *text_layers(model.text_tower)):
        part.compile(**options)
